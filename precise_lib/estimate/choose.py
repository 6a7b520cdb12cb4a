r"""Lambda of Eq. 4 from one noisy data set, per metabolite.

The final map of a metabolite is a ratio. With ``H = (I + 2 lambda L)^-1``, SVE amplitudes s and water w it is

    q = H s / H w = G y,     y = s / w,     G_vu = H_vu w_u / (H w)_v

**Water takes the lambda of the metabolite it divides**: only then do the rows of G sum to one, so that a coil profile
cancels, a constant ratio stays constant and no value outside the range of y appears. Water is the strongest line, so
G counts as fixed and q as linear in y. With t_v the SD of y_v and ``p_v = 1 / t_v^2``:

* Stein's ``sum_v p_v [(q_v - y_v)^2 - t_v^2 + 2 t_v^2 G_vv]`` has the mean of ``sum_v p_v (q_v - truth_v)^2``. It needs
  the level of the noise: for a nearly flat metabolite, one a few percent too low gives a much too small lambda.
* Cross-validation ``n sum_v p_v (q_v - y_v)^2 / (n - tr G)^2`` needs only its pattern, but asks for tr G << n, which a
  light prior is not, and smooths too little.
* The largest lambda whose bias, its noise taken out, stays below a stated share of the SD.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from precise_lib.errors import InputError, check_number
from precise_lib.estimate.prior import ExactSolver
from precise_lib.estimate.smoother import leverage_and_variance

GRID = np.r_[0.0, 10 ** np.arange(-4.0, 0.01, 0.125)]
METHODS = ("stein", "cross-validation", "bias")


@dataclass(frozen=True)
class Curves:
    """What the data say about each lambda (L,); all else (L, ..., M), in units of the single-voxel variance.

    `stein` and `bias2` estimate the mean squared error and bias without bias (so they may be negative), `gcv` is the
    score of cross-validation, `variance` that of the result, `error2` the true mean squared error or None.
    """

    lams: np.ndarray
    stein: np.ndarray
    gcv: np.ndarray
    bias2: np.ndarray
    variance: np.ndarray
    error2: np.ndarray | None

    def choose(self, method: str = "stein", share: float = 0.5) -> np.ndarray:
        """Chosen lambda (..., M) by one of `METHODS`; `InputError` for another, or for a share that is not positive.

        `share`, for "bias": the root mean squared bias may be this share of the root mean squared SD.
        """
        if method not in METHODS:
            raise InputError(f"No way '{method}' to choose lambda; there are {', '.join(METHODS)}.")
        if method != "bias":
            return least(self.lams, self.stein if method == "stein" else self.gcv)
        check_number("The share of the SD that the bias may take", share)
        # up to the first lambda that goes too far; at zero there is no bias
        beyond = np.maximum.accumulate(self.bias2 > share**2 * self.variance, axis=0)
        return self.lams[np.maximum((~beyond).sum(0) - 1, 0)]

    def over_realizations(self) -> Curves:
        """The mean over realizations, or over the frames of a series, for one lambda for all."""
        tables = {f.name: getattr(self, f.name) for f in fields(self)[1:]}
        axes = tuple(range(1, self.stein.ndim - 1))
        return Curves(self.lams, **{name: None if x is None else x.mean(axes) for name, x in tables.items()})

    @classmethod
    def together(cls, curves: list[Curves]) -> Curves:
        """Realizations (or frames) of several sets, one after the other."""
        names = [f.name for f in fields(cls)[1:]]
        tables = {name: [getattr(c, name) for c in curves] for name in names}
        joined = {name: None if x[0] is None else np.concatenate(x, 1) for name, x in tables.items()}
        return cls(curves[0].lams, **joined)


def least(lams: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Where a curve (L, ...) over lambda is least: the vertex through the three lowest points in log lambda."""
    best = np.argmin(curve, 0)
    inner = np.clip(best, 2, len(lams) - 2)  # the first grid point is zero and has no logarithm
    below, top, above = (np.take_along_axis(curve, (inner + k)[None], 0)[0] for k in (-1, 0, 1))
    curvature = below - 2 * top + above
    shift = np.where(curvature > 0, 0.5 * (below - above) / np.where(curvature > 0, curvature, 1), 0.0)
    vertex = lams[inner] * (lams[inner + 1] / lams[inner]) ** np.clip(shift, -0.5, 0.5)
    return np.where(inner == best, vertex, lams[best])


