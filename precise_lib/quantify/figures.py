"""The pictures of `notebooks/your_data.ipynb`: spectra with their fit, and maps over the MRI, aligned by affines."""

from __future__ import annotations

from dataclasses import replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from precise_lib import show
from precise_lib.quantify import panels
from precise_lib.quantify.report import Report
from precise_lib.signal.model import spectrum

FEW = 4  # voxels: below, numbers with error bars say more than maps
letter_by_letter = mpl.rc_context({"text.parse_math": False})  # names of others are no formulas


@letter_by_letter
def spectra(report: Report):
    """Measured spectra, the fit, and the residual in units of the noise, for the best, median and worst voxel."""
    model, n = report.model, report.n_measured
    parts = ("amplitude", "shift_hz", "broadening_hz", "phase_rad")
    amplitudes, shift, broadening, phase = (report.fitted(name) for name in parts)
    fids, where, chosen = report.data.fids[report.data.usable], np.argwhere(report.data.usable), report.voxels()
    length = 4 * model.acquisition.n_samples  # zero filling for display
    fine = replace(model, acquisition=replace(model.acquisition, n_samples=length))
    settings = {"figsize": (max(5, 3.9 * len(chosen)), 4.6), "height_ratios": [3, 1.3]}
    fig, axes = plt.subplots(2, len(chosen), sharex=True, squeeze=False, **settings)
    shifts = [r.ppm for r in model.resonances]
    window = (max(shifts) + 2.5, min(shifts) - 2.5)
    for (top, bottom), (name, v) in zip(axes.T, chosen.items(), strict=True):
        clean = model.fids(amplitudes[v], shift[v], broadening[v])
        measured = fids[v] * np.exp(-1j * phase[v])
        shown = {k: spectrum(np.pad(fid[:n], (0, length - n))) for k, fid in (("measured", measured), ("fit", clean))}
        show.plot_spectra(top, fine, shown, window)
        residual = (shown["measured"] - shown["fit"]).real / (report.sigma * np.sqrt(n))
        bottom.plot(show.ppm_axis(fine), residual, color="0.3", lw=0.9)
        bottom.axhspan(-2, 2, color="0.92", zorder=0)
        reach = max(5.0, 1.1 * np.abs(residual[np.isfinite(residual)]).max(initial=0))
        bottom.set(xlabel="chemical shift (ppm)", ylim=(-reach, reach))
        text = f"{name} ({', '.join(map(str, where[v]))}): SNR {report.snr[v]:.1f}, shift {shift[v]:+.1f} Hz"
        top.set_xlabel("")
        top.set_title(text, y=1.1, fontsize=9)
    axes[0, 0].legend(fontsize=8)
    axes[1, 0].set_ylabel("residual / noise SD")
    return fig


@letter_by_letter
def quality(report: Report):
    """The MRI, SNR of the reference and shift (B0) in each slice; for up to `FEW` voxels their place in the MRI."""
    if report.data.usable.sum() <= FEW:
        return _place(report)
    zs = report.slices
    maps = {
        f"{report.model.reference or 'best'} SNR": (report.on_grid(report.snr), "viridis", False),
        "shift (Hz)": (report.on_grid(report.fitted("shift_hz")), "RdBu_r", True),
    }
    mris = [panels.mri_under(report, z) for z in zs]
    if report.data.mri is not None:
        maps = {"MRI": (None, None, False)} | maps
    fig, axes = panels.figure(report, len(zs), len(maps))
    for column, (title, (values, cmap, symmetric)) in zip(axes.T, maps.items(), strict=True):
        shown = [] if values is None else [values[:, :, z] for z in zs]
        limits = panels.limits(shown, symmetric) | {"cmap": cmap} if shown else {}
        for ax, z, mri in zip(column, zs, mris, strict=True):
            drawn = panels.panel(ax, report, z, values, mri, **limits)
        column[0].set_title(title, fontsize=9)
        if shown:
            panels.bar(fig, drawn, list(column), shown)
    for ax, z in zip(axes[:, 0], zs, strict=True):
        panels.name_axes(ax, report)
        ax.annotate(f"slice {z}", (0.02, 0.02), xycoords="axes fraction", fontsize=8, color="C1")
    return fig


