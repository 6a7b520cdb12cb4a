"""Figures and tables of the page on a human brain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import xarray as xr
from matplotlib.patheffects import withStroke

from precise_lib import show
from precise_lib.estimate.prior import OMEGA_MAX
from precise_lib.evaluate.crlb import overlap_cost
from precise_lib.studies.human_brain import LESIONS, Field, trade

BLUE, PURPLE, SAND, BROWN = "#6699CC", "#AA4499", "#DDCC77", "#661100"  # no color of an estimator
REGIONS = {"gray": "0.35", "white": "0.65", "rim": PURPLE, "core": SAND, "non-enhancing": BROWN, "cavity": BLUE}
TICKS = {0.125: "⅛", 0.25: "¼", 0.5: "½", 1: "1", 2: "2", 4: "4"}


def orient(ax, affine):
    """Write which side of the head each side of an axial slice is."""
    sides = dict(zip("RLAP", "LRPA", strict=True))
    right, top = nib.aff2axcodes(affine)[:2]
    look = {"ha": "center", "va": "center", "fontsize": 8, "transform": ax.transAxes}
    for x, y, letter in ((0.96, 0.5, right), (0.04, 0.5, sides[right]), (0.5, 0.95, top), (0.5, 0.05, sides[top])):
        ax.text(x, y, letter, path_effects=[withStroke(linewidth=2, foreground="white")], **look)


def outline(ax, field: Field, level: int):
    """The part of the tumor that does not enhance, in red."""
    ax.contour(field.brain.tumors["non-enhancing"][..., level].T, [0.5], colors="red", linewidths=1)


def anatomy(fields: Mapping[int, Field], names: Sequence[str], height_mm: float):
    """One slice of the MRI, and the truth at every field."""
    brain = fields[7].brain
    level = round((height_mm - brain.mri_affine[2, 3]) / 2)
    fig, axes = plt.subplots(1, 1 + len(names) * len(fields), figsize=(12, 2.9))
    show.show_map(axes[0], brain.mri[:, :, level], cmap="gray", vmin=0, vmax=1)
    orient(axes[0], brain.mri_affine)
    axes[0].set_title(f"MRI, z = {height_mm:.0f} mm", fontsize=9)
    for ax, (field, name) in zip(axes[1:], [(f, m) for m in names for f in fields.values()], strict=True):
        truth = {f.tesla: f.brain.concentrations.sel(metabolite=name)[..., f.slice(height_mm)] for f in fields.values()}
        top = float(max(t.max() for t in truth.values()))
        image = show.show_map(ax, truth[field.tesla], vmin=0, vmax=top)
        outline(ax, field, field.slice(height_mm))
        ax.set_title(f"{name}, truth, {field.tesla} T", fontsize=9)
        fig.colorbar(image, ax=ax, label="mM", shrink=0.7)
    return fig


def overlap(fields: Mapping[int, Field], mix: Sequence[float], widths_hz) -> dict[int, dict[str, float]]:
    """Draw what overlap costs over the linewidth; by field and metabolite, the cost at the width assumed."""
    _, axes = plt.subplots(1, 2, figsize=(9, 2.9), sharey=True)
    cost = {}
    for ax, field in zip(axes, fields.values(), strict=True):
        model = field.brain.model
        own_hz = 1 / (np.pi * model.t2star_s[0])
        curves, (own,) = (overlap_cost(model, mix, w) for w in (widths_hz, [own_hz]))
        for name, values, point, shade in zip(model.names[1:], curves.T[1:], own[1:], ("0.6", "0.3", "0"), strict=True):
            ax.plot(widths_hz, values, color=shade, label=name)
            ax.plot(own_hz, point, "o", color=shade)
        ax.set(xlabel="linewidth (Hz)", title=f"{field.tesla} T", ylim=(0.95, 3.2))
        cost[field.tesla] = dict(zip(model.names[1:], own[1:], strict=True))
    axes[0].set_ylabel("CRLB / CRLB of separate lines")
    axes[0].legend()
    return cost


def efficiency_table(studies: Mapping[int, Mapping[str, xr.Dataset]]) -> show.Markdown:
    """Mean SD and bias over the bound, by field, estimator and metabolite."""
    rows = []
    for tesla, pair in studies.items():
        for name, e in pair.items():
            ratio, bias = e["sd_over_crlb"].mean("voxel"), (e["bias"] / e["crlb"]).mean("voxel")
            cells = [f"{float(r):.3f} · {float(x):+.3f}" for r, x in zip(ratio[1:], bias[1:], strict=True)]
            rows.append([f"{tesla} T, {name}", *cells])
    return show.table(["SD / CRLB · bias / CRLB", *ratio.metabolite.values[1:]], rows)


def maps(fields: Mapping[int, Field], names: Sequence[str], lam: float, height_mm: float, seed: int):
    """Estimates of one measurement at every field beside the truth."""
    one = {b: f.maps(lam, seed) for b, f in fields.items()}
    cells = [(m, f) for m in names for f in fields.values()]
    rows = {
        f"{m}, {f.tesla} T": [v.sel(metabolite=m)[..., f.slice(height_mm)].values for v in one[f.tesla].values()]
        for m, f in cells
    }
    limits = {title: (0, 1.15 * np.nanmax(shown[0])) for title, shown in rows.items()}
    fig = show.map_rows(rows, one[7], limits=limits)
    orient(fig.axes[0], fields[7].brain.affine)
    for i, (_, field) in enumerate(cells):
        for ax in fig.axes[4 * i : 4 * i + 4]:
            outline(ax, field, field.slice(height_mm))
    return fig


def gray_white(theory: Mapping, counted: Mapping[int, xr.Dataset], cap: float):
    """Share of the gray-white contrast of Glx left over λ, and over the gain in SD, by field; `cap`: the high one."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.1), sharey=True)
    kinds = {("MRI", OMEGA_MAX): "-", ("no anatomy", OMEGA_MAX): "--", ("MRI", cap): ":"}
    for tesla, shade in zip(counted, (BLUE, PURPLE), strict=True):
        for (prior, w), style in kinds.items():
            gain, share = trade(theory[tesla, w], prior, "gray-white", "Glx")
            thick = {"color": shade} | ({"lw": 4, "alpha": 0.35} if style == "-" else {"lw": 1.5, "zorder": 3})
            right.plot(gain, share, style, **thick)
            if w == OMEGA_MAX:
                label = f"{tesla} T" if style == "-" else None
                left.plot(theory[tesla, w]["lam"][1:], share[1:], style, **thick, label=label)
        own = counted[tesla].sel(prior="MRI", metabolite="Glx", contrast="gray-white").isel(lam=slice(1, None))
        left.errorbar(own["lam"], own["kept"], own["kept_sd"], fmt="o", color=shade, capsize=3)
    left.set(xscale="log", xlabel="λ", ylabel="contrast left", ylim=(0, 1.1))
    right.set(xlabel="SD of SVE / SD of PRECISE", xlim=(1, 5))
    left.legend()
    styles = ({"ls": "-", "lw": 4, "alpha": 0.35}, {"ls": "--"}, {"ls": ":"})
    right.legend([plt.Line2D([], [], color="0.2", **s) for s in styles], ["MRI", "no anatomy", f"MRI, ω_max {cap:g}"])
    return fig


