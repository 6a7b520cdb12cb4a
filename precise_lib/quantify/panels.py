"""One slice of a map over the MRI, both aligned by their affines: what the pictures of a report are made of."""

from __future__ import annotations

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from scipy import ndimage

from precise_lib.quantify.report import Report


def _points(n: int, margin: float = 0.0) -> np.ndarray:
    """Voxel coordinates at which the MRI is shown: about 256 across n voxels and the margins beside them."""
    span = n + 2 * margin
    count = round(span * int(np.clip(256 / span, 1, 64)))
    return (np.arange(count) + 0.5) / count * span - 0.5 - margin


def mri_under(report: Report, z: int, margin: float = 0.0) -> np.ndarray | None:
    """The MRI, through both affines, on the middle plane of slice z of the grid and `margin` voxels around it.

    NaN outside the MRI; None without one.
    """
    data = report.data
    if data.mri is None:
        return None
    i, j = (_points(n, margin) for n in data.grid_shape[:2])
    grid = np.stack([*np.meshgrid(i, j, indexing="ij"), np.full((len(i), len(j)), float(z))])
    to_mri = np.linalg.inv(data.mri_affine) @ data.affine
    points = np.tensordot(to_mri[:3, :3], grid, 1) + to_mri[:3, 3][:, None, None]
    values = ndimage.map_coordinates(np.nan_to_num(data.mri), points, order=1, mode="nearest")
    size = np.array(data.mri.shape)[:, None, None]
    return np.where(((points >= -0.5) & (points <= size - 0.5)).all(0), values, np.nan)


def extent(report: Report, margin: float = 0.0) -> tuple:
    """Left, right, bottom and top in mm from the corner of the grid."""
    nx, ny, _ = report.data.grid_shape
    dx, dy, _ = np.linalg.norm(report.data.affine[:3, :3], axis=0)
    return (-margin * dx, (nx + margin) * dx, -margin * dy, (ny + margin) * dy)


def panel(ax, report: Report, z: int, values=None, mri=None, **settings):
    """One slice, x to the right and y up. A map is opaque and the MRI beneath it shows as contours only: a color that
    the MRI shines through would look like metabolism. Returns the drawn map."""
    edges, image = extent(report), None
    seen = mri is not None and np.isfinite(mri).any()
    if seen:
        low, high = np.nanpercentile(mri, [1, 99])
        image = ax.imshow(mri.T, origin="lower", extent=edges, cmap="gray", vmin=low, vmax=high)
    if values is not None:
        image = ax.imshow(values[:, :, z].T, origin="lower", extent=edges, **settings)
        if seen and high > low:
            smooth = ndimage.gaussian_filter(np.nan_to_num(mri, nan=low), mri.shape[0] / values.shape[0] / 4)
            levels = low + (high - low) * np.array([0.25, 0.5, 0.75])
            ax.contour(smooth.T, levels, colors="white", linewidths=0.5, alpha=0.7, extent=edges)
    ax.set(xticks=[], yticks=[], xlim=edges[:2], ylim=edges[2:])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return image


def figure(report: Report, n_rows: int, n_columns: int):
    """A figure and its axes (rows, columns), shaped for slices of the grid."""
    _, wide, _, high = extent(report)
    tall = np.clip(high / wide, 0.4, 2.0)
    return plt.subplots(n_rows, n_columns, figsize=(1.9 * n_columns + 1.6, 1.9 * tall * n_rows + 0.5), squeeze=False)


def name_axes(ax, report: Report):
    """Where the axes of the grid lead, by anatomy."""
    right, up, _ = nib.aff2axcodes(report.data.affine)
    ax.set_xlabel(f"→ {right}", fontsize=8, loc="right", labelpad=1)
    ax.set_ylabel(f"→ {up}", fontsize=8, loc="top", labelpad=1)


def limits(maps: list, symmetric: bool = False) -> dict:
    """Color scale from the values themselves, but for one in a thousand at each end; `bar` tells of those."""
    values = np.concatenate([m[np.isfinite(m)] for m in maps])
    low, high = np.percentile(values, [0.1, 99.9]) if len(values) else (0, 1)
    if symmetric:
        high = max(abs(low), abs(high)) or 1.0
        return {"vmin": -high, "vmax": high}
    return {"vmin": min(0.0, low), "vmax": high if high > min(0.0, low) else low + 1}


def bar(fig, drawn, axes: list, maps: list, **settings):
    """Color bar of a drawn map, with an arrow at an end that some value of `maps` lies beyond."""
    values = np.concatenate([m[np.isfinite(m)] for m in maps])
    (low, high), out = drawn.get_clim(), [False, False]
    if len(values):
        out = [bool(values.min() < low), bool(values.max() > high)]
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[tuple(map(int, out))]
    return fig.colorbar(drawn, ax=axes, extend=extend, shrink=0.85, **settings)
