"""What a measured 1H brain spectrum holds beyond `brain`: a field of its own, more signals, measured macromolecules.

A network sees a measurement at about the field of its training on the same grid of chemical shifts when the sampling
rate is in proportion to the frequency (`on_training_grid`). Couplings in ppm and widths then differ by the ratio of the
fields, 4 % between 123 and 128 MHz. The model of a fit (`extended`) gets, beside metabolites and macromolecules, the
CH2 of creatine as a signal of its own, so that it need not be two thirds of CH3 (water suppression, relaxation); lipids
as broad Gaussian lines of any phase, since they may come from outside the voxel; and a baseline: the first samples of
the FID are free, which hold a smooth baseline and the faults of a receiver (Ratiney et al., NMR Biomed 2005;18:1-13,
leave them out).
"""

from __future__ import annotations

import numpy as np

from precise_lib.errors import InputError
from precise_lib.proton import preprocess
from precise_lib.proton.brain import CARRIER_PPM, BasisSet, acquisition_3t, macromolecules, metabolite_fid, ppm_axis
from precise_lib.signal.parts import Acquisition, gaussian_decay

LIPID_LINES = ((1.28, 30.0), (1.05, 30.0), (0.9, 20.0))  # ppm, FWHM in Hz
FREE_DWELL_S = 5e-4
MM_PPM = (0.3, 4.1)  # where macromolecules are, residual water and the 0 ppm reference are not


def on_training_grid(acquisition: Acquisition) -> Acquisition:
    """The sampling under which spectra at this frequency have the chemical shifts of `brain.acquisition_3t`."""
    trained = acquisition_3t()
    mhz = acquisition.spectrometer_frequency_mhz
    if acquisition.nucleus != "1H" or not 0.9 < mhz / trained.spectrometer_frequency_mhz < 1.1:
        raise InputError(f"The data are of {acquisition.nucleus} at {mhz:.1f} MHz; what was trained is 1H at 3 T.")
    dwell = trained.dwell_time_s * trained.spectrometer_frequency_mhz / mhz
    return Acquisition(trained.n_samples, dwell, mhz, "1H")


def points_between(acquisition: Acquisition, low_ppm: float, high_ppm: float) -> slice:
    """The run of points of the plain FFT from `low_ppm` to `high_ppm`, both below the carrier."""
    if not low_ppm < high_ppm < CARRIER_PPM:
        raise InputError(f"{low_ppm} to {high_ppm} ppm is no range below the carrier at {CARRIER_PPM} ppm.")
    ppm, n = ppm_axis(acquisition), acquisition.n_samples
    inside = np.flatnonzero((ppm >= low_ppm) & (ppm <= high_ppm))
    if not len(inside):
        raise InputError(f"No point of the spectrum lies between {low_ppm} and {high_ppm} ppm.")
    return slice(int(inside[0]) - n, int(inside[-1]) + 1 - n)