def curves(prior, sve, water: int | None, ratio_sd, lams=None, lattice=None, truth=None, correlate=None) -> Curves:
    """Risk, cross-validation and bias over lambda, for one or many noise realizations.

    `prior`: (V, V) weights of Eq. 5, or setting -> linear map. `sve` (..., V, M) amplitudes and `ratio_sd`, the SD of
    amplitude / water by SVE; leading axes are realizations. `water` is the index of the reference, whose curves are
    zero. Voxels without positive water or with an unknown SD do not count. `lams` (L,) ascend from zero, by default
    `GRID`; `lattice` is that of `smoother.lattices` with `sums_only`; `truth` (V, M) true ratios, for `error2`;
    `correlate` as in `smoother.leverage_and_variance`, where neighbors share their noise.
    """
    lams = np.asarray(GRID if lams is None else lams, float)
    if len(lams) < 4 or lams[0] != 0 or (np.diff(lams) <= 0).any():
        raise InputError("The grid of lambda must ascend from zero over at least four values.")
    sve, ratio_sd = np.asarray(sve, float), np.asarray(ratio_sd, float)
    w = _reference(sve, water)
    good = (w > 0) & np.isfinite(ratio_sd).all(-1, keepdims=True)
    if not good.any(-2).all():
        raise InputError("Lambda cannot be chosen: no voxel has positive water and a known noise level.")
    single = np.where(good, sve / np.where(good, w, 1), 0.0)
    variance = np.where(good, ratio_sd, 1.0) ** 2
    precision = np.where(good & (variance > 0), 1 / np.where(variance > 0, variance, 1), 0.0)
    counted = np.maximum((precision > 0).sum(-2), 1)
    make = prior if callable(prior) else lambda lam: ExactSolver(prior, lam)
    tables = {name: [] for name in ("stein", "gcv", "bias2", "variance", "error2")}
    flat = np.moveaxis(sve, -2, 0)

    def mean(x):
        return (precision * x).sum(-2) / counted

    for lam in lams:
        solver = make(float(lam))
        smooth = np.moveaxis(solver(flat.reshape(len(flat), -1)).reshape(flat.shape), 0, -2)
        total = _reference(smooth, water)
        good_total = np.where(good & (total > 0), total, 1.0)
        q = np.where(good & (total > 0), smooth / good_total, 0.0)
        # G_vv t_v^2 and sum_u G_vu^2 t_u^2
        noise = np.moveaxis(variance * np.where(good, w, 0) ** 2, -2, 0)
        own, mixed = leverage_and_variance(solver, noise.reshape(len(noise), -1), lattice, correlate=correlate)
        mixed = np.moveaxis(mixed.reshape(noise.shape), 0, -2) / good_total**2
        own = own[:, None] * np.where(good, w, 0) / good_total
        residual2 = (q - single) ** 2
        # Var(q - y) = Var q + Var y - 2 Cov(q, y)
        moved = mixed + variance * (1 - 2 * own)
        freedom = 1 - np.where(precision > 0, own, 0).sum(-2) / counted
        tables["stein"].append(mean(residual2 - variance + 2 * variance * own))
        tables["gcv"].append(mean(residual2) / np.maximum(freedom, 1e-6) ** 2)
        tables["bias2"].append(mean(residual2 - moved))
        tables["variance"].append(mean(mixed))
        if truth is not None:
            tables["error2"].append(mean((q - truth) ** 2))
    tables["gcv"][0] = np.full_like(tables["gcv"][0], np.inf)  # zero over zero: no smoothing has no score
    stacked = {name: np.stack(table) if table else None for name, table in tables.items()}
    return Curves(lams, **stacked)


def ratios(solvers, sve, water: int | None) -> np.ndarray:
    """Amplitude over water (V, M); `solvers` holds one linear map for each metabolite and the water under it.

    `water` None: the amplitudes.
    """
    sve = np.asarray(sve, float)
    out = np.empty_like(sve)
    for solver in {id(s): s for s in solvers}.values():
        mine = [k for k, s in enumerate(solvers) if s is solver]
        smooth = solver(sve)
        total = _reference(smooth, water)
        out[:, mine] = smooth[:, mine] / np.where(total > 0, total, np.nan)
    return out


def _reference(amplitudes, water: int | None) -> np.ndarray:
    """What amplitudes (..., M) are divided by, (..., 1)."""
    return np.ones_like(amplitudes[..., :1]) if water is None else amplitudes[..., [water]]
