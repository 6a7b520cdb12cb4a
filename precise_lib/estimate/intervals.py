r"""How sure the maps of the adaptive prior are.

A prior errs in two ways: noise passes through it, and it smooths away what the data hardly show. Both show when the
estimate is repeated on fresh noise over the maps, in so far as the maps still hold what may be lost. Where the prior
errs there depends on the noise that the maps hold, and could as well have been a voxel further: so a voxel counts with
what it and those that touch it have on average, or with its own, whichever is more. Two things are missing, and are
found without knowing the truth:

* **What is lost already in the maps.** A looser prior, at half of tau, keeps more of it, and noise besides. How far
  noise alone takes the two priors apart shows where the maps, known, are measured again. What their squared difference
  has beyond that is bias. In a single voxel it is noise for the most part, but a bias extends over neighbors: it is
  averaged over them, twice, before what is negative is cut off, and adds to the variance.
* **How often such an SD holds.** Errors have heavier tails than a normal distribution, the SD itself depends on the
  maps that it is taken from, and what is left of the noise in the bias widens it. So the whole is tried where the truth
  is known: the maps are measured again under fresh noise, estimated, given an SD in the same way, and the part of the
  repetitions is scaled, by one factor for each metabolite, so that the interval holds the maps as often as it says
  (calibration by the iterated bootstrap, Beran 1987).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.stats import norm

from precise_lib.estimate.adaptive import Field, Problem, Settings
from precise_lib.estimate.coupling import Neighbors
from precise_lib.estimate.stein import WELL

REPEATS, TRIALS = 12, 8  # of the estimate for an SD; measurements of the maps on which intervals are tried
DRAWS = REPEATS + TRIALS
LEVEL = 0.9  # of the intervals
WIDTH = float(norm.ppf(0.5 + LEVEL / 2))  # half of one, over the SD
NUMBERS = 1_000_000  # of repeated maps that are solved together
LOOSER = 4  # times smaller is lambda of the looser prior where tau is infinite


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


def looser(s: Settings) -> Settings:
    """Half of tau, or a smaller lambda where tau is infinite."""
    return replace(s, tau=s.tau / 2) if np.isfinite(s.tau) else replace(s, lam=s.lam / LOOSER)


def again(field: Field, data, settings: Settings | None = None) -> np.ndarray:
    """Maps (V, R, K) of other data (V, R, K), at the settings of the field or others with the same couplings."""
    s, problem = settings or field.settings, field.problem
    batch, parts = max(1, NUMBERS // data[:, 0].size), []
    for i in range(0, data.shape[1], batch):
        own = Problem(data[:, i : i + batch], problem.variance, problem.couplings)
        maps, weights = own.solve(s.lam, s.tau)
        parts.append(own.linear(weights, s.lam * np.asarray(s.share), maps) if s.share else maps)
    return np.concatenate(parts, 1)


def errors(field: Field, truth, noise) -> np.ndarray:
    """Of the estimate repeated on a truth (V, K) under noise (V, R, K): (V, R, K)."""
    return again(field, truth[:, None] + noise) - truth[:, None]


def intervals(field: Field, neighbors: Neighbors, noise) -> Intervals:
    """Uncertainty of the maps of one data set.

    Parameters
    ----------
    field : the maps, see `adaptive`
    neighbors : of the same voxels
    noise : (`DRAWS`, V, K) like that of the ratios, see `stein.probes`
    """
    fresh, tried = np.split(np.moveaxis(np.asarray(noise, float), 0, 1), [REPEATS], axis=1)
    truth, unit, mean = field.maps[:, None], np.sqrt(field.problem.variance)[:, None], _mean_around(neighbors)
    own, data, loose = errors(field, field.maps, fresh), truth + tried, looser(field.settings)
    maps, lost = again(field, data), again(field, field.problem.ratios, loose) - truth
    apart2 = ((again(field, data, loose) - maps) / unit) ** 2
    bias2 = _beyond((lost / unit) ** 2 - apart2.mean(1, keepdims=True), mean)
    others = (apart2.sum(1, keepdims=True) - apart2) / (tried.shape[1] - 1)
    known = max(1, tried.shape[1] * WELL // max(len(unit), WELL))
    false2 = _beyond((apart2 - others)[:, :known], mean)  # what passes for a bias where there is none
    spread2 = np.concatenate([_square(errors(field, maps[:, i], fresh) / unit, mean) for i in range(known)], 1)
    missed2 = ((maps - truth)[:, :known] / unit / WIDTH) ** 2
    scale2 = np.quantile(np.maximum(missed2 - false2, 0) / spread2, LEVEL, axis=(0, 1))
    sd = unit * np.sqrt(scale2 * _square(own / unit, mean) + bias2)
    return Intervals(field.maps, sd[:, 0], (own - fresh).std(1))


def _mean_around(neighbors: Neighbors) -> Callable:
    """Means over each voxel and those that touch it, of arrays (V, R, K)."""
    sums = neighbors.touching + sparse.identity(neighbors.n_voxels)
    means = (sparse.diags(1 / np.asarray(sums.sum(1)).ravel()) @ sums).tocsr()
    return lambda x: (means @ x.reshape(len(x), -1)).reshape(x.shape)


def _square(errors, mean: Callable) -> np.ndarray:
    """Mean square over repetitions (V, R, K), of a voxel or on average around it: (V, 1, K)."""
    own = (errors**2).mean(1, keepdims=True)
    return np.maximum(own, mean(own))


def _beyond(excess2, mean: Callable) -> np.ndarray:
    """Squared bias (V, R, K) of what squared differences have beyond those of noise."""
    return np.maximum(mean(mean(excess2)), 0)
