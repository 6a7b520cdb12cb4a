"""Figures and tables of fine-tuned networks beside the exact minimizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from precise_lib.estimate.prior import OMEGA_MAX

CAPS = ("0.65", "0.4", "0.1")  # shades of the caps of the weights
CNN = "#AA4499"


def at(points: xr.Dataset, epochs: int, lam: float, omega_max: float = OMEGA_MAX) -> xr.Dataset:
    """One setting of a study or of `finetuning.tradeoff`."""
    chosen = (points.epochs.values == epochs) & (points.lam.values == lam) & (points.omega_max.values == omega_max)
    return points.isel(setting=chosen).isel(setting=0)


def distance(curves: Mapping[str, Iterable[tuple[xr.Dataset, float]]]):
    """Distance from the exact minimizer over epochs, with the range over realizations; (study, λ) by label."""
    fig, ax = plt.subplots(figsize=(6.5, 3.4))
    for (label, studies), shade in zip(curves.items(), ("0.6", "0.1", CNN), strict=True):
        picked = [s.isel(setting=(s.lam.values == lam) & (s.omega_max.values == OMEGA_MAX)) for s, lam in studies]
        rows = sorted((int(e), tuple(d)) for r in picked for e, d in zip(r.epochs, r["distance"].values, strict=True))
        epochs, found = [e for e, _ in rows], [np.array(d) for _, d in rows]
        means = np.array([d.mean() for d in found])
        spread = [means - [d.min() for d in found], [d.max() for d in found] - means]
        ax.errorbar(epochs, means, spread, fmt="o-", capsize=3, color=shade, label=label)
    ax.set(xscale="log", yscale="log", xlabel="epochs", ylabel="distance to the minimum / distance of SVE")
    steps = sorted({int(e) for studies in curves.values() for s, _ in studies for e in s.epochs.values})
    ax.set_xticks(steps, [str(e) for e in steps])
    ax.set_yticks([0.05, 0.1, 0.2, 0.5, 1])
    ax.minorticks_off()
    ax.yaxis.set_major_formatter("{x:g}")
    ax.legend()
    return fig


def gains(study: xr.Dataset, region, metabolite: str = "Lac") -> np.ndarray:
    """SD of SVE over SD (omega_max, lam), root mean squares over the voxels of a region."""
    sd = np.sqrt((study["sd"].sel(metabolite=metabolite).values[..., region] ** 2).mean(-1))
    return sd[:, :1] / sd


def contrast_over_precision(exact: xr.Dataset, region, ours: xr.Dataset, cnn: xr.Dataset, epochs: Sequence[int]):
    """Contrast of Lac kept at B and C over the gain: curves of the exact minimizer, points of `tradeoff`."""
    fig, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
    caps, shapes = exact.omega_max.values, dict(zip(epochs, "v^o", strict=False))
    shades = dict(zip(caps, CAPS, strict=False))
    for ax, site in zip(axes, "BC", strict=True):
        x = np.linspace(1, 14, 200)
        ax.plot(x, 1 / x, ":", color="black", label="only shrinks")
        for cap, gain in zip(caps, gains(exact, region), strict=True):
            kept = exact["recovery"].sel(omega_max=cap, metabolite="Lac", site=site)
            ax.plot(gain, kept, color=shades[cap], label=f"exact, ω_max {cap:g}")
        for points, own in ((ours, None), (cnn, CNN)):
            for p in (points.isel(setting=i) for i in range(points.sizes["setting"])):
                look = {"fmt": "D" if own else shapes[int(p.epochs)], "color": own or shades[float(p.omega_max)]}
                y, y_se = (float(p[key].sel(site=site)) for key in ("kept", "kept_se"))
                ax.errorbar(float(p["gain"]), y, y_se, float(p["gain_se"]), ms=6, mec="black", mew=0.5, **look)
        ax.set(title=f"site {site}", xlabel="SD of SVE / SD", xscale="log", xlim=(1, 14), ylim=(0, 1.05))
        ticks = (1, 1.5, 2, 3, 4, 6, 8, 12)
        ax.set_xticks(ticks, [f"{v:g}" for v in ticks])
        ax.minorticks_off()
    for e, shape in shapes.items():
        axes[1].plot([], [], shape, color="0.5", label=f"{e} epochs")
    axes[1].plot([], [], "D", color=CNN, label="CNN")
    axes[0].set_ylabel("contrast of Lac kept")
    axes[1].legend(fontsize=8)
    return fig


def off_the_curve(points: xr.Dataset, exact: xr.Dataset, region, site: str) -> np.ndarray:
    """Contrast of Lac kept minus that of the exact minimizer at the same gain, by setting; at B one curve holds for all
    caps, elsewhere each has its own.
    """
    curve, kept = gains(exact, region), exact["recovery"].sel(metabolite="Lac", site=site).values
    if site == "B":
        order = np.argsort(curve, axis=None)
        curve, kept = (np.tile(v.ravel()[order], (len(curve), 1)) for v in (curve, kept))
    caps = [list(exact.omega_max.values).index(w) for w in points.omega_max.values]
    pairs = zip(points["gain"].values, caps, strict=True)
    return points["kept"].sel(site=site).values - [np.interp(g, curve[i], kept[i]) for g, i in pairs]


def tension_rows(name: str, points: xr.Dataset, exact: xr.Dataset, region, epochs: Sequence[int]) -> list[list]:
    """Gain at λ 0.01, and the contrast of B and C left at 0.01 and 0.04, of the minimizer and after each training."""
    own = exact.isel(omega_max=0).sel(metabolite="Lac")
    gain = gains(exact, region)[0, list(exact.lam.values).index(0.01)]
    rows = [[name, "exact", gain, *(own["recovery"].sel(lam=v, site=s) for v in (0.01, 0.04) for s in "BC")]]
    for e in epochs:
        first = at(points, e, 0.01)
        cells = [f"{float(first['gain']):.2f} ± {float(first['gain_se']):.2f}"]
        for p, site in ((at(points, e, v), s) for v in (0.01, 0.04) for s in "BC"):
            kept, error = (float(p[key].sel(site=site)) for key in ("kept", "kept_se"))
            cells.append(f"{kept:.2f} ± {error:.2f}")
        rows.append([name, e, *cells])
    return rows
