"""Denoised 1H spectra, and what one and the same fit finds in noisy and in denoised ones; tests that need no truth.

Whatever a measured spectrum holds, the estimates with and without a known amount that is added have to differ by that
amount. Those of an unbounded fit of the noisy spectrum do, to first order exactly, under the same noise. A denoiser
that pulls toward what it was trained on gives back a part of it: the slope of its estimate on the truth.
"""

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
from precise_lib.signal.noise import add_noise

UNBOUNDED = "noisy, unbounded"


def fitted_spectra(fit: SpectrumFit, basis: BasisSet, points: slice) -> np.ndarray:
    """Spectra (V, n) that a fit draws: what it denoises its data to."""
    t = basis.acquisition.time_s
    common = (2j * np.pi * fit.shift_hz - np.pi * fit.broadening_hz)[:, None] * t + 1j * fit.phase_rad[:, None]
    return spectra_of((fit.amplitudes @ basis.fids) * np.exp(common) * gaussian_decay(fit.shim_hz, t), points)


def denoised_spectra(denoiser: Denoiser, fids, points: slice = WINDOW) -> np.ndarray:
    """Spectra (V, n), `points` of the plain FFT, made of noisy FIDs (V, t); `InputError` for a denoiser without."""
    fids = np.atleast_2d(fids)
    numbers = np.arange(fids.shape[-1])
    places = np.searchsorted(numbers[denoiser.points], numbers[points])
    if not np.isin(numbers[points], numbers[denoiser.points]).all():
        raise InputError("The denoiser does not give all points that were asked for; ask for those of its `points`.")
    return np.asarray(denoiser.denoise(fids))[:, places]


def quantified(
    data: xr.Dataset,
    denoisers: Mapping[str, Denoiser],
    points: slice = WINDOW,
    non_negative: bool = True,
    unbounded: bool = False,
) -> xr.Dataset:
    """Concentrations from fits of noisy and of denoised spectra of `brain.draw`, the same fit of the same points each
    time.

    The paper's fits cannot be negative. That bound changes slopes by itself, so it holds for the noisy spectra too.
    With `unbounded` a last source, `UNBOUNDED`, is a fit of the noisy spectra without it. Denoisers are by label:
    whatever has `denoise` and `points` as `Denoiser` has them. Raises `InputError` for one called "noisy", or one that
    does not give the `points`.

    Returns `estimate` and `crlb` (source, spectrum, metabolite) in mM, `converged` (source, spectrum), `truth`
    (spectrum, metabolite) in mM, `snr` (spectrum,); sources are "noisy" and the labels. `crlb` is what the fit reports
    from its residual: for a denoised spectrum that is not how large the error is.
    """
    if "noisy" in denoisers:
        raise InputError("The fit of the noisy spectra is called 'noisy'; give the denoiser another label.")
    basis, n = brain.brain_basis(), len(brain.METABOLITES)
    spectra = {"noisy": spectra_of(data.noisy.values, points)}
    spectra |= {label: denoised_spectra(d, data.noisy.values, points) for label, d in denoisers.items()}
    fits = {label: fit_spectra(s, basis, points, non_negative=non_negative) for label, s in spectra.items()}
    if unbounded:
        fits[UNBOUNDED] = fit_spectra(spectra["noisy"], basis, points, near=fits["noisy"])
    each = ("source", "spectrum", "metabolite")
    variables = {
        "estimate": (each, np.stack([f.amplitudes[:, :n] for f in fits.values()]), {"units": "mM"}),
        "crlb": (each, np.stack([f.crlb[:, :n] for f in fits.values()]), {"units": "mM"}),
        "converged": (each[:2], np.stack([f.converged for f in fits.values()])),
        "truth": (each[1:], data.concentration.values, {"units": "mM"}),
        "snr": ("spectrum", data.snr.values),
    }
    coords = {"source": list(fits), "metabolite": list(brain.METABOLITES), "spectrum": data.spectrum.values}
    return xr.Dataset(variables, coords)


