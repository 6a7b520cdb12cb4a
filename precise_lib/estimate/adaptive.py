r"""A prior that lets the data overrule the MRI.

Single-voxel ratios s (V, K) with noise variance t^2 (V, K) become the minimizer c of

    sum_vk (c_vk - s_vk)^2 / t_vk^2 + lambda sum_uv g_uv rho(D_uv^2),
    D_uv^2 = sum_k (c_uk - c_vk)^2 / (t_uk^2 + t_vk^2)

g are couplings by the MRI (`coupling`), D is the difference of two neighbors over all metabolites together, in units
of its own noise, and ``rho(x) = x / (1 + x / tau^2)`` (Geman and McClure) stops growing: where two neighbors differ by
more than noise explains, their coupling opens, whatever the MRI says. An open pair costs ``lambda g tau^2``, so a voxel
stands alone where its data gain more than `Settings.step`. An infinite tau is the quadratic penalty.

The minimum is found by iteratively reweighted least squares: with ``w_uv = g_uv rho'(D_uv^2)`` the problem is linear.
rho is not convex, so the start matters: lightly smoothed data, and a tau that falls to its value over the first half of
the steps (graduated non-convexity, Blake and Zisserman 1987). `stein` chooses lambda, tau and the neighbors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from precise_lib.errors import InputError, check_number
from precise_lib.estimate.coupling import Couplings, Neighbors

STEPS = 8  # reweighted solves
LIGHT = 0.3  # lambda of the start
FIRST = 2.0  # tau of the first step over the last one's
TOLERANCE = 1e-3  # of a solve, in units of the noise


@dataclass(frozen=True)
class Settings:
    """What the prior is set to.

    Parameters
    ----------
    lam : lambda
    tau : difference in units of noise from which a coupling opens; inf for a quadratic penalty
    neighbors : of each voxel, chosen by gray level and distance, see `Neighbors.bowsher`
    mri : False lets each voxel choose the closest instead
    frames : weight of the coupling of a voxel with itself a frame later, over that of a neighbor
    share : (K,) factors on lambda of each metabolite, once the couplings are found; () for ones
    gray : difference in gray level, a share of the range, that counts as much as a voxel of distance; 0: gray alone
    """

    lam: float
    tau: float
    neighbors: int
    mri: bool = True
    frames: float = 0.0
    share: tuple[float, ...] = ()
    gray: float = 0.0

    def __post_init__(self):
        check_number("lambda", self.lam, zero=True)
        if not self.tau > 0:
            raise InputError(f"tau is {self.tau}; it must be positive (inf for a quadratic penalty).")
        check_number("The coupling of frames", self.frames, zero=True)
        check_number("The difference in gray level", self.gray, zero=True)

    @property
    def step(self) -> float:
        """What a voxel must gain in chi-squared to stand alone: the price of opening all its couplings."""
        return self.lam * self.tau**2 * self.neighbors

    def couplings(self, neighbors: Neighbors) -> Couplings:
        return (neighbors if self.mri else neighbors.blind).bowsher(self.neighbors, self.frames, self.gray)


class Problem:
    """Ratios, their noise and couplings: everything but lambda and tau.

    Parameters
    ----------
    ratios : (V, K), or (V, R, K) for R data sets that are solved at once, each with weights of its own
    variance : (V, K) of the noise
    couplings : `Couplings` on V voxels
    """

    def __init__(self, ratios, variance, couplings: Couplings):
        self.ratios, self.variance = np.asarray(ratios, float), np.asarray(variance, float)
        if self.ratios.ndim == 2:
            self.ratios = self.ratios[:, None]
        if not (np.isfinite(self.ratios).all() and (self.variance > 0).all()):
            raise InputError("Ratios must be finite and their noise variance positive.")
        self.couplings, self.difference = couplings, couplings.differences
        self.sum, self.ends = self.difference.T.tocsr(), abs(self.difference).T.tocsr()
        u, v = couplings.pairs.T
        self.precision = 1 / self.variance
        self.joint = 1 / (self.variance[u] + self.variance[v])

    @cached_property
    def start(self) -> np.ndarray:
        """Lightly smoothed data, (V, R, K)."""
        flat = np.broadcast_to(self.couplings.weight[:, None], (len(self.joint), self.ratios.shape[1]))
        return self.linear(flat, LIGHT, self.ratios)

    def distance2(self, maps) -> np.ndarray:
        """D^2 of every pair, (E, R)."""
        gaps = (self.difference @ maps.reshape(len(maps), -1)).reshape(-1, *maps.shape[1:])
        return np.einsum("erk,ek->er", gaps**2, self.joint)

    def opened(self, maps, tau) -> np.ndarray:
        """Weight of every pair over that of the MRI, (E, R): one where closed, towards zero where data contradict."""
        if np.isinf(tau):
            return np.ones((len(self.joint), maps.shape[1]))
        return (1 + self.distance2(maps) / tau**2) ** -2

    def linear(self, weights, lam, start, tolerance=TOLERANCE, right=None, most: int = 400) -> np.ndarray:
        """Solution (V, R, K) of the quadratic problem with pair weights (E, R), by conjugate gradients from `start`.

        Parameters
        ----------
        lam : a number, or (K,)
        tolerance : root mean square error in units of the noise, about
        right : (V, R, K) right-hand side other than that of the data
        """
        p, n, shape = self.precision[:, None], len(start), start.shape
        pull = (np.broadcast_to(lam, shape[-1]) * weights[..., None] * self.joint[:, None]).reshape(len(weights), -1)
        diagonal = p + (self.ends @ pull).reshape(shape)

        def apply(x):
            return p * x + (self.sum @ (pull * (self.difference @ x.reshape(n, -1)))).reshape(shape)

        x = start.copy()
        residual = (p * self.ratios if right is None else right) - apply(x)
        ready = residual / diagonal
        direction, power = ready.copy(), np.einsum("vrk,vrk->rk", residual, ready)
        for _ in range(most):
            if (power <= tolerance**2 * n).all():
                break
            image = apply(direction)
            along = np.einsum("vrk,vrk->rk", direction, image)
            step = np.divide(power, along, out=np.zeros_like(power), where=along > 0)
            x += step * direction
            residual -= step * image
            ready = residual / diagonal
            before, power = power, np.einsum("vrk,vrk->rk", residual, ready)
            direction *= np.divide(power, before, out=np.zeros_like(power), where=before > 0)
            direction += ready
        return x

    def solve(self, lam, tau, steps: int = STEPS, tolerance=TOLERANCE) -> tuple[np.ndarray, np.ndarray]:
        """Minimizer (V, R, K) and the pair weights (E, R) that it is the quadratic solution of."""
        g = self.couplings.weight[:, None]
        weights = np.broadcast_to(g, (len(g), self.ratios.shape[1]))
        if lam == 0 or not len(g):
            return self.ratios.copy(), weights
        if np.isinf(tau):
            return self.linear(weights, lam, self.start, tolerance), weights
        maps = self.start
        for i in range(steps):
            weights = g * self.opened(maps, tau * max(1.0, FIRST ** (1 - 2 * (i + 1) / steps)))
            maps = self.linear(weights, lam, maps, tolerance)
        return maps, weights


@dataclass(frozen=True)
class Field:
    """The maps of one data set, and the quadratic problem that they solve.

    Attributes
    ----------
    maps : (V, K)
    problem : of this data set
    settings : as given
    weights : (E,) of the pairs
    """

    maps: np.ndarray
    problem: Problem
    settings: Settings
    weights: np.ndarray

    @property
    def opened(self) -> np.ndarray:
        """(E,) share of the coupling by the MRI that the data took away, 0 to 1."""
        return 1 - self.weights / self.problem.couplings.weight

    @property
    def opened_share(self) -> np.ndarray:
        """(V,) the same for all couplings of a voxel together; NaN where it has none."""
        problem = self.problem
        with np.errstate(invalid="ignore"):
            return 1 - problem.ends @ self.weights / (problem.ends @ problem.couplings.weight)

    @property
    def lams(self) -> np.ndarray:
        """lambda of each metabolite, (K,)."""
        share = self.settings.share or np.ones(self.maps.shape[1])
        return self.settings.lam * np.asarray(share, float)

    def factor(self, k: int):
        """Sparse factor of ``A_k``, of which ``A_k maps_k = ratios_k / variance_k``."""
        problem = self.problem
        pull = sparse.diags(self.lams[k] * self.weights * problem.joint[:, k])
        system = sparse.diags(problem.precision[:, k]) + problem.sum @ pull @ problem.difference
        options = {"SymmetricMode": True}
        return splu(system.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)


def adaptive(ratios, variance, neighbors: Neighbors, settings: Settings) -> Field:
    """Maps at given settings; see `Problem` for the arrays."""
    problem = Problem(ratios, variance, settings.couplings(neighbors))
    maps, weights = problem.solve(settings.lam, settings.tau)
    if settings.share:
        maps = problem.linear(weights, settings.lam * np.asarray(settings.share), maps)
    return Field(maps[:, 0], problem, settings, weights[:, 0])
