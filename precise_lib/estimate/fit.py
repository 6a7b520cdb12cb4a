r"""Maximum-likelihood fit of Eq. 2: real amplitudes, one shift, one broadening, one phase per FID.

With `E` the unit lines under a trial shift and broadening, ``h = E^H x`` and ``G = Re(E^H E)``, the best real
amplitudes and the best common phase have closed forms (variable projection): ``phi = angle(h^T G^-1 h) / 2`` and
``a = G^-1 Re(exp(-i phi) h)``. What remains is a search in two unknowns. It starts from a grid, so no initial guess
can go wrong, and is finished by Levenberg-Marquardt steps on the full normal equations, whose entries are moments
``sum_t t^p conj(e_k) e_l`` and ``sum_t t^p conj(e_k) x``: nothing of the size of a Jacobian is ever formed.
All voxels advance together.

Signal models with a Gaussian width or lipids go on from there, see `fit_terms`.

Theory says the estimate attains the Cramer-Rao bound and is unbiased once the noise is small against the signal;
the tests hold it to that.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
from joblib import Parallel, delayed

from precise_lib.estimate.fit_terms import CHUNK as CHUNK_TERMS
from precise_lib.estimate.fit_terms import refine
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import MRSI

CHUNK = 1024  # voxels that advance together: bounds the memory at about 30 MB per thread


@dataclass(frozen=True)
class FitResult:
    """One row per FID: amplitudes (V, M), shift_hz, broadening_hz, phase_rad, sigma (V,), converged (V,) bool.

    `sigma` is the SD of the residual per real channel, corrected for the parameters fitted.
    """

    amplitudes: np.ndarray
    shift_hz: np.ndarray
    broadening_hz: np.ndarray
    phase_rad: np.ndarray
    sigma: np.ndarray
    converged: np.ndarray


def default_max_shift_hz(model: SignalModel) -> float:
    """Half the smallest line spacing: beyond it one line could be taken for its neighbor. One line: 0.5 ppm."""
    spacing = np.diff(np.sort(model.frequencies_hz[model.of_role("metabolite")]))
    return spacing.min() / 2 if len(spacing) else 0.5 * model.acquisition.spectrometer_frequency_mhz


class _Problem:
    """The moments of one signal model, computed once."""

    def __init__(self, model: SignalModel, max_shift_hz: float | None):
        self.t = model.acquisition.time_s
        self.model, self.basis = model, model.basis()
        self.water = model.index(model.reference)
        m = self.basis.shape[1]
        self.conj_basis = self.basis.conj()
        self.conj_basis_t = np.hstack([self.conj_basis, self.t[:, None] * self.conj_basis])
        products = (self.conj_basis[:, :, None] * self.basis[:, None, :]).reshape(len(self.t), m * m)
        self.products = np.hstack([self.t[:, None] ** p * products for p in range(3)])
        fwhm = 1 / (np.pi * model.t2star_s)
        self.scale_hz = fwhm.min()
        self.max_shift = default_max_shift_hz(model) if max_shift_hz is None else max_shift_hz
        # from nearly undamped to ten linewidths
        self.broadening_range = (-0.9 * fwhm.min(), 10 * fwhm.max())
        n_shift = int(np.ceil(2 * self.max_shift / (0.3 * self.scale_hz))) + 1
        self.shift_grid = np.linspace(-self.max_shift, self.max_shift, n_shift)
        self.broad_grid = self.scale_hz * np.array([-0.4, 0.0, 0.8, 2.0, 4.0])

    def envelope(self, shift, broadening):
        return np.exp((2j * np.pi * shift - np.pi * broadening)[:, None] * self.t)

    def gram(self, broadening):
        """(V, 3, M, M): sum_t t^p conj(e_k) e_l under the broadening, p = 0, 1, 2."""
        m = self.basis.shape[1]
        squared = np.exp(-2 * np.pi * broadening[:, None] * self.t)
        return (squared @ self.products).reshape(-1, 3, m, m)

    def correlations(self, x, shift, broadening):
        """(V, 2, M): sum_t t^p conj(e_k) x, p = 0, 1."""
        demodulated = x * self.envelope(shift, broadening).conj()
        return (demodulated @ self.conj_basis_t).reshape(len(x), 2, self.basis.shape[1])

    @staticmethod
    def project(h, gram):
        """Best real amplitudes (V, M), phase (V,) and the signal energy they explain (V,)."""
        g = gram.real
        gh = np.linalg.solve(g, h[..., None])[..., 0]
        q = (h * gh).sum(-1)
        phase = np.angle(q) / 2
        explained = 0.5 * ((h.conj() * gh).sum(-1).real + np.abs(q))
        return (gh * np.exp(-1j * phase)[:, None]).real, phase, explained

    def start(self, x):
        """Shift and broadening (V,), (V,) of the best grid point."""
        best = np.full(len(x), -np.inf)
        shift, broadening = np.zeros(len(x)), np.zeros(len(x))
        x32 = x.astype(np.complex64)
        for b in self.broad_grid:
            g_inv = np.linalg.inv(self.gram(np.array([b]))[0, 0].real)
            for s in self.shift_grid:
                template = self.conj_basis * self.envelope(np.array([s]), np.array([b]))[0].conj()[:, None]
                h = x32 @ template.astype(np.complex64)
                gh = h @ g_inv.astype(np.float32)
                score = (h.conj() * gh).sum(-1).real + np.abs((h * gh).sum(-1))
                better = score > best
                best[better], shift[better], broadening[better] = score[better], s, b
        return shift, broadening

    def step(self, amplitudes, phase, h, gram, damping):
        """Levenberg-Marquardt step in (shift, broadening), from the normal equations of all parameters."""
        m = amplitudes.shape[1]
        h = h * np.exp(-1j * phase)[:, None, None]
        ca = np.einsum("vpkl,vl->vpk", gram, amplitudes)
        aca = np.einsum("vpk,vk->vp", ca, amplitudes).real
        ah = np.einsum("vpk,vk->vp", h, amplitudes)
        normal = np.zeros((len(h), m + 3, m + 3))
        normal[:, :m, :m] = gram[:, 0].real
        normal[:, :m, m] = -2 * np.pi * ca[:, 1].imag
        normal[:, :m, m + 1] = -np.pi * ca[:, 1].real
        normal[:, :m, m + 2] = -ca[:, 0].imag
        normal[:, m:, :m] = normal[:, :m, m:].swapaxes(1, 2)
        normal[:, m, m] = 4 * np.pi**2 * aca[:, 2]
        normal[:, m + 1, m + 1] = np.pi**2 * aca[:, 2]
        normal[:, m + 2, m + 2] = aca[:, 0]
        normal[:, m, m + 2] = normal[:, m + 2, m] = 2 * np.pi * aca[:, 1]
        gradient = np.zeros((len(h), m + 3))
        gradient[:, :m] = (h[:, 0] - ca[:, 0]).real
        gradient[:, m] = 2 * np.pi * ah[:, 1].imag
        gradient[:, m + 1] = -np.pi * (ah[:, 1].real - aca[:, 1])
        gradient[:, m + 2] = ah[:, 0].imag
        diagonal = np.einsum("vii->vi", normal)
        diagonal[:, m:] *= 1 + damping[:, None]
        diagonal += 1e-12 * diagonal.max(-1, keepdims=True)
        return np.linalg.solve(normal, gradient[..., None])[:, m : m + 2, 0].T

    def fit(self, x, max_iterations, tolerance):
        """`FitResult` of FIDs (V, t) complex128."""
        n = len(x)
        # every FID in units of its own norm: data may come in any unit, single precision and guards may not care
        unit = np.linalg.norm(x, axis=-1)
        unit[unit == 0] = 1.0
        x = x / unit[:, None]
        energy = (np.abs(x) ** 2).sum(-1)
        shift, broad = self.start(x)
        gram, h = self.gram(broad), self.correlations(x, shift, broad)
        amplitudes, phase, explained = self.project(h[:, 0], gram[:, 0])
        damping, converged = np.full(n, 1e-3), np.zeros(n, bool)
        active = np.arange(n)
        for _ in range(max_iterations):
            i = active
            ds, db = self.step(amplitudes[i], phase[i], h[i], gram[i], damping[i])
            s = np.clip(shift[i] + ds, -1.5 * self.max_shift, 1.5 * self.max_shift)
            b = np.clip(broad[i] + db, *self.broadening_range)
            new_gram, new_h = self.gram(b), self.correlations(x[i], s, b)
            a, p, e = self.project(new_h[:, 0], new_gram[:, 0])
            better = e >= explained[i] * (1 - 1e-13)
            small = np.maximum(np.abs(s - shift[i]), np.abs(b - broad[i])) < tolerance * self.scale_hz
            k = i[better]
            shift[k], broad[k], amplitudes[k], phase[k] = s[better], b[better], a[better], p[better]
            gram[k], h[k], explained[k] = new_gram[better], new_h[better], e[better]
            damping[i] = np.where(better, damping[i] / 10, damping[i] * 10)
            converged[i] |= better & small
            active = np.flatnonzero(~converged & (damping < 1e8))
            if not len(active):
                break
        # a solution on the edge of the search range is the range's answer, not the data's
        low, high = self.broadening_range
        converged &= (np.abs(shift) < 1.5 * self.max_shift) & (broad > low) & (broad < high)
        flip = amplitudes[:, self.water] < 0
        amplitudes[flip] *= -1
        phase = np.angle(np.exp(1j * (phase + np.pi * flip)))
        freedom = 2 * x.shape[1] - self.basis.shape[1] - 3
        sigma = np.sqrt(np.maximum(energy - explained, 0) / max(freedom, 1))
        result = FitResult(amplitudes * unit[:, None], shift, broad, phase, sigma * unit, converged)
        return self.with_terms(x * unit[:, None], result) if len(self.model.common) > 3 else result

    def with_terms(self, x, first: FitResult) -> FitResult:
        """The fit of all parameters of the model, from that of Eq. 2."""
        unit, m, more = np.linalg.norm(x, axis=-1), first.amplitudes.shape[1], len(self.model.common) - 3
        unit[unit == 0] = 1.0
        common = np.stack([first.shift_hz, first.broadening_hz, first.phase_rad, *np.zeros((more, len(x)))], 1)
        start = np.concatenate([first.amplitudes / unit[:, None], common], 1)
        limits = self.broadening_range, 1.5 * self.max_shift
        parts = [slice(i, i + CHUNK_TERMS) for i in range(0, len(x), CHUNK_TERMS)]
        fits = [refine(x[p] / unit[p, None], self.model, start[p], *limits) for p in parts]
        theta, left, converged = (np.concatenate(values) for values in zip(*fits, strict=True))
        sigma = np.sqrt(left / (2 * x.shape[1] - theta.shape[1])) * unit
        shift, broadening, phase = theta[:, m : m + 3].T
        return FitResult(theta[:, :m] * unit[:, None], shift, broadening, phase, sigma, converged)


def fit_fids(fids, model: SignalModel, max_shift_hz=None, max_iterations=30, tolerance=1e-4, n_jobs=-1) -> FitResult:
    """Fit FIDs (V, t) under `model`.

    Parameters
    ----------
    fids : (V, t) complex, finite
    max_shift_hz : half width of the search for the common shift; default `default_max_shift_hz`
    max_iterations : Levenberg-Marquardt steps at most; voxels that need more are flagged
    tolerance : a voxel has converged when its step is below this fraction of the narrowest line

    Returns
    -------
    `FitResult`; `converged` is False where the last step was not small or lay on the edge of the search range.

    Example
    -------
    >>> from precise_lib.signal.model import dmi_11t7
    >>> model = dmi_11t7()
    >>> fit = fit_fids(model.fids([[1.0, 0.3, 0.6, 0.1]], shift_hz=5, phase_rad=1.0), model)
    >>> fit.amplitudes.round(6).tolist()
    [[1.0, 0.3, 0.6, 0.1]]
    """
    fids = np.atleast_2d(fids)
    problem = _Problem(model, max_shift_hz)
    chunks = [fids[i : i + CHUNK] for i in range(0, len(fids), CHUNK)] or [fids]
    parts = Parallel(n_jobs=n_jobs if len(chunks) > 1 else 1, prefer="threads")(
        delayed(problem.fit)(chunk.astype(np.complex128), max_iterations, tolerance) for chunk in chunks
    )
    return FitResult(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(FitResult)))


@dataclass(frozen=True)
class Fit:
    """Model fit of every voxel; callable `MRSI` -> DataArray (metabolite, x, y, z) in mM.

    Voxels that did not converge keep their last estimate; the attribute ``not_converged`` of the maps counts them and
    `fit_fids` tells which they are.
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
        failed = 0

        def amplitudes(fids):
            nonlocal failed
            fit = self.fit(fids, data.model)
            failed = int((~fit.converged).sum())
            return fit.amplitudes

        maps = data.map_usable(amplitudes, self.name)
        maps.attrs["not_converged"] = failed
        return maps
