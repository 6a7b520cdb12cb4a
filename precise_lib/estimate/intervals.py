r"""How sure the maps of the adaptive prior are.

A prior errs in two ways: noise passes through it, and it smooths away what the data hardly show. Both show when the
estimate is repeated on fresh noise over the maps, in so far as the maps still hold what may be lost. Two things are
missing there, and are found without knowing the truth:

* **How often such an SD holds.** Errors have heavier tails than a normal distribution, and the SD itself depends on the
  maps that it is taken from. So the whole is tried where the truth is known: the maps are measured again under fresh
  noise, estimated, given an SD in the same way, and the SD is scaled, by one factor for each metabolite, so that the
  interval made of it holds the maps as often as it says (calibration by the iterated bootstrap, Beran 1987).
* **What is lost already in the maps.** A looser prior, at half of tau, keeps more of it, and noise besides. How far
  noise alone takes the two priors apart shows in the same trials. What lies between their squared difference and that
  is bias, and adds to the variance, voxel by voxel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm

from precise_lib.estimate.adaptive import Field, Problem, Settings
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


def intervals(field: Field, noise) -> Intervals:
    """Uncertainty of the maps of one data set.

    Parameters
    ----------
    field : the maps, see `adaptive`
    noise : (`DRAWS`, V, K) like that of the ratios, see `stein.probes`
    """
    fresh, tried = np.split(np.moveaxis(np.asarray(noise, float), 0, 1), [REPEATS], axis=1)
    own = errors(field, field.maps, fresh)
    sd = _rms(own)
    data, loose = field.maps[:, None] + tried, looser(field.settings)
    maps, apart = again(field, data), again(field, data, loose)
    known = max(1, tried.shape[1] * WELL // max(len(sd), WELL))
    spread = np.stack([_rms(errors(field, maps[:, i], fresh)) for i in range(known)], 1)
    missed = np.abs(maps[:, :known] - field.maps[:, None])
    scale = np.quantile(missed / spread, LEVEL, axis=(0, 1)) / WIDTH
    lost = again(field, field.problem.ratios, loose)[:, 0] - field.maps
    bias2 = np.maximum(lost**2 - ((apart - maps) ** 2).mean(1), 0)
    return Intervals(field.maps, np.sqrt((scale * sd) ** 2 + bias2), (own - fresh).std(1))


def _rms(errors) -> np.ndarray:
    """Root mean square over repetitions: (V, K) of (V, R, K)."""
    return np.sqrt((errors**2).mean(1))
