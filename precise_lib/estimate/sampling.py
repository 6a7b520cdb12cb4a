"""What a network is trained on: random FIDs of Eq. 2 of PRECISE-DMI, new in every iteration, and targets."""

from __future__ import annotations

import numpy as np
import torch

from precise_lib.estimate.train_config import SHARED, TrainConfig
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.signal.parts import GAUSSIAN


class Sampler:
    """Random training FIDs, noise, and the error that an efficient estimator must make with that noise."""

    def __init__(self, config: TrainConfig, device="cpu"):
        model = config.signal_model
        self.config, self.device = config, device
        self.basis = torch.tensor(model.basis().T, dtype=torch.complex64, device=device)
        self.time = torch.tensor(model.acquisition.time_s, dtype=torch.float32, device=device)
        self.ranges = torch.tensor(config.ranges(), dtype=torch.float32, device=device)
        self.lipid = torch.tensor(model.of_role("lipid"), device=device)
        self.own = [(k, rate, sd) for k, rate, sd in model.own.values()]
        self.voigt = model.lineshape == "voigt"
        self.sigma_at_snr_1 = float(snr_to_sigma(model, 1.0))

    def uniform(self, generator, shape, low, high):
        return low + (high - low) * torch.rand(shape, generator=generator, device=self.device)

    def parameters(self, n, groups, generator):
        """Amplitudes (n, M), phase (n, 1), noise SD (n,); shift, broadening, Gaussian width, offset (groups, 1).

        And last the rates (groups, O), rad/s, by which single lines turn and decay of their own, where there are any.
        """
        c = self.config
        amplitudes = self.uniform(generator, (n, len(self.ranges)), *self.ranges.T)
        shift = self.uniform(generator, (groups, 1), *c.shift_range_hz)
        broadening = self.uniform(generator, (groups, 1), *c.broadening_range_hz)
        phase = self.uniform(generator, (n, 1), 0, 2 * torch.pi)
        if c.noise == "uniform_sigma":
            sigma = self.uniform(generator, (n,), 0.0, self.sigma_at_snr_1 / c.snr_range[0])
        else:
            sigma = self.sigma_at_snr_1 * torch.exp(-self.uniform(generator, (n,), *np.log(c.snr_range)))
        noiseless = torch.rand(n, generator=generator, device=self.device) < c.noiseless_share
        gaussian = self.uniform(generator, (groups, 1), *c.gaussian_range_hz) if self.voigt else None
        offset = self.uniform(generator, (groups, 1), *c.offset_range_hz) if self.lipid.any() else None
        own = None
        if self.own:
            normal = torch.randn((groups, len(self.own)), generator=generator, device=self.device)
            own = normal * torch.tensor([abs(rate) * sd for _, rate, sd in self.own], device=self.device)
        return amplitudes, phase, torch.where(noiseless, 0.0, sigma), (shift, broadening, gaussian, offset, own)

    def envelope(self, shift, broadening, gaussian=None, phase=0.0):
        exponent = -torch.pi * broadening * self.time
        if gaussian is not None:
            exponent = exponent - GAUSSIAN * (gaussian * self.time) ** 2
        return torch.polar(torch.exp(exponent), 2 * torch.pi * shift * self.time + phase)

    def turns(self, offset, own):
        """Factors (groups, M, t) of single lines; None where there are none."""
        if offset is None and own is None:
            return None
        rates = torch.zeros((len(own if offset is None else offset), len(self.ranges), 1), dtype=torch.complex64)
        rates = rates.to(self.device)
        if offset is not None:
            rates[:, self.lipid] += (2j * torch.pi * offset)[:, :, None]
        for q, (k, rate, _) in enumerate(self.own):
            rates[:, k, 0] += rate / abs(rate) * own[:, q]
        return torch.exp(rates * self.time)

    def draw(self, n: int, generator: torch.Generator):
        """Noiseless FIDs (n, t) complex64, amplitudes (n, M), noise SD (n,)."""
        amplitudes, phase, sigma, (*common, offset, own) = self.parameters(n, n, generator)
        weights, turns = amplitudes.to(torch.complex64), self.turns(offset, own)
        fids = weights @ self.basis if turns is None else (weights[:, None] @ (self.basis * turns))[:, 0]
        return fids * self.envelope(*common, phase), amplitudes, sigma

    def white(self, shape, generator):
        """Complex noise of unit SD per real channel."""
        return torch.view_as_complex(torch.randn((*shape, 2), generator=generator, device=self.device))

    def noise(self, like, sigma, generator):
        """Add white noise of SD `sigma` per real channel to complex data (n, K)."""
        return like + sigma[:, None] * self.white(like.shape, generator)

    def draw_efficient(self, n: int, generator: torch.Generator, project):
        """Noisy projected FIDs (n, K), the amplitudes an efficient estimator finds in them (n, M), noise SD (n,).

        These are the truth plus ``F^-1 Re(J^H noise)``, see `book/theory.md`; `project` is a front's, (V, t) -> (V, K).
        Where lines have priors, what those say of what the data do not tell is part of the error.
        """
        groups, m = n // SHARED, len(self.ranges)
        amplitudes, phase, sigma, (*common, offset, own) = self.parameters(groups * SHARED, groups, generator)
        powers, turns = [self.envelope(*common)[:, None] * self.basis], self.turns(offset, own)
        if turns is not None:
            powers[0] = powers[0] * turns
        for _ in range(2 if self.voigt else 1):
            powers.append(self.time * powers[-1])
        moments = project(torch.cat(powers, 1).flatten(0, 1)).view(groups, len(powers) * m, -1)
        moments = moments.repeat_interleave(SHARED, 0) * torch.polar(torch.ones_like(phase), phase)[:, None]
        weights = amplitudes.to(torch.complex64)[:, None]
        signal, slope = weights @ moments[:, :m], weights @ moments[:, m : 2 * m]
        # shift and broadening in units that make the columns comparable to the lines
        scale = 1 / self.time[-1] * len(self.time) / 20
        columns = [moments[:, :m], 1j * scale * slope, -scale * slope, 1j * signal]
        if self.voigt:
            columns.append(-(scale**2) * (weights @ moments[:, 2 * m :]))
        if offset is not None:
            columns.append(1j * scale * ((weights * self.lipid) @ moments[:, m : 2 * m]))
        for k, rate, _ in self.own:
            columns.append(rate / abs(rate) * scale * weights[:, :, k, None] * moments[:, m + k, None])
        jacobian = torch.view_as_real(torch.cat(columns, 1)).flatten(2)
        jacobian = jacobian if len(columns) == 4 else jacobian.double()  # two widths are nearly parallel
        white = self.white(signal[:, 0].shape, generator)
        projected = (jacobian @ torch.view_as_real(white).flatten(1)[..., None].to(jacobian.dtype))[..., 0]
        fisher = jacobian @ jacobian.mT
        if own is not None:
            last = slice(fisher.shape[-1] - len(self.own), None)
            precision = sigma[:, None].double() * scale / fisher.new_tensor([abs(r) * sd for _, r, sd in self.own])
            fisher[:, last, last] += torch.diag_embed(precision**2)
            known = own.repeat_interleave(SHARED, 0) / scale  # in units of their columns
            projected[:, last] -= precision**2 * known / sigma[:, None].clamp(min=1e-30)
        error = torch.linalg.solve(fisher, projected)[:, :m].float() * sigma[:, None]
        return signal[:, 0] + sigma[:, None] * white, amplitudes + error, sigma


def signal_families(config: TrainConfig, n: int = 6000) -> tuple[np.ndarray, np.ndarray]:
    """About n single lines (n, t) under random broadening, with the shifts of the training range and aligned."""
    rng, model = np.random.default_rng(config.seed), config.signal_model
    # lipids count by their size, which may be many times that of a metabolite
    size = np.where(model.of_role("lipid"), np.abs(config.ranges()).max(1), 1.0)
    amplitudes = np.tile(np.diag(size), (n // len(model.names), 1))
    broadening = rng.uniform(*config.broadening_range_hz, len(amplitudes))
    # what the search of the front end leaves: an error of the size of its bound at low SNR
    residual = rng.normal(0, 0.15 / (np.pi * model.t2star_s.max()), len(amplitudes))
    shift = rng.uniform(*config.shift_range_hz, len(amplitudes))
    ranged = [name for name in model.common[3:] if name not in model.own]
    more = {name: rng.uniform(*getattr(config, f"{name[:-3]}_range_hz"), len(amplitudes)) for name in ranged}
    more |= {name: rng.normal(0, sd, len(amplitudes)) for name, (_, _, sd) in model.own.items()}
    return model.fids(amplitudes, shift, broadening, **more), model.fids(amplitudes, residual, broadening, **more)