def by_region(fields: Mapping[int, Field], counted: Mapping[int, xr.Dataset], names: Sequence[str]):
    """RMSE over that of SVE in each region over λ, with its interval."""
    fig, axes = plt.subplots(2, 2, figsize=(10, 6.2), sharex=True, sharey=True)
    for line, field in zip(axes, fields.values(), strict=True):
        for ax, name in zip(line, names, strict=True):
            here = counted[field.tesla].sel(prior="MRI", metabolite=name).isel(lam=slice(1, None))
            for region in (r for r in REGIONS if r in field.masks):
                own, look = here.sel(region=region), {"color": REGIONS[region]}
                ax.plot(own["lam"], own["ratio"], "o-", label=f"{region} ({field.masks[region].sum()})", **look)
                ax.fill_between(own["lam"], own["ratio_low"], own["ratio_high"], alpha=0.2, lw=0, **look)
            ax.axhline(1, color="0.5", lw=1)
            ax.set(xscale="log", yscale="log", title=f"{name}, {field.tesla} T")
            ax.set_yticks(list(TICKS), list(TICKS.values()))
            ax.yaxis.set_minor_formatter("")
        line[0].set_ylabel("RMSE, PRECISE / SVE")
        line[1].legend(fontsize=8, ncol=2, title="region (voxels)")
    for ax in axes[1]:
        ax.set_xlabel("λ")
    return fig


