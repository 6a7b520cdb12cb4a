r"""A prior that lets the data overrule the MRI, and chooses its own settings from one data set.

Single-voxel ratios s (V, K) with noise variance t^2 (V, K) become the minimizer c of

    sum_vk (c_vk - s_vk)^2 / t_vk^2 + lambda sum_uv g_uv rho(D_uv^2),    D_uv^2 = sum_k (c_uk - c_vk)^2 / (t_uk^2 + t_vk^2)

g are couplings by the MRI (`coupling`), D is the difference of two neighbors over all metabolites together, in units of
its own noise, and ``rho(x) = x / (1 + x / tau^2)`` (Geman and McClure) stops growing: where two neighbors differ by more
than noise explains, their coupling opens, whatever the MRI says. An infinite tau is the quadratic penalty.

The minimum is found by iteratively reweighted least squares: with ``w_uv = g_uv rho'(D_uv^2)`` the problem is linear.
rho is not convex, so the start matters: it is the solution of a large tau, which falls to its value over the first
steps (Blake and Zisserman's graduated non-convexity).

lambda, tau and the number of neighbors that the MRI may choose are those of least risk by Stein's estimate

    sum_vk [(c_vk - s_vk)^2 / t_vk^2 - 1 + 2 dc_vk/ds_vk] ,

with the divergence from one random probe (Ramani, Blu and Unser 2008): a second data set, moved by a little noise, is
solved along with the first. A probe with the noise's own correlation between voxels makes the estimate unbiased for
correlated noise, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from precise_lib.errors import InputError
from precise_lib.estimate.coupling import Couplings, Neighbors

STEPS = 8  # reweighted solves
LIGHT = 0.3  # lambda of the start
FIRST = 2.0  # tau of the first step over the last one's
PROBE = 0.1  # size of the probe in units of the noise


@dataclass(frozen=True)
class Settings:
    """lambda, tau (inf: quadratic) and number of neighbors that each voxel chooses by the MRI."""

    lam: float
    tau: float
    neighbors: int

    def __post_init__(self):
        if not (np.isfinite(self.lam) and self.lam >= 0):
            raise InputError(f"lambda is {self.lam}; it must be zero or positive.")
        if not self.tau > 0:
            raise InputError(f"tau is {self.tau}; it must be positive (inf for a quadratic penalty).")


class Problem:
    """Ratios, their noise and couplings: everything but lambda and tau.

    Parameters
    ----------
    ratios : (V, K), or (V, R, K) for R data sets that are solved at once, each with weights of its own
    variance : (V, K) of the noise
    couplings : `Couplings` on V voxels
    """

    def __init__(self, ratios, variance, couplings: Couplings):
        self.ratios, self.variance = np.asarray(ratios, float), np.asarray(variance, float)
        if self.ratios.ndim == 2:
            self.ratios = self.ratios[:, None]
        if not (np.isfinite(self.ratios).all() and (self.variance > 0).all()):
            raise InputError("Ratios must be finite and their noise variance positive.")
        self.couplings, self.difference = couplings, couplings.differences
        self.sum = self.difference.T.tocsr()
        u, v = couplings.pairs.T
        self.precision = 1 / self.variance
        self.joint = 1 / (self.variance[u] + self.variance[v])

    def _gaps(self, maps) -> np.ndarray:
        return (self.difference @ maps.reshape(len(maps), -1)).reshape(-1, *maps.shape[1:])

    def distance2(self, maps) -> np.ndarray:
        """D^2 of every pair, (E, R)."""
        return np.einsum("erk,ek->er", self._gaps(maps) ** 2, self.joint)

    def opened(self, maps, tau) -> np.ndarray:
        """Weight of every pair over that of the MRI, (E, R): one where closed, towards zero where data contradict."""
        if np.isinf(tau):
            return np.ones((len(self.joint), maps.shape[1]))
        return (1 + self.distance2(maps) / tau**2) ** -2

    def linear(self, weights, lam, start, tolerance=1e-4, right=None, most=400) -> np.ndarray:
        """Solution (V, R, K) of the quadratic problem with pair weights (E, R), by conjugate gradients from `start`."""
        p = self.precision[:, None]
        joint = lam * weights[..., None] * self.joint[:, None]
        flat = joint.reshape(len(joint), -1)
        shape, n = start.shape, len(start)
        diagonal = p + (abs(self.difference).T @ flat).reshape(shape)

        def apply(x):
            return p * x + (self.sum @ (flat * (self.difference @ x.reshape(n, -1)))).reshape(shape)

        right = p * self.ratios if right is None else right
        x = start.copy()
        residual = right - apply(x)
        ready = residual / diagonal
        direction, power = ready.copy(), np.einsum("vrk,vrk->rk", residual, ready)
        goal = tolerance**2 * np.einsum("vrk,vrk->rk", right / diagonal, right)
        goal = np.minimum(goal, tolerance**2 * n) + 1e-300
        for _ in range(most):
            if (power <= goal).all():
                break
            image = apply(direction)
            along = np.einsum("vrk,vrk->rk", direction, image)
            step = np.divide(power, along, out=np.zeros_like(power), where=along > 0)
            x += step * direction
            residual -= step * image
            ready = residual / diagonal
            before, power = power, np.einsum("vrk,vrk->rk", residual, ready)
            direction *= np.divide(power, before, out=np.zeros_like(power), where=before > 0)
            direction += ready
        return x

    def solve(
        self, lam, tau, start=None, steps: int = STEPS, tolerance=1e-3, light: float = LIGHT, first: float = FIRST
    ):
        """Minimizer (V, R, K) and its pair weights (E, R); from the maps `start` where given."""
        g = self.couplings.weight[:, None]
        flat = np.broadcast_to(g, (len(g), self.ratios.shape[1]))
        if lam == 0 or not len(g):
            return self.ratios.copy(), flat
        if np.isinf(tau):
            return self.linear(flat, lam, self.ratios if start is None else start, tolerance), flat
        maps = self.linear(flat, min(light, lam), self.ratios, tolerance) if start is None else start
        for i in range(steps):
            weights = g * self.opened(maps, tau * max(1.0, first ** (1 - 2 * (i + 1) / steps)))
            maps = self.linear(weights, lam, maps, tolerance)
        return maps, weights


def stein(problem: Problem, maps, probe, size=PROBE) -> np.ndarray:
    """Risk over the variance, (K,), of maps (V, 2, K) of the data and of the data moved by ``size * probe`` (V, K)."""
    residual2 = (maps[:, 0] - problem.ratios[:, 0]) ** 2 * problem.precision
    freedom = probe * (maps[:, 1] - maps[:, 0]) / size * problem.precision
    return (residual2 - 1 + 2 * freedom).mean(0)


@dataclass(frozen=True)
class Tuned:
    """What one data set chose.

    Attributes
    ----------
    settings : the chosen ones
    risk : Stein's estimate of the mean squared error in units of the single-voxel variance
    tried : every setting tried and its risk
    """

    settings: Settings
    risk: float
    tried: dict[Settings, float]


LADDER = (2, 3, 4, 6, 8, 12, 26)
TAUS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, np.inf)
LAMS = tuple(10 ** np.arange(-1.0, 3.01, 0.25))
SLACK = 0.2  # of the least risk that keeping what the MRI does not show may cost


class Tuner:
    """Risk of settings for one data set, computed once for each."""

    def __init__(self, ratios, variance, neighbors: Neighbors, probe):
        self.neighbors, self.probe, self.risks, self.problems = neighbors, probe, {}, {}
        self.pair = np.stack([ratios, ratios + PROBE * probe], 1), variance
        self.ladder = [k for k in LADDER if k < neighbors.most] + [neighbors.most]

    def problem(self, k) -> Problem:
        if k not in self.problems:
            self.problems[k] = Problem(*self.pair, self.neighbors.bowsher(k))
        return self.problems[k]

    def risk(self, settings: Settings) -> float:
        if settings not in self.risks:
            problem = self.problem(settings.neighbors)
            maps, _ = problem.solve(settings.lam, settings.tau)
            self.risks[settings] = float(stein(problem, maps, self.probe).mean())
        return self.risks[settings]

    def around(self, s: Settings) -> list[Settings]:
        """Settings one step away: each alone, and more neighbors with a smaller lambda."""
        places = [LAMS.index(s.lam), TAUS.index(s.tau), self.ladder.index(s.neighbors)]
        moves = [(1, 0, 0), (-1, 0, 0), (2, 0, 0), (-2, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
        moves += [(-1, 0, 1), (1, 0, -1), (1, -1, 0), (-1, 1, 0)]
        out = []
        for move in moves:
            new = [p + m for p, m in zip(places, move, strict=True)]
            if all(0 <= p < len(axis) for p, axis in zip(new, (LAMS, TAUS, self.ladder), strict=True)):
                out.append(Settings(LAMS[new[0]], TAUS[new[1]], self.ladder[new[2]]))
        return out

    def least(self, start: Settings) -> Settings:
        """Descent from neighbor to neighbor of the grid of settings."""
        best = start
        while True:
            now = min([best, *self.around(best)], key=self.risk)
            if now == best:
                return best
            best = now

    def keep(self, best: Settings, slack: float) -> Settings:
        """The smallest tau whose risk stays within `slack` of the least."""
        limit = self.risk(best) + slack * abs(self.risk(best))
        for tau in TAUS[: TAUS.index(best.tau)]:
            found = min(
                (replace(best, tau=tau, lam=lam) for lam in LAMS if best.lam <= lam <= 4 * best.lam), key=self.risk
            )
            if self.risk(found) <= limit:
                return found
        return best


def tune(ratios, variance, neighbors: Neighbors, probe, slack: float = SLACK) -> Tuned:
    """Settings from one data set: ratios, variance (V, K); `probe` (V, K) is noise like that of the ratios.

    Several starts, since the risk has more than one valley: with and without the MRI.
    """
    tuner = Tuner(np.asarray(ratios, float), np.asarray(variance, float), neighbors, np.asarray(probe, float))
    starts = [Settings(LAMS[7], 1.0, 4), Settings(LAMS[4], 1.4, tuner.ladder[-1])]
    best = min((tuner.least(s) for s in starts), key=tuner.risk)
    chosen = tuner.keep(best, slack)
    return Tuned(chosen, tuner.risk(chosen), tuner.risks)
