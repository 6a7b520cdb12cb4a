"""Least-squares fit of 1H spectra by a basis set, in the manner of FiTAID.

Amplitudes are eliminated (variable projection): for trial values of shift, broadenings and phase they solve a linear
least-squares problem, without bounds or non-negative, which biases what lies near zero. The four others follow by
Levenberg-Marquardt steps on the normal equations of all parameters (`spectrum_model`). The search starts from the best
of a grid of shifts and widths, where the best phase has a closed form. All spectra of a chunk advance together.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from joblib import Parallel, delayed

from precise_lib.errors import InputError
from precise_lib.estimate.least_squares import levenberg_marquardt
from precise_lib.proton.brain import BasisSet
from precise_lib.proton.spectrum_model import CHUNK, SpectrumModel, standard_deviations

START_SHIMS_HZ = (2.5, 4.5, 8.0)
START_STEP_HZ = 2.0
MAX_ITERATIONS = 40  # a spectrum that needs more is not `converged`
TOLERANCE = 1e-6  # a spectrum is done when the next step would change chi-square by less


@dataclass(frozen=True)
class SpectrumFit:
    """One row per spectrum: amplitudes and crlb (V, M), shift_hz, broadening_hz, shim_hz, phase_rad, sigma, converged.

    `sigma` is the SD of the residual per real channel of one time sample; `crlb` the Cramer-Rao bound on the SD of an
    unbounded amplitude for that noise, taken at the estimate.
    """

    amplitudes: np.ndarray
    crlb: np.ndarray
    shift_hz: np.ndarray
    broadening_hz: np.ndarray
    shim_hz: np.ndarray
    phase_rad: np.ndarray
    sigma: np.ndarray
    converged: np.ndarray


class Grid:
    """Where each fit looks for its start: shifts up to `max_shift_hz` with three widths, observed once for all spectra.

    The best phase has a closed form; its sign comes from the sum of the signals `upright`, None for all.
    """

    def __init__(self, model: SpectrumModel, max_shift_hz: float, upright=None):
        self.weight = np.abs(model.basis.fids[:, 0])
        if upright is not None:
            chosen = [model.basis.index(name) for name in upright]
            self.weight = self.weight * np.isin(np.arange(len(self.weight)), chosen)
        steps = np.arange(int(np.ceil(max_shift_hz / START_STEP_HZ)) + 1)
        shifts = np.unique(np.concatenate([-steps, steps])) * (max_shift_hz / max(steps[-1], 1))
        self.theta = np.array([[shift, 0.0, shim**2, 0.0] for shim in START_SHIMS_HZ for shift in shifts])
        units = [model.columns(theta[None])[1][0] for theta in self.theta]  # one by one: bounds the memory
        self.gram = np.array([unit @ unit.T for unit in units])
        self.conj = np.concatenate([unit.view(complex).conj() for unit in units]).T

    def start(self, x) -> np.ndarray:
        """theta (V, 4) of the best grid point for observed spectra x (V, 2 n_points)."""
        h = (np.ascontiguousarray(x).view(complex) @ self.conj).reshape(len(x), len(self.theta), -1)
        gh = np.linalg.solve(self.gram, h.transpose(1, 2, 0)).transpose(2, 0, 1)
        q = (h * gh).sum(-1)
        place = ((h.conj() * gh).sum(-1).real + np.abs(q)).argmax(1)
        rows, theta = np.arange(len(x)), self.theta[place]
        phase = np.angle(q[rows, place]) / 2
        total = (gh[rows, place] * np.exp(-1j * phase)[:, None]).real @ self.weight
        theta[:, 3] = phase + np.pi * (total < 0)
        return theta


def fit_chunk(model: SpectrumModel, spectra, start: np.ndarray | Grid, bounded: bool) -> SpectrumFit:
    """`SpectrumFit` of spectra (V, n_points) from theta (V, 4), or from the best of a grid."""
    x = np.ascontiguousarray(spectra, dtype=complex).view(float) / np.sqrt(len(model.t))
    unit = np.linalg.norm(x, axis=-1)
    unit[unit == 0] = 1.0
    x = x / unit[:, None]
    m = len(model.basis.names)
    freedom = x.shape[1] - m - 4

    def propose(rows, theta, state, damping):
        step, gain = _step(model, state, theta, damping, bounded)
        done = gain < TOLERANCE * np.maximum(state.cost / freedom, 1e-18)
        return np.clip(theta + step, model.low, model.high), done

    theta, state, converged = levenberg_marquardt(
        start.start(x) if isinstance(start, Grid) else start,
        lambda rows, theta: model.evaluate(x[rows], theta, bounded),
        propose,
        MAX_ITERATIONS,
        most_damping=1e6,
    )
    sigma = np.sqrt(state.cost / freedom)
    phase = np.angle(np.exp(1j * theta[:, 3]))
    columns = (theta[:, 0], theta[:, 1], np.sqrt(theta[:, 2]), phase, sigma * unit)
    crlb = standard_deviations(state.normal, sigma)[:, :m]
    return SpectrumFit(state.amplitudes * unit[:, None], crlb * unit[:, None], *columns, converged)


def _step(model, state, now, damping, bounded):
    """Levenberg-Marquardt step (V, 4) in theta and the decrease of the cost that it predicts."""
    normal, gradient = state.normal, state.gradient
    m = normal.shape[1] - 4
    pull = gradient[:, m:]
    held = ((now <= model.low) & (pull < 0)) | ((now >= model.high) & (pull > 0))
    zero = (state.amplitudes <= 0) & bounded
    fixed = np.concatenate([zero, held], axis=1)
    scale = np.sqrt(np.einsum("vii->vi", normal))
    scale[scale == 0] = 1.0
    normal, gradient = normal / (scale[:, :, None] * scale[:, None, :]), gradient / scale
    normal[fixed[:, :, None] | fixed[:, None, :]] = 0.0
    gradient[fixed] = 0.0
    diagonal = np.einsum("vii->vi", normal)
    diagonal[fixed] = 1.0
    diagonal[:, m:] *= 1 + damping[:, None]
    diagonal += 1e-13
    solution = np.linalg.solve(normal, gradient[..., None])[..., 0]
    return (solution / scale)[:, m:], (solution * gradient).sum(-1)


def fit_spectra(
    spectra,
    basis: BasisSet,
    points=slice(None),
    non_negative=False,
    max_shift_hz=10.0,
    n_jobs=-1,
    upright=None,
    near: SpectrumFit | None = None,
) -> SpectrumFit:
    """Fit spectra (V, n_points): `points` of the unshifted FFT, such as `brain.WINDOW`.

    `non_negative` bounds every amplitude by zero, `max_shift_hz` is the half width of the search for the common shift.
    The sum of the signals `upright` is positive, which decides between two phases 180 degrees apart: all by default;
    with signals of any sign in the basis, such as a baseline, name the metabolites. `near` is a fit of the same spectra
    to start from, such as one with other bounds. Raises `InputError` for spectra of another length or not finite, and
    for a signal that the basis does not have.
    """
    spectra = np.atleast_2d(spectra)
    model = SpectrumModel(basis, points)
    if spectra.shape[-1] != model.n_points:
        counts = f"The spectra have {spectra.shape[-1]} points and the basis {model.n_points} there"
        raise InputError(f"{counts}; say which points of the FFT they hold.")
    if not np.isfinite(spectra).all():
        raise InputError("The spectra hold values that are not finite; take those spectra out.")
    if near is None:
        start = Grid(model, max_shift_hz, upright)
    else:
        start = np.column_stack([near.shift_hz, near.broadening_hz, near.shim_hz**2, near.phase_rad])
    chunks = [slice(i, i + CHUNK) for i in range(0, len(spectra), CHUNK)]
    parts = Parallel(n_jobs=n_jobs if len(chunks) > 1 else 1, prefer="threads")(
        delayed(fit_chunk)(model, spectra[k], start if near is None else start[k], non_negative) for k in chunks
    )
    return SpectrumFit(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(SpectrumFit)))
