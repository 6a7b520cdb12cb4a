"""Tests of a denoiser that need no truth: noise that is known to have been added, a change that is known to be there.

Whatever a measured spectrum holds, the estimates with and without a known amount that is added have to differ by that
amount. Those of an unbounded fit of the noisy spectrum do, to first order exactly, under the same noise. A denoiser
that pulls toward what it was trained on gives back a part of it: the slope of its estimate on the truth.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from precise_lib.errors import InputError
from precise_lib.proton.brain import BasisSet, spectra_of
from precise_lib.proton.denoised import denoised_spectra
from precise_lib.proton.fit import fit_spectra
from precise_lib.proton.weights import Denoiser
from precise_lib.signal.noise import add_noise

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
    """Estimates from one FID under added noise, as it is and with each signal added, noisy and denoised.

    Every repetition has noise of its own, the same for all signals added and for every source.

    Raises `InputError` for a label that is taken, FIDs of another length, no repetition, a denoiser without `points`.

    Parameters
    ----------
    fid : (t,) the spectrum at hand, aligned, its own noise included
    added : label -> FID (t,) that is added
    basis, points : of the fit, without bounds on the amplitudes; the same for noisy and denoised spectra
    denoisers : by label
    sigma : SD of one channel of one sample of the added noise; 0 for the spectrum as it is

    Returns
    -------
    Dataset : `estimate` and `crlb` (source, added, repeat, metabolite), the bound as each fit reports it; `converged`
        (source, added, repeat). Sources are "noisy" and the labels; "nothing" is the first of `added`.
    """
    if "noisy" in denoisers or NOTHING in added:
        raise InputError(f"'noisy' and '{NOTHING}' have a meaning here; give the denoiser or the signal another label.")
    fid, n = np.asarray(fid), basis.acquisition.n_samples
    if any(np.shape(f) != (n,) for f in (fid, *added.values())) or n_repeats < 1:
        raise InputError(f"One FID of {n} samples, signals of the same length and at least one repetition are needed.")
    rng = np.random.default_rng(seed)
    noisy = np.array([add_noise(fid, sigma, rng) for _ in range(n_repeats)])
    columns = {"amplitudes": [], "crlb": [], "converged": []}
    for signal in (np.zeros(n), *added.values()):
        spectra = [spectra_of(noisy + signal, points)]
        spectra += [denoised_spectra(d, noisy + signal, points) for d in denoisers.values()]
        fits = [fit_spectra(s, basis, points, max_shift_hz=MAX_SHIFT_HZ, upright=UPRIGHT) for s in spectra]
        for name, column in columns.items():
            column.append([getattr(f, name) for f in fits])
    dims = ("source", "added", "repeat", "metabolite")
    coords = {"source": ["noisy", *denoisers], "added": [NOTHING, *added], "metabolite": list(basis.names)}
    arrays = {name: np.swapaxes(values, 0, 1) for name, values in columns.items()}
    found = xr.Dataset({name: (dims[: a.ndim], a) for name, a in arrays.items()}, coords)
    return found.rename(amplitudes="estimate")


def recovered(estimates: xr.Dataset, amounts: Mapping[str, float]) -> xr.Dataset:
    """Share of each added amount that comes back, and what others take up of it.

    Returns a Dataset (source, added, metabolite) of `share`, the mean change of the estimate over the amount added, and
    `se`, its standard error over the repetitions; NaN with a single one. `amounts` are by label, in the unit of the
    estimates.
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
