"""Short-time Fourier transform as an isometry: spectrograms of FIDs, and back without loss.

The paper's spectrogram has a window of 128 points and an overlap of 97, from 4096 points, and is said to be 128 x 128.
If every window lies inside the FID there are 129 frames, and the first sample, the only one that holds the whole
signal, lies under the zero of a Hann window. So frames here start 97 points before the FID (on zeros) and continue to
its end: 136 of them, of which a network may take the first 128. Each Hann window is divided by the root of the sum of
the squares of all windows at that time, which makes a tight frame: the inverse is the adjoint, and what a network puts
out goes to the FID whose spectrogram is nearest.
"""

from __future__ import annotations

import torch
from torch import nn


class Spectrogram(nn.Module):
    """Transform of FIDs (..., n_samples) to spectrograms (..., window, frames) and back; complex tensors.

    Rows are frequencies in ascending order, zero in the middle; columns are frames of `window` samples, `hop` apart.
    """

    def __init__(self, n_samples: int, window: int = 128, hop: int = 31):
        super().__init__()
        self.n_samples, self.window, self.hop, self.before = n_samples, window, hop, window - hop
        self.frames = -(-(n_samples + self.before) // hop)
        self.length = (self.frames - 1) * hop + window
        hann = torch.hann_window(window, periodic=True, dtype=torch.float64)
        power = self._overlap_add((hann**2).expand(self.frames, window))
        places = torch.arange(self.length).unfold(0, window, hop)
        inside = (places >= self.before) & (places < self.before + n_samples)
        taper = torch.where(inside, hann / power[places].clamp(min=1e-12).sqrt(), 0.0)
        self.register_buffer("taper", taper.float(), persistent=False)

    def _overlap_add(self, frames):
        """Sum of (..., frames, window) at their places: (..., length)."""
        out = torch.zeros(*frames.shape[:-2], self.length, dtype=frames.dtype, device=frames.device)
        for k in range(self.frames):
            out[..., k * self.hop : k * self.hop + self.window] += frames[..., k, :]
        return out

    def forward(self, fids):
        after = self.length - self.before - self.n_samples
        frames = nn.functional.pad(fids, (self.before, after)).unfold(-1, self.window, self.hop) * self.taper
        return torch.fft.fftshift(torch.fft.fft(frames, norm="ortho"), dim=-1).swapaxes(-1, -2)

    def inverse(self, spectrograms):
        """FIDs of spectrograms (..., window, frames); missing last frames count as zero."""
        missing = self.frames - spectrograms.shape[-1]
        frames = nn.functional.pad(spectrograms, (0, missing)).swapaxes(-1, -2)
        frames = torch.fft.ifft(torch.fft.ifftshift(frames, dim=-1), norm="ortho") * self.taper
        return self._overlap_add(frames)[..., self.before : self.before + self.n_samples]
