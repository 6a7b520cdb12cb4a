r"""The data set teaches its signal model: dead time, and frequency, width and lineshape of each line.

These terms g (`terms`) are common to all voxels; amplitudes, shift, broadening and phase are each voxel's own.
Gauss-Newton on the likelihood of all FIDs: with the slopes J_v by a voxel's own parameters and K_v by the common ones,
the information on g and the gradient are

    I = sum_v K_v^T P_v K_v / sigma^2,   s = sum_v K_v^T P_v r_v / sigma^2,   P_v = 1 - J_v (J_v^T J_v)^-1 J_v^T ,

and every voxel is fitted again after each step. A normal prior around the model file holds what the data do not tell.
``s^T I^-1 s`` at g = 0 is Rao's score test of whether there is anything to learn. Of the terms, those stay whose loss
would cost the likelihood more than they add freedom (AIC); the uncertainty is that of all terms, so that choosing among
them does not make it too small.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import chi2

from precise_lib.estimate.fit import FitResult, fit_fids
from precise_lib.estimate.noise_model import Noise
from precise_lib.quantify import mismatch, pooled
from precise_lib.quantify.mismatch import Reason
from precise_lib.quantify.pooled import Pooled
from precise_lib.quantify.terms import SPREAD, Term, changed, slopes, terms
from precise_lib.signal.information import fisher, inverse, jacobian
from precise_lib.signal.model import SignalModel
from precise_lib.simulate.imperfections import IMPERFECTIONS

CHUNK = 128  # voxels whose slopes are in memory together: about 25 MB
STEPS = 10
DEAD_TIMES_S = np.arange(0, 2.1e-3, 2.5e-4)  # where the search for a dead time starts
AIC = 2.0  # twice the log likelihood that a term must bring
NARROWED = 0.5  # of the width of the model's lines: where most voxels are narrower, the model is made so


@dataclass(frozen=True)
class Normal:
    """Information (G, G) and gradient (G,) of common terms for unit noise, and the residual energy of all voxels."""

    information: np.ndarray
    gradient: np.ndarray
    energy: float


def _slopes(model: SignalModel, fit: FitResult, rows, by_term):
    """Slopes (v, M + 3, t) and (v, G, t) of voxels turned back: by their own parameters, by the common terms."""
    a, broad = fit.amplitudes[rows], fit.broadening_hz[rows]
    own = jacobian(model, a, 0.0, broad, 0.0)
    return own, np.einsum("vm,gtm->vgt", a, by_term) * model.envelope(0.0, broad)[:, None]


def sensitivity(fit: FitResult, model: SignalModel, by_term) -> np.ndarray:
    """How the amplitudes of each voxel move with the common terms, (V, M, G), to first order."""
    m, out = len(model.names), []
    for i in range(0, len(fit.amplitudes), CHUNK):
        own, common = _slopes(model, fit, slice(i, i + CHUNK), by_term)
        cross = (own.conj() @ np.swapaxes(common, -1, -2)).real
        out.append(-(inverse(fisher(own)) @ cross)[:, :m])
    return np.concatenate(out)


@dataclass(frozen=True)
class Teacher:
    """FIDs (V, t) that teach the model `given`; the last `zero_filled` points do not count, `sigma` is the noise SD."""

    fids: np.ndarray
    given: SignalModel
    sigma: float
    zero_filled: int = 0

    def fit(self, model: SignalModel) -> FitResult:
        return fit_fids(self.fids, model)

    def normal(self, fit: FitResult, found: list[Term], values) -> Normal:
        """At `values` of the terms, by the fit of the voxels there."""
        model, n = changed(self.given, found, values), self.fids.shape[1] - self.zero_filled
        rest, by_term = pooled.turned_back(self.fids, fit, model)[:, :n], slopes(self.given, found, values)
        information, gradient = np.zeros((len(found), len(found))), np.zeros(len(found))
        for i in range(0, len(rest), CHUNK):
            own, common = (s[..., :n] for s in _slopes(model, fit, slice(i, i + CHUNK), by_term))
            m, both = own.shape[1], np.concatenate([own, common], 1)
            every, seen = fisher(both), np.einsum("vkt,vt->vk", both.conj(), rest[i : i + CHUNK]).real
            back = every[:, m:, :m] @ inverse(every[:, :m, :m])
            information += (every[:, m:, m:] - back @ every[:, :m, m:]).sum(0)
            gradient += (seen[:, m:] - np.einsum("vgk,vk->vg", back, seen[:, :m])).sum(0)
        return Normal(information, gradient, float((np.abs(rest) ** 2).sum()))

    def start(self, found: list[Term]) -> np.ndarray:
        """Zero, but for the dead time of the least residual: its phases may be far from small."""
        values = np.zeros(len(found))
        if Term("dead time") in found:
            few = replace(self, fids=self.fids[:: -(-len(self.fids) // 64)])
            energy = [np.sum(few.fit(changed(self.given, [Term("dead time")], [t])).sigma ** 2) for t in DEAD_TIMES_S]
            values[found.index(Term("dead time"))] = DEAD_TIMES_S[int(np.argmin(energy))]
        return values

    def climb(self, found: list[Term], values) -> Peak:
        """The largest posterior near a start."""
        prior = np.array([SPREAD[t.kind] for t in found]) ** -2.0
        low, step, peak = np.array([t.lowest(self.given) for t in found]), np.zeros(len(found)), None
        values = np.maximum(values, low)
        for _ in range(STEPS):
            trial = np.maximum(values + step, low)
            fit = self.fit(changed(self.given, found, trial))
            at = self.normal(fit, found, trial)
            cost = at.energy / self.sigma**2 + (prior * trial**2).sum()
            if peak is not None and cost > peak.cost:
                step = step / 4
                continue
            gained, values = np.inf if peak is None else peak.cost - cost, trial
            curve = at.information / self.sigma**2 + np.diag(prior)
            peak = Peak(found, values, curve, cost, fit)
            if gained < 0.01:
                break
            step = _within(at.gradient / self.sigma**2 - prior * values, curve, values <= low)
        return peak


@dataclass(frozen=True)
class Peak:
    """Where the posterior of the terms is largest: values (G,), minus its second derivative (G, G), cost, and fit."""

    terms: list[Term]
    values: np.ndarray
    curve: np.ndarray
    cost: float
    fit: FitResult

    def kept(self) -> np.ndarray:
        """(G,) bool: terms that stay; the least is left out first, and the others follow."""
        keep, now = self.values != 0, self.values.copy()
        while keep.any():
            rows = np.flatnonzero(keep)
            covariance = np.linalg.inv(self.curve[np.ix_(rows, rows)])
            loss = now[rows] ** 2 / np.diag(covariance)
            least = int(loss.argmin())
            if loss[least] > AIC:
                break
            now[rows] -= covariance[:, least] * now[rows[least]] / covariance[least, least]
            keep[rows[least]] = False
        return keep


def _within(gradient, curve, at_bound) -> np.ndarray:
    """Newton's step, where terms at their bound that want beyond it are held."""
    free = np.ones(len(gradient), bool)
    while True:
        step = np.zeros(len(gradient))
        step[free] = np.linalg.solve(curve[np.ix_(free, free)], gradient[free])
        beyond = free & at_bound & (step < 0)
        if not beyond.any():
            return step
        free &= ~beyond


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
