r"""Shrinkage of estimates toward the training range: predicted from the bound and the range, and measured.

See Eq. truncated of the theory page. The mean of an estimate rises by at most SD / CRLB with the truth (Cramer and
Rao with bias); where that mean is a curve, its line of regression by at most sqrt(1.2) times as much, in pure noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from precise_lib.errors import InputError
from precise_lib.estimate import truncated_normal
from precise_lib.evaluate.efficiency import efficient_map
from precise_lib.evaluate.regression import controlled_line
from precise_lib.proton import brain
from precise_lib.proton.denoised import linearized
from precise_lib.proton.scores import marginals
from precise_lib.proton.spectrum_model import SpectrumModel
from precise_lib.signal.model import SignalModel
from precise_lib.signal.noise import snr_to_sigma

CHUNK = 1000  # FIDs whose Jacobians are in memory together: about 60 MB
FAITHFUL, MIRAGE = 0.03, 0.9  # largest |slope - 1| of the one, slope that the other stays below
FROM_THE_FID = 1.2**0.5  # largest slope over SD / CRLB of anything that sees the FID alone


def expected(truth, sd, low, high, order: int = 41) -> np.ndarray:
    """Mean over the noise of `truncated_normal.mean` of an unbiased estimate with SD `sd`; arguments broadcast."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    truth, sd = (np.asarray(x, float)[..., None] for x in np.broadcast_arrays(truth, sd))
    low, high = (np.asarray(x, float)[..., None] for x in (low, high))
    return truncated_normal.mean(truth + sd * nodes, sd, low, high) @ (weights / weights.sum())


@dataclass(frozen=True)
class RandomFids:
    """Simulated FIDs (n, t) complex64 of single voxels whose noise is known, with the `model` of their signals.

    `truth` (n, M) is in mM, that of the reference its known concentration; `snr`, `sigma` (n,) SNR of the undistorted
    reference line and noise SD per real channel; `bound` (n, M) the Cramer-Rao bound on the concentration, and `error`
    (n, M) the error of an efficient estimate of it for this very noise, both in mM and to first order in the noise.
    """

    model: SignalModel
    fids: np.ndarray
    truth: np.ndarray
    snr: np.ndarray
    sigma: np.ndarray
    bound: np.ndarray
    error: np.ndarray

    @property
    def slope_of_a_ratio(self) -> np.ndarray:
        """``1 + c^2`` (n,): mean of an unbiased amplitude over an unbiased reference, to second order.

        c is the bound on the reference with all else known, over its amplitude; what the unknown linewidth adds to both
        amplitudes cancels (Eq. ratio of the theory page).
        """
        relative = self.truth / self.model.reference_concentration_mm
        others = np.arange(relative.shape[1]) != self.model.index(self.model.reference)
        variance = (self.bound / self.model.reference_concentration_mm) ** 2 / (1 + relative**2)
        return 1 + variance[:, others].mean(1)

    def take(self, chosen) -> RandomFids:
        """Some of the FIDs; `chosen` as NumPy indexes rows."""
        rows = {k: getattr(self, k)[chosen] for k in ("fids", "truth", "snr", "sigma", "bound", "error")}
        return RandomFids(self.model, **rows)


