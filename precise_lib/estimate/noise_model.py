r"""Noise as it is after filters: its color in time, and how neighboring voxels share it, from samples free of signal.

A digital filter that passes a share p of the bandwidth leaves noise of 1/p the density inside, of which a line sees
all: an SD by the level of the time samples alone is too small by 1/sqrt(p). A window over k-space, or zero filling
there, lets neighbors share noise: smoothing takes away less of it than of independent noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import fft
from scipy.ndimage import maximum_filter1d
from scipy.stats import chi2

from precise_lib.estimate import noise
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import Series

BANDS = 64  # of the spectral density, at most
CHANCE = 1e-5  # that white noise is taken for colored
LEAST_COLOR = 0.1  # RMS deviation of the density from white below which noise counts as white: 5 % of an SD
LAST = 128  # samples at the end of a FID that tell color and correlation
LEAST_SHARED = 0.05  # correlation of neighbors below which they count as independent
REACH = 6  # voxels to which a correlation is followed
SURE = 5.0  # standard errors
SAMPLES = 200_000  # that tell a correlation well
NUMBERS = 2_000_000  # on grids in one block: 32 MB


@dataclass(frozen=True)
class Noise:
    """Noise of the N voxel-frames of a `Series`.

    `sigma` (N,) SD of a real channel of a time sample; `density` (B,) relative spectral density on bands that divide
    the bandwidth from zero frequency on, mean one, None for white noise; `kernel` None for independent voxels; `free`
    samples (complex) of each FID without signal; the last `zero_filled` of n points hold no noise.
    """

    sigma: np.ndarray
    density: np.ndarray | None
    kernel: Kernel | None
    free: int
    zero_filled: int = 0

    @classmethod
    def of(cls, series: Series, zero_filled: int = 0) -> Noise:
        """Estimated from a series; `InputError` where its FIDs have too few samples without signal."""
        n = series.model.acquisition.n_samples - zero_filled
        space = noise.free_space(series.model, n)
        frame = max(range(len(series)), key=lambda i: series.usable[i].sum())
        # of lines narrower than the model's more is left than of others, and would pass for color
        last = slice(max(space.start, n - LAST), n) if isinstance(space, slice) else space
        kernel = Kernel.of(series[frame].fids, series.usable[frame], last)
        sample = series.sample()
        seen = len(sample) / (1.0 if kernel is None else kernel.shared)
        found = cls(np.empty(0), density(sample[:, :n], last, seen), kernel, noise.count(space), zero_filled)
        return replace(found, sigma=noise.levels(series, zero_filled, found.efficiency))

    @property
    def level(self) -> float:
        return float(np.median(self.sigma))

    @property
    def known(self) -> float:
        """Degrees of freedom of one common noise level."""
        sharing = 1.0 if self.kernel is None else self.kernel.shared
        return 2 * self.free * self.efficiency * min(len(self.sigma), 4096) / sharing * noise.MAD_EFFICIENCY

    @property
    def efficiency(self) -> float:
        """Independent samples over samples."""
        return 1.0 if self.density is None else 1 / float((self.density**2).mean())

    def at(self, cycles) -> np.ndarray:
        """Relative density at frequencies in cycles per sample."""
        return np.ones(np.shape(cycles)) if self.density is None else _between(self.density, cycles)

    def through(self, decay: np.ndarray, bins: int) -> np.ndarray:
        """Power (bins,) over that of white noise behind a filter matched to a decay (n,), at each bin's frequency.

        The edge of a passband may lie anywhere in its band: the larger density of next bands counts.
        """
        if self.density is None:
            return np.ones(bins)
        most = _between(maximum_filter1d(self.density, 3, mode="wrap"), fft.fftfreq(bins))
        window = fft.ifft(np.abs(fft.fft(decay, bins)) ** 2)
        return fft.fft(fft.ifft(most) * window / window[0]).real

    def draw(self, rng: np.random.Generator, usable: np.ndarray, n: int) -> np.ndarray:
        """Complex noise (V, n) of SD one per real channel for the voxels of a grid."""
        bins = 2 * n if self.density is not None else n
        white = rng.standard_normal((int(usable.sum()), bins, 2)).view(np.complex128)[..., 0]
        if self.kernel is not None:
            white = self.kernel.draw(rng, usable, bins)
        if self.density is not None:
            white = fft.ifft(fft.fft(white) * np.sqrt(self.at(fft.fftfreq(bins))))
        return white[:, :n]

    def said(self, model: SignalModel) -> list[str]:
        """What is particular about it, and that it is reckoned with, in sentences."""
        notes = []
        if self.density is not None:
            lines = self.at(model.frequencies_hz * model.acquisition.dwell_time_s)
            notes.append(
                f"The noise is not white, as after a digital filter that passes {100 * self.efficiency:.0f} % of the "
                f"bandwidth: at the lines it is {np.sqrt(lines.mean()):.2f} times what its level in time says, which "
                "SD maps, flags and the choice of lambda take into account."
            )
        if self.kernel is not None:
            notes.append(
                f"The noise of neighboring voxels correlates ({self.kernel.nearest:.2f}), as after a filter or zero "
                "filling in k-space: errors, bias and the choice of lambda take that into account."
            )
        spread = np.log(self.sigma / self.level).std() if self.level > 0 else 0.0
        if spread > 0:
            notes.append(
                f"The noise level differs between voxels or frames (by {100 * spread:.0f} %, one SD), as after a "
                "correction of the receive profile or of the gain: each has its own."
            )
        return notes


def density(fids, space: slice | np.ndarray, seen: float) -> np.ndarray | None:
    """Relative spectral density (B,) of the noise of FIDs (V, n), None where it is white as far as they can tell.

    `space` as in `noise.free_space`; `seen` counts FIDs that are independent of each other.
    """
    n, free = fids.shape[-1], noise.free_samples(fids, space)
    bands = int(np.clip(seen * free.shape[1] / 100, 8, min(BANDS, n // 4)))
    edges = np.linspace(0, n, bands + 1).astype(int)[:-1]
    if isinstance(space, slice):
        free = free - free.mean(-1, keepdims=True)  # an offset is no noise
        late = np.zeros(n)
        late[space] = 1 / np.sqrt(free.shape[1])
        expected = free.shape[1] - np.abs(np.fft.fft(late)) ** 2
        back = np.zeros((len(fids), n), np.complex64)
        back[:, space] = free
    else:
        expected = (np.abs(np.fft.fft(space.conj(), axis=0)) ** 2).sum(-1)
        back = free @ space.conj().T
    power = np.add.reduceat(np.abs(fft.fft(back)) ** 2, edges, axis=-1)
    expected = np.add.reduceat(expected, edges)
    power = power / np.maximum(power.mean(-1, keepdims=True), np.finfo(np.float32).tiny)  # no FID counts for more
    found = power.mean(0) / expected
    found = found * expected.sum() / (found * expected).sum()
    off = (found - 1) * np.sqrt(expected / expected.mean())  # where little is free of signal, little is known
    square = (off**2).mean()
    colored = square > LEAST_COLOR**2 and square * seen * free.shape[1] / bands > chi2.isf(CHANCE, bands) / bands
    return found / found.mean() if colored else None


def _between(density: np.ndarray, cycles) -> np.ndarray:
    """A density on bands at frequencies in cycles per sample."""
    bands = np.arange(-1, len(density) + 1)
    return np.interp(np.mod(cycles, 1.0) * len(density), bands + 0.5, density[bands % len(density)])


@dataclass(frozen=True)
class Kernel:
    """Correlation of the noise of voxels by their distance, ``values[d + reach]``: complex, Hermitian, one at zero."""

    values: np.ndarray

    @classmethod
    def of(cls, fids, usable: np.ndarray, space) -> Kernel | None:
        """Of FIDs (x, y, z, t) where `usable`; None where nearest neighbors are independent as far as they tell."""
        reach = tuple(min(n - 1, REACH) for n in usable.shape)
        shape = tuple(fft.next_fast_len(n + r) for n, r in zip(usable.shape, reach, strict=True))
        cells, late = np.argwhere(usable), isinstance(space, slice)
        step = -(-noise.count(space) // max(SAMPLES // len(cells), 16))
        thin = slice(space.start, space.stop, step) if late else space[:, ::step]
        parts = np.array_split(cells, -(-len(cells) // 8192))
        free = np.concatenate([noise.free_samples(fids[tuple(part.T)], thin) for part in parts])
        free = free - free.mean(-1, keepdims=True)
        free = free / np.maximum(np.sqrt((np.abs(free) ** 2).mean(-1, keepdims=True)), np.finfo(np.float32).tiny)
        power = np.zeros(shape)
        for part in np.array_split(free, -(-free.shape[1] // max(1, NUMBERS // int(np.prod(shape)))), axis=1):
            power += (np.abs(fft.fftn(_on(shape, usable, part), axes=(0, 1, 2))) ** 2).sum(-1)
        pairs = np.abs(fft.fftn(_on(shape, usable, np.ones((len(free), 1))), axes=(0, 1, 2))[..., 0]) ** 2
        lags = np.ix_(*(np.arange(-r, r + 1) for r in reach))
        total, pairs = fft.ifftn(power)[lags], np.round(fft.ifftn(pairs).real[lags])
        error = 1 / np.sqrt(2 * np.maximum(pairs, 1) * free.shape[1])
        values = np.where(pairs > 0, total / np.maximum(pairs, 1) / free.shape[1], 0)
        values = np.where(np.abs(values) > SURE * error, values, 0)
        kernel = cls(values / values[reach].real) if values[reach] else None
        return kernel if kernel is not None and abs(kernel.nearest) > LEAST_SHARED else None

    @property
    def reach(self) -> tuple[int, ...]:
        return tuple(n // 2 for n in self.values.shape)

    @property
    def nearest(self) -> float:
        """The largest correlation of next neighbors along an axis."""
        steps = [np.eye(3, dtype=int)[k] for k in range(3) if self.reach[k]]
        return max((float(self.values[tuple(self.reach + step)].real) for step in steps), key=abs, default=0.0)

    @property
    def shared(self) -> float:
        """How many voxels tell about the level of the noise as much as one independent one."""
        return float((np.abs(self.values) ** 2).sum())

    def _spectrum(self, shape) -> np.ndarray:
        grid = np.zeros(shape, complex)
        grid[np.ix_(*(np.arange(-r, r + 1) for r in self.reach))] = self.values
        return fft.fftn(grid).real[..., None]

    def _shape(self, usable) -> tuple[int, ...]:
        return tuple(fft.next_fast_len(n + r) for n, r in zip(usable.shape, self.reach, strict=True))

    def between(self, usable: np.ndarray, phase_rad) -> Callable:
        """The correlation R of amplitudes of voxels as a map (V, K) -> (V, K).

        An amplitude is the part of the noise in the direction of the phase (V,) of its voxel.
        """
        shape, turn = self._shape(usable), np.exp(1j * np.asarray(phase_rad, float))[:, None]
        spectrum, most = self._spectrum(shape), max(1, NUMBERS // int(np.prod(shape)))

        def correlate(values):
            out = np.empty(values.shape)
            for i in range(0, values.shape[1], most):
                part = fft.fftn(_on(shape, usable, values[:, i : i + most] * turn), axes=(0, 1, 2)) * spectrum
                back = fft.ifftn(part, axes=(0, 1, 2))[: usable.shape[0], : usable.shape[1], : usable.shape[2]]
                out[:, i : i + most] = (back[usable] * turn.conj()).real
            return out

        return correlate

    def draw(self, rng, usable, n: int) -> np.ndarray:
        """Noise (V, n), complex, SD one per real channel; where `values` are no correlation, the nearest one."""
        shape = self._shape(usable)
        root = np.sqrt(np.maximum(self._spectrum(shape), 0))
        root *= np.sqrt(root.size / (root**2).sum())
        parts, most = [], max(1, NUMBERS // int(np.prod(shape)))
        for i in range(0, n, most):
            white = rng.standard_normal((*shape, min(most, n - i), 2)).view(np.complex128)[..., 0]
            noisy = fft.ifftn(fft.fftn(white, axes=(0, 1, 2)) * root, axes=(0, 1, 2))
            parts.append(noisy[: usable.shape[0], : usable.shape[1], : usable.shape[2]][usable])
        return np.concatenate(parts, 1)


def _on(shape, usable, values) -> np.ndarray:
    """Values (V, K) of voxels on a larger grid (x, y, z, K), zero elsewhere."""
    grid = np.zeros((*shape, values.shape[1]), values.dtype)
    grid[: usable.shape[0], : usable.shape[1], : usable.shape[2]][usable] = values
    return grid
