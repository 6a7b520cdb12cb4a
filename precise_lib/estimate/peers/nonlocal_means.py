"""Non-local means guided by the MRI (after Buades, Coll and Morel 2005, the likeness taken from another image).

A voxel becomes the mean of those in a window around it, each weighed by how alike the MRI is there, and by its
precision. Voxels of DMI are large: likeness is that of single voxels, since patches of 3x3x3 erred more on every object
tried. scikit-image's `denoise_nl_means` knows neither mask nor guide.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from precise_lib.errors import check_number
from precise_lib.estimate.peers.ratios import AUTO, RatioPeer


def nonlocal_means(ratios, variance, gray: np.ndarray, width: float, window: int = 2) -> np.ndarray:
    """Weighted means (V, K); linear in the ratios.

    Parameters
    ----------
    ratios, variance : (V, K) of the finite voxels of `gray`
    gray : (x, y, z) MRI gray levels, NaN outside
    width : difference in gray level at which a weight has fallen to 1 / e
    window : its reach in voxels, 2 for 5x5(x5)
    """
    check_number("The width of non-local means", width)
    check_number("The window of non-local means", window, whole=True)
    known = np.isfinite(gray)
    precision = np.zeros((*gray.shape, ratios.shape[1]))
    precision[known] = 1 / variance
    weighted = precision.copy()
    weighted[known] *= ratios
    total, weights = np.zeros_like(precision), np.zeros_like(precision)
    reach = [range(-min(window, n - 1), min(window, n - 1) + 1) for n in gray.shape]
    for step in itertools.product(*reach):
        here = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(step, gray.shape, strict=True))
        there = tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(step, gray.shape, strict=True))
        alike = np.nan_to_num(np.exp(-(((gray[here] - gray[there]) / width) ** 2)))[..., None]
        total[here] += alike * weighted[there]
        weights[here] += alike * precision[there]
    return total[known] / weights[known]


@dataclass(frozen=True)
class NonlocalMeans(RatioPeer):
    """Another estimator's ratios, averaged where the MRI is alike."""

    width: float | str = AUTO
    window: int = 2
    kind: ClassVar[str] = "nlm"
    guided: ClassVar[bool] = True
    parameter: ClassVar[str] = "width"
    values: ClassVar[tuple[float, ...]] = (0.005, 0.01, 0.02, 0.04, 0.07, 0.12, 0.2)

    def solved(self, values, of):
        return nonlocal_means(values, of.variance, of.gray, self.width, self.window)
