"""Weights of a trained network, safetensors, and their card, a JSON file of the same name that has their SHA-256."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch.nn.modules.module import register_module_parameter_registration_hook

from precise_lib import __version__
from precise_lib.errors import InputError, filled, printable, reason
from precise_lib.io import text
from precise_lib.io.atomic import staged, write_text


def machine() -> str:
    """One line on the hardware and software that trained: no names, no paths."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    threads = torch.get_num_threads()
    return f"{cores} CPU cores ({platform.machine()}, {threads} threads){gpu}, torch {torch.__version__}"


@dataclass(frozen=True)
class Card:
    """How a network was made and what it can do.

    Attributes
    ----------
    config : settings of the training (`TrainConfig` or the like): signal model or data, network, seed
    signal_model_hash : where the settings have a signal model
    wall_time_s, epochs, loss_history : of the training; no epochs where each batch is drawn anew
    parameters : how many the network has
    machine, package_version : that trained it
    accuracy : against the bound or the truth, as `evaluate.accuracy.certify` measured it; empty before
    default : whether it may be used without being asked for by name
    stored : when it came into the user's model folder
    sha256 : of the file of weights
    """

    name: str
    config: object
    package_version: str = __version__
    signal_model_hash: str | None = None
    wall_time_s: float = 0.0
    epochs: int | None = None
    loss_history: list = field(default_factory=list)
    parameters: int = 0
    machine: str = field(default_factory=machine)
    accuracy: dict = field(default_factory=dict)
    default: bool = True
    stored: str | None = None
    sha256: str = ""

    @classmethod
    def read(cls, weights: Path, config_class) -> Card:
        """The card of a file of weights, its settings as `config_class`; raises `InputError` without a readable one."""
        path = weights.with_suffix(".json")
        try:
            values = text.read_json(path)
            config = config_class.from_dict(values["config"])
            known = {f.name: values[f.name] for f in fields(cls) if f.name in values}
            return filled(cls, known | {"name": printable(values["name"]), "config": config}, "It")
        except FileNotFoundError as error:
            raise InputError(f"{weights.name} has no card {path.name} beside it; keep the two together.") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            why = f" ({reason(error)})" if isinstance(error, InputError) else ""
            raise InputError(f"The card {path.name} is not readable{why}; restore it or train again.") from error

    def to_json(self) -> str:
        """Content of the file. The signal model stands in the settings and, for readers, by itself."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values = {k: v for k, v in values.items() if v is not None and v != {}}
        values["config"] = self.config.to_dict()
        if self.signal_model_hash is not None:
            values["signal_model"] = values["config"]["signal_model"]
        return json.dumps(values, indent=1) + "\n"

    def write(self, weights: Path):
        """Write the card beside its weights, whole or not at all."""
        write_text(weights.with_suffix(".json"), self.to_json())


@dataclass(frozen=True)
class Trained:
    """A trained network and its card."""

    card: Card
    network: torch.nn.Module

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def hash(self) -> str:
        """SHA-256 of the file of weights."""
        return self.card.sha256


def save(path: Path, network: torch.nn.Module, card: Card):
    """Weights of a network, and their card with number of parameters and SHA-256; both arrive whole."""
    with staged(path.parent) as folder:
        file = folder / path.name
        content = save_tensors({k: v.detach().contiguous().cpu() for k, v in network.state_dict().items()})
        file.write_bytes(content)
        parameters = sum(p.numel() for p in network.parameters())
        card = replace(card, parameters=parameters, sha256=hashlib.sha256(content).hexdigest())
        file.with_suffix(".json").write_text(card.to_json(), encoding="utf-8")


def find(name_or_path, shipped: dict[str, Path], what: str = "weights") -> Path:
    """The file of weights of a name, or the path that was given; raises `InputError` where there is none."""
    path = shipped.get(str(name_or_path), Path(name_or_path))
    if path.suffix != ".safetensors" or not path.is_file():
        names = ", ".join(shipped) or "none"
        raise InputError(f"No {what} '{name_or_path}': name a .safetensors file or one of: {names}.")
    return path.resolve()


def load(path: Path, config_class, build: Callable) -> tuple[Card, torch.nn.Module]:
    """Card and network of a file of weights, read once for each state of the files.

    Parameters
    ----------
    config_class : of the settings; `build` makes the network of such settings

    Raises
    ------
    InputError : no card or an unreadable one, a file that is damaged, of another network, or not of this SHA-256
    """
    return _load(path, config_class, build, stamps(path))


def stamps(weights: Path) -> tuple:
    """Time and size of a file of weights and of its card, None for one that is missing: the state of the two."""
    found = []
    for file in (weights, weights.with_suffix(".json")):
        try:
            found.append((file.stat().st_mtime_ns, file.stat().st_size))
        except OSError:
            found.append(None)
    return tuple(found)


@lru_cache(maxsize=8)
def _load(path: Path, config_class, build, _stamps):
    """The same; the network of a card is given up while it is built where it is larger than the file."""
    card, content = Card.read(path, config_class), path.read_bytes()
    if card.sha256 != hashlib.sha256(content).hexdigest():
        raise InputError(f"{path.name} is damaged or not the file its card describes (SHA-256 differs); restore both.")
    left = len(content) // 4

    def count(_module, _name, parameter):
        nonlocal left
        left -= 0 if parameter is None else parameter.numel()
        if left < 0:
            raise ValueError("the network of the card is larger than the file")

    hook = register_module_parameter_registration_hook(count)
    try:
        with torch.random.fork_rng():  # layers draw a start that is thrown away
            network = build(card.config)
        tensors = load_tensors(content)
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise InputError(f"{path.name} holds weights that are not finite: train again.")
        network.load_state_dict(tensors)
    except InputError:
        raise
    # what layers of impossible sizes and files of other tensors raise
    except (SafetensorError, RuntimeError, MemoryError, ArithmeticError, ValueError, TypeError, IndexError) as error:
        raise InputError(f"{path.name} is damaged or of another network; restore it or train again.") from error
    finally:
        hook.remove()
    return card, network.eval().requires_grad_(False)
