"""The linear map H of a prior: its rows, its leverage (diagonal) and the variance that it leaves (squares).

Few voxels: row by row, exactly. Many: the rows are probed. ``H`` decays within a few voxels, so one solution with
random signs on a sparse lattice of voxels holds the rows of all of them; a voxel reads its entry for the nearest voxel
of that lattice, and what the others add averages out. `probing_error` says what that leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np

EXACT_UP_TO = 3000  # voxels
SPACING = 7  # voxels between the probes of one lattice, for maps
SUM_EXACT_UP_TO, SUM_SPACING = 1000, 3  # where only sums over all voxels count
BATCH = 256  # right-hand sides that are solved together
PROBE_TOLERANCE = 1e-4  # far below what the probes leave out


@dataclass(frozen=True)
class Lattice:
    """Probing lattices of the usable voxels of a grid."""

    cells: np.ndarray  # (V, 3) grid position of each voxel
    index: np.ndarray  # (x, y, z) number of the voxel there, -1 where there is none
    spacing: np.ndarray  # (3,) voxels between the probes of one lattice, along each axis

    @property
    def number(self) -> np.ndarray:
        """Lattice that each voxel belongs to, (V,)."""
        return np.ravel_multi_index((self.cells % self.spacing).T, tuple(self.spacing))

    def nearest(self, number: int) -> np.ndarray:
        """Voxel of lattice `number` nearest to each voxel, (V,); the voxel itself where that place is not usable."""
        phase = np.array(np.unravel_index(number, tuple(self.spacing)))
        half = self.spacing // 2
        cell = self.cells - ((self.cells - phase + half) % self.spacing - half)
        cell += self.spacing * (cell < 0) - self.spacing * (cell >= self.index.shape)
        found = self.index[tuple(cell.T)]
        return np.where(found < 0, np.arange(len(found)), found)


def lattices(usable: np.ndarray, sums_only: bool = False) -> Lattice | None:
    """`Lattice` of the usable voxels of a grid (x, y, z); None where rows are affordable."""
    cells = np.argwhere(usable)
    limit, spacing = (SUM_EXACT_UP_TO, SUM_SPACING) if sums_only else (EXACT_UP_TO, SPACING)
    if len(cells) <= limit:
        return None
    index = np.full(usable.shape, -1)
    index[usable] = np.arange(len(cells))
    return Lattice(cells, index, np.minimum(usable.shape, spacing))


class Apart:
    """A linear map of some of the voxels (V,) bool; the others keep their values and are nobody's neighbors."""

    def __init__(self, inner: LinearMap, inside: np.ndarray):
        self.inner, self.inside, self.size = inner, inside, len(inside)
        self.direct = getattr(inner, "direct", True)

    def __call__(self, values, tolerance: float = 1e-10) -> np.ndarray:
        out = np.array(values, float)
        out[self.inside] = self.inner(out[self.inside], tolerance)
        return out

    def rows(self, voxels, tolerance: float = 1e-10) -> np.ndarray:
        voxels = np.asarray(voxels)
        out, within = (voxels[:, None] == np.arange(self.size)).astype(float), self.inside[voxels]
        own = np.cumsum(self.inside) - 1
        out[np.ix_(within, self.inside)] = self.inner.rows(own[voxels[within]], tolerance)
        return out


class LinearMap(Protocol):
    """What a prior does to amplitudes at one setting; `ExactSolver` is one, `DenseMap` another."""

    size: int

    def __call__(self, values, tolerance: float = 1e-10) -> np.ndarray:
        """(V, K) -> (V, K)"""

    def rows(self, voxels, tolerance: float = 1e-10) -> np.ndarray:
        """Rows for some voxels, (len(voxels), V)."""


class DenseMap:
    """A linear map by its matrix (V, V), sparse or not."""

    def __init__(self, matrix):
        self.matrix, self.size = matrix, matrix.shape[0]

    def __call__(self, values, tolerance: float = 1e-10) -> np.ndarray:
        return np.asarray(self.matrix @ np.asarray(values, float))

    def rows(self, voxels, tolerance: float = 1e-10) -> np.ndarray:
        rows = self.matrix[voxels]
        return rows.toarray() if hasattr(rows, "toarray") else np.asarray(rows)


