"""How the FID of a signal model changes with its parameters: what the Fisher matrix and a Gauss-Newton step need."""

from __future__ import annotations

import numpy as np

from precise_lib.signal.model import GAUSSIAN, SignalModel


def jacobian(
    model: SignalModel, amplitudes, shift_hz=0.0, broadening_hz=0.0, phase_rad=0.0, gaussian_hz=0.0, offset_hz=0.0
) -> np.ndarray:
    """Derivatives (..., M + 3, n_samples) of the FID by amplitudes, shift (Hz), broadening (Hz), phase (rad).

    Then, where the model has them, by the square of the Gaussian width (Hz^2: the width itself has no slope at zero)
    and by the offset of the lipids (Hz).
    """
    envelope = model.envelope(shift_hz, broadening_hz, phase_rad, gaussian_hz)
    lines, lipid = envelope[..., None, :] * model.basis().T, model.of_role("lipid")
    if np.any(offset_hz):
        lines = lines * model.lipid_rotation(offset_hz)
    amplitudes = np.asarray(amplitudes, float)
    signal = np.einsum("...m,...mt->...t", amplitudes, lines)
    t = model.acquisition.time_s
    nuisance = [2j * np.pi * t * signal, -np.pi * t * signal, 1j * signal]
    if model.lineshape == "voigt":
        nuisance.append(-GAUSSIAN * t**2 * signal)
    if lipid.any():
        nuisance.append(2j * np.pi * t * np.einsum("...m,...mt->...t", amplitudes * lipid, lines))
    nuisance = np.stack(nuisance, axis=-2)
    shape = np.broadcast_shapes(lines.shape[:-2], nuisance.shape[:-2])
    return np.concatenate([np.broadcast_to(v, shape + v.shape[-2:]) for v in (lines, nuisance)], axis=-2)


def covariance(model: SignalModel, amplitudes, sigma, *args, **nuisance) -> np.ndarray:
    """Inverse Fisher matrix (..., M + 3, M + 3) in the order of `jacobian`, per noise `sigma` (...).

    Further arguments are those of `jacobian`: shift_hz, broadening_hz, phase_rad and so on. Without any lipid their
    offset has no meaning, and counts as known.
    """
    j = jacobian(model, amplitudes, *args, **nuisance)
    fisher = np.einsum("...at,...bt->...ab", j.conj(), j).real
    if model.of_role("lipid").any():
        fisher[..., -1, -1] = np.where(fisher[..., -1, -1] > 0, fisher[..., -1, -1], 1.0)
    scale = np.sqrt(np.einsum("...aa->...a", fisher))
    normalized = fisher / (scale[..., :, None] * scale[..., None, :])
    inverse = np.linalg.inv(normalized) / (scale[..., :, None] * scale[..., None, :])
    return inverse * np.asarray(sigma, float)[..., None, None] ** 2