def draw(
    model: SignalModel, ranges_mm: Mapping[str, tuple[float, float]], n: int, seed: int = 0, snr=(5.0, 40.0),
    shift_hz=(0.0, 0.0), broadening_hz=(0.0, 0.0),
) -> RandomFids:  # fmt: skip
    """Random FIDs as in "Miracle or mirage?": concentrations, SNR, shift and broadening independent and uniform.

    `ranges_mm` is (low, high) by metabolite, for every line but the reference, which has its known concentration; the
    phase is uniform on the circle. Raises `InputError` for a metabolite without a range, or a range that is empty.
    """
    names, w, mm = model.names, model.index(model.reference), model.reference_concentration_mm
    others = [k for k in range(len(names)) if k != w]
    if set(ranges_mm) != {names[k] for k in others} or not all(low < high for low, high in ranges_mm.values()):
        wanted = ", ".join(names[k] for k in others)
        raise InputError(f"Give a range (low, high) in mM for each of {wanted}, and no other.")
    if n < 1 or not 0 < snr[0] <= snr[1]:
        raise InputError("At least one FID and an SNR above zero are needed.")
    rng = np.random.default_rng(seed)
    low, high = np.array([ranges_mm[names[k]] for k in others], float).T
    truth = np.full((n, len(names)), mm)
    truth[:, others] = rng.uniform(low, high, (n, len(others)))
    levels, nuisance = rng.uniform(*snr, n), {}
    for name, ends in {"shift_hz": shift_hz, "broadening_hz": broadening_hz, "phase_rad": (-np.pi, np.pi)}.items():
        nuisance[name] = rng.uniform(*ends, n)
    sigma, amplitudes = snr_to_sigma(model, levels), truth / mm
    fids = np.empty((n, model.acquisition.n_samples), np.complex64)
    bound, error = np.empty_like(truth), np.empty_like(truth)
    for i in range(0, n, CHUNK):
        part = slice(i, i + CHUNK)
        a, s, own = amplitudes[part], sigma[part], {k: v[part] for k, v in nuisance.items()}
        clean = model.fids(a, **own)
        noise = s[:, None] * rng.standard_normal((*clean.shape, 2)).view(complex)[..., 0]
        fids[part] = clean + noise
        weights = efficient_map(model, a, **own)
        weights = mm * (weights - a[:, None] * weights[..., [w]])  # of the ratio to the reference, which is one
        error[part] = np.einsum("nt,ntm->nm", noise, weights).real
        bound[part] = s[:, None] * np.sqrt((np.abs(weights) ** 2).sum(1))
    return RandomFids(model, fids, truth, levels, sigma, bound, error)


def summary(truth, estimate, error, maximum, names=None, together: int = 1, control=None) -> xr.Dataset:
    """The tests of "Miracle or mirage?" for estimates of concentrations drawn from 0 to `maximum` (M,).

    Arguments as of `regression.controlled_line`; the RMS of `error` is that of an efficient, unbiased estimate, and
    `control` (n, M) takes its place as regressor for an estimator that averages voxels. Returns (metabolite):
    `controlled_line`, `scores.marginals`, and over that RMS `rmse_ratio` and `noise_kept` (of the spread); `gain` is
    the slope over the latter: contrast to noise, one for an efficient estimate.
    """
    table = controlled_line(truth, estimate, error if control is None else control, names, together)
    table = table.merge(marginals(estimate, maximum, names))
    efficient = np.sqrt((np.asarray(error, float) ** 2).mean(0))
    table["efficient"] = ("metabolite", efficient)
    table["rmse_ratio"], table["noise_kept"] = table.rmse / efficient, table.spread / efficient
    table["gain"] = table.slope / table.noise_kept
    return table


def efficient_errors_1h(data: xr.Dataset, points: slice) -> np.ndarray:
    """First-order errors (n, 16) in mM of an efficient fit of these very spectra of `brain.draw`, all parameters
    unknown; `points` of the plain FFT are what the fit sees.
    """
    model, out = SpectrumModel(brain.brain_basis(), points), []
    for fisher, gradient in linearized(model, data):
        out.append(np.linalg.solve(fisher, gradient[..., None])[:, : len(brain.METABOLITES), 0])
    return np.concatenate(out)


def verdict(slope: float, slope_low: float, slope_high: float, rmse_ratio: float, noise_kept: float) -> str:
    """One word for a slope with its interval, and for RMSE and noise over those of an efficient estimate.

    "faithful": within `FAITHFUL` of one. "open": not, but the interval holds one. "smoothed": contrast was lost, but
    more noise than the FID alone allows. "mirage": the slope lies below `MIRAGE`, its interval too, the RMSE is the
    smaller for it, and nothing was learned: contrast to noise is what the FID alone allows. "biased": the same without
    a smaller RMSE. "shrunk" or "expanded" else.
    """
    if abs(slope - 1) <= FAITHFUL:
        return "faithful"
    if slope_low <= 1 <= slope_high:
        return "open"
    if slope < 1 and slope_low > FROM_THE_FID * noise_kept:
        return "smoothed"
    if slope_high < MIRAGE:
        return "mirage" if rmse_ratio < 1 else "biased"
    return "shrunk" if slope < 1 else "expanded"
