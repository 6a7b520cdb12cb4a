r"""Edges of the MRI that metabolism does not follow: where the MRI has a border and every metabolite is level across it.

That no difference is *seen* across an edge says little: noise hides differences. So this is an equivalence test (two
one-sided tests, Schuirmann 1987): an edge counts if the 90 % interval of the step across it lies within a tolerance,
in percent of the mean of both sides, for **every** metabolite. Of edges with a larger step at most 5 % then count.
No interval is formed for the ratio: ``step - tolerance * mean`` must be negative, and ``step + tolerance * mean``
positive, by `LEVEL` each; both are linear in the data, so their noise is known exactly. A metabolite that is hardly
there has no percent: its edges never count.

**No prior takes part.** The adaptive prior couples voxels across edges, too: each voxel chooses a fixed number of
neighbors, and often by distance alone. It would make a step small that the data do not show to be. So steps are
those of single voxels, which are unbiased, averaged along the edge until they are precise enough.

**An edge** is a pair of touching voxels whose gray levels differ by more than those of `LIKE` of the pairs in which
each voxel is among the nearer half of the other's neighbors by gray level: what noise, shading and partial volume of
this MRI leave inside a tissue. Averages run over pairs of the same edge: both ends touch, and gray levels differ by
no more than inside a tissue. They widen step by step, for each pair until the SD of its steps would let a level edge
be found in `POWER` of cases. Only the noise decides that, not the steps.

**Expected** before it was tried, from the SD of single voxels over level on two random objects and the rings (lactate
at SNR 12 about 0.45, at SNR 20 about 0.30, at SNR 35 about 0.17; the others a third of it): at a tolerance of 20 % a
level edge is found at an SD of its step of 7 % of the level, which takes about 90 voxels on each side at SNR 12, 40 at
SNR 20 and 13 at SNR 35. Balls of 5 voxels across have 60 at their surface. So of the edges of such a feature that no
metabolite has, we expect to find less than 10 % at SNR 12, about 40 % at SNR 20 and 75 % at SNR 35; of edges with a
step of over 20 % in any metabolite less than 2 % at every SNR, since few have just a little more, and 5 % at the worst.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.stats import norm, t

from precise_lib.estimate.coupling import Neighbors

TOLERANCE = 20.0  # percent
LEVEL, POWER = 0.95, 0.9  # of each one-sided test; of finding a level edge, at which averages stop to widen
LIKE = 0.95  # share of pairs inside a tissue that differ by less than an edge
GRAY = 0.01  # of the range of gray levels: finer differences are no edge
WIDEN = 16  # steps of averaging along an edge, at most
DRAWS = 48  # of noise


@dataclass(frozen=True)
class Edges:
    """Pairs (E, 2) of voxels across an edge of the MRI, the brighter one first.

    Attributes
    ----------
    margin : (E, K) of the step to the tolerance in units of mM, negative where the test says level
    level : (E,) bool, whether no metabolite follows
    n_voxels : V
    """

    pairs: np.ndarray
    margin: np.ndarray
    n_voxels: int

    @property
    def level(self) -> np.ndarray:
        return (self.margin < 0).all(1)

    @property
    def share(self) -> np.ndarray:
        """(V,) share of the edges of a voxel that no metabolite follows; NaN where it has no edge."""
        ends = self.pairs.ravel()
        count = np.bincount(ends, minlength=self.n_voxels)
        with np.errstate(invalid="ignore"):
            return np.bincount(ends, np.repeat(self.level, 2), self.n_voxels) / count


def contrast_of_edges(neighbors: Neighbors) -> float:
    """Difference in gray level from which on a pair lies across an edge."""
    like = neighbors.bowsher(max(1, neighbors.most // 2))
    u, v = like.pairs[like.weight == 1].T
    return max(float(np.quantile(np.abs(neighbors.gray[u] - neighbors.gray[v]), LIKE)), GRAY) if len(u) else GRAY


def _along(pairs, neighbors: Neighbors, contrast: float) -> sparse.csr_matrix:
    """(E, E) means over the pairs of the same edge that touch each pair, and itself."""
    n, touching = len(pairs), neighbors.touching + sparse.identity(neighbors.n_voxels, format="csr")
    ends = [sparse.csr_matrix((np.ones(n), (np.arange(n), end)), (n, neighbors.n_voxels)) for end in pairs.T]
    bright, dark = ((end @ touching) @ end.T for end in ends)
    same = bright.multiply(dark).tocoo()
    gray = neighbors.gray[pairs]
    keep = (np.abs(gray[same.row] - gray[same.col]) <= contrast).all(1)
    rows, columns = same.row[keep], same.col[keep]
    return sparse.csr_matrix((1 / np.bincount(rows, minlength=n)[rows], (rows, columns)), (n, n))


def edges(ratios, neighbors: Neighbors, noise, tolerance: float = TOLERANCE) -> Edges:
    """Edges of the MRI, and which of them no metabolite follows.

    Parameters
    ----------
    ratios : (V, K) single-voxel ratios
    neighbors : of the same voxels, with the MRI
    noise : (R, V, K) like that of the ratios, see `stein.probes`
    tolerance : step that counts as none, in percent of the mean of both sides
    """
    contrast, noise = contrast_of_edges(neighbors), np.asarray(noise, float)
    pairs = neighbors.pairs[neighbors.contrast > contrast]
    gray = neighbors.gray[pairs]
    pairs = np.where((gray[:, 1] > gray[:, 0])[:, None], pairs[:, ::-1], pairs)
    data = np.concatenate([np.asarray(ratios, float)[None], noise])
    share, along = tolerance / 100, _along(pairs, neighbors, contrast)
    ends = data[:, pairs]  # (1 + R, E, 2, K)
    step, mean = ends[:, :, 0] - ends[:, :, 1], share * ends.mean(2)
    sides = np.moveaxis(np.concatenate([step - mean, -step - mean], -1), 0, 1)  # (E, 1 + R, 2 K), both negative if level
    width, wanted = t.ppf(LEVEL, len(noise) - 1), norm.ppf(1 - (1 - POWER) / 2)
    margin, open_ = np.full((len(pairs), sides.shape[-1] // 2), np.inf), np.ones(len(pairs), bool)
    for _ in range(WIDEN):
        sides = (along @ sides.reshape(len(pairs), -1)).reshape(sides.shape)
        sd = np.sqrt((sides[:, 1:] ** 2).mean(1))
        now = (sides[:, 0] + width * sd).reshape(len(pairs), 2, -1).max(1)
        margin[open_] = now[open_]
        level = -sides[:, 0].reshape(len(pairs), 2, -1).mean(1)  # share of the mean
        open_ &= ((width + wanted) * sd.reshape(len(pairs), 2, -1).max(1) > level).any(1)
        if not open_.any():
            break
    return Edges(pairs, margin, neighbors.n_voxels)