def bias(fields: Mapping[int, Field], counted: Mapping[int, xr.Dataset], names, lam: float, height_mm: float):
    """Mean of all realizations minus truth."""
    cells = [(f, m) for m in names for f in fields.values()]
    fig, axes = plt.subplots(1, len(cells), figsize=(12, 2.9))
    for ax, (field, name) in zip(axes, cells, strict=True):
        mean = counted[field.tesla]["mean_map"].sel(prior="MRI", lam=lam, metabolite=name)
        off, level = mean - field.brain.concentrations.sel(metabolite=name), field.slice(height_mm)
        image = show.show_map(ax, off[..., level], cmap="RdBu_r", vmin=-1.5, vmax=1.5)
        outline(ax, field, level)
        ax.set_title(f"bias of {name}, {field.tesla} T", fontsize=9)
    fig.colorbar(image, ax=axes, label="mM", shrink=0.8)
    return fig


def region_table(counted: Mapping[int, xr.Dataset], names: Sequence[str], lam: float) -> show.Markdown:
    """RMSE over that of SVE with its interval, and the share of a lesion's contrast that is left."""

    def cell(tesla, name, region):
        own = counted[tesla].sel(prior="MRI", lam=lam, metabolite=name)
        if region not in own["region"]:
            return "not resolved"
        r = own.sel(region=region)
        text = f"{float(r['ratio']):.2f} [{float(r['ratio_low']):.2f}, {float(r['ratio_high']):.2f}]"
        return text + (f" · {float(own['kept'].sel(contrast=region)):.2f}" if region in own["contrast"] else "")

    cells = [(b, m) for m in names for b in counted]
    rows = [[r, *(cell(b, m, r) for b, m in cells)] for r in counted[7]["region"].values]
    return show.table(["region", *(f"{m}, {b} T" for b, m in cells)], rows)


def tradeoff(theory: Mapping, fields: Mapping[int, Field], curves: Mapping[tuple, str]):
    """Contrast of Lac left over the gain in SD; `curves` (prior, cap) -> label, the first of them plain smoothing."""
    looks = (("black", "-"), (BLUE, "-"), (PURPLE, "-"), (PURPLE, ":"))
    fig, axes = plt.subplots(2, 3, figsize=(11, 5.6), sharex=True, sharey=True)
    for line, tesla in zip(axes, fields, strict=True):
        for ax, target in zip(line, LESIONS, strict=True):
            for ((prior, w), label), (shade, style) in zip(curves.items(), looks, strict=True):
                ax.plot(*trade(theory[tesla, w], prior, target), style, color=shade, label=label)
            ax.set(title=f"{target}, {tesla} T", xlim=(1, 5), ylim=(-0.05, 1.05))
        line[0].set_ylabel("contrast of Lac left")
    for ax in axes[1]:
        ax.set_xlabel("SD of SVE / SD of PRECISE")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncol=4, fontsize=9)
    return fig
