r"""Total variation of all metabolites together, blind or along the edges of the MRI.

Single-voxel ratios s (V, K) with noise variance t^2 become the minimizer c of::

    1/2 sum_vk (c_vk - s_vk)^2 / t_vk^2 + lambda sum_v |P_v (grad c)_v|,

with forward differences over distance in units of the median noise of each metabolite, and the norm over axes and
metabolites together: an edge that one metabolite shows is cheap for the others (joint total variation, Bresson and
Chan 2008). ``P_v = 1 - xi_v xi_v'`` takes out the part along ``xi = grad r / sqrt(|grad r|^2 + eta^2)`` of the gray
levels r, so that an edge at one of the MRI is free (directional total variation: parallel level sets, Ehrhardt and
Betcke 2016). An infinite eta leaves the MRI no say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import sparse

from precise_lib.errors import check_number
from precise_lib.estimate.peers.ratios import AUTO, RatioPeer

STEPS = 300  # of the primal-dual iteration: within 1 % of the noise of where it ends


def gradient(gray: np.ndarray, size, eta: float = np.inf) -> sparse.csr_matrix:
    """(d V, V): forward differences along the d axes of more than one voxel, less what lies along edges of the MRI.

    Parameters
    ----------
    gray : (x, y, z) gray levels, NaN outside; V counts the finite ones
    size : (3,) of a voxel, in any unit: differences are per the smallest
    eta : gray-level difference from which an edge counts as one
    """
    known = np.isfinite(gray)
    number, n = np.full(gray.shape, -1), int(known.sum())
    number[known] = np.arange(n)
    axes = [i for i, length in enumerate(gray.shape) if length > 1]
    smallest, parts, slopes = min(size[i] for i in axes) if axes else 1.0, [], []
    for i in axes:
        here, there = number.take(range(gray.shape[i] - 1), i), number.take(range(1, gray.shape[i]), i)
        both = (here >= 0) & (there >= 0)
        u, v = here[both], there[both]
        ends = (np.r_[u, u], np.r_[v, u])
        step = sparse.csr_matrix((np.repeat([1.0, -1.0], len(u)) * smallest / size[i], ends), shape=(n, n))
        parts.append(step)
        slopes.append(step @ gray[known])
    if not axes:
        return sparse.csr_matrix((0, n))
    if np.isinf(eta):
        return sparse.vstack(parts).tocsr()
    xi = np.array(slopes) / np.sqrt((np.array(slopes) ** 2).sum(0) + eta**2)
    rows = [sum(sparse.diags((i == j) - xi[i] * xi[j]) @ part for j, part in enumerate(parts)) for i in range(len(xi))]
    return sparse.vstack(rows).tocsr()


def total_variation(ratios, variance, slopes: sparse.csr_matrix, lam: float, steps: int = STEPS) -> np.ndarray:
    """The minimizer (V, K), by the accelerated primal-dual iteration of Chambolle and Pock (2011).

    Parameters
    ----------
    ratios, variance : (V, K)
    slopes : see `gradient`
    """
    check_number("lambda of total variation", lam, zero=True)
    scale = np.sqrt(np.median(variance, 0))
    data, precision = ratios / scale, scale**2 / variance
    n, k = data.shape
    if lam == 0 or not slopes.shape[0]:
        return np.array(ratios, float)
    back, d = slopes.T.tocsr(), slopes.shape[0] // n
    tau = sigma = 1 / np.sqrt(4 * d)  # a difference of two has a norm of at most 2
    convexity, x, ahead, dual = precision.min(), data, data, np.zeros((d * n, k))
    for _ in range(steps):
        dual = (dual + sigma * (slopes @ ahead)).reshape(d, n, k)
        dual = (dual / np.maximum(1, np.sqrt((dual**2).sum((0, 2))) / lam)[:, None]).reshape(d * n, k)
        moved = (x - tau * (back @ dual) + tau * precision * data) / (1 + tau * precision)
        theta = 1 / np.sqrt(1 + 2 * convexity * tau)
        tau, sigma = tau * theta, sigma / theta
        ahead, x = moved + theta * (moved - x), moved
    return x * scale


@dataclass(frozen=True)
class JointVariation(RatioPeer):
    """Joint total variation of another estimator's ratios, without the MRI."""

    lam: float | str = AUTO
    kind: ClassVar[str] = "tv"
    guided: ClassVar[bool] = False
    parameter: ClassVar[str] = "lam"
    values: ClassVar[tuple[float, ...]] = (0.2, 0.3, 0.5, 0.8, 1.2, 1.8, 2.7)

    def solved(self, values, of):
        return total_variation(values, of.variance, gradient(of.gray, of.size_mm), self.lam)


@dataclass(frozen=True)
class DirectionalVariation(JointVariation):
    """Total variation of another estimator's ratios along the edges of the MRI."""

    eta: float = 0.1
    kind: ClassVar[str] = "dtv"
    guided: ClassVar[bool] = True

    def solved(self, values, of):
        return total_variation(values, of.variance, gradient(of.gray, of.size_mm, self.eta), self.lam)