def measured_macromolecules(fid, measured: Acquisition, acquisition: Acquisition, decay_s: float = 0.06) -> np.ndarray:
    """Macromolecules (n_samples,) for `acquisition` from a measured FID, in the unit of `brain.macromolecules`.

    Chemical shifts and widths in ppm are kept, whatever the field. The sharp reference line is brought to 0 ppm; what
    lies outside `MM_PPM` is left out. Scale and phase are those under which the real part is closest to the simulated
    macromolecules, in least squares. The carrier of `fid` (measured.n_samples,) is near `CARRIER_PPM`, its first sample
    is not trusted; `decay_s` of 60 ms, against noise, adds 5 Hz to lines of 20 Hz and more. Raises `InputError` where
    no sharp line is within 0.1 ppm of 0 ppm.
    """
    lines = preprocess.decompose(fid, measured, rank=40, skip=1)
    ppm = CARRIER_PPM + lines.frequency_hz / measured.spectrometer_frequency_mhz
    sharp = np.flatnonzero((np.abs(ppm) < 0.1) & (lines.width_hz < 15) & (np.abs(lines.amplitude) > 0))
    if not len(sharp):
        raise InputError("The measured macromolecules have no reference line near 0 ppm; their shifts are not known.")
    reference = lines.frequency_hz[sharp[np.abs(lines.amplitude[sharp]).argmax()]]
    off_hz = reference + CARRIER_PPM * measured.spectrometer_frequency_mhz
    fid = np.concatenate([lines.fid()[:1], preprocess.check_fid(fid, measured)[1:]])
    fid *= np.exp(-(2j * np.pi * off_hz + 1 / decay_s) * measured.time_s)
    ratio = measured.spectrometer_frequency_mhz / acquisition.spectrometer_frequency_mhz
    hz, ppm = np.fft.fftfreq(acquisition.n_samples, acquisition.dwell_time_s), ppm_axis(acquisition)
    inside = (ppm >= MM_PPM[0]) & (ppm <= MM_PPM[1])
    shape = np.exp(-2j * np.pi * ratio * hz[inside, None] * measured.time_s) @ fid
    simulated = np.fft.fft(macromolecules(acquisition)).real[inside]
    in_phase, ahead = np.linalg.lstsq(np.column_stack([shape.real, -shape.imag]), simulated, rcond=None)[0]
    spectrum = np.zeros(acquisition.n_samples, complex)
    spectrum[inside] = shape * (in_phase + 1j * ahead)
    return np.fft.ifft(spectrum)


def extended(basis: BasisSet, points: slice, lipids=LIPID_LINES, n_free: int = 8) -> BasisSet:
    """The basis with "CrCH2", "lipid 0" ... and "baseline 0" ..., for a fit without bounds of `points` of the plain
    FFT.

    `lipids` are (ppm, FWHM in Hz), two signals each, in phase and 90 degrees ahead, so any phase is possible; `n_free`
    samples at the start of the FID, `FREE_DWELL_S` apart, are free: their signals are orthogonal in those points.
    """
    acquisition = basis.acquisition
    t, mhz = acquisition.time_s, acquisition.spectrometer_frequency_mhz
    scale = np.linalg.norm(basis.fids[0])
    lines = [np.exp(2j * np.pi * (p - CARRIER_PPM) * mhz * t) * gaussian_decay(w, t) for p, w in lipids]
    lines = [scale * line * turn / np.linalg.norm(line) for line in lines for turn in (1, 1j)]
    smooth = scale * _free_samples(acquisition, points, n_free)
    names = [f"lipid {k}" for k in range(len(lines))] + [f"baseline {k}" for k in range(len(smooth))]
    ch2 = metabolite_fid("tCr", acquisition, 0.0, part="CH2")  # singlets, which no echo time modulates
    fids = [basis.fids, [ch2], *([lines] if lines else []), smooth]
    return BasisSet(acquisition, (*basis.names, "CrCH2", *names), np.concatenate(fids))


def _free_samples(acquisition: Acquisition, points: slice, n_free: int) -> np.ndarray:
    """Orthonormal signals (K, n_samples), K <= 2 n_free, that the first samples can make, seen through `points`;
    combinations that come out 10^4 times weaker than the strongest are left out: noise alone would fix their amplitude.
    """
    hz = np.fft.fftfreq(acquisition.n_samples, acquisition.dwell_time_s)
    spectra = np.exp(-2j * np.pi * hz * FREE_DWELL_S * np.arange(n_free)[:, None])
    spectra[:, np.abs(hz) > 1 / (2 * FREE_DWELL_S)] = 0
    both = np.concatenate([spectra, 1j * spectra])
    seen = np.ascontiguousarray(both[:, points]).view(float)
    left, strength, _ = np.linalg.svd(seen, full_matrices=False)
    kept = strength > 1e-4 * strength[:1].sum()
    return np.fft.ifft((left[:, kept] / strength[kept]).T @ both) * np.sqrt(acquisition.n_samples)
