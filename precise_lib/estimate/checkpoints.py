"""What every training here shares: checkpoints that resume to the bit, the loop around the steps, weights and cards.

A trainer has ``iteration``, ``wall_time_s``, ``finished``, ``step()`` and ``save(path)``; the rest is its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import load_file, save_file
from torch.nn.modules.module import register_module_parameter_registration_hook
from tqdm.auto import tqdm

from precise_lib import __version__
from precise_lib.errors import InputError
from precise_lib.io import text


def below(tensors: dict, prefix: str) -> dict:
    """The entries whose name starts with `prefix`, without it."""
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def optimizer_tensors(optimizer, prefix: str = "adam.") -> dict[str, torch.Tensor]:
    """Moments of an optimizer as named tensors."""
    state = optimizer.state_dict()["state"]
    return {f"{prefix}{i}.{k}": torch.as_tensor(v) for i, moments in state.items() for k, v in moments.items()}


def restore_optimizer(optimizer, tensors: dict, prefix: str = "adam."):
    """Set the moments that `optimizer_tensors` named."""
    state = optimizer.state_dict()
    for key, value in below(tensors, prefix).items():
        i, name = key.split(".", 1)
        state["state"].setdefault(int(i), {})[name] = value
    optimizer.load_state_dict(state)


def save(path: Path, tensors: dict, settings: dict):
    """Checkpoint with the settings that it belongs to, written whole or not at all."""
    tensors = {k: v.detach().contiguous().cpu() for k, v in tensors.items()}
    save_file(tensors, path.with_suffix(".tmp"), metadata={"config": json.dumps(settings, sort_keys=True)})
    os.replace(path.with_suffix(".tmp"), path)


def load(path: Path, settings: dict, device="cpu") -> dict[str, torch.Tensor]:
    """Tensors of a checkpoint; raises `InputError` when it is damaged or belongs to other settings."""
    try:
        with safe_open(path, "pt") as file:
            stored = json.loads(file.metadata()["config"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"The checkpoint {path} is damaged: remove it to train from the start.") from error
    if stored != json.loads(json.dumps(settings)):
        raise InputError(f"{path} is the checkpoint of other settings; use another folder or remove it.")
    return load_file(path, device=str(device))


def run(trainer, path: Path, total: int, every: int, stop_after=None, progress=True, losses=lambda: ""):
    """Step until the trainer has finished, or until iteration `stop_after`, with checkpoints at `path`.

    `losses` gives what the progress bar says at each checkpoint.
    """
    already, started = trainer.wall_time_s, time.perf_counter()
    end = total if stop_after is None else min(stop_after, total)
    with tqdm(total=total, initial=trainer.iteration, disable=not progress, unit="it", mininterval=1) as bar:
        while trainer.iteration < end and not trainer.finished:
            trainer.step()
            bar.update()
            if trainer.iteration % every == 0 or trainer.iteration == end or trainer.finished:
                trainer.wall_time_s = already + time.perf_counter() - started
                trainer.save(path)
                bar.set_postfix_str(losses())


def machine() -> str:
    """One line on the hardware and software that trained: no names, no paths."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{cores} CPU cores ({platform.machine()}, {torch.get_num_threads()} threads){gpu}, torch {torch.__version__}"
    )


def write_weights(path: Path, network: torch.nn.Module, card: dict):
    """Weights of a network and their card.

    Name, version, number of parameters, machine and the SHA-256 of the weights are added to `card`.
    """
    save_file({k: v.detach().contiguous().cpu() for k, v in network.state_dict().items()}, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").chmod(0o644)  # safetensors writes private files
    os.replace(path.with_suffix(".tmp"), path)
    parameters = sum(p.numel() for p in network.parameters())
    card = {"name": path.stem, "package_version": __version__} | card
    card |= {"parameters": parameters, "machine": machine(), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n")


def read_weights(path: Path) -> tuple[bytes, str, dict]:
    """Content of a weights file, its SHA-256 and its card.

    Raises
    ------
    InputError : no card beside the file, one that is not readable, or one that does not name this file's SHA-256
    """
    content, card_path = path.read_bytes(), path.with_suffix(".json")
    digest = hashlib.sha256(content).hexdigest()
    if not card_path.is_file():
        raise InputError(f"{path.name} has no card {card_path.name} beside it; keep the two together.")
    try:
        card = text.read_json(card_path)
        _, _, expected = card["config"], str(card["name"]), card["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"The card {card_path.name} is not readable; restore it or train again.") from error
    if expected != digest:
        raise InputError(f"{path.name} is damaged or not the file its card describes (SHA-256 differs); restore both.")
    return content, digest, card


def restore(path: Path, content: bytes, make) -> torch.nn.Module:
    """The network that `make()` builds with the weights of a file, ready to be applied.

    A card may claim a network of any size: one with more parameters than the file has numbers is given up while it is
    built, before its memory is filled.

    Raises
    ------
    InputError : the file is damaged or of another network
    """
    left = len(content) // 4

    def count(_module, _name, parameter):
        nonlocal left
        left -= 0 if parameter is None else parameter.numel()
        if left < 0:
            raise ValueError("the network of the card is larger than the file")

    hook = register_module_parameter_registration_hook(count)
    try:
        with torch.random.fork_rng():  # layers draw a start that is thrown away
            network = make()
        network.load_state_dict(load_tensors(content))
    except InputError:
        raise
    # what layers of impossible sizes and files of other tensors raise
    except (SafetensorError, RuntimeError, MemoryError, ArithmeticError, ValueError, TypeError, IndexError) as error:
        raise InputError(f"{path.name} is damaged or of another network; restore it or train again.") from error
    finally:
        hook.remove()
    return network.eval().requires_grad_(False)


def complete_card(path: Path, **fields) -> dict:
    """Add fields and the SHA-256 of the weights to a card, whole or not at all; returns it."""
    card_path = path.with_suffix(".json")
    card = json.loads(card_path.read_text()) | fields
    card["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    whole = card_path.with_suffix(".tmp")
    whole.write_text(json.dumps(card, indent=1) + "\n")
    os.replace(whole, card_path)
    return card
