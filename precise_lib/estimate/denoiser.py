"""A trained denoising network: loaded by name or path, applied to any number of spectra in bounded memory.

Weights are safetensors with a JSON card of the same name beside them; `precise_lib.estimate.denoise_training` makes
both. They have a folder of their own, apart from the networks that quantify.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from precise_lib.errors import InputError
from precise_lib.estimate import checkpoints, denoise
from precise_lib.resources import data_path
from precise_lib.simulate.brain1h import brain_3t

BATCH = 64  # spectra that pass the network together: bounds the memory


@dataclass(frozen=True)
class Denoiser:
    """A trained U-Net and its card.

    Attributes
    ----------
    name, hash : name of the weights and SHA-256 of their file
    card : training settings, machine, scores
    """

    name: str
    hash: str
    card: dict
    network: denoise.UNet

    @property
    def points(self) -> slice:
        """Points of the plain, unshifted FFT of a FID that the network takes and gives."""
        return self.network.points

    def denoise(self, fids) -> np.ndarray:
        """Denoised spectra (V, n_points) complex64 of noisy FIDs (V, 4096) at 4 kHz.

        Raises
        ------
        InputError : FIDs of another length, or values that are not finite
        """
        fids, expected = np.atleast_2d(fids), brain_3t().n_samples
        if fids.ndim != 2 or fids.shape[-1] != expected:
            raise InputError(f"The FIDs have shape {fids.shape}; '{self.name}' denoises rows of {expected} samples.")
        parts = (fids[i : i + BATCH].astype(complex) for i in range(0, len(fids), BATCH))
        return self._joined(np.fft.fft(part)[:, self.points] for part in parts)

    def denoise_spectra(self, spectra) -> np.ndarray:
        """The same for spectra (V, n_points), the `points` of the plain FFT."""
        spectra, expected = np.atleast_2d(spectra), self.network.n_points
        if spectra.ndim != 2 or spectra.shape[-1] != expected:
            raise InputError(f"The spectra have shape {spectra.shape}; '{self.name}' takes rows of {expected} points.")
        return self._joined(spectra[i : i + BATCH] for i in range(0, len(spectra), BATCH))

    def _joined(self, parts) -> np.ndarray:
        device, out = next(self.network.parameters()).device, []
        for part in parts:
            if not np.isfinite(part).all():
                raise InputError("The data hold values that are not finite; take those spectra out.")
            with torch.no_grad():
                noisy = torch.as_tensor(np.ascontiguousarray(part, dtype=np.complex64), device=device)
                out.append(self.network(noisy).cpu().numpy())
        return np.concatenate(out) if out else np.empty((0, self.network.n_points), np.complex64)


def shipped() -> list[str]:
    """Names of the denoising networks that come with the package."""
    return sorted(path.stem for path in data_path("weights", "denoise").glob("*.safetensors"))


def load(name_or_path) -> Denoiser:
    """Load a denoising network by its name (shipped) or by the path of its weights.

    Raises
    ------
    InputError : no such network, no card beside it, or a damaged file
    """
    path = Path(name_or_path)
    if str(name_or_path) in shipped():
        path = data_path("weights", "denoise", f"{name_or_path}.safetensors")
    if path.suffix != ".safetensors" or not path.is_file():
        raise InputError(
            f"No denoising network '{name_or_path}': name a .safetensors file or one of: {', '.join(shipped())}."
        )
    files = (path, path.with_suffix(".json"))
    return _load(path.resolve(), *(f.stat().st_mtime_ns if f.is_file() else None for f in files))


@lru_cache(maxsize=4)
def _load(path: Path, _weights_stamp, _card_stamp) -> Denoiser:
    content, digest, card = checkpoints.read_weights(path)
    values = card["config"]
    if not isinstance(values, dict) or "network" not in values:
        raise InputError(f"The card {path.stem}.json is not that of a denoising network.")
    with torch.random.fork_rng():  # layers draw a start that is thrown away
        network = denoise.build(denoise.config_from_dict(values["network"]))
    try:
        network.load_state_dict(load_tensors(content))
    except (SafetensorError, RuntimeError) as error:
        raise InputError(f"{path.name} is damaged or of another network; restore it or train again.") from error
    return Denoiser(str(card["name"]), digest, card, network.eval().requires_grad_(False))
