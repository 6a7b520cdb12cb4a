"""PRECISE as estimators: single-voxel amplitudes, then the MRI prior by the exact minimizer or by fine-tuning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from precise_lib.errors import check_number
from precise_lib.estimate import catalog, choose
from precise_lib.estimate.finetune import finetune
from precise_lib.estimate.prior import OMEGA_MAX, ExactSolver, edge_weights, prepare_mri
from precise_lib.estimate.registry import single_voxel
from precise_lib.estimate.smoother import Smoother
from precise_lib.estimate.weights import Sve, SveModel, resolve
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import MRSI


def _check(lam: float, omega_max: float) -> None:
    check_number("lambda", lam, zero=True)
    check_number("The cap of the edge weights (omega_max)", omega_max)


def single_voxel_of(base, weights, model: SignalModel):
    """The single-voxel estimator `base`, or the network `weights`, or the first that fits, or else the fit."""
    if base is not None:
        return single_voxel(base, model)
    fits = weights is not None or catalog.fitting(model.acquisition)
    return Sve(resolve(weights, model)) if fits else single_voxel("fit", model)


@dataclass(frozen=True)
class Precise:
    """Single-voxel amplitudes under the MRI prior; callable `MRSI` -> DataArray (metabolite, x, y, z) in mM.

    `base` is any single-voxel estimator, or its registered name. Without one and without `weights` it is the first
    network that fits the acquisition, or the fit where there is none; the maps' attribute ``base`` says which.
    """

    weights: str | SveModel | None = None  # trained network, see `weights.resolve`
    lam: float = 0.01  # of Eq. 4; 0 gives the single-voxel result
    omega_max: float = OMEGA_MAX  # cap of Eq. 5
    base: str | Callable | None = None
    name: ClassVar[str] = "precise"
    parameter: ClassVar[str] = "lam"
    values: ClassVar[np.ndarray] = choose.GRID

    def __post_init__(self):
        _check(self.lam, self.omega_max)

    def single_voxel(self, model: SignalModel):
        """The estimator of each voxel on its own that the prior works on."""
        return single_voxel_of(self.base, self.weights, model)

    def smoother(self, data: MRSI) -> Smoother:
        """The exact minimizer of Eq. 4 on the usable voxels, at any lambda."""
        weights = edge_weights(prepare_mri(data), self.omega_max)
        return Smoother(data.usable, lambda lam: ExactSolver(weights, lam))

    def __call__(self, data: MRSI):
        base, model = self.single_voxel(data.model), data.model
        maps = self.smoother(data).at([self.lam] * len(model.names))
        water = model.divisor
        found = data.map_usable(lambda fids: choose.ratios(maps, base.amplitudes(fids, model), water), self.name)
        return found.assign_attrs(base=base.name)


@dataclass(frozen=True)
class FineTuned:
    """The same prior by Adam on the fully connected layers of the network, as in the paper; see `finetune`."""

    weights: str | SveModel | None = None
    lam: float = 0.01
    omega_max: float = OMEGA_MAX
    epochs: int = 60
    seed: int = 0
    name: ClassVar[str] = "precise-finetune"

    def __post_init__(self):
        _check(self.lam, self.omega_max)

    @property
    def base(self) -> Sve:
        return Sve(self.weights)

    def approaches(self, data: MRSI) -> Smoother:
        """The linear map that it would end at if it went on."""
        return Precise(omega_max=self.omega_max).smoother(data)

    def __call__(self, data: MRSI):
        network = resolve(self.weights, data.model)
        weights = edge_weights(prepare_mri(data), self.omega_max)
        return data.map_usable(
            lambda fids: finetune(network, fids, weights, self.lam, self.epochs, self.seed), self.name
        )
