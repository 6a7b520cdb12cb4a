r"""How sure the maps of the adaptive prior are.

A prior errs in two ways: noise passes through it, and it smooths away what the data hardly show. Both show when the
estimate is repeated on fresh noise over a stand-in for the truth, if that holds what may be lost. What is lost already
in the maps, repetitions over them cannot show: the stand-in is the maps at half of tau, where couplings open sooner and
more of the data is left.

Errors of the repetitions have heavier tails than a normal distribution, in each metabolite others. So the SD of each
voxel is scaled, by one factor for each metabolite: the interval made of it holds the stand-in as often as it says, over
all voxels and repetitions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm

from precise_lib.estimate.adaptive import Field, Problem, adaptive
from precise_lib.estimate.coupling import Neighbors

REPEATS = 24
LEVEL = 0.9  # of the intervals
WIDTH = float(norm.ppf(0.5 + LEVEL / 2))  # half of one, over the SD
NUMBERS = 1_000_000  # of repeated maps that are solved together
LOOSER = 4  # times smaller is lambda in the stand-in where tau is infinite


@dataclass(frozen=True)
class Intervals:
    """Of maps (V, K), in their unit: SD of noise and prior together, and of what noise alone moves maps from data.

    An SD is `LEVEL` of the error over `WIDTH`: that of a normal error that is as often as large.
    """

    maps: np.ndarray
    sd: np.ndarray
    moved: np.ndarray

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end (V, K) of the interval that is meant to hold the truth in a share `LEVEL` of voxels."""
        return self.maps - WIDTH * self.sd, self.maps + WIDTH * self.sd


def stand_in(field: Field, neighbors: Neighbors) -> np.ndarray:
    """The maps (V, K) less smoothed: at half of tau, or a smaller lambda where tau is infinite."""
    s, problem = field.settings, field.problem
    less = replace(s, tau=s.tau / 2) if np.isfinite(s.tau) else replace(s, lam=s.lam / LOOSER)
    return adaptive(problem.ratios[:, 0], problem.variance, neighbors, less).maps


def repeated(field: Field, truth, noise) -> np.ndarray:
    """Maps (V, B, K) of the chain on a truth (V, K) under noise (B, V, K), at the settings of the field."""
    s, problem = field.settings, field.problem
    again = Problem(truth[:, None] + np.moveaxis(noise, 0, 1), problem.variance, problem.couplings)
    maps, weights = again.solve(s.lam, s.tau)
    return again.linear(weights, field.lams, maps) if s.share else maps


def intervals(field: Field, neighbors: Neighbors, noise) -> Intervals:
    """Uncertainty of the maps of one data set.

    Parameters
    ----------
    field : the maps, see `adaptive`
    neighbors : that they were made with
    noise : (B, V, K) like that of the ratios, `REPEATS` of them or so, see `stein.probes`
    """
    truth = stand_in(field, neighbors)
    batch = max(1, NUMBERS // truth.size)
    parts = (noise[i : i + batch] for i in range(0, len(noise), batch))
    errors = np.concatenate([np.moveaxis(repeated(field, truth, part), 1, 0) for part in parts]) - truth
    sd = np.sqrt((errors**2).mean(0))
    scale = np.quantile(np.abs(errors) / sd, LEVEL, axis=(0, 1)) / WIDTH
    return Intervals(field.maps, scale * sd, (errors - noise).std(0))
