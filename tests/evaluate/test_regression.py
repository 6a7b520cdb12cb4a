"""Slopes, their intervals and contrasts on cases whose answer is known."""

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.evaluate import regression

N = 2000


@pytest.mark.parametrize("shrinkage", [1.0, 0.4])
def test_shrinkage_is_the_slope(shrinkage):
    """Toward the middle by a, plus noise: slope a, intercept (1 - a) / 2, and both within their intervals."""
    rng = np.random.default_rng(1)
    truth = rng.uniform(0, 1, (N, 3))
    estimate = 0.5 + shrinkage * (truth - 0.5)
    exact = regression.line(truth, estimate, ["a", "b", "c"], n_draws=20)
    assert exact.slope.values == pytest.approx(shrinkage)
    assert exact.intercept.values == pytest.approx((1 - shrinkage) / 2)
    assert exact.r2.values == pytest.approx(1)
    assert exact.rmse.values == pytest.approx((1 - shrinkage) / np.sqrt(12), rel=0.05)
    noisy = regression.line(truth, estimate + 0.3 * rng.standard_normal((N, 3)))
    se = 0.3 * np.sqrt(12 / N)
    assert noisy.slope.values == pytest.approx(shrinkage, abs=4 * se)
    # the interval is as wide as theory says: +-1.96 standard errors
    assert (noisy.slope_high - noisy.slope_low).values == pytest.approx(2 * 1.96 * se, rel=0.2)
    expected_r2 = shrinkage**2 / (shrinkage**2 + 12 * 0.3**2)
    assert noisy.r2.values == pytest.approx(expected_r2, abs=0.07)


def test_intervals_cover_the_slope():
    rng, covered = np.random.default_rng(2), 0
    for seed in range(40):
        truth = rng.uniform(0, 1, (300, 5))
        line = regression.line(truth, 0.7 * truth + 0.2 * rng.standard_normal(truth.shape), n_draws=200, seed=seed)
        covered += ((line.slope_low < 0.7) & (line.slope_high > 0.7)).sum().item()
    assert 0.89 * 200 < covered < 0.99 * 200


def test_lines_of_identity_constant_and_shrinkage():
    rng = np.random.default_rng(1)
    truth, error = rng.uniform(0, 3, (500, 2)), rng.standard_normal((500, 2))
    same = regression.controlled_line(truth, truth, error)
    np.testing.assert_allclose([same.slope, same.intercept, same.spread, same.rmse], [[1, 1], [0, 0], [0, 0], [0, 0]],
                               atol=1e-12)  # fmt: skip
    flat = regression.controlled_line(truth, np.full_like(truth, 1.5), error)
    np.testing.assert_allclose([flat.slope, flat.intercept], [[0, 0], [1.5, 1.5]], atol=1e-12)
    shrunk = regression.controlled_line(truth, 1.5 + 0.4 * (truth + error - 1.5), error, ["a", "b"])
    np.testing.assert_allclose(shrunk.slope, 0.4, atol=1e-12)  # the known error takes all chance out
    np.testing.assert_allclose(shrunk.intercept, 0.9, atol=1e-12)
    np.testing.assert_allclose(shrunk.spread, 0.4 * error.std(0), rtol=0.01)
    assert list(shrunk.metabolite) == ["a", "b"]


def test_intervals_of_the_line_cover():
    """Noise that grows with the truth: over many data sets the intervals hold the slope 95 % of the time."""
    rng, held = np.random.default_rng(2), []
    for _ in range(400):
        truth = rng.uniform(0, 1, (60, 10))
        line = regression.controlled_line(truth, 0.7 * truth + truth * rng.standard_normal((60, 10)))
        held.append(((line.slope_low < 0.7) & (line.slope_high > 0.7)).mean().item())
    assert 0.92 < np.mean(held) < 0.97


def test_intervals_allow_for_what_rows_share():
    """Chance that is common to five rows: intervals hold with `together`, and are far too narrow without."""
    rng, held = np.random.default_rng(3), []
    for _ in range(200):
        truth, shared = rng.uniform(0, 1, (100, 1, 20)), rng.standard_normal((100, 1, 20))
        rows = [(x * np.ones((1, 5, 1))).reshape(-1, 20) for x in (truth, truth + 0.3 * shared)]
        line = [regression.controlled_line(*rows, together=k) for k in (5, 1)]
        held.append([((x.slope_low < 1) & (x.slope_high > 1)).mean().item() for x in line])
    right, wrong = np.mean(held, 0)
    assert 0.92 < right < 0.97
    assert wrong < 0.75


def test_kept_contrast():
    full, baseline = np.array([3.0, 1.0]), np.array([1.0, 1.0])
    np.testing.assert_allclose(
        regression.kept(np.array([[2.0, 5.0], [3.0, 1.0]]), full, baseline), [[0.5, np.nan], [1, np.nan]]
    )
    np.testing.assert_allclose(regression.kept(0.1, np.array([0.2, 0.3]), least=0.25), [np.nan, 1 / 3])


@pytest.mark.parametrize(
    "call",
    [
        lambda: regression.line(np.zeros((5, 2)), np.zeros((5, 2))),
        lambda: regression.line(np.ones((5, 2)), np.ones((5, 3))),
        lambda: regression.line(np.arange(6.0).reshape(3, 2), np.full((3, 2), np.nan)),
        lambda: regression.controlled_line(np.ones((5, 2)), np.ones((5, 2))),
        lambda: regression.controlled_line(np.eye(5), np.eye(5)[:4]),
        lambda: regression.controlled_line(np.eye(5), np.full((5, 5), np.nan)),
        lambda: regression.controlled_line(np.eye(6), np.eye(6), together=4),
    ],
)
def test_refuses(call):
    with pytest.raises(InputError):
        call()
