"""Edge-preserving filters of finished maps: what a reader would try before PRECISE.

`anisotropic_diffusion` (Perona and Malik, 1990) looks for edges in the noisy map itself, as in the paper's Fig. 10D;
`guided_filter` (He, Sun and Tang, 2013) takes them from the MRI. Both work on concentrations, metabolite by
metabolite. Voxels that are NaN stay NaN and lend nothing to their neighbors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np
import xarray as xr
from scipy import ndimage

from precise_lib import estimate
from precise_lib.errors import InputError, check_number
from precise_lib.estimate.prior import prepare_mri
from precise_lib.signal.mrsi import MRSI

STEP = 0.125  # diffusion time of one iteration, in squared voxels: the largest that is stable in 2-D


def _between(values: np.ndarray, axis: int) -> np.ndarray:
    """Means of neighbors along an axis: the values at the faces of the voxels."""
    n = values.shape[axis]
    return (values.take(range(1, n), axis) + values.take(range(n - 1), axis)) / 2


def _diffuse(image: np.ndarray, threshold: float, iterations: int) -> np.ndarray:
    """Diffusion of one map (x, y, z) with an absolute threshold; NaN marks what is outside.

    Through each face of a voxel flows ``g exp(-(|gradient| / threshold)^2)``, g the difference across it.
    """
    known = np.isfinite(image)
    if not known.any() or np.ptp(image[known]) == 0:
        return image.copy()
    flat = tuple(0 if n == 1 else slice(None) for n in image.shape)
    known, values = known[flat], np.where(known, image, 0.0)[flat]
    # Outside, the value of the nearest voxel inside, renewed at every step: nothing flows across the border.
    nearest = tuple(ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True))
    axes = range(known.ndim)
    parts = max(1, int(np.ceil(STEP * 2 ** (known.ndim + 1))))  # a longer step is not stable in so many dimensions
    for _ in range(iterations * parts):
        values = values[nearest]
        padded, change = np.pad(values, 1, mode="edge"), np.zeros_like(values)
        slopes = [np.gradient(padded, axis=axis) for axis in axes]
        for axis in axes:
            step = np.diff(padded, axis=axis)
            square = step**2 + sum(_between(slopes[other], axis) ** 2 for other in axes if other != axis)
            flow = step * np.exp(-square / threshold**2)
            change += np.diff(flow[tuple(slice(None) if a == axis else slice(1, -1) for a in axes)], axis=axis)
        values = values + STEP / parts * change
    out = image.copy()
    out[flat] = np.where(known, values, np.nan)
    return out


def anisotropic_diffusion(maps: xr.DataArray, threshold: float, iterations: int = 10) -> xr.DataArray:
    """Perona-Malik diffusion of each metabolite's map (metabolite, x, y, z), NaN outside, conductance ``exp(-(gradient
    / K)^2)``.

    `threshold` is K per voxel, as a share of the range (maximum minus minimum) of the metabolite's voxel values;
    `iterations` are steps of `STEP`, not printed in the paper: ten smooth like a Gaussian with an SD of 1.6 voxels. An
    axis of length one does not count as a dimension.
    """
    check_number("The threshold of anisotropic diffusion", threshold)
    check_number("The number of iterations", iterations, zero=True, whole=True)
    out = maps.copy(deep=True)
    for k, image in enumerate(maps.values):
        finite = image[np.isfinite(image)]
        if len(finite):
            out.values[k] = _diffuse(image, threshold * np.ptp(finite), int(iterations))
    return out


def _window_mean(values: np.ndarray, known: np.ndarray, radius: int) -> np.ndarray:
    """Mean of the known voxels in a window of 2 radius + 1 a side; `values` is zero where unknown."""
    # only sums over whole windows: what lies outside the grid counts as unknown
    size = [min(2 * radius + 1, 2 * n - 1) for n in values.shape]
    total = ndimage.uniform_filter(values, size, mode="constant")
    count = ndimage.uniform_filter(known.astype(float), size, mode="constant")
    return np.where(known, total / np.where(known, count, 1.0), 0.0)


def guided_filter(maps: xr.DataArray, gray: np.ndarray, radius: int = 1, eps: float = 0.01) -> xr.DataArray:
    """He, Sun and Tang's guided filter: in each window ``map = a gray + b`` by least squares, then averaged.

    Linear in the maps (metabolite, x, y, z), NaN outside. Means go over the voxels of the window that are finite in map
    and MRI, whose gray levels are on the grid of the maps in [0, 1], see `prior.prepare_mri`; `radius` of the windows
    is in voxels, 1 for 3x3(x3), `eps` the variance of the gray level below which a window counts as uniform and is
    averaged.
    """
    check_number("The radius of the guided filter", radius, whole=True)
    check_number("eps of the guided filter", eps)
    if gray.shape != maps.shape[1:]:
        raise InputError(f"The guide has shape {gray.shape}, the maps {maps.shape[1:]}.")
    out = maps.copy(deep=True)
    for k, image in enumerate(maps.values):
        known = np.isfinite(image) & np.isfinite(gray)
        # centered, so that a uniform map stays what it is to the last digit
        offset = image[known].mean() if known.any() else 0.0
        p, g = np.where(known, image - offset, 0.0), np.where(known, gray, 0.0)
        mean = partial(_window_mean, known=known, radius=int(radius))
        mean_g, mean_p = mean(g), mean(p)
        slope = (mean(g * p) - mean_g * mean_p) / (mean(g * g) - mean_g**2 + eps)
        fitted = mean(slope) * g + mean(mean_p - slope * mean_g) + offset
        out.values[k] = np.where(known, fitted, np.nan)
    return out


def base_estimator(base: str | Callable) -> Callable:
    """The estimator that is filtered: a registered name, or an estimator itself."""
    return estimate.make(base) if isinstance(base, str) else base


@dataclass(frozen=True)
class OverBase:
    """What works on another estimator, its `base`, and is named after both."""

    base: str | Callable = field(default="fit", kw_only=True)
    kind: ClassVar[str]

    @property
    def name(self) -> str:
        return f"{base_estimator(self.base).name}-{self.kind}"


@dataclass(frozen=True)
class Filter(OverBase):
    """Another estimator's finished maps through a filter."""

    def filtered(self, maps: xr.DataArray, data: MRSI) -> xr.DataArray:
        raise NotImplementedError

    def __call__(self, data: MRSI) -> xr.DataArray:
        return self.filtered(base_estimator(self.base)(data), data).rename(self.name)


@dataclass(frozen=True)
class Diffusion(Filter):
    """See `anisotropic_diffusion`."""

    threshold: float = 0.1
    iterations: int = 10
    kind: ClassVar[str] = "diffusion"

    def filtered(self, maps, data):
        return anisotropic_diffusion(maps, self.threshold, self.iterations)


@dataclass(frozen=True)
class Guided(Filter):
    """The MRI as guide; see `guided_filter`."""

    radius: int = 1
    eps: float = 0.01
    kind: ClassVar[str] = "guided"

    def filtered(self, maps, data):
        if data.mri is None:
            raise InputError("The guided filter needs an MRI: give one, or use an estimator without a guide.")
        return guided_filter(maps, prepare_mri(data), self.radius, self.eps)
