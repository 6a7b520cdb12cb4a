"""Transients: frequency and phase of each are recovered, and the average is that of transients that never moved."""

import numpy as np
import pytest

from precise_lib.estimate.transients import averaged
from precise_lib.signal.information import covariance
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.signal.presets import dmi_11t7

MODEL = dmi_11t7()
AMPLITUDES = np.array([1.0, 0.25, 0.3, 0.12])


@pytest.mark.parametrize(
    ("shift", "phase"),
    [
        ([0, 0], [0, np.pi]),  # two averages out of phase: their sum is nothing
        (2.0 * np.arange(8), np.zeros(8)),  # a drift of 2 Hz a transient
        (2.0 * np.arange(8), np.linspace(0, 9, 8)),
        ([5.0, -7.0, 0.3, 30.0], [3, 1, -2, 0.1]),
    ],
)
def test_drift_is_recovered(shift, phase):
    """Within four SE, by the bound of one voxel over the root of their number: .08 Hz of the shift, .01 rad."""
    rng, sigma = np.random.default_rng(0), float(snr_to_sigma(MODEL, 15))
    shift, phase = np.array(shift, float), np.array(phase, float)
    own = rng.uniform(-np.pi, np.pi, (6, 6, 1))  # of each voxel
    offset = np.linspace(-4, 4, 36).reshape(6, 6, 1)
    clean = MODEL.fids(AMPLITUDES, offset[..., None] + shift, 0, own[..., None] + phase)  # (x, y, z, d, t)
    fids = np.moveaxis(add_noise(clean, sigma, rng), -2, -1)[..., None].astype(np.complex64)
    mean, drift = averaged(fids, MODEL)
    se = np.sqrt(np.diag(covariance(MODEL, AMPLITUDES, sigma))[4:7] / 36)  # shift, broadening, phase
    assert np.abs(drift.shift_hz[:, 0] - (shift - shift.mean())).max() < 4 * se[0]
    relative = np.exp(1j * (drift.phase_rad[:, 0] - phase))
    assert np.abs(np.angle(relative / relative.mean())).max() < 4 * se[2]
    still = MODEL.fids(AMPLITUDES, offset + shift.mean(), 0, own)
    turn = np.vdot(still, mean[..., 0])
    rest = mean[..., 0] * np.conj(turn) / np.abs(turn) - still
    assert np.sqrt((np.abs(rest) ** 2).mean() / 2) == pytest.approx(sigma / np.sqrt(len(shift)), rel=0.03)
