"""What closed-form errors and the choice of lambda need of ``H = (I + 2 lambda L)^-1``: its diagonal and its squares.

Both come row by row, exactly, where there are few voxels. Where there are many, the rows are probed: ``H`` decays
within a few voxels, so one solution with random signs on a sparse lattice of voxels holds the rows of all of them at
once. The cost is then a fixed number of solutions, whatever the number of voxels; what little the rows overlap has
random signs and averages out.
"""

from __future__ import annotations

import numpy as np

from precise_lib.estimate.edge_preserving import ExactSolver

EXACT_UP_TO = 3000  # voxels
SPACING = 7  # voxels between the probes of one lattice, for maps
SUM_EXACT_UP_TO, SUM_SPACING = 1000, 3  # where only sums over all voxels count, errors of single voxels average out
BATCH = 256  # right-hand sides that are solved together


def lattices(usable: np.ndarray, sums_only: bool = False) -> np.ndarray | None:
    """Number of the probing lattice of each usable voxel of a grid (x, y, z), (V,); None where rows are affordable."""
    cells = np.argwhere(usable)
    limit, spacing = (SUM_EXACT_UP_TO, SUM_SPACING) if sums_only else (EXACT_UP_TO, SPACING)
    if len(cells) <= limit:
        return None
    shape = np.minimum(usable.shape, spacing)
    return np.ravel_multi_index((cells % shape).T, tuple(shape))


def diagonal_and_squares(solver: ExactSolver, values, lattice=None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The diagonal ``H_vv`` (V,) and ``sum_u H_vu^2 x_uk`` (V, K) for values x (V, K).

    Parameters
    ----------
    solver : the map
    values : (V, K), for example the variances and covariances of independent voxels
    lattice : (V,) of `lattices` to probe, or None for every row
    seed : of the signs of the probes

    Example
    -------
    >>> from precise_lib.estimate.edge_preserving import edge_weights
    >>> solver = ExactSolver(edge_weights(np.zeros((2, 1, 1)), omega_max=1.0), lam=0.5)
    >>> [x.round(6).tolist() for x in diagonal_and_squares(solver, np.ones((2, 1)))]
    [[0.666667, 0.666667], [[0.555556], [0.555556]]]
    """
    values = np.asarray(values, float)
    n, k = values.shape
    diagonal, squares = np.zeros(n), np.zeros((n, k))
    if lattice is None:
        for start in range(0, n, BATCH):
            voxels = np.arange(start, min(start + BATCH, n))
            rows = solver.rows(voxels)
            diagonal[voxels] = rows[np.arange(len(voxels)), voxels]
            squares[voxels] = rows**2 @ values
        return diagonal, squares
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], n)
    numbers = np.unique(lattice)
    for group in np.array_split(numbers, int(np.ceil(len(numbers) * (k + 1) / BATCH))):
        probes = signs[:, None] * (lattice[:, None] == group)
        spread = solver(probes)
        diagonal += (probes * spread).sum(1)
        for j in range(k):
            squares[:, j] += (spread * solver(probes * values[:, [j]])).sum(1)
    return diagonal, squares


def diagonal(solver: ExactSolver, lattice=None, seed: int = 0) -> np.ndarray:
    """``H_vv`` (V,): how much of a voxel's own SVE result stays in its final one; its sum is the trace."""
    return diagonal_and_squares(solver, np.empty((solver.factor.shape[0], 0)), lattice, seed)[0]
