"""When not to trust a map: flags per voxel, each one way to leave what a network or a signal model knows.

* **range**: an amplitude near or beyond those of the training;
* **snr**: water weaker, against the noise, than any FID of the training (for a fit: than where it was tested);
* **offset**, **broadening**: frequency or line width outside the training, by more than twice its own uncertainty;
* **fit**: a fit that did not converge, or ended on the edge of its search;
* **negative**: a metabolite of the fit below zero by five times its own uncertainty;
* **overlap**: an estimator that says it is biased errs on the FID of the fit by more than a share of the fit's result;
* **bright**: water far above that of all voxels around; a prior on amplitudes would hand on what the voxel holds;
* **residual**: what the best fit leaves is no noise.

The last is a test, see `residuals`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.stats import poisson

from precise_lib.estimate.fit import FitResult, fit_fids
from precise_lib.estimate.noise_model import Noise
from precise_lib.estimate.registry import Limits
from precise_lib.evaluate import closed_form, crlb
from precise_lib.quantify.residuals import CHUNK, Residual, residual_p
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import Series
from precise_lib.signal.noise import water_snr

FALSE_ALARM = 1e-3  # chance that noise alone raises the residual flag of a voxel
NEAR = 0.05  # share of the training range that counts as near its end
FIT_SNR = 5.0  # lowest SNR of water at which the fit was held to its bound
NEGATIVE = 5.0  # SD
BRIGHT = 5.0  # times the median water of the voxels around; next to a coil it doubles from one to the next
AROUND = 3  # voxels with water around one, at least
BIASED = 0.2  # share of a concentration that the bias of an estimator may take without a flag


@dataclass(frozen=True)
class Flag:
    """Voxel-frames (N,) bool that something speaks against, and the sentence that says what."""

    reason: str
    hits: np.ndarray
    sentence: str
    about: dict = field(default_factory=dict)
    chance: float = 0.0  # hits expected by chance

    @property
    def worth_saying(self) -> bool:
        """More hits than chance brings in 99 of 100 data sets."""
        return bool(self.hits.sum() > (poisson.ppf(0.99, self.chance) if self.chance else 0))

    def about_file(self, name: str) -> dict:
        """What the summary says of the flag and its map."""
        count = int(self.hits.sum())
        return {"voxels": count, **self.about, "sentence": self.sentence if count else None, "file": name}


def residual_flag(rest: Residual, model: SignalModel, *noise) -> Flag:
    """Voxels whose residual is no noise; `noise` as in `residuals.residual_p`."""
    hits = residual_p(rest, model, *noise) < FALSE_ALARM
    chance = FALSE_ALARM * len(hits)
    about = {"p_below": FALSE_ALARM, "expected_by_chance": round(chance, 3)}
    where = ""
    if hits.any():
        ppm = model.carrier_ppm + rest.frequency_hz[hits, 0] / model.acquisition.spectrometer_frequency_mhz
        about["strongest_line_at_ppm"] = round(float(np.median(ppm)), 2)
        where = f", strongest at {np.median(ppm):.1f} ppm (median)"
    said = (
        f"In {hits.sum()} of {len(hits)} voxel(s) the best fit leaves more than noise (p < {FALSE_ALARM:g}, at most "
        f"{chance:.2g} expected by chance){where}: lines, a baseline or line shapes that the signal model lacks."
    )
    return Flag("residual", hits, said, about, chance)


def _snr_flag(model, amplitudes, sigma, lowest, why) -> Flag:
    """By the SNR of the undistorted water line as the paper and the training count it."""
    hits = ~(water_snr(model, amplitudes, sigma) >= lowest)
    said = f"In {hits.sum()} voxel(s) the SNR of {model.reference or 'the strongest line'} is below {lowest:g}: {why}."
    return Flag("snr", hits, said, {"lowest": float(lowest)})


def _outside(model, fit: FitResult, sigma, which: str, limits, lost, why) -> Flag:
    """Shift or broadening beyond its limits by more than twice the SD that its bound allows; not of `lost` voxels."""
    values, position = (fit.shift_hz, 0) if which == "offset" else (fit.broadening_hz, 1)
    beyond, sigma = np.maximum(limits[0] - values, values - limits[1]), np.broadcast_to(sigma, len(values))
    hits = (beyond > 0) & ~lost
    for part in np.array_split(np.flatnonzero(hits), hits.sum() // 512 + 1):
        cov = crlb.covariance(model, fit.amplitudes[part], sigma[part], broadening_hz=fit.broadening_hz[part])
        k = len(model.names) + position
        hits[part] = beyond[part] > 2 * np.sqrt(cov[:, k, k])
    words = {"offset": "frequency offset", "broadening": "extra line width"}[which]
    said = f"In {hits.sum()} voxel(s) the {words} lies outside {limits[0]:.3g} to {limits[1]:.3g} Hz: {why}."
    return Flag(which, hits, said, {"limits_hz": [float(x) for x in limits]})


def range_flag(model: SignalModel, limits: Limits, amplitudes) -> Flag:
    """Amplitudes (N, M) near or beyond those that a network was trained on."""
    water, ranges = model.index(model.reference), limits.amplitudes
    unit = amplitudes[:, [water]]
    if limits.one_unit:
        unit = np.full_like(unit, np.median(unit))
    margin = NEAR * (ranges[:, 1] - ranges[:, 0])
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(unit > 0, amplitudes / unit, np.nan)
    varied = ranges[:, 1] > ranges[:, 0]
    far = varied & ~((relative >= ranges[:, 0] + margin) & (relative <= ranges[:, 1] - margin))
    hits, scale = far.any(-1), model.reference_concentration_mm
    names = [n for n, any_ in zip(model.names, far.any(0), strict=True) if any_]
    low, high = scale * ranges[varied].min(), scale * ranges[varied].max()
    said = (
        f"In {hits.sum()} voxel(s) an estimate ({', '.join(names)}) lies near or beyond the {low:.3g} to {high:.3g} mM "
        f"that the network '{limits.network}' was trained on: there it is drawn toward what it knows."
    )
    within = {n: [float(scale * x) for x in r] for n, r in zip(model.names, ranges, strict=True) if r[1] > r[0]}
    return Flag("range", hits, said, {"limits_mm": within})


def limit_flags(model: SignalModel, limits: Limits, amplitudes, fit: FitResult, sigma) -> list[Flag]:
    """Where an estimator with amplitudes (N, M) leaves the `Limits` that it states; sigma (N,) is the noise SD.

    The fit is of the same FIDs: it can leave ranges of shift and width where a network cannot.
    """
    found = [] if limits.amplitudes is None else [range_flag(model, limits, amplitudes)]
    snr = _snr_flag(model, amplitudes, sigma, limits.snr, limits.snr_why)
    found.append(snr)
    for which, within in (("offset", limits.shift_hz), ("broadening", limits.broadening_hz)):
        if within is not None:
            found.append(_outside(model, fit, sigma, which, within, snr.hits, limits.why))
    return found


def fit_flags(model: SignalModel, fit: FitResult, sigma) -> list[Flag]:
    """Where a fit is no efficient estimate: too little signal, or no convergence."""
    hits = ~fit.converged
    said = f"In {hits.sum()} voxel(s) the fit did not converge or ended on the edge of its search; look at them."
    why = "there a fit may be biased, and its SD more than the bound says"
    return [_snr_flag(model, fit.amplitudes, sigma, FIT_SNR, why), Flag("fit", hits, said)]


def negative_flag(model: SignalModel, fit: FitResult, sigma, noise: Noise | None = None) -> Flag:
    """Metabolites of a fit that are negative beyond their noise; sigma (N,) is its SD."""
    sigma, nuisance = np.broadcast_to(sigma, len(fit.amplitudes)), fit.nuisance(model)
    alone = sigma[:, None] / np.linalg.norm(model.basis(), axis=0)  # the least that an SD can be
    below = model.of_role("metabolite") & (fit.amplitudes < -NEGATIVE * alone)
    rows = np.flatnonzero(below.any(-1))
    if len(rows):
        own = {name: x[rows] for name, x in nuisance.items()}
        cov = closed_form.sve_covariance(model, fit.amplitudes[rows], sigma[rows], noise=noise, **own)
        below[rows] &= fit.amplitudes[rows] < -NEGATIVE * np.sqrt(np.einsum("vkk->vk", cov))
    hits, names = below.any(-1), [n for n, any_ in zip(model.names, below.any(0), strict=True) if any_]
    said = (
        f"In {hits.sum()} voxel(s) the fit is negative by more than {NEGATIVE:g} SD ({', '.join(names)}): a line of "
        "opposite phase, one that the signal model lacks or has in another place, or spectra that are mirrored."
    )
    return Flag("negative", hits, said, {"beyond_sd": NEGATIVE})


def overlap_flag(model: SignalModel, method, fit: FitResult, sigma) -> Flag:
    """Where an estimator with amplitudes that says it is biased is so on the FIDs of the fit, beyond a share of it."""
    bias, nuisance = np.empty(fit.amplitudes.shape), fit.nuisance(model)
    truth = model.concentrations(fit.amplitudes)
    for i in range(0, len(bias), CHUNK):
        part = slice(i, i + CHUNK)
        clean = model.fids(fit.amplitudes[part], **{name: x[part] for name, x in nuisance.items()})
        bias[part] = model.concentrations(method.amplitudes(clean.astype(np.complex64), model)) - truth[part]
    water = np.ones((len(bias), 1)) if model.divisor is None else fit.amplitudes[:, [model.divisor]]
    alone = np.broadcast_to(sigma, len(bias))[:, None] / np.linalg.norm(model.basis(), axis=0)
    noise = model.reference_concentration_mm * alone / np.where(water > 0, water, np.nan)
    far = ~(np.abs(bias) <= np.maximum(BIASED * np.abs(truth), 2 * noise))
    hits, at = far.any(-1), np.nanmedian(np.abs(bias), 0)
    names = [f"{n} by {x:.2g} {model.units}" for n, any_, x in zip(model.names, far.any(0), at, strict=True) if any_]
    said = (
        f"In {hits.sum()} voxel(s) '{method.name}' errs by more than {100 * BIASED:.0f} % on the very FID that the fit "
        f"describes (median: {', '.join(names)}): lines overlap, or are wider than assumed; 'fit' has no such bias."
    )
    return Flag("overlap", hits, said, {"share": BIASED})


def bright_flag(series: Series, amplitudes, sigma, lost) -> Flag:
    """Voxel-frames whose water is `BRIGHT` times the median of those around it that are not `lost` (N,), beyond noise.

    Eq. 4 smooths amplitudes: of two voxels without an edge between them the brighter decides what both hold.
    """
    water, hits = amplitudes[:, series.model.index(series.model.reference)], np.zeros(len(amplitudes), bool)
    alone = np.broadcast_to(sigma, len(water)) / np.linalg.norm(series.model.basis(), axis=0).max()
    steps = [step for step in np.ndindex(3, 3, 3) if step != (1, 1, 1)]
    for usable, part in zip(series.usable, series.parts, strict=True):
        around = np.full(np.add(usable.shape, 2), np.nan)
        around[1:-1, 1:-1, 1:-1][usable] = np.where(lost[part], np.nan, water[part])
        boxes = [tuple(slice(k, k + n) for k, n in zip(step, usable.shape, strict=True)) for step in steps]
        near = np.array([around[box][usable] for box in boxes])
        enough = np.isfinite(near).sum(0) >= AROUND
        middle = np.nanmedian(np.where(enough, near, 0.0), 0)
        hits[part] = enough & ~lost[part] & (water[part] - BRIGHT * middle > NEGATIVE * alone[part])
    said = (
        f"In {hits.sum()} voxel(s) water is more than {BRIGHT:g} times that of the voxels around: they keep their "
        "single-voxel results and are no neighbors, for a prior on amplitudes would give to the others what they hold."
    )
    return Flag("bright", hits, said, {"times": BRIGHT})


def mirrored(fids, model: SignalModel, fit: FitResult, sigma) -> str | None:
    """A sentence where FIDs (V, t) are fitted better with their frequency axis reversed; sigma (V,) is the noise SD."""
    reversed_ = fit_fids(np.conj(fids), model)
    gain = (fit.sigma**2 - reversed_.sigma**2) / np.asarray(sigma) ** 2 * model.acquisition.n_samples
    better = (gain > 2 * np.log(1 / FALSE_ALARM)).mean()
    if better < 0.5:
        return None
    return (
        f"{100 * better:.0f} % of the voxels fit better with the frequency axis reversed: the file seems to hold the "
        "complex conjugate of what NIfTI-MRS asks for; store the conjugate FIDs."
    )
