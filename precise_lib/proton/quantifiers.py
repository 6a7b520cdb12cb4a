"""Networks that quantify single 1H spectra directly, as in "Miracle or mirage?" (Fig. 4): spectrum in, mM out.

A shallow convolutional network takes a spectrogram, an InceptionNet a spectrum, as in an earlier study of the paper's
group. The 17 outputs are 16 metabolites and the water reference, each over its largest concentration, in one unit: the
RMS of the input that the reference alone would have. The ratio to the predicted water times 64.5 mM does not depend on
the input's scale.

Choices where the paper is silent:

- The spectrogram is that of the 2D-UNet (`precise_lib.proton.stft`), cut to the range of the 1D spectra (the 32 rows
  of 31.25 Hz below the carrier) and to its first 128 frames.
- The widths of the InceptionNet are those of each of its six branches; its second and third module have stride 2. Each
  convolution has batch normalization and ReLU.
- Both end in one dense layer on all that is left: where a signal lies must not be averaged away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from precise_lib.errors import InputError
from precise_lib.proton import brain, unets
from precise_lib.proton.brain import MAXIMUM_MM, METABOLITES, WATER_MM, WINDOW, WINDOW_POINTS, acquisition_3t
from precise_lib.proton.stft import Spectrogram

ROWS, FRAMES = slice(32, 64), 128  # of the spectrogram: -1000 to 0 Hz, and no signal after


@dataclass(frozen=True)
class ShallowCnnConfig(unets.NetworkConfig):
    """The shallow network on spectrograms."""

    width: float = 1.0  # factor of all numbers of filters; 1 is the paper's size
    filters: tuple[int, ...] = (300, 100, 150)  # of each convolution
    kernels: tuple[int, ...] = (7, 9, 5)
    dropout: float = 0.35  # share of the channels that the second and third convolution lose in training
    kind = "cnn"

    def __post_init__(self):
        odd = all(k % 2 for k in self.kernels) and len(self.filters) == len(self.kernels)
        if self.width <= 0 or not odd or not 0 <= self.dropout < 1:
            wanted = "a positive width, an odd kernel for each convolution and dropout in [0, 1)"
            raise InputError(f"A shallow network needs {wanted}.")
        if not 1 <= len(self.filters) <= 5:
            raise InputError("A shallow network has one to five convolutions: each halves its 32 rows.")


@dataclass(frozen=True)
class InceptionConfig(unets.NetworkConfig):
    """The InceptionNet on spectra."""

    width: float = 1.0  # factor of all numbers of filters; 1 is the paper's size
    filters: tuple[int, ...] = (96, 128, 256)  # of each branch, by module; modules after the first halve the points
    kernels: tuple[int, ...] = (9, 7, 5, 3, 1)  # of the parallel convolutions
    kind = "inception"

    def __post_init__(self):
        if self.width <= 0 or not self.filters or not self.kernels or not all(k % 2 for k in self.kernels):
            raise InputError("An InceptionNet needs a positive width, at least one module and odd kernels.")


class QuantifyNetwork(unets.SpectrumNetwork):
    """What both nets share: a `stack`, outputs in the unit of the scaled input, concentrations from their ratios."""

    def __init__(self):
        super().__init__()
        maximum = torch.tensor([*MAXIMUM_MM.values(), WATER_MM], dtype=torch.float32)
        self.register_buffer("maximum_mm", maximum, persistent=False)

    def set_unit(self):
        """Take the unit of the outputs: the RMS of the channels of the reference alone, without shim."""
        basis = brain.brain_basis()
        water = self.spectra(WATER_MM * basis.fids[[basis.index("water")]])
        unit = self.scale(self.represent(water)).reshape(())
        self.register_buffer("unit", unit, persistent=False)

    def layers(self, x):
        return self.stack(x)

    def truth(self, data):
        """Concentrations (V, 16) in mM."""
        return torch.from_numpy(data.concentration.values.astype(np.float32))

    def targets(self, truth, scale):
        """What `layers` should give (V, 17) for concentrations (V, 16) in mM and inputs of that scale (V, 1, ...)."""
        water = torch.full_like(truth[:, :1], WATER_MM)
        return torch.cat([truth, water], 1) / self.maximum_mm * (self.unit / scale.reshape(-1, 1))

    def forward(self, spectra):
        """Concentrations (V, 16) in mM of spectra (V, n_points), complex; NaN where no water is found."""
        channels = self.represent(spectra)
        amounts = self.layers(channels / self.scale(channels)) * self.maximum_mm
        water = amounts[:, -1:]
        return torch.where(water > 0, amounts[:, :-1] / water * WATER_MM, torch.nan)


class ShallowCnn(QuantifyNetwork):
    """Spectrogram 32 x 128: convolutions with ELU and max pooling, then one dense layer."""

    points, n_points = slice(None), acquisition_3t().n_samples

    def __init__(self, config: ShallowCnnConfig):
        super().__init__()
        self.config, self.spectrogram = config, Spectrogram(self.n_points)
        layers, before = [], 2
        for k, (c, kernel) in enumerate(zip(unets.scaled(config.width, config.filters), config.kernels, strict=True)):
            layers += [nn.Conv2d(before, c, kernel, padding="same"), nn.ELU(), nn.MaxPool2d(2)]
            layers += [nn.Dropout2d(config.dropout)] if k else []
            before = c
        left = 2 ** len(config.filters)
        rows = len(range(*ROWS.indices(self.spectrogram.window)))
        dense = nn.Linear(before * (rows // left) * (FRAMES // left), len(METABOLITES) + 1)
        self.stack = nn.Sequential(*layers, nn.Flatten(), dense)
        self.set_unit()

    def represent(self, spectra):
        seen = self.spectrogram(torch.fft.ifft(spectra, norm="ortho"))
        return unets.two_channels(seen[..., ROWS, :FRAMES])


class _Inception(nn.Module):
    """Parallel convolutions and an average, side by side: `n_out` channels each."""

    def __init__(self, n_in: int, n_out: int, kernels, stride: int):
        super().__init__()

        def branch(kernel, stride):
            return unets.unit(nn.Conv1d(n_in, n_out, kernel, stride, kernel // 2, bias=False))

        pooled = nn.Sequential(nn.AvgPool1d(3, stride, 1), branch(1, 1))
        self.branches = nn.ModuleList([*(branch(kernel, stride) for kernel in kernels), pooled])

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


class InceptionNet(QuantifyNetwork):
    """1024 complex points: modules of parallel convolutions, then one dense layer."""

    points, n_points = WINDOW, WINDOW_POINTS

    def __init__(self, config: InceptionConfig):
        super().__init__()
        self.config = config
        modules, before, length = [], 2, self.n_points
        for k, c in enumerate(unets.scaled(config.width, config.filters)):
            modules.append(_Inception(before, c, config.kernels, 2 if k else 1))
            before, length = c * (len(config.kernels) + 1), -(-length // 2) if k else length
        self.stack = nn.Sequential(*modules, nn.Flatten(), nn.Linear(before * length, len(METABOLITES) + 1))
        self.set_unit()


ShallowCnnConfig.network, InceptionConfig.network = ShallowCnn, InceptionNet
KINDS = {"cnn": ShallowCnnConfig, "inception": InceptionConfig}
