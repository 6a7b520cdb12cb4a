r"""The MRI prior of PRECISE-DMI: the weights of Eq. 5 and the exact minimizer of Eq. 4.

The minimizer solves ``(I + 2 lambda L) c = s`` (theory, "The exact minimizer"); lambda = 0 gives SVE. Amplitudes are
regularized, as in Eq. 4, and divided by water afterwards: a receive or transmit profile then weighs the neighbors of a
voxel by their sensitivity but cancels in the ratio.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from precise_lib.errors import InputError, check_number
from precise_lib.estimate.coupling import Neighbors
from precise_lib.signal import align
from precise_lib.signal.mrsi import MRSI

# Not printed in the paper; on the ring phantom lambda = 0.01 then has the paper's threefold precision of Fourier.
OMEGA_MAX = 5.5
RANGE, FAR_OUTSIDE = (2, 98), 2.0  # percent; extremes this many times as far apart are of a few odd voxels
DIRECT_UP_TO = 20_000  # voxels: in 3-D, about where factorizing and iterating take the same time
BLOCK = 4_000_000  # numbers in one block of right-hand sides: 32 MB in double precision
SINGLE_FROM = 1e-5  # tolerance from which single precision is enough


def prepare_mri(data: MRSI, usable: np.ndarray | None = None) -> np.ndarray:
    """MRI gray levels (x, y, z) on the DMI grid: averaged over each voxel, `gray_range` brought to [0, 1] (Fig. 2B).

    NaN outside the `usable` voxels (x, y, z), by default those of the data. The grids may differ in size, position and
    angle, see `align`. `InputError` where there is no MRI, or it does not cover them or is not finite there.
    """
    if data.mri is None:
        raise InputError("The edge-preserving prior needs an MRI; give one, or use the estimator 'sve'.")
    if data.mri.ndim != 3:
        raise InputError(f"The MRI has {data.mri.ndim} dimensions; it must be one 3-D image.")
    for name, affine in (("MRI", data.mri_affine), ("DMI", data.affine)):
        if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine) < 4:
            raise InputError(f"The affine of the {name} is singular; write the image's orientation into its header.")
    usable = data.usable if usable is None else usable
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
    low, high = gray_range(gray)
    maps = np.full(data.grid_shape, np.nan)
    maps[usable] = (gray - low) / (high - low) if high > low else 0.0
    return maps


def about_mri(data: MRSI) -> list[str]:
    """What speaks against an MRI as a prior, in sentences."""
    gray = prepare_mri(data)
    gray = gray[np.isfinite(gray)]
    if gray.max() == gray.min():
        return ["The MRI is constant over the voxels, so it shows no border: the prior smooths across all of them."]
    if gray.max() > 1 or gray.min() < 0:
        odd = int(((gray > 1) | (gray < 0)).sum())
        said = f"{odd} voxel(s) of the MRI lie far outside the gray levels of the others, as a bright vessel does"
        return [f"{said}: edges are judged by the range from the {RANGE[0]}nd to the {RANGE[1]}th percentile."]
    return []


def gray_range(gray) -> tuple[float, float]:
    """Gray levels that become 0 and 1: the extremes, or the percentiles `RANGE` where the extremes lie far outside.

    One bright vessel would otherwise press all tissue into a corner of the scale, where no edge counts.
    """
    low, high = float(np.min(gray)), float(np.max(gray))
    inner = np.percentile(gray, RANGE)
    return (low, high) if high - low <= FAR_OUTSIDE * (inner[1] - inner[0]) or inner[1] == inner[0] else tuple(inner)


def edge_weights(gray: np.ndarray, omega_max: float = OMEGA_MAX) -> sparse.csr_matrix:
    """Eq. 5: symmetric (V, V) weights between 3x3(x3) neighbors, V counting the finite voxels of `gray` (x, y, z).

    ``omega = min(1 / (r_1 - r_2)^2, omega_max)``; diagonal neighbors count as in the paper, self pairs are zero.
    """
    return Neighbors.of(gray).capped(omega_max).matrix


def laplacian(weights: sparse.spmatrix) -> sparse.csc_matrix:
    """Graph Laplacian: row sums on the diagonal minus the weights."""
    return (sparse.diags(np.asarray(weights.sum(1)).ravel()) - weights).tocsc()


class ConjugateGradients:
    """Solutions of ``A x = b`` for A = I + 2 lambda L, where a factor of A would not fit in memory.

    With the diagonal as preconditioner the eigenvalues lie within ``1 +- q``, ``q = 1 - 1 / (largest diagonal)``: the
    number of steps does not grow with the voxels, about 30 for ten digits at lambda = 0.01.
    """

    def __init__(self, system: sparse.spmatrix):
        diagonal = system.diagonal()
        self.scale = 1 / np.sqrt(diagonal)
        scaling = sparse.diags(self.scale)
        self.scaled = {np.float64: (scaling @ system @ scaling).tocsr()}
        # least eigenvalue of the scaled system: turns a residual into a bound on the error
        self.least = 1 / float(diagonal.max())

    def solve(self, b, tolerance: float = 1e-10, max_iterations: int = 2000) -> np.ndarray:
        """Solutions (V, K) for b (V, K); `InputError` where lambda is too large to converge.

        `tolerance` bounds each column's error over the norm of b, both in units of the root of the diagonal.
        """
        kind = np.float32 if tolerance >= SINGLE_FROM else np.float64
        if kind not in self.scaled:
            self.scaled[kind] = self.scaled[np.float64].astype(kind)
        out = np.empty(b.shape, kind)
        step = max(1, BLOCK // len(b))
        for i in range(0, b.shape[1], step):
            out[:, i : i + step] = self._block(b[:, i : i + step], kind, tolerance, max_iterations)
        return out

    def _block(self, b, kind, tolerance, max_iterations):
        matrix, scale = self.scaled[kind], self.scale[:, None].astype(kind)
        residual = np.ascontiguousarray(b * scale, dtype=kind)
        x, direction = np.zeros_like(residual), residual.copy()
        power = np.einsum("vk,vk->k", residual, residual)
        goal = (tolerance * self.least) ** 2 * power
        for _ in range(max_iterations):
            if (power <= goal).all():
                return x * scale
            image = matrix @ direction
            along = np.einsum("vk,vk->k", direction, image)
            step = np.divide(power, along, out=np.zeros_like(power), where=along > 0)
            x += step * direction
            residual -= step * image
            before, power = power, np.einsum("vk,vk->k", residual, residual)
            direction *= np.divide(power, before, out=np.zeros_like(power), where=before > 0)
            direction += residual
        raise InputError(f"Eq. 4 was not solved in {max_iterations} steps: lambda is too large for so many voxels.")


class ExactSolver:
    """The linear map from SVE maps to the minimizer of Eq. 4, factorized once or iterated to ten digits.

    `weights` (V, V) are those of Eq. 5, `lam` is lambda of Eq. 4; `direct` factorizes, by default up to `DIRECT_UP_TO`.

    Example
    -------
    >>> weights = edge_weights(np.zeros((2, 1, 1)), omega_max=1.0)
    >>> ExactSolver(weights, lam=0.5)(np.array([[0.0], [3.0]])).round(6).tolist()
    [[1.0], [2.0]]
    """

    def __init__(self, weights: sparse.spmatrix, lam: float, direct: bool | None = None):
        check_number("lambda", lam, zero=True)
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
        """Rows of H (the map is symmetric) for some voxels, (len(voxels), V): how each mixes its neighbors."""
        unit = np.zeros((self.size, len(voxels)))
        unit[voxels, np.arange(len(voxels))] = 1
        return self(unit, tolerance).T
