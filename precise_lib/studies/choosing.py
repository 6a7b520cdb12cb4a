"""Rules that choose λ from one data set, against the oracle that knows the truth."""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from precise_lib import show
from precise_lib.estimate import choose
from precise_lib.estimate.noise import noise_sd
from precise_lib.estimate.prior import ExactSolver, edge_weights, prepare_mri
from precise_lib.estimate.weights import SveModel
from precise_lib.evaluate import closed_form
from precise_lib.simulate.phantoms import RING_GRAY, Phantom, rings

TOO_LOW = "Stein, noise too low"
RULES = ("Stein", TOO_LOW, "cross-validation", "bias", "paper")
SHADES = {"oracle": "black", "Stein": "#6699CC", "cross-validation": "#DDCC77", "bias": "#AA4499", "paper": "0.6"}


def single_voxel(network: SveModel, phantom: Phantom, snrs: Iterable[float], count: int, seed: int):
    """SVE amplitudes (snr, count, V, M) of noisy data sets, and the SD of their ratios as a user would know them: from
    the noise in the data, the bound, and what the network is above it. The noise of every SNR is the same, scaled.
    """
    model, inside, snrs = phantom.model, phantom.mask, list(snrs)
    sve, sds = np.empty((2, len(snrs), count, *phantom.amplitudes[inside].shape))
    clean, excess = phantom.measure(np.inf).fids[inside], {}
    for number in range(count):
        noise = phantom.measure(1.0, np.random.default_rng([seed, number])).fids[inside] - clean
        for i, snr in enumerate(snrs):
            fids = clean + noise / snr
            sve[i, number], sigma = network.amplitudes(fids), noise_sd(fids, model)
            if snr not in excess:
                excess[snr] = closed_form.excess_over_bound(network.amplitudes, model, sve[i, number], sigma)
            covariance = closed_form.sve_covariance(model, sve[i, number], sigma) * excess[snr] * excess[snr][:, None]
            found = closed_form.closed_form(model, sve[i, number], covariance)
            sds[i, number] = found.sd / model.reference_concentration_mm
    return sve, sds


def curves(network: SveModel, phantom: Phantom, snr: float, seed: int) -> choose.Curves:
    """True and estimated errors over λ for one data set."""
    (sve,), (sd,) = single_voxel(network, phantom, [snr], 1, seed)
    weights, water = edge_weights(prepare_mri(phantom.measure(np.inf))), phantom.model.index(phantom.model.reference)
    return choose.curves(weights, sve, water, sd, truth=phantom.amplitudes[phantom.mask])


def gray_maps(phantom: Phantom) -> dict[str, np.ndarray]:
    """MRI gray levels on the DMI grid (x, y, z), NaN outside: the phantom's own, a perfect one, wrong ones."""
    own, mask = prepare_mri(phantom.measure(np.inf)), phantom.mask
    rings_only = np.where(mask, RING_GRAY[phantom.compartments], np.nan)
    perfect = np.where(phantom.tumors["B"] | phantom.tumors["C"], 1.0, rings_only)
    low, high = np.nanmin(rings_only), np.nanmax(rings_only)
    shifted = np.where(mask, np.roll(np.where(mask, own, np.nanmedian(own)), 1, 0), np.nan)
    perfect = np.clip((perfect - low) / (high - low), 0, 1.2)
    return {"phantom": own, "perfect": perfect, "shifted": shifted, "no contrast": 0 * own}


def excess_of(found: choose.Curves, lam: np.ndarray) -> np.ndarray:
    """RMSE at λ (..., M) over the least RMSE of its data set, minus one, interpolated in log λ."""
    x, floor, out = np.log(found.lams[1:]), found.lams[1] / 2, np.zeros(lam.shape)
    at = np.log(np.maximum(lam, floor))
    for one in np.ndindex(lam.shape):
        curve = found.error2[:, *one]
        if curve.min() > 0:
            out[one] = np.sqrt(np.interp(at[one], np.r_[np.log(floor), x], curve) / curve.min()) - 1
    return out


