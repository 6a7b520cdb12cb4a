"""How errors of estimated concentrations depend on the SNR, and where in its range a metabolite pays for it.

The error of an unbiased estimate at its Cramer-Rao bound falls as 1/SNR. An estimate that falls back on the middle of
the range from which concentrations were drawn errs no more than this guess, ``max / sqrt(12)``, at any SNR. Its bias is
zero on average over the range, but not in each third of it.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import xarray as xr

from precise_lib.errors import InputError
from precise_lib.proton import brain
from precise_lib.proton.brain import BasisSet
from precise_lib.proton.spectrum_model import crlb

LOW, HIGH = 15.0, 30.0  # claim M10: below, above
THIRDS = ("low", "middle", "high")


def bounds(basis: BasisSet, data: xr.Dataset, points: slice) -> xr.DataArray:
    """Cramer-Rao bound (spectrum, metabolite) at the true values of `brain.draw`, all nuisance parameters unknown."""
    values = crlb(basis, brain.true_amplitudes(data), data.shim_hz.values, data.sigma.values, points)
    coords = {"metabolite": list(brain.METABOLITES), "spectrum": data.spectrum.values}
    return xr.DataArray(values[:, : len(brain.METABOLITES)], coords, dims=("spectrum", "metabolite"))


def errors_by_snr(error: xr.DataArray, snr, edges) -> xr.Dataset:
    """`bias`, `sd`, `rmse` and `bias_se`, the standard error of the bias, of errors (spectrum, ...), estimate minus
    truth, in bins of SNR between neighboring `edges`; `snr` is the middle of the bin. Raises `InputError` for fewer
    than three spectra.
    """
    snr, parts = np.asarray(snr, float), []
    for low, high in pairwise(edges):
        own = error.isel(spectrum=np.flatnonzero((snr >= low) & (snr < high)))
        n = own.sizes["spectrum"]
        if n < 3:
            raise InputError(f"Only {n} spectra have an SNR from {low:g} to {high:g}; draw more or take wider bins.")
        bias, sd = own.mean("spectrum"), own.std("spectrum", ddof=1)
        rmse = np.sqrt((own**2).mean("spectrum"))
        parts.append(xr.Dataset({"bias": bias, "sd": sd, "rmse": rmse, "bias_se": sd / np.sqrt(n)}))
    middle = [(a + b) / 2 for a, b in pairwise(edges)]
    return xr.concat(parts, dim=xr.DataArray(middle, dims="snr", name="snr"))


def rmse_ratio_over_snr(error, snr, low=LOW, high=HIGH, n_draws: int = 400, seed: int = 0):
    """RMSE of errors (V, M) at SNR below `low` over RMSE above `high` (M,), and its 95 % interval (2, M), both groups
    of spectra resampled. 1 is no dependence on the SNR; for SNR drawn uniformly from 5 to 40, 1/SNR gives 4.
    """
    error, snr = np.asarray(error, float), np.asarray(snr, float)
    groups = [error[snr < low] ** 2, error[snr > high] ** 2]
    if min(map(len, groups)) < 3:
        raise InputError(f"Fewer than three spectra have an SNR below {low:g} or above {high:g}; draw more.")
    draws = []
    for k, group in enumerate(groups):
        rng = np.random.default_rng((seed, k))
        picked = rng.integers(0, len(group), (n_draws, len(group)))
        draws.append(np.array([group[p].mean(0) for p in picked]))
    ratio = np.sqrt(groups[0].mean(0) / groups[1].mean(0))
    return ratio, np.quantile(np.sqrt(draws[0] / draws[1]), [0.025, 0.975], axis=0)


def bias_by_third(error: xr.DataArray, truth: xr.DataArray, maximum) -> xr.Dataset:
    """`bias` (third, source, metabolite) in the low, middle and high third of the range, and its standard error `se`,
    both over the largest value; `error` (source, spectrum, metabolite) is estimate minus truth, `truth` (spectrum,
    metabolite) from 0 to `maximum` (metabolite,).
    """
    top = xr.DataArray(np.asarray(maximum, float), dims="metabolite", coords={"metabolite": truth.metabolite})
    third = np.minimum((3 * truth / top).astype(int), 2)
    parts = []
    for k in range(3):
        own = error.where(third == k) / top
        se = own.std("spectrum", ddof=1) / np.sqrt((third == k).sum("spectrum"))
        parts.append(xr.Dataset({"bias": own.mean("spectrum"), "se": se}))
    return xr.concat(parts, dim=xr.DataArray(list(THIRDS), dims="third", name="third"))
