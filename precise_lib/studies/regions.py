"""Where the MRI prior helps and where it misleads: errors by tissue region, over lambda and over what the MRI shows.

RMSE, bias, SD and contrast kept: `predicted` in closed form, `measured` with every prior on the same noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import xarray as xr

from precise_lib import __version__
from precise_lib.errors import InputError
from precise_lib.estimate.prior import OMEGA_MAX, ExactSolver, edge_weights
from precise_lib.evaluate import closed_form
from precise_lib.evaluate.montecarlo import RunningMoments
from precise_lib.evaluate.regression import kept
from precise_lib.signal.mrsi import unmask
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.simulate.phantoms import Phantom, gradient_broadening


class Contrast:
    """Share of a true difference that maps still show, see `regression.kept`: `weights` (x, y, z) are a region's share
    of its voxels, or any other linear functional of a map; `baseline` (M, x, y, z) in mM is what the maps would be
    without the difference, zero where None.
    """

    def __init__(self, phantom: Phantom, weights, baseline=None):
        mask = phantom.mask
        self.weights = np.asarray(weights, float)[mask]
        truth = phantom.concentrations.values[:, mask]
        self.baseline = self.weights @ (np.zeros_like(truth) if baseline is None else baseline[:, mask]).T
        self.full = self.weights @ truth.T

    def __call__(self, maps: np.ndarray) -> np.ndarray:
        """Maps (..., V, M) in mM to shares (..., M)."""
        return kept(np.einsum("v,...vm->...m", self.weights, maps), self.full, self.baseline)


def region_contrast(phantom: Phantom, region, healthy: Phantom) -> Contrast:
    """How much of a lesion's mean difference from the healthy brain underneath is left."""
    return Contrast(phantom, region / region.sum(), healthy.concentrations.values)


def tissue_contrast(phantom: Phantom, fractions: xr.DataArray, region, first="gray", second="white") -> Contrast:
    """Level of one tissue minus another by regression of a map on the tissue `fractions` (tissue, x, y, z), see
    `human.tissue_fractions`, of the voxels of `region` (x, y, z) bool.
    """
    shares = fractions.values[:, region].T
    used = shares.sum(0) > 0
    names = [n for n, there in zip(fractions["tissue"].values.tolist(), used, strict=True) if there]
    shares = shares[:, used] / shares.sum(1, keepdims=True)
    rows = np.linalg.pinv(shares)
    weights = np.zeros(phantom.mask.shape)
    weights[region] = rows[names.index(first)] - rows[names.index(second)]
    return Contrast(phantom, weights)


def signal(phantom: Phantom) -> tuple[np.ndarray, dict]:
    """True amplitudes (V, M) under the phantom's sensitivity, and shift and broadening (Hz) of each voxel."""
    if phantom.clean is not None:
        raise InputError("A phantom encoded with a point spread function has no closed-form errors; use `measured`.")
    mask, amplitudes = phantom.mask, phantom.amplitudes[phantom.mask]
    if phantom.b1 is not None:
        amplitudes = amplitudes * phantom.b1[mask][:, None]
    b0_hz = np.zeros(mask.shape) if phantom.b0_hz is None else phantom.b0_hz
    return amplitudes, {"shift_hz": b0_hz[mask], "broadening_hz": gradient_broadening(b0_hz)[mask]}


def _solvers(priors: Mapping, lams, omega_max) -> list[ExactSolver]:
    if 0 not in lams:
        raise InputError("The values of lambda must include 0, the single-voxel estimate that all is compared with.")
    return [ExactSolver(w, lam) for w in (edge_weights(gray, omega_max) for gray in priors.values()) for lam in lams]


def _dataset(variables: dict, priors, lams, phantom, regions, contrasts, attrs) -> xr.Dataset:
    first = ("prior", "lam", "metabolite")
    dims = {"kept": "contrast", "kept_sd": "contrast"}
    data = {name: ((*first, dims.get(name, "region")), np.asarray(values)) for name, values in variables.items()}
    coords = {"prior": list(priors), "lam": list(lams), "metabolite": phantom.model.names}
    coords |= {"region": list(regions), "contrast": list(contrasts)}
    attrs = {"units": "mM", "signal_model": phantom.model.hash, "package_version": __version__} | attrs
    return xr.Dataset(data, coords, attrs)


def predicted(
    phantom: Phantom, snr: float, priors: Mapping, lams: Iterable, regions: Mapping, contrasts: Mapping = {},
    omega_max: float = OMEGA_MAX,
) -> xr.Dataset:  # fmt: skip
    """Closed form for an unbiased and efficient single-voxel estimate; no noise is drawn.

    `snr` is that of water in an undistorted voxel; `priors` are MRI gray levels (x, y, z) by name, in [0, 1] on the DMI
    grid, NaN outside (`regularization.gray_levels`); `lams` holds zero; `regions` are masks (x, y, z), `contrasts`
    `Contrast` by name.

    Returns `rmse`, `bias` and `sd` (prior, lam, metabolite, region) in mM (each the root of its mean square over the
    region), `ratio` (RMSE over that at lambda 0), and `kept` (prior, lam, metabolite, contrast).
    """
    (amplitudes, distorted), mask, lams = signal(phantom), phantom.mask, list(lams)
    sigma = snr_to_sigma(phantom.model, snr)
    covariance = closed_form.sve_covariance(phantom.model, amplitudes, sigma, distorted["broadening_hz"])
    truth = phantom.concentrations.values[:, mask].T
    inside = np.stack([r[mask] / r.sum() for r in regions.values()])
    out = {name: [] for name in ("rmse", "bias", "sd", "kept")}
    for solver in _solvers(priors, lams, omega_max):
        maps = closed_form.closed_form(phantom.model, amplitudes, covariance, solver)
        squares = inside @ maps.bias**2, inside @ maps.sd**2
        for name, square in zip(("bias", "sd", "rmse"), (*squares, sum(squares)), strict=True):
            out[name].append(np.sqrt(square).T)
        out["kept"].append(_kept(contrasts, truth + maps.bias))
    out = {name: np.reshape(values, (len(priors), len(lams), *values[0].shape)) for name, values in out.items()}
    dataset = _dataset(out, priors, lams, phantom, regions, contrasts, {"snr": snr, "omega_max": omega_max})
    dataset["ratio"] = dataset["rmse"] / dataset["rmse"].sel(lam=0)
    return dataset


