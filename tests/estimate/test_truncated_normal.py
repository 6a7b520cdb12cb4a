"""Quantiles and mean of a normal distribution cut off to an interval, in the middle and far out."""

import numpy as np
from scipy.stats import norm, truncnorm

from precise_lib.estimate import truncated_normal


def test_quantiles_in_the_far_tails():
    low, high = np.array([-1.0, 5.0, 30.0, -31.0, -np.inf]), np.array([2.0, 6.0, 31.0, -30.0, np.inf])
    value, log_mass = truncated_normal.quantile(np.full(5, 0.3), low, high)
    assert ((value >= low) & (value <= high)).all()
    np.testing.assert_allclose(value[:2], truncnorm.ppf(0.3, low[:2], high[:2]), rtol=1e-9)
    np.testing.assert_allclose(log_mass[0], np.log(norm.cdf(2) - norm.cdf(-1)), rtol=1e-9)
    np.testing.assert_allclose(log_mass[2:4], norm.logsf(30), rtol=1e-6)


def test_mean_is_that_of_scipy():
    x = np.linspace(-2.0, 3.0, 41)
    for sd in (0.03, 0.1, 0.3, 1.0, 3.0):
        expected = truncnorm.mean((0 - x) / sd, (1 - x) / sd, loc=x, scale=sd)
        inside = np.abs(x - 0.5) < 0.5 + 5 * sd  # scipy's own tails are no reference
        np.testing.assert_allclose(truncated_normal.mean(x, sd, 0, 1)[inside], expected[inside], rtol=1e-6)


def test_mean_far_outside():
    """Beyond an end by d, many SDs away, the posterior is an exponential of mean sd^2 / d inside the range."""
    d = np.array([10.0, 100.0, 1e4])
    np.testing.assert_allclose(truncated_normal.mean(-d, 0.1, 0, 1), 0.01 / d, rtol=1e-3)
    np.testing.assert_allclose(1 - truncated_normal.mean(1 + d, 0.1, 0, 1), 0.01 / d, rtol=1e-3)
    np.testing.assert_allclose(truncated_normal.mean([-1e30, 1e30], 0.1, 0, 1), [0, 1], atol=1e-6)
    x = np.linspace(-50, 50, 2001)
    mean = truncated_normal.mean(x, 0.3, 0, 1)
    assert (np.diff(mean) >= 0).all()
    assert 0 <= mean.min() < mean.max() <= 1
