"""What single voxels say, each by itself, with its covariance: what an estimator gets that adapts to a data set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from precise_lib.errors import InputError
from precise_lib.estimate import noise, stein
from precise_lib.estimate.fit import fit_fids
from precise_lib.signal.information import covariance
from precise_lib.signal.mrsi import Series

CHUNK = 512  # voxels whose Jacobians are in memory together
MOST_FREE = 96  # signal-free real samples of a FID that are kept: more are not needed, and memory stays bounded


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
        """By an estimator that counts as efficient, and a fit, under white noise; `InputError` without any."""
        if not series.usable.any():
            raise InputError("No usable voxel is left: every FID is masked, not finite or zero.")
        model, fids = series.model, np.concatenate(list(series.chunks()))
        fit = single.fit(fids, model) if hasattr(single, "fit") else fit_fids(fids, model)
        amplitudes = fit.amplitudes if hasattr(single, "fit") else single.amplitudes(fids, model)
        sigma, nuisance, bound, m = noise.levels(series), fit.nuisance(model), [], len(model.names)
        for i in range(0, len(fids), CHUNK):
            part = slice(i, i + CHUNK)
            of = {name: x[part] for name, x in nuisance.items()}
            bound.append(covariance(model, amplitudes[part], sigma[part], **of)[:, :m, :m])
        return cls(series, amplitudes, np.concatenate(bound), sigma, fit.phase_rad)

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

    def course(self, following) -> np.ndarray:
        """What all voxels did together since the first frame, (U, K) mM for the `usable` voxel-frames.

        Coupled frames then smooth what a voxel does apart from the others, and no common uptake. `following` (F, 2) are
        those of one voxel in two frames, see `Neighbors`.
        """
        ratios, variance = self.ratios[self.usable], self.variance[self.usable]
        frame, (u, v) = np.argwhere(self.series.usable)[self.usable, 0], following.T
        weight, steps = 1 / (variance[u] + variance[v]), np.zeros((len(self.series), ratios.shape[1]))
        for i in np.unique(frame[v]):
            mine = frame[v] == i
            steps[i] = (weight * (ratios[v] - ratios[u]))[mine].sum(0) / weight[mine].sum(0)
        return np.cumsum(steps, 0)[frame]

    @cached_property
    def free(self) -> np.ndarray:
        """(N, S) real samples free of signal, over their SD and in phase with the signal of their voxel."""
        model, parts, start = self.series.model, [], 0
        space = noise.free_space(model, model.acquisition.n_samples - self.zero_filled)
        sigma = np.broadcast_to(np.asarray(self.sigma, float), len(self.amplitudes))
        for fids in self.series.chunks():
            part = slice(start, start := start + len(fids))
            free = noise.free_samples(fids, space)[:, : MOST_FREE // 2]
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
