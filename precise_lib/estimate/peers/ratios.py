"""Peers that work on ratios of single voxels, each with its noise, and on the MRI: one setting, or chosen by Stein."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import xarray as xr

from precise_lib.errors import InputError, check_number
from precise_lib.estimate import stein
from precise_lib.estimate.adaptive import Problem
from precise_lib.estimate.coupling import Couplings
from precise_lib.estimate.peers.filters import OverBase
from precise_lib.estimate.prior import prepare_mri
from precise_lib.estimate.registry import single_voxel
from precise_lib.estimate.single_voxels import SingleVoxels
from precise_lib.signal.mrsi import MRSI, Series

AUTO = "auto"
PROBES = 2  # of Stein's estimate


@dataclass(frozen=True)
class Ratios:
    """What a peer gets of one data set: ratios (V, K) in mM and their noise variance; the grid that they lie on.

    `gray` (x, y, z) are gray levels of the MRI, NaN outside the V voxels, constant without an MRI; `size_mm` (3,) is
    that of a voxel; `noise` (count) -> (count, V, K) is like that of the ratios.
    """

    values: np.ndarray
    variance: np.ndarray
    gray: np.ndarray
    size_mm: np.ndarray
    noise: Callable


@dataclass(frozen=True)
class RatioPeer(OverBase):
    """Another estimator's ratios under a prior; `parameter` is what "auto" chooses among `values`."""

    guided: ClassVar[bool]
    parameter: ClassVar[str]
    values: ClassVar[tuple[float, ...]]

    def solved(self, values, of: Ratios) -> np.ndarray:
        """Maps (V, K) of ratios (V, K) at the setting of this peer."""
        raise NotImplementedError

    def tuned(self, of: Ratios) -> RatioPeer:
        """This peer at the value of least estimated risk, where its own is "auto"."""
        if getattr(self, self.parameter) != AUTO:
            return self
        noise = of.noise(PROBES)
        data, alone = stein.moved(of.values, noise), Couplings(np.empty((0, 2), int), np.empty(0), len(of.values))
        problem, tried = Problem(data, of.variance, alone), []
        for value in self.values:
            peer = replace(self, **{self.parameter: value})
            maps = np.stack([peer.solved(data[:, i], of) for i in range(data.shape[1])], 1)
            tried.append((float(stein.risk(problem, maps, noise).mean()), value, peer))
        return min(tried, key=lambda one: one[:2])[2]

    def __call__(self, data: MRSI) -> xr.DataArray:
        series, model = Series.of(data), data.model
        if self.guided and data.mri is None:
            raise InputError(f"The estimator '{self.name}' needs an MRI: give one, or use one without a guide.")
        voxels = SingleVoxels.of(series, single_voxel(self.base, model))
        usable = np.zeros(data.grid_shape, bool)
        usable[data.usable] = voxels.usable
        gray = prepare_mri(data, usable) if self.guided else np.where(usable, 0.0, np.nan)
        size_mm = np.linalg.norm(np.asarray(data.affine)[:3, :3], axis=0)
        of = Ratios(voxels.ratios[voxels.usable], voxels.variance[voxels.usable], gray, size_mm, voxels.noise)
        peer, maps = self.tuned(of), model.concentrations(voxels.amplitudes)
        maps[np.ix_(voxels.usable, voxels.others)] = peer.solved(of.values, of)
        chosen = {self.parameter: getattr(peer, self.parameter)}
        return series.to_maps(maps, self.name).assign_attrs(chosen)


def nonlocal_means(ratios, variance, gray: np.ndarray, width: float, window: int = 2) -> np.ndarray:
    """Means (V, K) over a window, linear in the ratios: voxels weigh by how alike the MRI is there, and by precision.

    After Buades, Coll and Morel (2005), the likeness taken from another image. Voxels of DMI are large: likeness is
    that of single voxels, since patches of 3x3x3 erred more on every object tried. scikit-image's `denoise_nl_means`
    knows neither mask nor guide.

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
