"""The convolutional network of Fig. 1 of PRECISE-DMI, with or without a matched front end.

``front="fid"`` is the paper's network: the real and imaginary part of every FID sample go into convolutions of
kernel 3, PReLU and max pooling, then through two fully connected (FC) layers.

``front="matched"`` puts fixed linear algebra before the same stack, because most of the input is noise in
directions that no FID of the signal model can point to, and because three symmetries need not be learned:

1. projection on the signal subspace of the training family (an SVD), sampled on a coarse time grid;
2. alignment: the shift of the best matched-filter output is removed, then the phase and the scale of water, so the
   estimate is exactly equivariant to phase and scale and nearly so to shift;
3. whitening with the covariance of the training family, which conditions the optimization.

Nothing is lost on the way: the bound for the projected data equals that for the FID inside the training range. The
aligned samples also go straight to the FC layers, beside the convolutional features, so that no pooling stands
between the data and a linear estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from precise_lib.simulate.signal import SignalModel


@dataclass(frozen=True)
class NetworkConfig:
    """Layer sizes.

    Parameters
    ----------
    front : "fid" or "matched"
    channels : kernels of each convolution, all of size 3, each followed by PReLU and max pooling by 2
    bank : learned filters as long as the input, beside the convolutions; 0 for none, as in the paper
    hidden : width between the two FC layers
    rank : dimension of the signal subspace ("matched")
    coarse_samples : length of the coarse time grid, at least `rank` ("matched")
    """

    front: str = "matched"
    channels: tuple[int, ...] = ()
    bank: int = 256
    hidden: int = 256
    rank: int = 40
    coarse_samples: int = 44

    def __post_init__(self):
        object.__setattr__(self, "channels", tuple(self.channels))
        if self.front not in ("fid", "matched"):
            raise ValueError(f"front is '{self.front}'; it must be 'fid' or 'matched'.")


class FidFront(nn.Module):
    """The paper's input: the FID as it comes, in units of the data set's water."""

    def __init__(self, model: SignalModel):
        super().__init__()
        self.length = model.acquisition.n_samples
        self.projected_size = self.length
        water = model.basis()[:, model.index(model.reference)]
        self.register_buffer("water", torch.view_as_real(torch.tensor(water / np.sum(np.abs(water) ** 2))).float())

    def project(self, fids):
        return fids

    def forward(self, z):
        """(V, t) complex -> input (V, 2, t), unit (V, 1)."""
        return torch.stack([z.real, z.imag], 1), torch.ones(len(z), 1, device=z.device)

    def dataset_unit(self, fids):
        """The paper's network knows one scale only: that of its training. Median water amplitude of a data set."""
        return (fids @ torch.view_as_complex(self.water).conj()).abs().median()


