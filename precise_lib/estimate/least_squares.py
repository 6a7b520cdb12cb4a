"""Levenberg-Marquardt: the loop of every fit, and the fit of all parameters of a signal model from a start nearby.

All rows of a batch advance together, each with a damping of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from precise_lib.signal.information import fisher, jacobian
from precise_lib.signal.model import SignalModel

ROUNDING = 1e-13  # a cost that rises by this share of itself has not risen
CHUNK = 256  # Jacobians together: bounds the memory at about 50 MB
MAX_OFFSET_HZ = 20.0  # of lipids


def levenberg_marquardt(
    theta, evaluate: Callable, propose: Callable, max_iterations: int, most_damping: float = 1e8
) -> tuple[np.ndarray, object, np.ndarray]:
    """Minimize a cost from a start (V, P); returns theta (V, P), the state there, and converged (V,) bool.

    ``evaluate(rows (v,), theta (v, P))`` gives the state of these rows: an object whose attributes are arrays (v, ...),
    made by its class from them as keywords, `cost` (v,) among them. ``propose(rows, theta, state, damping (v,))`` gives
    a trial theta, and whether it is the last one (v,) where the cost does not rise. A row whose damping has grown to
    `most_damping` is given up.
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
        damping[rows] = np.where(better, damping[rows] / 10, damping[rows] * 10)
        converged[rows] = better & last
    return theta, state, converged


def refine(x, model: SignalModel, start, limits: dict, max_iterations=40, tolerance=1e-3):
    """Fit of all parameters of a model beyond Eq. 2: (V, M + P) as in `jacobian`, residual energy (V,), converged (V,).

    `x` (V, t) are complex128, `start` is from the fit of Eq. 2, with the Gaussian width by its square, Hz^2; `limits`:
    (low, high) of shift_hz and broadening_hz. A parameter at the end of its range is held for a step beyond it. A FID
    has converged when its amplitudes move by less than `tolerance` of the largest.
    """
    m, names = len(model.names), model.common
    limits = limits | {"gaussian_hz": (0, np.inf), "offset_hz": (-MAX_OFFSET_HZ, MAX_OFFSET_HZ)}
    free = (-np.inf, np.inf)
    low, high = np.array([free] * m + [limits.get(name, free) for name in names]).T

    def shared(p):
        values = dict(zip(names, p[:, m:].T, strict=True))
        return values | ({"gaussian_hz": np.sqrt(values["gaussian_hz"])} if "gaussian_hz" in values else {})

    def evaluate(rows, p):
        return SimpleNamespace(cost=(np.abs(x[rows] - model.fids(p[:, :m], **shared(p))) ** 2).sum(-1))

    def propose(rows, p, state, damping):
        j = jacobian(model, p[:, :m], **shared(p))
        residual = x[rows] - np.einsum("vm,vmt->vt", p[:, :m], j[:, :m])
        normal, gradient = fisher(j), np.einsum("vat,vt->va", j.conj(), residual).real
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

    theta, state, converged = levenberg_marquardt(np.clip(start, low, high), evaluate, propose, max_iterations)
    return theta, state.cost, converged
