"""Noise of measured FIDs: its level from samples free of signal, and how neighboring voxels share it."""

from __future__ import annotations

import numpy as np

from precise_lib.errors import InputError
from precise_lib.estimate.fit import default_max_shift_hz
from precise_lib.signal.model import SignalModel

DIED = 6  # T2* after which a line is gone: 0.25 % of it is left
LATE_ENOUGH = 64  # time points that tell the noise level well
FEWEST = 8


def noise_sd(fids, model: SignalModel, zero_filled: int = 0, per_voxel: bool = False, method: str = "auto"):
    """SD of the real (and of the imaginary) part of the noise in one time sample, from samples free of signal.

    1.4826 times the median absolute deviation of FIDs (V, t), made unbiased; (V,) by `per_voxel`. The `zero_filled`
    points at the end do not count. `method`: "late" (after six T2*), "subspace" (what no FID of the model can be, over
    its shifts and widths), or "auto", late where enough samples are. `InputError` where too few are left.
    """
    fids = np.asarray(fids)[..., : fids.shape[-1] - zero_filled]
    first = _first_late(model)
    if method == "late" or (method == "auto" and fids.shape[-1] - first >= LATE_ENOUGH):
        free = fids[..., first:]
    else:
        free = fids @ _outside(model, fids.shape[-1])
    if free.shape[-1] < FEWEST:
        raise InputError("The noise level cannot be estimated: too few time points are free of signal.")
    parts = np.stack([free.real, free.imag], -2)
    parts = np.abs(parts - np.median(parts, -1, keepdims=True))  # an offset is no noise
    n = free.shape[-1]
    # deviations from a median of n are too small by about 1 / n (Croux and Rousseeuw 1992); measured at n = 8 to 212
    small = 1.06 + 2 / n
    return 1.4826 * n / (n - small) * (np.median(parts, (-2, -1)) if per_voxel else float(np.median(parts)))


def _first_late(model: SignalModel) -> int:
    """First time point at which every line is gone."""
    a = model.acquisition
    return max(0, int(np.ceil((DIED * model.t2star_s.max() - a.dead_time_s) / a.dwell_time_s)))


def free_per_fid(model: SignalModel, n: int) -> int:
    """How many complex samples of a FID of `n` points tell its noise level in `noise_sd`."""
    late = n - _first_late(model)
    return late if late >= LATE_ENOUGH else _outside(model, n).shape[1]


def _outside(model: SignalModel, n: int) -> np.ndarray:
    """Orthonormal directions (t, t - rank) that no line of the model points to, over shifts and widths."""
    reach, width = default_max_shift_hz(model), 1 / (np.pi * model.t2star_s.min())
    shift = np.arange(-reach, reach, 0.5 * width)[:, None]
    family = model.basis()[:, None, None] * np.moveaxis(
        model.envelope(shift, width * np.array([-0.3, 0, 1, 4])), -1, 0
    )[..., None].reshape(model.acquisition.n_samples, -1, 4, 1)
    u, s, _ = np.linalg.svd(family.reshape(len(family), -1)[:n], full_matrices=True)
    return u[:, int((s > 1e-3 * s[0]).sum()) :].conj()


def noise_correlation(fids, model: SignalModel, usable, zero_filled: int = 0) -> float:
    """Correlation of the noise of neighboring voxels, late in the FID: not zero after spatial filters or zero filling.

    `fids` (V, t) are those of `usable` (x, y, z). The largest of the three axes; zero without neighbors.
    """
    stop = fids.shape[-1] - zero_filled
    first = max(0, min(_first_late(model), stop - LATE_ENOUGH))
    late = fids[:, first:stop]
    late = late - late.mean(-1, keepdims=True)
    late /= np.sqrt((np.abs(late) ** 2).mean(-1, keepdims=True)) + np.finfo(np.float32).tiny
    index = np.full(usable.shape, -1)
    index[usable] = np.arange(len(fids))
    found = [0.0]
    for axis in range(3):
        a, b = (np.take(index, np.arange(k, usable.shape[axis] - 1 + k), axis).ravel() for k in (0, 1))
        both = np.flatnonzero((a >= 0) & (b >= 0))
        parts = np.array_split(both, len(both) // 4096 + 1)
        shared = np.concatenate([(late[a[i]].conj() * late[b[i]]).real.mean(-1) for i in parts])
        found.append(float(np.median(shared)) if len(shared) else 0.0)
    return max(found, key=abs)
