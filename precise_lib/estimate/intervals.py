r"""How sure the maps of the adaptive prior are.

A prior errs in two ways: noise passes through it, and it smooths away what the data hardly show. The first and much
of the second show when the estimate is repeated on fresh noise over a stand-in for the truth. That is the maps with
some of their smoothing taken back (what they left of the data is smoothed once more and added: Tukey's twicing), so
that repetitions have something to lose. What is lost already in the maps, repetitions cannot show; there the maps
change with tau, so their change at half of it counts, too:

    SD^2 = 0.8 mean (repeated - stand-in)^2 + 0.5 (maps at tau / 2 - maps)^2

The two factors were found on the ring phantom at SNR 5 to 35, the rat and the human brain: 90 % intervals cover about
90 % there, and 80 % at lesions.
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
NUMBERS = 1_000_000  # of the repeated maps that are in memory together
REPEATED, CHANGED = 0.8, 0.5


@dataclass(frozen=True)
class Intervals:
    """Of maps (V, K), in their unit: SD of noise and prior together, and of what noise alone moves maps from data."""

    maps: np.ndarray
    sd: np.ndarray
    moved: np.ndarray

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end (V, K) of the interval that is meant to hold the truth in a share `LEVEL` of voxels."""
        return self.maps - WIDTH * self.sd, self.maps + WIDTH * self.sd


def stand_in(field: Field) -> np.ndarray:
    """The maps (V, K) with some of their smoothing taken back."""
    problem = field.problem
    left = problem.ratios - field.maps[:, None]
    back = problem.linear(field.weights[:, None], field.lams, 0 * left, right=problem.precision[:, None] * left)
    return field.maps + back[:, 0]


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
    truth, problem, s = stand_in(field), field.problem, field.settings
    sums = np.zeros((3, *truth.shape))
    batch = max(1, NUMBERS // truth.size)
    for i in range(0, len(noise), batch):
        part = noise[i : i + batch]
        errors = np.moveaxis(repeated(field, truth, part) - truth[:, None], 1, 0)
        moved = errors - part
        sums += [(errors**2).sum(0), moved.sum(0), (moved**2).sum(0)]
    square, mean, mean2 = sums / len(noise)
    changed = adaptive(problem.ratios[:, 0], problem.variance, neighbors, replace(s, tau=s.tau / 2)).maps - field.maps
    sd = np.sqrt(REPEATED * square + CHANGED * changed**2)
    return Intervals(field.maps, sd, np.sqrt(np.maximum(mean2 - mean**2, 0)))
