"""Single-voxel estimation (SVE): a trained network as an estimator."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np

from precise_lib.errors import InputError
from precise_lib.estimate import catalog
from precise_lib.estimate.registry import Limits
from precise_lib.estimate.weights import SveModel, check_match, find_weights, load_weights
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import MRSI


def resolve(weights, model: SignalModel) -> SveModel:
    """The network for `model`: given as such, by name or path, or (None) the first that was trained on its lines."""
    if weights is None:
        weights = find_weights(model.acquisition)
        for entry in catalog.fitting(model.acquisition):
            with contextlib.suppress(InputError):
                check_match(entry, model)
                weights = entry.path
                break
    network = weights if isinstance(weights, SveModel) else load_weights(weights)
    check_match(network, model)
    return network


def training_limits(network: SveModel) -> Limits:
    """The ranges that a network was trained on."""
    c, why = network.card.config, f"the network '{network.name}' was not trained for this"
    ranges = (c.shift_range_hz, c.broadening_range_hz, c.ranges())
    return Limits(c.snr_range[0], why, why, *ranges, c.network.front == "fid", network.name)


@dataclass(frozen=True)
class Sve:
    """CNN estimate of every voxel on its own; callable `MRSI` -> DataArray (metabolite, x, y, z) in mM."""

    weights: str | SveModel | None = None
    name: str = "sve"

    def amplitudes(self, fids: np.ndarray, model: SignalModel) -> np.ndarray:
        """Amplitudes (V, M) of FIDs (V, t)."""
        return resolve(self.weights, model).amplitudes(fids)

    def limits(self, model: SignalModel) -> Limits:
        """What the network was trained on."""
        return training_limits(resolve(self.weights, model))

    @property
    def whole(self) -> bool:
        """Whether the network wants the FIDs of a data set together: the paper's knows one scale for all."""
        return isinstance(self.weights, SveModel) and hasattr(self.weights.network.front, "dataset_unit")

    def __call__(self, data: MRSI):
        return data.map_usable(lambda fids: self.amplitudes(fids, data.model), self.name)
