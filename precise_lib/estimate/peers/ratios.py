"""Peers that work on ratios of single voxels, each with its noise, and on the MRI: one setting, or chosen by Stein."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import xarray as xr

from precise_lib.errors import InputError
from precise_lib.estimate import stein
from precise_lib.estimate.adaptive import Problem
from precise_lib.estimate.coupling import Couplings
from precise_lib.estimate.peers.filters import base_estimator
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
class RatioPeer:
    """Another estimator's ratios under a prior; `parameter` is what "auto" chooses among `values`."""

    base: str | Callable = field(default="fit", kw_only=True)
    kind: ClassVar[str]
    guided: ClassVar[bool]
    parameter: ClassVar[str]
    values: ClassVar[tuple[float, ...]]

    @property
    def name(self) -> str:
        return f"{base_estimator(self.base).name}-{self.kind}"

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
