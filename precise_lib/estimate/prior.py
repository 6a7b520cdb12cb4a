r"""The MRI prior of PRECISE-DMI: the weights of Eq. 5 and the exact minimizer of Eq. 4.

With the single-voxel amplitudes themselves as unknowns Eq. 4 is quadratic; its minimizer solves, for each of them,

    (I + 2 lambda L) c = s        s: SVE map, L: graph Laplacian of the weights (each pair is counted twice in Eq. 4)

so one sparse factorization serves every metabolite and noise realization, and SD and bias follow in closed form:
``Cov c = H Cov(s) H^T`` and ``E c - s = (H - I) s`` with ``H = (I + 2 lambda L)^-1``. lambda = 0 gives SVE.

Amplitudes are regularized, as in Eq. 4, and divided by water afterwards: a receive or transmit profile then weighs
the neighbors of a voxel by their sensitivity but cancels in the ratio.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from precise_lib.errors import InputError
from precise_lib.estimate.conjugate import ConjugateGradients
from precise_lib.signal import align
from precise_lib.signal.mrsi import MRSI

# Not printed in the paper. On the ring phantom this value brings lambda = 0.01 to the paper's total of about
# three times the precision of Fourier (1.76 over SVE by the exact solution).
OMEGA_MAX = 5.5
DIRECT_UP_TO = 20_000  # voxels: in 3-D, about where factorizing and iterating take the same time


def prepare_mri(data: MRSI) -> np.ndarray:
    """MRI gray levels on the DMI grid: masked, averaged over each DMI voxel, rescaled to [0, 1] (Fig. 2B).

    Through both affines, so the grids may differ in size, position and angle, see `align`. Returns (x, y, z), NaN
    outside the usable voxels.

    Raises
    ------
    InputError : there is no MRI, it does not cover the usable voxels, or it is not finite there
    """
    if data.mri is None:
        raise InputError("The edge-preserving prior needs an MRI; give one, or use the estimator 'sve'.")
    if data.mri.ndim != 3:
        raise InputError(f"The MRI has {data.mri.ndim} dimensions; it must be one 3-D image.")
    for name, affine in (("MRI", data.mri_affine), ("DMI", data.affine)):
        if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine) < 4:
            raise InputError(f"The affine of the {name} is singular; write the image's orientation into its header.")
    usable = data.usable
    if not usable.any():
        raise InputError("No usable voxel is left: every FID is masked, not finite or zero.")
    gray, share = align.sampled(data.mri, data.mri_affine, data.affine, np.argwhere(usable))
    if (share == 0).any():
        outside = 100 * (share == 0).mean()
        raise InputError(
            f"The MRI does not cover the DMI: {outside:.0f} % of the voxels lie outside it; give a mask without them."
        )
    if np.isnan(gray).any():
        raise InputError("The MRI is not finite inside the mask: give one that is, or a mask without those voxels.")
    low, high = gray.min(), gray.max()
    maps = np.full(data.grid_shape, np.nan)
    maps[usable] = (gray - low) / (high - low) if high > low else 0.0
    return maps


def edge_weights(gray: np.ndarray, omega_max: float = OMEGA_MAX) -> sparse.csr_matrix:
    """Eq. 5: symmetric (V, V) weights between 3x3(x3) neighbors, V counting the finite voxels of `gray` (x, y, z).

    ``omega = min(1 / (r_1 - r_2)^2, omega_max)``; diagonal neighbors count as in the paper, self pairs are zero.
    """
    index = np.full(gray.shape, -1)
    finite = np.isfinite(gray)
    index[finite] = np.arange(finite.sum())
    rows, columns, values = [], [], []
    for step in itertools.product((-1, 0, 1), repeat=3):
        if step <= (0, 0, 0):
            continue  # each pair once; symmetrized below
        here = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(step, gray.shape, strict=True))
        there = tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(step, gray.shape, strict=True))
        both = finite[here] & finite[there]
        difference = gray[here][both] - gray[there][both]
        with np.errstate(divide="ignore"):
            weight = np.minimum(1 / difference**2, omega_max)
        rows.append(index[here][both])
        columns.append(index[there][both])
        values.append(weight)
    if not rows:
        return sparse.csr_matrix((finite.sum(), finite.sum()))
    upper = sparse.coo_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(finite.sum(), finite.sum()),
    )
    return (upper + upper.T).tocsr()


def laplacian(weights: sparse.spmatrix) -> sparse.csc_matrix:
    """Graph Laplacian: row sums on the diagonal minus the weights."""
    return (sparse.diags(np.asarray(weights.sum(1)).ravel()) - weights).tocsc()


class ExactSolver:
    """The linear map from SVE maps to the minimizer of Eq. 4.

    Up to `DIRECT_UP_TO` voxels the system is factorized once; beyond, conjugate gradients give the same to ten digits
    in memory that grows with the voxels and no faster.

    Parameters
    ----------
    weights : (V, V) Eq. 5
    lam : lambda of Eq. 4
    direct : factorize or iterate; default by the number of voxels

    Example
    -------
    >>> weights = edge_weights(np.zeros((2, 1, 1)), omega_max=1.0)
    >>> ExactSolver(weights, lam=0.5)(np.array([[0.0], [3.0]])).round(6).tolist()
    [[1.0], [2.0]]
    """

    def __init__(self, weights: sparse.spmatrix, lam: float, direct: bool | None = None):
        if not (np.isfinite(lam) and lam >= 0):
            raise InputError(f"lambda is {lam}; it must be zero or positive.")
        self.lam, self.size = lam, weights.shape[0]
        self.direct = self.size <= DIRECT_UP_TO if direct is None else direct
        system = sparse.eye(self.size, format="csc") + 2 * lam * laplacian(weights)
        if self.direct:
            # symmetric, diagonally dominant: no pivoting needed, and a symmetric ordering keeps the factor small
            options = {"SymmetricMode": True}
            self.factor = splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
        else:
            self.iteration = ConjugateGradients(system.tocsr())

    def __call__(self, sve: np.ndarray, tolerance: float = 1e-10) -> np.ndarray:
        """SVE maps (V, K) to regularized maps (V, K); `tolerance` where they are iterated."""
        if self.direct:
            return self.factor.solve(np.ascontiguousarray(sve, dtype=float))
        columns = np.asarray(sve).reshape(self.size, -1)
        return self.iteration.solve(columns, tolerance).reshape(np.shape(sve))

    def rows(self, voxels, tolerance: float = 1e-10) -> np.ndarray:
        """Rows of H for some voxels (the map is symmetric), (len(voxels), V): how each mixes its neighbors."""
        unit = np.zeros((self.size, len(voxels)))
        unit[voxels, np.arange(len(voxels))] = 1
        return self(unit, tolerance).T

    def sd(self, sve_sd: np.ndarray, batch: int = 256) -> np.ndarray:
        """Closed-form SD (V, K) of the result when the SVE errors (SD (V, K)) are independent between voxels."""
        variance = np.asarray(sve_sd, float) ** 2
        out = np.empty_like(variance)
        for i in range(0, len(variance), batch):
            voxels = np.arange(i, min(i + batch, len(variance)))
            out[voxels] = self.rows(voxels) ** 2 @ variance
        return np.sqrt(out)

    def bias(self, truth: np.ndarray) -> np.ndarray:
        """Closed-form bias (V, K) for a true map (V, K) under unbiased SVE."""
        return self(truth) - truth