def _kept(contrasts: Mapping, maps) -> np.ndarray:
    if not contrasts:
        return np.empty((*maps.shape[:-2], maps.shape[-1], 0))
    return np.stack([contrast(maps) for contrast in contrasts.values()], -1)


def _noisy_fids(phantom: Phantom, snr: float, n_repeats: int, seed: int):
    """FIDs (V, t) complex64 of the object, one noise realization after the other."""
    mask, sigma = phantom.mask, snr_to_sigma(phantom.model, snr)
    clean = phantom.noiseless()[mask]
    for repeat in range(n_repeats):
        rng = np.random.default_rng([seed, repeat])
        if phantom.noise is None:
            yield add_noise(clean, sigma, rng).astype(np.complex64)
        else:
            yield phantom.measure(snr, rng).fids[mask]


def measured(
    estimate: Callable, phantom: Phantom, snr: float, priors: Mapping, lams: Iterable, regions: Mapping,
    contrasts: Mapping = {}, omega_max: float = OMEGA_MAX, n_repeats: int = 50, seed: int = 0, n_bootstrap: int = 1000,
) -> xr.Dataset:  # fmt: skip
    """The same by Monte Carlo, one single-voxel estimate per noise realization for every prior and lambda.

    `estimate` makes amplitudes (V, M) of FIDs (V, t). Returns also `ratio_low`, `ratio_high` (95 %, paired bootstrap of
    `n_bootstrap` resamples of the realizations), `kept_sd` (from one measurement to the next), and the maps `mean_map`
    and `sd_map` (prior, lam, metabolite, x, y, z).
    """
    lams = list(lams)
    if n_repeats < 2:
        raise InputError(f"n_repeats is {n_repeats}; an SD needs at least two noise realizations.")
    model, mask, water = phantom.model, phantom.mask, phantom.model.index(phantom.model.reference)
    solvers = _solvers(priors, lams, omega_max)
    truth = phantom.concentrations.values[:, mask].T
    inside = np.stack([r[mask] / r.sum() for r in regions.values()])
    moments, squares, shares = [RunningMoments() for _ in solvers], [], []
    for noisy in _noisy_fids(phantom, snr, n_repeats, seed):
        single = estimate(noisy)
        smooth = np.stack([single if s.lam == 0 else s(single) for s in solvers])
        maps = model.reference_concentration_mm * smooth / smooth[..., [water]]
        for each, values in zip(moments, maps, strict=True):
            each.add(values[None])
        squares.append(np.swapaxes(inside @ (maps - truth) ** 2, -1, -2))
        shares.append(_kept(contrasts, maps))
    shape, zero, squares, shares = (len(priors), len(lams)), lams.index(0), np.stack(squares), np.stack(shares)
    mean, sd = (np.stack([getattr(m, key) for m in moments]) for key in ("mean", "sd"))

    def split(values):
        return values.reshape(*values.shape[:-3], *shape, *values.shape[-2:])

    def ratio(chosen):
        mse = split(squares[chosen].mean(0))
        single = mse[:, [zero]]
        return np.sqrt(mse / np.where(single > 1e-12, single, np.nan))  # the reference over itself has no error

    draws = np.random.default_rng(seed).integers(0, n_repeats, (n_bootstrap, n_repeats))
    low, high = np.percentile([ratio(d) for d in draws], [2.5, 97.5], axis=0)
    variables = {
        "rmse": np.sqrt(split(squares.mean(0))),
        # the mean of n realizations still holds a share 1 / n of the noise
        "bias": split(np.swapaxes(np.sqrt(np.maximum(inside @ ((mean - truth) ** 2 - sd**2 / n_repeats), 0)), -1, -2)),
        "sd": split(np.swapaxes(np.sqrt(inside @ sd**2), -1, -2)),
        "ratio": ratio(slice(None)), "ratio_low": low, "ratio_high": high,
        "kept": split(shares.mean(0)), "kept_sd": split(shares.std(0, ddof=1)),
    }  # fmt: skip
    attrs = {"snr": snr, "omega_max": omega_max, "n_repeats": n_repeats, "seed": seed}
    dataset = _dataset(variables, priors, lams, phantom, regions, contrasts, attrs)
    for name, values in (("mean_map", mean), ("sd_map", sd)):
        grid = unmask(mask, np.swapaxes(split(values), -1, -2))
        dataset[name] = (("prior", "lam", "metabolite", "x", "y", "z"), grid)
    return dataset
