"""A human brain at two fields: what the prior does to each region, predicted and counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from precise_lib.estimate import choose, smoother
from precise_lib.estimate.fit import Fit, fit_fids
from precise_lib.estimate.prior import OMEGA_MAX, ExactSolver, edge_weights
from precise_lib.estimate.weights import load_weights
from precise_lib.evaluate import closed_form
from precise_lib.evaluate.efficiency import efficiency
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.simulate.human import FIELDS, human, tissue_fractions
from precise_lib.simulate.human import regions as brain_regions
from precise_lib.simulate.phantoms import Phantom
from precise_lib.studies import regions
from precise_lib.studies.regularization import gray_levels

LESIONS = ("rim", "non-enhancing", "cavity")


@dataclass(frozen=True)
class Field:
    """One field strength: the brain with and without lesions, its regions, the network and the SNR of water."""

    tesla: int
    network: object
    snr: float
    brain: Phantom
    healthy: Phantom
    masks: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, tesla: int, weights, snr_7t: float, exponent: float) -> Field:
        """Where sensitivity goes with a power of B0, and the SNR with the volume of the voxel."""
        brain, healthy = human(tesla), human(tesla, lesions=False)
        snr = snr_7t * (FIELDS[tesla][1] / FIELDS[7][1]) ** 3 * (tesla / 7) ** exponent
        return cls(tesla, load_weights(weights), snr, brain, healthy, brain_regions(brain, healthy))

    @property
    def mm(self) -> float:
        return FIELDS[self.tesla][1]

    def slice(self, height_mm: float) -> int:
        """Number of the axial slice at this height (MNI)."""
        return round((height_mm - self.brain.affine[2, 3]) / self.mm)

    @property
    def contrasts(self) -> dict[str, regions.Contrast]:
        """Gray-white contrast, and that of each lesion with the healthy tissue in its place."""
        tissue = regions.tissue_contrast(self.brain, tissue_fractions(self.mm), self.masks["healthy"])
        lesions = [name for name in self.brain.tumors if name in self.masks]
        found = {name: regions.region_contrast(self.brain, self.masks[name], self.healthy) for name in lesions}
        return {"gray-white": tissue} | found

    @property
    def mri(self) -> dict[str, np.ndarray]:
        """Gray levels as they are, without any anatomy, and with the hidden part of the tumor shown."""
        blank = np.where(self.brain.mask, 0.0, np.nan)
        shown = gray_levels(human(self.tesla, non_enhancing_in_mri=True))
        return {"MRI": gray_levels(self.brain), "no anatomy": blank, "hidden part shown": shown}

    def efficiencies(self, n_voxels: int, n_repeats: int, seed: int) -> dict[str, xr.Dataset]:
        """SD and bias over the bound of fit and network, in random voxels with their own distortions."""
        amplitudes, distorted = regions.signal(self.brain)
        pick = np.random.default_rng(seed).permutation(len(amplitudes))[:n_voxels]
        sigma = float(snr_to_sigma(self.brain.model, self.snr))
        shared = (self.brain.model, amplitudes[pick], sigma, n_repeats, seed)
        own = {name: values[pick] for name, values in distorted.items()}
        methods = {"fit": Fit().amplitudes, "CNN": self.network.amplitudes}
        return {name: efficiency(method, *shared, **own) for name, method in methods.items()}

    def maps(self, lam: float, seed: int) -> dict[str, xr.DataArray]:
        """Truth and estimates of one measurement, by name."""
        data = self.brain.measure(self.snr, seed)
        solver, network = ExactSolver(edge_weights(gray_levels(self.brain)), lam), self.network.amplitudes
        return {
            "truth": self.brain.concentrations,
            "fit": data.map_usable(lambda f: Fit().amplitudes(f, self.brain.model), "fit"),
            "SVE": data.map_usable(network, "sve"),
            f"PRECISE, λ {lam:g}": data.map_usable(lambda f: solver(network(f)), "precise"),
        }

    def predicted(self, lams: Sequence[float], omega_max: float = OMEGA_MAX) -> xr.Dataset:
        """`regions.predicted` under a cap of the weights. A higher cap asks for a lower λ: the range of λ times the
        cap is that of the default cap, where the MRI is held against none; elsewhere against one that shows all.
        """
        other = "no anatomy" if omega_max == OMEGA_MAX else "hidden part shown"
        priors = {name: self.mri[name] for name in ("MRI", other)}
        lams = [x * OMEGA_MAX / omega_max for x in lams]
        own = {"regions": self.masks, "contrasts": self.contrasts, "omega_max": omega_max}
        return regions.predicted(self.brain, self.snr, priors, lams, **own)

    def counted(self, lams: Sequence[float], n_repeats: int, seed: int) -> xr.Dataset:
        """`regions.measured` through the network."""
        priors, own = {"MRI": self.mri["MRI"]}, {"regions": self.masks, "contrasts": self.contrasts}
        shared = (self.network.amplitudes, self.brain, self.snr, priors, lams)
        return regions.measured(*shared, **own, n_repeats=n_repeats, seed=seed)

    def stein(self, seed: int) -> dict[str, float]:
        """λ of each metabolite by Stein's estimate from one measurement."""
        data, model = self.brain.measure(self.snr, seed), self.brain.model
        fids, weights = data.fids[data.usable], edge_weights(gray_levels(self.brain))
        sve, width = self.network.amplitudes(fids), fit_fids(fids, model).broadening_hz
        covariance = closed_form.sve_covariance(model, sve, snr_to_sigma(model, self.snr), width)
        sd = closed_form.closed_form(model, sve, covariance).sd / model.reference_concentration_mm
        lattice = smoother.lattices(data.usable, sums_only=True)
        grid = choose.GRID[choose.GRID < 0.2]
        found = choose.curves(weights, sve, 0, sd, grid, lattice).choose()
        return dict(zip(model.names, map(float, found), strict=True))

    def at(self, lam: float, name: str, lesions=("rim", "non-enhancing")) -> xr.Dataset:
        """The prediction of a metabolite at one λ."""
        contrast = {t: regions.region_contrast(self.brain, self.masks[t], self.healthy) for t in lesions}
        priors = {"MRI": gray_levels(self.brain)}
        found = regions.predicted(self.brain, self.snr, priors, [0.0, lam], self.masks, contrast)
        return found.sel(prior="MRI", metabolite=name).isel(lam=1)


def trade(theory: xr.Dataset, prior: str, contrast: str, name: str = "Lac") -> tuple[np.ndarray, np.ndarray]:
    """Gain in SD over SVE in healthy tissue, and contrast left, along λ."""
    own = theory.sel(prior=prior, metabolite=name)
    sd = own["sd"].sel(region="healthy").values
    return sd[0] / sd, own["kept"].sel(contrast=contrast).values


def at_half(theory: xr.Dataset, prior: str, target: str) -> tuple[float, float]:
    """Contrast of Lac left, and RMSE over that of SVE, where the SD in healthy tissue is half that of SVE."""
    gain, share = trade(theory, prior, target)
    ratio = theory["ratio"].sel(prior=prior, metabolite="Lac", region=target)
    return float(np.interp(2, gain, share)), float(np.interp(2, gain, ratio))
