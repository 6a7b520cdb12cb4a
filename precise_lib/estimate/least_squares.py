"""Levenberg-Marquardt: the loop of every fit, and the fit of all parameters of a signal model from a start nearby.

All rows of a batch advance together, each with a damping of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations_with_replacement
from types import SimpleNamespace

import numpy as np

from precise_lib.signal.information import prior
from precise_lib.signal.model import SignalModel
from precise_lib.signal.parts import GAUSSIAN, exponentials

ROUNDING = 1e-13  # a cost that rises by this share of itself has not risen
CHUNK = 256  # FIDs that advance together
CACHED = 64  # FIDs whose lines fit into a processor's cache
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
    """Moments of the lines of a model with terms beyond Eq. 2, at parameters (V, M + P): no Jacobian is formed.

    Each slope of the FID is ``f exp(i phi) sum_k S_k a_k t^p e_k`` with a factor f, a power p and a selection S of the
    unit lines e, so the Fisher matrix is made of ``sum_t t^p e_k conj(e_l)``, small blocks. Lines that move and widen
    together are a group: their products times powers of t are fixed, and only the factor of two groups is a FID's own.
    So all moments are products of two large matrices.
    """

    def __init__(self, model: SignalModel):
        self.acquisition, self.voigt, names = model.acquisition, model.lineshape == "voigt", model.common
        self.m, self.names, lines, basis = len(model.names), names, np.arange(len(model.names)), model.basis()
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
        _, group = np.unique(self.selected, axis=1, return_inverse=True)
        self.groups = [np.flatnonzero(group.ravel() == g) for g in range(group.max() + 1)]
        powers = model.acquisition.time_s[:, None, None] ** np.arange(5 if self.voigt else 3)[:, None]
        self.powers = powers.shape[1]
        self.with_data = [(powers[:, :3] * basis[:, None, g]).reshape(len(basis), -1) for g in self.groups]
        self.pairs = []  # two groups, their lines k and n, and t^p e_k conj(e_n)
        for i, j in combinations_with_replacement(range(len(self.groups)), 2):
            k, n = (x.ravel() for x in np.meshgrid(self.groups[i], self.groups[j], indexing="ij"))
            k, n = (k[k <= n], n[k <= n]) if i == j else (k, n)
            products = powers * (basis[:, k] * basis[:, n].conj())[:, None]
            self.pairs.append((i, j, k, n, products.reshape(len(basis), -1)))

    def moments(self, back, p):
        """``sum_t t^p e_k conj(e_l)`` (V, 3 or 5, M, M), with x for e_l (V, 3, M); `back` is conj(x)."""
        m, rates = self.m, p[:, self.first] @ self.selected
        rates = [rates[:, g[0]] for g in self.groups]
        factors = [exponentials(rate, self.acquisition) for rate in rates]
        if self.voigt:
            decay = np.exp(-GAUSSIAN * p[:, self.gaussian, None] * self.acquisition.time_s**2)
            twice, squared = np.repeat(decay, 2, axis=1), decay**2
            for factor in factors:  # real times real: complex numbers times real ones take twice as long
                factor.view(float)[:] *= twice
        gram, with_x = np.empty((len(p), self.powers, m, m), complex), np.empty((len(p), 3, m), complex)
        for g, factor, lines in zip(self.groups, factors, self.with_data, strict=True):
            with_x[:, :, g] = ((factor * back) @ lines).reshape(len(p), 3, -1)
        conjugate = [factor.conj() for factor in factors]
        for i, j, k, n, products in self.pairs:
            if i == j:
                factor = exponentials(2 * rates[i].real, self.acquisition)
                factor = factor * squared if self.voigt else factor
                found = (factor @ products.view(float)).view(complex)
            else:
                found = (factors[i] * conjugate[j]) @ products
            found = found.reshape(len(p), self.powers, -1)
            gram[:, :, n, k] = found.conj()
            gram[:, :, k, n] = found
        return gram, with_x

    def slopes(self, p) -> list[tuple[list[int], np.ndarray]]:
        """For t to the power 0, 1, 2: which parameters, and their weights (V, K, M) of the lines."""
        a = p[:, None, : self.m]
        unit = np.broadcast_to(np.eye(self.m, dtype=complex), (len(p), self.m, self.m))
        found = [([*range(self.m), self.phase], np.concatenate([unit, 1j * a], 1)), (self.first, self.selected * a)]
        return found + ([([self.gaussian], -GAUSSIAN * a)] if self.voigt else [])

    def normal(self, p, gram, with_x):
        """Fisher matrices (V, K, K) for unit noise, and half the slope of the energy left (V, K), downwards."""
        normal, gradient = np.empty((*p.shape, p.shape[1])), np.empty(p.shape)
        slopes, a, turn = self.slopes(p), p[:, : self.m], np.exp(1j * p[:, self.phase])[:, None]
        ends = np.cumsum([weights.shape[1] for _, weights in slopes])
        part = [slice(end - weights.shape[1], end) for end, (_, weights) in zip(ends, slopes, strict=True)]
        for q, (_, weights) in enumerate(slopes):
            seen = turn * with_x[:, q] - (gram[:, q] @ a[..., None])[..., 0]
            gradient[:, part[q]] = (weights @ seen[..., None])[..., 0].real
            for r, (_, others) in enumerate(slopes[: q + 1]):
                block = (weights @ gram[:, q + r] @ others.conj().swapaxes(1, 2)).real
                normal[:, part[q], part[r]] = block
                normal[:, part[r], part[q]] = block.swapaxes(1, 2)
        order = np.argsort(np.concatenate([at for at, _ in slopes]))
        return normal[:, order[:, None], order], gradient[:, order]


def refine(x, model: SignalModel, start, limits: dict, max_iterations=40, tolerance=1e-3):
    """Fit of all parameters of a model beyond Eq. 2: (V, M + P) as in `jacobian`, residual energy (V,), converged (V,).

    `x` (V, t) are complex128 of norm one, `start` is near, with the Gaussian width by its square, Hz^2; `limits`:
    (low, high) by name. A parameter at the end of its range is held for a step beyond it. The noise level is unknown
    too, so the cost is ``2 N log(energy left)`` plus the squares of what priors know, over their variance. A FID has
    converged when its amplitudes move by less than `tolerance` of the largest, or chi-square by less than `GAIN`.
    """
    m, names, terms = len(model.names), model.common, _Terms(model)
    back, energy, samples, known = x.conj(), (np.abs(x) ** 2).sum(-1), 2 * x.shape[1], terms.precision
    limits = limits | {"gaussian_hz": (0, np.inf), "offset_hz": (-MAX_OFFSET_HZ, MAX_OFFSET_HZ)}
    free = (-np.inf, np.inf)
    low, high = np.array([free] * m + [limits.get(name, free) for name in names]).T

    def evaluate(rows, p):
        parts = [slice(i, i + CACHED) for i in range(0, len(p), CACHED)] or [slice(0)]
        gram, with_x = (
            np.concatenate(v) for v in zip(*(terms.moments(back[rows[i]], p[i]) for i in parts), strict=True)
        )
        a, turn = p[:, :m], np.exp(1j * p[:, terms.phase])
        seen = 2 * (turn * (a * with_x[:, 0]).sum(-1)).real - np.einsum("vk,vkl,vl->v", a, gram[:, 0].real, a)
        left = np.maximum(energy[rows] - seen, LEAST_LEFT)
        return SimpleNamespace(cost=samples * np.log(left) + p**2 @ known, left=left, gram=gram, with_x=with_x)

    def propose(rows, p, state, damping):
        normal, gradient = terms.normal(p, state.gram, state.with_x)
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
