"""Fine-tuned networks beside the exact minimizer of Eq. 4 on the same noise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import numpy as np
import xarray as xr

from precise_lib import __version__
from precise_lib.estimate.finetune import finetune
from precise_lib.estimate.prior import ExactSolver, edge_weights
from precise_lib.estimate.weights import SveModel
from precise_lib.simulate.phantoms import Phantom
from precise_lib.studies.regularization import contrast, gray_levels, noisy_fids, to_maps


def finetuning_study(
    network: SveModel, phantom: Phantom, snr: float, settings: Iterable[tuple], n_repeats: int = 6, seed: int = 0,
    progress: Callable = iter,
) -> xr.Dataset:  # fmt: skip
    """Fine-tuned networks and the exact minimizer on the same FIDs, by settings (omega_max, lam, epochs).

    Returns `sve` (repeat, metabolite, x, y, z), `exact` and `tuned` (setting, repeat, metabolite, x, y, z) in mM;
    `distance` (setting, repeat), of the tuned amplitudes from the exact ones over that of SVE; `seconds` (setting,) of
    one fine-tuning. Setting carries omega_max, lam and epochs; `progress` wraps the iterator over settings.
    """
    settings, gray = list(settings), gray_levels(phantom)
    fids = list(noisy_fids(phantom, snr, seed, range(n_repeats)))
    sve = np.stack([network.amplitudes(f) for f in fids])
    exact, tuned, distance, seconds = [], [], [], []
    for omega_max, lam, epochs in progress(settings):
        weights = edge_weights(gray, omega_max)
        solver, start = ExactSolver(weights, lam), time.perf_counter()
        tuned.append([finetune(network, f, weights, lam, epochs, seed=seed) for f in fids])
        seconds.append((time.perf_counter() - start) / n_repeats)
        exact.append([solver(s) for s in sve])
        pairs = zip(tuned[-1], exact[-1], sve, strict=True)
        distance.append([np.linalg.norm(t - e) / np.linalg.norm(s - e) for t, e, s in pairs])
    dims = ("setting", "repeat", "metabolite", "x", "y", "z")
    maps = {"exact": (dims, to_maps(phantom, exact)), "tuned": (dims, to_maps(phantom, tuned))}
    maps |= {"sve": (dims[1:], to_maps(phantom, sve)), "distance": (dims[:2], distance), "seconds": (dims[:1], seconds)}
    dataset = xr.Dataset(maps, {"metabolite": phantom.model.names})
    for name, column in zip(("omega_max", "lam", "epochs"), zip(*settings, strict=True), strict=True):
        dataset = dataset.assign_coords({name: ("setting", list(column))})
    dataset.attrs = {"snr": snr, "seed": seed, "weights": network.hash, "package_version": __version__}
    return dataset


def jackknife(function: Callable, *samples) -> tuple[np.ndarray, np.ndarray]:
    """``function(*samples)`` and its standard error, leaving out one entry of the first axis of all samples in turn."""
    n = len(samples[0])
    kept = [np.delete(np.arange(n), i) for i in range(n)]
    parts = np.array([function(*(s[k] for s in samples)) for k in kept])
    return np.asarray(function(*samples)), np.sqrt((n - 1) / n * ((parts - parts.mean(0)) ** 2).sum(0))


def tradeoff(study: xr.Dataset, phantom: Phantom, reference: xr.Dataset, where, metabolite: str = "Lac") -> xr.Dataset:
    """What each fine-tuning gains in precision and keeps of a tumor.

    The exact minimizer on the same noise is the control variate: `study` (of `finetuning_study`, at least three
    repeats) gives the difference, `reference` the rest: `closed_form` or `regularization_study` with lambda 0 and every
    lambda and omega_max of the study. `where` (x, y, z) are the voxels over which the SD is taken.

    Returns over setting: `gain`, SD of SVE over SD of the result; `kept` (setting, site), see `contrast`; `exact_gain`
    and `exact_kept`; and the standard errors `gain_se`, `kept_se`.
    """
    k = phantom.model.index(metabolite)

    def noise(maps):
        return np.sqrt((maps[..., where].var(0, ddof=1)).mean())

    rows = []
    for i in range(study.sizes["setting"]):
        one = study.isel(setting=i)
        exact, tuned = (one[name].values[:, k] for name in ("exact", "tuned"))
        at = reference.sel(omega_max=float(one.omega_max)).sel(metabolite=metabolite)
        sve_sd, sd = (np.sqrt((at["sd"].sel(lam=v).values[where] ** 2).mean()) for v in (0.0, float(one.lam)))
        kept = at["recovery"].sel(lam=float(one.lam)).values
        ratio, ratio_se = jackknife(lambda e, t: noise(e) / noise(t), exact, tuned)
        shift = contrast(phantom, one["tuned"].values)[:, k] - contrast(phantom, one["exact"].values)[:, k]
        shift, shift_se = jackknife(lambda d: d.mean(0), shift)
        gain = sve_sd / sd
        rows.append((gain * ratio, gain * ratio_se, kept + shift, shift_se, gain, kept))
    names = ("gain", "gain_se", "kept", "kept_se", "exact_gain", "exact_kept")
    columns = {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    out = xr.Dataset({n: (("setting", "site")[: c.ndim], c) for n, c in columns.items()}, study.setting.coords)
    return out.assign_coords(site=list(phantom.tumors))
