"""One measured 1H spectrum, fitted before and after denoising, with known amounts added."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from precise_lib.proton import brain, denoised, in_vivo
from precise_lib.proton.brain import LARGEST_MM, METABOLITES, BasisSet, spectra_of
from precise_lib.proton.fit import SpectrumFit
from precise_lib.proton.weights import Denoiser
from precise_lib.signal.parts import GAUSSIAN

N_SIGNALS = len(METABOLITES) + 2  # macromolecules and the reference too
ALONE, LIKE, INSIDE = "its fit alone", "with lines of the training set", "inside the training set"


def ratios(fit: SpectrumFit) -> tuple[np.ndarray, np.ndarray]:
    """Amplitudes over tCr (16,) of the first spectrum, and their bounds, numerator and denominator taken as
    independent."""
    a, bound = fit.amplitudes[0, : len(METABOLITES)], fit.crlb[0, : len(METABOLITES)]
    cr = METABOLITES.index("tCr")
    error = np.hypot(bound, a / a[cr] * bound[cr]) / a[cr]
    return a / a[cr], np.where(np.arange(len(a)) == cr, 0, error)


def moved(before: tuple, after: tuple) -> int:
    """Number of ratios to tCr that differ by more than three of their combined bounds."""
    others = np.arange(len(METABOLITES)) != METABOLITES.index("tCr")
    away = np.abs(after[0] - before[0])[others] / np.hypot(after[1], before[1])[others]
    return int((away > 3).sum())


def denoised_cases(inputs: Mapping[str, np.ndarray], clean, networks: Mapping[str, Denoiser]) -> dict:
    """For `figures.denoising_examples`: each FID (t,) of the `inputs`, as it goes in and as each network denoises it,
    beside the FID `clean`, in place of the truth.
    """
    cases = {}
    for title, one in inputs.items():
        spectra = {label: denoised.denoised_spectra(n, one, brain.WINDOW)[0] for label, n in networks.items()}
        given = {"truth": spectra_of(clean, brain.WINDOW), "noisy": spectra_of(one, brain.WINDOW)}
        cases[title] = given | spectra
    return cases


def controls(
    fit: SpectrumFit,
    model: BasisSet,
    envelope: np.ndarray,
    amounts: Mapping[str, float],
    points: slice,
    networks: Mapping[str, Denoiser],
    *,
    snr: float,
    shim_hz: float,
    n_free: int,
    n_repeats: int,
    seed: int,
) -> dict[str, xr.Dataset]:
    """`denoised.repeated_estimates` of three simulated spectra with the same noise that come nearer to the training
    set step by step: the `fit` of a measured one alone, with its line shape `envelope` (t,); the same with lines of
    the training set, Gaussian of `shim_hz`; and one inside the training set.
    """
    trained, held = brain.brain_basis(), fit.amplitudes[0, :N_SIGNALS]

    def estimates(fid, basis, one_mm, larger):
        signals = {m: a * one_mm[basis.index(m)] for m, a in amounts.items()}
        sd = np.abs(fid[0]) / snr
        return denoised.repeated_estimates(fid, signals, larger, points, networks, sd, n_repeats, seed)

    found, gaussian = {}, np.exp(-GAUSSIAN * (shim_hz * model.acquisition.time_s) ** 2)
    for title, lines in {ALONE: envelope, LIKE: gaussian}.items():
        one_mm = model.fids[:N_SIGNALS] * lines
        found[title] = estimates(held @ one_mm, model, one_mm, model)
    inside = np.array([*np.clip(held[: len(METABOLITES)], 0, LARGEST_MM.values), 1.0, brain.WATER_MM])
    one_mm = trained.signals(np.eye(N_SIGNALS), shim_hz)
    found[INSIDE] = estimates(inside @ one_mm, trained, one_mm, in_vivo.extended(trained, points, n_free=n_free))
    return found


def own(shares: xr.Dataset, field: str, source: str) -> np.ndarray:
    """Values (added,) of each added metabolite's own estimate, of `denoised.recovered`."""
    labels = shares.added.values.tolist()
    return np.array([float(shares[field].sel(source=source, added=m, metabolite=m)) for m in labels])
