"""The data set teaches its signal model: dead time, and frequency, width and lineshape of each line.

``s^T I^-1 s`` of `learn` at g = 0 is Rao's score test of whether there is anything to learn. Of the terms, those stay
whose loss would cost the likelihood more than they add freedom (AIC); the uncertainty is that of all terms, so that
choosing among them does not make it too small.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import chi2

from precise_lib.estimate.fit import FitResult, fit_fids
from precise_lib.estimate.noise_model import Noise
from precise_lib.quantify import mismatch, pooled
from precise_lib.quantify.learn import Peak, Teacher
from precise_lib.quantify.mismatch import Reason
from precise_lib.quantify.pooled import Pooled
from precise_lib.quantify.terms import Term, changed, terms
from precise_lib.signal.model import SignalModel
from precise_lib.simulate.imperfections import IMPERFECTIONS

NARROWED = 0.5  # of the width of the model's lines: where most voxels are narrower, the model is made so


@dataclass(frozen=True)
class Calibration:
    """What a data set says of its signal model.

    `model` is the model `given` with `values` (G,) of `terms`, of covariance (G, G); without terms nothing was changed.
    `before`, `after`: residual pooled under both; `score_p`: of the test whether there is anything to learn; `reason`:
    what explains best what is left, or was not to be taught; `moved`: mean change of each concentration, relative;
    `offered`: the model given with a line more, where the reason is one and the likelihood of all voxels asks for it.
    """

    given: SignalModel
    model: SignalModel
    before: Pooled
    after: Pooled
    score_p: float
    reason: Reason | None = None
    terms: tuple[Term, ...] = ()
    values: np.ndarray | None = None
    covariance: np.ndarray | None = None
    moved: np.ndarray | None = None
    offered: SignalModel | None = None


def offered(fids, model: SignalModel, fit: FitResult, reason: Reason, sigma: float) -> SignalModel | None:
    """The model with the line more that a reason names, its amplitude each voxel's own; None without good evidence.

    Place and width are those of the library: taught by the same data, they could not be told from those of a line
    beside it, whose amplitude would pay for that.
    """
    entry = IMPERFECTIONS[reason.name]
    if entry.extra is None:
        return None
    wider = entry.signal(model, entry.sizes[0])
    name = reason.name if reason.name not in model.names else f"{reason.name} {len(model.names)}"
    wider = replace(wider, resonances=(*model.resonances, replace(wider.resonances[-1], name=name)))

    def energy(found, of):
        return float((found.sigma**2).sum()) * (2 * fids.shape[1] - len(of.names) - len(of.common))

    gained = (energy(fit, model) - energy(fit_fids(fids, wider), wider)) / sigma**2
    return wider if chi2.sf(gained, len(fids)) < pooled.ALARM else None


def calibrate(fids, model: SignalModel, noise: Noise, only: list[Term] | None = None) -> Calibration:
    """What FIDs (V, t) of a data set teach of their signal model; `noise` is theirs.

    `only` these terms are estimated, whatever the residual says. `InputError` where too few voxels have signal.
    """
    zero_filled, color = noise.zero_filled, None if noise.density is None else noise
    fids = np.asarray(fids, complex) / noise.sigma[:, None]
    fit = fit_fids(fids, model)
    rows = np.flatnonzero(pooled.representative(fids, fit, model))
    rows = rows[:: -(-len(rows) // pooled.MOST)]
    fids, fit = fids[rows], pooled.chosen(fit, rows)
    before = pooled.pool(fids, fit, model, zero_filled, color)
    # noise as the average over voxels sees it, at the lines: more than that of one voxel where voxels share it
    at_lines = noise.at(model.frequencies_hz * model.acquisition.dwell_time_s).mean()
    sigma = float(max(1.0, before.sigma * np.sqrt(len(fids))) * np.sqrt(at_lines))
    teacher, found = Teacher(fids, model, sigma, zero_filled), only or terms(model)
    at = teacher.normal(fit, found, np.zeros(len(found)))
    score_p = float(chi2.sf(at.gradient @ np.linalg.solve(at.information, at.gradient) / sigma**2, len(found)))
    nothing = Calibration(model, model, before, before, score_p)
    if not only and before.is_noise and score_p >= pooled.ALARM:
        return nothing
    reason = mismatch.likeliest(before, model, fit)
    if not only and reason is not None and not reason.taught:
        return replace(nothing, reason=reason, offered=offered(fids, model, fit, reason, sigma))
    teacher, peak = taught(teacher, found, reason)
    keep = np.ones(len(peak.terms), bool) if only else peak.kept()
    if not keep.any():
        return replace(nothing, reason=reason)
    values, covariance = np.where(keep, peak.values, 0), np.linalg.inv(peak.curve)
    if not keep.all():
        own = [t for t, k in zip(peak.terms, keep, strict=True) if k]
        values[keep] = teacher.climb(own, values[keep]).values
    calibrated = changed(teacher.given, peak.terms, values)
    new = teacher.fit(calibrated)
    after = pooled.pool(fids, new, calibrated, zero_filled, color)
    moved = calibrated.concentrations(new.amplitudes).mean(0) / model.concentrations(fit.amplitudes).mean(0) - 1
    left = None if after.is_noise else mismatch.likeliest(after, calibrated, new)
    return Calibration(
        teacher.given, calibrated, before, after, score_p, left, tuple(peak.terms), values, covariance, moved
    )


def taught(teacher: Teacher, found: list[Term], reason: Reason | None) -> tuple[Teacher, Peak]:
    """The best peak of the terms; also with a line in two where the residual looks so, or with narrower lines."""
    peak = teacher.climb(found, teacher.start(found))
    if reason is not None and reason.line is not None and Term("gaussian", reason.line) in found:
        two = terms(teacher.given, split=reason.line)
        other = teacher.climb(two, teacher.start(two))
        peak = min(peak, other, key=lambda p: p.cost)
    narrow = float(np.median(peak.fit.broadening_hz)) * np.pi
    if narrow * teacher.given.lifetime_s.max() < -NARROWED:
        rates = [1 / r.t2star_s + narrow for r in teacher.given.resonances]  # a Gaussian width is none of T2*
        slower = [
            replace(r, t2star_s=float(1 / rate)) if rate > 0 else r
            for r, rate in zip(teacher.given.resonances, rates, strict=True)
        ]
        teacher = replace(teacher, given=replace(teacher.given, resonances=tuple(slower)))
        peak = teacher.climb(peak.terms, peak.values)
    return teacher, peak
