"""Which neighbors of a voxel are coupled, and how strongly, by what the MRI shows of them.

Every rule takes the gray levels on the DMI grid (`prior.prepare_mri`) and gives `Couplings`: pairs of neighbors with a
weight each. Distances are in voxels of the finest axis, so that a thick slice couples less across than along.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from precise_lib.errors import InputError


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
    contrast : (E,) absolute difference of the gray levels
    n_voxels : V, the finite voxels of the gray levels in the order of the grid
    dimensions : axes of more than one voxel
    """

    pairs: np.ndarray
    distance: np.ndarray
    contrast: np.ndarray
    n_voxels: int
    dimensions: int

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
            contrast = np.abs(gray[here][both] - gray[there][both])
            parts.append((np.stack([index[here][both], index[there][both]], 1), distance, contrast))
        pairs, distance, contrast = (np.concatenate(x) for x in zip(*parts, strict=True))
        return cls(pairs, distance, contrast, int(finite.sum()), len(size))

    @property
    def blind(self) -> Neighbors:
        """The same voxels without an MRI: `bowsher` then chooses the closest."""
        return replace(self, contrast=np.zeros_like(self.contrast))

    @property
    def most(self) -> int:
        """Touching voxels of an inner voxel: 2, 8 or 26."""
        return 3**self.dimensions - 1

    def bowsher(self, k: int) -> Couplings:
        """Each voxel chooses the `k` neighbors nearest in gray level, the closer one of equals (Bowsher 2004).

        A pair weighs 1 where both choose each other and 1/2 where one does.
        """
        if int(k) != k or k < 1:
            raise InputError(f"The number of neighbors is {k}; it must be a whole number, one or more.")
        n = len(self.pairs)
        chooser, pair = self.pairs.T.ravel(), np.tile(np.arange(n), 2)
        # gray levels that differ by rounding alone are equal
        key = np.round(self.contrast, 9)
        order = np.lexsort((self.distance[pair], key[pair], chooser))
        first = np.searchsorted(chooser[order], np.arange(self.n_voxels))
        rank = np.arange(2 * n) - first[chooser[order]]
        votes = np.bincount(pair[order], weights=rank < k, minlength=n)
        return Couplings(self.pairs, votes / 2, self.n_voxels)

    def gaussian(self, width: float) -> Couplings:
        """``exp(-contrast^2 / 2 width^2) / distance``; an infinite width leaves the MRI no say."""
        if not width > 0:
            raise InputError(f"The width in gray level is {width}; it must be positive.")
        weight = np.exp(-0.5 * (self.contrast / width) ** 2) / self.distance
        return Couplings(self.pairs, weight, self.n_voxels)

    def capped(self, omega_max: float) -> Couplings:
        """Eq. 5 of PRECISE-DMI: ``min(1 / contrast^2, omega_max)``, whatever the distance."""
        with np.errstate(divide="ignore"):
            return Couplings(self.pairs, np.minimum(1 / self.contrast**2, omega_max), self.n_voxels)


def over_frames(one: Couplings, frames: int, weight: float) -> Couplings:
    """Couplings of a time course: those of one frame in each, and `weight` between a voxel and itself a frame later.

    Voxels of frame f are numbered f V to (f + 1) V - 1.
    """
    n = one.n_voxels
    starts = n * np.arange(frames)
    within = (one.pairs[None] + starts[:, None, None]).reshape(-1, 2)
    across = (starts[:-1, None] + np.arange(n)).reshape(-1)
    pairs = np.concatenate([within, np.stack([across, across + n], 1)])
    return Couplings(pairs, np.r_[np.tile(one.weight, frames), np.full(len(across), float(weight))], frames * n)
