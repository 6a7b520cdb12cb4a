"""Figures of the book: one style, maps that share a color scale with their truth, sliders without a kernel."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Iterable, Mapping

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

# Okabe and Ito: told apart with any color vision
COLORS = {
    "truth": "#000000",
    "bound": "#000000",
    "fourier": "#E69F00",
    "fourier, zero-filled": "#8C6100",
    "fit": "#009E73",
    "sve": "#0072B2",
    "sve, plain recipe": "#56B4E9",
    "precise": "#D55E00",
    "precise-finetune": "#CC79A7",
    "svd-fit": "#56B4E9",
    "mppca-fit": "#999933",
    "fit-diffusion": "#882255",
    "fit-guided": "#44AA99",
    # proton spectra
    "noisy": "#999999",
    "denoised": "#0072B2",
    "1D": "#0072B2",
    "2D": "#CC79A7",
    "InceptionNet": "#0072B2",
    "shallow CNN": "#CC79A7",
    "fit, not negative": "#E69F00",
    "fit of the true model": "#009E73",
    "posterior mean": "#444444",
    "best possible": "#000000",
}
MARKERS = {
    "fourier": "s",
    "fourier, zero-filled": "D",
    "fit": "^",
    "sve": "o",
    "sve, plain recipe": "v",
    "precise": "P",
    "precise-finetune": "X",
    "svd-fit": "<",
    "mppca-fit": ">",
    "fit-diffusion": "D",
    "fit-guided": "v",
}

STYLE = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",  # opaque: legible on a dark page
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "image.cmap": "viridis",
    "image.interpolation": "nearest",
    "svg.hashsalt": "precise",
}


def use_style():
    """Apply the book's style to this session."""
    mpl.rcParams.update(STYLE)


def color(name: str) -> str:
    return COLORS.get(name, "#666666")


def show_map(ax, values, **settings):
    """One slice, x to the right and y up."""
    image = ax.imshow(np.asarray(values).T, origin="lower", **settings)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return image


def map_rows(rows: Mapping[str, Iterable], columns: Iterable[str], units: str = "mM", limits=None, cmaps=None):
    """A table of maps with one color scale per row.

    Parameters
    ----------
    rows : row title -> maps (x, y), one per column; None leaves a cell empty
    columns : column titles
    limits : row title -> (low, high); the row's own 1st and 99th percentile where absent
    cmaps : row title -> colormap

    Returns
    -------
    Figure
    """
    columns = list(columns)
    fig, axes = plt.subplots(
        len(rows), len(columns), figsize=(1.75 * len(columns) + 1.1, 1.75 * len(rows) + 0.3), squeeze=False
    )
    for ax, column in zip(axes[0], columns, strict=True):
        ax.set_title(column, fontsize=9)
    for (title, maps), line in zip(rows.items(), axes, strict=True):
        maps, image = list(maps), None
        shown = np.concatenate([np.ravel(m)[np.isfinite(np.ravel(m))] for m in maps if m is not None])
        low, high = (limits or {}).get(title, np.percentile(shown, [1, 99]))
        for ax, values in zip(line, maps, strict=True):
            empty = values is None
            shown_here = np.full((1, 1), np.nan) if empty else values
            mapped = show_map(ax, shown_here, vmin=low, vmax=high, cmap=(cmaps or {}).get(title, "viridis"))
            image = image if empty else mapped
        line[0].set_ylabel(title, fontsize=9)
        fig.colorbar(image, ax=list(line), label=units, shrink=0.85, pad=0.02)
    return fig


def overview(maps: Mapping[str, np.ndarray], curves: Mapping[str, tuple], units: str = "mM"):
    """The main result at a glance: maps of one measurement in two rows, and SD over SNR beside them.

    Parameters
    ----------
    maps : title -> map (x, y), four of them on one color scale that starts at zero
    curves : as in `plot_curves`, x the SNR of water, y the SD in percent
    """
    fig = plt.figure(figsize=(11, 4.4))
    left, right = fig.subfigures(1, 2, width_ratios=[1.15, 1])
    axes = left.subplots(2, 2)
    top = 1.15 * np.nanmax(next(iter(maps.values())))
    for ax, (title, values) in zip(axes.flat, maps.items(), strict=True):
        image = show_map(ax, values, vmin=0, vmax=top)
        ax.set_title(title, fontsize=9)
    left.colorbar(image, ax=list(axes.flat), label=units, shrink=0.8)
    ax = plot_curves(right.subplots(), curves, "SNR of water", "SD of Glx / water (%)")
    snr_axes(ax)
    ax.legend()
    return fig


