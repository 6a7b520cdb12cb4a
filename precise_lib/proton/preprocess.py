"""A measured 1H FID made ready for estimation: eddy currents, residual water, first samples, another sampling.

- Eddy currents (Klose, Magn Reson Med 1990;14:26-30): the phase of a water reference that was measured with the same
  gradients is taken off sample by sample. This also brings water to zero frequency and takes off the common phase.
- Lines (Barkhuijsen et al., J Magn Reson 1987;73:553-557): a FID of K decaying exponentials has a Hankel matrix of
  rank K, and shifting its singular vectors by one sample multiplies them by the K factors
  ``exp((2 pi i f - pi w) dt)``. Residual water is what of these lines lies in its band, with best amplitudes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import hankel

from precise_lib.errors import InputError
from precise_lib.signal.parts import Acquisition

ROWS = 512  # of the Hankel matrix: bounds the time, and lines 1/(ROWS dt) apart can be told apart


@dataclass(frozen=True)
class DecayingLines:
    """Decaying exponentials ``amplitude * factor**sample``, one of each per line, complex."""

    acquisition: Acquisition
    factor: np.ndarray
    amplitude: np.ndarray

    @property
    def frequency_hz(self) -> np.ndarray:
        return np.angle(self.factor) / (2 * np.pi * self.acquisition.dwell_time_s)

    @property
    def width_hz(self) -> np.ndarray:
        """Full width at half maximum; negative for what grows."""
        return -np.log(np.abs(self.factor)) / (np.pi * self.acquisition.dwell_time_s)

    def fid(self, chosen=slice(None)) -> np.ndarray:
        """Sum (n_samples,) of the lines chosen by a mask."""
        sample = np.arange(self.acquisition.n_samples)[:, None]
        return (self.factor[None, chosen] ** sample) @ self.amplitude[chosen]


def check_fid(fid, acquisition: Acquisition) -> np.ndarray:
    """The FID (n_samples,) as complex128; `InputError` where it is not one of this acquisition, finite and not zero."""
    fid = np.asarray(fid)
    if fid.shape != (acquisition.n_samples,):
        raise InputError(f"The FID has shape {fid.shape}; one of this acquisition is ({acquisition.n_samples},).")
    if not np.isfinite(fid).all() or not fid.any():
        raise InputError("The FID holds values that are not finite, or only zeros; nothing can be corrected there.")
    return fid.astype(complex)


def eddy_current_corrected(fid, water) -> np.ndarray:
    """FID (..., t) without the phase that its water reference (t,) has at each sample; both on one time axis."""
    fid, water = np.asarray(fid), np.asarray(water)
    if water.ndim != 1 or fid.shape[-1:] != water.shape:
        shapes = f"The FID has {fid.shape[-1:]} samples and its water reference {water.shape}"
        raise InputError(f"{shapes}: they must agree.")
    return fid * np.exp(-1j * np.angle(water))


def decompose(fid, acquisition: Acquisition, rank: int = 30, skip: int = 0) -> DecayingLines:
    """The `rank` decaying exponentials that a FID (n_samples,) is made of, most of it.

    More lines than there are peaks describe lines that are no exponentials; lines are extrapolated over `skip` samples
    at the start, which are not trusted. Raises `InputError` for a FID of another length or not finite, and for a rank
    or skip that leaves nothing to decompose.
    """
    fid = check_fid(fid, acquisition)
    rows = min(ROWS, (len(fid) - skip) // 2)
    if skip < 0 or not 0 < rank < rows:
        raise InputError(f"A rank of {rank} after {skip} of {len(fid)} samples does not work; use fewer of either.")
    kept = fid[skip:]
    matrix = hankel(kept[:rows], kept[rows - 1 :])
    vectors = np.linalg.eigh(matrix @ matrix.conj().T)[1][:, -rank:]
    factor = np.linalg.eigvals(np.linalg.lstsq(vectors[:-1], vectors[1:], rcond=None)[0])
    # what grows over the whole FID is noise, and would overflow: it is held at constant amplitude
    factor /= np.maximum(np.abs(factor), 1.0)
    exponentials = factor[None] ** np.arange(skip, len(fid))[:, None]
    return DecayingLines(acquisition, factor, np.linalg.lstsq(exponentials, kept, rcond=None)[0])


def remove_band(fid, acquisition: Acquisition, band_hz=(-45.0, 45.0), rank: int = 30, skip: int = 0) -> np.ndarray:
    """FID (n_samples,) without its lines in a band of frequencies, such as residual water around the carrier; the first
    `skip` samples are what all lines outside the band extrapolate to, whatever was measured there.
    """
    lines = decompose(fid, acquisition, rank, skip)
    low, high = band_hz
    inside = (lines.frequency_hz >= low) & (lines.frequency_hz <= high)
    rest = check_fid(fid, acquisition) - lines.fid(inside)
    rest[:skip] = lines.fid(~inside)[:skip]
    return rest


def resample(fid, acquisition: Acquisition, target: Acquisition, sigma: float = 0.0, seed: int = 0) -> np.ndarray:
    """The FID (target.n_samples,) as `target` would have sampled it: amplitudes stay, white noise stays white.

    Outside the measured band, the spectrum is filled with white noise of as much power as inside: `sigma` is the SD of
    one channel of one measured sample, 0 for none. After resampling it is ``sigma * sqrt(dwell time of acquisition /
    dwell time of target)``, as with a receiver of that bandwidth. Raises `InputError` for a target that is slower or
    longer, or a FID of another length or not finite.
    """
    fid = check_fid(fid, acquisition)
    ratio = acquisition.dwell_time_s / target.dwell_time_s
    n = int(np.ceil(target.n_samples / ratio - 1e-9))  # later samples would wrap around to the start
    if ratio < 1 or n > len(fid):
        was = f"The FID was sampled {len(fid)} times every {1e6 * acquisition.dwell_time_s:.0f} us"
        can = "it can be resampled to shorter times between samples and to no longer a time in all"
        raise InputError(f"{was}; {can}.")
    hz = np.fft.fftfreq(target.n_samples, target.dwell_time_s)
    inside = np.abs(hz) < acquisition.bandwidth_hz / 2
    kept = fid[:n] * ratio
    # of a signal that starts at full height, every sampling counts half a dwell time too much
    kept[0] *= (1 + 1 / ratio) / 2
    rng = np.random.default_rng(seed)
    fill = rng.standard_normal((2, target.n_samples)) * (ratio * sigma * np.sqrt(n))
    spectrum = fill[0] + 1j * fill[1]
    spectrum[inside] = np.exp(-2j * np.pi * hz[inside, None] * acquisition.time_s[:n]) @ kept
    return np.fft.ifft(spectrum)
