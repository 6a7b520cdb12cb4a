r"""Low rank before a fit: what random matrix theory calls noise is taken out of the FIDs of many voxels together.

FIDs of K metabolites with common line shapes, a matrix of voxels x time, have rank K. Noise of variance v = E|x|^2
(2 sigma^2 for sigma per channel) has squared singular values between v (sqrt m - sqrt n)^2 and v (sqrt m + sqrt n)^2
(Marchenko and Pastur, 1967). Keeping r of an m x n matrix leaves about r (m + n) / (m n) of the noise energy.

* `gavish_donoho`: the hard threshold with the least asymptotic error for unknown noise, a multiple of the median
  singular value (Gavish and Donoho, IEEE Trans. Inf. Theory 2014, Eqs. 4-5);
* `marchenko_pastur`: the largest set of the smallest values whose spread is no wider than that of noise of their own
  mean (Veraart et al., NeuroImage 2016), in small windows or for all voxels (MP-PCA).

A fit that knows the lines ignores noise outside their span already. What a small rank removes beyond it is a metabolite
whose variation is below the noise: its map becomes a multiple of a stronger one. Shifts (B0) raise the rank. Where
neighbors share noise (spheres of k-space, zero filling) both rules keep too much; a rank given by hand does not.
"""

from __future__ import annotations

import itertools
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
    span = high - low

    def density(w):
        s2, c2 = np.sin(w) ** 2, np.cos(w) ** 2
        at = low + span * s2
        return span**2 * s2 * c2 / (np.pi * beta * at) if at > 0 else span * c2 / (np.pi * beta)

    def below(x):
        # x = low + (high - low) sin^2 u takes the square roots out of the integrand
        return quad(density, 0, np.arcsin(np.sqrt((x - low) / span)))[0]

    return brentq(lambda x: below(x) - 0.5, low, high)


def gavish_donoho(squared: np.ndarray, m: int, n: int) -> int:
    """How many singular values of an m x n matrix, `squared` (min(m, n),), lie above the optimal hard threshold."""
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


def _spectrum(fids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared singular values (min(m, n),) and vectors on the smaller side of FIDs (m, n), descending."""
    m, n = fids.shape
    if m <= n:
        wide = fids.astype(complex)
        gram = wide @ wide.conj().T
    else:  # few voxels in double precision at once
        gram = np.zeros((n, n), complex)
        for i in range(0, m, CHUNK):
            part = fids[i : i + CHUNK].astype(complex)
            gram += part.conj().T @ part
    values, vectors = np.linalg.eigh(gram)
    return np.maximum(values[::-1][: min(m, n)], 0), vectors[:, ::-1]


def _keep(fids: np.ndarray, vectors: np.ndarray, rank: int) -> np.ndarray:
    """The projection of FIDs on the first of their singular vectors."""
    kept = vectors[:, :rank].astype(np.complex64)
    return kept @ (kept.conj().T @ fids) if len(fids) <= fids.shape[1] else (fids @ kept) @ kept.conj().T


def truncate(fids: np.ndarray, rank: int | str = "gavish-donoho") -> tuple[np.ndarray, int]:
    """The best approximation of FIDs (V, t) by a matrix of small rank: complex64, and that rank; memory is bounded in
    V.

    `rank` is how many components to keep, or "gavish-donoho" or "marchenko-pastur"; `InputError` for anything else.
    """
    rules = ("gavish-donoho", "marchenko-pastur")
    if isinstance(rank, str) and rank not in rules:
        raise InputError(f"There is no rank '{rank}': give a number, or {' or '.join(rules)}.")
    if not isinstance(rank, str) and (rank < 1 or int(rank) != rank):
        raise InputError(f"The rank is {rank}; it must be a whole number, one or more.")
    m, n = fids.shape
    squared, vectors = _spectrum(fids)
    if rank == "gavish-donoho":
        rank = gavish_donoho(squared, m, n)
    elif rank == "marchenko-pastur":
        rank = marchenko_pastur(squared, m, n)[0]
    return _keep(fids, vectors, int(rank)).astype(np.complex64), min(int(rank), m, n)


def windows(usable: np.ndarray, size: int, stride: int) -> Iterator[np.ndarray]:
    """Numbers of the usable voxels in each window of `size` a side, one every `stride` voxels and one at each end."""
    index = np.full(usable.shape, -1)
    index[usable] = np.arange(usable.sum())
    starts = [sorted({*range(0, max(n - size, 0), stride), max(n - size, 0)}) for n in usable.shape]
    for x, y, z in itertools.product(*starts):
        found = index[x : x + size, y : y + size, z : z + size].ravel()
        if (found >= 0).any():
            yield found[found >= 0]


def mppca(fids: np.ndarray, usable: np.ndarray, size: int = 5, stride: int = 2):
    """MP-PCA in overlapping windows; each voxel is the mean over the windows that hold it.

    FIDs (V, t) are those of `usable` (x, y, z) in its order; windows are `size` voxels wide, `stride` apart, and hold
    fewer at the border of the mask. Returns denoised FIDs (V, t) complex64; noise SD per real channel (V,); mean rank
    (V,). A window of fewer than three voxels is left as it is, with NaN for its noise.
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
        squared, vectors = _spectrum(block)
        r, v = marchenko_pastur(squared, m, n)
        total[voxels] += _keep(block, vectors, r)
        rank[voxels] += r
        variance[voxels] += v
        judged[voxels] += 1
    with np.errstate(invalid="ignore"):
        sigma, rank = np.sqrt(variance / judged / 2), rank / judged
    return total / count[:, None].astype(np.float32), sigma, rank


def _denoised(base: str | Callable, data: MRSI, denoise: Callable, name: str) -> xr.DataArray:
    """The base estimator on denoised FIDs; ``denoise`` gives those of the usable voxels (V, t) and their rank."""
    base, usable = base_estimator(base), data.usable
    if not usable.any():
        return base(data).rename(name)
    whole = np.zeros_like(data.fids)
    whole[usable], rank = denoise(data.fids[usable], usable)
    return base(data.replace(fids=whole)).rename(name).assign_attrs(rank=rank)


@dataclass(frozen=True)
class TruncatedSvd:
    """Another estimator after truncation of the Casorati matrix; see `truncate`. The maps' `rank` says what it kept."""

    rank: int | str = "gavish-donoho"
    base: str | Callable = "fit"

    @property
    def name(self) -> str:
        return f"svd-{base_estimator(self.base).name}"

    def __call__(self, data: MRSI) -> xr.DataArray:
        return _denoised(self.base, data, lambda fids, _: truncate(fids, self.rank), self.name)


@dataclass(frozen=True)
class MpPca:
    """Another estimator after MP-PCA, see `mppca`; `size` None: in one window. The maps' `rank` is a mean."""

    size: int | None = 5
    stride: int = 2
    base: str | Callable = "fit"

    @property
    def name(self) -> str:
        return f"mppca-{base_estimator(self.base).name}"

    def _denoise(self, fids, usable):
        if self.size is None:
            return truncate(fids, "marchenko-pastur")
        fids, _, ranks = mppca(fids, usable, self.size, self.stride)
        return fids, float(np.nanmean(ranks)) if np.isfinite(ranks).any() else np.nan

    def __call__(self, data: MRSI) -> xr.DataArray:
        return _denoised(self.base, data, self._denoise, self.name)
