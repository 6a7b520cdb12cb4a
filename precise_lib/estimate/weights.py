"""Single-voxel estimation (SVE): trained networks, which one fits an acquisition, and the estimator that uses them."""

from __future__ import annotations

import copy
import shlex
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch

from precise_lib.errors import InputError
from precise_lib.estimate import card, catalog
from precise_lib.estimate.network import Network
from precise_lib.estimate.registry import Limits
from precise_lib.estimate.train_config import TrainConfig
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import MRSI
from precise_lib.signal.parts import Acquisition

BATCH = 128  # FIDs that pass the network together: the activations of more would leave the cache of a core


class SveModel(card.Trained):
    """A trained `Network` and its card."""

    @property
    def signal_model(self) -> SignalModel:
        """The FIDs it was trained on."""
        return self.card.config.signal_model

    def _run(self, function, fids):
        fids = torch.as_tensor(np.ascontiguousarray(fids, dtype=np.complex64))
        front = self.network.front
        scale = front.dataset_unit(fids) if hasattr(front, "dataset_unit") else torch.tensor(1.0)
        with torch.no_grad():
            parts = [function(front.project(chunk / scale)) for chunk in fids.split(BATCH)]
        return parts, scale

    def amplitudes(self, fids, model: SignalModel | None = None) -> np.ndarray:
        """Amplitudes (V, M) of FIDs (V, t); `model`, where given, must agree."""
        if model is not None:
            check_match(self, model)
        parts, scale = self._run(self.network, fids)
        return (torch.cat(parts) * scale).double().numpy()

    def features(self, fids) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs of the FC layers (V, F) and the unit of their output (V, 1): the frozen part of fine-tuning."""
        parts, scale = self._run(self.network.features, fids)
        return torch.cat([f for f, _ in parts]), torch.cat([u for _, u in parts]) * scale

    def new_head(self) -> torch.nn.Module:
        """A copy of the FC layers, ready to be fine-tuned."""
        return copy.deepcopy(self.network.head).requires_grad_(True)


def load_weights(name_or_path) -> SveModel:
    """Weights by name or hash of the signal model (shipped, or of the user's model folder), or by path.

    Raises `InputError` where there are no such weights, no card beside them, or the file is damaged.
    """
    known = {entry.name: entry.path for entry in catalog.available()}
    entry = None if str(name_or_path).endswith(".safetensors") else catalog.find(str(name_or_path))
    path = card.find(name_or_path if entry is None else entry.path, known)
    return SveModel(*card.load(path, TrainConfig, Network.of))


def find_weights(acquisition: Acquisition, like="FILE") -> str:
    """Name (shipped) or path (user's) of the first weights that fit an acquisition, see `catalog.fitting`.

    Raises `InputError`, which names the data file `like`, when no network fits.
    """
    for entry in catalog.fitting(acquisition):
        return entry.path.stem if entry.origin == "shipped" else str(entry.path)
    a = acquisition
    delay = f", {1e3 * a.dead_time_s:.3g} ms after the excitation" if a.dead_time_s else ""
    raise InputError(
        f"No network fits {a.n_samples} points at {a.dwell_time_s * 1e6:.4g} us and "
        f"{a.spectrometer_frequency_mhz:.4g} MHz of {a.nucleus}{delay}: train one with "
        f"'precise train --like {shlex.quote(str(like))}', or use the estimator 'fit'."
    )


def check_match(network: SveModel | catalog.Entry, model: SignalModel):
    """Raise `InputError` unless the network was trained on the lines and acquisition of `model`."""
    own, what = network.signal_model, f"The network '{network.name}'"
    if own == model:
        return
    if model.acquisition.differences(own.acquisition):
        raise InputError(f"{what} was trained for another acquisition than the data's.")
    if own.names != model.names or own.reference != model.reference:
        raise InputError(f"{what} estimates {', '.join(own.names)}, not {', '.join(model.names)}.")
    moved = np.abs(own.frequencies_hz - model.frequencies_hz).max()
    if moved > 1.0 or not np.allclose(own.t2star_s, model.t2star_s, rtol=0.05):
        raise InputError(f"{what} was trained with other frequencies or T2* than asked for.")


def resolve(weights, model: SignalModel) -> SveModel:
    """The network for `model`: given as such, by name or path, or (None) the first that was trained on its lines."""
    if weights is None:
        weights = find_weights(model.acquisition)
        for entry in catalog.fitting(model.acquisition):
            with suppress(InputError):
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
