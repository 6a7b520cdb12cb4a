"""Errors of concentrations from noisy and denoised 1H spectra, and what of them depends on the SNR.

The error of an unbiased estimate at its Cramer-Rao bound falls as 1/SNR. One that falls back on the middle of the range
errs no more than this guess, at any SNR; its bias is zero on average over the range, but not in each third of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import xarray as xr

from precise_lib.errors import InputError
from precise_lib.evaluate import claims
from precise_lib.evaluate.records import Record
from precise_lib.proton import brain, scores
from precise_lib.proton.brain import BLIND_RMSE_MM, LARGEST_MM, WINDOW, BasisSet
from precise_lib.proton.denoised import UNBOUNDED
from precise_lib.proton.spectrum_model import crlb

SMALLER = "smaller networks, trained for less long than the paper's"
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


class Yardsticks:
    """What needs no network, of spectra of `brain.draw` by `snr` (spectrum,): the Cramer-Rao `bound` in mM and the
    share `kept` of its variation by the best linear estimate (`scores.best_linear`), (spectrum, metabolite) each.
    """

    def __init__(self, data: xr.Dataset):
        basis = brain.brain_basis()
        self.snr, self.bound = data.snr.values, bounds(basis, data, WINDOW)
        self.kept = self.bound.copy(data=scores.best_linear(basis, data, WINDOW)[1])
        self.slope = self.kept.mean("spectrum")
        self.order = self.slope.sortby(self.slope, ascending=False).metabolite.values  # least hurt by noise first

    def in_bins(self, edges) -> tuple[xr.DataArray, xr.DataArray]:
        """In bins of SNR: the bound and the RMSE of the best linear estimate (snr, metabolite), mM."""
        bound = errors_by_snr(self.bound, self.snr, edges).rmse  # a root mean square
        return bound, BLIND_RMSE_MM * np.sqrt(1 - errors_by_snr(self.kept, self.snr, edges).bias)

    def lost(self, inside) -> xr.DataArray:
        """Share (metabolite) of the variation that the best linear estimate loses in some spectra."""
        return 1 - self.kept[inside].mean("spectrum")

    def rmse_ratios(self, error: xr.DataArray, low=LOW, high=HIGH) -> tuple[dict, dict]:
        """RMSE at low over RMSE at high SNR (metabolite) by source, with its interval (end, metabolite); the ratio also
        for the "Cramér-Rao bound" and the "best linear estimate".
        """
        ratio, interval = {}, {}
        for s in error.source.values.tolist():
            value, ends = rmse_ratio_over_snr(error.sel(source=s), self.snr, low, high)
            ratio[s], interval[s] = LARGEST_MM.copy(data=value), LARGEST_MM.expand_dims(end=2).copy(data=ends)
        value, _ = rmse_ratio_over_snr(self.bound, self.snr, low, high, n_draws=2)
        ratio["Cramér-Rao bound"] = LARGEST_MM.copy(data=value)
        ratio["best linear estimate"] = np.sqrt(self.lost(self.snr < low) / self.lost(self.snr > high))
        return ratio, interval


def typical(ratio: Mapping[str, xr.DataArray], weak: Sequence[str]) -> dict[str, float]:
    """Geometric mean over the weak metabolites of ratios (metabolite) by source."""
    return {s: float(np.exp(np.log(r.sel(metabolite=list(weak))).mean())) for s, r in ratio.items()}


def records(ratio: Mapping, interval: Mapping, networks, weak: Sequence[str], terms: Mapping) -> list[Record]:
    """Claim M10 from `Yardsticks.rmse_ratios`: the typical ratio of each source, and the largest of each network."""
    terms, kept = {"figure": "fig-snr-ratio", **terms}, []
    for s, value in typical(ratio, weak).items():
        if s != UNBOUNDED:
            why = SMALLER if s in networks else None
            kept.append(claims.record("M10", value, part=s, differs=why, note="geometric mean", **terms))
    for s in networks:
        worst = str(ratio[s].sel(metabolite=list(weak)).idxmax().values)
        ends = tuple(float(v) for v in interval[s].sel(metabolite=worst))
        about = {"note": worst, "differs": SMALLER, "spread_meaning": "95 % interval"}
        kept.append(
            claims.record("M10", float(ratio[s].sel(metabolite=worst)), ends, part=f"{s} largest", **about, **terms)
        )
    return kept


def bias_rows(title: str, thirds: xr.Dataset, average: xr.DataArray, names: Sequence[str]) -> list[list]:
    """Rows of a table of the bias in mM: by source the low and the high third of `bias_by_third` with their
    standard errors, and the `average` (source, metabolite) over the whole range.
    """
    rows, in_mm = [], thirds * LARGEST_MM
    for s in thirds.source.values.tolist():
        for third in ("low", "high"):
            own = [in_mm.sel(source=s, third=third, metabolite=m) for m in names]
            rows.append([f"{title}, {s}", f"{third} third", *(f"{v.bias:+.2f} ± {v.se:.2f}" for v in own)])
        rows.append([f"{title}, {s}", "whole range", *(average.sel(source=s, metabolite=m) for m in names)])
    return rows