class MatchedFront(nn.Module):
    """Projection, alignment and whitening; all buffers, nothing to train."""

    def __init__(self, model: SignalModel, config: NetworkConfig, shift_range_hz, family=None):
        super().__init__()
        t, basis = model.acquisition.time_s, model.basis()
        m, n = basis.shape[1], config.coarse_samples
        if len(t) < n:
            raise ValueError(f"The matched front end needs at least {n} time samples, not {len(t)}.")
        if family is None:  # loading: the buffers are filled from the file
            subspace, span = np.zeros((config.rank, len(t)), complex), n - 1
        else:
            subspace = np.linalg.svd(family, full_matrices=False)[2][: config.rank]
            # until the slowest line of the family has died; closer spacing where that is soon
            energy = (np.abs(family) / np.abs(family[:, :1])).max(0)
            span = np.clip(np.searchsorted(-energy, -0.03), n - 1, len(t) - 1)
        grid = np.linspace(0, span, n).round().astype(int)
        fwhm = 1 / (np.pi * model.t2star_s.max())
        margin, step = 0.5 * fwhm, 0.15 * fwhm
        low, high = shift_range_hz[0] - margin, shift_range_hz[1] + margin
        shifts = np.linspace(low, high, int(np.ceil((high - low) / step)) + 1)
        combs = basis.conj()[None] * np.exp(-2j * np.pi * shifts[:, None, None] * t[:, None])  # (S, t, M)
        combs = np.einsum("stm,kt->smk", combs, subspace)  # acts on projected data
        water = basis[grid, model.index(model.reference)]
        for name, value in {
            "projector": subspace.conj().T,
            "sampler": subspace[:, grid],
            "combs": combs.reshape(len(shifts) * m, -1).T,
            "water": water.conj() / np.sum(np.abs(water) ** 2),
        }.items():
            self.register_buffer(name, torch.view_as_real(torch.tensor(np.ascontiguousarray(value))).float())
        self.register_buffer("shifts", torch.tensor(shifts).float())
        self.register_buffer("grid_s", torch.tensor(t[grid]).float())
        self.register_buffer("whitening", torch.eye(2 * len(grid)))
        self.lines, self.length, self.projected_size = m, len(grid), config.rank

    def project(self, fids):
        """(V, t) -> (V, rank); rows of the subspace are orthonormal, so white noise stays white."""
        return fids @ torch.view_as_complex(self.projector)

    def align(self, z):
        """Projected data -> aligned coarse samples (V, T) with water about one, and the unit (V, 1)."""
        n_shifts = len(self.shifts)
        score = (z @ torch.view_as_complex(self.combs)).abs().square().view(len(z), n_shifts, self.lines).sum(-1)
        best = score[:, 1:-1].argmax(1) + 1
        rows = torch.arange(len(z), device=z.device)
        below, top, above = (score[rows, best + k] for k in (-1, 0, 1))
        curvature = (below - 2 * top + above).clamp(max=-1e-30)
        vertex = (0.5 * (below - above) / curvature).clamp(-1, 1)
        shift = self.shifts[best] + vertex * (self.shifts[1] - self.shifts[0])
        turn = torch.polar(torch.ones_like(shift)[:, None], -2 * torch.pi * shift[:, None] * self.grid_s)
        u = (z @ torch.view_as_complex(self.sampler)) * turn
        water = u @ torch.view_as_complex(self.water)
        unit = water.abs().clamp(min=1e-30)[:, None]
        return u * (water.conj()[:, None] / unit**2), unit

    def forward(self, z):
        u, unit = self.align(z)
        return (torch.cat([u.real, u.imag], 1) @ self.whitening).view(len(z), 2, -1), unit

    def fit_whitening(self, z, floor=1e-4):
        """Set the whitening from projected training data (V, rank); symmetric, so samples stay in time order."""
        u, _ = self.align(z)
        x = torch.cat([u.real, u.imag], 1).double()
        values, vectors = torch.linalg.eigh(x.T @ x / len(x))
        scale = (values.clamp(min=0) + floor * values[-1]).rsqrt()
        self.whitening.copy_((vectors * scale) @ vectors.T)


class Network(nn.Module):
    """Front end, convolutions and two FC layers: projected FIDs (V, K) complex -> amplitudes (V, M)."""

    def __init__(self, model: SignalModel, config: NetworkConfig, shift_range_hz, family=None):
        super().__init__()
        self.config = config
        matched = config.front == "matched"
        self.front = MatchedFront(model, config, shift_range_hz, family) if matched else FidFront(model)
        layers, width, length = [], 2, self.front.length
        for channels in config.channels:
            layers += [nn.Conv1d(width, channels, 3, padding=1), nn.PReLU(channels), nn.MaxPool1d(2)]
            width, length = channels, length // 2
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        n_features = width * length if layers else 0
        if config.bank:
            # kernels as long as the input: a learned bank of matched filters
            self.bank = nn.Sequential(
                nn.Flatten(), nn.Linear(2 * self.front.length, config.bank), nn.PReLU(config.bank)
            )
            n_features += config.bank
        self.head = nn.Sequential(
            nn.Linear(n_features, config.hidden),
            nn.PReLU(config.hidden),
            nn.Linear(config.hidden, len(model.names)),
        )

    def features(self, z):
        """What the FC layers see, (V, F), and the unit of the output, (V, 1)."""
        with torch.no_grad():
            x, unit = self.front(z)
        parts = [self.convolutions(x)] if self.config.channels else []
        parts += [self.bank(x)] if self.config.bank else []
        return torch.cat(parts, 1), unit

    def forward(self, z):
        features, unit = self.features(z)
        return self.head(features) * unit