def snr_axes(ax):
    """Logarithmic axes of SD (%) over SNR with plain numbers."""
    ax.set(xscale="log", yscale="log", xticks=[5, 10, 20, 35], yticks=[2, 5, 10, 20, 50])
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")


def plot_phantom(phantom):
    """Compartments with tumor sites, MRI, and the true map of each metabolite."""
    fig, axes = plt.subplots(1, 5, figsize=(11.5, 2.6))
    show_map(axes[0], phantom.compartments[..., 0], cmap="Greys", vmin=0, vmax=6)
    axes[0].set_title("compartments 1-3, sites A-D", fontsize=9)
    for site, mask in phantom.tumors.items():
        x, y = np.argwhere(mask[..., 0]).mean(0)
        axes[0].text(x, y, site, ha="center", va="center", color="white", fontweight="bold")
    show_map(axes[1], phantom.mri[..., 0], cmap="gray")
    axes[1].set_title("MRI (gray level)", fontsize=9)
    for ax, name in zip(axes[2:], ("Glc", "Glx", "Lac"), strict=True):
        image = show_map(ax, phantom.concentrations.sel(metabolite=name)[..., 0], vmin=0)
        ax.set_title(f"{name}, truth", fontsize=9)
        fig.colorbar(image, ax=ax, label="mM", shrink=0.8)
    return fig


def ppm_axis(model) -> np.ndarray:
    """Chemical shift of each point of `simulate.signal.spectrum`."""
    return model.carrier_ppm + model.acquisition.frequency_axis_hz / model.acquisition.spectrometer_frequency_mhz


def plot_spectra(ax, model, spectra: Mapping[str, np.ndarray], window_ppm=(7.0, -1.0), lines: bool = True):
    """Real parts over ppm, high shift to the left; (mean, sd) tuples are drawn with a band of one SD."""
    ppm = ppm_axis(model)
    for name, values in spectra.items():
        mean, sd = values if isinstance(values, tuple) else (values, None)
        ax.plot(ppm, np.real(mean), label=name, color=color(name), lw=1.2)
        if sd is not None:
            ax.fill_between(ppm, np.real(mean) - sd, np.real(mean) + sd, color=color(name), alpha=0.25, lw=0)
    if lines:
        for resonance in model.resonances:
            ax.axvline(resonance.ppm, color="0.8", lw=0.8, zorder=0)
            ax.text(
                resonance.ppm,
                1.0,
                resonance.name,
                transform=ax.get_xaxis_transform(),
                ha="center",
                va="bottom",
                fontsize=8,
            )
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
        ax.plot(x, y, marker=MARKERS.get(name, "o"), color=color(name), label=name)
        if intervals and name in intervals:
            ax.fill_between(x, *intervals[name], color=color(name), alpha=0.2, lw=0)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    return ax


def slider(draw: Callable, values: Iterable, label: str, alt: str = ""):
    """A slider over figures drawn now, alive in JupyterLab and on the static page alike.

    Parameters
    ----------
    draw : value -> Figure
    values : mapping of slider label -> value, or an iterable
    label : name of the slider
    alt : what the pictures show, for readers who do not see them
    """
    import ipywidgets as widgets

    values = values if isinstance(values, Mapping) else {str(v): v for v in values}
    pictures = []
    for text, value in values.items():
        figure, buffer = draw(value), io.BytesIO()
        figure.savefig(buffer, format="png", dpi=100)
        plt.close(figure)
        data, described = base64.b64encode(buffer.getvalue()).decode(), html.escape(f"{alt or label}, {text}")
        pictures.append(
            widgets.HTML(f'<img alt="{described}" style="max-width:100%" src="data:image/png;base64,{data}">')
        )
    control = widgets.SelectionSlider(
        options=[(text, i) for i, text in enumerate(values)], description=label, style={"description_width": "initial"}
    )
    stack = widgets.Stack(pictures, selected_index=0)
    play = widgets.Play(min=0, max=len(pictures) - 1, interval=700, show_repeat=False)
    widgets.jslink((play, "value"), (control, "index"))
    widgets.jslink((control, "index"), (stack, "selected_index"))
    return widgets.VBox([widgets.HBox([play, control]), stack])
