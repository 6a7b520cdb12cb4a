"""Transients of one state to one FID per voxel: each turned by its frequency and phase, found by the signal model.

The field drifts for all voxels together, so one shift and one phase of each transient are sought over all of them, by
maximum likelihood against what the model fits: ``c(t) = sum_v conj(model_v(t)) x_v(t)`` is, but for noise, a cosine of
the shift, and its Fourier transform is largest there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft, optimize

from precise_lib.estimate.fit import fit_fids
from precise_lib.signal.model import SignalModel

ROUNDS = 3  # of fitting the average and turning the transients to it
STRONGEST = 400  # voxels that tell the shifts
REACH_PPM = 1.0  # of a drift


@dataclass(frozen=True)
class Drift:
    """Shift in Hz and phase in rad of each transient (d, f) of each frame, against the mean of the frame."""

    shift_hz: np.ndarray
    phase_rad: np.ndarray


def averaged(fids, model: SignalModel) -> tuple[np.ndarray, Drift]:
    """Mean FIDs (x, y, z, t, f) of transients (x, y, z, t, d, f) turned to each other, and their `Drift`."""
    out = np.empty((*fids.shape[:4], fids.shape[5]), np.complex64)
    shift, phase = np.zeros((2, *fids.shape[4:]))
    energy = np.nan_to_num((np.abs(fids) ** 2).sum((3, 4, 5)), nan=0.0, posinf=0.0)
    voxels = np.unravel_index(np.argsort(-energy, axis=None)[:STRONGEST], energy.shape)
    for frame in range(fids.shape[5]):
        x = np.moveaxis(fids[..., frame][voxels], -1, 0)  # (d, V, t)
        x = x[:, np.isfinite(x).all((0, 2)) & np.abs(x).any((0, 2))]
        shift[:, frame], phase[:, frame] = _drift(x, model)
        turn = _turn(model, shift[:, frame], phase[:, frame]).conj()
        out[..., frame] = np.einsum("xyztd,dt->xyzt", fids[..., frame], turn.astype(np.complex64)) / len(turn)
    return out, Drift(shift, phase)


def _turn(model: SignalModel, shift_hz, phase_rad) -> np.ndarray:
    """(d, t)"""
    return np.exp(1j * (2 * np.pi * np.outer(shift_hz, model.acquisition.time_s) + phase_rad[:, None]))


def _drift(x, model: SignalModel) -> tuple[np.ndarray, np.ndarray]:
    """Shift (d,) and phase (d,) of transients (d, V, t), with a mean of zero over the transients."""
    shift, phase, strongest = np.zeros(len(x)), np.zeros(len(x)), (np.abs(x) ** 2).sum((1, 2)).argmax()
    for turn in range(ROUNDS):
        mean = x[strongest] if turn == 0 else np.einsum("dvt,dt->vt", x, _turn(model, shift, phase).conj()) / len(x)
        fit = fit_fids(mean, model)
        clean = model.fids(fit.amplitudes, **fit.nuisance(model))
        found = [_registered(np.einsum("vt,vt->t", clean.conj(), one), model) for one in x]
        shift, phase = np.array(found).T
    middle = np.angle(np.exp(1j * phase).mean())
    return shift - shift.mean(), np.angle(np.exp(1j * (phase - middle)))


def _registered(c, model: SignalModel) -> tuple[float, float]:
    """Shift in Hz and phase at which ``c(t) exp(-i (phase + 2 pi shift t))`` sums to the most."""
    a = model.acquisition
    bins = fft.next_fast_len(4 * len(c))
    hz, reach = fft.fftfreq(bins, a.dwell_time_s), REACH_PPM * a.spectrometer_frequency_mhz
    height = np.where(np.abs(hz) <= reach, np.abs(fft.fft(c, bins)), 0)
    step = 1 / (bins * a.dwell_time_s)

    def lost(shift):
        return -np.abs(c @ np.exp(-2j * np.pi * shift * a.time_s))

    best = optimize.minimize_scalar(lost, bounds=hz[height.argmax()] + step * np.array([-1, 1]), method="bounded")
    return best.x, float(np.angle(c @ np.exp(-2j * np.pi * best.x * a.time_s)))
