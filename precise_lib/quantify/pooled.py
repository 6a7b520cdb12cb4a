"""What the residuals of all voxels say together: one voxel at an SNR of 12 cannot tell, four hundred can.

The residual of each voxel's fit is turned back by the shift and phase of that voxel, so that what the signal model
lacks adds up, and averaged; noise falls by the root of the number of voxels. The average is tested as the residual of
a single voxel is (`residuals.residual_p`): energy, and the strongest line of two widths. Its noise level comes from its
own signal-free samples, so that noise which voxels share does not count as signal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import f as f_distribution

from precise_lib.errors import InputError
from precise_lib.estimate import noise
from precise_lib.estimate.fit import FitResult
from precise_lib.estimate.noise_model import Noise
from precise_lib.quantify import flags, residuals
from precise_lib.signal.model import SignalModel
from precise_lib.signal.noise import water_snr

ALARM = 1e-3  # chance that noise alone makes the pooled residual significant
FEWEST = 8  # voxels; of fewer the average tells little that they do not tell themselves
NOISE = 26.0  # power of the strongest line in noise alone, 99.9 %
NEARBY = 8  # frequencies on each side of zero that tell the noise there
FAR = 4.0  # times the median of the strongest line in a residual: an artifact of that voxel
MOST = 512  # voxels that are pooled: enough to see what moves a map by a percent, and a bounded time


@dataclass(frozen=True)
class Pooled:
    """Mean residual (t,) of `voxels` fits, noise SD of its real part, p value, and its strongest line.

    `power` is that of the strongest line in units of the noise: chi-square with two degrees of freedom at a frequency.
    `offset`: whether the FIDs have a constant offset, seen in the average that was not turned back.
    """

    residual: np.ndarray
    sigma: float
    voxels: int
    p: float
    power: float
    ppm: float
    offset: bool = False

    @property
    def is_noise(self) -> bool:
        return self.p >= ALARM and not self.offset


def _rest(fids, fit: FitResult, model: SignalModel, which=slice(None)) -> np.ndarray:
    """What fits leave of the samples `which` of their FIDs."""
    return np.asarray(fids) - model.fids(fit.amplitudes, **fit.nuisance(model))[:, which]


def turned_back(fids, fit: FitResult, model: SignalModel) -> np.ndarray:
    """Residuals (V, t) of FIDs (V, t) under their fit, as if every voxel had no shift and no phase."""
    return _rest(fids, fit, model) * model.envelope(-fit.shift_hz, 0.0, -fit.phase_rad)


def has_offset(fids, fit: FitResult, model: SignalModel, zero_filled: int = 0) -> bool:
    """Whether the late samples, averaged over voxels as they are, hold more at zero frequency than near it.

    Against its neighbors, whose noise it has whatever filters did: F-distributed without an offset.
    """
    late = model.acquisition.time_s >= noise.DIED * model.lifetime_s.max()
    late[len(late) - zero_filled :] = False
    if late.sum() < 4 * NEARBY:
        return False
    power = np.abs(np.fft.fft(_rest(fids[:, late], fit, model, late).mean(0))) ** 2
    near = np.concatenate([power[2 : NEARBY + 2], power[-NEARBY - 1 : -1]])
    return bool(power[0] / near.mean() > f_distribution.isf(ALARM, 2, 2 * len(near)))


def pool(fids, fit: FitResult, model: SignalModel, zero_filled: int = 0, color: Noise | None = None) -> Pooled:
    """The `Pooled` residual of FIDs (V, t) of one noise level under their fit; `color`: noise that is not white."""
    mean = turned_back(fids, fit, model).mean(0)
    sigma = noise.noise_sd(mean[None], model, zero_filled)
    nothing = FitResult(**{name: np.zeros_like(values[:1]) for name, values in vars(fit).items()})
    rest = residuals.residual(mean[None], nothing, model, zero_filled, color)
    free = noise.count(noise.free_space(model, len(mean) - zero_filled))
    efficiency = 1.0 if color is None else color.efficiency
    known = 2 * free * noise.MAD_EFFICIENCY * efficiency
    p = residuals.residual_p(rest, model, np.array([sigma]), known, zero_filled, efficiency)
    k = int(rest.line[0].argmax())
    ppm = model.carrier_ppm + rest.frequency_hz[0, k] / model.acquisition.spectrometer_frequency_mhz
    offset = has_offset(fids, fit, model, zero_filled)
    return Pooled(mean, sigma, len(fids), float(p[0]), float(rest.line[0, k] / sigma**2), float(ppm), offset)


def representative(fids, fit: FitResult, model: SignalModel) -> np.ndarray:
    """(V,) bool: voxels fit to teach the data set's model, of FIDs (V, t) in units of their noise SD.

    Their fit converged, water stands out of the noise, and they do not leave far more than the median voxel does: that
    is an artifact of their own. To leave out whatever is flagged would choose the voxels whose noise hides most of a
    mismatch, and teach too little of it.
    """
    rest = residuals.residual(fids, fit, model)
    far = (rest.line > FAR * np.median(rest.line, 0)) & (rest.line > NOISE)
    good = fit.converged & (water_snr(model, fit.amplitudes, 1.0) >= flags.FIT_SNR) & ~far.any(-1)
    if good.sum() < FEWEST:
        said = f"{int(good.sum())} voxel(s) have enough signal"
        raise InputError(f"{said}; a data set teaches its model from {FEWEST} on.")
    return good


def chosen(fit: FitResult, rows) -> FitResult:
    """The rows of a fit."""
    return replace(fit, **{name: values[rows] for name, values in vars(fit).items()})
