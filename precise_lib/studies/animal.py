"""The simulated rat under a surface coil: measured, mapped by every method, and its errors predicted and drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm

from precise_lib import show
from precise_lib.estimate.choose import ratios
from precise_lib.estimate.fit import fit_fids
from precise_lib.estimate.prior import ExactSolver, edge_weights
from precise_lib.estimate.weights import load_weights
from precise_lib.evaluate import closed_form
from precise_lib.signal.model import spectrum
from precise_lib.signal.mrsi import unmask
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.simulate.rat import rat, snr_of

LEAST_SNR = 2.0  # of water; below it a ratio to water has no SD, and the voxel is shown but not judged


class Animal:
    """The rat at one matrix: values (V,) are those of the voxels of its brain, bias counts from `reference` (V, M),
    the truth after the point spread function, in mM. `erased` is the same animal without the tumor in its MRI.
    """

    def __init__(self, matrix, field_of_view_mm, weights):
        self.phantom = rat(matrix, field_of_view_mm=field_of_view_mm)
        self.erased = rat(matrix, tumor_in_mri=False, field_of_view_mm=field_of_view_mm)
        self.model, self.mask, self.encoding = self.phantom.model, self.phantom.mask, self.phantom.noise.encoding
        self.water, self.glx, self.lac = (self.model.index(name) for name in ("water", "Glx", "Lac"))
        self.network, tumor = load_weights(weights), self.phantom.tumors["tumor"]
        self.tumor, self.height = tumor[self.mask], int(np.argwhere(tumor)[:, 1].mean().round())
        self.reference = np.moveaxis(self.phantom.blurred.values[:, self.mask], 0, -1)
        self.seen = fit_fids(self.phantom.noiseless()[self.mask], self.model)  # point spread and dephasing included
        self.shared = self.encoding.correlation_matrix(self.mask)

    def snr(self, averages: int) -> float:
        return snr_of(self.encoding.voxel_ul, averages)

    def sigma(self, averages: int) -> float:
        return float(snr_to_sigma(self.model, self.snr(averages)))

    def plane(self, values) -> np.ndarray:
        """Horizontal plane through the tumor of values (V,) or of a map (x, y, z), cropped to the brain."""
        values, flat = np.asarray(values, float), self.mask[:, self.height]
        whole = (unmask(self.mask, values) if values.ndim == 1 else values)[:, self.height]
        return np.where(flat, whole, np.nan)[np.ix_(flat.any(1), flat.any(0))]

    def chain(self, solvers: Sequence[ExactSolver]) -> Callable:
        """FIDs (..., V, t) to concentrations (..., 2 + solvers, V, M) in mM: fit, SVE, and PRECISE by each solver."""
        mm, m = self.model.reference_concentration_mm, len(self.model.names)

        def regularized(sve):
            return [mm * ratios([s] * m, sve, self.water) for s in solvers]

        def maps(fids):
            flat = fids.reshape(-1, fids.shape[-1])
            both = np.stack([fit_fids(flat, self.model).amplitudes, self.network.amplitudes(flat)])
            each = both.reshape(2, -1, fids.shape[-2], m).swapaxes(0, 1)
            found = [[*self.model.concentrations(pair), *regularized(pair[1])] for pair in each]
            return np.reshape(found, (*fids.shape[:-2], -1, fids.shape[-2], m))

        return maps

    def draws(self, chain: Callable, averages: int | Sequence[int], n_repeats: int, seed: int) -> np.ndarray:
        """Maps of fresh measurements, their noise drawn in k-space as it is encoded: (n_repeats, ...).

        Several numbers of averages see the same noise, each at its own level, as the first axis of the chain's FIDs.
        """
        clean, n = self.phantom.noiseless()[self.mask], self.model.acquisition.n_samples
        voxels = np.argwhere(self.mask)
        box = tuple(slice(low, high + 1) for low, high in zip(voxels.min(0), voxels.max(0), strict=True))
        near, inside = self.phantom.noise.crop(box), self.mask[box]
        sigma = [self.sigma(na) for na in np.atleast_1d(averages)]
        level = np.array(sigma)[:, None] if np.ndim(averages) else sigma[0]
        made = closed_form.realizations(clean, level, chain, n_repeats, seed, lambda rng: near(rng, n)[inside])
        return np.stack(list(made))

    def _bound(self, averages: int) -> tuple:
        return self.model, self.seen.amplitudes, self._unit_covariance * self.sigma(averages) ** 2

    @cached_property
    def _unit_covariance(self) -> np.ndarray:
        return closed_form.sve_covariance(self.model, self.seen.amplitudes, 1.0, self.seen.broadening_hz)

    def independent_sd(self, averages: int, solver: ExactSolver | None = None) -> np.ndarray:
        """SD (V, M) in mM of SVE or PRECISE, predicted as if each voxel had noise of its own."""
        return closed_form.closed_form(*self._bound(averages), solver).sd

    def shared_sd(self, averages: int, solver: ExactSolver | None = None, names=None) -> np.ndarray:
        """The same with the noise that the voxels share; of some metabolites where they are named."""
        return closed_form.sd_of_shared_noise(*self._bound(averages), self.shared, solver, names)

    def contrast(self, lac) -> np.ndarray:
        """Share of the lactate contrast of the tumor that mean maps (..., V) keep."""
        truth = self.reference[:, self.lac]
        step = truth[self.tumor].mean() - truth[~self.tumor].mean()
        return (lac[..., self.tumor].mean(-1) - lac[..., ~self.tumor].mean(-1)) / step


def figure(animal: Animal, averages: int, seed: int):
    """MRI, the same without the tumor, SNR and B0; lactate before and after the point spread; one spectrum."""
    phantom, snr = animal.phantom, animal.snr(averages)
    fine = int((animal.height + 0.5) / animal.mask.shape[1] * phantom.mri.shape[1])
    truth, blurred = (x.sel(metabolite="Lac").values for x in (phantom.concentrations, phantom.blurred))
    flat = {title: p.mri[:, fine] for title, p in (("MRI", phantom), ("MRI, tumor erased", animal.erased))}
    lac = {"Lac, truth": truth, "Lac, point spread": blurred, "point spread - truth": blurred - truth}
    panels = {title: (values, "", "gray") for title, values in flat.items()}
    panels |= {"SNR of water": (animal.plane(snr * phantom.b1), "", "viridis")}
    panels |= {"B0": (animal.plane(phantom.b0_hz), "Hz", "coolwarm")}
    panels |= {t: (animal.plane(v), "mM", "coolwarm" if "-" in t else "viridis") for t, v in lac.items()}
    tops = {"gray": np.nanmax(flat["MRI"]), "viridis": 1.15 * np.nanmax(animal.plane(blurred))}
    fig, axes = plt.subplots(2, 4, figsize=(11.5, 5.6))
    for ax, (title, (values, unit, cmap)) in zip(axes.flat, panels.items(), strict=False):
        limits = {"vmin": 0, "vmax": tops[cmap]} if cmap == "gray" or title.startswith("Lac") else {}
        limits |= {"vmin": -np.nanmax(abs(values)), "vmax": np.nanmax(abs(values))} if cmap == "coolwarm" else {}
        fig.colorbar(show.show_map(ax, values, cmap=cmap, **limits), ax=ax, label=unit, shrink=0.8)
        ax.set_title(title, fontsize=9)
    best = np.unravel_index(np.argmax(phantom.tumors["tumor"] * np.nan_to_num(truth) * phantom.b1), animal.mask.shape)
    measured = {"measured": spectrum(phantom.measure(snr, seed).fids[best])}
    show.plot_spectra(axes[1, 3], animal.model, measured).set_box_aspect(0.9)
    return fig


def maps_figure(animal: Animal, maps: Mapping[str, np.ndarray], limits, log: bool = False, unit: str = "mM"):
    """Maps (V,) by title in the plane of the tumor, three a row, on one scale."""
    fig, axes = plt.subplots(-(-len(maps) // 3), 3, figsize=(7.2, 2.3 * -(-len(maps) // 3)), squeeze=False)
    scale = {"norm": LogNorm(*limits)} if log else {"vmin": limits[0], "vmax": limits[1]}
    for ax, (title, values) in zip(axes.flat, maps.items(), strict=True):
        image = show.show_map(ax, animal.plane(np.clip(values, limits[0], None) if log else values), **scale)
        ax.set_title(title, fontsize=9)
    fig.colorbar(image, ax=axes, label=unit, shrink=0.85)
    return fig


def errors_figure(animal: Animal, errors: Mapping[str, Mapping[str, np.ndarray]], sd_limits, largest_bias: float):
    """Row -> column -> SD (logarithmic) or bias (signed) (V,) in mM, in the plane of the tumor."""
    rows = {title: [animal.plane(v) for v in row.values()] for title, row in errors.items()}
    kinds = {title: title.split(",")[0] == "SD" for title in rows}
    limits = {title: sd_limits if sd else (-largest_bias, largest_bias) for title, sd in kinds.items()}
    cmaps = {title: "magma" if sd else "RdBu_r" for title, sd in kinds.items()}
    columns = list(next(iter(errors.values())))
    fig = show.map_rows(rows, columns, limits=limits, cmaps=cmaps)
    for i, sd in enumerate(kinds.values()):
        for ax in fig.axes[i * len(columns) : (i + 1) * len(columns)] if sd else ():
            ax.images[0].set_norm(LogNorm(*sd_limits))
    return fig


def cap_curves(animal: Animal, averages: int, judged, gray: Mapping, caps, lams) -> dict[tuple, np.ndarray]:
    """(cap, MRI) -> by λ: gain in the SD of lactate of the median voxel (independent, shared noise), contrast left."""
    out = {}
    for cap in caps:
        for name, levels in gray.items():
            solvers = [ExactSolver(edge_weights(levels, cap), lam) for lam in lams]
            out[cap, name] = np.array([predict(animal, averages, judged, s) for s in solvers])
    return out


def predict(animal: Animal, averages: int, judged, solver: ExactSolver) -> list[float]:
    """Gain in the SD of lactate over SVE (independent, shared noise; median judged voxel), and contrast left."""
    lac, mm = animal.lac, animal.model.reference_concentration_mm
    sve = animal.independent_sd(averages)[judged, lac]
    own = animal.independent_sd(averages, solver)[:, lac], animal.shared_sd(averages, solver, ["Lac"])[:, 0]
    gains = [np.median(sve / sd[judged]) for sd in own]
    kept = mm * ratios([solver] * len(animal.model.names), animal.seen.amplitudes, animal.water)[:, lac]
    healthy = animal.reference[judged & ~animal.tumor, lac].mean()
    return [*gains, (kept[animal.tumor].mean() - healthy) / (animal.reference[animal.tumor, lac].mean() - healthy)]
