"""What the MRI prior does to a phantom, in closed form and by Monte Carlo.

The exact minimizer of Eq. 4 is a linear map of the SVE amplitudes, so one set of SVE maps serves every setting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import xarray as xr

from precise_lib import __version__
from precise_lib.errors import InputError
from precise_lib.estimate.prior import OMEGA_MAX, ExactSolver, edge_weights, prepare_mri
from precise_lib.evaluate.closed_form import closed_form as errors_of_the_minimizer
from precise_lib.evaluate.closed_form import sve_covariance
from precise_lib.evaluate.montecarlo import RunningMoments
from precise_lib.evaluate.regression import kept
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.simulate.phantoms import RING_MM, TUMOR_MM, Phantom


def gray_levels(phantom: Phantom) -> np.ndarray:
    """MRI gray levels (x, y, z) in [0, 1] as the prior sees them."""
    return prepare_mri(phantom.measure(np.inf))


def _check(phantom: Phantom) -> None:
    """Raise `InputError` for a phantom whose own fields or encoding this study would leave out."""
    if any(getattr(phantom, own) is not None for own in ("b0_hz", "b1", "clean", "noise")):
        raise InputError("This study is of a phantom without fields and encoding; use evaluate.regions or montecarlo.")


def to_maps(phantom: Phantom, amplitudes) -> np.ndarray:
    """Amplitudes (..., V, M) -> maps (..., M, x, y, z) in mM, NaN outside the object."""
    return _on_grid(phantom, phantom.model.concentrations(np.asarray(amplitudes, float)))


def _on_grid(phantom: Phantom, values) -> np.ndarray:
    values = np.moveaxis(values, -1, -2)
    out = np.full((*values.shape[:-1], *phantom.mask.shape), np.nan)
    out[..., phantom.mask] = values
    return out


def contrast(phantom: Phantom, maps) -> np.ndarray:
    """Share of a tumor's true contrast (..., M, 4) at sites A-D of maps (..., M, x, y, z) in mM: one where it is as
    high above the ring as a tumor is, zero where it is like the ring, NaN for a metabolite that a tumor leaves
    unchanged.
    """
    ring, tumor = RING_MM[2], TUMOR_MM
    level = np.stack([np.asarray(maps)[..., mask].mean(-1) for mask in phantom.tumors.values()], -1)
    return kept(level, tumor[:, None], ring[:, None])


def _dataset(phantom: Phantom, lams, omega_maxs, snr, attrs, **variables) -> xr.Dataset:
    """Nested lists (omega_max, lam) of maps (M, x, y, z) or contrasts (M, 4) as one dataset with biases."""
    space = ("metabolite", "x", "y", "z")
    coords = {"omega_max": list(omega_maxs), "lam": list(lams), "metabolite": phantom.model.names}
    coords["site"] = list(phantom.tumors)
    of = {6: space, 4: ("metabolite", "site")}
    arrays = {name: np.array(values) for name, values in variables.items()}
    dataset = xr.Dataset({name: (("omega_max", "lam", *of[a.ndim]), a) for name, a in arrays.items()}, coords)
    dataset["truth"] = (space, phantom.concentrations.values)
    dataset["bias"] = dataset["mean"] - dataset["truth"]
    dataset["recovery"] = (("omega_max", "lam", "metabolite", "site"), contrast(phantom, dataset["mean"].values))
    dataset.attrs = {"snr": snr, "units": "mM", "signal_model": phantom.model.hash, "package_version": __version__}
    dataset.attrs |= attrs
    return dataset


def closed_form(phantom: Phantom, snr: float, lams: Iterable, omega_maxs: Iterable = (OMEGA_MAX,)) -> xr.Dataset:
    """Mean, SD and bias of metabolite over water if SVE is unbiased and efficient; no noise is drawn.

    The SD is that of ``H Sigma H^T`` with the Cramer-Rao covariance of every voxel, to first order in the ratio.
    Returns maps in mM, dims (omega_max, lam, metabolite, x, y, z), and `recovery` (omega_max, lam, metabolite, site),
    the share of a tumor's contrast, see `contrast`.
    """
    _check(phantom)
    lams, omega_maxs = list(lams), list(omega_maxs)
    model, truth = phantom.model, phantom.amplitudes[phantom.mask]
    noise = sve_covariance(model, truth, snr_to_sigma(model, snr))
    gray, level = gray_levels(phantom), model.concentrations(truth)
    maps = []
    for omega_max in omega_maxs:
        weights = edge_weights(gray, omega_max)
        maps.append([errors_of_the_minimizer(model, truth, noise, ExactSolver(weights, lam)) for lam in lams])
    mean, sd = (
        [[_on_grid(phantom, f(m)) for m in line] for line in maps] for f in (lambda m: level + m.bias, lambda m: m.sd)
    )
    return _dataset(phantom, lams, omega_maxs, snr, {}, mean=mean, sd=sd)


def noisy_fids(phantom: Phantom, snr: float, seed: int, repeats: Iterable[int]):
    """FIDs (V, t) complex64 of the object, noise by noise, as `montecarlo.phantom_study` draws it."""
    _check(phantom)
    clean, sigma = phantom.model.fids(phantom.amplitudes), snr_to_sigma(phantom.model, snr)
    for repeat in repeats:
        noisy = add_noise(clean, sigma, np.random.default_rng([seed, repeat]))
        yield noisy[phantom.mask].astype(np.complex64)


def regularization_study(
    estimate: Callable, phantom: Phantom, snr: float, lams: Iterable, omega_maxs: Iterable = (OMEGA_MAX,),
    n_repeats: int = 1000, seed: int = 0, batch: int = 50,
) -> xr.Dataset:  # fmt: skip
    """The same by Monte Carlo: one estimate per noise realization, then every lambda and omega_max.

    `estimate` makes amplitudes (V, M) of FIDs (V, t); `batch` realizations are in memory together. Returns also
    `recovery_sd`, the SD of `recovery` from one measurement to the next.
    """
    lams, omega_maxs = list(lams), list(omega_maxs)
    if n_repeats < 2:
        raise InputError(f"n_repeats is {n_repeats}; an SD needs at least two noise realizations.")
    gray, n = gray_levels(phantom), int(phantom.mask.sum())
    weights = [edge_weights(gray, omega_max) for omega_max in omega_maxs]
    # dense, since a phantom is small: one matrix product serves all realizations of a batch
    rows = [[ExactSolver(w, lam).rows(np.arange(n)) for lam in lams] for w in weights]
    maps, sites = ([[RunningMoments() for _ in lams] for _ in weights] for _ in range(2))
    for start in range(0, n_repeats, batch):
        repeats = range(start, min(start + batch, n_repeats))
        sve = np.stack([estimate(fids) for fids in noisy_fids(phantom, snr, seed, repeats)])
        for i, line in enumerate(rows):
            for j, h in enumerate(line):
                result = to_maps(phantom, sve if lams[j] == 0 else h @ sve)
                maps[i][j].add(result)
                sites[i][j].add(contrast(phantom, result))
    mean, sd = ([[getattr(m, key) for m in line] for line in maps] for key in ("mean", "sd"))
    spread = [[m.sd for m in line] for line in sites]
    return _dataset(
        phantom, lams, omega_maxs, snr, {"seed": seed, "n_repeats": n_repeats}, mean=mean, sd=sd, recovery_sd=spread
    )


def weakest_coupling(gray: np.ndarray, omega_max: float) -> np.ndarray:
    """Smallest weight to a neighbor over the cap (x, y, z): one where the prior sees no edge, NaN outside."""
    table, out = edge_weights(gray, omega_max), np.full(gray.shape, np.nan)
    out[np.isfinite(gray)] = np.minimum.reduceat(table.data, table.indptr[:-1]) / omega_max
    return out


def rms(maps, where) -> np.ndarray:
    """Root mean square of maps (..., x, y, z) over some voxels."""
    return np.sqrt((np.asarray(maps)[..., where] ** 2).mean(-1))
