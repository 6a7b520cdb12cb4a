"""Figures of errors over the SNR: every spectrum, RMSE of bins beside what theory gives, bias in thirds."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.ticker import LogLocator

from precise_lib.show import color, marker

STYLES = {
    **{name: {"color": color(name), "marker": marker(name)} for name in ("noisy", "noisy, unbounded", "1D", "2D")},
    "Cramér-Rao bound": {"color": "#E69F00", "ls": "--"},
    "best linear (least error)": {"color": "#000000", "ls": "-"},
    "middle of the range": {"color": "#000000", "ls": ":"},
}
THIRD_COLORS = {"low": "#77AADD", "middle": "0.5", "high": "#EE8866"}  # none is an estimator's


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
