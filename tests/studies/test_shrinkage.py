"""Slopes predicted from bound and range against brute force, and the regression on cases whose answer is known."""

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.estimate import truncated_normal
from precise_lib.estimate.fit import fit_fids
from precise_lib.estimate.weights import load_weights
from precise_lib.evaluate import crlb, regression
from precise_lib.io.shipped import data_path
from precise_lib.proton import brain
from precise_lib.proton.fit import fit_spectra
from precise_lib.signal.presets import dmi_11t7
from precise_lib.studies import shrinkage
from precise_lib.studies.shrinkage_figures import _grouped
from tests.helpers import SHIPPED

RANGES = {"Glc": (0, 5), "Glx": (0, 5), "Lac": (0, 3)}
SPREADS = [0.03, 0.1, 0.3, 1.0, 3.0]  # SD over the width of the range


def brute_force(estimate, sd, low, high):
    """Posterior mean by summing prior times likelihood over a grid."""
    a = low + (high - low) * (np.arange(1000) + 0.5) / 1000
    weight = np.exp(-0.5 * ((estimate[:, None] - a) / sd) ** 2)
    return (weight @ a) / weight.sum(1)


@pytest.mark.parametrize("ratio", SPREADS)
def test_predicted_slope_is_that_of_brute_force(ratio):
    """Truth and noise drawn, posterior mean summed on a grid: its line, and the law of total variance for its slope."""
    rng = np.random.default_rng(5)
    truth = rng.uniform(2, 4, 4000)
    noise = 2 * ratio * rng.standard_normal(4000)
    estimate = brute_force(truth + noise, 2 * ratio, 2, 4)
    line = regression.controlled_line(truth[:, None], estimate[:, None], noise[:, None])
    predicted = regression.slope(truth[:, None], shrinkage.expected(truth, 2 * ratio, 2, 4)[:, None])[0]
    assert line.slope.item() == pytest.approx(predicted, abs=2 * (line.slope_high - line.slope).item())
    assert predicted == pytest.approx(1 - ((estimate - truth) ** 2).mean() / (4 / 12), abs=0.03)
    # the uniform range says more than its variance does, so the line is steeper than that of the best linear estimate
    even = np.linspace(2, 4, 2001)
    steeper = regression.slope(even[:, None], shrinkage.expected(even, 2 * ratio, 2, 4)[:, None])[0]
    assert 0 < steeper - 1 / (1 + 12 * ratio**2) < 0.02


def test_slope_of_part_of_a_range_is_that_of_the_whole_far_from_the_ends():
    truth = np.linspace(4, 6, 101)[:, None]
    assert regression.slope(truth, shrinkage.expected(truth, 0.3, 0, 10)) == pytest.approx(1, abs=1e-6)
    near_zero = np.linspace(0, 1, 101)[:, None]
    assert regression.slope(near_zero, shrinkage.expected(near_zero, 0.3, 0, 10)) < 0.85


def test_error_as_regressor_narrows_and_does_not_move():
    """A fit at SNR 9: the slope with and without the known error agree, and the first interval is much narrower."""
    model = dmi_11t7()
    data = shrinkage.draw(model, RANGES, 1500, 3, (9, 9))
    estimate = model.concentrations(fit_fids(data.fids, model).amplitudes)[:, 1:]
    with_error = regression.controlled_line(data.truth[:, 1:], estimate, data.error[:, 1:])
    without = regression.controlled_line(data.truth[:, 1:], estimate)
    assert ((with_error.slope_low > without.slope_low) & (with_error.slope_high < without.slope_high)).all()
    width = [(x.slope_high - x.slope_low).values for x in (with_error, without)]
    assert (width[0] < 0.4 * width[1]).all()
    # and it is so narrow that the second-order bias of a ratio shows: 1 + c^2, not 1
    truth = data.truth[:, 1:]
    predicted = regression.slope(truth, truth * data.slope_of_a_ratio[:, None])
    assert (predicted > 1.001).all()
    np.testing.assert_allclose(with_error.slope, predicted, atol=1.5 * width[0].max() / 2)


def test_draw_knows_bound_and_error():
    model = dmi_11t7()
    ends = {"shift_hz": (-20, 20), "broadening_hz": (-5, 15)}
    data = shrinkage.draw(model, RANGES, 600, 4, (60, 80), **ends)
    again = shrinkage.draw(model, RANGES, 600, 4, (60, 80), **ends)
    assert (data.fids == again.fids).all()
    assert (data.truth[:, 0] == 10).all()
    assert ((data.truth[:, 1:] >= 0) & (data.truth[:, 1:] <= [5, 5, 3])).all()
    found = model.concentrations(fit_fids(data.fids, model).amplitudes)
    np.testing.assert_allclose((found - data.truth)[:, 1:], data.error[:, 1:], atol=0.02)  # SD is 0.1
    some = data.take(slice(0, 5))
    relative = model.concentrations(np.ones(4)) * crlb.ratio_sd(model, some.truth / 10, some.sigma)  # no broadening
    assert ((some.bound[:, 1:] / relative[:, 1:] > 0.8) & (some.bound[:, 1:] / relative[:, 1:] < 1.6)).all()
    flat = shrinkage.draw(model, RANGES, 20, 0)
    np.testing.assert_allclose(flat.bound, 10 * crlb.ratio_sd(model, flat.truth / 10, flat.sigma), rtol=1e-4, atol=1e-6)
    assert np.std(data.error[:, 1:] / data.bound[:, 1:]) == pytest.approx(1, abs=0.06)


