"""MNI152 anatomy from nilearn's own wheel, and exact averages of its 2 mm maps over the voxels of another grid."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from precise_lib.errors import InputError


@lru_cache(maxsize=1)
def templates() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """T1, gray, white, brain mask (X, Y, Z) at 2 mm, and their affine; read-only, from nilearn's wheel."""
    try:
        from nilearn import datasets
    except ImportError as error:
        needed = "The human phantom needs the anatomy that nilearn carries"
        raise InputError(f"{needed}: pip install 'precise-lib[studies]'.") from error
    names = ("load_mni152_template", "load_mni152_gm_template", "load_mni152_wm_template", "load_mni152_brain_mask")
    images = [getattr(datasets, name)(resolution=2) for name in names]
    t1, gray, white, brain = (image.get_fdata() for image in images)
    maps = t1, np.clip(gray, 0, 1), np.clip(white, 0, 1), brain > 0.5, images[0].affine
    for values in maps:
        values.setflags(write=False)
    return maps


def positions(shape, affine) -> list[np.ndarray]:
    """World coordinates (mm) along x, y and z of a grid without rotation, each ready to broadcast."""
    axes = [affine[i, i] * np.arange(n) + affine[i, 3] for i, n in enumerate(shape)]
    return list(np.meshgrid(*axes, indexing="ij", sparse=True))


def _overlap(n_fine: int, step: float, start: float, n_coarse: int, size: float, first: float) -> np.ndarray:
    """Share of each coarse voxel (rows) that each fine voxel covers, along one axis; lengths and edges in mm."""
    fine, coarse = start + step * np.arange(n_fine), first + size * np.arange(n_coarse)
    low = np.maximum(coarse[:, None], fine[None])
    high = np.minimum(coarse[:, None] + size, fine[None] + step)
    return np.clip(high - low, 0, None) / size


def dmi_grid(voxel_mm: float) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine of the isotropic DMI grid, centered on the brain and large enough for it."""
    brain, affine = templates()[3:]
    if not 4.0 <= voxel_mm <= 40.0:
        raise InputError(f"The DMI voxel is {voxel_mm} mm wide; it must be between 4 and 40 mm.")
    filled = np.argwhere(brain)
    low, high = (affine[:3, :3] @ (edge[:, None]) for edge in (filled.min(0) - 0.5, filled.max(0) + 0.5))
    low, high = low[:, 0] + affine[:3, 3], high[:, 0] + affine[:3, 3]
    shape = tuple(int(n) for n in np.ceil((high - low) / voxel_mm - 1e-9))
    grid = np.diag([voxel_mm] * 3 + [1.0])
    grid[:3, 3] = (low + high) / 2 - voxel_mm * (np.array(shape) - 1) / 2
    return shape, grid


def average(values: np.ndarray, affine: np.ndarray, shape, grid: np.ndarray) -> np.ndarray:
    """Box averages (..., x, y, z) of fine maps (..., X, Y, Z): what a DMI voxel holds of each; volume is conserved."""
    steps = [
        _overlap(n, affine[i, i], affine[i, 3] - affine[i, i] / 2, shape[i], grid[i, i], grid[i, 3] - grid[i, i] / 2)
        for i, n in enumerate(values.shape[-3:])
    ]
    return np.einsum("ax,by,cz,...xyz->...abc", *steps, values, optimize=True)
