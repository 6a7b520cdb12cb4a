"""Coils: the SNR of the combination against the best there is, sqrt(s^H C^-1 s)."""

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.signal import coils
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.signal.presets import dmi_11t7

MODEL = dmi_11t7()
SHAPE = (8, 8, 3)
AMPLITUDES = np.array([1.0, 0.25, 0.3, 0.12])


def array(n, seed=0):
    """Sensitivities (x, y, z, c) of n loops around the grid, and a covariance of noise that neighbors share."""
    rng, grid = np.random.default_rng(seed), np.moveaxis(np.indices(SHAPE), 0, -1) - (np.array(SHAPE) - 1) / 2
    angle = 2 * np.pi * np.arange(n) / n
    place = np.stack([7 * np.cos(angle), 7 * np.sin(angle), rng.uniform(-2, 2, n)], -1)
    away = np.linalg.norm(grid[..., None, :] - place, axis=-1)
    s = np.exp(1j * (rng.uniform(-np.pi, np.pi, n) + 0.1 * away)) / (1 + (away / 4) ** 2)
    apart = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    apart = np.minimum(apart, n - apart)
    gain = rng.uniform(0.5, 2, n)
    c = 0.35**apart * np.exp(1j * 0.3 * np.subtract.outer(np.arange(n), np.arange(n))) * np.outer(gain, gain)
    return s, c


def measured(n, snr, seed=0):
    """Sensitivities and covariance, clean FIDs (x, y, z, t, c, 1, 1) whose best SNR is `snr` on average, and noise."""
    s, c = array(n, seed)
    best = np.sqrt(np.einsum("xyzc,cd,xyzd->xyz", s.conj(), np.linalg.inv(c), s).real)
    s = s * snr * float(snr_to_sigma(MODEL, 1.0)) * np.sqrt(2) / best.mean()
    rng = np.random.default_rng(seed + 1)
    noise = rng.standard_normal((*SHAPE, 512, n, 2)).view(complex)[..., 0] / np.sqrt(2) @ np.linalg.cholesky(c).T
    clean = MODEL.fids(AMPLITUDES)[:, None] * s[..., None, :]
    return s, c, clean[..., None, None], noise[..., None, None]


@pytest.mark.parametrize("snr", [12, 30])
@pytest.mark.parametrize("n", [2, 4, 8, 16, 32])
def test_snr_within_two_percent_of_the_best(n, snr):
    """Weights are those of the noisy data; noise and signal then go through them apart."""
    s, c, clean, noise = measured(n, snr)
    found = coils.noise_covariance(np.moveaxis(noise, 4, -1)[:, :, :, 300:])
    noisy = (clean + noise).astype(np.complex64)
    weigh = coils.weights(noisy, found)
    signal, left = (np.einsum("xyztcdf,xyzc->xyzt", x, weigh) for x in (clean, noise))
    reached = np.abs(signal[..., 0]) / AMPLITUDES.sum() / np.sqrt((np.abs(left) ** 2).mean(-1))
    best = np.sqrt(np.einsum("xyzc,cd,xyzd->xyz", s.conj(), np.linalg.inv(c), s).real)
    assert (reached / best).mean() > 0.98
    np.testing.assert_allclose(
        coils.combined(noisy, coils.weights(noisy, found))[..., 0, 0], signal + left, atol=1e-3 * np.abs(signal).max()
    )
    assert (np.abs(left) ** 2).mean() == pytest.approx(1, abs=0.02)


def test_what_cannot_be_weighed():
    with pytest.raises(InputError, match="do not tell"):
        coils.noise_covariance(np.ones((30, 4)))
    with pytest.raises(InputError, match="no noise of their own"):
        coils.noise_covariance(np.random.default_rng(0).standard_normal((1000, 1)) * np.ones(4))
