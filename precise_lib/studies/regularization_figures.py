"""What the MRI prior sees of a phantom and keeps of its tumors, over λ and over their size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from precise_lib import show
from precise_lib.simulate.phantoms import Phantom
from precise_lib.studies.regularization import gray_levels, weakest_coupling

SHADES = {"A": "0.75", "B": "0", "C": "#AA4499", "D": "#6699CC"}  # of the sites
DASHES = ("-", "--", ":")


def edges_seen(phantom: Phantom, caps: Iterable[float]):
    """Gray levels, and the weakest coupling of each voxel under each cap of the weights."""
    gray = gray_levels(phantom)
    seen = {f"coupling, ω_max {cap:g}": weakest_coupling(gray, cap) for cap in caps}
    fig, axes = plt.subplots(1, 1 + len(seen), figsize=(11, 2.7))
    fig.colorbar(show.show_map(axes[0], gray[..., 0], cmap="gray"), ax=axes[0], shrink=0.8)
    images = [show.show_map(a, m[..., 0], vmin=0, vmax=1) for a, m in zip(axes[1:], seen.values(), strict=True)]
    for ax, title in zip(axes, ("gray level", *seen), strict=True):
        ax.set_title(title, fontsize=9)
    fig.colorbar(images[-1], ax=axes[1:], shrink=0.8, label="ω / ω_max")
    return fig


def closed_form_scatter(theory: xr.Dataset, study: xr.Dataset, metabolite: str = "Lac"):
    """SD and bias of every voxel and λ by Monte Carlo over the closed form, under the cap of the study."""
    fig, axes = plt.subplots(1, 2, figsize=(10, 3.8))
    lams, cap = study["lam"].values, study["omega_max"].values[0]
    for lam, shade in zip(lams, plt.get_cmap("viridis")(np.linspace(0, 0.9, len(lams))), strict=True):
        for ax, key in zip(axes, ("sd", "bias"), strict=True):
            x, y = (s[key].sel(omega_max=cap, lam=lam, metabolite=metabolite).values.ravel() for s in (theory, study))
            ax.plot(x, y, ".", ms=4, color=shade, label=f"λ = {lam:g}")
    for ax, label in zip(axes, ("SD", "bias"), strict=True):
        ax.axline((0, 0), slope=1, color="black", lw=0.8)
        ax.set(xlabel=f"{label} of {metabolite} (mM), closed form", ylabel="Monte Carlo")
    axes[0].legend()
    return fig


def lam_axis(ax, lams: Iterable[float], last: float):
    """Axis of λ that begins at zero, with the given values named."""
    ax.set_xscale("symlog", linthresh=0.004)
    ax.set_xticks(lams, [f"{lam:g}" for lam in lams])
    ax.set(xlabel="λ", xlim=(0, last))


def contrast_over_lam(theory: xr.Dataset, study: xr.Dataset, metabolites: Iterable[str] = ("Lac", "Glx")):
    """Contrast at the four sites: theory, and Monte Carlo with the interval of its mean and of one measurement."""
    fig, axes = plt.subplots(1, 2, figsize=(11, 3.6), sharey=True)
    lams, n = study["lam"].values, study.attrs["n_repeats"]
    for ax, name in zip(axes, metabolites, strict=True):
        for site, color in SHADES.items():
            line, point = (s["recovery"].sel(metabolite=name, site=site) for s in (theory, study))
            spread = 1.96 * study["recovery_sd"].sel(metabolite=name, site=site)
            ax.plot(line["lam"], line, color=color, label=site)
            ax.errorbar(lams, point, spread / np.sqrt(n), fmt="o", color=color, capsize=3)
            ax.fill_between(lams, point - spread, point + spread, color=color, alpha=0.12, lw=0)
        lam_axis(ax, lams, float(theory["lam"].max()))
        ax.set_title(name)
    axes[0].set_ylabel("contrast")
    axes[0].legend(title="site", ncols=4)
    return fig


def contrast_over_size(theory: Mapping[int, xr.Dataset], studies: Mapping[int, xr.Dataset], lam: float):
    """Contrast of Lac at B and C over the side of the tumor: theory for each cap, and 95 % of single measurements."""
    fig, axes = plt.subplots(1, 2, figsize=(11, 3.4), sharey=True)
    for ax, site in zip(axes, "BC", strict=True):
        at = {"metabolite": "Lac", "site": site}
        for cap, dash in zip(next(iter(theory.values())).omega_max.values, DASHES, strict=False):
            kept = [t["recovery"].sel(omega_max=cap, **at) for t in theory.values()]
            ax.plot(list(theory), kept, dash, color="0.5", label=f"theory, ω_max {cap:g}")
        points = [s.sel(lam=lam, **at) for s in studies.values()]
        spread = [1.96 * float(p["recovery_sd"]) for p in points]
        ax.errorbar(list(studies), [float(p["recovery"]) for p in points], spread, fmt="o", color="0", capsize=3)
        ax.set(xlabel="side of the tumor (voxels)", title=f"site {site}", ylim=(0, 1.3), xticks=list(theory))
    axes[0].set_ylabel("contrast of Lac")
    axes[1].legend()
    return fig
