"""Which neighbors of a voxel are coupled, and how strongly, by what the MRI shows of them.

Every rule takes the gray levels on the DMI grid (`prior.prepare_mri`) and gives `Couplings`: pairs of neighbors with a
weight each. Distances are in voxels of the finest axis, so that a thick slice couples less across than along.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import sparse

from precise_lib.errors import check_number


@dataclass(frozen=True)
class Couplings:
    """Pairs of neighboring voxels, V in all.

    Attributes
    ----------
    pairs : (E, 2) numbers of the voxels, the lower one first
    weight : (E,) positive
    n_voxels : V
    """

    pairs: np.ndarray
    weight: np.ndarray
    n_voxels: int

    def __post_init__(self):
        keep = self.weight > 0
        if not keep.all():
            object.__setattr__(self, "pairs", self.pairs[keep])
            object.__setattr__(self, "weight", self.weight[keep])

    @property
    def differences(self) -> sparse.csr_matrix:
        """(E, V): takes maps (V, K) to the differences of the pairs (E, K)."""
        n = len(self.pairs)
        values = np.repeat([1.0, -1.0], n)
        rows, columns = np.tile(np.arange(n), 2), self.pairs.T.ravel()
        return sparse.csr_matrix((values, (rows, columns)), shape=(n, self.n_voxels))

    @property
    def matrix(self) -> sparse.csr_matrix:
        """Symmetric (V, V) weights, as `prior.laplacian` takes them."""
        u, v = self.pairs.T
        upper = sparse.coo_matrix((self.weight, (u, v)), shape=(self.n_voxels, self.n_voxels))
        return (upper + upper.T).tocsr()


@dataclass(frozen=True)
class Neighbors:
    """All pairs of touching voxels (8 or 26 to a voxel), before any rule.

    Attributes
    ----------
    pairs : (E, 2)
    distance : (E,) in voxels of the finest axis
    gray : (V,) gray levels of the finite voxels in the order of the grid, those of all frames one after another
    dimensions : axes of more than one voxel
    following : (F, 2) a voxel and itself a frame later, in a time course
    """

    pairs: np.ndarray
    distance: np.ndarray
    gray: np.ndarray
    dimensions: int
    following: np.ndarray = field(default_factory=lambda: np.empty((0, 2), int))

    @classmethod
    def of(cls, gray: np.ndarray, affine: np.ndarray | None = None) -> Neighbors:
        """Neighbors on a grid.

        Parameters
        ----------
        gray : (x, y, z) gray levels, NaN outside; only differences count
        affine : (4, 4), mm, for the size of the voxels; None for cubes
        """
        finite = np.isfinite(gray)
        index = np.full(gray.shape, -1)
        index[finite] = np.arange(finite.sum())
        axes = np.eye(3) if affine is None else np.asarray(affine, float)[:3, :3]
        size = np.linalg.norm(axes, axis=0)[[n > 1 for n in gray.shape]]
        unit = size.min() if len(size) else 1.0
        parts = []
        for step in itertools.product((-1, 0, 1), repeat=3):
            if step <= (0, 0, 0):
                continue  # each pair once
            here = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(step, gray.shape, strict=True))
            there = tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(step, gray.shape, strict=True))
            both = finite[here] & finite[there]
            distance = np.full(both.sum(), np.linalg.norm(axes @ step) / unit)
            parts.append((np.stack([index[here][both], index[there][both]], 1), distance))
        pairs, distance = (np.concatenate(x) for x in zip(*parts, strict=True))
        return cls(pairs, distance, gray[finite], len(size))

    @classmethod
    def of_frames(cls, gray: np.ndarray, usable: np.ndarray, affine: np.ndarray | None = None) -> Neighbors:
        """Neighbors within each frame of a time course, and `following`.

        Parameters
        ----------
        gray : (x, y, z) gray levels of all frames
        usable : (f, x, y, z) bool, the voxels of each frame
        affine : see `of`
        """
        frames = [cls.of(np.where(one, gray, np.nan), affine) for one in usable]
        starts = np.cumsum([0, *(frame.n_voxels for frame in frames)])
        index = np.full(usable.shape, -1)
        index[usable] = np.arange(starts[-1])
        both = usable[:-1] & usable[1:]
        return cls(
            np.concatenate([frame.pairs + start for frame, start in zip(frames, starts, strict=False)]),
            np.concatenate([frame.distance for frame in frames]),
            np.concatenate([frame.gray for frame in frames]),
            frames[0].dimensions,
            np.stack([index[:-1][both], index[1:][both]], 1),
        )

    def between(self, start: int, stop: int) -> Neighbors:
        """Of the voxels `start` to `stop` alone, neighbors in space for the most part as voxels are in order."""
        inside, after = (((x >= start) & (x < stop)).all(1) for x in (self.pairs, self.following))
        return replace(
            self,
            pairs=self.pairs[inside] - start,
            distance=self.distance[inside],
            gray=self.gray[start:stop],
            following=self.following[after] - start,
        )

    @property
    def blind(self) -> Neighbors:
        """The same voxels without an MRI: `bowsher` then chooses the closest."""
        return replace(self, gray=np.zeros_like(self.gray))

    @property
    def n_voxels(self) -> int:
        return len(self.gray)

    @property
    def contrast(self) -> np.ndarray:
        """(E,) absolute difference of the gray levels."""
        u, v = self.pairs.T
        return np.abs(self.gray[u] - self.gray[v])

    @property
    def touching(self) -> sparse.csr_matrix:
        """(V, V): ones where two voxels touch."""
        return Couplings(self.pairs, np.ones(len(self.pairs)), self.n_voxels).matrix

    @property
    def most(self) -> int:
        """Touching voxels of an inner voxel: 2, 8 or 26."""
        return 3**self.dimensions - 1

    def bowsher(self, k: int, following: float = 0.0, gray: float = 0.0) -> Couplings:
        """Each voxel chooses the `k` neighbors nearest in gray level, the closer one of equals (Bowsher 2004).

        With `gray` > 0 the nearest by ``distance^2 + (contrast / gray)^2``: gray levels that differ by noise or shading
        alone then do not make a voxel pass over a closer one, while those across an edge of the MRI come last.
        A pair weighs 1 where both choose each other and 1/2 where one does; a voxel and itself a frame later weigh
        `following`.
        """
        check_number("The number of neighbors", k, whole=True)
        n = len(self.pairs)
        chooser, pair = self.pairs.T.ravel(), np.tile(np.arange(n), 2)
        apart = self.contrast if gray == 0 else self.distance**2 + (self.contrast / gray) ** 2
        # what differs by rounding alone is equal
        order = np.lexsort((self.distance[pair], np.round(apart, 9)[pair], chooser))
        first = np.searchsorted(chooser[order], np.arange(self.n_voxels))
        rank = np.arange(2 * n) - first[chooser[order]]
        votes = np.bincount(pair[order], weights=rank < k, minlength=n)
        later = np.full(len(self.following), float(following))
        return Couplings(np.concatenate([self.pairs, self.following]), np.r_[votes / 2, later], self.n_voxels)

    def capped(self, omega_max: float) -> Couplings:
        """Eq. 5 of PRECISE-DMI: ``min(1 / contrast^2, omega_max)``, whatever the distance."""
        with np.errstate(divide="ignore"):
            return Couplings(self.pairs, np.minimum(1 / self.contrast**2, omega_max), self.n_voxels)
