"""Levenberg-Marquardt: the loop of every fit, and the fit of all parameters of a signal model from a start nearby.

All rows of a batch advance together, each with a damping of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from precise_lib.signal.information import prior
from precise_lib.signal.model import SignalModel
from precise_lib.signal.parts import GAUSSIAN

ROUNDING = 1e-13  # a cost that rises by this share of itself has not risen
CHUNK = 256  # FIDs that advance together
CACHED = 16  # FIDs whose lines fit into a processor's cache
GAIN = 1e-2  # of chi-square: the last step gains that, the next ones, by their quadratic convergence, far less
LEAST_LEFT = 1e-15  # of the energy of a FID: below is rounding
MAX_OFFSET_HZ = 20.0  # of lipids


def levenberg_marquardt(
    theta,
    evaluate: Callable,
    propose: Callable,
    max_iterations: int,
    most_damping: float = 1e8,
    least_gain: float = 0.0,
) -> tuple[np.ndarray, object, np.ndarray]:
    """Minimize a cost from a start (V, P); returns theta (V, P), the state there, and converged (V,) bool.

    ``evaluate(rows (v,), theta (v, P))`` gives the state of these rows: an object whose attributes are arrays (v, ...),
    made by its class from them as keywords, `cost` (v,) among them. ``propose(rows, theta, state, damping (v,))`` gives
    a trial theta, and whether it is the last one (v,) where the cost does not rise. A row whose damping has grown to
    `most_damping` is given up; one whose cost moves by less than `least_gain` in a step of little damping has arrived.
    """
    theta, rows = np.array(theta, float), np.arange(len(theta))
    state, damping, converged = evaluate(rows, theta), np.full(len(theta), 1e-3), np.zeros(len(theta), bool)
    for _ in range(max_iterations):
        rows = np.flatnonzero(~converged & (damping < most_damping))
        if not len(rows):
            break
        now = type(state)(**{name: values[rows] for name, values in vars(state).items()})
        trial, last = propose(rows, theta[rows], now, damping[rows])
        new = evaluate(rows, trial)
        better = new.cost <= now.cost * (1 + np.copysign(ROUNDING, now.cost))
        kept = rows[better]
        theta[kept] = trial[better]
        for name, values in vars(state).items():
            values[kept] = getattr(new, name)[better]
        now_damping = damping[rows]
        damping[rows] = np.where(better, damping[rows] / 10, damping[rows] * 10)
        arrived = (np.abs(now.cost - new.cost) < least_gain) & (now_damping < 1)
        converged[rows] = (better & last) | arrived
    return theta, state, converged


class _Terms:
    """Lines of a model with terms beyond Eq. 2 at parameters (V, M + P), and moments of them: no Jacobian is formed.

    Each slope of the FID is ``f exp(i phi) sum_k S_k a_k t^p e_k`` with a factor f, a power p and a selection S of the
    unit lines e, so the Fisher matrix is made of ``sum_t t^p e_k conj(e_l)``, small blocks.
    """

    def __init__(self, model: SignalModel):
        self.basis, self.t, self.voigt = model.basis().T, model.acquisition.time_s, model.lineshape == "voigt"
        single = np.array([not r.lines for r in model.resonances])
        self.several = np.flatnonzero(~single)  # the others are exponentials
        self.rates = np.where(single, 2j * np.pi * model.frequencies_hz - 1 / model.t2star_s, 0)
        self.m, names, lines = len(self.basis), model.common, np.arange(len(model.names))
        self.dwell, self.names = model.acquisition.dwell_time_s, names
        every, slope = np.ones(self.m), {}
        slope["shift_hz"], slope["broadening_hz"] = (2j * np.pi, every), (-np.pi, every)
        slope["offset_hz"] = 2j * np.pi, 1.0 * model.of_role("lipid")
        slope |= {name: (rate, 1.0 * (lines == k)) for name, (k, rate, _) in model.own.items()}
        first = [name for name in names if name in slope]  # those of power one
        self.first = [self.m + names.index(name) for name in first]
        self.phase = self.m + names.index("phase_rad")
        self.gaussian = self.m + names.index("gaussian_hz") if self.voigt else None
        self.selected = np.array(
            [slope[name][0] * slope[name][1] for name in first]
        )  # (P1, M), also rates by parameter
        self.precision = np.diag(prior(model))

    def lines(self, p) -> np.ndarray:
        """Unit lines (V, M, t) without the phase; an exponential is a product of two short ones."""
        rates = (p[:, self.first] @ self.selected + self.rates)[..., None]
        n = int(np.ceil(np.sqrt(len(self.t))))
        inner, outer = np.exp(rates * self.dwell * np.arange(n)), np.exp(rates * self.t[::n])
        out = (outer[..., None] * inner[..., None, :]).reshape(*rates.shape[:2], -1)[..., : len(self.t)]
        if self.voigt:
            decay = np.exp(-GAUSSIAN * p[:, self.gaussian, None] * self.t**2)
            out = np.ascontiguousarray(out)
            out.view(float)[:] *= np.repeat(decay, 2, axis=1)[:, None]
        for k in self.several:
            out[:, k] *= self.basis[k]
        return out

    def moments(self, x, p):
        """``sum_t t^p e_k conj(e_l)`` (V, 3, M, M), at p = 3, 4 with the signal for e_l (V, 2, M), with x (V, 3, M)."""
        e, m = self.lines(p), self.m
        others = np.empty((len(p), 3 * m + 5, len(self.t)), complex)
        # real and imaginary parts side by side: complex numbers times real ones take twice as long
        parts, t = others.view(float), np.repeat(self.t, 2)
        np.conj(e, out=others[:, :m])
        np.multiply(parts[:, :m], t, out=parts[:, m : 2 * m])
        np.multiply(parts[:, m : 2 * m], t, out=parts[:, 2 * m : 3 * m])
        signal = np.einsum("vm,vmt->vt", p[:, :m], parts[:, 2 * m : 3 * m])
        parts[:, 3 * m] = signal * t
        parts[:, 3 * m + 1] = parts[:, 3 * m] * t
        others[:, 3 * m + 2] = x.conj()
        parts[:, 3 * m + 3] = parts[:, 3 * m + 2] * t
        parts[:, 3 * m + 4] = parts[:, 3 * m + 3] * t
        found = e @ others.swapaxes(1, 2)
        gram = found[..., : 3 * m].reshape(len(p), m, 3, m).swapaxes(1, 2)
        return gram, found[..., 3 * m : 3 * m + 2].swapaxes(1, 2), found[..., 3 * m + 2 :].swapaxes(1, 2)

    def slopes(self, p) -> list[tuple[list[int], np.ndarray]]:
        """For t to the power 0, 1, 2: which parameters, and their weights (V, K, M) of the lines."""
        a = p[:, None, : self.m]
        unit = np.broadcast_to(np.eye(self.m, dtype=complex), (len(p), self.m, self.m))
        found = [([*range(self.m), self.phase], np.concatenate([unit, 1j * a], 1)), (self.first, self.selected * a)]
        return found + ([([self.gaussian], -GAUSSIAN * a)] if self.voigt else [])

    def normal(self, p, gram, late, with_x):
        """Fisher matrices (V, K, K) for unit noise, and half the slope of the energy left (V, K), downwards."""
        normal, gradient = np.zeros((*p.shape, p.shape[1])), np.zeros(p.shape)
        slopes, a, turn = self.slopes(p), p[:, : self.m], np.exp(1j * p[:, self.phase])[:, None]
        explained = [(gram[:, q] @ a[..., None])[..., 0] for q in range(3)]
        for q, (at, weights) in enumerate(slopes):
            seen = turn * with_x[:, q] - explained[q]
            gradient[:, at] = (weights @ seen[..., None])[..., 0].real
            for r, (with_, others) in enumerate(slopes[: q + 1]):
                if q + r < 3:
                    block = (weights @ gram[:, q + r] @ others.conj().swapaxes(1, 2)).real
                else:  # the Gaussian width, whose slope is that of the whole signal
                    block = (others @ late[:, q + r - 3, :, None]).real.swapaxes(1, 2) * -GAUSSIAN
                normal[np.ix_(range(len(p)), at, with_)] = block
                normal[np.ix_(range(len(p)), with_, at)] = block.swapaxes(1, 2)
        return normal, gradient


def refine(x, model: SignalModel, start, limits: dict, max_iterations=40, tolerance=1e-3):
    """Fit of all parameters of a model beyond Eq. 2: (V, M + P) as in `jacobian`, residual energy (V,), converged (V,).

    `x` (V, t) are complex128 of norm one, `start` is near, with the Gaussian width by its square, Hz^2; `limits`:
    (low, high) by name. A parameter at the end of its range is held for a step beyond it. The noise level is unknown
    too, so the cost is ``2 N log(energy left)`` plus the squares of what priors know, over their variance. A FID has
    converged when its amplitudes move by less than `tolerance` of the largest, or chi-square by less than `GAIN`.
    """
    m, names, terms = len(model.names), model.common, _Terms(model)
    energy, samples, known = (np.abs(x) ** 2).sum(-1), 2 * x.shape[1], terms.precision
    limits = limits | {"gaussian_hz": (0, np.inf), "offset_hz": (-MAX_OFFSET_HZ, MAX_OFFSET_HZ)}
    free = (-np.inf, np.inf)
    low, high = np.array([free] * m + [limits.get(name, free) for name in names]).T

    def evaluate(rows, p):
        parts = [slice(i, i + CACHED) for i in range(0, len(p), CACHED)] or [slice(0)]
        gram, late, with_x = (
            np.concatenate(v) for v in zip(*(terms.moments(x[rows[i]], p[i]) for i in parts), strict=True)
        )
        a, turn = p[:, :m], np.exp(1j * p[:, terms.phase])
        seen = 2 * (turn * (a * with_x[:, 0]).sum(-1)).real - np.einsum("vk,vkl,vl->v", a, gram[:, 0].real, a)
        left = np.maximum(energy[rows] - seen, LEAST_LEFT)
        return SimpleNamespace(
            cost=samples * np.log(left) + p**2 @ known, left=left, gram=gram, late=late, with_x=with_x
        )

    def propose(rows, p, state, damping):
        normal, gradient = terms.normal(p, state.gram, state.late, state.with_x)
        weight = state.left[:, None] / samples * known  # of the priors, in units of the data's
        np.einsum("vaa->va", normal)[:] += weight
        gradient -= weight * p
        scale = np.sqrt(np.einsum("vaa->va", normal)).clip(1e-12)
        normal, gradient = normal / (scale[:, :, None] * scale[:, None]), gradient / scale
        np.einsum("vaa->va", normal)[:] += damping[:, None] + 1e-10
        step = np.linalg.solve(normal, gradient[..., None])[..., 0]
        held = ((p <= low) & (step < 0)) | ((p >= high) & (step > 0))
        if held.any():  # the others as if these were known
            normal = np.where(held[:, :, None] | held[:, None], np.eye(len(low)), normal)
            step = np.linalg.solve(normal, np.where(held, 0, gradient)[..., None])[..., 0]
        trial = np.clip(p + step / scale, low, high)
        moved = np.abs(trial - p)[:, :m].max(1)
        return trial, (moved < tolerance * np.abs(trial[:, :m]).max(1)) & (damping / 10 < 1)

    theta, state, converged = levenberg_marquardt(
        np.clip(start, low, high), evaluate, propose, max_iterations, least_gain=GAIN
    )
    return theta, state.left, converged
