"""Figures of proton spectra: real parts over ppm, and estimates over truth with their marginal distributions."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

from precise_lib import show
from precise_lib.proton.brain import MAXIMUM_MM

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
    """Estimates over truth (mM) with the identity (dotted), a line (slope, intercept) and both distributions.

    Estimates are shown from `lowest` to twice the `maximum` of the truth, `lowest` in units of that maximum; what lies
    outside is drawn on the edge as triangles, the distribution of the truth at the top, of the estimate at the right.
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


def over_truth_grid(quantified, lines: Mapping, metabolites, blocks: int = 1):
    """Figure of estimates over truth: metabolites in rows, `blocks` of them side by side, the sources in columns.

    `quantified` is as `denoised.quantified` gives it, `lines` has the `evaluate.regression.line` of each source.
    """
    sources = list(lines)
    rows, columns = -(-len(metabolites) // blocks), blocks * len(sources)
    width = max(6.6 / len(sources), 10.5 / columns)
    size = (width * columns, 0.95 * width * rows)
    fig, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="none")
    fig.subplots_adjust(0.055, 0.25 / rows, 0.98, 1 - 0.2 / rows, wspace=0.42, hspace=0.5)
    panels = axes.reshape(rows * blocks, len(sources))
    for name, row in zip(metabolites, panels, strict=False):
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
    plt.setp(panels[len(metabolites) :].flat, visible=False)
    fig.supxlabel("truth (mM)", fontsize=10, y=0)
    return fig


def plot_by_metabolite(ax, values: Mapping[str, np.ndarray], names, ends: Mapping[str, tuple] | None = None):
    """Values (M,) by label, the metabolites side by side, with the ends (low, high) of intervals where given."""
    places, shown = np.arange(len(names)), [label for label in values if label not in MARKS]
    for label, v in values.items():
        if label in MARKS:
            ax.plot(places, v, MARKS[label], color="black", ms=11 if MARKS[label] == "_" else 5, label=label)
            continue
        shift = 0.22 * (shown.index(label) - (len(shown) - 1) / 2)
        low, high = (ends or {}).get(label, (v, v))
        reach = np.clip([v - low, high - v], 0, None)
        ax.errorbar(places + shift, v, reach, fmt="o", ms=4, color=show.color(label), label=label)
    ax.set_xticks(places, names, rotation=60)
    return ax


def plot_denoised(ax, ppm, label: str, values, truth, gap: float, window_ppm=RANGE_PPM):
    """A spectrum (n,) under the true one, and `gap` below zero what it differs by, on the same scale."""
    plot_ppm(ax, ppm, {label: values, "truth": truth}, window_ppm).lines[0].set_linewidth(1.6)
    line = plot_ppm(ax, ppm, {"difference": values - truth - gap}, window_ppm).lines[-1]
    line.set_color("#D55E00")
    ax.axhline(-gap, color="0.6", lw=0.5)
    return ax


def denoising_examples(ppm, cases: Mapping[str, Mapping[str, np.ndarray]], window_ppm=RANGE_PPM):
    """Figure of spectra over the truth, and their difference below; a row per case, a column per kind of spectrum.

    Cases are title -> {"truth": (n,), label: (n,), ...}; a row has one vertical scale.
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
