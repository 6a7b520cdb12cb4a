"""The CNN of Fig. 1 of PRECISE-DMI, and a network without convolutions behind a matched filter.

``front="cnn"`` is the paper's: real and imaginary part of every sample go into convolutions of kernel 3, PReLU and max
pooling, then through two fully connected (FC) layers; each FID is first brought to one energy, and to one phase.
``front="fid"`` is the same with one scale for a whole data set, as the paper's text has it. ``front="matched"``, our
matched network, puts fixed linear algebra first (`MatchedFront`), then trained filters as long as its output, PReLU and
the FC layers; its output has no order in time, so kernels of length 3 would have no meaning there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from precise_lib.errors import InputError
from precise_lib.signal.model import SignalModel

LARGEST_LAYER = 10_000
LARGEST_FRONT = 2e6  # complex numbers in a tenth of the largest table of the matched front; 2e4 at 11.7 T
NUISANCE = 3e-3  # of the largest baseline or lipid: smaller components may pass


@dataclass(frozen=True)
class NetworkConfig:
    """Layer sizes behind a `front` "cnn", "fid" or "matched".

    `channels` are the kernels of each convolution, of size 3, each followed by PReLU and max pooling by 2 ("cnn",
    "fid"); `bank` counts trained filters as long as the input, `rank` and `aligned_rank` are the dimension of the
    signal subspace before and after alignment ("matched"); `hidden` is the width between the two FC layers.
    """

    front: str = "matched"
    channels: tuple[int, ...] = (8, 16, 32, 64, 128)
    bank: int = 256
    hidden: int = 256
    rank: int = 40
    aligned_rank: int = 16
    one_phase: bool = False

    def __post_init__(self):
        object.__setattr__(self, "channels", tuple(self.channels))
        if self.front not in ("cnn", "fid", "matched"):
            raise InputError(f"The front of the network is '{self.front}'; it must be 'cnn', 'fid' or 'matched'.")
        for size in (*self.channels, self.bank, self.hidden, self.rank, self.aligned_rank):
            if not 1 <= size <= LARGEST_LAYER:
                raise InputError(f"A size of the network is {size}; it must be between 1 and {LARGEST_LAYER}.")


class FidFront(nn.Module):
    """The paper's input: the FID as it comes; `dataset_unit` is the one scale that its network knows."""

    def __init__(self, model: SignalModel):
        super().__init__()
        self.length = model.acquisition.n_samples
        water = model.basis()[:, model.index(model.reference)]
        self.register_buffer("water", torch.view_as_real(torch.tensor(water / np.sum(np.abs(water) ** 2))).float())

    def project(self, fids):
        return fids

    def forward(self, z):
        """(V, t) complex -> input (V, 2, t), unit (V, 1)."""
        return torch.stack([z.real, z.imag], 1), torch.ones(len(z), 1, device=z.device)

    def dataset_unit(self, fids):
        """Median water amplitude of the FIDs (V, t) of a data set."""
        return (fids @ torch.view_as_complex(self.water).conj()).abs().median()


class EnergyFront(nn.Module):
    """The FID over the root of its energy where the signal is: the layers see numbers about one, whatever its scale.

    Samples count by the energy that water has there, so noise hardly moves the unit, which is the amplitude of water
    where there is water alone. With `one_phase` the FID is also turned until its sum over water's line is real: the
    estimate then is the same for every phase of the receiver, as Eq. 2 has it, and no layer has to learn that.
    """

    def __init__(self, model: SignalModel, one_phase: bool):
        super().__init__()
        self.length, self.one_phase = model.acquisition.n_samples, one_phase
        water = model.basis()[:, model.index(model.reference)]
        energy = np.abs(water) ** 2
        self.register_buffer("weights", torch.tensor(energy / np.sum(energy**2)).float(), persistent=False)
        self.register_buffer("line", torch.view_as_real(torch.tensor(water.conj())).float(), persistent=False)

    def project(self, fids):
        return fids

    def forward(self, z):
        """(V, t) complex -> input (V, 2, t), unit (V, 1)."""
        unit = (z.abs().square() @ self.weights[:, None]).sqrt().clamp(min=1e-30)
        z = z / unit
        if self.one_phase:
            along = z @ torch.view_as_complex(self.line)[:, None]
            z = z * (along.conj() / along.abs().clamp(min=1e-30))
        return torch.stack([z.real, z.imag], 1), unit


