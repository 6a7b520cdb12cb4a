"""The normal distribution cut off to an interval: its quantiles and its mean, exact far out in the tails too."""

from __future__ import annotations

import numpy as np
from scipy.special import erfcx, log_ndtr, ndtr, ndtri


def quantile(u, low, high):
    """Quantile `u` of the standard normal cut off to [low, high], and the log of the probability that it leaves."""
    flip = low > 0  # to the tail where probabilities are small, not close to one
    low, high = np.where(flip, -high, low), np.where(flip, -low, high)
    u = np.where(flip, 1 - u, u)
    log_b = log_ndtr(high)
    with np.errstate(invalid="ignore"):
        below = np.nan_to_num(np.exp(np.minimum(log_ndtr(low) - log_b, 0)))
    u = below + u * (1 - below)
    with np.errstate(divide="ignore"):
        # beyond 30 SD the distribution function vanishes in floating point; its logarithm is about -x^2 / 2
        far = -np.sqrt(np.maximum(high, -1e150) ** 2 - 2 * np.log(u))
        value = np.clip(np.where(high < -30, far, ndtri(u * ndtr(high))), low, high)
        log_mass = log_b + np.log1p(-below)
    return np.where(flip, -value, value), log_mass


def mean(estimate, sd, low, high) -> np.ndarray:
    """Mean of a normal around `estimate` cut off to [low, high]; arguments broadcast, SD above zero.

    Example
    -------
    >>> mean([0.5, -50.0, 0.0], [0.1, 0.1, 1e3], 0.0, 1.0).round(3).tolist()
    [0.5, 0.0, 0.5]
    """
    estimate, sd, low, high = np.broadcast_arrays(*(np.asarray(x, float) for x in (estimate, sd, low, high)))
    near = np.clip(estimate, low - 1e6 * sd, high + 1e6 * sd)  # beyond, the mean is the end of the range
    a, b = (low - near) / sd, (high - near) / sd
    flip = a + b < 0
    a, b = np.where(flip, -b, a), np.where(flip, -a, b)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        inside = (np.exp(-(a**2) / 2) - np.exp(-(b**2) / 2)) / np.sqrt(2 * np.pi) / (ndtr(b) - ndtr(a))
        # both densities and both probabilities over the larger density, so that neither vanishes
        step = (b - a) * (b + a) / 2
        tail = -np.expm1(-step) / (erfcx(a / np.sqrt(2)) - np.exp(-step) * erfcx(b / np.sqrt(2)))
        z = np.where(a > 0, np.sqrt(2 / np.pi) * tail, inside)
    return np.clip(near + sd * np.where(flip, -z, z), low, high)
