r"""Maximum-likelihood fit of Eq. 2: real amplitudes, one shift, one broadening, one phase per FID.

Variable projection (theory, "The fit"). The search for shift and broadening starts from a grid and ends with
Levenberg-Marquardt steps on the full normal equations, whose entries are moments ``sum_t t^p conj(e_k) e_l`` and
``sum_t t^p conj(e_k) x`` of the unit lines e: no Jacobian is formed. All voxels advance together. Signal models with a
Gaussian width or lipids are refined from there, see `least_squares.refine`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
from joblib import Parallel, delayed

from precise_lib.estimate import least_squares
from precise_lib.signal.information import LineMoments
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import MRSI
from precise_lib.signal.parts import exponentials

CHUNK = 1024  # voxels that advance together: bounds the memory at about 30 MB per thread


@dataclass(frozen=True)
class FitResult:
    """One row per FID: amplitudes (V, M), shift_hz, broadening_hz, phase_rad, sigma (V,), converged (V,) bool.

    `sigma` is the SD of the residual per real channel, corrected for the parameters fitted. `more` (V, P) are values of
    what else the model has, in the order of `SignalModel.common` after the first three.
    """

    amplitudes: np.ndarray
    shift_hz: np.ndarray
    broadening_hz: np.ndarray
    phase_rad: np.ndarray
    sigma: np.ndarray
    converged: np.ndarray
    more: np.ndarray

    def nuisance(self, model: SignalModel) -> dict[str, np.ndarray]:
        """Everything but the amplitudes, (V,) each, by the names that `SignalModel.fids` takes."""
        first = (self.shift_hz, self.broadening_hz, self.phase_rad)
        return dict(zip(model.common, (*first, *self.more.T), strict=True))


def default_max_shift_hz(model: SignalModel) -> float:
    """Half the smallest line spacing: beyond it one line could be taken for its neighbor. One line: 0.5 ppm."""
    spacing = np.diff(np.sort(model.frequencies_hz[model.of_role("metabolite")]))
    return spacing.min() / 2 if len(spacing) else 0.5 * model.acquisition.spectrometer_frequency_mhz


@dataclass
class _State:
    """Best amplitudes (V, M) and phase (V,) at a shift and broadening, and the moments that they come from."""

    cost: np.ndarray
    amplitudes: np.ndarray
    phase: np.ndarray
    gram: np.ndarray
    h: np.ndarray


class _Problem:
    """The moments of one signal model, computed once; theta (V, 2) are shift and broadening."""

    def __init__(self, model: SignalModel, max_shift_hz: float | None, tolerance: float):
        self.t, self.model, self.tolerance = model.acquisition.time_s, model, tolerance
        self.moments, self.water = LineMoments(model), model.divisor
        self.conj_basis = model.basis().conj()
        self.conj_basis_t = np.hstack([self.conj_basis, self.t[:, None] * self.conj_basis])
        self.scale_hz = 1 / (np.pi * model.lifetime_s.max())
        self.max_shift = default_max_shift_hz(model) if max_shift_hz is None else max_shift_hz
        # widths from nearly undamped to ten linewidths
        self.low = np.array([-1.5 * self.max_shift, -0.9 * self.scale_hz])
        self.high = np.array([1.5 * self.max_shift, 10 / (np.pi * model.t2star_s.min())])
        n_shift = int(np.ceil(2 * self.max_shift / (0.3 * self.scale_hz))) + 1
        self.shift_grid = np.linspace(-self.max_shift, self.max_shift, n_shift)
        self.broad_grid = self.scale_hz * np.array([-0.4, 0.0, 0.8, 2.0, 4.0])

    def correlations(self, x, shift, broadening):
        """(V, 2, M): sum_t t^p conj(e_k) x, p = 0, 1."""
        demodulated = x * exponentials(-2j * np.pi * shift - np.pi * broadening, self.model.acquisition)
        return (demodulated @ self.conj_basis_t).reshape(len(x), 2, self.moments.m)

    def start(self, x):
        """theta of the best grid point."""
        best, theta, s = np.full(len(x), -np.inf), np.zeros((len(x), 2)), self.shift_grid
        x32 = x.astype(np.complex64)
        for b in self.broad_grid:
            g_inv = np.linalg.inv(self.moments.gram(np.array([b]))[0, 0].real).astype(np.float32)
            back = exponentials(-2j * np.pi * s - np.pi * b, self.model.acquisition)
            templates = (back.T[:, :, None] * self.conj_basis[:, None]).astype(np.complex64)
            h = (x32 @ templates.reshape(len(back.T), -1)).reshape(len(x), len(s), -1)
            gh = h @ g_inv
            score = (h.conj() * gh).sum(-1).real + np.abs((h * gh).sum(-1))
            place = score.argmax(1)
            highest = score[np.arange(len(x)), place]
            better = highest > best
            best[better], theta[better] = highest[better], np.column_stack([s[place], np.full(len(x), b)])[better]
        return theta

    def evaluate(self, x, theta) -> _State:
        """The state of FIDs (V, t); its cost is minus the energy explained."""
        gram, moments = self.moments.gram(theta[:, 1]), self.correlations(x, *theta.T)
        h = moments[:, 0]
        gh = np.linalg.solve(gram[:, 0].real, h[..., None])[..., 0]
        q = (h * gh).sum(-1)
        phase = np.angle(q) / 2
        explained = 0.5 * ((h.conj() * gh).sum(-1).real + np.abs(q))
        return _State(-explained, (gh * np.exp(-1j * phase)[:, None]).real, phase, gram, moments)

    def propose(self, theta, state: _State, damping):
        """Trial theta from the normal equations of all parameters, and whether the step to it is a small one."""
        a, m = state.amplitudes, self.moments.m
        normal = self.moments.fisher(state.gram, a)
        h = state.h * np.exp(-1j * state.phase)[:, None, None]
        ah = np.einsum("vpk,vk->vp", h, a)
        seen = [h[:, 0].real, 2 * np.pi * ah[:, [1]].imag, -np.pi * ah[:, [1]].real, ah[:, [0]].imag]
        gradient = np.hstack(seen) - np.einsum("vkm,vm->vk", normal[:, :, :m], a)
        diagonal = np.einsum("vii->vi", normal)
        diagonal[:, m:] *= 1 + damping[:, None]
        diagonal += 1e-12 * diagonal.max(-1, keepdims=True)
        step = np.linalg.solve(normal, gradient[..., None])[:, m : m + 2, 0]
        trial = np.clip(theta + step, self.low, self.high)
        return trial, np.abs(trial - theta).max(1) < self.tolerance * self.scale_hz

    def fit(self, x, max_iterations):
        """`FitResult` of FIDs (V, t) complex128."""
        # every FID in units of its own norm: data may come in any unit, single precision and guards may not care
        unit = np.linalg.norm(x, axis=-1)
        unit[unit == 0] = 1.0
        x, start, m = x / unit[:, None], self.start(x), self.moments.m
        if len(self.model.common) > 3:
            theta, left, converged = self.with_terms(x, start)
        else:
            theta, left, converged = self.of_eq2(x, start, max_iterations)
        amplitudes, phase = theta[:, :m], theta[:, m + 2]
        main = np.abs(amplitudes).argmax(1) if self.water is None else self.water
        flip = amplitudes[np.arange(len(x)), main] < 0
        amplitudes[flip] *= -1
        phase = np.angle(np.exp(1j * (phase + np.pi * flip)))
        sigma = np.sqrt(np.maximum(left, 0) / max(2 * x.shape[1] - theta.shape[1], 1))
        more = theta[:, m + 3 :]
        more = np.where(np.array(self.model.common[3:]) == "gaussian_hz", np.sqrt(np.maximum(more, 0)), more)
        return FitResult(amplitudes * unit[:, None], theta[:, m], theta[:, m + 1], phase, sigma * unit, converged, more)

    def of_eq2(self, x, start, max_iterations):
        """Parameters (V, M + 3) of Eq. 2, energy left (V,), converged (V,)."""
        theta, state, converged = least_squares.levenberg_marquardt(
            start,
            lambda rows, theta: self.evaluate(x[rows], theta),
            lambda rows, *where: self.propose(*where),
            max_iterations,
        )
        # a solution on the edge of the search range is the range's answer, not the data's
        converged &= ((theta > self.low) & (theta < self.high)).all(1)
        return np.column_stack([state.amplitudes, theta, state.phase]), (np.abs(x) ** 2).sum(-1) + state.cost, converged

    def with_terms(self, x, start):
        """The same of all parameters of the model, (V, M + P)."""
        state, more = self.evaluate(x, start), np.zeros((len(x), len(self.model.common) - 3))
        start = np.column_stack([state.amplitudes, start, state.phase, more])
        limits = {"shift_hz": (self.low[0], self.high[0]), "broadening_hz": (self.low[1], self.high[1])}
        parts = [slice(i, i + least_squares.CHUNK) for i in range(0, len(x), least_squares.CHUNK)]
        fits = [least_squares.refine(x[p], self.model, start[p], limits) for p in parts]
        return (np.concatenate(values) for values in zip(*fits, strict=True))


def fit_fids(fids, model: SignalModel, max_shift_hz=None, max_iterations=30, tolerance=1e-4, n_jobs=-1) -> FitResult:
    """Fit FIDs (V, t), complex and finite, under `model`, over shifts of +- `max_shift_hz` (`default_max_shift_hz`).

    A voxel has converged when its step is below the fraction `tolerance` of the narrowest line, unless it lies on the
    edge of the search range.

    Example
    -------
    >>> from precise_lib.signal.presets import dmi_11t7
    >>> model = dmi_11t7()
    >>> fit = fit_fids(model.fids([[1.0, 0.3, 0.6, 0.1]], shift_hz=5, phase_rad=1.0), model)
    >>> fit.amplitudes.round(6).tolist()
    [[1.0, 0.3, 0.6, 0.1]]
    """
    fids = np.atleast_2d(fids)
    if not len(fids):  # the shapes of a fit of one voxel
        one = fit_fids(model.fids(np.ones(len(model.names))), model)
        return FitResult(*(getattr(one, f.name)[:0] for f in fields(FitResult)))
    problem = _Problem(model, max_shift_hz, tolerance)
    chunks = [fids[i : i + CHUNK] for i in range(0, len(fids), CHUNK)]
    parts = Parallel(n_jobs=n_jobs if len(chunks) > 1 else 1, prefer="threads")(
        delayed(problem.fit)(chunk.astype(np.complex128), max_iterations) for chunk in chunks
    )
    return FitResult(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(FitResult)))


@dataclass(frozen=True)
class Fit:
    """Model fit of every voxel; callable `MRSI` -> DataArray (metabolite, x, y, z) in mM.

    Voxels that did not converge keep their last estimate; the maps' attribute ``not_converged`` counts them.
    """

    max_shift_hz: float | None = None
    name: str = "fit"
    efficient: ClassVar[bool] = True  # its SD is the bound, see the tests

    def fit(self, fids: np.ndarray, model: SignalModel) -> FitResult:
        """Everything that is fitted to FIDs (V, t)."""
        return fit_fids(fids, model, self.max_shift_hz)

    def amplitudes(self, fids: np.ndarray, model: SignalModel) -> np.ndarray:
        """Amplitudes (V, M) of FIDs (V, t)."""
        return self.fit(fids, model).amplitudes

    def __call__(self, data: MRSI):
        fit = self.fit(data.fids[data.usable], data.model)
        maps = data.map_usable(lambda fids: fit.amplitudes, self.name)
        return maps.assign_attrs(not_converged=int((~fit.converged).sum()))
