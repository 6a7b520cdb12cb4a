"""Maximum-likelihood fit of signal models with terms beyond Eq. 2: Gaussian width, lipids at a frequency of their own.

`fitting` fits Eq. 2 by closed forms for the amplitudes. Its result, with no Gaussian width and no offset, is the start
here; Levenberg-Marquardt steps in all parameters together do the rest, with the Jacobian of the bound
(`simulate.derivatives`). The square of the Gaussian width stays at or above zero: where it would fall below, it is
held there for the step.
"""

from __future__ import annotations

import numpy as np

from precise_lib.signal.information import jacobian
from precise_lib.signal.model import SignalModel

CHUNK = 256  # Jacobians together: bounds the memory at about 50 MB
MAX_OFFSET_HZ = 20.0


def refine(x, model: SignalModel, start, broadening_range, max_shift, max_iterations=40, tolerance=1e-3):
    """Parameters (V, M + P) in the order of `jacobian`, residual energy (V,) and converged (V,).

    Parameters
    ----------
    x : (V, t) complex128
    start : (V, M + P) parameters to begin with; the Gaussian width enters by its square, Hz^2
    tolerance : a FID has converged when its amplitudes move by less than this share of the largest
    """
    m, names, theta = len(model.names), model.common, np.array(start, float)
    low, high = np.full(theta.shape[1], -np.inf), np.full(theta.shape[1], np.inf)
    limits = {"shift_hz": (-max_shift, max_shift), "broadening_hz": broadening_range, "gaussian_hz": (0, np.inf)}
    for name, (least, most) in (limits | {"offset_hz": (-MAX_OFFSET_HZ, MAX_OFFSET_HZ)}).items():
        if name in names:
            low[m + names.index(name)], high[m + names.index(name)] = least, most

    def shared(p):
        values = dict(zip(names, p[:, m:].T, strict=True))
        return values | ({"gaussian_hz": np.sqrt(values["gaussian_hz"])} if "gaussian_hz" in values else {})

    def energy(p, x):
        return (np.abs(x - model.fids(p[:, :m], **shared(p))) ** 2).sum(-1)

    n = len(x)
    theta = np.clip(theta, low, high)
    left, damping, converged = energy(theta, x), np.full(n, 1e-3), np.zeros(n, bool)
    for _ in range(max_iterations):
        i = np.flatnonzero(~converged & (damping < 1e8))
        if not len(i):
            break
        p = theta[i]
        j = jacobian(model, p[:, :m], **shared(p))
        residual = x[i] - np.einsum("vm,vmt->vt", p[:, :m], j[:, :m])
        normal = np.einsum("vat,vbt->vab", j.conj(), j, optimize=True).real
        gradient = np.einsum("vat,vt->va", j.conj(), residual).real
        scale = np.sqrt(np.einsum("vaa->va", normal)).clip(1e-12)
        normal, gradient = normal / (scale[:, :, None] * scale[:, None]), gradient / scale
        np.einsum("vaa->va", normal)[:] += damping[i, None] + 1e-10
        step = np.linalg.solve(normal, gradient[..., None])[..., 0]
        held = ((p <= low) & (step < 0)) | ((p >= high) & (step > 0))
        if held.any():  # the others as if these were known
            normal = np.where(held[:, :, None] | held[:, None], np.eye(len(low)), normal)
            step = np.linalg.solve(normal, np.where(held, 0, gradient)[..., None])[..., 0]
        new = np.clip(p + step / scale, low, high)
        after = energy(new, x[i])
        better = after <= left[i] * (1 + 1e-13)
        moved = np.abs(new - p)[:, :m].max(1) < tolerance * np.abs(new[:, :m]).max(1)
        theta[i[better]], left[i[better]] = new[better], after[better]
        damping[i] = np.where(better, damping[i] / 10, damping[i] * 10)
        converged[i] |= better & moved & (damping[i] < 1)
    return theta, left, converged
