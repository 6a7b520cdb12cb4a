"""What the best fit leaves of a FID, and a test of whether that is noise.

Under the model and white noise the energy of the residual over the noise variance is chi-square
with ``2 N - M - 3`` degrees of freedom (N complex samples; M amplitudes, shift, broadening, phase). Noise of a density
S over frequency, of mean one, has ``2 N / mean(S^2)`` (Satterthwaite), and a line at f is seen against S(f). The
energy hardly sees a weak line, so the residual is also searched for the strongest line of the width of the model's, and
of eight times that (a baseline). The power ``u`` of such a matched filter, chi-square with two degrees of freedom at a
frequency, has a maximum over a bandwidth B that exceeds u with probability

    p = exp(-u / 2) (1 + B sqrt(2 pi Var(t)) sqrt(u))

to first order (upcrossings of a Rayleigh envelope, Rice 1945; Var(t) under the squared filter). The least of the three
p values, times three, is that of the voxel. The noise SD is itself estimated: F distributions replace chi-square.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.stats import f as f_distribution

from precise_lib.estimate.fit import FitResult
from precise_lib.estimate.noise_model import Noise
from precise_lib.signal.model import SignalModel

CHUNK = 1024  # FIDs whose best fit is in memory together
WIDTHS = (1.0, 8.0)  # of what is searched for in the residual, in line widths of the model
LEAST_DENSITY = 0.1  # of noise outside the band of a digital filter, where nothing is searched for


@dataclass(frozen=True)
class Residual:
    """What the best fit leaves of each FID: energy (V,), strongest line of each width (V, W), both in units of the
    squared data, and the frequency of that line in Hz."""

    energy: np.ndarray
    line: np.ndarray
    frequency_hz: np.ndarray


def _filters(model: SignalModel, n: int) -> np.ndarray:
    """Decays (W, n) of lines of `WIDTHS`."""
    return np.exp(-np.array(WIDTHS)[:, None] * model.acquisition.time_s[:n] / model.lifetime_s.max())


def residual(fids, fit: FitResult, model: SignalModel, zero_filled: int = 0, noise: Noise | None = None) -> Residual:
    """The `Residual` of FIDs (V, t) under their fit; the last `zero_filled` points do not count.

    Lines are in units of what `noise` of its density leaves at their place.
    """
    fids, nuisance = np.asarray(fids), fit.nuisance(model)
    n = fids.shape[-1] - zero_filled
    decays, bins = _filters(model, n).astype(np.float32), fft.next_fast_len(2 * n)
    frequencies = fft.fftfreq(bins, model.acquisition.dwell_time_s)
    seen = [1.0 if noise is None else np.maximum(noise.through(d, bins), LEAST_DENSITY) for d in decays]
    energy, (lines, places) = np.empty(len(fids), np.float32), np.empty((2, len(fids), len(decays)))
    for i in range(0, len(fids), CHUNK):
        part = slice(i, i + CHUNK)
        clean = model.fids(fit.amplitudes[part], **{name: x[part] for name, x in nuisance.items()})
        rest = (fids[part, :n] - clean[:, :n]).astype(np.complex64)
        energy[part] = (np.abs(rest) ** 2).sum(-1)
        for k, decay in enumerate(decays):
            power = np.abs(fft.fft(rest * decay, bins)) ** 2 / seen[k]
            lines[part, k], places[part, k] = power.max(-1), frequencies[power.argmax(-1)]
    return Residual(energy, lines / (decays**2).sum(-1), places)


def residual_p(
    rest: Residual, model: SignalModel, sigma, known: float, zero_filled: int = 0, efficiency: float = 1.0
) -> np.ndarray:
    """Probability (V,) of a residual at least as far from noise, if the model is right.

    `sigma` (V,) is the noise SD of the real part of a time sample, an estimate of `known` degrees of freedom;
    `efficiency`: independent samples over samples.
    """
    n, known = model.acquisition.n_samples - zero_filled, max(known, 1.0)
    freedom = 2 * n - len(model.names) - len(model.common)
    worst = [f_distribution.sf(rest.energy / sigma**2 / freedom, freedom * efficiency, known)]
    time = model.acquisition.time_s[:n]
    for decay, line in zip(_filters(model, n), rest.line.T, strict=True):
        share = decay**2 / (decay**2).sum()
        spread = np.sqrt((share * time**2).sum() - (share * time).sum() ** 2)
        u = line / sigma**2
        single = np.exp(-known / 2 * np.log1p(u / known))  # exp(-u / 2) where the noise is known well
        worst.append(single * (1 + model.acquisition.bandwidth_hz * np.sqrt(2 * np.pi) * spread * np.sqrt(u)))
    return np.minimum(len(worst) * np.min(worst, 0), 1.0)
