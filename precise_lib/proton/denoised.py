"""Denoised 1H spectra, and the concentrations that one and the same fit finds in noisy and in denoised ones."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from precise_lib.errors import InputError
from precise_lib.proton import brain
from precise_lib.proton.brain import WINDOW, BasisSet, gaussian_decay, spectra_of
from precise_lib.proton.fit import SpectrumFit, fit_spectra
from precise_lib.proton.spectrum_model import CHUNK, SpectrumModel
from precise_lib.proton.weights import Denoiser


def fitted_spectra(fit: SpectrumFit, basis: BasisSet, points: slice) -> np.ndarray:
    """Spectra (V, n) that a fit draws: what it denoises its data to."""
    t = basis.acquisition.time_s
    common = (2j * np.pi * fit.shift_hz - np.pi * fit.broadening_hz)[:, None] * t + 1j * fit.phase_rad[:, None]
    return spectra_of((fit.amplitudes @ basis.fids) * np.exp(common) * gaussian_decay(fit.shim_hz, t), points)


def denoised_spectra(denoiser: Denoiser, fids, points: slice = WINDOW) -> np.ndarray:
    """Spectra (V, n), `points` of the plain FFT, that a denoiser makes of noisy FIDs (V, t).

    Raises `InputError` where the denoiser does not give all of these points.
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

    The paper's fits cannot be negative. That bound changes slopes by itself, so it holds for the noisy spectra too.

    Raises `InputError` for a denoiser called "noisy", or one that does not give the `points`.

    Parameters
    ----------
    data : as `brain.draw` gives it
    denoisers : by label; whatever has `denoise` and `points` as `Denoiser` has them

    Returns
    -------
    Dataset : `estimate` and `crlb` (source, spectrum, metabolite) in mM, `converged` (source, spectrum), `truth`
        (spectrum, metabolite) in mM, `snr` (spectrum,); sources are "noisy" and the labels. `crlb` is what the fit
        reports from its residual: for a denoised spectrum that is not how large the error is.
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


def linearized(model: SpectrumModel, data: xr.Dataset):
    """Yield the problem to first order around the truth of spectra of `brain.draw`, `CHUNK` spectra at a time.

    Yields Fisher matrices (v, M + 4, M + 4) of the amplitudes, shift, broadening, squared shim and phase, and what the
    noise of these very data adds to the gradient of the log likelihood there (v, M + 4).
    """
    amplitudes = brain.true_amplitudes(data)
    for i in range(0, len(amplitudes), CHUNK):
        k = slice(i, i + CHUNK)
        theta = np.zeros((len(amplitudes[k]), 4))
        theta[:, 2] = data.shim_hz.values[k] ** 2
        state = model.evaluate(model.observe(data.noisy.values[k].astype(complex)), theta, False, amplitudes[k])
        precision = 1 / data.sigma.values[k, None] ** 2
        yield state.normal * precision[:, None], state.gradient * precision
