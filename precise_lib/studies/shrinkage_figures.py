"""Figures of slopes: over SNR and over the size of a lesion, and contrast kept against noise kept."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from precise_lib import show
from precise_lib.studies.shrinkage import FAITHFUL, FROM_THE_FID, MIRAGE


def style(label: str) -> dict:
    """Keywords for `plot` of single points; an estimator that was computed and not trained has an open symbol."""
    own = show.color(label)
    hollow = label.startswith("posterior mean")
    return {"color": own, "marker": show.marker(label), "mfc": "white" if hollow else own, "mec": own, "ls": "none"}


def slopes_over_snr(snr, measured: Mapping[str, xr.Dataset], predicted: Mapping[str, np.ndarray]):
    """Figure of the slope of estimate on truth over SNR (S,), a panel per metabolite: by label the `measured` Dataset
    (snr, metabolite) of `regression.controlled_line`, and the `predicted` (S, metabolites), as lines in the same color.
    """
    names = next(iter(measured.values())).metabolite.values
    fig, axes = plt.subplots(1, len(names), figsize=(4 * len(names), 4.1), sharey=True)
    for k, (ax, name) in enumerate(zip(axes, names, strict=True)):
        ax.axhspan(1 - FAITHFUL, 1 + FAITHFUL, color="0.92", zorder=0)
        ax.axhline(MIRAGE, color="0.6", lw=0.8, ls=":")
        for label, values in predicted.items():
            ax.plot(snr, values[:, k], color=show.color(label), lw=1.2, label=f"predicted: {label}")
        for label, line in measured.items():
            one = line.isel(metabolite=k)
            ax.errorbar(snr, one.slope, [one.slope - one.slope_low, one.slope_high - one.slope], ms=5.5, label=label,
                        elinewidth=1, **style(label))  # fmt: skip
        ax.set(xscale="log", xlabel="SNR of water", title=name)
        ax.set_xticks([5, 10, 20, 40], ["5", "10", "20", "40"])
        ax.minorticks_off()
    axes[0].set_ylabel("slope of estimate on truth")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return fig


def mean_over_truth(
    ax, truth, estimates: Mapping[str, np.ndarray], top: float, colors: Mapping, n_bins=15, ls="none", ms=5
):
    """Mean estimate in bins of the truth (n,) from zero to `top`, symbols by label, and the identity (dotted)."""
    bins = np.clip((n_bins * np.asarray(truth) / top).astype(int), 0, n_bins - 1)
    centers = top * (np.arange(n_bins) + 0.5) / n_bins
    for label, estimate in estimates.items():
        means = [estimate[bins == i].mean() if (bins == i).any() else np.nan for i in range(n_bins)]
        ax.plot(centers, means, marker=show.marker(label, "s"), ls=ls, lw=1, ms=ms, color=colors[label], label=label)
    ax.plot([0, top], [0, top], "k:", lw=1)
    ax.set(ylim=(0, 1.07 * top))
    return ax


def table_of_tests(low: Mapping[str, xr.Dataset], high: Mapping[str, xr.Dataset]) -> show.Markdown:
    """The tests of "Miracle or mirage?" as a table, the same columns for every method and metabolite; `low`
    and `high` have the Dataset of `shrinkage.summary` at low and at high SNR by label.
    """
    head = ["", "", "slope, low SNR", "slope, high SNR", "intercept, low SNR (mM)", "shrunk toward (mM)"]
    head += ["middle third", "above maximum", "RMSE / bound, low SNR", "RMSE / bound, high SNR"]
    head += ["RMSE low / high", "bound low / high"]
    rows = []
    for label, tables in low.items():
        for name in tables.metabolite.values:
            a, b = ({k: float(v) for k, v in x.sel(metabolite=name).items()} for x in (tables, high[label]))
            cells = [f"{x['slope']:.2f} ± {x['slope_high'] - x['slope']:.2f}" for x in (a, b)]
            cells.append(f"{a['intercept']:.2f}")
            cells.append(f"{a['intercept'] / (1 - a['slope']):.1f}" if a["slope"] < 1 - FAITHFUL else "")
            values = [a["middle_third"], a["above_maximum"], a["rmse_ratio"], b["rmse_ratio"]]
            values += [a["rmse"] / b["rmse"], a["efficient"] / b["efficient"]]
            rows.append([label, name, *cells, *values])
    return show.table(head, rows)


def contrast_over_noise(ax, limit: float = 1.25):
    """Axes of contrast kept (slope) over noise kept (SD / CRLB), with what a single FID can and cannot do."""
    x = np.array([0.0, limit])
    ax.fill_between(x, FROM_THE_FID * x, 2 * limit, color="#F0E442", alpha=0.22, lw=0)
    ax.plot(x, x, color="0.4", lw=1)
    ax.plot(x, FROM_THE_FID * x, color="0.4", lw=0.8, ls=":")
    ax.axhline(1, color="0.8", lw=0.8, zorder=0)
    ax.axvline(1, color="0.8", lw=0.8, zorder=0)
    ax.set(xlim=(0, limit), ylim=(0, 1.1), xlabel="noise kept (SD / bound)")
    return ax


def kept_over_size(ax, sizes, closed: Mapping[str, tuple], measured: Mapping[str, tuple]):
    """Contrast kept over the side of a lesion: by label the `closed` (values over `sizes`, color, line style) and the
    `measured` (sizes, slopes, half widths of their intervals, color, marker).
    """
    for label, (values, color, dashes) in closed.items():
        ax.plot(sizes, values, dashes, color=color, label=label)
    for label, (x, y, half, color, marker) in measured.items():
        ax.errorbar(x, y, half, color=color, marker=marker, ls="none", ms=6, elinewidth=1, label=label)
    ax.set(xlabel="side of the lesion (voxels)", ylim=(0, 1.06), xticks=list(sizes))
    ax.axhline(1, color="0.8", lw=0.8, zorder=0)
    return ax


def rmse_ladder(levels: Mapping[str, Mapping[str, xr.Dataset]], highlight: float = MIRAGE):
    """Figure of the RMSE of each estimator with the slope beside each point, in red below `highlight`; `levels` has the
    Dataset (metabolite) of `shrinkage.summary` by label of the SNR and by estimator.
    """
    first = next(iter(levels.values()))
    methods, names = list(first), next(iter(first.values())).metabolite.values
    fig, axes = plt.subplots(1, len(names), figsize=(4 * len(names), 0.42 * len(methods) + 1.5), sharey=True)
    for k, (ax, name) in enumerate(zip(axes, names, strict=True)):
        for (label, tables), color in zip(levels.items(), ("#0072B2", "#D55E00"), strict=False):
            rmse = [float(tables[m].rmse[k]) for m in methods]
            places = np.arange(len(methods))
            ax.plot(rmse, places, "o-", color=color, lw=1, ms=6, label=label)
            for x, y, m in zip(rmse, places, methods, strict=True):
                slope = float(tables[m].slope[k])
                low = slope < highlight
                ax.annotate(f"{slope:.2f}", (x, y), (7, 2), textcoords="offset points", fontsize=8, ha="left",
                            color="#B00020" if low else "0.35", weight="bold" if low else "normal")  # fmt: skip
        ax.set(xscale="log", xlabel="RMSE (mM)", title=name, ylim=(len(methods) - 0.5, -0.7))
        ax.set_xticks([0.1, 0.2, 0.5, 1], ["0.1", "0.2", "0.5", "1"])
        ax.minorticks_off()
        ax.margins(x=0.12)
    axes[0].set_yticks(range(len(methods)), methods)
    axes[0].legend(fontsize=9, loc="lower right")
    return fig