def linearized(model: SpectrumModel, data: xr.Dataset):
    """Yield the problem to first order around the truth of spectra of `brain.draw`, `CHUNK` spectra at a time: Fisher
    matrices (v, M + 4, M + 4) of the amplitudes, shift, broadening, squared shim and phase, and what the noise of these
    very data adds to the gradient of the log likelihood there (v, M + 4).
    """
    amplitudes = brain.true_amplitudes(data)
    for i in range(0, len(amplitudes), CHUNK):
        k = slice(i, i + CHUNK)
        theta = np.zeros((len(amplitudes[k]), 4))
        theta[:, 2] = data.shim_hz.values[k] ** 2
        state = model.evaluate(model.observe(data.noisy.values[k].astype(complex)), theta, False, amplitudes[k])
        precision = 1 / data.sigma.values[k, None] ** 2
        yield state.normal * precision[:, None], state.gradient * precision


NOTHING = "nothing"
MAX_SHIFT_HZ = 4.0
UPRIGHT = ("NAA", "tCr", "tCho")  # what tells the phase: no spectrum of a brain has their sum below zero


def repeated_estimates(
    fid,
    added: Mapping[str, np.ndarray],
    basis: BasisSet,
    points: slice,
    denoisers: Mapping[str, Denoiser],
    sigma: float,
    n_repeats: int = 20,
    seed: int = 0,
) -> xr.Dataset:
    """Estimates from one FID (t,), aligned and with its own noise, under added noise: as it is and with each signal
    added.

    Signals `added` (t,) are by label; `sigma` is the SD of one channel of one sample of the added noise, which is new
    in every repetition and the same for all signals and sources. All fits are of the `points`, without bounds.

    Returns `estimate` and `crlb` (source, added, repeat, metabolite), the bound as each fit reports it; `converged`
    (source, added, repeat). Sources are "noisy" and the labels; "nothing" is the first of `added`. Raises `InputError`
    for a label that is taken, FIDs of another length, no repetition, a denoiser without `points`.
    """
    if "noisy" in denoisers or NOTHING in added:
        raise InputError(f"'noisy' and '{NOTHING}' have a meaning here; give the denoiser or the signal another label.")
    fid, n = np.asarray(fid), basis.acquisition.n_samples
    if any(np.shape(f) != (n,) for f in (fid, *added.values())) or n_repeats < 1:
        raise InputError(f"One FID of {n} samples, signals of the same length and at least one repetition are needed.")
    rng = np.random.default_rng(seed)
    noisy = np.array([add_noise(fid, sigma, rng) for _ in range(n_repeats)])
    columns, first = {"amplitudes": [], "crlb": [], "converged": []}, None
    for signal in (np.zeros(n), *added.values()):
        spectra = [spectra_of(noisy + signal, points)]
        spectra += [denoised_spectra(d, noisy + signal, points) for d in denoisers.values()]
        near = first or [None] * len(spectra)  # what is added moves neither shift nor widths by much
        where = {"max_shift_hz": MAX_SHIFT_HZ, "upright": UPRIGHT}
        fits = [fit_spectra(s, basis, points, near=n, **where) for s, n in zip(spectra, near, strict=True)]
        first = first or fits
        for name, column in columns.items():
            column.append([getattr(f, name) for f in fits])
    dims = ("source", "added", "repeat", "metabolite")
    coords = {"source": ["noisy", *denoisers], "added": [NOTHING, *added], "metabolite": list(basis.names)}
    arrays = {name: np.swapaxes(values, 0, 1) for name, values in columns.items()}
    found = xr.Dataset({name: (dims[: a.ndim], a) for name, a in arrays.items()}, coords)
    return found.rename(amplitudes="estimate")


def recovered(estimates: xr.Dataset, amounts: Mapping[str, float]) -> xr.Dataset:
    """Share of each added amount that comes back, and what others take up of it; `amounts` are by label, as the
    estimates.

    Returns `share` (source, added, metabolite), the mean change of the estimate over the amount added, and `se`, its
    standard error over the repetitions; NaN with a single one.
    """
    labels = list(amounts)
    if unknown := set(labels) - set(estimates.added.values[1:]):
        raise InputError(f"There is no added {', '.join(sorted(unknown))} in these estimates.")
    base = estimates.estimate.sel(added=NOTHING, drop=True)
    amount = xr.DataArray([float(a) for a in amounts.values()], dims="added", coords={"added": labels})
    change = (estimates.estimate.sel(added=labels) - base) / amount
    n = change.sizes["repeat"]
    se = change.std("repeat", ddof=1) / np.sqrt(n) if n > 1 else change.isel(repeat=0, drop=True) * np.nan
    return xr.Dataset({"share": change.mean("repeat"), "se": se})
