"""Errors of concentrations from noisy and denoised 1H spectra, and what of them depends on the SNR: page 21.

The error of an unbiased estimate at its Cramer-Rao bound falls as 1/SNR. One that falls back on the middle of the range
errs no more than this guess, at any SNR; its bias is zero on average over the range, but not in each third of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.ticker import LogLocator

from precise_lib.errors import InputError
from precise_lib.proton import brain, denoised, scores
from precise_lib.proton.brain import BLIND_RMSE_MM, LARGEST_MM, METABOLITES, WINDOW, BasisSet
from precise_lib.proton.fit import fit_spectra
from precise_lib.proton.spectrum_model import crlb
from precise_lib.proton.weights import Denoiser
from precise_lib.show import color, marker

UNBOUNDED = "noisy, unbounded"
LOW, HIGH = 15.0, 30.0  # claim M10: below, above
THIRDS = ("low", "middle", "high")
STYLES = {
    **{name: {"color": color(name), "marker": marker(name)} for name in ("noisy", "noisy, unbounded", "1D", "2D")},
    "Cramér-Rao bound": {"color": "#E69F00", "ls": "--"},
    "best linear (least error)": {"color": "#000000", "ls": "-"},
    "middle of the range": {"color": "#000000", "ls": ":"},
}
THIRD_COLORS = {"low": "#0072B2", "middle": "#009E73", "high": "#D55E00"}


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


def in_bins(data: xr.Dataset, error: xr.DataArray, edges) -> tuple[xr.Dataset, xr.DataArray, xr.DataArray]:
    """In bins of SNR between the `edges`: `errors_by_snr`; the Cramer-Rao bound and the RMSE of the best
    linear estimate (snr, metabolite), mM.
    """
    basis, snr = brain.brain_basis(), data.snr.values
    by_snr = errors_by_snr(error, snr, edges)
    bound = errors_by_snr(bounds(basis, data, WINDOW), snr, edges).rmse  # a root mean square
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
            value, ends = rmse_ratio_over_snr(error.sel(source=s), snr, *self.limits)
            ratio[s], interval[s] = LARGEST_MM.copy(data=value), LARGEST_MM.expand_dims(end=2).copy(data=ends)
        bound = bounds(brain.brain_basis(), self.data, WINDOW)
        value, _ = rmse_ratio_over_snr(bound, snr, *self.limits, n_draws=2)
        ratio["Cramér-Rao bound"] = LARGEST_MM.copy(data=value)
        ratio["best linear estimate"] = np.sqrt(self.lost / self._lost_high)
        return ratio, interval


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


def deviations(error: xr.DataArray, snr, by_snr: xr.Dataset, bound: xr.DataArray, blind: Mapping[str, float]):
    """Figure of the errors (source, spectrum, metabolite) in mM over SNR; a row per metabolite, a column per source.

    `by_snr` is `errors_by_snr` of them, whose bias is drawn; on either side of zero lie the Cramer-Rao `bound` (snr,
    metabolite) of each bin and `blind`, the error of saying the middle of the range, by metabolite. A row has one
    scale: four times the blind error, or three times the bound at the lowest SNR where that is less; the rest is on the
    edge.
    """
    shape = (len(blind), error.sizes["source"])
    fig, axes = plt.subplots(*shape, figsize=(3.6 * shape[1], 2.3 * shape[0]), sharex=True, sharey="row", squeeze=False)
    for row, (name, guess) in zip(axes, blind.items(), strict=True):
        reach = min(4 * guess, 3 * float(bound.sel(metabolite=name)[0]))
        for ax, source in zip(row, error.source.values.tolist(), strict=True):
            own, bins = error.sel(source=source, metabolite=name), by_snr.sel(source=source, metabolite=name)
            inside = np.clip(own, -reach, reach)
            style = {"s": 4, "alpha": 0.4, "lw": 0, "rasterized": True}
            ax.scatter(snr, inside, color=STYLES[source]["color"], **style)
            for sign in (-1, 1):
                ax.plot(bins.snr, sign * bound.sel(metabolite=name), lw=1.5, **STYLES["Cramér-Rao bound"])
                ax.axhline(sign * guess, lw=1, **STYLES["middle of the range"])
            ax.plot(bins.snr, bins.bias, color="#D55E00", lw=1.5)
            ax.set(ylim=(-reach, reach), title=f"{name}, {source}")
        row[0].set_ylabel("error (mM)")
    plt.setp(axes[-1], xlabel="SNR")
    return fig


def rmse_grid(curves: Mapping[str, xr.DataArray], metabolites, blind: Mapping[str, float], columns: int = 3):
    """Figure of RMSE over SNR, both logarithmic, a panel per metabolite: `curves` (snr, metabolite) in mM by label of
    `STYLES`, and `blind`, the error of saying the middle of the range.
    """
    rows = -(-len(metabolites) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(3.7 * columns, 2.7 * rows + 0.4), sharex=True, squeeze=False)
    for ax, name in zip(axes.flat, metabolites, strict=False):
        for label, curve in curves.items():
            ax.plot(curve.snr, curve.sel(metabolite=name), label=label, ms=4, lw=1.2, **STYLES[label])
        ax.axhline(blind[name], label="middle of the range", lw=1, **STYLES["middle of the range"])
        ax.set(xscale="log", yscale="log", title=name)
        ax.set_xticks([5, 10, 20, 40], ["5", "10", "20", "40"])
        ax.minorticks_off()
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
    plt.setp(axes.flat[len(metabolites) :], visible=False)
    plt.setp(axes[-1], xlabel="SNR")
    plt.setp(axes[:, 0], ylabel="RMSE (mM)")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return fig


def third_grid(bias: xr.Dataset, metabolites, expected: Mapping[str, np.ndarray] | None = None):
    """Figure of `bias_by_third`, a panel per source; `expected` (metabolite,) by third are black bars in each."""
    sources = bias.source.values.tolist()
    fig, axes = plt.subplots(1, len(sources), figsize=(4.2 * len(sources), 3.4), sharey=True, squeeze=False)
    places = np.arange(len(metabolites))
    for ax, source in zip(axes[0], sources, strict=True):
        for k, third in enumerate(bias.third.values.tolist()):
            own = bias.sel(source=source, third=third, metabolite=list(metabolites))
            style = {"fmt": "osD"[k], "ms": 4, "capsize": 2, "color": THIRD_COLORS[third]}
            ax.errorbar(places, own.bias, 2 * own.se, label=f"{third} third", **style)
            if expected is not None:
                ax.plot(places, expected[third], "k_", ms=12, label="best linear" if k == 2 else None)
        ax.axhline(0, color="0.5", lw=0.8)
        ax.set_xticks(places, metabolites, rotation=60)
        ax.set_title(source)
    axes[0, 0].set_ylabel("bias / largest concentration")
    axes[0, -1].legend(fontsize=8)
    return fig


def plot_ratios(ax, ratio: Mapping[str, xr.DataArray], interval: Mapping[str, xr.DataArray], order):
    """RMSE at low over that at high SNR (metabolite) by label, the metabolites in `order`, logarithmic: sources with
    their `interval` (end, metabolite), the "Cramér-Rao bound" and the "best linear estimate".
    """
    at = {"metabolite": list(order)}
    for k, s in enumerate(interval):
        ends, x = np.abs(interval[s] - ratio[s]).sel(at), np.arange(len(order)) + 0.15 * (k - 1.5)
        style = {"fmt": STYLES[s]["marker"], "color": STYLES[s]["color"], "ms": 4}
        ax.errorbar(x, ratio[s].sel(at), ends.transpose("end", "metabolite"), label=s, **style)
    ax.plot(ratio["Cramér-Rao bound"].sel(at), ls="--", color="#E69F00", label="Cramér-Rao bound")
    ax.plot(ratio["best linear estimate"].sel(at), "k_", ms=20, label="best linear (least error)")
    ax.set(yscale="log")
    ax.set_yticks([1, 1.5, 2, 3, 4], ["1", "1.5", "2", "3", "4"])
    ax.minorticks_off()
    ax.set_xticks(range(len(order)), order, rotation=60)
    return ax
