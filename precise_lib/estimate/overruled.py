"""Where the data overruled the MRI: groups of voxels that the MRI joins to those around them and the data cut off.

What couplings by the MRI join falls into parts where the data opened them. A part other than the largest is looked at
if a level of its own gains its voxels more chi-squared than noise would give to any of so many groups of voxels, and if
the MRI shows no edge around it: its gray level lies amid those of the voxels one and two away. Such parts that touch
and agree are one.

Voxels that mix tissues lie apart from their neighbors, too, but between them, in metabolites and gray level alike. So
an island is a group whose level and gray level are those of no mixture of the voxels two away from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import nnls
from scipy.sparse.csgraph import connected_components
from scipy.stats import chi2

from precise_lib.estimate.adaptive import Field
from precise_lib.estimate.coupling import Neighbors

CLOSED = 0.5  # share of a coupling that is left where it counts as closed
FALSE_ALARMS = 0.5  # groups of a data set that noise alone may cut off, about
ONE = 1e-3  # probability of a difference that is taken to be between two groups
MIXED = 0.01  # that a mixture of tissues is taken for an island
AMID = 0.15, 0.85  # shares of the voxels around that are darker than a group around which the MRI shows no edge
GRAY = 0.01  # of the range of gray levels: finer differences tell nothing
SUM = 1e3  # weight that holds the shares of a mixture at a sum of one


@dataclass(frozen=True)
class Island:
    """Voxels (n,), their level over that of their like neighbors (K,), and the chi-squared that no mixture explains."""

    voxels: np.ndarray
    difference: np.ndarray
    gain: float


def _parts(pairs, n: int) -> np.ndarray:
    """Number of the connected part of every voxel."""
    graph = sparse.coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def _sums(part, values, n: int | None = None) -> np.ndarray:
    """Sums (parts, K) of values (V, K) over each part."""
    return np.stack([np.bincount(part, column, minlength=n or 0) for column in values.T], 1)


def _levels(field: Field, part) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, level and level over that of the coupled voxels around, (parts, K), of each part."""
    problem, pairs = field.problem, field.problem.couplings.pairs
    weight = _sums(part, problem.precision)
    level = _sums(part, problem.precision * problem.ratios[:, 0]) / weight
    here, there = np.concatenate([pairs, pairs[:, ::-1]]).T
    out = part[here] != part[there]
    leading = np.bincount(part[here[out]], minlength=len(weight))[:, None]
    around = _sums(part[here[out]], field.maps[there[out]], len(weight)) / np.maximum(leading, 1)
    return weight, level, level - around


def least_gain(n_voxels: int, n_metabolites: int, size, false_alarms: float = FALSE_ALARMS) -> np.ndarray:
    """Gain that groups of `size` voxels exceed by chance about `false_alarms` times in a data set, at most.

    Bonferroni over connected groups of voxels, of which there are about 8 times more with each voxel.
    """
    groups = n_voxels * 8.0 ** (np.minimum(size, 12) - 1)
    return chi2.isf(np.minimum(false_alarms / groups, 0.5), n_metabolites)


class _Around:
    """Gray levels of groups of voxels and of what is one and two voxels away from them."""

    def __init__(self, neighbors: Neighbors):
        self.gray, self.touching = neighbors.gray, neighbors.touching
        u, v = neighbors.bowsher(max(1, neighbors.most // 2)).pairs.T
        self.fine = max(np.median(np.abs(self.gray[u] - self.gray[v])), GRAY) if len(u) else GRAY  # of like neighbors

    def shells(self, voxels) -> tuple[np.ndarray, np.ndarray]:
        one = np.setdiff1d(self.touching[voxels].indices, voxels)
        return one, np.setdiff1d(self.touching[one].indices, np.append(voxels, one))

    def hidden(self, voxels) -> bool:
        """Whether the MRI shows no edge around them."""
        level, around = self.gray[voxels].mean(), self.gray[np.concatenate(self.shells(voxels))]
        if not len(around):
            return False
        darker = (np.mean(around < level - GRAY) + np.mean(around <= level + GRAY)) / 2
        return AMID[0] <= darker <= AMID[1]

    def unlike_mixtures(self, voxels, level, weight, maps, free) -> float:
        """Chi-squared of a level (K,) with precision `weight` (K,) over the nearest mixture of the `free` (V,) bool
        voxels two away, or one away where there are none; 0 where nothing is."""
        others = next((x[free[x]] for x in self.shells(voxels)[::-1] if free[x].any()), voxels)
        values, scale = np.append(level, self.gray[voxels].mean()), np.append(np.sqrt(weight), 1 / self.fine)
        apart = (np.column_stack([maps, self.gray])[others] - values) * scale
        shares = np.vstack([apart.T, np.full(len(others), SUM)])  # of a sum of one
        return float(nnls(shares, np.append(np.zeros(len(values)), SUM))[1] ** 2) if others is not voxels else 0.0


def _cut_off(field: Field, false_alarms: float) -> tuple[np.ndarray, np.ndarray]:
    """Part (V,) of every voxel, and whether data rather than noise cut each part (parts,) out of a larger one."""
    problem, n = field.problem, len(field.maps)
    pairs = problem.couplings.pairs
    joined, part = _parts(pairs, n), _parts(pairs[field.weights > CLOSED * problem.couplings.weight], n)
    size, whole = np.bincount(part), joined[np.unique(part, return_index=True)[1]]
    largest = np.zeros(joined.max() + 1, int)
    np.maximum.at(largest, whole, size)
    weight, _, difference = _levels(field, part)
    gain = (weight * difference**2).sum(1)
    return part, (size < largest[whole]) & (gain > least_gain(n, weight.shape[1], size, false_alarms))


def islands(field: Field, neighbors: Neighbors, false_alarms: float = FALSE_ALARMS) -> list[Island]:
    """Islands that neither noise nor mixtures of tissues would make, the strongest first.

    Parameters
    ----------
    field : the maps, see `adaptive`
    neighbors : that they were made with
    false_alarms : groups of a data set that noise alone may cut off, about
    """
    around, (part, chosen) = _Around(neighbors), _cut_off(field, false_alarms)
    for k in np.flatnonzero(chosen):
        chosen[k] = around.hidden(np.flatnonzero(part == k))
    taken, (weight, level, _) = chosen[part], _levels(field, part)
    pairs = np.concatenate([neighbors.pairs, neighbors.following])
    u, v = part[pairs[taken[pairs].all(1)]].T
    agree = ((level[u] - level[v]) ** 2 / (1 / weight[u] + 1 / weight[v])).sum(1) < chi2.isf(ONE, level.shape[1])
    group = _parts(np.stack([u, v], 1)[agree], len(level))[part]
    weight, level, difference = _levels(field, group)
    found = []
    for k in np.unique(group[taken]):
        voxels = np.flatnonzero(group == k)
        gain = around.unlike_mixtures(voxels, level[k], weight[k], field.maps, ~taken)
        if gain > chi2.isf(MIXED, level.shape[1] + 1):
            found.append(Island(voxels, difference[k], gain))
    return sorted(found, key=lambda x: -x.gain)
