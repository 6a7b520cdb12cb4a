"""Denoising scores of simulated 1H brain spectra, and what of them goes on a network's card.

Without a network there is a yardstick. A fit of the true model with K parameters leaves K of the 2 n noise channels of
n complex points, so the spectrum that it draws has DS = sqrt(K / 2 n) at any SNR: 0.10 for 22 parameters and 1024
points. That is what knowing the model is worth; scores below it come from knowing the ranges of the parameters.
`best_possible` says how far that goes.

`quantified` goes on to what spectra are recorded for: concentrations, from one and the same fit of the noisy and of the
denoised ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from precise_lib.errors import InputError
from precise_lib.estimate import checkpoints
from precise_lib.proton import brain
from precise_lib.proton.brain import BasisSet, gaussian_decay
from precise_lib.proton.fit import SpectrumFit, fit_spectra
from precise_lib.proton.scores import denoising_score
from precise_lib.proton.spectrum_model import CHUNK, SpectrumModel
from precise_lib.proton.weights import Denoiser, load

METABOLITES_PPM = (0.0, 4.5)
WINDOW = slice(-brain.WINDOW_POINTS, None)  # what the 1D network sees: all fits that are compared use it
LOW_SNR, HIGH_SNR = (5.0, 10.0), (30.0, 40.0)
VERSIONS = {"DS": {}, "DS 0-4.5 ppm": {}, "DSw": {"weights": "abs"}, "DSw, squared": {"weights": "square"}}


def spectra_of(fids, points: slice) -> np.ndarray:
    """The points (V, n) of the plain FFT of FIDs (V, t), complex."""
    return np.fft.fft(np.asarray(fids).astype(complex))[..., points]


def fitted_spectra(fit: SpectrumFit, basis: BasisSet, points: slice) -> np.ndarray:
    """Spectra (V, n) that a fit draws: what it denoises its data to."""
    t = basis.acquisition.time_s
    common = (2j * np.pi * fit.shift_hz - np.pi * fit.broadening_hz)[:, None] * t + 1j * fit.phase_rad[:, None]
    return spectra_of((fit.amplitudes @ basis.fids) * np.exp(common) * gaussian_decay(fit.shim_hz, t), points)


def denoised_spectra(denoiser: Denoiser, fids, points: slice = WINDOW) -> np.ndarray:
    """Spectra (V, n), `points` of the plain FFT, that a denoiser makes of noisy FIDs (V, t).

    Raises
    ------
    InputError : the denoiser does not give all of these points
    """
    fids = np.atleast_2d(fids)
    numbers = np.arange(fids.shape[-1])
    places = np.searchsorted(numbers[denoiser.points], numbers[points])
    if not np.isin(numbers[points], numbers[denoiser.points]).all():
        raise InputError("The denoiser does not give all points that were asked for; ask for those of its `points`.")
    return np.asarray(denoiser.denoise(fids))[:, places]


def quantified(
    data: xr.Dataset, denoisers: Mapping[str, Denoiser], points: slice = WINDOW, non_negative: bool = True
) -> xr.Dataset:
    """Concentrations from fits of noisy and of denoised spectra, the same fit of the same points each time.

    The paper's fits cannot be negative. That bound bends slopes by itself, so it holds for the noisy spectra too.

    Parameters
    ----------
    data : as `brain1h.draw` gives it
    denoisers : by label; whatever has `denoise` and `points` as `Denoiser` has them

    Returns
    -------
    Dataset : `estimate` and `crlb` (source, spectrum, metabolite) in mM, `converged` (source, spectrum), `truth`
        (spectrum, metabolite) in mM, `snr` (spectrum,); sources are "noisy" and the labels. `crlb` is what the fit
        itself reports from its residual: for a denoised spectrum it says what a user would read, not how large the
        error is.

    Raises
    ------
    InputError : a denoiser called "noisy", or one that does not give the `points`
    """
    if "noisy" in denoisers:
        raise InputError("The fit of the noisy spectra is called 'noisy'; give the denoiser another label.")
    basis, n = brain.brain_basis(), len(brain.METABOLITES)
    spectra = {"noisy": spectra_of(data.noisy.values, points)}
    spectra |= {label: denoised_spectra(d, data.noisy.values, points) for label, d in denoisers.items()}
    fits = [fit_spectra(s, basis, points, non_negative=non_negative) for s in spectra.values()]
    each = ("source", "spectrum", "metabolite")
    variables = {
        "estimate": (each, np.stack([f.amplitudes[:, :n] for f in fits]), {"units": "mM"}),
        "crlb": (each, np.stack([f.crlb[:, :n] for f in fits]), {"units": "mM"}),
        "converged": (each[:2], np.stack([f.converged for f in fits])),
        "truth": (each[1:], data.concentration.values, {"units": "mM"}),
        "snr": ("spectrum", data.snr.values),
    }
    coords = {"source": list(spectra), "metabolite": list(brain.METABOLITES), "spectrum": data.spectrum.values}
    return xr.Dataset(variables, coords)


def score_table(denoised, clean, noisy, snr, points: slice) -> xr.Dataset:
    """Scores of spectra (V, n), `points` of the plain FFT: one variable per version, dimension `spectrum`.

    The versions are DS, DS inside 0 to 4.5 ppm, and DSw by the weights of the paper and of the authors' code.
    """
    ppm = brain.brain_basis().ppm[points]
    inside = (ppm >= METABOLITES_PPM[0]) & (ppm <= METABOLITES_PPM[1])
    columns = {}
    for name, options in VERSIONS.items():
        where = inside if "ppm" in name else None
        columns[name] = ("spectrum", denoising_score(denoised, clean, noisy, inside=where, **options))
    return xr.Dataset(columns, {"snr": ("spectrum", np.asarray(snr, float))})


def medians(table: xr.Dataset, snr=LOW_SNR) -> dict[str, float]:
    """Median of each version over the spectra with an SNR inside (low, high); NaN where there are none."""
    chosen = table.isel(spectrum=np.flatnonzero((table.snr >= snr[0]) & (table.snr <= snr[1])))
    return {name: float(np.median(v)) if v.size else float("nan") for name, v in chosen.data_vars.items()}


def linearized(model: SpectrumModel, data: xr.Dataset):
    """Yield the problem to first order around the truth, `CHUNK` spectra at a time: what the data say.

    Parameters
    ----------
    data : as `brain1h.draw` gives it

    Yields
    ------
    Fisher matrices (v, M + 4, M + 4) of the amplitudes, shift, broadening, squared shim and phase, and what the noise
    of these very data adds to the gradient of the log likelihood there (v, M + 4)
    """
    n = data.sizes["spectrum"]
    amplitudes = np.column_stack([data.concentration, data.mm, np.full(n, brain.WATER_MM)])
    for i in range(0, n, CHUNK):
        k = slice(i, i + CHUNK)
        theta = np.zeros((len(amplitudes[k]), 4))
        theta[:, 2] = data.shim_hz.values[k] ** 2
        state = model.evaluate(model.observe(data.noisy.values[k].astype(complex)), theta, False, amplitudes[k])
        precision = 1 / data.sigma.values[k, None] ** 2
        yield state.normal * precision[:, None], state.gradient * precision


def best_possible(basis: BasisSet, data: xr.Dataset, points: slice) -> xr.Dataset:
    """What the best denoiser would do that knows the ranges of `brain1h.draw`: its scores and its slopes.

    To first order in the parameters the spectrum is linear in them, and the best linear estimate has the covariance
    ``(F + P)^-1``: F the Fisher matrix of the data, P the inverse variances of what is drawn (16 concentrations, MM,
    squared shim); water, shift, phase and Lorentzian width are known. From it ``DS^2 = tr(F (F + P)^-1) / 2 n``, and a
    parameter keeps the share ``1 - P_k ((F + P)^-1)_kk`` of its variation: the slope of its estimate on the truth.

    Parameters
    ----------
    data : as `brain1h.draw` gives it, drawn with its own ranges

    Returns
    -------
    Dataset : `DS` (spectrum,) and `slope` (metabolite,), the mean over the spectra
    """
    model, m = SpectrumModel(basis, points), len(basis.names)
    shim = np.random.default_rng(0).uniform(2, 5, 100_000)
    variances = [top**2 / 12 for top in brain.MAXIMUM_MM.values()] + [0.66**2 / 12, np.var(shim**2)]
    known = [basis.index("water"), m, m + 1, m + 3]
    drawn = np.setdiff1d(np.arange(m + 4), known)
    prior, ds, kept = np.diag(1 / np.array(variances)), [], []
    for fisher, _ in linearized(model, data):
        fisher = fisher[:, drawn[:, None], drawn]
        covariance = np.linalg.inv(fisher + prior)
        ds.append(np.sqrt(np.einsum("vij,vji->v", fisher, covariance) / (2 * model.n_points)))
        kept.append(1 - np.einsum("vii->vi", covariance) * np.diag(prior))
    slope = np.concatenate(kept)[:, : len(brain.METABOLITES)].mean(0)
    variables = {"DS": ("spectrum", np.concatenate(ds)), "slope": ("metabolite", slope)}
    return xr.Dataset(variables, {"metabolite": list(brain.METABOLITES)})


def certify(path, n_spectra: int = 400, seed: int = 2000) -> dict:
    """Complete the card of trained weights: median scores at low and high SNR, and the SHA-256; returns it."""
    path = Path(path)
    denoiser: Denoiser = load(path)
    tables = []
    for data in brain.batches(n_spectra, seed, 100, **denoiser.card["config"].get("data", {})):
        noisy, clean = (spectra_of(s.values, denoiser.points) for s in (data.noisy, data.clean))
        denoised = denoiser.denoise_spectra(noisy)
        tables.append(score_table(denoised, clean, noisy, data.snr.values, denoiser.points))
    table = xr.concat(tables, "spectrum")
    scores = {f"SNR {low:g}-{high:g}": medians(table, (low, high)) for low, high in (LOW_SNR, HIGH_SNR)}
    rounded = {k: {name: round(v, 4) for name, v in row.items()} for k, row in scores.items()}
    return checkpoints.complete_card(path, denoising=rounded | {"n_spectra": n_spectra, "seed": seed})