class MaxPool2(nn.Module):
    """Maximum of each two neighbors along the last axis: what `nn.MaxPool1d` does, in a third of its time on a CPU."""

    def forward(self, x):
        first, second = x[..., :-1:2], x[..., 1::2]
        return second + torch.relu(first - second)  # half of the time of `torch.maximum`, whose gradient looks for ties


class MatchedFront(nn.Module):
    """Projection, alignment and whitening; all buffers, nothing to train.

    - `project`: on the signal subspace of the training family, by default 40 complex numbers for 512;
    - `align`: the shift of the best matched-filter output is removed, and the FID projected on the subspace of
      *aligned* FIDs: 16 complex numbers, with white noise still, hold all but 0.1 % of the precision;
    - phase and scale of water are taken out, so the estimate is exactly equivariant to both;
    - whitening with the covariance of the training data conditions the optimization.

    Baseline and lipids may be the largest of the FID: the filters of `align` and of the phase are then orthogonal to
    their family. Where resonances have several lines and overlap, the filters are made orthonormal: no line counts
    twice.

    `shift_range_hz` bounds the search; `families` are FIDs (n, t) of single lines over the training range, with all
    shifts and aligned (`signal_families`), None where the buffers will be loaded from a file. Raises `ValueError` for
    tables beyond `LARGEST_FRONT`.
    """

    def __init__(self, model: SignalModel, config: NetworkConfig, shift_range_hz, families=None):
        super().__init__()
        t, basis = model.acquisition.time_s, model.basis()
        fwhm = 1 / (np.pi * model.t2star_s.max())
        low, high = shift_range_hz[0] - 0.5 * fwhm, shift_range_hz[1] + 0.5 * fwhm
        positions = (high - low) / (0.15 * fwhm)
        if max(positions * config.aligned_rank, len(t)) * config.rank > LARGEST_FRONT:
            raise ValueError("the ranks of the network, or its shifts in units of the line width, are too large")
        ranks = (config.rank, config.aligned_rank)
        if families is None:
            subspace, aligned = (np.zeros((k, len(t)), complex) for k in ranks)
        else:
            rows = (np.linalg.svd(f, full_matrices=False)[2] for f in families)
            subspace, aligned = (own[:k] for own, k in zip(rows, ranks, strict=True))
        if model.of_role("baseline", "lipid").any():
            basis = basis[:, model.of_role("metabolite")] if families is None else _nuisance_free(model, families[1])
        search = np.linspace(low, high, int(np.ceil(positions)) + 1)
        fine = np.linspace(low, high, 10 * (len(search) - 1) + 1)
        water = basis[:, model.of_role("metabolite")[: model.index(model.reference)].sum()]
        # FID = z @ subspace, so whatever acts on a FID acts on z through the subspace
        filters = np.linalg.qr(basis)[0] if any(r.lines for r in model.resonances) else basis
        matched = [subspace @ (np.exp(-2j * np.pi * s * t)[:, None] * filters.conj()) for s in search]
        rotations = [(subspace * np.exp(-2j * np.pi * s * t)) @ aligned.conj().T for s in fine]
        for name, value in {
            "projector": subspace.conj().T,
            "matched_filters": np.concatenate(matched, 1),
            "rotations": np.stack(rotations),
            "water": aligned @ water.conj() / np.sum(np.abs(water) ** 2),
        }.items():
            self.register_buffer(name, torch.view_as_real(torch.tensor(np.ascontiguousarray(value))).float())
        self.register_buffer("whitening", torch.eye(2 * config.aligned_rank))
        self.n_search, self.lines, self.length = len(search), basis.shape[1], config.aligned_rank

    def project(self, fids):
        """(V, t) -> (V, rank); rows of the subspace are orthonormal, so white noise stays white."""
        return fids @ torch.view_as_complex(self.projector)

    def align(self, z):
        """Projected data -> aligned data (V, aligned_rank) with water about one, and the unit (V, 1)."""
        matched = (z @ torch.view_as_complex(self.matched_filters)).abs().square()
        score = matched.view(len(z), self.n_search, self.lines).sum(-1)
        best = score[:, 1:-1].argmax(1) + 1
        rows = torch.arange(len(z), device=z.device)
        below, top, above = (score[rows, best + k] for k in (-1, 0, 1))
        vertex = 0.5 * (below - above) / (below - 2 * top + above).clamp(max=-1e-30)
        fine = (10 * (best + vertex.clamp(-1, 1))).round().long()
        u = (z[:, None] @ torch.view_as_complex(self.rotations)[fine])[:, 0]
        water = u @ torch.view_as_complex(self.water)
        unit = water.abs().clamp(min=1e-30)[:, None]
        return u * (water.conj()[:, None] / unit**2), unit

    def forward(self, z):
        """Projected data -> input (V, 2 * aligned_rank) of the trained layers, and the unit (V, 1)."""
        u, unit = self.align(z)
        return torch.view_as_real(u).flatten(1) @ self.whitening, unit

    def fit_whitening(self, z):
        """Set the whitening from noisy projected training data (V, rank)."""
        x = torch.view_as_real(self.align(z)[0]).flatten(1).double()
        values, vectors = torch.linalg.eigh(x.T @ x / len(x))
        # the floor is for the one direction without data: the imaginary part of water, zero by construction
        self.whitening.copy_(vectors * values.clamp(min=1e-5 * values[-1]).rsqrt())


