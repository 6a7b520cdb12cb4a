"""The tests of "Miracle or mirage?" put to PRECISE, its network and prior, and to denoised proton spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import xarray as xr

from precise_lib.estimate.fit import fit_fids
from precise_lib.estimate.weights import SveModel, load_weights
from precise_lib.evaluate import regression
from precise_lib.io.shipped import data_path
from precise_lib.proton import brain, denoised
from precise_lib.proton.weights import Denoiser
from precise_lib.signal.presets import dmi_11t7
from precise_lib.studies import contrasts, shrinkage
from precise_lib.studies.contrasts import HIDDEN, SHOWN, TISSUE, Scene
from precise_lib.studies.posterior import TrainingPrior, posterior

TISSUE_MM = {"Glc": (0.0, 5.0), "Glx": (0.0, 5.0), "Lac": (0.0, 3.0)}  # ranges of the simulated tissue
TOPS = np.array([high for _, high in TISSUE_MM.values()])
SNR, SHIFT_HZ, BROADENING_HZ = (5.0, 40.0), (-20.0, 20.0), (-5.3, 15.9)
LOW, HIGH = (5.0, 10.0), (30.0, 40.0)  # SNR of water
NARROW, WIDE = "narrow range", "paper's recipe"
RANGE_MM = {"fit": None, "SVE": None, NARROW: 5.0, WIDE: 20.0}  # largest training concentration
SHOWN_1H = ("sI", "NAAG", "NAA")
WORDS = {TISSUE: "tissues (rings)", SHOWN: "lesion that the MRI shows", HIDDEN: "what the MRI does not show"}


@dataclass(frozen=True)
class Voxels:
    """Random FIDs and the concentrations (n, M) in mM that each estimator, by label, reads from them."""

    data: shrinkage.RandomFids
    estimates: dict[str, np.ndarray]

    def at(self, values, bounds) -> np.ndarray:
        """Rows at an SNR from low to high, without water, which is the reference and does not vary."""
        return values[(self.data.snr >= bounds[0]) & (self.data.snr < bounds[1]), 1:]

    def _triple(self, label: str, bounds) -> list[np.ndarray]:
        return [self.at(v, bounds) for v in (self.data.truth, self.estimates[label], self.data.error)]

    def line(self, label: str, bounds) -> xr.Dataset:
        """`regression.controlled_line` of one estimator inside a range of SNR."""
        return regression.controlled_line(*self._triple(label, bounds), list(TISSUE_MM))

    def lines(self, edges) -> dict[str, xr.Dataset]:
        """By label the lines (snr, metabolite) between neighboring edges."""
        middle = xr.IndexVariable("snr", np.sqrt(np.array(edges[1:]) * edges[:-1]))
        return {s: xr.concat([self.line(s, b) for b in pairwise(edges)], middle) for s in self.estimates}

    def summary(self, label: str, bounds) -> xr.Dataset:
        """`shrinkage.summary` of one estimator inside a range of SNR."""
        return shrinkage.summary(*self._triple(label, bounds), TOPS, list(TISSUE_MM))

    def predicted(self, label: str, bounds) -> np.ndarray:
        """Slopes (3,) that bound and training range foretell; an efficient ratio to water without a range."""
        truth, sd, top = self.at(self.data.truth, bounds), self.at(self.data.bound, bounds), RANGE_MM[label]
        mean = truth if top is None else shrinkage.expected(truth, sd, 0, top)
        return regression.slope(truth, mean * self.at(self.data.slope_of_a_ratio[:, None] * np.ones(4), bounds))


def voxels(weights: str, n_fids: int, n_samples: int, seed: int) -> Voxels:
    """Random FIDs of tissue, read by a fit, by the network of these weights, by one with the paper's recipe and one
    with a narrow range, and by the posterior means that the last two approach (`n_samples` draws each).
    """
    model = dmi_11t7()
    data = shrinkage.draw(model, TISSUE_MM, n_fids, seed, SNR, SHIFT_HZ, BROADENING_HZ)
    narrow = load_weights(data_path("weights", "studies", "mse_1x.safetensors"))
    paper, fit = load_weights("dmi_11t7_paper"), fit_fids(data.fids, model)
    amplitudes = {"fit": fit.amplitudes, "SVE": load_weights(weights).amplitudes(data.fids)}
    amplitudes |= {WIDE: _with_unit(paper, data.fids), NARROW: narrow.amplitudes(data.fids)}
    for label, network in {"posterior mean, paper's range": paper, "posterior mean, narrow range": narrow}.items():
        prior = TrainingPrior.of(network.card.config)
        amplitudes[label] = posterior(data.fids, model, data.sigma, prior, n_samples, seed, fit).mean
    return Voxels(data, {label: model.concentrations(a) for label, a in amplitudes.items()})


def _with_unit(network: SveModel, fids: np.ndarray) -> np.ndarray:
    """Amplitudes by the paper's recipe, whose unit is the median water of a data set: as many FIDs of water 1, plus
    one, are added.
    """
    model = dmi_11t7()
    reference = np.tile(model.fids(np.eye(4)[0]), (len(fids) + 1, 1)).astype(np.complex64)
    return network.amplitudes(np.concatenate([fids, reference]))[: len(fids)]


def proton(unets: Mapping[str, Denoiser], bounds, n_spectra: int, seed: int) -> dict[str, xr.Dataset]:
    """`shrinkage.summary` of `SHOWN_1H` in random proton spectra (SNR of all the signal): fitted as they are, with and
    without negative amplitudes, and after each U-Net.
    """
    drawn = brain.draw(n_spectra, seed, snr=bounds)
    found = denoised.quantified(drawn, unets, unbounded=True).estimate
    chosen, tops = [brain.METABOLITES.index(m) for m in SHOWN_1H], [brain.MAXIMUM_MM[m] for m in SHOWN_1H]
    estimates = {"1H fit": found.sel(source=denoised.UNBOUNDED).values}
    estimates |= {"1H fit, not negative": found.sel(source="noisy").values}
    estimates |= {label: found.sel(source=label).values for label in unets}
    errors = shrinkage.efficient_errors_1h(drawn, brain.WINDOW)[:, chosen]
    truth = drawn.concentration.values[:, chosen]
    return {s: shrinkage.summary(truth, e[:, chosen], errors, tops, list(SHOWN_1H)) for s, e in estimates.items()}


@dataclass(frozen=True)
class Prior:
    """The MRI prior at one lambda on ring phantoms with random contents, by side of the lesions.

    `maps` and `blind` (with an MRI without edges) are its linear maps; `lines` by (side, SNR) and view the line of the
    contrast, the metabolites pooled; `efficient` by SNR the SD (M,) of a single voxel in mM, smallest side.
    """

    scenes: dict[int, Scene]
    maps: dict[int, np.ndarray]
    blind: dict[int, np.ndarray]
    lines: dict[tuple[int, float], dict[str, xr.Dataset]]
    efficient: dict[float, np.ndarray]

    def closed(self, view: str, blindly: bool = False) -> list[float]:
        """Slopes in closed form, one a side."""
        maps = self.blind if blindly else self.maps
        return [self.scenes[s].slope(maps[s], view) for s in self.scenes]

    def gap(self) -> tuple[float, str]:
        """The largest measured minus closed slope, and of what."""
        gaps = {
            (view, *key): float(line.slope[0]) - self.scenes[key[0]].slope(self.maps[key[0]], view)
            for key, lines in self.lines.items()
            for view, line in lines.items()
        }
        view, size, snr = max(gaps, key=lambda k: abs(gaps[k]))
        return gaps[view, size, snr], f"{WORDS[view]}, {size} × {size}, SNR {snr:g}"

    def noise_kept(self, size: int) -> float:
        """SD of a voxel over that of SVE, RMS over the map."""
        return Scene.noise_kept(self.maps[size])

    def own_noise(self, view: str, size: int) -> float:
        """SD of a contrast itself under the prior over its SD by SVE, RMS over what the view reads."""
        q = self.scenes[size].views[view]
        return float(np.sqrt(((q @ self.maps[size]) ** 2).sum() / (q**2).sum()))

    def word(self, view: str, size: int, snr: float) -> str:
        """`shrinkage.verdict` on a contrast: noise kept by a voxel, RMSE over all voxels."""
        line = self.lines[size, snr][view].isel(metabolite=0)
        spread = contrasts.RANDOM_WIDTH * TOPS / np.sqrt(12) / self.efficient[snr]
        rmse = float(np.mean(self.scenes[size].relative_rmse(self.maps[size], spread)))
        slopes = (float(line[k]) for k in ("slope", "slope_low", "slope_high"))
        return shrinkage.verdict(*slopes, rmse, self.noise_kept(size))


def prior(
    weights: str, lam: float, sizes: Sequence[int], measured: Sequence[int], snrs: Sequence[float], n: int, seed: int
) -> Prior:
    """The prior over lesions of these `sizes` in closed form, and in `n` phantoms for those that are `measured`."""
    scenes = {size: contrasts.scene(size) for size in sizes}
    maps = {size: scene.linear_map(lam) for size, scene in scenes.items()}
    blind = {size: scene.linear_map(lam, without_edges=True) for size, scene in scenes.items()}
    contents, estimate = np.array([0.0, *TOPS]), load_weights(weights).amplitudes
    lines, efficient = {}, {}
    for size in measured:
        for snr in snrs:
            own = {"PRECISE": maps[size], "SVE": None}
            found = contrasts.measure(scenes[size], estimate, own, contents, snr, n, seed)
            pooled = found.pooled("PRECISE", contents)
            lines[size, snr] = {view: contrasts.contrast_lines(scenes[size], view, *pooled) for view in WORDS}
            if size == measured[0]:
                efficient[snr] = np.sqrt((found.error["SVE"][..., 1:] ** 2).mean((0, 1)))
    return Prior(scenes, maps, blind, lines, efficient)


def words(table: xr.Dataset) -> dict[str, str]:
    """`shrinkage.verdict` of each metabolite of a `shrinkage.summary`."""
    values = ("slope", "slope_low", "slope_high", "rmse_ratio", "noise_kept")
    names = table.metabolite.values
    return {str(m): shrinkage.verdict(*(float(table[k].sel(metabolite=m)) for k in values)) for m in names}
