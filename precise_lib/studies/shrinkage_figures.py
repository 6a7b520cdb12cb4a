"""Figures of slopes: over SNR and over the size of a lesion, and contrast kept against noise kept."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from precise_lib import show
from precise_lib.studies.contrasts import HIDDEN, SHOWN, TISSUE
from precise_lib.studies.mirage import WORDS, Prior
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


def _grouped(points: Mapping[str, tuple[float, float]], near: float = 0.07) -> list[tuple[str, float, float]]:
    """Labels of points; those of points that lie within `near` of each other are joined, so that none hides another."""
    groups: list[list[tuple[str, float, float]]] = []
    for name, (x, y) in points.items():
        own = next((g for g in groups if all(abs(x - a) < near and abs(y - b) < near for _, a, b in g)), None)
        groups.append([(name, x, y)]) if own is None else own.append((name, x, y))
    return [(", ".join(n for n, _, _ in g), *np.mean([v[1:] for v in g], axis=0)) for g in groups]


def kept_panels(methods: Mapping[str, Mapping[str, tuple[float, float]]], columns: int = 4, limit: float = 1.25):
    """Figure of contrast kept (slope) over noise kept (SD / bound), a panel per method: {method: {point: (noise,
    slope)}}, each point with its name, and what a single FID of separate lines can and cannot do.
    """
    rows = -(-len(methods) // columns)
    size = (2.75 * columns, 2.7 * rows + 0.3)
    fig, axes = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
    x = np.array([0.0, limit])
    for ax, (method, points) in zip(axes.flat, methods.items(), strict=False):
        ax.fill_between(x, FROM_THE_FID * x, 2 * limit, color="#F0E442", alpha=0.22, lw=0)
        ax.plot(x, x, color="0.4", lw=1)
        places = {name: (min(noise, 0.98 * limit), slope) for name, (noise, slope) in points.items()}
        ax.plot(
            *zip(*places.values(), strict=True), ms=7, **style(method.split(",")[0] if "PRECISE" in method else method)
        )
        for name, a, b in _grouped(places):
            right = a > 0.62
            ax.annotate(name, (a, b), (-9 if right else 8, 0), textcoords="offset points", fontsize=9,
                        ha="right" if right else "left", va="center")  # fmt: skip
        ax.set_title(method, fontsize=10)
        ax.set(xlim=(0, limit), ylim=(0, 1.15))
    plt.setp(axes.flat[len(methods) :], visible=False)
    plt.setp(axes[-1], xlabel="noise kept (SD / bound)")
    plt.setp(axes[:, 0], ylabel="contrast kept (slope)")
    return fig


VIEW_COLORS = {TISSUE: "#009E73", SHOWN: "#0072B2", HIDDEN: "#D55E00"}


def contrast_figure(prior: Prior):
    """Figure of the contrast that the prior keeps over the side of a lesion: closed form, with and without the edges of
    the MRI, measured with intervals at low (open) and high SNR (full), and the noise that a voxel keeps.
    """
    fig, ax = plt.subplots(figsize=(8.2, 4.4))
    sizes, snrs = list(prior.scenes), sorted(prior.efficient)
    for view, color in VIEW_COLORS.items():
        ax.plot(sizes, prior.closed(view), "-", color=color, label=WORDS[view])
        if view != HIDDEN:
            ax.plot(sizes, prior.closed(view, True), "--", color=color, label=f"{WORDS[view]}, smoothed blindly")
    for (size, snr), lines in prior.lines.items():
        for view, color in VIEW_COLORS.items():
            line, full = lines[view].isel(metabolite=0), snr == snrs[-1]
            half = float(line.slope_high - line.slope)
            face = {"marker": "o", "ms": 6, "color": color, "mfc": color if full else "white"}
            ax.errorbar(size + 0.06 * (2 * full - 1), float(line.slope), half, **face)
    noise = sorted(prior.noise_kept(s) for s in (sizes[0], sizes[-1]))
    ax.axhspan(*noise, color="0.75", zorder=0, label="noise kept by a voxel")
    ax.axhline(1, color="0.8", lw=0.8, zorder=0)
    ax.set(xlabel="side of the lesion (voxels)", ylabel="contrast kept (slope)", ylim=(0, 1.06), xticks=sizes)
    ax.legend(fontsize=9, loc="lower right", ncols=2)
    return fig
