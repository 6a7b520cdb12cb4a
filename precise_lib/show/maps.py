"""Maps that share a color scale with their truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import matplotlib.pyplot as plt
import numpy as np


def show_map(ax, values, **settings):
    """One slice, x to the right and y up."""
    image = ax.imshow(np.asarray(values).T, origin="lower", **settings)
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return image


def map_rows(rows: Mapping[str, Iterable], columns: Iterable[str], units: str = "mM", limits=None, cmaps=None):
    """Figure with a table of maps, one color scale per row.

    `rows` has maps (x, y) by title, one per column title, None for an empty cell; `limits` (low, high) by row title,
    the row's own 1st and 99th percentile where absent; `cmaps` colormaps.
    """
    columns = list(columns)
    size = (1.75 * len(columns) + 1.1, 1.75 * len(rows) + 0.3)
    fig, axes = plt.subplots(len(rows), len(columns), figsize=size, squeeze=False)
    for ax, column in zip(axes[0], columns, strict=True):
        ax.set_title(column, fontsize=9)
    for (title, maps), line in zip(rows.items(), axes, strict=True):
        maps, image = list(maps), None
        shown = np.concatenate([np.ravel(m)[np.isfinite(np.ravel(m))] for m in maps if m is not None])
        low, high = (limits or {}).get(title, np.percentile(shown, [1, 99]))
        for ax, values in zip(line, maps, strict=True):
            filled = np.full((1, 1), np.nan) if values is None else values
            mapped = show_map(ax, filled, vmin=low, vmax=high, cmap=(cmaps or {}).get(title, "viridis"))
            image = image if values is None else mapped
        line[0].set_ylabel(title, fontsize=9)
        fig.colorbar(image, ax=list(line), label=units, shrink=0.85, pad=0.02)
    return fig


def map_panels(columns: Mapping[str, tuple]):
    """Axes of maps side by side, each with a color bar of its own: title -> (map (x, y), unit, (low, high), colormap).

    A limit that is None is that of the map.
    """
    fig, axes = plt.subplots(1, len(columns), figsize=(3.1 * len(columns), 2.7), squeeze=False)
    for ax, (title, (values, unit, (low, high), cmap)) in zip(axes[0], columns.items(), strict=True):
        image = show_map(ax, values, vmin=low, vmax=high, cmap=cmap)
        ax.set_title(title, fontsize=9)
        fig.colorbar(image, ax=ax, label=unit, shrink=0.8)
    return axes[0]


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
