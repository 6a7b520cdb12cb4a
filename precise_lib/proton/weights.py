"""A trained denoising network: loaded by name or path, applied to any number of spectra in bounded memory.

Weights are safetensors with a JSON card of the same name beside them; `precise_lib.proton.training` makes
both. They have a folder of their own, apart from the networks that quantify.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from precise_lib.errors import InputError
from precise_lib.estimate import checkpoints
from precise_lib.io.shipped import data_path
from precise_lib.proton import unets
from precise_lib.proton.brain import brain_3t

BATCH = 64  # spectra that pass the network together: bounds the memory


@dataclass(frozen=True)
class Trained:
    """A trained network on spectra and its card.

    Attributes
    ----------
    name, hash : name of the weights and SHA-256 of their file
    card : training settings, machine, scores
    """

    name: str
    hash: str
    card: dict
    network: unets.SpectrumNetwork

    @property
    def points(self) -> slice:
        """Points of the plain, unshifted FFT of a FID that the network takes."""
        return self.network.points

    def of_fids(self, fids) -> np.ndarray:
        """What the network makes of FIDs (V, 4096) at 4 kHz, a row each.

        Raises
        ------
        InputError : FIDs of another length, or values that are not finite
        """
        fids, expected = np.atleast_2d(fids), brain_3t().n_samples
        if fids.ndim != 2 or fids.shape[-1] != expected:
            raise InputError(f"The FIDs have shape {fids.shape}; '{self.name}' takes rows of {expected} samples.")
        parts = (fids[i : i + BATCH].astype(complex) for i in range(0, len(fids), BATCH))
        return self._joined(np.fft.fft(part)[:, self.points] for part in parts)

    def of_spectra(self, spectra) -> np.ndarray:
        """The same for spectra (V, n_points), the `points` of the plain FFT."""
        spectra, expected = np.atleast_2d(spectra), self.network.n_points
        if spectra.ndim != 2 or spectra.shape[-1] != expected:
            raise InputError(f"The spectra have shape {spectra.shape}; '{self.name}' takes rows of {expected} points.")
        return self._joined(spectra[i : i + BATCH] for i in range(0, len(spectra), BATCH))

    def _joined(self, parts) -> np.ndarray:
        device, out, empty = next(self.network.parameters()).device, [], torch.zeros(1, self.network.n_points) + 0j
        for part in parts:
            if not np.isfinite(part).all():
                raise InputError("The data hold values that are not finite; take those spectra out.")
            with torch.no_grad():
                noisy = torch.as_tensor(np.ascontiguousarray(part, dtype=np.complex64), device=device)
                out.append(self.network(noisy).cpu().numpy())
        if not out:  # no spectrum at all: the shape and kind of what one would give, without its row
            with torch.no_grad():
                out.append(self.network(empty.to(device)).cpu().numpy()[:0])
        return np.concatenate(out)


class Denoiser(Trained):
    """A trained U-Net and its card; what it gives are spectra on the points that it takes."""

    def denoise(self, fids) -> np.ndarray:
        """Denoised spectra (V, n_points) complex64 of noisy FIDs (V, 4096) at 4 kHz; errors as in `of_fids`."""
        return self.of_fids(fids)

    def denoise_spectra(self, spectra) -> np.ndarray:
        """The same for spectra (V, n_points), the `points` of the plain FFT."""
        return self.of_spectra(spectra)


def shipped() -> list[str]:
    """Names of the denoising networks that come with the package."""
    return names_in("denoise")


def load(name_or_path) -> Denoiser:
    """Load a denoising network by its name (shipped) or by the path of its weights.

    Raises
    ------
    InputError : no such network, no card beside it, or a damaged file
    """
    path = find(name_or_path, "denoise", "denoising")
    return _load(path, *stamps(path))


def names_in(folder: str) -> list[str]:
    """Names of the networks in a folder of the shipped weights."""
    try:
        stems = [path.stem for path in data_path("weights", folder).glob("*.safetensors")]
    except FileNotFoundError:  # none are shipped
        return []
    return sorted(stem for stem in stems if not stem.endswith(".checkpoint"))  # of a training that goes on


def find(name_or_path, folder: str, task: str) -> Path:
    """Path of a shipped network of a task by its name, or the path that was given; raises `InputError`."""
    path, names = Path(name_or_path), names_in(folder)
    if str(name_or_path) in names:
        path = data_path("weights", folder, f"{name_or_path}.safetensors")
    if path.suffix != ".safetensors" or not path.is_file():
        raise InputError(f"No {task} network '{name_or_path}': name a .safetensors file or one of: {', '.join(names)}.")
    return path.resolve()


def stamps(path: Path) -> list[int | None]:
    """When weights and card were written: a network that was loaded holds for these only."""
    files = (path, path.with_suffix(".json"))
    return [f.stat().st_mtime_ns if f.is_file() else None for f in files]


@lru_cache(maxsize=4)
def _load(path: Path, _weights_stamp, _card_stamp) -> Denoiser:
    return Denoiser(*read(path, unets.config_from_dict, unets.build, "denoising"))


def read(path: Path, config_from_dict, build, task: str) -> tuple[str, str, dict, unets.SpectrumNetwork]:
    """Name, hash, card and network of weights, for a task with its own `config_from_dict` and `build`."""
    content, digest, card = checkpoints.read_weights(path)
    values = card["config"]
    if not isinstance(values, dict) or "network" not in values:
        raise InputError(f"The card {path.stem}.json is not that of a {task} network.")
    config = config_from_dict(values["network"])
    return str(card["name"]), digest, card, checkpoints.restore(path, content, lambda: build(config))
