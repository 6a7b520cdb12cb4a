"""What a FID tells of its parameters: the Jacobian J of the signal model, and the Fisher matrix and its inverse.

White noise of SD sigma per real channel makes it ``Re(J^H J) / sigma^2``; its inverse is the Cramer-Rao bound.
"""

from __future__ import annotations

import numpy as np

from precise_lib.signal.model import SignalModel
from precise_lib.signal.parts import GAUSSIAN, exponentials


def jacobian(
    model: SignalModel,
    amplitudes,
    shift_hz=0.0,
    broadening_hz=0.0,
    phase_rad=0.0,
    gaussian_hz=0.0,
    offset_hz=0.0,
    **own,
) -> np.ndarray:
    """Derivatives (..., M + P, n_samples) of the FID by amplitudes, then by the P parameters of `SignalModel.common`.

    Those are shift (Hz), broadening (Hz), phase (rad), and where the model has them the square of the Gaussian width
    (Hz^2: the width itself has no slope at zero), the offset of the lipids (Hz), what single lines have of their own.
    """
    envelope, t = model.envelope(shift_hz, broadening_hz, phase_rad, gaussian_hz), model.acquisition.time_s
    turns, amplitudes = model.turns(offset_hz, **own), np.asarray(amplitudes, float)
    shape = np.broadcast_shapes(
        envelope.shape[:-1], amplitudes.shape[:-1], *(turn.shape[:-1] for turn in turns.values())
    )
    lines = np.broadcast_to(envelope[..., None, :] * model.basis().T, (*shape, amplitudes.shape[-1], len(t))).copy()
    for k, turn in turns.items():
        lines[..., k, :] *= turn
    signal = (amplitudes[..., None, :] @ lines)[..., 0, :]
    nuisance = [2j * np.pi * t * signal, -np.pi * t * signal, 1j * signal]
    if model.lineshape == "voigt":
        nuisance.append(-GAUSSIAN * t**2 * signal)
    if (lipid := model.of_role("lipid")).any():
        nuisance.append(2j * np.pi * t * np.einsum("...m,...mt->...t", amplitudes * lipid, lines))
    nuisance += [rate * t * amplitudes[..., k, None] * lines[..., k, :] for k, rate, _ in model.own.values()]
    return np.concatenate([lines, np.stack(nuisance, axis=-2)], axis=-2)


def fisher(jacobian) -> np.ndarray:
    """``Re(J^H J)`` (..., K, K) of a Jacobian (..., K, t), real or complex: the Fisher matrix for unit noise."""
    parts = np.ascontiguousarray(jacobian)
    if np.iscomplexobj(parts):  # the real part alone is half the work, as a product of real and imaginary parts in turn
        parts = parts.view(parts.real.dtype)
    return parts @ np.swapaxes(parts, -1, -2)


def inverse(fisher) -> np.ndarray:
    """Inverse (..., K, K) of Fisher matrices, brought to unit diagonal first, since units may differ by any factor.

    A parameter of which the data tell nothing, with a row of zeros, counts as known and has the variance one.
    """
    scale = np.sqrt(np.einsum("...aa->...a", fisher))
    void = scale == 0
    if void.any():
        fisher, scale = fisher + void[..., None] * np.eye(void.shape[-1]), np.where(void, 1.0, scale)
    product = scale[..., :, None] * scale[..., None, :]
    return np.linalg.inv(fisher / product) / product


def prior(model: SignalModel, sigma=1.0) -> np.ndarray:
    """What priors add to the Fisher matrix for unit noise, (..., M + P, M + P), where the noise is `sigma` (...)."""
    precision = np.zeros(len(model.names) + len(model.common))
    if model.own:
        precision[-len(model.own) :] = [1 / sd**2 for _, _, sd in model.own.values()]
    return np.asarray(sigma, float)[..., None, None] ** 2 * np.diag(precision)


def covariance(model: SignalModel, amplitudes, sigma, *args, **nuisance) -> np.ndarray:
    """Inverse Fisher matrix (..., M + P, M + P) per noise `sigma` (...); order and further arguments of `jacobian`.

    Where lines have priors it is the Bayesian bound (Van Trees): the precision of the priors counts as data.
    """
    bound = inverse(fisher(jacobian(model, amplitudes, *args, **nuisance)) + prior(model, sigma))
    return bound * np.asarray(sigma, float)[..., None, None] ** 2


class LineMoments:
    """The Fisher matrix of Eq. 2 from moments ``sum_t t^p conj(e_k) e_l`` of the unit lines e, without a Jacobian.

    They depend on the broadening alone: shift and phase of all lines together drop out.
    """

    def __init__(self, model: SignalModel):
        self.acquisition, basis = model.acquisition, model.basis()
        self.m, time = basis.shape[1], model.acquisition.time_s[:, None]
        products = (basis.conj()[:, :, None] * basis[:, None, :]).reshape(len(time), self.m**2)
        self.products = np.hstack([time**p * products for p in range(3)])

    def gram(self, broadening_hz) -> np.ndarray:
        """The moments (V, 3, M, M) for p = 0, 1, 2 at broadenings (V,)."""
        squared = exponentials(-2 * np.pi * np.asarray(broadening_hz, float), self.acquisition)
        return (squared @ self.products.view(float)).view(complex).reshape(-1, 3, self.m, self.m)

    def fisher(self, gram, amplitudes) -> np.ndarray:
        """Fisher matrices (V, M + 3, M + 3) for unit noise of amplitudes (V, M), in the order of `jacobian`."""
        m = self.m
        ca = np.einsum("vpkl,vl->vpk", gram, amplitudes)
        aca = np.einsum("vpk,vk->vp", ca, amplitudes).real
        out = np.zeros((len(amplitudes), m + 3, m + 3))
        out[:, :m, :m] = gram[:, 0].real
        cross = np.stack([-2 * np.pi * ca[:, 1].imag, -np.pi * ca[:, 1].real, -ca[:, 0].imag], -1)
        out[:, :m, m:], out[:, m:, :m] = cross, cross.swapaxes(1, 2)
        # the broadening is orthogonal to shift and phase
        out[:, m, m], out[:, m + 1, m + 1] = 4 * np.pi**2 * aca[:, 2], np.pi**2 * aca[:, 2]
        out[:, m + 2, m + 2] = aca[:, 0]
        out[:, m, m + 2] = out[:, m + 2, m] = 2 * np.pi * aca[:, 1]
        return out
