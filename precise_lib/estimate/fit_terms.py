"""Maximum-likelihood fit of signal models with terms beyond Eq. 2: Gaussian width, lipids at a frequency of their own.

From the fit of Eq. 2 (`fit`), with no Gaussian width and no offset, by Levenberg-Marquardt steps in all parameters. One
at the end of its range is held for a step that would leave it: above all the squared Gaussian width, at zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from precise_lib.estimate.least_squares import levenberg_marquardt
from precise_lib.signal.information import fisher, jacobian
from precise_lib.signal.model import SignalModel

CHUNK = 256  # Jacobians together: bounds the memory at about 50 MB
MAX_OFFSET_HZ = 20.0


@dataclass
class _State:
    cost: np.ndarray


def refine(x, model: SignalModel, start, limits: dict, max_iterations=40, tolerance=1e-3):
    """Parameters (V, M + P) in the order of `jacobian`, residual energy (V,) and converged (V,).

    Parameters
    ----------
    x : (V, t) complex128
    start : (V, M + P) parameters to begin with; the Gaussian width enters by its square, Hz^2
    limits : name -> (low, high) of shift_hz and broadening_hz
    tolerance : a FID has converged when its amplitudes move by less than this share of the largest
    """
    m, names = len(model.names), model.common
    limits = limits | {"gaussian_hz": (0, np.inf), "offset_hz": (-MAX_OFFSET_HZ, MAX_OFFSET_HZ)}
    free = (-np.inf, np.inf)
    low, high = np.array([free] * m + [limits.get(name, free) for name in names]).T

    def shared(p):
        values = dict(zip(names, p[:, m:].T, strict=True))
        return values | ({"gaussian_hz": np.sqrt(values["gaussian_hz"])} if "gaussian_hz" in values else {})

    def evaluate(rows, p):
        return _State((np.abs(x[rows] - model.fids(p[:, :m], **shared(p))) ** 2).sum(-1))

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
