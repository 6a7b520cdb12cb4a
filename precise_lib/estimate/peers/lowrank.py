r"""Low rank before a fit: what random matrix theory calls noise is taken out of the FIDs of many voxels together.

The Casorati matrix X (voxels x time) of K metabolites with common line shapes has rank K, whatever their amounts and
phases: each FID is a mix of K time courses. Complex noise of variance v = E|x|^2 (2 sigma^2 for sigma per channel)
fills all min(m, n) singular values of an m x n matrix; their squares lie between v (sqrt m - sqrt n)^2 and
v (sqrt m + sqrt n)^2 (Marchenko and Pastur, 1967). Keeping r true components leaves 1 - (m - r)(n - r) / (m n), about
r (m + n) / (m n), of the noise energy.

Two ways to choose r:

* `gavish_donoho`: the hard threshold on singular values with the least asymptotic error for unknown noise, a multiple
  of their median (Gavish and Donoho, IEEE Trans. Inf. Theory 2014, Eqs. 4-5);
* `marchenko_pastur`: the largest set of the smallest values whose spread is no wider than that of noise of their own
  mean (Veraart et al., NeuroImage 2016), applied in small windows or to all voxels (MP-PCA).

Where rank helps and where it does not. A fit that knows the lines projects onto them already, so noise outside their
span costs it almost nothing, and removing that noise gains almost nothing. What a small rank removes beyond that is a
metabolite whose variation over the voxels is below the noise: its map shrinks to a multiple of a stronger one, with a
small SD and without its contrast. Frequency shifts (B0) and varying widths break the premise: each line then spans
many time courses, the more the wider the range of shifts against 1 / T2*. Those below the noise are cut off, and
with them goes what tells one voxel's shift from another's. Both rules also take the noise of voxels as independent.
Where the encoding makes neighbors share it (spheres of k-space, zero filling), its singular values spread further
than the law allows, and the rules keep noise; a rank given by hand does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import xarray as xr
from scipy.integrate import quad
from scipy.optimize import brentq

from precise_lib.errors import InputError
from precise_lib.estimate.peers.filters import base_estimator
from precise_lib.signal.mrsi import MRSI

CHUNK = 4096  # voxels in double precision at a time


@lru_cache(maxsize=256)
def marchenko_pastur_median(beta: float) -> float:
    """Median of the Marchenko-Pastur law with aspect ratio beta <= 1 and variance one."""
    low, high = (1 - np.sqrt(beta)) ** 2, (1 + np.sqrt(beta)) ** 2

    def below(x):
        # x = low + (high - low) sin^2 u takes the square roots out of the integrand
        u = np.arcsin(np.sqrt((x - low) / (high - low)))
        span = high - low

        def density(w):
            s2, c2 = np.sin(w) ** 2, np.cos(w) ** 2
            at = low + span * s2
            return span**2 * s2 * c2 / (np.pi * beta * at) if at > 0 else span * c2 / (np.pi * beta)

        return quad(density, 0, u)[0]

    return brentq(lambda x: below(x) - 0.5, low, high)


def gavish_donoho(squared: np.ndarray, m: int, n: int) -> int:
    """How many singular values of an m x n matrix lie above the optimal hard threshold for unknown noise.

    `squared` (min(m, n),) are their squares, descending.
    """
    beta = min(m, n) / max(m, n)
    best = 2 * (beta + 1) + 8 * beta / (beta + 1 + np.sqrt(beta**2 + 14 * beta + 1))
    return int((squared > best / marchenko_pastur_median(beta) * np.median(squared)).sum())


def marchenko_pastur(squared: np.ndarray, m: int, n: int) -> tuple[int, float]:
    """Rank and noise variance E|x|^2 of an m x n matrix from its squared singular values (min(m, n),), descending.

    With p components taken out, the others are noise when their spread is at most ``4 v sqrt((m - p)(n - p))``,
    v their sum over ``(m - p)(n - p)``; the smallest such p counts.
    """
    p = np.arange(len(squared))
    size = (m - p) * (n - p)
    variance = np.cumsum(squared[::-1])[::-1] / size
    rank = int(np.argmax(squared - squared[-1] <= 4 * variance * np.sqrt(size)))
    return rank, float(variance[rank])


def _spectrum(gram: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared singular values (count,) and vectors of a Gram matrix, descending."""
    values, vectors = np.linalg.eigh(gram)
    return np.maximum(values[::-1][:count], 0), vectors[:, ::-1]


