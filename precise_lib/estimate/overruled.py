"""Where the data overruled the MRI: groups of voxels that the MRI joins to those around them and the data cut off.

What couplings by the MRI join falls into parts where the data opened them. A part other than the largest is an island
if a level of its own gains its voxels more chi-squared than noise would give to any of so many groups of voxels, and if
the MRI shows no edge around it: of the neighbors that voxels would choose by the MRI, half of those that they touch,
at least half as many lie across its border as there would be without an edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.stats import chi2

from precise_lib.estimate.adaptive import Field
from precise_lib.estimate.coupling import Neighbors

CLOSED = 0.5  # share of a coupling that is left where it counts as closed
DENSE = 0.5  # neighbors chosen by the MRI across the border of an island over those anywhere
FALSE_ALARMS = 0.5  # of a data set that are put up with, about


@dataclass(frozen=True)
class Island:
    """Voxels (n,), their level over that around them (K,), and the chi-squared gained by it."""

    voxels: np.ndarray
    difference: np.ndarray
    gain: float


def _parts(pairs, n: int) -> np.ndarray:
    """Number of the connected part of every voxel."""
    graph = sparse.coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def _around(pairs, part) -> np.ndarray:
    """(parts,) how many pairs lead out of each part."""
    out = part[pairs][part[pairs[:, 0]] != part[pairs[:, 1]]]
    return np.bincount(out.ravel(), minlength=part.max() + 1)


def _across(pairs, part, maps) -> tuple[np.ndarray, np.ndarray]:
    """Of each end of each pair that leads out of a part: that part, and the maps (K,) at the other end."""
    here, there = np.concatenate([pairs, pairs[:, ::-1]]).T
    out = part[here] != part[there]
    return part[here[out]], maps[there[out]]


def _sums(part, values, n: int | None = None) -> np.ndarray:
    """Sums (parts, K) of values (V, K) over each part."""
    return np.stack([np.bincount(part, column, minlength=n or 0) for column in values.T], 1)


def least_gain(n_voxels: int, n_metabolites: int, size, false_alarms: float = FALSE_ALARMS) -> np.ndarray:
    """Gain that islands of `size` voxels exceed by chance about `false_alarms` times in a data set, at most.

    Bonferroni over connected groups of voxels, of which there are about 8 times more with each voxel.
    """
    groups = n_voxels * 8.0 ** (np.minimum(size, 12) - 1)
    return chi2.isf(np.minimum(false_alarms / groups, 0.5), n_metabolites)


def islands(field: Field, neighbors: Neighbors, false_alarms: float = FALSE_ALARMS) -> list[Island]:
    """Islands that noise alone would hardly make, the strongest first.

    Parameters
    ----------
    field : the maps, see `adaptive`
    neighbors : that they were made with
    """
    problem, n = field.problem, len(field.maps)
    pairs = problem.couplings.pairs
    joined, part = _parts(pairs, n), _parts(pairs[field.weights > CLOSED * problem.couplings.weight], n)
    size = np.bincount(part)
    whole = joined[np.unique(part, return_index=True)[1]]
    largest = np.zeros(joined.max() + 1, int)
    np.maximum.at(largest, whole, size)
    half = neighbors.bowsher(max(1, neighbors.most // 2)).pairs
    density = _around(half, part) / np.maximum(_around(neighbors.pairs, part), 1)
    dense = density > DENSE * len(half) / max(len(neighbors.pairs), 1)
    weight, around = _sums(part, problem.precision), _sums(*_across(pairs, part, field.maps), len(size))
    level = _sums(part, problem.precision * problem.ratios[:, 0]) / weight
    difference = level - around / np.maximum(_around(pairs, part), 1)[:, None]
    gain = (weight * difference**2).sum(1)
    chosen = (size < largest[whole]) & dense & (gain > least_gain(n, weight.shape[1], size, false_alarms))
    found = [Island(np.flatnonzero(part == k), difference[k], float(gain[k])) for k in np.flatnonzero(chosen)]
    return sorted(found, key=lambda x: -x.gain)
