"""Errors of concentrations from noisy and denoised 1H spectra, and what of them depends on the SNR: page 21."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import xarray as xr

from precise_lib.evaluate import claims
from precise_lib.evaluate.records import Record
from precise_lib.proton import brain, denoised, over_snr, scores
from precise_lib.proton.brain import BLIND_RMSE_MM, LARGEST_MM, METABOLITES, WINDOW
from precise_lib.proton.fit import fit_spectra
from precise_lib.proton.weights import Denoiser

UNBOUNDED = "noisy, unbounded"
SMALLER = "smaller networks, trained for less long than the paper's"


def errors(data: xr.Dataset, networks: Mapping[str, Denoiser]) -> tuple[xr.DataArray, xr.DataArray]:
    """Truth (spectrum, metabolite) and errors (source, spectrum, metabolite), mM, of `denoised.quantified` and of fits
    of the noisy spectra whose amplitudes may be negative.
    """
    found = denoised.quantified(data, networks)
    free = fit_spectra(brain.spectra_of(data.noisy.values, WINDOW), brain.brain_basis(), WINDOW)
    unbounded = (
        found.estimate[:1].assign_coords(source=[UNBOUNDED]).copy(data=free.amplitudes[None, :, : len(METABOLITES)])
    )
    return found.truth, xr.concat([found.estimate, unbounded], "source") - found.truth


def in_bins(data: xr.Dataset, error: xr.DataArray, edges) -> tuple[xr.Dataset, xr.DataArray, xr.DataArray]:
    """In bins of SNR between the `edges`: `over_snr.errors_by_snr`; the Cramer-Rao bound and the RMSE of the best
    linear estimate (snr, metabolite), mM.
    """
    basis, snr = brain.brain_basis(), data.snr.values
    by_snr = over_snr.errors_by_snr(error, snr, edges)
    bound = over_snr.errors_by_snr(over_snr.bounds(basis, data, WINDOW), snr, edges).rmse  # a root mean square
    inside = [data.isel(spectrum=np.flatnonzero((snr >= a) & (snr < b))) for a, b in pairwise(edges)]
    kept = xr.concat([scores.best_possible(basis, d, WINDOW).slope for d in inside], by_snr.snr)
    return by_snr, bound, BLIND_RMSE_MM * np.sqrt(1 - kept)


class Parts:
    """The spectra of low and of high SNR: numbers `low` and `high`; in those of low SNR the share `lost` (metabolite)
    of the variation that the best linear estimate loses; metabolites in `order`, those that the noise hurts least
    first.
    """

    def __init__(self, data: xr.Dataset, low: float, high: float):
        self.data, self.limits, snr = data, (low, high), data.snr.values
        self.low, self.high = np.flatnonzero(snr < low), np.flatnonzero(snr > high)
        self.lost, self._lost_high = (1 - self._kept(data.isel(spectrum=k)) for k in (self.low, self.high))
        slope = self._kept(data)
        self.order = slope.sortby(slope, ascending=False).metabolite.values

    @staticmethod
    def _kept(data: xr.Dataset) -> xr.DataArray:
        return scores.best_possible(brain.brain_basis(), data, WINDOW).slope

    def rmse_ratios(self, error: xr.DataArray) -> tuple[dict, dict]:
        """RMSE at low over RMSE at high SNR (metabolite) by source, with its interval (end, metabolite); the ratio also
        for the "Cramér-Rao bound" and the "best linear estimate".
        """
        ratio, interval, snr = {}, {}, self.data.snr.values
        for s in error.source.values.tolist():
            value, ends = over_snr.rmse_ratio_over_snr(error.sel(source=s), snr, *self.limits)
            ratio[s], interval[s] = LARGEST_MM.copy(data=value), LARGEST_MM.expand_dims(end=2).copy(data=ends)
        bound = over_snr.bounds(brain.brain_basis(), self.data, WINDOW)
        value, _ = over_snr.rmse_ratio_over_snr(bound, snr, *self.limits, n_draws=2)
        ratio["Cramér-Rao bound"] = LARGEST_MM.copy(data=value)
        ratio["best linear estimate"] = np.sqrt(self.lost / self._lost_high)
        return ratio, interval


def typical(ratio: Mapping[str, xr.DataArray], weak: Sequence[str]) -> dict[str, float]:
    """Geometric mean over the weak metabolites of ratios (metabolite) by source."""
    return {s: float(np.exp(np.log(r.sel(metabolite=list(weak))).mean())) for s, r in ratio.items()}


def records(ratio: Mapping, interval: Mapping, networks, weak: Sequence[str], terms: Mapping) -> list[Record]:
    """Claim M10 from `Parts.rmse_ratios`: the typical ratio of networks and yardsticks, and each network's largest."""
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
    """Rows of a table of the bias in mM: by source the low and the high third of `over_snr.bias_by_third` with their
    standard errors, and the `average` (source, metabolite) over the whole range.
    """
    rows, in_mm = [], thirds * LARGEST_MM
    for s in thirds.source.values.tolist():
        for third in ("low", "high"):
            own = [in_mm.sel(source=s, third=third, metabolite=m) for m in names]
            rows.append([f"{title}, {s}", f"{third} third", *(f"{v.bias:+.2f} ± {v.se:.2f}" for v in own)])
        rows.append([f"{title}, {s}", "whole range", *(average.sel(source=s, metabolite=m) for m in names)])
    return rows
