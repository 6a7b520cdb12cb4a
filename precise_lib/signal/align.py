"""Images on one grid seen on another, through both affines: size, position, angle and handedness may differ.

The image is averaged over each voxel of the other grid, at points about as far apart as the image's own voxels.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy import ndimage

from precise_lib.errors import InputError

MOST_POINTS = 40  # along each axis of a voxel
LARGEST_RATIO = 1000  # of the sides of two voxels: beyond it, one affine is in other units
EDGE = 1e-6  # voxels; what rounding of affines may move a point over the rim of an image


def sampled(image, image_affine, affine, voxels, order: int = 1, least: int = 1):
    """Mean (V,) of an image over voxels of another grid, and share (V,) of the points that lie within the image.

    What is not finite in the image (X, Y, Z) has no weight, and the mean of nothing is NaN. Affines (4, 4) are to mm,
    of the image and of the grid that `voxels` (V, 3) count in; `order` 1 interpolates linearly, 0 takes the nearest
    voxel of the image; a voxel has `least` points along each axis, at least. Raises `InputError` where a voxel of the
    grid is more than a thousand times as wide as one of the image.
    """
    to_image = np.linalg.inv(image_affine) @ affine
    ratios = np.linalg.norm(to_image[:3, :3], axis=0)
    if not ratios.max() <= LARGEST_RATIO:
        raise InputError(
            f"A voxel of the MRSI is as wide as {ratios.max():.3g} voxels of the MRI or mask: check that the affines "
            "of both are in mm."
        )
    per_axis = np.clip(np.ceil(ratios - 1e-6), least, MOST_POINTS).astype(int)
    offsets = list(itertools.product(*[(np.arange(n) + 0.5) / n - 0.5 for n in per_axis]))
    voxels = np.asarray(voxels, float).T
    upper = np.array(image.shape)[:, None] - 0.5
    known = np.isfinite(image)
    everywhere = known.all()
    image = np.where(known, image, 0).astype(float)
    known = known.astype(np.float32)
    total, weight, inside = np.zeros((3, voxels.shape[1]))
    for offset in offsets:
        points = to_image[:3, :3] @ (voxels + np.array(offset)[:, None]) + to_image[:3, 3:]
        covered = ((points >= -0.5 - EDGE) & (points <= upper + EDGE)).all(0)
        inside += covered
        if not covered.any():
            continue
        points = points[:, covered]
        total[covered] += ndimage.map_coordinates(image, points, np.float64, order, mode="nearest")
        weight[covered] += (
            1 if everywhere else ndimage.map_coordinates(known, points, np.float64, order, mode="nearest")
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weight > 1e-6, total / weight, np.nan), inside / len(offsets)


def same_grid(shape, affine, other_shape, other_affine) -> bool:
    """Whether two grids are one, to a hundredth of a voxel."""
    voxel_mm = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0).min()
    return tuple(shape) == tuple(other_shape) and np.allclose(other_affine, affine, rtol=1e-4, atol=0.01 * voxel_mm)


def mask_on_grid(mask, mask_affine, shape, affine) -> np.ndarray | None:
    """A mask (X, Y, Z) bool on the grid (x, y, z) of another affine: voxels of which at least half lies in the mask.

    What lies beyond the mask's own grid is outside. None where the grids do not overlap.
    """
    voxels = np.argwhere(np.ones(shape, bool))
    mean, share = sampled(np.asarray(mask, float), mask_affine, affine, voxels, order=0, least=3)
    if not share.any():
        return None
    return (np.nan_to_num(mean) * share >= 0.5 - 1e-9).reshape(shape)