def _nuisance_free(model: SignalModel, aligned: np.ndarray) -> np.ndarray:
    """Unit lines of the metabolites (t, K) less their projection on what baseline and lipids of a family span."""
    other = np.tile(model.of_role("baseline", "lipid"), len(aligned) // len(model.names))
    _, size, rows = np.linalg.svd(aligned[other], full_matrices=False)
    span = rows[size > NUISANCE * size[0]]
    lines = model.basis()[:, model.of_role("metabolite")]
    return lines - span.T @ (span.conj() @ lines)


class Network(nn.Module):
    """Front end, features and two FC layers: projected FIDs (V, K) complex -> amplitudes (V, M)."""

    def __init__(self, model: SignalModel, config: NetworkConfig, shift_range_hz, families=None):
        super().__init__()
        self.config = config
        if config.front == "matched":
            self.front = MatchedFront(model, config, shift_range_hz, families)
            layers, n_features = [nn.Linear(2 * self.front.length, config.bank), nn.PReLU(config.bank)], config.bank
        else:
            self.front = FidFront(model) if config.front == "fid" else EnergyFront(model, config.one_phase)
            layers, width, length = [], 2, self.front.length
            for channels in config.channels:
                after = (nn.PReLU(channels), nn.MaxPool1d(2))
                if config.front == "cnn":  # pooled first, PReLU has half the work
                    after = (MaxPool2(), nn.PReLU(channels))
                layers += [nn.Conv1d(width, channels, 3, padding=1), *after]
                width, length = channels, length // 2
            if not length:
                raise ValueError(f"FIDs of {self.front.length} points cannot be halved {len(config.channels)} times")
            layers, n_features = [*layers, nn.Flatten()], width * length
        self.backbone = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Linear(n_features, config.hidden), nn.PReLU(config.hidden), nn.Linear(config.hidden, len(model.names))
        )

    @classmethod
    def of(cls, config, families=None) -> Network:
        """The network of a `TrainConfig`; without `families` its buffers are to be loaded from a file."""
        return cls(config.signal_model, config.network, config.shift_range_hz, families)

    def load_state_dict(self, tensors, *args, **kwargs):
        """As of every module; the shipped networks have older names of two parts."""
        old = (("convolutions.", "backbone."), ("front.combs", "front.matched_filters"))
        named = {k.replace(*old[0]).replace(*old[1]): v for k, v in tensors.items()}
        return super().load_state_dict(named, *args, **kwargs)

    def features(self, z):
        """What the FC layers see, (V, F), and the unit of the output, (V, 1)."""
        with torch.no_grad():
            x, unit = self.front(z)
        return self.backbone(x), unit

    def forward(self, z):
        features, unit = self.features(z)
        return self.head(features) * unit
