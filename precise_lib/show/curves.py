"""Spectra over ppm, and curves over SNR or a setting, in the colors of the methods."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from precise_lib.show.style import color, marker


def snr_axes(ax):
    """Logarithmic axes of SD (%) over SNR with plain numbers."""
    ax.set(xscale="log", yscale="log", xticks=[5, 10, 20, 35], yticks=[2, 5, 10, 20, 50])
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")


def ppm_axis(model) -> np.ndarray:
    """Chemical shift of each point of `signal.model.spectrum`."""
    return model.carrier_ppm + model.acquisition.frequency_axis_hz / model.acquisition.spectrometer_frequency_mhz


def plot_spectra(ax, model, spectra: Mapping[str, np.ndarray], window_ppm=(7.0, -1.0), lines: bool = True):
    """Real parts over ppm, high shift to the left; (mean, sd) tuples are drawn with a band of one SD."""
    ppm = ppm_axis(model)
    for name, values in spectra.items():
        mean, sd = values if isinstance(values, tuple) else (values, None)
        ax.plot(ppm, np.real(mean), label=name, color=color(name), lw=1.2)
        if sd is not None:
            ax.fill_between(ppm, np.real(mean) - sd, np.real(mean) + sd, color=color(name), alpha=0.25, lw=0)
    above = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "bottom", "fontsize": 8}
    if lines:
        for resonance in model.resonances:
            ax.axvline(resonance.ppm, color="0.8", lw=0.8, zorder=0)
            ax.text(resonance.ppm, 1.0, resonance.name, **above)
    ax.set_xlim(*window_ppm)
    ax.set_xlabel("chemical shift (ppm)")
    ax.set_yticks([])
    return ax


def plot_curves(ax, curves: Mapping[str, tuple], xlabel: str, ylabel: str, intervals: Mapping | None = None):
    """Lines name -> (x, y) in the estimators' colors; `intervals` name -> (low, high) as bands."""
    for name, (x, y) in curves.items():
        if name == "bound" or name.startswith("bound"):
            ax.plot(x, y, color="black", ls="--" if name == "bound" else ":", label=name)
            continue
        ax.plot(x, y, marker=marker(name), color=color(name), label=name)
        if intervals and name in intervals:
            ax.fill_between(x, *intervals[name], color=color(name), alpha=0.2, lw=0)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    return ax


def gains(ax, steps: Mapping[str, float], xlabel: str):
    """A waterfall of factors: bars from what stands above to what each step reaches, times what it was there.

    `steps` name -> factor reached, in the order of the steps; the first is one. Each bar has its own factor and
    the product, and is gray where the step is a loss.
    """
    reached = list(steps.values())
    for row, (name, low, high) in enumerate(zip(steps, [1.0, *reached], reached, strict=False)):
        gained = color("precise" if row == len(reached) - 1 else "fit")
        ax.barh(row, high - low, left=low, height=0.4, color=gained if high >= low else "0.6")
        ax.text(1.01, row - 0.25, name, va="bottom")  # above its bar: as wide a name as the figure
        if row:
            ax.plot([low, low], [row - 0.8, row + 0.2], color="0.5", lw=0.8)
            ax.text(
                max(low, high) + 0.03,
                row,
                f"× {high / low:.2f}" + (f" = {high:.2f}" if low != 1 else ""),  # a number of NumPy repeats no text
                va="center",
                weight="bold",
            )
    ax.axvline(1, color="black", lw=0.8)
    ax.set(xlabel=xlabel, yticks=[], ylim=(len(reached) - 0.6, -0.7), xlim=(0.98, max(reached) + 0.65))
    ax.spines["left"].set_visible(False)
    return ax
