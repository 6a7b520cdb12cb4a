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
from precise_lib.signal.mrsi import unmask
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
    return unmask(phantom.mask, np.moveaxis(values, -1, -2))


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
    """`regularization_studies` of one phantom."""
    return regularization_studies(estimate, [phantom], snr, lams, omega_maxs, n_repeats, seed, batch)[0]


def regularization_studies(
    estimate: Callable, phantoms: Iterable[Phantom], snr: float, lams: Iterable, omega_maxs: Iterable = (OMEGA_MAX,),
    n_repeats: int = 1000, seed: int = 0, batch: int = 50,
) -> list[xr.Dataset]:  # fmt: skip
    """`closed_form` by Monte Carlo: one estimate per noise realization, then every lambda and omega_max.

    All phantoms, alike in shape and mask, meet the same noise. `estimate` makes amplitudes (V, M) of FIDs (V, t), each
    voxel by itself: a voxel whose content is that of the first phantom is not estimated again. `batch` realizations are
    in memory together. Each dataset has also `recovery_sd`, the SD of `recovery` from one measurement to the next.
    """
    phantoms, lams, omega_maxs = list(phantoms), list(lams), list(omega_maxs)
    if n_repeats < 2:
        raise InputError(f"n_repeats is {n_repeats}; an SD needs at least two noise realizations.")
    if any(not np.array_equal(p.mask, phantoms[0].mask) for p in phantoms):
        raise InputError("The phantoms of a study must have one shape and mask.")
    tallies = [_Tally(phantom, lams, omega_maxs) for phantom in phantoms]
    for start in range(0, n_repeats, batch):
        repeats = range(start, min(start + batch, n_repeats))
        sve = np.stack([_amplitudes(estimate, phantoms, snr, seed, repeat) for repeat in repeats], 1)
        for tally, own in zip(tallies, sve, strict=True):
            tally.add(own)
    return [tally.dataset(snr, {"seed": seed, "n_repeats": n_repeats}) for tally in tallies]


def _amplitudes(estimate: Callable, phantoms: list[Phantom], snr: float, seed: int, repeat: int) -> list[np.ndarray]:
    """Amplitudes (V, M) of each phantom under one noise realization."""
    first, mask = phantoms[0], phantoms[0].mask
    (fids,) = noisy_fids(first, snr, seed, [repeat])
    out = [estimate(fids)]
    for phantom in phantoms[1:]:
        moved = (phantom.amplitudes != first.amplitudes)[mask].any(-1)
        own = out[0].copy()
        if moved.any():
            change = phantom.model.fids((phantom.amplitudes - first.amplitudes)[mask][moved])
            own[moved] = estimate(fids[moved] + change.astype(np.complex64))
        out.append(own)
    return out


class _Tally:
    """Moments of maps and contrasts of one phantom over noise, for every (omega_max, lam)."""

    def __init__(self, phantom: Phantom, lams: list, omega_maxs: list):
        self.phantom, self.lams, self.omega_maxs, n = phantom, lams, omega_maxs, int(phantom.mask.sum())
        weights = [edge_weights(gray_levels(phantom), omega_max) for omega_max in omega_maxs]
        # dense, since a phantom is small: one matrix product serves all realizations of a batch
        self.rows = [[ExactSolver(w, lam).rows(np.arange(n)) for lam in lams] for w in weights]
        self.maps, self.sites = ([[RunningMoments() for _ in lams] for _ in weights] for _ in range(2))

    def add(self, sve: np.ndarray):
        """Take in amplitudes (n, V, M)."""
        for i, line in enumerate(self.rows):
            for j, h in enumerate(line):
                result = to_maps(self.phantom, sve if self.lams[j] == 0 else h @ sve)
                self.maps[i][j].add(result)
                self.sites[i][j].add(contrast(self.phantom, result))

    def dataset(self, snr: float, attrs: dict) -> xr.Dataset:
        mean, sd = ([[getattr(m, key) for m in line] for line in self.maps] for key in ("mean", "sd"))
        own = {"mean": mean, "sd": sd, "recovery_sd": [[m.sd for m in line] for line in self.sites]}
        return _dataset(self.phantom, self.lams, self.omega_maxs, snr, attrs, **own)


def weakest_coupling(gray: np.ndarray, omega_max: float) -> np.ndarray:
    """Smallest weight to a neighbor over the cap (x, y, z): one where the prior sees no edge, NaN outside."""
    table, out = edge_weights(gray, omega_max), np.full(gray.shape, np.nan)
    out[np.isfinite(gray)] = np.minimum.reduceat(table.data, table.indptr[:-1]) / omega_max
    return out


def rms(maps, where) -> np.ndarray:
    """Root mean square of maps (..., x, y, z) over some voxels."""
    return np.sqrt((np.asarray(maps)[..., where] ** 2).mean(-1))
