"""What single voxels say, each by itself, with its covariance: what an estimator gets that adapts to a data set.

The covariance of an estimator is the bound times what its SD is above it on simulated FIDs like these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from precise_lib.estimate import noise, stein
from precise_lib.estimate.fit import fit_fids
from precise_lib.signal.information import sve_covariance
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import Series
from precise_lib.signal.noise import add_noise

MOST_FREE = 96  # signal-free real samples of a FID that are kept: more are not needed, and memory stays bounded


def excess_over_bound(
    amplitudes_of: Callable, model: SignalModel, amplitudes, sigma, n_draws: int = 20_000, seed: int = 0, **distorted
) -> np.ndarray:
    """SD of an estimator over the bound, (M,), on `n_draws` simulated FIDs of up to 1000 of the voxels (V, M) at hand.

    `sve_covariance` is too small by the outer product of this. 20,000 draws tell it to 0.5 %.

    Parameters
    ----------
    amplitudes_of : (V, t) -> (V, M)
    distorted : shift_hz, broadening_hz, phase_rad of the voxels, see `closed_form.distortions`
    """
    rng = np.random.default_rng(seed)
    n = len(amplitudes)
    voxels = np.tile(rng.permutation(n)[:1000], max(1, 1000 // n))
    a, sigma = np.asarray(amplitudes)[voxels], np.broadcast_to(sigma, n)[voxels]
    distorted = {name: np.broadcast_to(x, n)[voxels] for name, x in distorted.items()}
    cov = sve_covariance(model, a, sigma, distorted.get("broadening_hz", 0.0))
    bound, clean = np.sqrt(np.einsum("vkk->vk", cov)), model.fids(a, **distorted)
    repeats = range(-(-n_draws // len(a)))
    noisy = (add_noise(clean, sigma, rng).astype(np.complex64) for _ in repeats)
    return np.concatenate([(amplitudes_of(fids) - a) / bound for fids in noisy]).std(0, ddof=1)


@dataclass(frozen=True)
class SingleVoxels:
    """Single-voxel results of a series; arrays run over its N voxel-frames.

    Attributes
    ----------
    series : with the FIDs and the MRI; the last `zero_filled` time points hold no measurement
    amplitudes, covariance : (N, M), (N, M, M)
    sigma : noise SD of a time sample, a number or (N,)
    phase_rad : (N,) of the FIDs: noise counts by its part in phase with the signal
    trusted : (N,) bool; all others keep what they say and are nobody's neighbors
    """

    series: Series
    amplitudes: np.ndarray
    covariance: np.ndarray
    sigma: float | np.ndarray
    phase_rad: np.ndarray
    zero_filled: int = 0
    trusted: np.ndarray | bool = True

    @classmethod
    def of(cls, series: Series, single) -> SingleVoxels:
        """By a single-voxel estimator, and a fit for line width and phase."""
        model, fids = series.model, np.concatenate(list(series.chunks()))
        fit = single.fit(fids, model) if hasattr(single, "fit") else fit_fids(fids, model)
        amplitudes = fit.amplitudes if hasattr(single, "fit") else single.amplitudes(fids, model)
        sigma = noise.noise_sd(series.sample(), model)
        scale = np.ones(len(model.names))
        if not getattr(single, "efficient", False):
            of = {name: getattr(fit, name) for name in ("shift_hz", "broadening_hz", "phase_rad")}
            scale = excess_over_bound(lambda x: single.amplitudes(x, model), model, amplitudes, sigma, **of)
        bound = sve_covariance(model, amplitudes, sigma, fit.broadening_hz)
        return cls(series, amplitudes, bound * scale * scale[:, None], sigma, fit.phase_rad)

    @property
    def water(self) -> int:
        return self.series.model.index(self.series.model.reference)

    @cached_property
    def others(self) -> list[int]:
        """Numbers of the K metabolites besides the reference."""
        return [k for k in range(len(self.series.model.names)) if k != self.water]

    @property
    def names(self) -> list[str]:
        return [self.series.model.names[k] for k in self.others]

    @cached_property
    def ratios(self) -> np.ndarray:
        """(N, K) concentrations in mM, NaN where the reference is not positive."""
        return self.series.model.concentrations(self.amplitudes)[:, self.others]

    @cached_property
    def variance(self) -> np.ndarray:
        """(N, K) of `ratios`, to first order."""
        model, s, cov = self.series.model, self.amplitudes, self.covariance
        water = np.where(s[:, [self.water]] > 0, s[:, [self.water]], np.nan)
        ratio, ww = s / water, cov[:, [self.water], self.water]
        own = np.einsum("vkk->vk", cov) - 2 * ratio * cov[..., self.water] + ratio**2 * ww
        mm = model.concentrations(np.ones((1, len(model.names))))  # of a ratio of one
        return (np.maximum(own, 0) * (mm / water) ** 2)[:, self.others]

    @cached_property
    def usable(self) -> np.ndarray:
        """(N,) bool: trusted, and with a ratio of known noise."""
        known = np.isfinite(self.ratios) & np.isfinite(self.variance) & (self.variance > 0)
        return known.all(1) & self.trusted

    @cached_property
    def free(self) -> np.ndarray:
        """(N, S) real samples free of signal, over their SD and in phase with the signal of their voxel."""
        model, parts, start = self.series.model, [], 0
        sigma = np.broadcast_to(np.asarray(self.sigma, float), len(self.amplitudes))
        for fids in self.series.chunks():
            part = slice(start, start := start + len(fids))
            free = noise.signal_free(fids, model, self.zero_filled)[:, : MOST_FREE // 2]
            free = free * (np.exp(-1j * self.phase_rad[part]) / sigma[part])[:, None]
            parts.append(np.concatenate([free.real, free.imag], 1).astype(np.float32))
        return np.concatenate(parts)

    @property
    def white(self) -> bool:
        """Whether too few samples are free of signal, so that noise is drawn instead of taken from the data."""
        return self.free.shape[1] < stein.FEW

    def noise(self, count: int, seed: int = 0) -> np.ndarray:
        """Noise of the ratios of the `usable` voxel-frames, (count, U, K)."""
        return stein.probes(self.free[self.usable], self.variance[self.usable], count, seed)
