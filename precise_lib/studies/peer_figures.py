"""Peers side by side on one object: contrast kept and error against SD, over the settings of each; tables and maps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from precise_lib import show
from precise_lib.show import color, marker
from precise_lib.studies.peer_settings import PEERS, oracle, shipped, total_rmse
from precise_lib.studies.peers import REGIONS, Case


def plot_peers(table: xr.Dataset, metabolite: str = "Lac"):
    """Contrast kept and error against SD, for every estimator over its own parameter.

    `table` is that of `studies.peer_settings.curves`. SD and RMSE are relative to those of "fit". Full symbol: the
    shipped setting; open: the one of least RMSE, where the name stands. Dashed: a second family of settings of the same
    estimator.
    """
    fig, axes = plt.subplots(1, 3, figsize=(11.5, 4.6), width_ratios=[1, 1, 1.45])
    here = table.sel(metabolite=metabolite)
    error, sd = total_rmse(table), here["sd"].isel(region=0)
    x, whole = sd / sd.sel(setting="fit"), error / error.sel(setting="fit")
    for ax, region, title in zip(axes, here["region"].values[1:], ("shown", "hidden"), strict=False):
        kept = [100 * here[f"contrast{end}"].sel(region=region) for end in ("", "_low", "_high")]
        _lines(ax, table, x, *kept)
        ax.axhline(100, color="0.7", lw=0.8)
        ax.set(ylim=(-10, 130), title=f"{title} tumor kept (%)")
    _lines(axes[2], table, x, whole)
    axes[2].axhline(1, color="0.7", lw=0.8)
    axes[2].set(yscale="log", yticks=[0.2, 0.3, 0.5, 0.7, 1, 2], ylim=(0.13, 2.2), title="RMSE / that of the fit")
    for ax in axes:
        last = ax is axes[2]
        ax.set(xscale="log", xticks=[0.05, 0.1, 0.2, 0.5, 1, 2], xlim=(0.04, 9 if last else 2.2))
        ax.set_xlabel(f"SD of {metabolite} / SD of the fit")
        for axis in (ax.xaxis, *((ax.yaxis,) if last else ())):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("")
    _name(axes[2], {name: (float(x.sel(setting=s)), float(whole.sel(setting=s))) for name, s in oracle(table).items()})
    return fig


def _name(ax, points: Mapping[str, tuple[float, float]], left: float = 2.6):
    """Names at the right edge in the order of the points, each led to its own."""
    order, (low, high) = sorted(points, key=lambda name: points[name][1]), np.log(ax.get_ylim())
    places = np.exp(np.linspace(low + 0.05, high - 0.05, len(order)))
    for name, y in zip(order, places, strict=True):
        ax.plot([points[name][0], left], [points[name][1], y], color=color(name), lw=0.5, alpha=0.6)
        ax.text(left * 1.05, y, name, color=color(name), fontsize=8, va="center")


def _lines(ax, table, x, y, low=None, high=None):
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
            fill = mine if bool(table["shipped"].sel(setting=setting)) else "white"
            ax.plot(one["x"], one["y"], marker(name), color=mine, mfc=fill, ms=6.5)
            if low is not None:
                ax.plot([one["x"]] * 2, [one["low"], one["high"]], color=mine, lw=0.8)


def peer_table(table: xr.Dataset, metabolite: str = "Lac", names: Iterable[str] = ()) -> show.Markdown:
    """Every peer (of `names`, where there are any) as shipped, and below it at the setting of least error.

    Errors are root mean squares over the object and all metabolites but water, in mM; contrast is that of one
    metabolite in percent of the truth, with half the width of its 95 % interval.
    """
    own, best, rows = shipped(table), oracle(table), []
    for name in [n for n in own if not names or n in names]:
        rows.append(_row(name, table.sel(setting=own[name]), metabolite, False))
        if sum(str(peer).split(",")[0] == name for peer in table["peer"].values) > 1:
            rows.append(_row(f"{name}, best", table.sel(setting=best[name]), metabolite, True))
    return show.table(["estimator", "SD / bias / RMSE (mM)", "shown, hidden tumor kept (%)", "CPU (s)"], rows)


def _row(title: str, line: xr.Dataset, metabolite: str, best: bool) -> list[str]:
    errors = line.sel(region=REGIONS[0], metabolite=line["metabolite"].values[line["quantified"].values.astype(bool)])
    sizes = " / ".join(f"{np.sqrt((errors[key] ** 2).mean()):.2f}" for key in ("sd", "bias", "rmse"))
    at = f" ({line['setting'].item().partition(', ')[2]})" if best else ""
    sites = line.sel(metabolite=metabolite, region=list(REGIONS[1:]))
    half = (sites["contrast_high"] - sites["contrast_low"]) / 2
    pairs = zip(sites["contrast"].values, half.values, strict=True)
    kept = ", ".join(f"{100 * c:.0f} ± {100 * h:.0f}" for c, h in pairs)
    return [title, sizes + at, kept, "" if best else f"{line['cpu_seconds'].item():.2g}"]


def at_best(table: xr.Dataset, name: str, metabolite: str = "Lac") -> tuple[float, float, float]:
    """RMSE over that of the fit, and contrast (%) of shown and hidden tumor, at the oracle setting."""
    setting, error = oracle(table)[name], total_rmse(table)
    kept = 100 * table["contrast"].sel(setting=setting, metabolite=metabolite, region=list(REGIONS[1:]))
    return float(error.sel(setting=setting) / error.sel(setting="fit")), *kept.values


def against(table: xr.Dataset, name: str, other: str, as_shipped: bool = False) -> float:
    """RMSE of one estimator over that of another, each at its oracle setting, or the other as shipped."""
    error, best = total_rmse(table), oracle(table)
    return float(error.sel(setting=best[name]) / error.sel(setting=(shipped(table) if as_shipped else best)[other]))


def at_the_edge(table: xr.Dataset, name: str) -> str:
    """In words, where the oracle setting ends what was tried: its own parameter, and the cap of PRECISE."""
    line = table.sel(setting=oracle(table)[name])
    label, value = str(line["peer"].item()), float(line["value"])
    tried = table["value"].values[table["peer"].values == label]
    tried, words = tried[np.isfinite(tried)], []
    if len(tried) > 1 and value in (tried.min(), tried.max()):
        words.append(f"{'smallest' if value == tried.min() else 'largest'} {line['parameter'].item()} ({value:g})")
    caps = [p.options["omega_max"] for p in PEERS if p.name == name and "omega_max" in p.options]
    if caps and label.endswith(f" {max(caps):g}"):
        words.append(f"largest cap ({max(caps):g})")
    return " and ".join(words)


def plot_maps(case: Case, table: xr.Dataset, seed: int, metabolite: str = "Lac", leave_out: Iterable[str] = ()):
    """Maps of one measurement, every estimator at its oracle setting, on the scale of the truth."""
    best, data = oracle(table), case.measure(seed)
    made = {peer.setting(v): peer.make(v, case.weights) for peer in PEERS for v in peer.values}
    maps = {"truth": case.truth[case.phantom.model.index(metabolite)]}
    maps |= {n: made[s](data).sel(metabolite=metabolite).values for n, s in best.items() if n not in leave_out}
    fig, axes = plt.subplots(-(-len(maps) // 5), 5, figsize=(11, 2.27 * -(-len(maps) // 5)))
    for ax in axes.flat[len(maps) :]:
        ax.set_axis_off()
    for ax, (title, values) in zip(axes.flat, maps.items(), strict=False):
        image = show.show_map(ax, values[..., 0], vmin=0, vmax=1.15 * np.nanmax(maps["truth"]))
        ax.set_title(title, fontsize=9)
    fig.colorbar(image, ax=list(axes.flat), label=f"{metabolite} (mM)", shrink=0.8)
    return fig


def plot_over_snr(levels: Mapping[float, xr.Dataset], names: Iterable[str], metabolite: str = "Lac"):
    """Least RMSE over that of the fit, and contrast kept of the hidden tumor at that setting, over SNR."""
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.4))
    for name in names:
        found = np.array([at_best(t, name, metabolite) for t in levels.values()])
        for ax, values in zip(axes, (found[:, 0], found[:, 2]), strict=True):
            ax.plot(list(levels), values, marker=marker(name), color=color(name), label=name)
    for ax, title in zip(axes, ("least RMSE / that of the fit", "hidden tumor kept (%)"), strict=True):
        ax.set(xscale="log", xlabel="SNR of water", ylabel=title)
        ax.set_xticks(list(levels), [f"{s:g}" for s in levels])
        ax.minorticks_off()
    axes[0].legend(fontsize=8)
    return fig
