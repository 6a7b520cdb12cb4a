"""Figures of proton spectra: over ppm, estimates over truth, fits of measured spectra, shares of what was added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from precise_lib import show
from precise_lib.proton.brain import MAXIMUM_MM, BasisSet
from precise_lib.proton.denoised import fitted_spectra
from precise_lib.proton.fit import SpectrumFit
from precise_lib.show import color

RANGE_PPM = (4.6, 0.2)
MARKS = {"best possible": "_", "posterior mean": "_", "center of the range": "x"}


def plot_ppm(ax, ppm, spectra: Mapping[str, np.ndarray], window_ppm=RANGE_PPM):
    """Real parts (n,) by label over chemical shifts (n,) in any order, high shift to the left."""
    order = np.argsort(ppm)
    inside = order[(ppm[order] >= min(window_ppm)) & (ppm[order] <= max(window_ppm))]
    for label, values in spectra.items():
        ax.plot(ppm[inside], np.real(values)[inside], label=label, color=show.color(label, None), lw=1.0)
    ax.set_xlim(*window_ppm)
    ax.set_yticks([])
    return ax


def spectra_grid(ppm, spectra: Mapping[str, np.ndarray], columns: int = 3, window_ppm=RANGE_PPM):
    """Figure with one small panel per spectrum, each on its own vertical scale."""
    rows = -(-len(spectra) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(3.3 * columns, 1.15 * rows + 0.4), sharex=True, squeeze=False)
    for ax, (label, values) in zip(axes.flat, spectra.items(), strict=False):
        plot_ppm(ax, ppm, {label: values}, window_ppm).lines[0].set_color(show.color("denoised"))
        ax.text(0.02, 0.92, label, transform=ax.transAxes, va="top", fontsize=9, weight="bold")
    plt.setp(axes.flat[len(spectra) :], visible=False)
    plt.setp(axes[-1], xlabel="chemical shift (ppm)")
    return fig


def plot_over_truth(ax, truth, estimate, maximum: float, line=None, color: str = show.color("fit"), lowest=-0.6):
    """Estimates over truth (mM) with the identity (dotted), a line (slope, intercept) and both distributions, from
    `lowest` (in units of the `maximum` of the truth) to twice that maximum; what lies outside is drawn on the edge as
    triangles.
    """
    low, high = lowest * maximum, 2.0 * maximum
    inside = np.clip(estimate, low, high)
    out = inside != estimate
    ax.scatter(truth[~out], estimate[~out], s=6, alpha=0.45, color=color, lw=0, rasterized=True)
    ax.scatter(truth[out], inside[out], s=9, alpha=0.6, color=color, marker="^", lw=0, clip_on=False)
    span = np.array([0.0, maximum])
    ax.plot(span, span, "k:", lw=1)
    if line is not None:
        ax.plot(span, line[1] + line[0] * span, color="#D55E00", lw=1.5)
    ax.axhline(maximum, color="0.6", lw=0.8, ls="--")
    ax.set(xlim=(0, maximum), ylim=(low, high), xlabel="truth (mM)")
    bins = np.linspace(low, high, 40)
    right = ax.inset_axes([1.02, 0, 0.16, 1], sharey=ax)
    right.hist(inside, bins, orientation="horizontal", color=color)
    top = ax.inset_axes([0, 1.02, 1, 0.12], sharex=ax)
    top.hist(truth, np.linspace(0, maximum, 16), color="0.5")
    for margin in (right, top):
        margin.axis("off")
    return ax


def over_truth_grid(quantified, lines: Mapping, metabolites):
    """Figure of estimates over truth: metabolites in rows, the sources of `denoised.quantified` in columns, each with
    its line of `evaluate.regression`.
    """
    sources, rows = list(lines), len(metabolites)
    width = 10.5 / len(sources)
    size = (10.5, 0.95 * width * rows)
    fig, axes = plt.subplots(rows, len(sources), figsize=size, squeeze=False, layout="none")
    fig.subplots_adjust(0.055, 0.25 / rows, 0.98, 1 - 0.2 / rows, wspace=0.42, hspace=0.5)
    for name, row in zip(metabolites, axes, strict=True):
        truth = quantified.truth.sel(metabolite=name).values
        for source, ax in zip(sources, row, strict=True):
            values = quantified.estimate.sel(source=source, metabolite=name).values
            line = lines[source].sel(metabolite=name)
            drawn = float(line.slope), float(line.intercept)
            lowest = -0.1 if (quantified.estimate >= 0).all() else -0.6
            plot_over_truth(ax, truth, values, MAXIMUM_MM[name], drawn, show.color(source), lowest)
            numbers = f"a {line.slope:.2f}, q {line.intercept:.2f}\nR² {line.r2:.2f}, σ {line.rmse:.2f}"
            ax.text(0.03, 0.97, numbers, transform=ax.transAxes, va="top", fontsize=8)
            ax.set_title(f"{name}, {source}", fontsize=9, pad=9.5 * width)
            ax.set_xlabel("")
    plt.setp(axes[:, 0], ylabel="estimate (mM)")
    fig.supxlabel("truth (mM)", fontsize=10, y=0)
    return fig


def plot_by_metabolite(ax, values: Mapping[str, np.ndarray], names, ends: Mapping[str, tuple] | None = None):
    """Values (M,) by label, the metabolites side by side, with the ends (low, high) of intervals where given."""
    places, shown = np.arange(len(names)), [label for label in values if label not in MARKS]
    for label, v in values.items():
        if label in MARKS:
            ax.plot(places, v, MARKS[label], color="black", ms=11 if MARKS[label] == "_" else 5, label=label)
            continue
        shift = min(0.22, 0.75 / len(shown)) * (shown.index(label) - (len(shown) - 1) / 2)
        low, high = (ends or {}).get(label, (v, v))
        reach = np.clip([v - low, high - v], 0, None)
        ax.errorbar(places + shift, v, reach, fmt="o", ms=4, color=show.color(label), label=label)
    ax.set_xticks(places, names, rotation=60)
    return ax


def plot_column(ax, tables: Mapping[str, xr.Dataset], column: str, order, scale=1.0):
    """A column (metabolite) of tables by label with its interval, `column`_low to `column`_high, the metabolites in
    `order`; all over `scale`, a number or (metabolite,).
    """
    drawn = {s: [(t[column + end] / scale).sel(metabolite=list(order)).values for end in ("", "_low", "_high")]
             for s, t in tables.items()}  # fmt: skip
    values, ends = {s: v[0] for s, v in drawn.items()}, {s: v[1:] for s, v in drawn.items()}
    plot_by_metabolite(ax, values, order, ends)
    ax.axhline(1, color="black", lw=0.8)
    return ax


def plot_denoised(ax, ppm, label: str, values, truth, gap: float, window_ppm=RANGE_PPM):
    """A spectrum (n,) under the true one, and `gap` below zero what it differs by, on the same scale."""
    plot_ppm(ax, ppm, {label: values, "truth": truth}, window_ppm).lines[0].set_linewidth(1.6)
    line = plot_ppm(ax, ppm, {"difference": values - truth - gap}, window_ppm).lines[-1]
    line.set_color("#D55E00")
    ax.axhline(-gap, color="0.6", lw=0.5)
    return ax


def denoising_examples(ppm, cases: Mapping[str, Mapping[str, np.ndarray]], window_ppm=RANGE_PPM):
    """Figure of spectra over the truth, and their difference below; a row with one vertical scale per case, title ->
    {"truth": (n,), label: (n,), ...}, and a column per kind of spectrum.
    """
    columns = len(next(iter(cases.values()))) - 1
    size = (min(5.2 * columns, 11.5), 2.4 * len(cases) + 0.4)
    fig, axes = plt.subplots(len(cases), columns, figsize=size, squeeze=False)
    for row, (title, spectra) in zip(axes, cases.items(), strict=True):
        truth, inside = spectra["truth"], (ppm >= min(window_ppm)) & (ppm <= max(window_ppm))
        others = {k: v for k, v in spectra.items() if k != "truth"}
        drawn = np.real([truth, *others.values()])[:, inside]
        gap = drawn.max() * 0.25 - min(np.real(v - truth)[inside].min() for v in others.values())
        for ax, (label, values) in zip(row, others.items(), strict=True):
            plot_denoised(ax, ppm, label, values, truth, gap, window_ppm)
            ax.set_ylim(-2 * gap, 1.08 * drawn.max())
            ax.set_title(f"{label}, {title}", fontsize=10, loc="left")
    plt.setp(axes[-1], xlabel="chemical shift (ppm)")
    return fig


def plot_scores(ax, snr, scores: Mapping[str, np.ndarray], edges):
    """Scores (V,) by label over SNR (V,): dots, and the median between neighboring `edges` as steps."""
    for label, values in scores.items():
        color = show.color(label, None)
        ax.plot(snr, values, ".", ms=2, alpha=0.35, color=color, rasterized=True)
        medians = [np.median(values[(snr >= a) & (snr < b)]) for a, b in pairwise(edges)]
        ax.stairs(medians, edges, color=color, lw=2, baseline=None, label=label)
    ax.axhline(1, color="0.6", lw=0.8, ls="--")
    ax.set(xlabel="SNR", ylim=(0, 1.05))
    return ax


PART_COLORS = {"measured": "#000000", "fit": "#D55E00", "macromolecules": "#CC79A7", "lipids and baseline": "#0072B2"}
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
COLORS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def model_parts(fit: SpectrumFit, basis: BasisSet, points: slice) -> dict[str, np.ndarray]:
    """Spectra (n,) of the first fit of several: the whole, its macromolecules, its lipids with the baseline."""
    own = replace(fit, **{name: getattr(fit, name)[:1] for name in fit.__dataclass_fields__})
    kinds = {"fit": "", "macromolecules": "MM", "lipids and baseline": ("lipid", "baseline")}
    parts = {}
    for label, start in kinds.items():
        chosen = np.array([name.startswith(start) for name in basis.names])
        parts[label] = fitted_spectra(replace(own, amplitudes=own.amplitudes * chosen), basis, points)[0]
    return parts


def fit_figure(ppm, cases: Mapping[str, tuple], noise: float):
    """Figure of spectrum, fit and its parts, and below the residual over `noise`, the SD of one channel of one point; a
    column per case, title -> (spectrum (n,), `model_parts` of its fit, phase of the fit in rad).
    """
    n, order = len(cases), np.argsort(ppm)
    rows = {"sharex": True, "sharey": "row", "height_ratios": (3, 1.2), "squeeze": False}
    fig, axes = plt.subplots(2, n, figsize=(5.6 * n, 4.6), **rows)
    for (top, bottom), (title, (spectrum, parts, phase)) in zip(axes.T, cases.items(), strict=True):
        turn = np.exp(-1j * phase)
        for label, values in {"measured": spectrum, **parts}.items():
            top.plot(ppm[order], (values * turn).real[order], color=PART_COLORS[label], label=label, lw=1)
        bottom.axhspan(-2, 2, color="0.85", zorder=0)
        bottom.plot(ppm[order], ((spectrum - parts["fit"]) * turn).real[order] / noise, color="0.2", lw=0.8)
        top.set(title=title, yticks=[])
        bottom.set(xlim=(ppm.max(), ppm.min()), xlabel="chemical shift (ppm)")
    axes[1, 0].set_ylabel("residual / noise")
    axes[0, 0].legend(fontsize=8, loc="upper left")
    return fig


def plot_ratios(ax, names, cases: Mapping[str, tuple], width: float = 0.8):
    """Ratios with error bars, side by side per metabolite; cases: label -> (ratios (M,), errors (M,))."""
    places = np.arange(len(names))
    for k, (label, (value, error)) in enumerate(cases.items()):
        shift = width * ((k + 0.5) / len(cases) - 0.5)
        style = {"fmt": MARKERS[k % 7], "color": color(label, COLORS[k % 7]), "ms": 4, "capsize": 2}
        ax.errorbar(places + shift, value, error, label=label, lw=1, **style)
    for edge in places[:-1] + 0.5:
        ax.axvline(edge, color="0.85", lw=0.7, zorder=0)
    ax.axhline(0, color="0.5", lw=0.8)
    ax.set_xticks(places, names, rotation=60)
    ax.set_xlim(-0.5, len(names) - 0.5)
    return ax


def plot_recovered(ax, share: xr.Dataset, expected=None):
    """Shares of what was added, per metabolite and source, with two standard errors, as `recovered` gives them;
    `expected` (added,), what theory gives for the best linear estimate, as bars.
    """
    names = [str(v) for v in share.added.values]
    own = share.sel(metabolite=xr.DataArray(names, dims="added"))
    cases = {str(s): (own.share.sel(source=s).values, 2 * own.se.sel(source=s).values) for s in own.source.values}
    plot_ratios(ax, names, cases, width=0.6)
    if expected is not None:
        ax.plot(np.arange(len(names)), expected, "k_", ms=22, mew=1.5, label="best linear (least error)")
    ax.axhline(1, color="black", lw=0.8)
    return ax
