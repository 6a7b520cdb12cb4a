"""A 1H spectrum as a basis set under a common envelope: its signals, derivatives, best amplitudes and Cramer-Rao bound.

The model is ``sum_m a_m B_m(t) exp((2 pi i s - pi b) t - G g t^2 + i phi)``: real amplitudes, and one shift s, one
Lorentzian broadening b, one Gaussian broadening (g is its full width squared) and one phase phi for all signals. It is
seen through any run of points of the FFT, so that a spectrum cut to a window is modeled as what it is. ``theta`` stands
for (s, b, g, phi). Derivatives by theta are Fourier transforms of ``S``, ``t S`` and ``t^2 S``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import fft
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from precise_lib.errors import InputError
from precise_lib.proton.brain import BasisSet
from precise_lib.signal.information import fisher, inverse
from precise_lib.signal.parts import GAUSSIAN

CHUNK = 16  # spectra that advance together: about 60 MB per thread
WIDEST_HZ = 30.0


@dataclass
class State:
    """Where each spectrum stands: amplitudes, cost, and the normal equations of all parameters there."""

    amplitudes: np.ndarray  # (V, M)
    cost: np.ndarray  # (V,)
    normal: np.ndarray  # (V, M + 4, M + 4)
    gradient: np.ndarray  # (V, M + 4)


class SpectrumModel:
    """A basis set seen through `points`, a slice of its plain, unshifted FFT; all of it by default."""

    def __init__(self, basis: BasisSet, points: slice = slice(None)):
        self.basis, self.points = basis, points
        self.t = basis.acquisition.time_s
        self.n_points = len(range(*points.indices(len(self.t))))
        m = len(basis.names)
        if 2 * self.n_points <= m + 4:
            raise InputError(f"{self.n_points} points do not determine {m} amplitudes and 4 other parameters.")
        # how far the narrowest signal of the basis can be narrowed: from its decay over the FID
        energy = np.abs(basis.fids) ** 2
        decay = energy.sum(-1) / np.maximum((energy * self.t).sum(-1), np.finfo(float).tiny)
        self.low = np.array([-np.inf, -0.4 * decay.min() / np.pi, 0.0, -np.inf])
        self.high = np.array([np.inf, WIDEST_HZ, WIDEST_HZ**2, np.inf])

    def observe(self, signals) -> np.ndarray:
        """Signals (..., t) as real rows (..., 2 n_points) of their unitary FFT: white noise stays as it is."""
        seen = fft(signals, axis=-1)[..., self.points] / np.sqrt(len(self.t))
        return np.ascontiguousarray(seen).view(float)

    def envelope(self, theta) -> np.ndarray:
        """Factor common to all signals (V, t) for theta (V, 4): shift, broadening, squared shim, phase."""
        shift, broadening, squared, phase = np.asarray(theta, float)[..., None].swapaxes(0, 1)
        return np.exp((2j * np.pi * shift - np.pi * broadening) * self.t - GAUSSIAN * squared * self.t**2 + 1j * phase)

    def columns(self, theta):
        """Envelope (V, t) and observed unit signals (V, M, 2 n_points)."""
        envelope = self.envelope(theta)
        return envelope, self.observe(self.basis.fids * envelope[:, None])

    def nuisance_columns(self, amplitudes, envelope, observed) -> np.ndarray:
        """Derivatives (V, 4, 2 n_points) by theta of spectra that are `observed` (V, 2 n_points)."""
        by_t = (amplitudes @ self.basis.fids) * envelope * self.t
        first, second = self.observe(np.stack([by_t, self.t * by_t])).view(complex)
        turned = 1j * np.ascontiguousarray(observed).view(complex)
        return np.stack([2j * np.pi * first, -np.pi * first, -GAUSSIAN * second, turned], axis=1).view(float)

    def evaluate(self, x, theta, bounded: bool, amplitudes=None) -> State:
        """Best amplitudes for theta (or those given) and the normal equations there; x (V, 2 n_points)."""
        envelope, unit = self.columns(theta)
        if amplitudes is None:
            gram, h = unit @ unit.swapaxes(1, 2), (unit @ x[..., None])[..., 0]
            amplitudes = non_negative(gram, h) if bounded else np.linalg.solve(gram, h[..., None])[..., 0]
        observed = (amplitudes[:, None] @ unit)[:, 0]
        jacobian = np.concatenate([unit, self.nuisance_columns(amplitudes, envelope, observed)], axis=1)
        residual = x - observed
        return State(amplitudes, (residual**2).sum(-1), fisher(jacobian), (jacobian @ residual[..., None])[..., 0])


def non_negative(gram, h) -> np.ndarray:
    """Non-negative least squares for normal equations (V, M, M), (V, M): an active-set solution per row."""
    scale = np.sqrt(np.einsum("vii->vi", gram))
    factors = np.linalg.cholesky(gram / (scale[:, :, None] * scale[:, None, :]) + 1e-13 * np.eye(h.shape[1]))
    rows = zip(factors, h / scale, strict=True)
    return np.array([nnls(f.T, solve_triangular(f, b, lower=True))[0] for f, b in rows]).reshape(h.shape) / scale


def standard_deviations(normal, sigma) -> np.ndarray:
    """Cramer-Rao bounds (V, K) from J J^T (V, K, K) and noise SD per real channel (V,); infinite where no signal is."""
    void = np.einsum("vii->vi", normal) == 0
    known = np.sqrt(np.einsum("vii->vi", inverse(normal)))
    return np.where(void, np.inf, known * np.asarray(sigma)[:, None])


def crlb(basis: BasisSet, amplitudes, shim_hz, sigma, points: slice = slice(None)) -> np.ndarray:
    """Cramer-Rao bound (V, M) on true amplitudes (V, M), all four nuisance parameters unknown; `shim_hz` (V,) is the
    Gaussian width in Hz, positive; `sigma` (V,) the SD of the real part of one time sample.
    """
    model, m = SpectrumModel(basis, points), len(basis.names)
    amplitudes, shim, sigma = np.atleast_2d(amplitudes), np.atleast_1d(shim_hz), np.atleast_1d(sigma)
    out = np.empty(amplitudes.shape)
    for i in range(0, len(out), CHUNK):
        k = slice(i, i + CHUNK)
        theta = np.zeros((len(out[k]), 4))
        theta[:, 2] = shim[k] ** 2
        nothing = np.zeros((len(theta), 2 * model.n_points))
        state = model.evaluate(nothing, theta, False, amplitudes[k])
        out[k] = standard_deviations(state.normal, sigma[k])[:, :m]
    return out
