r"""Settings of the adaptive prior from one data set, by Stein's unbiased estimate of the risk.

The mean squared error of maps c(s) in units of the noise has the unbiased estimate

    mean_vk [(c_vk - s_vk)^2 / t_vk^2 - 1 + 2 dc_vk/ds_vk],

with the derivative from random probes b like the noise: ``b (c(s + eps b) - c(s)) / eps t^2`` has its mean (Ramani, Blu
and Unser 2008). Probes that neighbors share as they share the noise make it unbiased for correlated noise, too:
`probes` makes them of what the FIDs hold where no signal is left.

**Least error is not all.** Many settings have nearly the least error, and the more a voxel must differ to stand alone
(`Settings.step`), the more of a small lesion is lost that the MRI does not show, at hardly any cost in error. So of all
settings within a `slack` of the least risk that of the smallest step is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from precise_lib.errors import InputError
from precise_lib.estimate.adaptive import Problem, Settings
from precise_lib.estimate.coupling import Neighbors

PROBES = 4
SIZE = 0.3  # of a probe in units of the noise: small steps would miss that couplings open at once
SLACK = 0.2  # of the least risk that keeping what the MRI does not show may cost
LADDER = (2, 3, 4, 6, 8, 12, 18)  # neighbors that a voxel chooses
TAUS = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, np.inf)
LAMS = tuple(float(x) for x in 10 ** np.arange(-1.0, 2.01, 0.25))
GAIN = 1e-3  # of risk: less is not worth a step of the search
SHARES = (0.1, 0.2, 0.35, 0.6, 1.0)
START = (LAMS[7], 1.0, 4)


@dataclass(frozen=True)
class Tuned:
    """What one data set chose.

    Attributes
    ----------
    settings : the chosen ones
    risk : estimated mean squared error in units of the single-voxel variance
    least : those of the least risk
    tried : every setting tried and its risk
    """

    settings: Settings
    risk: float
    least: Settings
    tried: dict[Settings, float]


def probes(free, variance, count: int = PROBES, seed: int = 0) -> np.ndarray:
    """Noise like that of the ratios, (count, V, K), from signal-free samples.

    Parameters
    ----------
    free : (V, S) complex samples of the FIDs where no signal is left, of any scale
    variance : (V, K) of the ratios
    """
    parts = np.concatenate([free.real, free.imag], 1)
    parts = parts / parts.std()
    rng, k = np.random.default_rng(seed), variance.shape[1]
    if parts.shape[1] < k:
        raise InputError(f"{parts.shape[1]} samples free of signal are too few for {k} metabolites.")
    picked = np.stack([rng.choice(parts.shape[1], k, replace=False) for _ in range(count)])
    return np.moveaxis(parts[:, picked], 0, 1) * np.sqrt(variance)


def risk(problem: Problem, maps, noise, size: float = SIZE) -> np.ndarray:
    """Estimated mean squared error over the variance, (K,), of maps (V, 1 + P, K).

    `problem` holds the data and then those moved by ``size * noise`` (P, V, K).
    """
    residual2 = (maps[:, 0] - problem.ratios[:, 0]) ** 2 * problem.precision
    moved = np.moveaxis(maps[:, 1:] - maps[:, :1], 1, 0)
    return (residual2 - 1 + 2 * (noise * moved).mean(0) / size * problem.precision).mean(0)


def moved(ratios, noise, size: float = SIZE) -> np.ndarray:
    """The data and those moved by each probe, (V, 1 + P, K), for `Problem`."""
    return np.concatenate([ratios[:, None], ratios[:, None] + size * np.moveaxis(noise, 0, 1)], 1)


class Tuner:
    """Risk of settings for one data set, each computed once."""

    def __init__(self, ratios, variance, neighbors: Neighbors, noise):
        self.neighbors, self.noise, self.tried, self.problems = neighbors, np.asarray(noise, float), {}, {}
        self.data, self.variance = moved(np.asarray(ratios, float), self.noise), variance
        self.ladder = [k for k in LADDER if k < neighbors.most] + [neighbors.most]

    def problem(self, s: Settings) -> Problem:
        key = s.neighbors, s.mri
        if key not in self.problems:
            self.problems[key] = Problem(self.data, self.variance, s.couplings(self.neighbors))
        return self.problems[key]

    def risk(self, s: Settings) -> float:
        if s not in self.tried:
            problem = self.problem(s)
            self.tried[s] = float(risk(problem, problem.solve(s.lam, s.tau)[0], self.noise).mean())
        return self.tried[s]

    def around(self, s: Settings) -> list[Settings]:
        """Settings a step away."""
        axes = LAMS, TAUS, self.ladder
        places = [axis.index(x) for axis, x in zip(axes, (s.lam, s.tau, s.neighbors), strict=True)]
        moves = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
        moves += [(2, 0, 0), (-2, 0, 0), (-1, 0, 1), (1, 0, -1), (1, -1, 0), (-1, 1, 0)]
        found = ([p + m for p, m in zip(places, move, strict=True)] for move in moves)
        inside = (f for f in found if all(0 <= i < len(axis) for i, axis in zip(f, axes, strict=True)))
        return [replace(s, lam=LAMS[i], tau=TAUS[j], neighbors=self.ladder[k]) for i, j, k in inside]

    def least(self, start: Settings) -> Settings:
        """Descent to a setting that none a step away is better than."""
        best = start
        while True:
            now = min([best, *self.around(best)], key=self.risk)
            if self.risk(now) > self.risk(best) - GAIN:
                return best
            best = now

    def keep(self, best: Settings, slack: float) -> Settings:
        """The smallest step whose risk stays within `slack` of the least, with or without MRI as that one."""
        limit = self.risk(best) + slack * abs(self.risk(best))
        while True:
            smaller = [s for s in self.around(best) if s.step < best.step and self.risk(s) <= limit]
            if not smaller:
                return best
            best = min(smaller, key=lambda s: s.step)

    def shares(self, s: Settings) -> tuple[Settings, float]:
        """Smaller lambdas for metabolites that vary where the others do not; couplings stay as they are."""
        problem = self.problem(s)
        maps, weights = problem.solve(s.lam, s.tau)
        risks = []
        for share in SHARES:
            maps = problem.linear(weights, s.lam * share, maps)
            risks.append(risk(problem, maps, self.noise))
        best = np.argmin(risks, 0)
        return replace(s, share=tuple(SHARES[i] for i in best)), float(np.min(risks, 0).mean())


def tune(ratios, variance, neighbors: Neighbors, noise, slack: float = SLACK) -> Tuned:
    """Settings from one data set.

    Parameters
    ----------
    ratios, variance : (V, K) single-voxel ratios and their noise
    neighbors : with the MRI; whether it is of use is one of the settings
    noise : (P, V, K) probes, see `probes`
    slack : share of the least risk that may be given for a smaller `Settings.step`; 0 for the least error
    """
    tuner = Tuner(ratios, variance, neighbors, noise)
    lam, tau, k = START
    best = tuner.least(Settings(lam, tau, min(k, neighbors.most)))
    if neighbors.contrast.any():
        best = min(best, tuner.least(replace(best, mri=False)), key=tuner.risk)
    chosen, estimated = tuner.shares(tuner.keep(best, slack))
    return Tuned(chosen, estimated, best, tuner.tried)