def compare(
    network: SveModel, sizes: Iterable[int], snrs: Iterable[float], n_data_sets: int, seed: int,
    lam_paper: float, share: float, level_error: float,
) -> xr.Dataset:  # fmt: skip
    """`lam` (rule, size, mri, snr, data_set, metabolite) by each rule and the oracle, and its `excess` in RMSE over the
    oracle's. `share` of the SD may the bias take under its rule; `level_error` is how much too low the noise is taken
    under another, for the phantom's own MRI only.
    """
    table = []
    for phantom in map(rings, sizes):
        truth, water = phantom.amplitudes[phantom.mask], phantom.model.index(phantom.model.reference)
        sve, sd = single_voxel(network, phantom, snrs, n_data_sets, seed)  # every SNR under one set of linear maps
        for mri, gray in gray_maps(phantom).items():
            weights = edge_weights(gray)
            found = choose.curves(weights, sve, water, sd, truth=truth)
            none = np.full(found.stein.shape[1:], np.nan)
            lams = [choose.least(found.lams, found.error2), found.choose(), none, found.choose("cross-validation")]
            lams += [found.choose("bias", share), np.full(none.shape, lam_paper)]
            if mri == "phantom":
                lams[2] = choose.curves(weights, sve, water, (1 - level_error) * sd).choose()
            table.append([(lam, excess_of(found, lam)) for lam in lams])
    coords = {"size": list(sizes), "mri": list(gray_maps(phantom)), "snr": list(snrs)}
    values = np.moveaxis(np.array(table), 0, 2).reshape(len(RULES) + 1, 2, *map(len, coords.values()), *none.shape[1:])
    dims = ("rule", *coords, "data_set", "metabolite")
    own = coords | {"rule": ["oracle", *RULES], "metabolite": phantom.model.names}
    found = xr.Dataset({"lam": (dims, values[:, 0]), "excess": (dims, values[:, 1])}, own)
    return found.drop_sel(metabolite=phantom.model.reference)


def side(found: xr.Dataset, rule: str, tolerable: float) -> list[float]:
    """Share of choices that cost more than tolerable, with λ too small, and too large."""
    own = found.sel(rule=rule)
    small, known = own.lam < found.lam.sel(rule="oracle"), np.isfinite(own.lam.values)
    bad = own.excess > tolerable
    return [float(x.values[known].mean()) for x in (bad, bad & small, bad & ~small)]


def kept_at_b(found: xr.Dataset, rule: str, phantoms: Iterable[Phantom]) -> xr.DataArray:
    """Share of the contrast at B, which the MRI misses, left by the median λ of a rule: (size, snr, metabolite)."""
    own = found.lam.sel(rule=rule, mri="phantom").median("data_set")
    kept = xr.zeros_like(own)
    for i, phantom in enumerate(phantoms):
        mask, names = phantom.mask, phantom.model.names
        truth, weights = phantom.amplitudes[mask], edge_weights(prepare_mri(phantom.measure(np.inf)))
        columns, water = [names.index(n) for n in own.metabolite.values], names.index(phantom.model.reference)
        for j in range(own.sizes["snr"]):
            lams = np.zeros(len(names))
            lams[columns] = own[i, j]
            ratios = choose.ratios([ExactSolver(weights, x) for x in lams], truth, water)
            site, around = phantom.tumors["B"][mask], phantom.tumors["A"][mask]
            left, there = ((v[site].mean(0) - v[around].mean(0))[columns] for v in (ratios, truth))
            kept[i, j] = left / there
    return kept


