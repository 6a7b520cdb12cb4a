"""Fourier reconstruction: the integral of each peak of the phased spectrum, as PRECISE-DMI compares against.

The sum of spectral bins around a line, each turned by the phase of a dead time (first order), is computed as a linear
functional of the FID, divided by what the window captures of a unit line. The first sample counts half (else it lifts
the whole baseline). Tails of neighboring lines stay in the window; that is the method's bias. It is the same with a
dead time, since what its missing samples do to each line at its nominal place is known.

The bins of a plain FFT, the default as in the paper, treat the FID as periodic, ``zero_fill=True`` (twice the length)
as causal, which lowers the SD by sqrt(2) (Bartholdi and Ernst 1973; theory).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from precise_lib.errors import InputError
from precise_lib.estimate.registry import Limits
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import MRSI

BATCH = 8192  # FIDs in double precision at a time: bounds the memory


def integration_weights(model: SignalModel, half_width_fwhm: float = 1.5, zero_fill: bool = False) -> np.ndarray:
    """Functionals (n_samples, M) complex128 such that ``Re(fid @ weights)`` integrates each peak.

    The window has a half width in full widths of its line (1.5 holds 80 % of a Lorentzian; `InputError` where it holds
    no bin). `zero_fill` integrates the continuous spectrum of the causal FID instead of summing FFT bins.
    """
    acquisition = model.acquisition
    t, n = acquisition.time_s[:, None], acquisition.n_samples
    half_width_hz = half_width_fwhm / (np.pi * model.t2star_s)
    if zero_fill:
        window = 2 * half_width_hz * np.sinc(2 * half_width_hz * t)
        weights = window * np.exp(-2j * np.pi * model.frequencies_hz * t)
    else:
        bins = np.fft.fftfreq(n, acquisition.dwell_time_s)
        inside = np.abs(bins[:, None] - model.frequencies_hz) <= half_width_hz
        weights = np.fft.fft(inside * np.exp(-2j * np.pi * bins * acquisition.dead_time_s)[:, None], axis=0)
    weights[0] /= 2
    captured = np.einsum("tm,tm->m", weights, model.basis()).real
    if not (half_width_fwhm > 0 and (captured > 0).all()):
        raise InputError(
            f"An integration window of {half_width_fwhm} linewidths on either side holds no spectral bin of some line; "
            "widen it or fill with zeros."
        )
    weights = weights / captured
    if acquisition.dead_time_s:  # samples that are missing bend the tails: mixed back to what the whole FID would give
        whole = replace(model, acquisition=replace(acquisition, dead_time_s=0.0))
        there = whole.basis().T @ integration_weights(whole, half_width_fwhm, zero_fill)
        weights = weights @ np.linalg.solve(model.basis().T @ weights, there)
    return weights


@dataclass(frozen=True)
class Fourier:
    """Peak integration (`integration_weights`) of every voxel; callable `MRSI` -> DataArray (metabolite, x, y, z), mM.

    The spectrum is moved to the water peak within `search_hz` of its nominal frequency; 0 trusts that, as the paper.
    """

    half_width_fwhm: float = 1.5
    zero_fill: bool = False
    search_hz: float = 0.0
    name: str = "fourier"
    unbiased: ClassVar[bool] = False  # tails of other lines are in the window

    def amplitudes(self, fids: np.ndarray, model: SignalModel) -> np.ndarray:
        """Amplitudes (V, M) of FIDs (V, t); each voxel is phased by its own water peak."""
        weights = integration_weights(model, self.half_width_fwhm, self.zero_fill)
        parts = [self._integrate(fids[i : i + BATCH], model, weights) for i in range(0, len(fids), BATCH)]
        return np.concatenate(parts) if parts else np.zeros((0, len(model.names)))

    def _integrate(self, fids, model, weights):
        if self.search_hz:
            fids = fids * np.exp(-2j * np.pi * self._offset_hz(fids, model)[:, None] * model.acquisition.time_s)
        peaks = fids @ weights
        water = peaks[:, model.index(model.reference)]
        return (peaks * np.exp(-1j * np.angle(water))[:, None]).real

    def _offset_hz(self, fids, model):
        """Frequency of the highest matched-filter output near water, (V,), Hz, to a tenth of a linewidth."""
        water = model.index(model.reference)
        step = 0.1 / (np.pi * model.t2star_s[water])
        offsets = np.arange(-np.ceil(self.search_hz / step), np.ceil(self.search_hz / step) + 1) * step
        turn = np.exp(-2j * np.pi * offsets * model.acquisition.time_s[:, None])
        filters = model.basis()[:, water, None].conj() * turn
        return offsets[np.abs(fids @ filters.astype(np.complex64)).argmax(-1)]

    def limits(self, model: SignalModel) -> Limits:
        """A peak must have a phase of its own and lie no more than half of the window of 1.5 line widths beside it."""
        reach = 0.75 / (np.pi * float(model.t2star_s.max()))
        return Limits(
            5.0,
            "there its phase, and all peaks with it, is that of noise",
            "the integration windows of the estimator 'fourier' stay at the nominal frequencies",
            (-reach, reach),
        )

    def __call__(self, data: MRSI):
        return data.map_usable(lambda fids: self.amplitudes(fids, data.model), self.name)
