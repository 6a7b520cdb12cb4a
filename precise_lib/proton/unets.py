"""U-Nets that denoise single 1H spectra, as in "Miracle or mirage?": one on spectra, one on spectrograms.

Noisy data are two channels, real and imaginary, divided by their own RMS; what comes out is multiplied by it, so a
denoised spectrum scales with its input exactly.

Choices where the paper is silent or contradicts itself (the authors' public code, in words, decides where it can):

- Kernels of the 1D net have 3 points (code), not 2 (paper); strides take the place of pooling.
- Data are scaled by their RMS: their maximum is one point of the noise.
- Both nets end linearly; the LeakyReLU at the end of the paper's 2D net would squeeze what is negative.
- Two 5 x 5 convolutions on each of five levels are ten in the encoder of the 2D net; the paper counts nine.
- Dropout of the 2D net acts on its two deepest levels, as in the code that it was adapted from.
- 129 frames, not 128: see `precise_lib.proton.stft`. After the last frame taken, the signal is held to be zero.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn

from precise_lib.errors import InputError, filled
from precise_lib.proton.brain import WINDOW, WINDOW_POINTS, acquisition_3t, spectra_of
from precise_lib.proton.stft import Spectrogram


class NetworkConfig:
    """What the settings of every network on spectra share: a `kind`, and the network of that kind."""

    kind: str

    def build(self) -> SpectrumNetwork:
        """The network, its weights drawn from torch's global generator."""
        return self.network(self)

    def to_dict(self) -> dict:
        """Plain values, with the kind."""
        return {"kind": self.kind} | asdict(self)


@dataclass(frozen=True)
class UNet1dConfig(NetworkConfig):
    """The 1D-UNet."""

    width: float = 1.0  # factor of all widths; 1 is the paper's size
    # kernels of the encoder's convolutions, a group per level
    groups: tuple[tuple[int, ...], ...] = ((32, 64), (32, 64, 128), (48, 128, 256), (64, 256, 512), (80, 512, 256))
    kernel: int = 3  # length of the kernels
    kind = "1d"

    def __post_init__(self):
        if self.width <= 0 or self.kernel % 2 == 0 or not all(self.groups):
            raise InputError("A 1D-UNet needs a positive width, an odd kernel and at least one convolution a level.")


@dataclass(frozen=True)
class UNet2dConfig(NetworkConfig):
    """The 2D-UNet; the defaults are the paper's."""

    width: int = 16  # kernels on the first level, twice as many on each further one
    levels: int = 5
    kernel: int = 5
    dropout: float = 0.6
    frames: int = 128  # of the spectrogram that the net sees, from the first on; a multiple of 2**(levels - 1)
    kind = "2d"

    def __post_init__(self):
        if self.frames % 2 ** (self.levels - 1) or self.kernel % 2 == 0 or self.width < 1 or not 0 <= self.dropout < 1:
            raise InputError("A 2D-UNet needs an odd kernel, dropout in [0, 1) and frames that its levels can halve.")


class SpectrumNetwork(nn.Module):
    """What every net on complex spectra shares: two channels, scaled by the RMS of the input.

    A net has `layers(x)`, scaled channels in and scaled output; `truth(data)`, what is to be learned of spectra of
    `brain.draw`, a row each; and `targets(truth, scale)`, what `layers` should give for it and inputs of that scale.
    """

    points: slice  # of the plain, unshifted FFT of a FID that the net takes
    n_points: int

    def represent(self, spectra):
        """Complex spectra (V, n_points) -> real tensors (V, 2, ...)."""
        return two_channels(spectra)

    def scale(self, channels):
        """RMS of each spectrum, in the shape that divides `channels`; 1 where there is nothing."""
        rms = channels.square().mean(dim=tuple(range(1, channels.dim())), keepdim=True).sqrt()
        return torch.where(rms > 0, rms, torch.ones_like(rms))

    def spectra(self, fids):
        """Spectra (V, n_points) complex64 that the net takes, of FIDs (V, t)."""
        return torch.from_numpy(spectra_of(fids, self.points).astype(np.complex64))


class UNet(SpectrumNetwork):
    """What both denoising nets share: complex spectra in and out, on the same points."""

    def restore(self, channels):
        """The inverse of `represent`."""
        return torch.complex(channels[:, 0], channels[:, 1])

    def truth(self, data):
        """Clean spectra (V, n_points)."""
        return self.spectra(data.clean.values)

    def targets(self, truth, scale):
        return self.represent(truth) / scale

    def forward(self, spectra):
        """Noisy -> denoised spectra (V, n_points), complex."""
        channels = self.represent(spectra)
        scale = self.scale(channels)
        return self.restore(self.layers(channels / scale) * scale)


