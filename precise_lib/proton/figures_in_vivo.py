"""Figures of a measured 1H spectrum: a fit and its parts, ratios under several models, shares of what was added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from precise_lib.proton.brain import BasisSet
from precise_lib.proton.denoised import fitted_spectra
from precise_lib.proton.fit import SpectrumFit
from precise_lib.show import color

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
    """Figure of spectrum, fit and its parts, and below the residual over the noise; a column per case.

    Cases are title -> (spectrum (n,), `model_parts` of its fit, phase of the fit in rad); `noise` is the SD of one
    channel of one point.
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
    """Shares of what was added, per metabolite and source, with two standard errors, as `recovered` gives them.

    `expected` (added,) are the shares that theory gives for the best linear estimate, drawn as bars.
    """
    names = [str(v) for v in share.added.values]
    own = share.sel(metabolite=xr.DataArray(names, dims="added"))
    cases = {str(s): (own.share.sel(source=s).values, 2 * own.se.sel(source=s).values) for s in own.source.values}
    plot_ratios(ax, names, cases, width=0.6)
    if expected is not None:
        ax.plot(np.arange(len(names)), expected, "k_", ms=22, mew=1.5, label="best linear (least error)")
    ax.axhline(1, color="black", lw=0.8)
    return ax
