r"""Settings of the adaptive prior from one data set, by Stein's unbiased estimate of the risk.

The mean squared error of maps c(s) in units of the noise has the unbiased estimate

    mean_vk [(c_vk - s_vk)^2 / t_vk^2 - 1 + 2 dc_vk/ds_vk],

with the derivative from random probes b like the noise: ``b (c(s + eps b) - c(s)) / eps t^2`` has its mean (Ramani, Blu
and Unser 2008). Probes that neighbors share as they share the noise make it unbiased for correlated noise, too:
`probes` makes them of what the FIDs hold where no signal is left.

**Least error is not all.** Many settings have nearly the least error, and the more a voxel must differ to stand alone
(`Settings.step`), the more of a small lesion is lost that the MRI does not show, at hardly any cost in error. So of all
settings within a `slack` of the least risk that of the smallest step is taken.

**How far to trust the MRI** is a setting, too (`Settings.gray`): its noise and shading, and metabolism that varies
where it shows nothing, all speak for close neighbors; sharp edges for like ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from precise_lib.estimate.adaptive import Problem, Settings
from precise_lib.estimate.coupling import Neighbors

PROBES = 4
WELL = 2000  # voxels: with more, fewer probes tell the risk as well
ENOUGH = 6000  # voxels that settings are chosen on
FEW = 24  # real signal-free samples of a FID: with fewer, probes would repeat one another
SIZE = 0.3  # of a probe in units of the noise: small steps would miss that couplings open at once
SLACK = 0.2  # of the least risk that keeping what the MRI does not show may cost
LADDER = (2, 3, 4, 6, 8, 12, 18)  # neighbors that a voxel chooses
TAUS = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, np.inf)
LAMS = tuple(float(x) for x in 10 ** np.arange(-1.0, 2.01, 0.25))
FRAMES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
GRAYS = (0.03, 0.05, 0.1, 0.2, 0.4)
GAIN = 1e-3  # of risk: less is not worth a step of the search
SHARES = (0.1, 0.2, 0.35, 0.6, 1.0)
START = {"lam": LAMS[7], "tau": 1.0, "neighbors": 4, "frames": 1.0, "gray": 0.1}
# steps of the search along lambda, tau, neighbors, frames and gray
MOVES = [(1, 0, 0, 0), (-1, 0, 0, 0), (0, 1, 0, 0), (0, -1, 0, 0), (0, 0, 1, 0), (0, 0, -1, 0)]
MOVES += [(2, 0, 0, 0), (-2, 0, 0, 0), (-1, 0, 1, 0), (1, 0, -1, 0), (1, -1, 0, 0), (-1, 1, 0, 0)]
MOVES += [(0, 0, 0, 1), (0, 0, 0, -1)]
MOVES = [(*move, 0) for move in MOVES] + [(0, 0, 0, 0, 1), (0, 0, 0, 0, -1)]


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
    free : (V, S) real signal-free samples over their SD, see `SingleVoxels.free`; fewer than `FEW`: white noise instead
    variance : (V, K) of the ratios
    """
    rng, k = np.random.default_rng(seed), variance.shape[1]
    if free.shape[1] < FEW:
        return rng.standard_normal((count, *variance.shape)) * np.sqrt(variance)
    picked = np.stack([rng.choice(free.shape[1], k, replace=k > free.shape[1]) for _ in range(count)])
    return np.moveaxis(free[:, picked], 0, 1) * np.sqrt(variance)


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
    """Risk of settings for one data set, each computed once.

    `fixed` are settings by name that are not searched for; the other arguments are those of `tune`.
    """

    def __init__(self, ratios, variance, neighbors: Neighbors, noise, fixed: dict | None = None):
        self.neighbors, self.noise, self.tried, self.problems = neighbors, np.asarray(noise, float), {}, {}
        self.data, self.variance = moved(np.asarray(ratios, float), self.noise), variance
        ladder = (*(k for k in LADDER if k < neighbors.most), neighbors.most)
        frames = FRAMES if len(neighbors.following) else (0.0,)
        axes = {"lam": LAMS, "tau": TAUS, "neighbors": ladder, "frames": frames, "gray": GRAYS}
        self.fixed = fixed or {}
        self.axes = {name: (self.fixed[name],) if name in self.fixed else axis for name, axis in axes.items()}

    def start(self) -> Settings:
        near = {name: min(axis, key=lambda x: abs(x - START[name])) for name, axis in self.axes.items()}
        return Settings(**near, mri=self.fixed.get("mri", bool(self.neighbors.contrast.any())))

    def problem(self, s: Settings) -> Problem:
        key = s.neighbors, s.mri, s.frames, s.gray
        if key not in self.problems:
            self.problems[key] = Problem(self.data, self.variance, s.couplings(self.neighbors))
        return self.problems[key]

    def risk(self, s: Settings) -> float:
        if s not in self.tried:
            problem = self.problem(s)
            self.tried[s] = float(risk(problem, problem.solve(s.lam, s.tau)[0], self.noise).mean())
        return self.tried[s]

    def around(self, s: Settings) -> list[Settings]:
        """Settings a step away; without the MRI its gray levels make no difference."""
        places = [axis.index(getattr(s, name)) for name, axis in self.axes.items()]
        found = ([p + m for p, m in zip(places, move, strict=True)] for move in MOVES if s.mri or not move[-1])
        inside = (f for f in found if all(0 <= i < len(a) for i, a in zip(f, self.axes.values(), strict=True)))
        return [replace(s, **{n: a[i] for i, (n, a) in zip(f, self.axes.items(), strict=True)}) for f in inside]

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


def tune(ratios, variance, neighbors: Neighbors, noise, slack: float = SLACK, fixed: dict | None = None) -> Tuned:
    """Settings from one data set, of many voxels from `ENOUGH` in its middle.

    Parameters
    ----------
    ratios, variance : (V, K) single-voxel ratios and their noise
    neighbors : with the MRI; whether it is of use is one of the settings
    noise : (P, V, K) probes, see `probes`; few of them serve many voxels
    slack : share of the least risk that may be given for a smaller `Settings.step`; 0 for the least error
    fixed : settings that are given, by their names in `Settings`; a given lambda is that of every metabolite
    """
    n = len(ratios)
    if n > ENOUGH:  # from the middle of the grid
        part = slice((n - ENOUGH) // 2, (n + ENOUGH) // 2)
        ratios, variance, noise = ratios[part], variance[part], noise[:, part]
        neighbors = neighbors.between(part.start, part.stop)
    noise = noise[: max(1, len(noise) * WELL // max(n, WELL))]
    tuner = Tuner(ratios, variance, neighbors, noise, fixed)
    best = tuner.least(tuner.start())
    if neighbors.contrast.any() and "mri" not in tuner.fixed:
        best = min(best, tuner.least(replace(best, mri=False)), key=tuner.risk)
    chosen = tuner.keep(best, slack)
    estimated = tuner.risk(chosen)
    if "lam" not in tuner.fixed:
        chosen, estimated = tuner.shares(chosen)
    return Tuned(chosen, estimated, best, tuner.tried)
