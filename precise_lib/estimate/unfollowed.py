r"""Edges of the MRI that metabolism does not follow: a border in the MRI, and every metabolite level across it.

That no difference is *seen* across an edge says little: noise hides differences. So this is an equivalence test (two
one-sided tests, Schuirmann 1987): an edge counts if the 90 % interval of the step across it lies within a tolerance,
in percent of the mean of both sides, for **every** metabolite. No ratio is formed: ``step - tolerance * mean`` must be
negative and ``step + tolerance * mean`` positive, by `SURE` each; both are linear in the data, so their noise is known.
A metabolite that is hardly there has no percent: then nothing counts.

**No prior takes part.** The adaptive prior couples voxels across edges, too: each chooses a fixed number of neighbors,
and often by distance alone. It could make a step small that is not. So steps are those of single voxels, averaged along
the edge until they are precise enough, which only their noise decides.

**An edge** is a pair of touching voxels whose gray levels differ by `EDGE` times the SD of such differences inside
tissues, which noise, shading and partial volume of this MRI make. Most pairs lie inside a tissue: the SD is that of
normal differences with the same median. An MRI of noise alone has hardly any edge then. Of the same edge are pairs that
touch, with gray levels on each side that differ by no more. A mean over a long edge would hide a place where metabolism
does follow. So the mean over the pairs that touch a pair, its piece of the edge, must lie within the tolerance as well,
without its interval. Finer the data do not tell.

The price is power. Where a metabolite has an SD of 45 % of its level in a single voxel, as lactate at SNR 12, a step of
zero takes about 90 voxels on each side to be told from one of 20 %; at SNR 35 about 13. `Edges.told` says where.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.stats import norm, t

from precise_lib.errors import InputError, check_number
from precise_lib.estimate.coupling import Neighbors
from precise_lib.estimate.stein import WELL

TOLERANCE = 20.0  # percent
SURE = 0.95  # of each one-sided test
POWER = 0.8  # of finding a step of zero within the tolerance, at which averages stop to widen
EDGE = 3.0  # SD of differences in gray level inside a tissue
GRAY = 0.01  # of the range of gray levels: finer differences are no edge
WIDEN = 16  # steps of averaging along an edge, at most
DRAWS, LEAST_DRAWS = 48, 16  # of noise; fewer where there are many voxels
ROWS = 20_000  # pairs whose neighbors along the edge are in memory together


@dataclass(frozen=True)
class Edges:
    """Pairs (E, 2) of voxels across an edge of the MRI, the brighter one first.

    Attributes
    ----------
    level : (E,) bool, whether no metabolite follows
    told : (E,) bool, whether the noise is low enough that a step of zero would be found so
    n_voxels : V
    """

    pairs: np.ndarray
    level: np.ndarray
    told: np.ndarray
    n_voxels: int

    @property
    def share(self) -> np.ndarray:
        """(V,) share of the edges of a voxel that no metabolite follows; NaN where it has none that can be told."""
        ends, n = self.pairs.ravel(), self.n_voxels
        known, level = (np.bincount(ends, np.repeat(x, 2), n) for x in (self.level | self.told, self.level))
        return np.where(known > 0, level / np.maximum(np.bincount(ends, minlength=n), 1), np.nan)


def check_tolerance(value: float) -> None:
    check_number("tolerance", value)
    if value >= 100:
        raise InputError(f"tolerance is {value:g}: give a step in percent of the level, below 100.")


def draws(n_voxels: int) -> int:
    """How often to draw the noise."""
    return max(LEAST_DRAWS, DRAWS * WELL // max(n_voxels, WELL))


def contrast_of_edges(neighbors: Neighbors) -> float:
    """Difference in gray level from which on a pair lies across an edge."""
    inside = np.median(neighbors.contrast) / norm.ppf(0.75) if len(neighbors.pairs) else 0.0
    return max(EDGE * float(inside), GRAY)


def across(neighbors: Neighbors, contrast: float) -> np.ndarray:
    """Pairs (E, 2) across an edge, the brighter one first."""
    pairs = neighbors.pairs[neighbors.contrast > contrast]
    gray = neighbors.gray[pairs]
    return np.where((gray[:, 1] > gray[:, 0])[:, None], pairs[:, ::-1], pairs)


def along(pairs, neighbors: Neighbors, contrast: float) -> sparse.csr_matrix:
    """(E, E) mean over the piece of the edge around each pair: itself and the pairs of the same edge that touch it."""
    n, gray = len(pairs), neighbors.gray[pairs]
    touching = neighbors.touching + sparse.identity(neighbors.n_voxels, format="csr")
    ends = [sparse.csr_matrix((np.ones(n), (np.arange(n), end)), (n, neighbors.n_voxels)) for end in pairs.T]
    near, others, parts = [end @ touching for end in ends], [end.T.tocsc() for end in ends], []
    for i in range(0, n, ROWS):
        bright, dark = (x[i : i + ROWS] @ end for x, end in zip(near, others, strict=True))
        both = bright.multiply(dark).tocoo()
        like = (np.abs(gray[both.row + i] - gray[both.col]) <= contrast).all(1)
        parts.append(np.stack([both.row[like] + i, both.col[like]]))
    rows, columns = np.concatenate(parts, 1)
    return sparse.csr_matrix((1 / np.bincount(rows, minlength=n)[rows], (rows, columns)), (n, n))


def edges(ratios, neighbors: Neighbors, noise, tolerance: float = TOLERANCE) -> Edges:
    """Edges of the MRI, and which of them no metabolite follows.

    Parameters
    ----------
    ratios : (V, K) single-voxel ratios
    neighbors : of the same voxels, with the MRI
    noise : (R, V, K) like that of the ratios, see `stein.probes` and `draws`
    tolerance : step that counts as none, in percent of the mean of both sides
    """
    check_tolerance(tolerance)
    contrast = contrast_of_edges(neighbors)
    pairs = across(neighbors, contrast)
    if not len(pairs):
        return Edges(pairs, np.zeros(0, bool), np.zeros(0, bool), neighbors.n_voxels)
    data = np.moveaxis(np.concatenate([np.asarray(ratios)[None], noise]).astype(np.float32), 0, 1)
    bright, dark = data[pairs[:, 0]], data[pairs[:, 1]]
    step, half = bright - dark, np.float32(tolerance / 200) * (bright + dark)
    level, told = _tested(np.concatenate([step - half, -step - half], -1), along(pairs, neighbors, contrast))
    return Edges(pairs, level, told, neighbors.n_voxels)


def _tested(beyond, mean: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """`Edges.level` and `told`, from steps beyond the tolerance up and down (E, 1 + R, 2 K), negative if within it.

    The first of 1 + R is that of the data, the others are those of noise.
    """
    n, (width, wanted) = len(beyond), (t.ppf(SURE, beyond.shape[1] - 2), norm.ppf((1 + POWER) / 2))
    level, told, here = np.zeros(n, bool), np.zeros(n, bool), None
    mean = mean.astype(np.float32)
    for _ in range(WIDEN):
        beyond = (mean @ beyond.reshape(n, -1)).reshape(beyond.shape)
        found, sd = beyond[:, 0], np.sqrt((beyond[:, 1:] ** 2).mean(1))
        here = (found < 0).all(1) if here is None else here  # the piece of the edge around a pair
        level = np.where(told, level, here & (found + width * sd < 0).all(1))
        allowed = -found.reshape(n, 2, -1).mean(1)  # tolerance times the mean of both sides
        told |= ((width + wanted) * sd.reshape(n, 2, -1).max(1) <= allowed).all(1)
        if told.all():
            break
    return level, told