def truncate(fids: np.ndarray, rank: int | str = "gavish-donoho") -> tuple[np.ndarray, int]:
    """The best approximation of the Casorati matrix by one of small rank.

    Parameters
    ----------
    fids : (V, t) complex
    rank : components to keep, or "gavish-donoho" or "marchenko-pastur"

    Returns
    -------
    FIDs (V, t) complex64 and their rank. Memory beyond the result is bounded in V.
    """
    rules = ("gavish-donoho", "marchenko-pastur")
    if isinstance(rank, str) and rank not in rules:
        raise InputError(f"There is no rank '{rank}': give a number, or {' or '.join(rules)}.")
    if not isinstance(rank, str) and (rank < 1 or int(rank) != rank):
        raise InputError(f"The rank is {rank}; it must be a whole number, one or more.")
    m, n = fids.shape
    if m <= n:  # the smaller side: few voxels in double precision at once
        wide = fids.astype(complex)
        gram = wide @ wide.conj().T
    else:
        gram = np.zeros((n, n), complex)
        for i in range(0, m, CHUNK):
            part = fids[i : i + CHUNK].astype(complex)
            gram += part.conj().T @ part
    squared, vectors = _spectrum(gram, min(m, n))
    if rank == "gavish-donoho":
        rank = gavish_donoho(squared, m, n)
    elif rank == "marchenko-pastur":
        rank = marchenko_pastur(squared, m, n)[0]
    kept = vectors[:, : int(rank)].astype(np.complex64)
    out = kept @ (kept.conj().T @ fids) if m <= n else (fids @ kept) @ kept.conj().T
    return out.astype(np.complex64), min(int(rank), m, n)


def windows(usable: np.ndarray, size: int, stride: int) -> Iterator[np.ndarray]:
    """Numbers of the usable voxels in each window of `size` a side, one window every `stride` voxels.

    The first and last windows of an axis end with the grid; an axis shorter than the window is taken whole.
    """
    index = np.full(usable.shape, -1)
    index[usable] = np.arange(usable.sum())
    starts = [sorted({*range(0, max(n - size, 0), stride), max(n - size, 0)}) for n in usable.shape]
    for x in starts[0]:
        for y in starts[1]:
            for z in starts[2]:
                found = index[x : x + size, y : y + size, z : z + size].ravel()
                if (found >= 0).any():
                    yield found[found >= 0]


def mppca(fids: np.ndarray, usable: np.ndarray, size: int = 5, stride: int = 2):
    """MP-PCA in overlapping windows; each voxel is the mean over the windows that hold it.

    Parameters
    ----------
    fids : (V, t) complex, those of `usable` (x, y, z) in its order
    size : side of the windows in voxels, 5 for 5x5(x5); windows at the border of the mask hold fewer voxels
    stride : distance of the windows in voxels, at most `size`

    Returns
    -------
    denoised FIDs (V, t) complex64; noise SD per real channel (V,); rank (V,), mean over the windows. A window of
    fewer than three voxels is left as it is, with NaN for its noise.
    """
    if size < 2 or not 1 <= stride <= size:
        raise InputError(f"Windows of {size} voxels every {stride} do not cover the data: use 1 <= stride <= size.")
    n = fids.shape[1]
    total = np.zeros(fids.shape, np.complex64)
    count, rank, variance, judged = np.zeros((4, len(fids)))
    for voxels in windows(usable, size, stride):
        block, m = fids[voxels], len(voxels)
        count[voxels] += 1
        if min(m, n) < 3:
            total[voxels] += block
            continue
        wide = block.astype(complex)
        gram = wide @ wide.conj().T if m <= n else wide.conj().T @ wide
        squared, vectors = _spectrum(gram, min(m, n))
        r, v = marchenko_pastur(squared, m, n)
        kept = vectors[:, :r].astype(np.complex64)
        total[voxels] += kept @ (kept.conj().T @ block) if m <= n else (block @ kept) @ kept.conj().T
        rank[voxels] += r
        variance[voxels] += v
        judged[voxels] += 1
    with np.errstate(invalid="ignore"):
        sigma, rank = np.sqrt(variance / judged / 2), rank / judged
    return total / count[:, None].astype(np.float32), sigma, rank


def _then(base: Callable, data: MRSI, fids: np.ndarray, name: str, **about) -> xr.DataArray:
    """The base estimator on denoised FIDs (V, t) of the usable voxels."""
    whole = np.zeros_like(data.fids)
    whole[data.usable] = fids
    maps = base(data.replace(fids=whole)).rename(name)
    maps.attrs |= about
    return maps


@dataclass(frozen=True)
class TruncatedSvd:
    """Another estimator after truncation of the Casorati matrix; see `truncate`. The maps' `rank` says what it kept."""

    rank: int | str = "gavish-donoho"
    base: str | Callable = "fit"

    @property
    def name(self) -> str:
        return f"svd-{base_estimator(self.base).name}"

    def __call__(self, data: MRSI) -> xr.DataArray:
        base = base_estimator(self.base)
        if not data.usable.any():
            return base(data).rename(self.name)
        fids, rank = truncate(data.fids[data.usable], self.rank)
        return _then(base, data, fids, self.name, rank=rank)


@dataclass(frozen=True)
class MpPca:
    """Another estimator after MP-PCA; see `mppca`. The maps' `rank` is the mean over windows.

    `size` None takes all voxels as one window.
    """

    size: int | None = 5
    stride: int = 2
    base: str | Callable = "fit"

    @property
    def name(self) -> str:
        return f"mppca-{base_estimator(self.base).name}"

    def __call__(self, data: MRSI) -> xr.DataArray:
        base = base_estimator(self.base)
        if not data.usable.any():
            return base(data).rename(self.name)
        fids = data.fids[data.usable]
        if self.size is None:
            fids, rank = truncate(fids, "marchenko-pastur")
        else:
            fids, _, ranks = mppca(fids, data.usable, self.size, self.stride)
            rank = float(np.nanmean(ranks)) if np.isfinite(ranks).any() else np.nan
        return _then(base, data, fids, self.name, rank=rank)
