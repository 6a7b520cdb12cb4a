r"""Saturation of a line by T1: what a train of equal pulses leaves of its full signal.

After many pulses of angle a every TR, with no transverse magnetization left at the next one (Ernst and Anderson 1966),

    S = sin a (1 - E) / (1 - E cos a),     E = exp(-TR / T1).
"""

from __future__ import annotations

import numpy as np


def saturation(t1_s, repetition_time_s, flip_angle_deg) -> np.ndarray:
    """Signal of the steady state over that of a relaxed line under a pulse of 90 degrees; arguments broadcast.

    >>> saturation(0.3, 3.0, 90.0).round(4).item()
    1.0
    """
    decay = np.exp(-np.asarray(repetition_time_s, float) / t1_s)
    angle = np.radians(flip_angle_deg)
    return np.sin(angle) * (1 - decay) / (1 - decay * np.cos(angle))


def sensitivity(t1_s, repetition_time_s, flip_angle_deg) -> np.ndarray:
    """Relative change of `saturation` for a relative change of T1: ``d ln S / d ln T1``, never positive."""
    ratio = np.asarray(repetition_time_s, float) / t1_s
    decay, cosine = np.exp(-ratio), np.cos(np.radians(flip_angle_deg))
    return -ratio * decay * (1 - cosine) / ((1 - decay) * (1 - decay * cosine))
