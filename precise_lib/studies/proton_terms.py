"""What lipids, macromolecules and a Gaussian width do to proton estimates, and where the MRI prior takes it.

A `belief` is the `SignalModel` that an estimator takes for true; the data follow a model that has all terms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from precise_lib import show
from precise_lib.estimate.fit import fit_fids
from precise_lib.estimate.prior import OMEGA_MAX, ExactSolver, edge_weights, prepare_mri
from precise_lib.evaluate import crlb
from precise_lib.evaluate.efficiency import efficiency
from precise_lib.signal.model import SignalModel, spectrum
from precise_lib.signal.mrsi import MRSI, unmask
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.simulate.phantoms import Phantom

ROLES = {
    "metabolite": ("metabolites", "#0072B2"),
    "baseline": ("macromolecules", "#009E73"),
    "lipid": ("lipids", "#D55E00"),
}
TERM_COLORS = ("#56B4E9", "#009E73", "#D55E00")
LOOKS = {
    "without the terms": ("#56B4E9", "s"),
    "with the terms": (show.color("sve"), "o"),
    "fit": (show.color("fit"), "^"),
}


@dataclass(frozen=True)
class Voxel:
    """Amplitudes (M,) on the resonances of a model, and the Gaussian width and the offset of the lipids, in Hz."""

    model: SignalModel
    amplitudes: np.ndarray
    shape: dict
    metabolites: Sequence[str]

    def own(self, belief: SignalModel) -> np.ndarray:
        """Amplitudes of the resonances that the belief has."""
        return self.amplitudes[[self.model.index(name) for name in belief.names]]

    def fids(self, amplitudes=None) -> np.ndarray:
        return self.model.fids(self.amplitudes if amplitudes is None else amplitudes, **self.shape)

    def bound(self, belief: SignalModel) -> np.ndarray:
        """Bound of the metabolites when the resonances of the belief are unknown and present."""
        return crlb.numeric(belief, self.own(belief), 1.0, **self.shape)[: len(self.metabolites)]

    def biases(self, belief: SignalModel) -> tuple[np.ndarray, np.ndarray]:
        """Bias of the metabolites in percent of their amplitude, without noise: as the projection predicts it, and of
        a fit."""
        own, n = self.own(belief), len(self.metabolites)
        predicted = 100 * crlb.misspecified_bias(self.model, belief, self.amplitudes, **self.shape) / own
        return predicted[:n], (100 * (fit_fids(self.fids()[None], belief).amplitudes[0] / own - 1))[:n]

    def over_snr(self, method: Callable, belief: SignalModel, snrs, n_repeats: int, seed: int) -> xr.Dataset:
        """Precision and bias over SNR (snr, metabolite) of a method; what it does not know it is told."""

        def amplitudes(fids, _):
            found = np.tile(self.amplitudes, (len(fids), 1))
            found[:, [self.model.index(name) for name in belief.names]] = method(fids, belief)
            return found

        noise = {"phase_rad": 1.0, **self.shape}
        sigmas = snr_to_sigma(self.model, snrs)
        runs = [efficiency(amplitudes, self.model, self.amplitudes, s, n_repeats, seed, **noise) for s in sigmas]
        table = xr.concat([run.isel(voxel=0) for run in runs], xr.IndexVariable("snr", snrs))
        return table.sel(metabolite=list(self.metabolites))


def signal_figure(voxel: Voxel, snr: float, seed: int):
    """Figure of a noisy spectrum and what it is made of."""
    model, sigma = voxel.model, float(snr_to_sigma(voxel.model, snr))
    noisy = add_noise(voxel.fids()[None], sigma, np.random.default_rng(seed))[0]
    fig, ax = plt.subplots(figsize=(8, 3.6))
    ax.plot(show.ppm_axis(model), spectrum(noisy).real, color="0.75", lw=1, label=f"measured, SNR {snr:g}")
    for role, (label, color) in ROLES.items():
        part = spectrum(voxel.fids(voxel.amplitudes * model.of_role(role))).real
        ax.plot(show.ppm_axis(model), part, color=color, label=label)
    ax.set(xlim=(4.4, 0.2), xlabel="chemical shift (ppm)", ylabel="real part", yticks=[])
    ax.legend()
    return fig


def cost_figure(cost: Mapping[str, np.ndarray], metabolites: Sequence[str]):
    """Figure of bounds over the bound of the metabolites alone."""
    fig, ax = plt.subplots(figsize=(7, 3))
    for i, ((label, values), color) in enumerate(zip(cost.items(), TERM_COLORS, strict=True)):
        ax.bar(np.arange(len(metabolites)) + 0.27 * (i - 1), values, 0.25, label=label, color=color)
    ax.axhline(1, color="0.5", lw=0.8)
    ax.set_xticks(range(len(metabolites)), metabolites)
    ax.set(ylabel="CRLB / CRLB of metabolites alone", ylim=(0.9, None))
    ax.legend(ncol=3, fontsize=8)
    return fig


def blind_figure(voxel: Voxel, levels, blind: SignalModel, network_blind, network):
    """Figure of the bias by lipids, `levels` times those of the voxel: projection, fit and network that know the
    metabolites only, and a network that knows the terms.
    """
    model, n = voxel.model, len(voxel.metabolites)
    levels, truth = np.asarray(levels, float), voxel.amplitudes[:n]
    amplitudes = np.where(model.of_role("lipid"), levels[:, None], 1) * voxel.amplitudes
    fids, sve = voxel.fids(amplitudes), show.color("sve")
    lines = [
        (
            crlb.misspecified_bias(model, blind, amplitudes, **voxel.shape) / truth,
            {"color": "0.2", "label": "projection"},
        ),
        (
            fit_fids(fids, blind).amplitudes / truth - 1,
            {"marker": "^", "color": show.color("fit"), "label": "blind fit"},
        ),
        (network_blind.amplitudes(fids, blind) / truth - 1, {"marker": "o", "color": sve, "label": "blind SVE"}),
        (
            network.amplitudes(fids, model)[:, :n] / truth - 1,
            {"marker": "o", "mfc": "none", "color": sve, "label": "SVE with the terms"},
        ),
    ]
    fig, axes = plt.subplots(1, n, figsize=(13, 2.8), sharey=True)
    for k, (ax, name) in enumerate(zip(axes, voxel.metabolites, strict=True)):
        for values, style in lines:
            ax.plot(levels, 100 * values[:, k], ls="" if "marker" in style else "-", **style)
        ax.set(title=name, xlabel="lipid level")
    axes[0].set_ylabel("bias (%)")
    axes[0].legend(fontsize=7)
    return fig


def efficiency_figure(voxel: Voxel, results: Mapping[str, xr.Dataset]):
    """Figure of SD over bound and bias over SNR, a column per metabolite."""
    names = voxel.metabolites
    fig, axes = plt.subplots(2, len(names), figsize=(13, 4.8), sharex=True, sharey="row")
    for column, name in zip(axes.T, names, strict=True):
        for label, result in results.items():
            line, (color, marker) = result.sel(metabolite=name), LOOKS[label]
            bias = 100 * line["bias"] / voxel.amplitudes[voxel.model.index(name)]
            column[0].plot(line.snr, line["sd"] / line["crlb"], color=color, marker=marker, label=label)
            column[1].plot(line.snr, bias, color=color, marker=marker)
        column[0].axhspan(1, 1.15, color="0.92", zorder=0)
        column[1].axhspan(-5, 5, color="0.92", zorder=0)
        column[0].set_title(name)
        column[1].set_xlabel("SNR of creatine")
    axes[0, 0].set(ylabel="SD / CRLB")
    axes[1, 0].set(ylabel="bias (%)")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


def regional_rmse(study: xr.Dataset, name: str, where) -> np.ndarray:
    """RMSE (metabolite,) of an estimator of `montecarlo.phantom_study` over the voxels `where` and the noise, in
    percent of the mean in the region."""
    part = study.sel(estimator=name)
    squared = (part["bias"] ** 2 + part["sd"] ** 2).values[:, where].mean(1)
    return 100 * np.sqrt(squared) / part["truth"].values[:, where].mean(1)


def voxel_rmse(study: xr.Dataset, name: str, where) -> np.ndarray:
    """RMSE of each voxel `where` (V,), in percent, over noise and metabolites."""
    part = study.sel(estimator=name)
    level = part["truth"].values[:, where].mean(1, keepdims=True)
    return 100 * np.sqrt((((part["bias"] ** 2 + part["sd"] ** 2).values[:, where]) / level**2).mean(0))


def by_depth(values, depth_mm, mask, width_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """RMS of a map over shells of a mask: middle of each shell (mm from the surface), and RMS; maps (x, y, z)."""
    shell = (np.asarray(depth_mm)[mask] / width_mm).astype(int)
    rms = np.sqrt(np.bincount(shell, np.asarray(values)[mask] ** 2) / np.bincount(shell))
    return width_mm * (np.arange(len(rms)) + 0.5), rms


def lipid_error(network, assumed, phantom: Phantom, clear: Phantom, regions, lam: float, name: str = "NAA") -> dict:
    """RMS errors of one amplitude, in units of the reference, by lipids and without noise: the estimate of FIDs with
    lipids less that without, which the exact minimizer of Eq. 4, a linear map, takes on alone.

    `assumed` is the `SignalModel` that the network was trained on; `phantom` and `clear` are `proton.mrsi.head` with
    and without lipids, `regions` of that head. Returns "SVE" and "PRECISE", each at the "rim" and "inside", and what
    comes to the rim from voxels beyond the brain if these were estimated along, with the MRI and with a constant image
    in its place.
    """
    column = assumed.index(name)

    def solver(mask, mri=None):
        image = phantom.mri if mri is None else mri
        data = MRSI(np.ones_like(phantom.clean), phantom.model, phantom.affine, mask, image, phantom.mri_affine)
        return ExactSolver(edge_weights(prepare_mri(data), OMEGA_MAX), lam)

    def rms(values, mask, region):
        return float(np.sqrt(np.mean(unmask(mask, values)[regions[region]] ** 2)))

    brain, head = phantom.mask, regions["head"] | phantom.mask
    sve = network.amplitudes(phantom.clean[brain], assumed) - network.amplitudes(clear.clean[brain], assumed)
    outside = np.zeros((*head.shape, len(assumed.names)))
    outside[head & ~brain] = network.amplitudes(phantom.clean[head & ~brain], assumed)
    sve, outside = sve[:, column], outside[head][:, column]
    precise = solver(brain)(sve[:, None])[:, 0]
    result = {f"{label}, {region}": rms(values, brain, region) for label, values in (("SVE", sve), ("PRECISE", precise))
              for region in ("rim", "inside")}  # fmt: skip
    flat = np.zeros_like(phantom.mri)
    for label, image in (("with the MRI", None), ("with a constant image", flat)):
        result[f"from beyond, {label}"] = rms(solver(head, image)(outside[:, None])[:, 0], head, "rim")
    return result


def under(estimator, model):
    """The estimator under a misspecified model of the same acquisition; resonances that this one lacks become NaN."""
    return lambda data: estimator(data.replace(model=model)).reindex(metabolite=data.model.names)
