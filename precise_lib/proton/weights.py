"""Trained networks on 1H spectra: loaded by name or path, applied to any number of spectra in bounded memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from precise_lib.errors import InputError
from precise_lib.estimate import card
from precise_lib.io.shipped import data_path
from precise_lib.proton.brain import acquisition_3t, spectra_of
from precise_lib.proton.train_config import DenoiseConfig, QuantifyConfig

BATCH = 64  # spectra that pass the network together: bounds the memory


class Trained(card.Trained):
    """A trained network on spectra and its card; a class for a task has its `folder` and `config_class`."""

    folder: str
    config_class: type

    @classmethod
    def shipped(cls) -> dict[str, Path]:
        """Name -> file of the networks for this task that come with the package."""
        try:
            files = sorted(data_path("weights", cls.folder).glob("*.safetensors"))
        except FileNotFoundError:  # none are shipped
            return {}
        return {f.stem: f for f in files if not f.stem.endswith(".checkpoint")}  # of a training that is under way

    @classmethod
    def load(cls, name_or_path) -> Trained:
        """The network of a name (shipped) or of the path of its weights; raises `InputError` as `card.load` does."""
        path = card.find(name_or_path, cls.shipped(), f"{cls.config_class.task} network")
        return cls(*card.load(path, cls.config_class, cls.config_class.build))

    @property
    def points(self) -> slice:
        """Points of the plain, unshifted FFT of a FID that the network takes."""
        return self.network.points

    def of_fids(self, fids) -> np.ndarray:
        """What the network makes of FIDs (V, 4096) at 4 kHz, a row each; `InputError` for other or not finite ones."""
        fids, expected = np.atleast_2d(fids), acquisition_3t().n_samples
        if fids.ndim != 2 or fids.shape[-1] != expected:
            raise InputError(f"The FIDs have shape {fids.shape}; '{self.name}' takes rows of {expected} samples.")
        return self._joined(spectra_of(fids[i : i + BATCH], self.points) for i in range(0, len(fids), BATCH))

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

    folder, config_class = "denoise", DenoiseConfig

    denoise, denoise_spectra = Trained.of_fids, Trained.of_spectra


def first_denoiser(config: DenoiseConfig) -> Denoiser | None:
    """The denoiser whose output a network of these settings takes, if any; `InputError` for one of other points."""
    name = getattr(config, "denoiser", None)
    if name is None:
        return None
    denoiser = Denoiser.load(name)
    if denoiser.points != config.network.network.points:
        raise InputError(f"The denoiser '{name}' does not give the points that the network takes; name another one.")
    return denoiser


class Quantifier(Trained):
    """A trained quantification network and its card; where the card names a denoiser, spectra pass it first."""

    folder, config_class = "quantify", QuantifyConfig

    def _joined(self, parts) -> np.ndarray:
        first = first_denoiser(self.card.config)
        return super()._joined(map(first.denoise_spectra, parts) if first else parts)

    def quantify(self, fids) -> np.ndarray:
        """Concentrations (V, 16) in mM of `METABOLITES`, NaN without water; FIDs and errors as in `of_fids`."""
        return self.of_fids(fids).astype(float)

    def quantify_spectra(self, spectra) -> np.ndarray:
        """The same for spectra (V, n_points), the `points` of the plain FFT."""
        return self.of_spectra(spectra).astype(float)
