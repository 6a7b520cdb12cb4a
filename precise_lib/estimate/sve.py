"""Single-voxel estimation (SVE): a trained network as an estimator, and where its weights are found.

Weights are safetensors with a JSON card of the same name beside them; `precise_lib.estimate.training` makes both.
"""

from __future__ import annotations

import contextlib
import copy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from precise_lib.errors import InputError
from precise_lib.estimate import catalog, checkpoints
from precise_lib.estimate.limits import Limits
from precise_lib.estimate.network import Network
from precise_lib.estimate.sampling import TrainConfig
from precise_lib.signal.model import Acquisition, SignalModel
from precise_lib.signal.mrsi import MRSI

BATCH = 8192  # FIDs that pass the network together: bounds the memory


@dataclass(frozen=True)
class SveModel:
    """A trained network and its card.

    Attributes
    ----------
    name, hash : name of the weights and SHA-256 of their file
    card : training settings, machine, accuracy
    signal_model : the FIDs it was trained on
    """

    name: str
    hash: str
    card: dict
    signal_model: SignalModel
    network: Network

    def _run(self, function, fids):
        fids = torch.as_tensor(np.ascontiguousarray(fids, dtype=np.complex64))
        front = self.network.front
        scale = front.dataset_unit(fids) if hasattr(front, "dataset_unit") else torch.tensor(1.0)
        with torch.no_grad():
            parts = [function(front.project(chunk / scale)) for chunk in fids.split(BATCH)]
        return parts, scale

    def amplitudes(self, fids, model: SignalModel | None = None) -> np.ndarray:
        """Amplitudes (V, M) of FIDs (V, t); `model` is accepted for the common signature and must agree."""
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


def shipped_weights() -> list[str]:
    """Names of the weights that come with the package."""
    return [entry.path.stem for entry in catalog.shipped()]


def load_weights(name_or_path) -> SveModel:
    """Load weights by name or hash of the signal model (shipped, or of the user's model folder), or by path.

    Raises
    ------
    InputError : no such weights, no card beside them, or a damaged file
    """
    path = Path(name_or_path)
    if path.suffix != ".safetensors":
        entry = catalog.find(str(name_or_path))
        path = path if entry is None else entry.path
    if path.suffix != ".safetensors" or not path.is_file():
        names = ", ".join(entry.name for entry in catalog.available()) or "none"
        raise InputError(f"No weights '{name_or_path}': name a .safetensors file or one of: {names}.")
    files = (path, path.with_suffix(".json"))
    return _load(path.resolve(), *(f.stat().st_mtime_ns if f.is_file() else None for f in files))


@lru_cache(maxsize=8)
def _load(path: Path, _weights_stamp, _card_stamp) -> SveModel:
    content, digest, card = checkpoints.read_weights(path)
    try:
        config, name = TrainConfig.from_dict(card["config"]), str(card["name"])
    except InputError as error:
        reason = str(error).rstrip(".")
        raise InputError(f"The card {path.stem}.json is not readable ({reason}); restore it or train again.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"The card {path.stem}.json is not readable; restore it or train again.") from error
    parts = (config.signal_model, config.network, config.shift_range_hz)
    network = checkpoints.restore(path, content, lambda: Network(*parts))
    return SveModel(name, digest, card, config.signal_model, network)


def find_weights(acquisition: Acquisition, like="FILE") -> str:
    """Name (shipped) or path (user's) of the weights for an acquisition when none are asked for.

    `models.fitting` has the order; `like` is the data file that the message names. Raises `InputError` when no
    network fits.
    """
    for entry in catalog.fitting(acquisition):
        return entry.path.stem if entry.origin == "shipped" else str(entry.path)
    a = acquisition
    raise InputError(
        f"No network fits {a.n_samples} points at {a.dwell_time_s * 1e6:.4g} us and "
        f"{a.spectrometer_frequency_mhz:.4g} MHz of {a.nucleus}: train one with 'precise train --like {like}', "
        "or use the estimator 'fit'."
    )


def check_match(network: SveModel | catalog.Entry, model: SignalModel):
    """Raise `InputError` unless the network was trained on the lines and acquisition of `model`."""
    own = network.signal_model
    if own == model:
        return
    if not catalog.same_acquisition(own.acquisition, model.acquisition):
        raise InputError(f"The network '{network.name}' was trained for another acquisition than the data's.")
    if own.names != model.names or own.reference != model.reference:
        raise InputError(
            f"The network '{network.name}' estimates {', '.join(own.names)}, not {', '.join(model.names)}."
        )
    if np.abs(own.frequencies_hz - model.frequencies_hz).max() > 1.0 or not np.allclose(
        own.t2star_s, model.t2star_s, rtol=0.05
    ):
        raise InputError(f"The network '{network.name}' was trained with other frequencies or T2* than asked for.")


def resolve(weights, model: SignalModel) -> SveModel:
    """The network for `model`: given as such, by name or path, or (None) the first that fits.

    Of several networks for the acquisition, the first that was trained on the lines of `model` is taken.
    """
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
    config = TrainConfig.from_dict(network.card["config"])
    why = f"the network '{network.name}' was not trained for this"
    return Limits(
        config.snr_range[0],
        why,
        why,
        config.shift_range_hz,
        config.broadening_range_hz,
        config.ranges(),
        config.network.front == "fid",
        network.name,
    )


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