def test_nobody_who_sees_the_fid_alone_keeps_more_contrast_than_noise():
    """The Cramer-Rao bound with bias, for the posterior mean under ranges from wide to much narrower than the noise."""
    rng = np.random.default_rng(6)
    truth, error = rng.uniform(0, 1, (40_000, 1)), rng.standard_normal((40_000, 1))
    gains = []
    for ratio in (0.002, 0.02, 0.1, 0.3, 1, 3, 10):
        estimate = truncated_normal.mean(truth + ratio * error, ratio, 0, 1)
        gains.append(shrinkage.summary(truth, estimate, ratio * error, np.ones(1)).gain.item())
    assert max(gains) < shrinkage.FROM_THE_FID
    assert gains[0] == pytest.approx(1, abs=0.01)


def test_summary_of_a_fit_and_of_a_guess():
    rng = np.random.default_rng(7)
    truth, error = rng.uniform(0, 2, (5000, 1)), rng.standard_normal((5000, 1))
    fit = shrinkage.summary(truth, truth + error, error, np.array([2.0]))
    assert [fit[k].item() for k in ("slope", "rmse_ratio", "noise_kept", "gain")] == pytest.approx([1] * 4, abs=0.02)
    assert fit.above_maximum.item() > 0.15
    guess = shrinkage.summary(truth, np.ones_like(truth), error, np.array([2.0]))
    assert guess.slope.item() == pytest.approx(0)
    assert guess.middle_third.item() == 1
    assert guess.rmse_ratio.item() == pytest.approx(np.sqrt(1 / 3), rel=0.05)


def test_names_of_points_that_lie_together_are_joined():
    points = {"a": (1.0, 1.0), "b": (0.3, 0.2), "c": (1.02, 0.98)}
    assert [name for name, _, _ in _grouped(points)] == ["a, c", "b"]
    assert _grouped(points)[0][1:] == pytest.approx((1.01, 0.99))


@pytest.mark.parametrize(
    ("numbers", "word"),
    [
        ((0.7, 0.6, 0.8, 0.6, 0.7), "mirage"),
        ((0.7, 0.6, 0.8, 1.1, 0.7), "biased"),
        ((0.7, 0.65, 0.75, 0.6, 0.5), "smoothed"),
        ((0.7, 0.5, 0.89, 0.6, 0.5), "mirage"),  # more contrast than noise, perhaps
        ((0.85, 0.75, 0.95, 0.6, 0.8), "shrunk"),
        ((0.95, 0.94, 0.96, 0.9, 0.95), "shrunk"),
        ((0.99, 0.97, 1.01, 1.0, 1.0), "faithful"),
        ((0.94, 0.85, 1.01, 0.9, 0.5), "open"),
        ((1.1, 1.05, 1.2, 1.0, 1.0), "expanded"),
    ],
)
def test_words(numbers, word):
    assert shrinkage.verdict(*numbers) == word


def test_errors_of_an_efficient_fit_of_proton_spectra():
    """At high SNR the fit errs by just that, strong and weak metabolites alike."""
    data = brain.draw(24, 9, snr=(300, 400))
    error = shrinkage.efficient_errors_1h(data, brain.WINDOW)
    fit = fit_spectra(brain.spectra_of(data.noisy.values, brain.WINDOW), brain.brain_basis(), brain.WINDOW)
    found = fit.amplitudes[:, : error.shape[1]] - data.concentration.values
    assert np.corrcoef(found.ravel() / error.std(), error.ravel() / error.std())[0, 1] > 0.98
    np.testing.assert_allclose(found.std(0), error.std(0), rtol=0.15)


def test_shipped_network_is_faithful_and_squared_error_is_not():
    """The page's verdict at reduced size: slopes at SNR 5 to 10 of the shipped network and of a narrow range."""
    model = dmi_11t7()
    data = shrinkage.draw(model, RANGES, 800, 8, (5, 10), (-15, 15), (-4, 12))
    names = (SHIPPED, data_path("weights", "studies", "mse_1x.safetensors"))
    estimates = [model.concentrations(load_weights(name).amplitudes(data.fids)) for name in names]
    tops = np.array([5.0, 5.0, 3.0])
    ours, narrow = (shrinkage.summary(data.truth[:, 1:], e[:, 1:], data.error[:, 1:], tops) for e in estimates)
    assert (np.abs(ours.slope - 1) < 0.04).all()
    assert (np.abs(ours.gain - 1) < 0.05).all()
    assert ((narrow.slope_high < 0.9) & (narrow.rmse_ratio < 0.95)).all()
    # toward the middle of the training range (2.5 mM), which for Lac is not the middle of the truth
    more, fewer = narrow.middle_third > ours.middle_third, narrow.above_maximum < ours.above_maximum
    assert (more & fewer)[:2].all()
    assert (narrow.intercept / (1 - narrow.slope)).values == pytest.approx([2.5] * 3, abs=0.5)


@pytest.mark.parametrize(
    "call",
    [
        lambda: shrinkage.draw(dmi_11t7(), {"Glc": (0, 5)}, 10),
        lambda: shrinkage.draw(dmi_11t7(), RANGES | {"Lac": (3, 3)}, 10),
        lambda: shrinkage.draw(dmi_11t7(), RANGES, 0),
    ],
)
def test_refuses(call):
    with pytest.raises(InputError):
        call()
