"""What is read from estimates over truth of many simulated 1H spectra.

`found` is the Dataset of `denoised.quantified` or `quantification.compared`: `truth` (spectrum, metabolite) and
`estimate` (source, spectrum, metabolite), in mM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from scipy.stats import norm

from precise_lib import show
from precise_lib.evaluate import regression
from precise_lib.evaluate.montecarlo import bootstrap_interval
from precise_lib.proton import figures, scores
from precise_lib.proton.brain import BLIND_RMSE_MM, LARGEST_MM, METABOLITES

FIT = "fit, not negative"  # of the noisy spectra
TRIO = ("sI", "NAAG", "NAA")  # the paper's examples of a weak, a middling and a strong metabolite


def lines(found: xr.Dataset) -> dict[str, xr.Dataset]:
    """By source, the regression of its estimates on the truth (`regression.line`)."""
    return {s: regression.line(found.truth, e, METABOLITES) for s, e in _by_source(found).items()}


def shares(found: xr.Dataset) -> dict[str, xr.Dataset]:
    """By source, the shares of its estimates in parts of the range (`scores.marginals`)."""
    return {s: scores.marginals(e, LARGEST_MM, METABOLITES) for s, e in _by_source(found).items()}


def _by_source(found: xr.Dataset) -> dict[str, np.ndarray]:
    return {str(s): found.estimate.sel(source=s).values for s in found.source.values}


def rmse_ratio(found: xr.Dataset, source: str, over: str) -> xr.Dataset:
    """`scores.rmse_ratio` of two sources, on the same spectra."""
    own = _by_source(found)
    return scores.rmse_ratio(found.truth.values, own[over], own[source], METABOLITES)


def slope_change(found: xr.Dataset, source: str, to: str) -> xr.Dataset:
    """`scores.slope_change` from one source to another, on the same spectra."""
    own = _by_source(found)
    return scores.slope_change(found.truth.values, own[source], own[to], METABOLITES)


def lower_slopes(found: xr.Dataset, source: str, than: str) -> int:
    """Number of metabolites whose slope is lower with one source than with another (95 %, paired)."""
    return int((slope_change(found, than, source).change_high < 0).sum())


def worse(found: xr.Dataset, names: Sequence[str], source: str, than: str) -> list[str]:
    """Those of the metabolites whose RMSE is larger with one source than with another (95 %, paired)."""
    low = rmse_ratio(found, source, than).ratio_low
    return [m for m in names if float(low.sel(metabolite=m)) > 1]


def median_ratio(found: xr.Dataset, source: str, over: str) -> tuple[float, tuple[float, float]]:
    """Median over the metabolites of the RMSE of one source over another's, and its 95 % interval, paired bootstrap
    over the spectra.
    """
    squares = [(found.estimate.sel(source=s, drop=True) - found.truth).values ** 2 for s in (over, source)]

    def median(draws):
        mean = draws.mean(0)
        return np.median(np.sqrt(mean[1] / mean[0]))

    pairs = np.stack(squares, axis=1)
    return float(median(pairs)), tuple(float(v) for v in bootstrap_interval(median, pairs))


def middle_third(found: xr.Dataset, source: str, name: str = "sI") -> tuple[float, tuple[float, float]]:
    """Share of the estimates of a metabolite in the middle third of its range, and its 95 % interval."""
    part = found.estimate.sel(source=source, metabolite=name).values / float(LARGEST_MM.sel(metabolite=name))
    inside = ((part > 1 / 3) & (part < 2 / 3)).astype(float)
    return float(inside.mean()), tuple(float(v) for v in bootstrap_interval(np.mean, inside))


def squared_error(found: xr.Dataset, least: str) -> xr.Dataset:
    """By source: `error`, the mean squared error over metabolites in units of their largest concentration, squared;
    `beyond` that of the source `least`; and `distance`, the mean square of what it differs from that source by.
    """
    part, truth = found.estimate / LARGEST_MM, found.truth / LARGEST_MM
    each = ("spectrum", "metabolite")
    error = ((part - truth) ** 2).mean(each)
    distance = ((part - part.sel(source=least, drop=True)) ** 2).mean(each)
    return xr.Dataset({"error": error, "beyond": error - error.sel(source=least, drop=True), "distance": distance})


def normal_middle(share):
    """Share in the middle third of estimates spread normally around its center, keeping this share of the variance."""
    return 2 * norm.cdf(1 / np.sqrt(3 * share)) - 1


def predicted(best: xr.Dataset, share: xr.Dataset, names: Sequence[str] = TRIO) -> show.Markdown:
    """Table of an estimate of least error: its line and its shares, and what theory makes of its slope alone."""
    head = ["", "slope $b$", "RMSE / blind guess", "√(1 - b)", "middle third", "normal approximation"]
    rows = []
    for name in names:
        b, rmse = (float(best[v].sel(metabolite=name)) for v in ("slope", "rmse"))
        relative = rmse / float(BLIND_RMSE_MM.sel(metabolite=name))
        middle = float(share.middle_third.sel(metabolite=name))
        rows.append([name, b, relative, np.sqrt(1 - b), middle, normal_middle(b)])
    return show.table(head, rows)


def overestimates(found: xr.Dataset, source: str, names: Sequence[str]) -> tuple[float, float, float]:
    """`scores.overestimates` of a source over the noisy spectra, for some metabolites together."""
    own = found.estimate.sel(metabolite=list(names))
    return scores.overestimates(own.sel(source="noisy"), own.sel(source=source), LARGEST_MM.sel(metabolite=list(names)))


def slopes(regressions: Mapping[str, xr.Dataset], names: Sequence[str] = TRIO) -> list[list]:
    """Rows of a table: each source with its slopes of some metabolites."""
    return [[s, *(float(line.slope.sel(metabolite=m)) for m in names)] for s, line in regressions.items()]


def reading_rows(reading: str, regressions: Mapping[str, xr.Dataset], best) -> list[list]:
    """Rows of a table for one reading of the SNR: slopes of `TRIO` and the RMSE of the first of them in mM, as
    measured, and of the best linear estimate, whose `slope` (metabolite,) is that of `best`."""
    sources = [s for s in regressions if s != "2D"]
    rows = [[reading, *row, regressions[row[0]].rmse.sel(metabolite=TRIO[0])]
            for row in slopes({s: regressions[s] for s in sources})]  # fmt: skip
    ideal = [float(best.slope.sel(metabolite=m)) for m in TRIO]
    left = np.sqrt(1 - ideal[0]) * BLIND_RMSE_MM.sel(metabolite=TRIO[0])
    return [*rows, [reading, "best linear (least error)", *ideal, left]]


def columns_figure(tables: Mapping[str, xr.Dataset], order, best: xr.DataArray | None = None):
    """Figure of slope, squared correlation and RMSE over the blind guess of `lines` by label, a panel each, the
    metabolites in `order`; `best` (metabolite,) are slopes of the best linear estimate, from which the rest follows.
    """
    fig, axes = plt.subplots(3, 1, figsize=(9.5, 7.6), sharex=True)
    columns = {"slope": ("slope", 1.0), "r2": ("R²", 1.0), "rmse": ("RMSE / blind guess", BLIND_RMSE_MM)}
    for ax, (column, (label, scale)) in zip(axes, columns.items(), strict=True):
        figures.plot_column(ax, tables, column, order, scale)
        ax.set_ylabel(label)
        if best is not None:
            b = best.sel(metabolite=order).values
            ax.plot(np.sqrt(1 - b) if column == "rmse" else b, "k_", ms=11, label="best linear (least error)")
    axes[2].set(yscale="log")
    axes[2].set_yticks([0.1, 0.3, 1, 3], ["0.1", "0.3", "1", "3"])
    axes[2].minorticks_off()
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return fig


def after_figure(found: xr.Dataset, pairs: Mapping[str, tuple[str, str]], order):
    """Figure of networks on noisy (full) and on denoised spectra (open), `pairs` of their sources: slopes beside those
    of the non-negative fit of the noisy spectra, and RMSE over that of this fit, the metabolites in `order`.
    """
    fig, (top, bottom) = plt.subplots(2, 1, figsize=(9.5, 6), sharex=True)
    sources, of_all = [s for pair in pairs.values() for s in pair], lines(found)
    figures.plot_column(top, {s: of_all[s] for s in (FIT, *sources)}, "slope", order)
    figures.plot_column(bottom, {s: rmse_ratio(found, s, FIT) for s in sources}, "ratio", order)
    top.set(ylabel="slope")
    bottom.set(ylabel="RMSE / that of the fit", yscale="log")
    bottom.set_yticks([0.3, 0.5, 1, 2], ["0.3", "0.5", "1", "2"])
    bottom.minorticks_off()
    for ax in (top, bottom):
        for part in ax.containers:
            if part.get_label().endswith("denoised"):
                part[0].set_markerfacecolor("white")
    fig.legend(*top.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return fig


def after_table(found: xr.Dataset, pairs: Mapping[str, tuple[str, str]], strong: Sequence[str]) -> show.Markdown:
    """Table of networks on denoised over those on noisy spectra, `pairs` of their sources: RMSE, slopes, and which of
    the `strong` metabolites each loses to the non-negative fit of the noisy spectra.
    """
    of_all, ratios = lines(found), [median_ratio(found, denoised, noisy) for noisy, denoised in pairs.values()]
    rows = [["RMSE, denoised over noisy input, median", *(f"{v:.3f} ({a:.3f} to {b:.3f})" for v, (a, b) in ratios)]]
    for m in TRIO:
        both = [[float(of_all[s].slope.sel(metabolite=m)) for s in pair] for pair in pairs.values()]
        rows.append([f"slope of {m}, noisy and denoised input", *(f"{a:.2f}, {b:.2f}" for a, b in both)])
    for k, what in enumerate(("noisy", "denoised")):
        lost = [", ".join(worse(found, strong, pair[k], FIT)) or "none" for pair in pairs.values()]
        rows.append([f"worse than the fit from {what} input, of {', '.join(strong)}", *lost])
    return show.table(["", *(noisy for noisy, _ in pairs.values())], rows)


def range_figure(noisy: xr.Dataset, ratio: Mapping, share: Mapping, best: xr.DataArray, order):
    """Figure of what the range buys, by metabolite in `order`: RMSE over that of the noisy fits (whose line is
    `noisy`), shares in the middle third and above the maximum, each beside the best linear estimate of slopes `best`.
    """
    at = {"metabolite": list(order)}
    b, blind = best.sel(at).values, (BLIND_RMSE_MM / noisy.rmse).sel(at).values
    fig, axes = plt.subplots(3, 1, figsize=(9.5, 7.2), sharex=True)
    values = {s: r.ratio.sel(at).values for s, r in ratio.items()}
    ends = {s: [r[f"ratio_{e}"].sel(at).values for e in ("low", "high")] for s, r in ratio.items()}
    values |= {"best possible": np.sqrt(1 - b) * blind, "center of the range": blind}
    figures.plot_by_metabolite(axes[0], values, order, ends)
    theory = {"middle_third": normal_middle(b), "above_maximum": norm.sf(np.sqrt(3 / b))}
    for ax, (name, expected) in zip(axes[1:], theory.items(), strict=True):
        values = {s: v[name].sel(at).values for s, v in share.items()}
        figures.plot_by_metabolite(ax, values | {"best possible": expected}, order)
    axes[0].set(ylabel="RMSE / noisy", ylim=(0, 1.6))
    axes[0].axhline(1, color="black", lw=0.8)
    axes[1].set(ylabel="in the middle third", ylim=(0, 1))
    axes[1].axhline(1 / 3, color="0.4", lw=0.8, ls="--")
    axes[2].set(ylabel="above the largest", ylim=(0, None))
    handles = {}
    for ax in axes[:2]:
        handles |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    handles["best linear (least error)"] = handles.pop("best possible")
    handles["blind guess"] = handles.pop("center of the range")
    fig.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles))
    return fig
