"""The adaptive prior in figures and tables: error against hidden lesion, SNR and size, intervals, wrong MRIs."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from precise_lib import show
from precise_lib.studies.overruled_runs import SLACKS, SNRS, of
from precise_lib.studies.peer_cases import MRIS
from precise_lib.studies.peer_settings import oracle, shipped, total_rmse
from precise_lib.studies.peers import REGIONS

OBJECT, SHOWN, HIDDEN = REGIONS


def rmse(run: xr.Dataset, which: str = "rmse") -> float:
    """Over all data sets and metabolites, mM."""
    return float(np.sqrt((run[which] ** 2).mean()))


def kept(run: xr.Dataset, tumor: str = HIDDEN, metabolite: str = "Lac") -> tuple[float, float]:
    """Contrast over that of single voxels, and the half width of its 95 % interval over the data sets."""
    own, single = (run[key].sel(metabolite=metabolite, tumor=tumor).values for key in ("kept", "kept_single"))
    share = own.mean() / single.mean()
    spread = (own - share * single).std(ddof=1) if len(own) > 1 else 0.0
    return float(share), float(1.96 * spread / single.mean() / np.sqrt(len(own)))


def covered(run: xr.Dataset, region: str = OBJECT) -> xr.DataArray:
    """Share of voxels whose 90 % interval holds the truth, by metabolite, with its standard error in `se`."""
    values = run["covered"].sel(region=region)
    error = values.std("repeat", ddof=1) / np.sqrt(values.sizes["repeat"])
    return values.mean("repeat").assign_coords(se=error)


def against_peers(results: Mapping[str, xr.Dataset], metabolite: str = "Lac") -> show.Markdown:
    """Table: every peer at its oracle setting and the adaptive prior tuned by itself; the best peer in bold."""
    head, lines = [title for name in results for title in (f"{name}: RMSE (mM)", "shown, hidden (%)")], []
    picks = {name: oracle(table) for name, table in results.items()}
    rows = [peer for peer in dict.fromkeys(p for best in picks.values() for p in best) if peer != "adaptive"]
    best = {name: best_peer(table) for name, table in results.items()}
    for row in [*rows, "adaptive, oracle", "adaptive, tuned by itself"]:
        cells = []
        for name, table in results.items():
            own = shipped(table) if row.endswith("itself") else picks[name]
            setting = own.get(row.split(",")[0])
            cells += _cells(table.sel(setting=setting), metabolite, row == best[name]) if setting else ["", ""]
        lines.append([row, *cells])
    return show.table(["", *head], lines)


def best_peer(table: xr.Dataset) -> str:
    """The peer of least RMSE at its oracle setting, the adaptive prior aside."""
    errors, picks = total_rmse(table), oracle(table)
    return min((p for p in picks if p != "adaptive"), key=lambda p: float(errors.sel(setting=picks[p])))


def _cells(line: xr.Dataset, metabolite: str, best: bool) -> list[str]:
    error = f"{float(total_rmse(line)):.3f}"
    sites = line["contrast"].sel(metabolite=metabolite, region=[SHOWN, HIDDEN]).values
    return [f"**{error}**" if best else error, ", ".join(f"{100 * c:.0f}" for c in sites)]


def plot_trade(results: Mapping[str, xr.Dataset], table: xr.Dataset, metabolite: str = "Lac"):
    """Hidden tumor kept against RMSE: each peer over its settings, the adaptive prior over its slack."""
    fig, axes = plt.subplots(1, len(results), figsize=(3.6 * len(results), 4.6), sharey=True, squeeze=False)
    for ax, (name, peers) in zip(axes[0], results.items(), strict=True):
        errors, best = total_rmse(peers), oracle(peers)
        single = float(errors.sel(setting="sve"))
        hidden = 100 * peers["contrast"].sel(metabolite=metabolite, region=HIDDEN)
        for peer in dict.fromkeys(peers["peer"].values):
            group = peer.split(",")[0]
            line = peers["setting"].values[(peers["peer"].values == peer) & np.isfinite(peers["value"].values)]
            if group == "adaptive" or group not in best:
                continue
            line = line[np.argsort(peers["value"].sel(setting=line).values)]
            x, y = errors.sel(setting=line) / single, hidden.sel(setting=line)
            ax.plot(x, y, color=show.color(group), lw=0.8, alpha=0.6)
        for group, setting in best.items():
            if group != "adaptive":
                point = float(errors.sel(setting=setting)) / single, float(hidden.sel(setting=setting))
                ax.plot(*point, show.marker(group), color=show.color(group), mfc="white", ms=6.5, label=group)
        runs = [run for slack in SLACKS if (run := of(table, name, slack=slack)) is not None]
        curve = [(rmse(run) / rmse(run, "rmse_single"), 100 * kept(run)[0]) for run in runs]
        ax.plot(*zip(*curve, strict=True), "-", color=show.color("adaptive"), lw=1.4)
        own = of(table, name)
        point = rmse(own) / rmse(own, "rmse_single"), 100 * kept(own)[0]
        ax.plot(*point, show.marker("adaptive"), color=show.color("adaptive"), ms=12, label="adaptive, tuned by itself")
        ax.set(title=f"{name}, SNR {peers.attrs['snr']:g}", xlabel="RMSE / that of SVE", xlim=(0.1, 1.05))
        ax.set_ylim(-5, 110)
    axes[0, 0].set_ylabel("hidden tumor kept (%)")
    named = dict(zip(*axes[0, 0].get_legend_handles_labels()[::-1], strict=True))
    fig.legend(named.values(), named.keys(), loc="outside lower center", ncols=4, fontsize=8)
    return fig


def plot_reach(table: xr.Dataset, sizes=(1, 2, 3, 4)):
    """Left: tumors kept over SNR. Middle: the hidden one over its size. Right: RMSE over that of single voxels."""
    fig, axes = plt.subplots(1, 3, figsize=(11, 3.4))
    levels = {snr: of(table, "rings", snr=snr) for snr in SNRS}
    for tumor, name, style in ((SHOWN, "shown by the MRI", "s--"), (HIDDEN, "hidden", "o-")):
        values = 100 * np.array([kept(run, tumor) for run in levels.values()])
        axes[0].errorbar(SNRS, values[:, 0], values[:, 1], fmt=style, label=name, capsize=2)
    sized = {size: run for size in sizes if (run := of(table, "rings", size=size)) is not None}
    values = 100 * np.array([kept(run) for run in sized.values()])
    axes[1].errorbar(list(sized), values[:, 0], values[:, 1], fmt="o-", color="C1", capsize=2)
    axes[2].plot(SNRS, [rmse(run) / rmse(run, "rmse_single") for run in levels.values()], "o-", color="black")
    axes[0].set(xlabel="SNR of water", ylabel="contrast of Lac / that of SVE (%)", title="tumors of 2 × 2 voxels")
    axes[0].set_ylim(0, 110)
    axes[1].set(xlabel="side of the tumor (voxels)", title="hidden tumor, SNR 12", ylim=(0, 110), xticks=sizes)
    axes[2].set(xlabel="SNR of water", ylabel="RMSE / that of SVE", title="error over the object", ylim=(0, 0.4))
    for ax in axes[[0, 2]]:
        ax.set_xscale("log")
        ax.set_xticks(SNRS, [f"{snr:g}" for snr in SNRS])
        ax.minorticks_off()
    axes[0].legend(loc="lower right")
    return fig


def plot_coverage(table: xr.Dataset):
    """Coverage of 90 % intervals on the rings over SNR: the object by metabolite, tumors and borders over all."""
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    runs = [of(table, "rings", snr=snr) for snr in SNRS]
    for k, (name, mark) in enumerate(zip(runs[0]["metabolite"].values, "o^s", strict=True)):
        found = [covered(run).isel(metabolite=k) for run in runs]
        level, half = 100 * np.array(found), [196 * float(f.se) for f in found]
        axes[0].errorbar(SNRS, level, half, marker=mark, label=name, capsize=2)
    for region, name, mark in ((SHOWN, "shown tumor", "s"), (HIDDEN, "hidden tumor", "o"), ("border", "borders", "^")):
        axes[1].plot(SNRS, [100 * float(covered(run, region).mean()) for run in runs], marker=mark, label=name)
    axes[0].axhspan(88, 92, color="0.85", lw=0)
    axes[1].axhline(80, color="0.6", lw=0.8)
    for ax, title in zip(axes, ("the object", "where it is hard, all metabolites"), strict=True):
        ax.set(xscale="log", xlabel="SNR of water", title=title, ylim=(60, 101))
        ax.set_xticks(SNRS, [f"{snr:g}" for snr in SNRS])
        ax.minorticks_off()
        ax.legend(loc="lower right")
    axes[0].set_ylabel("voxels whose interval holds the truth (%)")
    return fig


def wrong_mris(table: xr.Dataset, names=("rings", "rat", "human")) -> show.Markdown:
    """Table: RMSE over that without an MRI, and the hidden tumor kept, for each of `MRIS`."""
    lines = []
    for kind in MRIS:
        cells = []
        for name in names:
            runs = [of(table, name, mri=m) for m in (kind, "none")]
            if any(run is None for run in runs):
                cells.append("")
                continue
            n = min(run.sizes["repeat"] for run in runs)
            own, blind = (run.isel(repeat=slice(n)) for run in runs)  # on the same noise
            cells.append(f"{rmse(own) / rmse(blind):.2f}, {100 * kept(own)[0]:.0f}")
        lines.append([f"{kind} ({MRIS[kind]})", *cells])
    return show.table(["MRI", *(f"{name}: RMSE, hidden (%)" for name in names)], lines)


def new_objects(own: Mapping, others: Mapping) -> show.Markdown:
    """Table: each object that peers have met, the adaptive prior (`own`) beside the best at its oracle setting."""
    head = ["seed", "SVE (mM)", "best peer", "its RMSE", "adaptive", "shown, hidden (%)", "90 % intervals hold (%)"]
    lines = []
    for seed, peers in others.items():
        run, rival = own[seed], best_peer(peers)
        least = float(total_rmse(peers).sel(setting=oracle(peers)[rival]))
        shares = ", ".join(f"{100 * kept(run, tumor)[0]:.0f}" for tumor in (SHOWN, HIDDEN))
        held = f"{100 * float(covered(run).mean()):.0f}"
        lines.append([seed, rmse(run, "rmse_single"), rival, least, rmse(run), shares, held])
    return show.table(head, lines, ".3f")


def each_once(own: Mapping) -> xr.Dataset:
    """Means over the data sets of each object: an object is one observation."""
    return xr.concat([run.mean("repeat") for run in own.values()], "repeat", combine_attrs="drop")


def plot_new_objects(own: Mapping):
    """Left: tumors kept on each object, in the order of the hidden one. Right: coverage of each metabolite there."""
    together = each_once(own)
    ratio = (together["kept"] / together["kept_single"]).sel(metabolite="Lac")
    order = np.argsort(ratio.sel(tumor=HIDDEN).values)
    fig, axes = plt.subplots(1, 2, figsize=(10, 3.8))
    for tumor, name, mark in ((HIDDEN, "hidden", "o"), (SHOWN, "shown by the MRI", "s")):
        axes[0].plot(100 * ratio.sel(tumor=tumor).values[order], mark, label=name)
    for k, (name, mark) in enumerate(zip(together["metabolite"].values, "o^s", strict=True)):
        level = 100 * together["covered"].sel(region=OBJECT, metabolite=name).values[order]
        axes[1].plot(level, mark, color=f"C{k}", label=name)
        axes[1].axhline(level.mean(), color=f"C{k}", lw=0.8)
    axes[0].set(ylabel="contrast of Lac / that of SVE (%)", ylim=(0, 120), title="tumors of random objects")
    axes[1].set(ylabel="voxels whose interval holds the truth (%)", ylim=(60, 101), title="the object; lines: means")
    axes[1].axhspan(88, 92, color="0.85", lw=0, zorder=0)
    for ax in axes:
        ax.set_xlabel("object, by its hidden tumor")
        ax.legend(loc="lower right")
    return fig


def outcome(results: Mapping[str, xr.Dataset], table: xr.Dataset, metabolite: str = "Lac") -> show.Markdown:
    """Table: each object at SNR 12: error and hidden tumor beside the best peer, intervals, islands."""
    head = ["", "RMSE over that of the best peer", "hidden tumor kept (best peer), %", "intervals hold, %"]
    head += ["there at the hidden tumor, %", "islands found at it, % of data sets", "false islands per data set"]
    lines = []
    for name, peers in results.items():
        run, null = of(table, name), of(table, name, lesion=False)
        best, whole = peers.sel(setting=oracle(peers)[best_peer(peers)]), 100 * covered(run)
        ratio = total_rmse(peers.sel(setting=shipped(peers)["adaptive"])) / total_rmse(best)
        rival = 100 * float(best["contrast"].sel(metabolite=metabolite, region=HIDDEN))
        cells = [f"{float(ratio):.2f}", f"{100 * kept(run)[0]:.0f} ({rival:.0f})"]
        cells += [", ".join(f"{m} {x:.0f}" for m, x in zip(whole["metabolite"].values, whole.values, strict=True))]
        cells += [f"{100 * float(covered(run, HIDDEN).mean()):.0f}", f"{100 * float(run['found'].mean()):.0f}"]
        cells += ["" if null is None else f"{float(null['islands'].mean()):.2f}"]
        lines.append([name, *cells])
    return show.table(head, lines)
