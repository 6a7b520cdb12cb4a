"""Scores on constructed cases whose answer is known."""

import numpy as np
import pytest
from scipy.stats import kstest

from precise_lib.errors import InputError
from precise_lib.evaluate import regression
from precise_lib.proton import scores

N, POINTS = 2000, 256


def complex_noise(shape, seed=0):
    return np.random.default_rng(seed).standard_normal((*shape, 2)).view(complex)[..., 0]


@pytest.fixture(scope="module")
def spectra():
    """Truth with signal in the first half only, and the noisy spectra."""
    truth = 50 * np.exp(-((np.arange(POINTS) - 60) ** 2) / 200) * (1 + 0.5j) * np.ones((7, 1))
    truth[:, POINTS // 2 :] = 0
    return truth, truth + complex_noise(truth.shape)


@pytest.mark.parametrize("weights", scores.WEIGHTS)
@pytest.mark.parametrize("inside", [None, np.arange(POINTS) < 100])
def test_identity_scores_one_and_perfection_zero(spectra, weights, inside):
    truth, noisy = spectra
    assert scores.denoising_score(noisy, truth, noisy, weights, inside) == pytest.approx(1)
    assert scores.denoising_score(truth, truth, noisy, weights, inside) == pytest.approx(0)
    half = truth + 0.5 * (noisy - truth)
    assert scores.denoising_score(half, truth, noisy, weights, inside) == pytest.approx(0.5)


def test_weights_see_the_signal_only(spectra):
    """Noise taken out where there is no signal: a good score, but none that is weighted."""
    truth, noisy = spectra
    signal_free = np.arange(POINTS) >= POINTS // 2
    denoised = np.where(signal_free, truth, noisy)
    assert scores.denoising_score(denoised, truth, noisy) == pytest.approx(np.sqrt(0.5), abs=0.1)
    for weights in ("abs", "square"):
        assert scores.denoising_score(denoised, truth, noisy, weights) == pytest.approx(1)
    assert scores.denoising_score(denoised, truth, noisy, inside=signal_free) == pytest.approx(0)


def test_weights_follow_their_formula():
    """Two points, real channel only: weights 3 and 4, errors 1 and 2, noise 1 and 1."""
    truth, noisy, denoised = np.array([3.0, -4.0]), np.array([4.0, -3.0]), np.array([4.0, -6.0])
    expected = {None: 5 / 2, "abs": (3 + 16) / 7, "square": (9 + 64) / 25}
    for weights, value in expected.items():
        assert scores.denoising_score(denoised, truth, noisy, weights) == pytest.approx(np.sqrt(value))


def test_error_of_the_slope_is_predicted():
    """Noise that differs from spectrum to spectrum: repeated regressions scatter as predicted."""
    rng = np.random.default_rng(7)
    truth, sd = rng.uniform(0, [1, 10], (200, 2)), rng.uniform(0.1, 1, (200, 2))
    slopes = [regression.line(truth, truth + sd * rng.standard_normal(sd.shape), n_draws=1).slope for _ in range(600)]
    assert np.std(slopes, axis=0) == pytest.approx(scores.slope_error(truth, sd), rel=0.12)


def test_change_of_slope_is_paired():
    """Noise that both estimates share cancels: the interval is far narrower than that of either slope."""
    rng = np.random.default_rng(3)
    truth = rng.uniform(0, 1, (N, 2))
    before = truth + 0.5 * rng.standard_normal((N, 2))
    after = before - 0.3 * (truth - 0.5)
    change = scores.slope_change(truth, before, after, ["a", "b"])
    alone = regression.line(truth, after)
    assert change.change.values == pytest.approx(-0.3)
    width = change.change_high - change.change_low
    assert (width.values < 0.1 * (alone.slope_high - alone.slope_low).values).all()


def test_change_of_rmse_is_paired():
    rng = np.random.default_rng(7)
    truth, error = rng.uniform(0, 1, (N, 2)), rng.standard_normal((N, 2)) * [0.1, 3.0]
    found = scores.rmse_ratio(truth, truth + error, truth - error * [0.5, 2.0], ["a", "b"])
    assert found.ratio.values == pytest.approx([0.5, 2.0])
    assert (found.ratio_high - found.ratio_low).values == pytest.approx(0, abs=1e-9)
    other = scores.rmse_ratio(truth, truth + error, truth + rng.permutation(error))
    assert ((other.ratio_low < 1) & (other.ratio_high > 1)).all()


def test_overestimates_are_counted_over_all_metabolites():
    before = np.array([[2.0, 31.0], [0.0, 31.0], [2.0, 1.0], [0.1, 31.0]])
    ratio, low, high = scores.overestimates(before, before * [0.1, 1.0], [1.0, 30.0])
    assert ratio == pytest.approx(3 / 5)
    assert low < ratio < high
    assert scores.overestimates(before, before, [1.0, 30.0]) == (1.0, 1.0, 1.0)


def test_marginals():
    rng = np.random.default_rng(4)
    truth = rng.uniform(0, [1.0, 30.0], (N, 2))
    found = scores.marginals(truth, [1.0, 30.0], ["a", "b"])
    assert found.middle_third.values == pytest.approx(1 / 3, abs=0.04)
    assert (found.above_maximum == 0).all()
    piled = scores.marginals(np.tile([0.5, 15.0], (N, 1)), [1.0, 30.0])
    assert piled.middle_third.values == pytest.approx(1)
    out = scores.marginals(np.array([[2.0, 31.0], [0.0, -1.0], [0.1, 1.0], [0.1, 1.0]]), [1.0, 30.0])
    assert out.above_maximum.values == pytest.approx(0.25)
    assert out.not_above_zero.values == pytest.approx(0.25)


def test_white_noise_is_white():
    noise = complex_noise((1500, POINTS), seed=5)
    p = scores.ljung_box(noise)
    assert kstest(p, "uniform").pvalue > 1e-3
    assert abs(scores.autocorrelation(noise, 3)).mean() == pytest.approx(np.sqrt(np.pi / 4 / POINTS), rel=0.05)
    assert scores.flatness(noise[:40]) == pytest.approx(1, abs=0.01)
    assert scores.flatness(noise[0]) == pytest.approx(1, abs=0.15)


def test_colored_noise_is_not():
    noise = complex_noise((100, POINTS + 1), seed=6)
    smooth = noise[:, 1:] + 0.5 * noise[:, :-1]
    assert scores.autocorrelation(smooth, 1).mean() == pytest.approx(0.5 / 1.25, abs=0.02)
    assert (scores.ljung_box(smooth) < 1e-3).mean() > 0.95
    # power 4 in one half of the points, 1 in the other: geometric mean 2, arithmetic 2.5
    uneven = noise[:, 1:] * np.where(np.arange(POINTS) < POINTS / 2, 2.0, 1.0)
    assert scores.flatness(uneven) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(
    "make",
    [
        lambda: scores.denoising_score(np.ones(3), np.ones(4), np.ones(4)),
        lambda: scores.denoising_score(np.ones(3), np.ones(3), np.ones(3)),
        lambda: scores.denoising_score(np.ones(3), np.ones(3), np.zeros(3), "cube"),
        lambda: scores.autocorrelation(np.ones((2, 8)), 8),
        lambda: scores.overestimates(np.zeros((4, 2)), np.ones((4, 2)), [1.0, 1.0]),
    ],
)
def test_says_what_is_wrong(make):
    with pytest.raises(InputError):
        make()