def _place(report: Report):
    """Outline of a small grid on the MRI around it."""
    data = report.data
    if data.mri is None:
        return None
    reach = np.linalg.norm(data.mri_affine[:3, :3] @ np.array(data.mri.shape)) / 4  # mm around the voxels
    margin = reach / np.linalg.norm(data.affine[:3, :3], axis=0)[:2].min()
    fig, ax = plt.subplots(figsize=(3.6, 3.6))
    z = report.slices[0]
    ax.imshow(panels.mri_under(report, z, margin).T, origin="lower", extent=panels.extent(report, margin), cmap="gray")
    left, right, bottom, top = panels.extent(report)
    ax.add_patch(plt.Rectangle((left, bottom), right - left, top - bottom, fill=False, ec="#D55E00", lw=1.5))
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    panels.name_axes(ax, report)
    return fig


@letter_by_letter
def concentrations(report: Report):
    """Concentration, SD and bias over the MRI, each on a scale of its own, bias where it exceeds the SD of its own
    noise; for up to `FEW` voxels numbers with error bars.
    """
    if report.data.usable.sum() <= FEW:
        return _few(report)
    zs, units = report.slices, report.summary["units"]
    titles = {
        "conc": ("concentration", "viridis"),
        "sd": ("SD", "magma"),
        "bias": ("bias", "plasma"),
    }  # no gray: the MRI shows where none is drawn
    kinds = [kind for kind in titles if report.maps[kind]]
    alone = report.summary["errors"].get("median_bias_of_noise_alone_mm", {})
    mris = {z: panels.mri_under(report, z) for z in zs}
    fig, axes = panels.figure(report, len(report.metabolites), len(kinds) * len(zs))
    for line, name in zip(axes, report.metabolites, strict=True):
        for kind, own in zip(kinds, line.reshape(len(kinds), len(zs)), strict=True):
            values, cmap = report.maps[kind][name], titles[kind][1]
            if kind == "bias":
                noise = (alone.get(name) or 0) / 0.6745  # from the median of its absolute value to its SD
                values = np.where(values > noise, values, np.nan)
            shown = [values[:, :, z] for z in zs]
            for ax, z in zip(own, zs, strict=True):
                drawn = panels.panel(ax, report, z, values, mris[z], cmap=cmap, **panels.limits(shown))
            panels.bar(fig, drawn, list(own), shown, label=units, pad=0.02)
        line[0].set_ylabel(name, fontsize=10)
    for ax, (kind, z) in zip(axes[0], [(kind, z) for kind in kinds for z in zs], strict=True):
        ax.set_title(titles[kind][0] + (f", slice {z}" if len(zs) > 1 else ""), fontsize=9)
    return fig


@letter_by_letter
def courses(report: Report):
    """Median and middle half of the voxels of each metabolite over the frames; None for a single frame."""
    if len(report.series) == 1:
        return None
    fig, ax = plt.subplots(figsize=(6.5, 3))
    for k, (name, values) in enumerate(report.courses["conc"].items()):
        low, middle, high = np.nanpercentile(values.reshape(-1, values.shape[-1]), [25, 50, 75], axis=0)
        frames = np.arange(values.shape[-1])
        ax.plot(frames, middle, "o-", color=f"C{k}", label=name)
        ax.fill_between(frames, low, high, color=f"C{k}", alpha=0.2, lw=0)
    ax.set(xlabel="frame", ylabel=report.summary["units"])
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend()
    return fig


