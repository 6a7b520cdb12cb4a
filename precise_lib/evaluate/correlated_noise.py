r"""Closed-form SD of PRECISE where neighboring voxels share their noise, as they do after spherical encoding.

Single-voxel errors then correlate like the noise itself, by R_uu' (`Encoding.correlation`; to first order, and as far
as neighbors have the same shift and width). With the H and S of `closed_form`, which is the case R = 1,

    Var r_v = sum_uu' H_vu t_u R_uu' t_u' H_vu' / c_water,v^2,     t_u^2 = S_u,kk - 2 r_v S_u,kw + r_v^2 S_u,ww .
"""

from __future__ import annotations

import numpy as np

from precise_lib.errors import InputError
from precise_lib.signal.model import SignalModel
from precise_lib.simulate.encoding import Encoding

LARGEST = 6000  # voxels: the matrices are dense


def correlation_matrix(encoding: Encoding, mask: np.ndarray) -> np.ndarray:
    """Correlation (V, V) of the noise of the voxels of a mask (x, y, z); `InputError` for another grid or too many."""
    if mask.shape != tuple(encoding.matrix):
        raise InputError(f"The mask has shape {mask.shape}, the encoded matrix {tuple(encoding.matrix)}.")
    voxels = np.argwhere(mask)
    if len(voxels) > LARGEST:
        raise InputError(f"{len(voxels)} voxels are too many for a dense correlation matrix; {LARGEST} at most.")
    # one value for each distance on the grid, looked up for all pairs
    steps = np.stack(np.meshgrid(*(np.arange(n) for n in encoding.matrix), indexing="ij"), -1)
    table = encoding.correlation(steps * encoding.voxel_mm)
    distance = np.abs(voxels[:, None] - voxels[None])
    return table[tuple(np.moveaxis(distance, -1, 0))]


def closed_form_sd(model: SignalModel, amplitudes, covariance, correlation, solver=None) -> np.ndarray:
    """SD (V, M) in mM of SVE, or of the exact minimizer of Eq. 4 by its `ExactSolver`.

    Amplitudes (V, M) by SVE or true, `closed_form.sve_covariance` (V, M, M), correlation (V, V).
    """
    s, cov, w = np.asarray(amplitudes, float), np.asarray(covariance, float), model.index(model.reference)
    n, m = s.shape
    h = np.eye(n) if solver is None else solver.rows(np.arange(n))
    c = h @ s
    water = np.where(c[:, w] > 0, c[:, w], np.nan)
    out = np.empty((n, m))
    for k in range(m):
        r = c[:, k] / water
        # (V, V): SD of the error of voxel u in the direction that the ratio of voxel v is sensitive to
        square = cov[:, k, k] - 2 * r[:, None] * cov[:, k, w] + r[:, None] ** 2 * cov[:, w, w]
        rows = h * np.sqrt(np.maximum(square, 0))
        out[:, k] = np.sqrt(np.maximum(((rows @ correlation) * rows).sum(1), 0)) / water
    return model.reference_concentration_mm * out
