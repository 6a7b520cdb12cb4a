"""Noise of measured FIDs: its level from samples free of signal, for a set, or for each voxel where levels differ."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from precise_lib.errors import InputError
from precise_lib.estimate.fit import default_max_shift_hz
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import Series

DIED = 6  # T2* after which a line is gone: 0.25 % of it is left
LATE_ENOUGH = 64  # time points that tell the noise level well
FEWEST = 8
MOST_EXACT, LAST = 4096, 1024  # samples of which all directions free of signal are sought; of longer FIDs, the last
MAD_EFFICIENCY = 0.37  # of the median absolute deviation as an estimate of a variance, under normal noise
LEAST_SPREAD = 0.05  # relative SD of levels over voxels or frames below which one level serves all


def free_space(model: SignalModel, n: int, method: str = "auto") -> slice | np.ndarray:
    """Where FIDs of `n` points hold noise alone: a slice of time, or orthonormal directions (n, S).

    `method`: "late" (after six T2*), "subspace" (what no FID of the model can be, over its shifts and widths), or
    "auto", late where enough samples are. `InputError` where fewer than `FEWEST` are left.
    """
    a = model.acquisition
    first = max(0, int(np.ceil((DIED * model.lifetime_s.max() - a.dead_time_s) / a.dwell_time_s)))
    late = method == "late" or (method == "auto" and n - first >= LATE_ENOUGH)
    space = slice(first, n) if late else _outside(model, n)
    if (n - first if late else space.shape[1]) < FEWEST:
        raise InputError("The noise level cannot be estimated: too few time points are free of signal.")
    return space


def _outside(model: SignalModel, n: int) -> np.ndarray:
    """Orthonormal directions (t, t - rank) that no line of the model points to, over shifts and widths."""
    reach, width = default_max_shift_hz(model), 1 / (np.pi * model.t2star_s.min())
    shift = np.arange(-reach, reach, 0.5 * width)[:, None]
    family = model.basis()[:, None, None] * np.moveaxis(
        model.envelope(shift, width * np.array([-0.3, 0, 1, 4])), -1, 0
    )[..., None].reshape(model.acquisition.n_samples, -1, 4, 1)
    last = n if n <= MOST_EXACT else LAST
    u, s, _ = np.linalg.svd(family.reshape(len(family), -1)[n - last : n], full_matrices=True)
    free = u[:, int((s > 1e-3 * s[0]).sum()) :].conj()
    if last == n:
        return free
    padded = np.zeros((n, min(free.shape[1], LAST // 2)), complex)  # all of a long FID would be a matrix of n x n
    padded[n - last :] = free[:, : padded.shape[1]]
    return padded


def free_samples(fids, space: slice | np.ndarray) -> np.ndarray:
    """Samples (V, S) of FIDs (V, t) that hold noise alone, see `free_space`."""
    return fids[:, space] if isinstance(space, slice) else fids[:, : len(space)] @ space


def count(space: slice | np.ndarray) -> int:
    """How many complex samples of each FID hold noise alone."""
    return space.stop - space.start if isinstance(space, slice) else space.shape[1]


def noise_sd(fids, model: SignalModel, zero_filled: int = 0, per_voxel: bool = False, method: str = "auto"):
    """SD of the real (and of the imaginary) part of the noise in one time sample, from samples free of signal.

    1.4826 times the median absolute deviation of FIDs (V, t), made unbiased; (V,) by `per_voxel`. The `zero_filled`
    points at the end do not count; `method` and errors as in `free_space`.
    """
    fids = np.asarray(fids)
    return _deviation(free_samples(fids, free_space(model, fids.shape[-1] - zero_filled, method)), per_voxel)


def _deviation(free, per_voxel: bool):
    """Unbiased SD of a real channel of samples (V, S)."""
    parts = np.stack([free.real, free.imag], -2)
    parts = np.abs(parts - np.median(parts, -1, keepdims=True))  # an offset is no noise
    n = free.shape[-1]
    # deviations from a median of n are too small by about 1 / n (Croux and Rousseeuw 1992); measured at n = 8 to 212
    small = 1.06 + 2 / n
    return 1.4826 * n / (n - small) * (np.median(parts, (-2, -1)) if per_voxel else float(np.median(parts)))


def levels(series: Series, zero_filled: int = 0, efficiency: float = 1.0) -> np.ndarray:
    """Noise SD of each voxel-frame, (N,): one for all, unless the samples free of signal show that levels differ.

    They do where the data were divided by a receive profile, or the gain changed from frame to frame. What a frame, and
    then a voxel, deviates from the others counts by the share of its variance that is no uncertainty of the estimate.
    `efficiency`: independent samples over samples, below one where the noise is not white.
    """
    model = series.model
    space = free_space(model, model.acquisition.n_samples - zero_filled)
    common = _deviation(free_samples(series.sample(), space), False)
    if not common > 0:
        return np.full(series.usable.sum(), common)
    own = np.concatenate([_deviation(free_samples(fids, space), True) for fids in series.chunks()])
    off = np.log(np.maximum(own / common, 1e-6))
    error = (4 * MAD_EFFICIENCY * efficiency * count(space)) ** -0.5
    sizes = [part.stop - part.start for part in series.parts if part.stop > part.start]
    frames = np.array([np.median(x) for x in np.split(off, np.cumsum(sizes)[:-1])])
    center = np.repeat(_kept(frames, 1.25 * error / np.sqrt(np.median(sizes)), np.mean), sizes)
    return common * np.exp(center + _kept(off - center, error, lambda x: np.median(x) / norm.isf(0.25) ** 2))


def _kept(off, error: float, mean_square) -> np.ndarray:
    """What of deviations (n,) of standard error `error` is no chance: zeros unless they spread more than that allows.

    Over voxels the mean square is a robust one: single voxels with an artifact do not make the others differ.
    """
    middle = np.median(off)
    spread = mean_square((off - middle) ** 2)
    more, chance = spread - error**2, 4 * error**2 * np.sqrt(2 / (MAD_EFFICIENCY * len(off)))
    return middle + (off - middle) * more / spread if more > max(LEAST_SPREAD**2, chance) else np.zeros(len(off))