def two_channels(values):
    """Real and imaginary part of complex (V, ...) as real (V, 2, ...)."""
    return torch.stack([values.real, values.imag], 1)


def scaled(width: float, counts) -> list[int]:
    """Numbers of filters times `width`, at least one each."""
    return [max(1, round(width * c)) for c in counts]


def unit(convolution):
    """A convolution with batch normalization and ReLU."""
    return nn.Sequential(convolution, nn.BatchNorm1d(convolution.out_channels), nn.ReLU())


class UNet1d(UNet):
    """1024 complex points: convolutions with strides, their mirror image, and skips between all levels but the ends;
    the first level has none: the finest detail has to come through the second.
    """

    points, n_points = WINDOW, WINDOW_POINTS

    def __init__(self, config: UNet1dConfig):
        super().__init__()
        self.config = config
        groups = [scaled(config.width, group) for group in config.groups]
        pad, down, up, before = config.kernel // 2, [], [], 2
        for level, group in enumerate(groups):
            encode, decode = [], []
            for k, c in enumerate(group):
                stride = 2 if level and not k else 1
                encode.append(unit(nn.Conv1d(before, c, config.kernel, stride, pad, bias=False)))
                # the mirror image undoes this convolution; where a skip joins, it sees twice the channels
                joined = 0 < level < len(groups) - 1 and k == len(group) - 1
                mirror = (c * (1 + joined), before, config.kernel, stride, pad, stride - 1)
                last = level == 0 and k == 0
                convolution = nn.ConvTranspose1d(*mirror, bias=last)
                decode.insert(0, convolution if last else unit(convolution))
                before = c
            down.append(nn.Sequential(*encode))
            up.append(nn.Sequential(*decode))
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)

    def layers(self, x):
        skips = []
        for group in self.down:
            x = group(x)
            skips.append(x)
        for level in reversed(range(len(self.up))):
            if 0 < level < len(self.up) - 1:
                x = torch.cat([x, skips[level]], 1)
            x = self.up[level](x)
        return x


class UNet2d(UNet):
    """Spectrogram 128 x `frames`: convolutions, max pooling and dropout, then upsampling with skips."""

    points, n_points = slice(None), acquisition_3t().n_samples

    def __init__(self, config: UNet2dConfig):
        super().__init__()
        self.config, self.spectrogram = config, Spectrogram(self.n_points)
        widths = [config.width * 2**k for k in range(config.levels)]
        self.down = nn.ModuleList(
            self._pair(a, b, k >= config.levels - 2)
            for k, (a, b) in enumerate(zip([2, *widths[:-1]], widths, strict=True))
        )
        self.rise = nn.ModuleList(self._convolution(2 * c, c) for c in widths[:-1])
        self.up = nn.ModuleList(self._pair(2 * c, c, False) for c in widths[:-1])
        self.out = nn.Conv2d(widths[0], 2, 1)

    def _convolution(self, n_in, n_out):
        convolution = nn.Conv2d(n_in, n_out, self.config.kernel, padding="same")
        nn.init.kaiming_normal_(convolution.weight, 0.2)
        nn.init.zeros_(convolution.bias)
        return nn.Sequential(convolution, nn.LeakyReLU(0.2))

    def _pair(self, n_in, n_out, dropped):
        pair = [self._convolution(n_in, n_out), self._convolution(n_out, n_out)]
        return nn.Sequential(*pair, *([nn.Dropout(self.config.dropout)] if dropped else []))

    def represent(self, spectra):
        return two_channels(self.spectrogram(torch.fft.ifft(spectra, norm="ortho"))[..., : self.config.frames])

    def restore(self, channels):
        return torch.fft.fft(self.spectrogram.inverse(super().restore(channels)), norm="ortho")

    def layers(self, x):
        skips = []
        for k, pair in enumerate(self.down):
            x = pair(x if k == 0 else nn.functional.max_pool2d(x, 2))
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = self.rise[level](nn.functional.interpolate(x, scale_factor=2))
            x = self.up[level](torch.cat([x, skips[level]], 1))
        return self.out(x)


UNet1dConfig.network, UNet2dConfig.network = UNet1d, UNet2d
KINDS = {"1d": UNet1dConfig, "2d": UNet2dConfig}


def config_from_dict(values: dict, kinds: dict, task: str):
    """From plain values with a `kind`, one of `kinds`; raises `InputError` when they are not readable."""
    values = dict(values) if isinstance(values, dict) else {}
    kind = values.pop("kind", None)
    if not isinstance(kind, str) or kind not in kinds:
        raise InputError(f"A {task} network is of the kind {' or '.join(map(repr, kinds))}, not '{kind}'.")
    return filled(kinds[kind], values, f"The {task} network of the kind '{kind}'")
