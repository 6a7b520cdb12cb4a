"""Where the results of an estimator hold: what it offers as ``limits(model)``, and `quantify.flags` checks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Limits:
    """Beyond these an estimate is not to be trusted; None where there is no limit.

    Attributes
    ----------
    snr : lowest SNR of the reference
    snr_why, why : what is wrong below it, and outside the ranges of shift and broadening
    shift_hz, broadening_hz : (low, high)
    amplitudes : (M, 2) lowest and highest, in units of the reference of the voxel, or of the median over the data set
        where `one_unit`; equal ones are no limits
    network : name of the network that was trained on these `amplitudes`
    """

    snr: float
    snr_why: str
    why: str = ""
    shift_hz: tuple[float, float] | None = None
    broadening_hz: tuple[float, float] | None = None
    amplitudes: np.ndarray | None = None
    one_unit: bool = False
    network: str = ""
