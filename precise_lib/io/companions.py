"""MRI and mask that come with an MRSI, each on a grid of its own."""

from __future__ import annotations

import numpy as np

from precise_lib.errors import InputError
from precise_lib.io.nifti import read_volume
from precise_lib.signal import align


def read_mri(path) -> tuple[np.ndarray, np.ndarray]:
    """MRI (x, y, z) float32 and its affine (4, 4)."""
    values, affine = read_volume(path, "MRI")
    return values.astype(np.float32), affine


def read_mask(path, shape, affine) -> tuple[np.ndarray, list[str]]:
    """Mask on the grid of the MRSI (`shape`, `affine`), and a note where it had to be brought there.

    Raises `InputError` where no voxel of the MRSI is left.
    """
    values, mask_affine = read_volume(path, "mask")
    mask = np.nan_to_num(values) != 0
    if not mask.any():
        raise InputError(f"The mask {path} is empty: no voxel is left to quantify.")
    if align.same_grid(shape, affine, mask.shape, mask_affine):
        return mask, []
    moved = align.mask_on_grid(mask, mask_affine, shape, affine)
    if moved is None:
        raise InputError(f"The mask {path} does not overlap the MRSI in space: check that their affines are right.")
    if not moved.any():
        raise InputError(f"The mask {path} holds no voxel of the MRSI by half or more: give a larger one.")
    note = (
        f"The mask {mask.shape} is on another grid than the MRSI {tuple(shape)}; through both affines it holds "
        f"{int(moved.sum())} voxels by half or more."
    )
    return moved, [note]


def overlap(shape, affine, mask, mri_shape, mri_affine) -> bool:
    """Whether a voxel center of the MRSI lies in the MRI, or the center of the MRI in the MRSI."""

    def inside(points, size):
        return ((points >= -0.5) & (points <= np.array(size)[:, None] - 0.5)).all(0)

    voxels = np.argwhere(np.ones(shape, bool) if mask is None else mask).T
    to_mri = np.linalg.inv(mri_affine) @ affine
    if inside(to_mri[:3, :3] @ voxels + to_mri[:3, 3:], mri_shape).any():
        return True
    middle = np.r_[(np.array(mri_shape) - 1) / 2, 1.0]
    return bool(inside((np.linalg.inv(to_mri) @ middle)[:3, None], shape).all())
