"""How much of true differences an estimate keeps: the slope of its regression on the truth, and contrasts of maps."""

from __future__ import annotations

import numpy as np
import xarray as xr

from precise_lib.errors import InputError
from precise_lib.evaluate.montecarlo import bootstrap_interval


def kept(level, full, baseline=0.0, least: float = 1e-9) -> np.ndarray:
    """Share of a true contrast left, ``(level - baseline) / (full - baseline)``; NaN for a truth of `least` or less."""
    step = np.asarray(full) - baseline
    return (level - baseline) / np.where(np.abs(step) > least, step, np.nan)


def checked(truth, *estimates, at_least: int = 3) -> list[np.ndarray]:
    """Truth and estimates (n, M) as floats; `InputError` where no regression on that truth is possible."""
    arrays = [np.asarray(a, float) for a in (truth, *estimates)]
    if len({a.shape for a in arrays}) != 1 or arrays[0].ndim != 2 or len(arrays[0]) < at_least:
        raise InputError(f"Truth and estimates are (spectra, metabolites), of one shape and {at_least} rows at least.")
    if not all(np.isfinite(a).all() for a in arrays):
        raise InputError("Truth or estimates hold values that are not finite; leave those spectra out.")
    if not (np.ptp(arrays[0], axis=0) > 0).all():
        raise InputError("The true concentrations do not vary; a regression on them needs that.")
    return arrays


def slope(truth, estimate) -> np.ndarray:
    """Slope (M,) of the least-squares line through `estimate` over `truth`, (n, M) both."""
    t = np.asarray(truth, float) - np.mean(truth, axis=0)
    return (t * estimate).sum(0) / (t * t).sum(0)


def coefficients(pairs) -> np.ndarray:
    """Slope, intercept, squared correlation and RMSE (4, M) of pairs (n, 2, M) of truth and estimate."""
    truth, estimate = pairs[:, 0], pairs[:, 1]
    mean_t, mean_e = truth.mean(0), estimate.mean(0)
    t, e = truth - mean_t, estimate - mean_e
    tt, te, ee = (t * t).sum(0), (t * e).sum(0), (e * e).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = te**2 / (tt * ee)
    return np.array([te / tt, mean_e - te / tt * mean_t, r2, np.sqrt(((estimate - truth) ** 2).mean(0))])


def line(truth, estimate, names=None, n_draws: int = 400, seed: int = 0) -> xr.Dataset:
    """Least-squares line of the estimate on the truth, (n, M) both, per metabolite: `slope`, `intercept`, `r2`, `rmse`
    (to the truth) and the ends `slope_low` ... `rmse_high` of their 95 % intervals by bootstrap of the rows.
    """
    pairs = np.stack(checked(truth, estimate), axis=1)
    low, high = bootstrap_interval(coefficients, pairs, n_draws, seed)
    columns = {}
    for name, *values in zip(("slope", "intercept", "r2", "rmse"), coefficients(pairs), low, high, strict=True):
        columns |= {name + end: v for end, v in zip(("", "_low", "_high"), values, strict=True)}
    return table(columns, names)


def controlled_line(truth, estimate, error=None, names=None, together: int = 1) -> xr.Dataset:
    """The line where the error that the noise makes is known, (n, M) each; 95 % intervals by the sandwich formula.

    `error` is the first-order error of an efficient estimate for the very noise of the data; of mean zero whatever the
    truth, it leaves the slope as it is and takes most of the chance out of it. So many rows `together`, one after the
    other, share their chance (voxels of one phantom). Returns `slope`, `intercept`, the ends of their intervals
    (`slope_low` ...), RMS distances `spread` to the line and `rmse` to the truth.
    """
    truth, estimate, *errors = checked(truth, estimate, *(() if error is None else (error,)), at_least=4)
    if together < 1 or len(truth) % together or len(truth) < 2 * together:
        raise InputError(f"{len(truth)} rows do not make two groups or more of {together} each.")
    design = np.stack([np.ones_like(truth), truth, *errors], -1).swapaxes(0, 1)  # (M, n, 2 or 3)
    transposed = design.swapaxes(1, 2)
    inverse = np.linalg.inv(transposed @ design)
    beta = (inverse @ transposed @ estimate.T[..., None])[..., 0]
    scores = design * (estimate.T - (design @ beta[..., None])[..., 0])[..., None]
    (m, n, k), groups = design.shape, len(truth) // together
    scores = scores.reshape(m, groups, together, k).sum(2)
    covariance = inverse @ (scores.swapaxes(1, 2) @ scores) @ inverse * groups / (groups - 1) * (n - 1) / (n - k)
    half = 1.96 * np.sqrt(np.einsum("mkk->mk", covariance))
    distances = {"spread": estimate - beta[:, 0] - beta[:, 1] * truth, "rmse": estimate - truth}
    columns = {name: np.sqrt((distance**2).mean(0)) for name, distance in distances.items()}
    for j, name in enumerate(("intercept", "slope")):
        columns |= {name: beta[:, j], f"{name}_low": beta[:, j] - half[:, j], f"{name}_high": beta[:, j] + half[:, j]}
    return table(columns, names)


def table(columns: dict, names=None) -> xr.Dataset:
    """Columns (M,) as a Dataset over the metabolites."""
    coordinates = {} if names is None else {"metabolite": list(names)}
    return xr.Dataset({name: ("metabolite", values) for name, values in columns.items()}, coordinates)
