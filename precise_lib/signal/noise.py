"""Noise on FIDs, where they hold none, and the SNR of PRECISE-DMI: water peak over the SD of the spectral noise."""

from __future__ import annotations

import numpy as np

from precise_lib.signal.model import SignalModel


def add_noise(fids, sigma, rng: np.random.Generator) -> np.ndarray:
    """Add white complex noise; `sigma` (broadcast to (...)) is the SD of the real and of the imaginary part."""
    fids = np.asarray(fids)
    noise = rng.standard_normal((*fids.shape, 2)).view(np.complex128)[..., 0]
    return fids + np.asarray(sigma)[..., None] * noise


def peak_height(model: SignalModel, broadening_hz=0.0) -> np.ndarray:
    """Spectral peak height of the reference line at unit amplitude: the sum of its FID envelope as sampled."""
    t2 = model.t2star_s[model.index(model.reference)]
    rate = 1 / t2 + np.pi * np.asarray(broadening_hz, float)
    return np.exp(-rate[..., None] * model.acquisition.time_s).sum(-1)


def snr_to_sigma(model: SignalModel, snr, amplitude=1.0, broadening_hz=0.0):
    """Time-domain noise SD for an SNR; spectral noise is ``sigma * sqrt(n_samples)``, `amplitude` is that of water."""
    snr = np.asarray(snr, float)
    return amplitude * peak_height(model, broadening_hz) / (snr * np.sqrt(model.acquisition.n_samples))


def water_snr(model: SignalModel, amplitudes, sigma, broadening_hz=0.0) -> np.ndarray:
    """SNR (...) of the reference line of amplitudes (..., M), as the paper and the training count it.

    Of the strongest metabolite where there is no reference.
    """
    amplitudes, noise = np.asarray(amplitudes, float), np.asarray(sigma) * np.sqrt(model.acquisition.n_samples)
    if model.reference is not None:
        return amplitudes[..., model.index(model.reference)] * peak_height(model, broadening_hz) / noise
    rate = 1 / model.t2star_s + np.pi * np.asarray(broadening_hz, float)[..., None]
    height = np.exp(-rate[..., None] * model.acquisition.time_s).sum(-1)
    return (np.abs(amplitudes) * height)[..., model.of_role("metabolite")].max(-1) / noise


def zero_filled(fids) -> int:
    """How many time points at the end of FIDs (..., t) hold no measurement: a sudden fall by more than 1e4.

    `fids` may be an iterable of such arrays.
    """
    chunks = [fids] if isinstance(fids, np.ndarray) else fids
    level = np.max([np.abs(np.nan_to_num(c.reshape(-1, c.shape[-1]))).max(0) for c in chunks], axis=0)
    n = len(level)
    # the largest of what follows each point, against the median of the ten points before it
    tail = np.maximum.accumulate(level[::-1])[::-1]
    for i in range(10, n):
        if tail[i] < 1e-4 * np.median(level[i - 10 : i]):
            return n - i
    return 0