def risk_figure(found: choose.Curves, names, lam_paper: float):
    """True and estimated squared error over λ, with the least point of each."""
    fig, axes = plt.subplots(1, len(names) - 1, figsize=(11, 3.4), sharey=True)
    for ax, (k, name) in zip(axes, list(enumerate(names))[1:], strict=True):
        for curve, label in ((found.error2, "true"), (found.stein, "Stein")):
            shade, best = SHADES["oracle" if label == "true" else label], choose.least(found.lams, curve)[0, k]
            ax.plot(found.lams[1:], curve[1:, 0, k], color=shade, label=label)
            ax.plot(best, np.interp(best, found.lams, curve[:, 0, k]), "o", color=shade)
        ax.plot(found.lams[1:], found.bias2[1:, 0, k], ":", color=SHADES["bias"], label="squared bias")
        ax.axvline(lam_paper, color="0.7", lw=0.8)
        ax.set(xscale="log", title=name, xlabel="λ", ylim=(-0.1, 1.5))
    axes[0].set_ylabel("error / single-voxel variance")
    axes[0].legend()
    return fig


def plain_snrs(ax, snrs):
    """Logarithmic axis of the SNR with plain numbers."""
    ax.set(xscale="log", xlabel="SNR of water")
    ax.set_xticks(snrs, [f"{s:g}" for s in snrs])
    ax.minorticks_off()


def lam_figure(found: xr.Dataset, size: int):
    """λ over SNR on the phantom's own MRI: median and central 80 % over data sets."""
    own = found.lam.sel(size=size, mri="phantom")
    fig, axes = plt.subplots(1, own.sizes["metabolite"], figsize=(11.5, 3.6), sharey=True)
    for ax, name in zip(axes, own.metabolite.values, strict=True):
        for rule in ("oracle", "Stein", "cross-validation", "bias"):
            picked = own.sel(metabolite=name, rule=rule)
            low, mid, high = np.percentile(picked, [10, 50, 90], axis=picked.dims.index("data_set"))
            ax.plot(found.snr, mid, "o-", color=SHADES[rule], label=rule)
            ax.fill_between(found.snr, low, high, color=SHADES[rule], alpha=0.15, lw=0)
        ax.axhline(float(found.lam.sel(rule="paper").max()), color="0.7", lw=0.8)
        ax.set(yscale="log", title=name)
        plain_snrs(ax, found.snr.values)
    axes[0].set_ylabel("λ")
    axes[0].legend(fontsize=8)
    return fig


def cost_figure(found: xr.Dataset):
    """RMSE above the oracle's by MRI and rule: median, and the level that 95 % of the data sets stay below."""
    fig, ax = plt.subplots(figsize=(9, 3.6))
    for i, rule in enumerate(r for r in RULES if r != TOO_LOW):
        pooled = [100 * found.excess.sel(rule=rule, mri=mri).values.ravel() for mri in found.mri.values]
        x = np.arange(len(pooled)) + 0.2 * (i - 1.5)
        ax.bar(x, [np.median(p) for p in pooled], 0.17, label=rule, color=SHADES[rule])
        ax.plot(x, [np.percentile(p, 95) for p in pooled], "v", color=SHADES[rule], ms=5)
    ax.set_xticks(range(found.sizes["mri"]), found.mri.values)
    ax.set(yscale="log", ylim=(0.05, 2000), ylabel="RMSE above the oracle's (%)")
    ax.legend(ncols=4, fontsize=8)
    return fig


def settings_table(found: dict[str, xr.Dataset]) -> show.Markdown:
    """Settings of the adaptive prior by Stein's rule and the oracle, and what each rule costs in RMSE."""

    def typical(own, rule):
        lam, tau, k = (float(own[key].sel(rule=rule).median()) for key in ("lam", "tau", "neighbors"))
        return f"{lam:.3g}, {tau:.2g}, {k:g}"

    rows = []
    for name, own in found.items():
        ratio = own["rmse"] / own["rmse"].sel(rule="oracle")
        costs = [f"{float(ratio.sel(rule=r).mean()) - 1:.0%}" for r in ("least", "kept", "fixed")]
        rows.append([name, typical(own, "least"), typical(own, "oracle"), *costs])
    head = ["object", "Stein: λ, τ, k", "oracle: λ, τ, k", "Stein costs", "keeping lesions costs", "fixed costs"]
    return show.table(head, rows)
