"""Peers side by side: contrast kept and error against SD, over the settings of each."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np

from precise_lib.show import color, marker
from precise_lib.studies.peer_settings import oracle, shipped, total_rmse


def plot_peers(tables: Mapping, metabolite: str = "Lac"):
    """Figure of contrast kept and error against SD, for every estimator over its own parameter; a column per case.

    `tables` has the Dataset of `studies.peer_settings.curves` by case. SD and RMSE are relative to those of the
    estimator "fit" in the first table of a case. Full symbol: the shipped setting; open: the one of least RMSE. Dashed:
    a second family of settings of the same estimator.
    """
    fig, axes = plt.subplots(3, len(tables), figsize=(3.5 * len(tables) + 0.8, 8.6), sharex=True, squeeze=False)
    for column, (case, table) in zip(axes.T, tables.items(), strict=True):
        here = table.sel(metabolite=metabolite)
        error, sd = total_rmse(table), here["sd"].isel(region=0)
        x, whole = sd / sd.sel(setting="fit"), error / error.sel(setting="fit")
        for ax, region in zip(column, here["region"].values[1:], strict=False):
            kept = [100 * here[f"contrast{end}"].sel(region=region) for end in ("", "_low", "_high")]
            _peer_lines(ax, table, x, *kept)
            ax.axhline(100, color="0.7", lw=0.8)
            ax.set_ylim(-10, 130)
        _peer_lines(column[2], table, x, whole)
        column[2].axhline(1, color="0.7", lw=0.8)
        column[0].set_title(f"{case}, SNR {table.attrs['snr']:g}")
        column[2].set_xlabel(f"SD of {metabolite} / SD of the fit")
        column[2].set(yscale="log", yticks=[0.2, 0.3, 0.5, 0.7, 1, 2], ylim=(0.13, 2.2))
        column[2].set(xscale="log", xticks=[0.05, 0.1, 0.2, 0.5, 1, 2], xlim=(0.04, 2.2))
        for axis in (column[2].xaxis, column[2].yaxis):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("")
    titles = ("shown tumor kept (%)", "hidden tumor kept (%)", "RMSE / that of the fit")
    for ax, title in zip(axes[:, 0], titles, strict=True):
        ax.set_ylabel(title)
    named = dict(zip(*axes[0, 0].get_legend_handles_labels()[::-1], strict=True))
    fig.legend(named.values(), named.keys(), loc="outside lower center", ncols=5, fontsize=8)
    return fig


def _peer_lines(ax, table, x, y, low=None, high=None):
    """Each peer's settings in the order of its parameter, the shipped and the best of them marked."""
    marked = {name: {best, shipped(table).get(name)} for name, best in oracle(table).items()}
    for peer in dict.fromkeys(table["peer"].values):
        settings = table["setting"].values[table["peer"].values == peer]
        values = table["value"].sel(setting=settings).values
        line = settings[np.argsort(values)][: np.isfinite(values).sum()]  # a rule of its own has no place on it
        name, *second = peer.split(",")
        mine = color(name)
        dash, strength = ("--", 0.4) if second else ("-", 0.8)
        ax.plot(x.sel(setting=line), y.sel(setting=line), dash, color=mine, lw=1.1, alpha=strength)
        for setting in [s for s in settings if s in marked[name]]:
            given = {"x": x, "y": y, "low": low, "high": high}.items()
            one = {k: float(v.sel(setting=setting)) for k, v in given if v is not None}
            full = bool(table["shipped"].sel(setting=setting))
            fill, label = (mine, name) if full else ("white", None)
            ax.plot(one["x"], one["y"], marker(name), color=mine, mfc=fill, ms=6.5, label=label)
            if low is not None:
                ax.plot([one["x"]] * 2, [one["low"], one["high"]], color=mine, lw=0.8)
