r"""Gauss-Newton on the terms of a signal model that all voxels of a data set share, by the FIDs of all of them.

These terms g (`terms`) are common to all voxels; amplitudes, shift, broadening and phase are each voxel's own. With the
slopes J_v by a voxel's own parameters and K_v by the common ones, the information on g and the gradient are

    I = sum_v K_v^T P_v K_v / sigma^2,   s = sum_v K_v^T P_v r_v / sigma^2,   P_v = 1 - J_v (J_v^T J_v)^-1 J_v^T ,

and every voxel is fitted again after each step. A normal prior around the model file holds what the data do not tell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from precise_lib.estimate.fit import FitResult, fit_fids
from precise_lib.quantify import pooled
from precise_lib.quantify.terms import SPREAD, Term, changed, slopes
from precise_lib.signal.information import fisher, inverse, jacobian
from precise_lib.signal.model import SignalModel

CHUNK = 128  # voxels whose slopes are in memory together: about 25 MB
STEPS = 10
DEAD_TIMES_S = np.arange(0, 2.1e-3, 2.5e-4)  # where the search for a dead time starts
AIC = 2.0  # twice the log likelihood that a term must bring


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
    common = (a @ np.swapaxes(by_term, 1, 2)).swapaxes(0, 1)
    return own, common * model.envelope(0.0, broad)[:, None]


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
            every, seen = fisher(both), (both @ rest[i : i + CHUNK, :, None].conj())[..., 0].real
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