def _few(report: Report):
    """Concentration of each voxel and metabolite with its SD as error bar."""
    names, where = report.metabolites, np.argwhere(report.data.usable)
    conc, sd = ({m: x[report.data.usable] for m, x in report.maps[kind].items()} for kind in ("conc", "sd"))
    fig, ax = plt.subplots(figsize=(5.5, 2.8))
    for v, place in enumerate(where):
        x = np.arange(len(names)) + 0.12 * (v - (len(where) - 1) / 2)
        errors = [sd[n][v] for n in names] if sd else None
        label = f"voxel ({', '.join(map(str, place))})"
        ax.errorbar(x, [conc[n][v] for n in names], yerr=errors, fmt="o", capsize=4, label=label, color=f"C{v}")
    ax.axhline(0, color="0.7", lw=0.8)
    ax.set(xticks=range(len(names)), xticklabels=names, ylabel=report.summary["units"], xlim=(-0.6, len(names) - 0.4))
    ax.legend(fontsize=8)
    return fig


@letter_by_letter
def overruled(report: Report):
    """Where data and MRI disagree: couplings that the data opened, outlines of voxels that noise does not make so, and
    edges of the MRI that no metabolite follows.

    None where the prior does not adapt, and for a few voxels.
    """
    if report.opened is None or report.data.usable.sum() <= FEW:
        return None
    islands, zs = report.flags.get("overruled", np.zeros(report.data.grid_shape)), report.slices
    zs = list(dict.fromkeys([*np.flatnonzero(islands.any((0, 1)))[:1], *zs]))[:2]  # first what there is to see
    shown = {"couplings opened\nby the data": report.opened, "edges that no\nmetabolite follows": report.unfollowed}
    shown = {title: values for title, values in shown.items() if values is not None}
    fig, axes = panels.figure(report, len(zs), 1 + len(shown))
    left, right, bottom, top = panels.extent(report)
    (nx, ny, _), mris = islands.shape, [panels.mri_under(report, z) for z in zs]
    for line, z, mri in zip(axes, zs, mris, strict=True):
        panels.panel(line[0], report, z, None, mri)
        limits = {"cmap": "cividis", "vmin": 0, "vmax": 1}
        for ax, values in zip(line[1:], shown.values(), strict=True):
            drawn = panels.panel(ax, report, z, values, mri, **limits)
            if values is report.unfollowed and np.isnan(values[:, :, z]).all():
                ax.annotate(
                    "nothing can be told", (0.5, 0.02), xycoords="axes fraction", ha="center", fontsize=8, color="C1"
                )
        for ax in line[:2]:
            for i, j in np.argwhere(islands[:, :, z] > 0):
                corner = left + i * (right - left) / nx, bottom + j * (top - bottom) / ny
                size = (right - left) / nx, (top - bottom) / ny
                ax.add_patch(plt.Rectangle(corner, *size, fill=False, ec="#D55E00", lw=1.5))
        line[0].annotate(f"slice {z}", (0.02, 0.02), xycoords="axes fraction", fontsize=8, color="C1")
    axes[0, 0].set_title("MRI", fontsize=9)
    for ax, title in zip(axes[0, 1:], shown, strict=True):
        ax.set_title(title, fontsize=9)
    fig.colorbar(drawn, ax=list(axes[:, 1:].ravel()), shrink=0.8, label="share")
    return fig


def flags(report: Report):
    """Flagged voxels of each kind in each slice that is shown; None where no voxel is flagged."""
    found = report.flags
    if not found or report.data.usable.sum() <= FEW:
        return None
    zs, inside = report.slices, np.where(report.data.usable, 0.0, np.nan)
    fig, axes = panels.figure(report, len(zs), len(found))
    for column, (name, values) in zip(axes.T, found.items(), strict=True):
        marked = np.where(np.nan_to_num(values) > 0, 1.0, inside)
        for ax, z in zip(column, zs, strict=True):
            panels.panel(ax, report, z, marked, panels.mri_under(report, z), cmap="cividis", vmin=0, vmax=1)
        chance = report.summary["flags"][name].get("expected_by_chance")
        title = f"{name}: {int((marked == 1).sum())} of {report.data.usable.sum()}"
        column[0].set_title(title if chance is None else f"{title}\n({chance:.1g} by chance)", fontsize=9)
    return fig