@dataclass(frozen=True)
class Smoother:
    """The linear maps that an estimator applies to the single-voxel amplitudes of one data set, each made once.

    `usable` (x, y, z) bool are the V voxels; `make` gives the `LinearMap` of these at a setting. `inside` are those
    that have neighbors; None for all.
    """

    usable: np.ndarray
    make: Callable[[float], LinearMap]
    made: dict[float, LinearMap] = field(default_factory=dict)
    inside: np.ndarray | None = None

    @property
    def within(self) -> np.ndarray:
        """(V,) bool: the voxels that have neighbors."""
        return np.ones(self.usable.sum(), bool) if self.inside is None else self.inside[self.usable]

    def among(self, usable: np.ndarray) -> Smoother:
        """The same for more voxels, which it leaves as they are."""
        inside = self.usable[usable]
        return Smoother(usable, lambda value: Apart(self.at([value])[0], inside), inside=self.usable)

    @cached_property
    def lattice(self) -> Lattice | None:
        return lattices(self.usable)

    def at(self, values) -> list[LinearMap]:
        """The map at each of some settings; equal settings share it."""
        for value in map(float, values):
            if value not in self.made:
                self.made[value] = self.make(value)
        return [self.made[float(value)] for value in values]


def leverage_and_variance(
    solver: LinearMap, values, lattice: Lattice | None = None, seed: int = 0, correlate: Callable | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The diagonal ``H_vv`` (V,) and ``sum_u H_vu^2 x_uk`` (V, K) for values x (V, K), such as variances of independent
    voxels.

    `lattice`: to probe, or None for every row. With a correlation R of the voxels, `correlate` (V, J) -> (V, J),
    symmetric, these are ``(H R)_vv`` and ``sum_uu' H_vu R_uu' H_vu' (x_u + x_u') / 2``.

    >>> from precise_lib.estimate.prior import ExactSolver, edge_weights
    >>> solver = ExactSolver(edge_weights(np.zeros((2, 1, 1)), omega_max=1.0), lam=0.5)
    >>> [x.round(6).tolist() for x in leverage_and_variance(solver, np.ones((2, 1)))]
    [[0.666667, 0.666667], [[0.555556], [0.555556]]]
    """
    values = np.asarray(values, float)
    n = len(values)
    diagonal, squares = np.zeros(n), np.zeros(values.shape)
    if lattice is None:
        for start in range(0, n, BATCH):
            voxels = np.arange(start, min(start + BATCH, n))
            rows = solver.rows(voxels)
            other = rows if correlate is None else correlate(rows.T).T
            diagonal[voxels] = other[np.arange(len(voxels)), voxels]
            squares[voxels] = (rows * other) @ values
        return diagonal, squares
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], n)
    member = lattice.number
    numbers = np.unique(member)
    for group in np.array_split(numbers, int(np.ceil(len(numbers) * n / (BATCH * 20_000)))):
        probes = signs[:, None] * (member[:, None] == group)
        spread = solver(probes, PROBE_TOLERANCE)
        other = spread if correlate is None else correlate(spread)
        diagonal += (probes * other).sum(1)
        for j, number in enumerate(group):
            squares += (spread[:, j] * other[:, j])[:, None] * values[lattice.nearest(number)]
    return diagonal, squares


def probing_error(solver: LinearMap, values, squares, n_rows: int = 32, seed: int = 0, correlate=None) -> float:
    """Relative error (root mean square) of the roots of probed `squares` (V, K), on rows computed in full."""
    values = np.asarray(values, float)
    rng = np.random.default_rng(seed)
    voxels = np.sort(rng.choice(len(values), min(n_rows, len(values)), replace=False))
    parts = np.array_split(voxels, -(-len(voxels) // 8))
    rows = np.concatenate([solver.rows(part, 1e-6) for part in parts])
    exact = (rows * (rows if correlate is None else correlate(rows.T).T)) @ values
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.sqrt(squares[voxels] / exact) - 1
    return float(np.sqrt(np.nanmean(ratio**2)))
