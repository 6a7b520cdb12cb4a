"""Simulated 1H spectra of the human brain at 3 T, as in "Miracle or mirage?": basis, macromolecules, random draws.

The model is that of `book/theory.md` ("Proton spectra"): 16 metabolites, macromolecules (MM), a water reference, and a
Gaussian shim common to all. Amplitudes are in mM of protons at the start of acquisition. Concentrations, MM amplitude,
shim and SNR are drawn independently and uniformly.

Choices where the paper is silent or contradicts itself:

- T2 broadens the lines from the start of acquisition; the loss during the echo, which only rescales each basis signal,
  is left out. The paper's T2 give widths of 1.1 to 2.9 Hz, its text says 1.1 to 3.9 Hz: the T2 are used.
- The water reference has two protons, one line at 0.5 ppm and the T2 of "all other protons"; its 64.5 mM are known.
- SNR is ``|S(0)|``, with reference and MM, over the SD of one channel of the noise in one time sample. Notes on the
  authors' public data say "water referenced": ``snr_of="water"``, a quarter of the noise.
- The shim broadens everything, the reference and MM too; MM amplitude is uniform within +-33 %.
- MM are 15 Gaussians fitted to a measured 3 T spectrum; the area of the line at 0.9 ppm, 8 mM of one proton, is ours.
- The "20 ppm" of one spectrum and the sampling rate of 4 kHz (32.4 ppm at 3 T) disagree: 4 kHz is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import xarray as xr

from precise_lib.errors import InputError
from precise_lib.proton import spins
from precise_lib.signal.noise import add_noise
from precise_lib.signal.parts import Acquisition, gaussian_decay

CARRIER_PPM = 4.65
TE_S = 0.035
# largest concentration, mM; the smallest is 0
MAXIMUM_MM = {
    "NAA": 25.8, "tCr": 18.5, "mI": 14.7, "Glu": 20.0, "Glc": 2.0, "NAAG": 2.8, "Gln": 5.8, "GSH": 2.0,
    "sI": 0.6, "Gly": 2.0, "Asp": 3.5, "PE": 3.3, "Tau": 2.0, "Lac": 1.0, "GABA": 1.8, "tCho": 5.0,
}  # fmt: skip
METABOLITES = tuple(MAXIMUM_MM)
LARGEST_MM = xr.DataArray(list(MAXIMUM_MM.values()), {"metabolite": list(METABOLITES)}, dims="metabolite")
BLIND_RMSE_MM = LARGEST_MM / np.sqrt(12)  # of someone who always says the middle of the range
T2_S = {("tCr", "Cr CH2"): 0.111, ("tCr", "PCr CH2"): 0.111, ("tCr", "Cr CH3"): 0.169, ("tCr", "PCr CH3"): 0.169}
T2_S |= {("NAA", "CH3"): 0.289}
OTHER_T2_S = 0.185
WATER_PPM, WATER_MM, WATER_PROTONS = 0.5, 64.5, 2
MM_MM = 8.0
# ppm, area relative to the line at 0.9 ppm, FWHM in Hz at 123.25 MHz
MM_LINES = (
    (0.906, 1.0, 26.6),
    (1.216, 0.434, 21.3),
    (1.396, 0.599, 20.2),
    (1.628, 1.025, 31.6),
    (1.9, 0.773, 32.5),
    (2.042, 0.424, 21.4),
    (2.245, 1.133, 43.1),
    (2.608, 0.126, 18.4),
    (2.67, 0.218, 43.1),
    (3.006, 0.39, 20.8),
    (3.216, 0.118, 14.4),
    (3.5, 0.027, 21.2),
    (3.76, 0.678, 40.5),
    (3.928, 0.189, 15.0),
    (4.07, 0.018, 8.6),
)
WINDOW_POINTS = 1024
WINDOW = slice(-WINDOW_POINTS, None)  # what the 1D networks see, and all fits that are compared: 4.64 to -3.46 ppm


def acquisition_3t() -> Acquisition:
    """4096 points at 4 kHz, 123.25 MHz."""
    return Acquisition(4096, 1 / 4000, 123.25, "1H")


def ppm_axis(acquisition: Acquisition) -> np.ndarray:
    """Chemical shifts (n_samples,) of a plain, unshifted FFT."""
    hz = np.fft.fftfreq(acquisition.n_samples, acquisition.dwell_time_s)
    return CARRIER_PPM + hz / acquisition.spectrometer_frequency_mhz


def spectra_of(fids, points: slice = WINDOW) -> np.ndarray:
    """The points (V, n) of the plain, unshifted FFT of FIDs (V, t), complex128."""
    return np.fft.fft(np.asarray(fids).astype(complex))[..., points]


def true_amplitudes(data: xr.Dataset) -> np.ndarray:
    """Amplitudes (V, 18) on the signals of `brain_basis` of spectra of `draw`."""
    return np.column_stack([data.concentration, data.mm, np.full(data.sizes["spectrum"], WATER_MM)])


@dataclass(frozen=True, eq=False)
class BasisSet:
    """Signals of unit amplitude that a spectrum is a sum of."""

    acquisition: Acquisition
    names: tuple[str, ...]
    fids: np.ndarray  # (M, n_samples) complex128

    def __post_init__(self):
        m, n = len(self.names), self.acquisition.n_samples
        if self.fids.shape != (m, n):
            raise InputError(f"The basis has shape {self.fids.shape}; {m} names and {n} samples need {(m, n)}.")
        self.fids.flags.writeable = False

    def index(self, name: str) -> int:
        if name not in self.names:
            raise InputError(f"The basis has no '{name}', only {', '.join(self.names)}.")
        return self.names.index(name)

    @property
    def ppm(self) -> np.ndarray:
        return ppm_axis(self.acquisition)

    def signals(self, amplitudes, shim_hz=0.0) -> np.ndarray:
        """FIDs (..., n_samples) of amplitudes (..., M) under a Gaussian shim (...), Hz."""
        return (np.asarray(amplitudes, float) @ self.fids) * gaussian_decay(shim_hz, self.acquisition.time_s)


def metabolite_fid(name: str, acquisition: Acquisition, te_s=TE_S, timing="semi-laser", part: str = "") -> np.ndarray:
    """FID (n_samples,) of 1 mM of a metabolite, T2 included; of the moieties whose name contains `part`, if given."""
    systems = spins.load_systems()
    if name not in systems:
        raise InputError(f"There is no spin system of '{name}', only of {', '.join(systems)}.")
    signal = np.zeros(acquisition.n_samples, complex)
    for moiety in (m for m in systems[name] if part in m.name):
        hz, amplitudes = spins.transitions(moiety, acquisition.spectrometer_frequency_mhz, te_s, timing, CARRIER_PPM)
        decay = np.exp(-acquisition.time_s / T2_S.get((name, moiety.name), OTHER_T2_S))
        signal += spins.fid(hz, amplitudes, acquisition.n_samples, acquisition.dwell_time_s) * decay
    return signal


def macromolecules(acquisition: Acquisition, carrier_ppm=CARRIER_PPM) -> np.ndarray:
    """FID (n_samples,) of the macromolecules at their normal amplitude; widths scale with the field."""
    ppm, area, width = np.array(MM_LINES).T
    mhz, t = acquisition.spectrometer_frequency_mhz, acquisition.time_s
    rotation = np.exp(2j * np.pi * (ppm - carrier_ppm)[:, None] * mhz * t)
    return MM_MM * (area @ (rotation * gaussian_decay(width * mhz / 123.25, t)))


@lru_cache
def brain_basis(acquisition: Acquisition | None = None, te_s=TE_S, timing="semi-laser") -> BasisSet:
    """The 16 metabolites (per mM), "MM" (relative to its normal amplitude) and "water" (the reference, per mM)."""
    acquisition = acquisition_3t() if acquisition is None else acquisition
    if acquisition.nucleus != "1H":
        raise InputError(f"The acquisition is of {acquisition.nucleus}; the basis is of protons (1H).")
    t = acquisition.time_s
    hz = (WATER_PPM - CARRIER_PPM) * acquisition.spectrometer_frequency_mhz
    fids = [metabolite_fid(name, acquisition, te_s, timing) for name in METABOLITES]
    fids += [macromolecules(acquisition), WATER_PROTONS * np.exp(2j * np.pi * hz * t - t / OTHER_T2_S)]
    return BasisSet(acquisition, (*METABOLITES, "MM", "water"), np.array(fids))


def draw(
    n: int,
    seed: int = 0,
    start: int = 0,
    snr=(5.0, 40.0),
    shim_hz=(2.0, 5.0),
    mm=(0.67, 1.33),
    maximum_mm=None,
    snr_of: str = "signal",
) -> xr.Dataset:
    """Random spectra number `start` to `start + n - 1` of the data set `seed`: the same in whichever batch.

    `snr`, `shim_hz`, `mm` are (low, high) of uniform distributions, as in the module's text, MM relative to the normal;
    `maximum_mm` is the largest concentration by metabolite where it differs from `MAXIMUM_MM`; `snr_of` is "signal",
    all of S(0), or "water", the reference alone. Raises `InputError` for no spectrum, a range that is not (low, high),
    an unknown metabolite or reading of SNR.

    Returns `clean`, `noisy` (spectrum, time) complex64 FIDs; `concentration` (spectrum, metabolite) in mM; `mm`,
    `shim_hz`, `snr`, `sigma` (spectrum,), sigma the SD of one channel of one time sample.
    """
    if n < 1 or start < 0:
        raise InputError(f"{n} spectra from number {start} were asked for; at least one from 0 on can be drawn.")
    if snr_of not in ("signal", "water"):
        raise InputError(f"SNR is of the 'signal' or of the 'water', not of '{snr_of}'.")
    if unknown := set(maximum_mm or {}) - set(METABOLITES):
        raise InputError(f"There is no metabolite {', '.join(sorted(unknown))}, only {', '.join(METABOLITES)}.")
    upper = [(maximum_mm or {}).get(name, MAXIMUM_MM[name]) for name in METABOLITES]
    low, high = np.array([*((0.0, top) for top in upper), mm, shim_hz, snr], float).T
    if not (np.isfinite(high).all() and (low >= 0).all() and (low <= high).all() and low[-1] > 0):
        raise InputError("Ranges of SNR, shim, MM and concentration are (low, high), not negative, and SNR positive.")
    generators = [np.random.default_rng((seed, i)) for i in range(start, start + n)]
    drawn = np.array([rng.uniform(low, high) for rng in generators])
    concentration, (mm_drawn, shim, snr_drawn) = drawn[:, :-3], drawn[:, -3:].T
    basis = brain_basis()
    clean = basis.signals(np.column_stack([concentration, mm_drawn, np.full(n, WATER_MM)]), shim)
    sigma = (np.abs(clean[:, 0]) if snr_of == "signal" else WATER_MM * WATER_PROTONS) / snr_drawn
    noisy = [add_noise(s, sd, rng) for s, sd, rng in zip(clean, sigma, generators, strict=True)]
    variables = {
        "clean": (("spectrum", "time"), clean.astype(np.complex64)),
        "noisy": (("spectrum", "time"), np.array(noisy, np.complex64)),
        "concentration": (("spectrum", "metabolite"), concentration, {"units": "mM"}),
        "mm": ("spectrum", mm_drawn),
        "shim_hz": ("spectrum", shim, {"units": "Hz"}),
        "snr": ("spectrum", snr_drawn),
        "sigma": ("spectrum", sigma),
    }
    coords = {"metabolite": list(METABOLITES), "spectrum": np.arange(start, start + n)}
    return xr.Dataset(variables, coords, {"seed": seed})


def batches(n: int, seed: int = 0, size: int = 500, **ranges) -> Iterator[xr.Dataset]:
    """The first n spectra of a data set, `size` at a time: memory does not grow with n. Ranges as in `draw`."""
    for start in range(0, n, size):
        yield draw(min(size, n - start), seed, start, **ranges)
