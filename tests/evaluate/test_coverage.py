"""Errors of one FID by repetition: known estimators have the SD, bias and coverage that theory gives them."""

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.estimate.fit import Fit
from precise_lib.evaluate import crlb
from precise_lib.evaluate.coverage import repeat_until, sd_standard_error
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.signal.presets import dmi_3t, dmi_11t7
from tests.helpers import AMPLITUDES, mean_bound

MODEL = dmi_11t7()
SIGMA = float(snr_to_sigma(MODEL, 30.0))


def test_error_of_an_sd_for_normal_and_heavy_tails():
    rng = np.random.default_rng(0)
    assert sd_standard_error(rng.standard_normal(20_000)) == pytest.approx(1 / np.sqrt(2 * 20_000), rel=0.05)
    # Student's t with 9 degrees of freedom: kurtosis 3 + 6 / 5
    assert sd_standard_error(rng.standard_t(9, 200_000)) == pytest.approx(np.sqrt(3.2 / 800_000), rel=0.1)
    # the formula against many repetitions
    spread = rng.exponential(size=(2000, 500)).std(1)
    stated = sd_standard_error(rng.exponential(size=200_000)) * np.sqrt(200_000 / 500)
    assert spread.std() / spread.mean() == pytest.approx(stated, rel=0.1)


def test_the_fit_is_efficient_unbiased_and_covers():
    result = repeat_until({"fit": Fit().amplitudes}, MODEL, AMPLITUDES, SIGMA, 0.02, shift_hz=4.0, phase_rad=0.7)
    assert result.attrs["reached"] == 1
    assert float(result["sd_error"].max()) <= 0.02
    assert 1000 <= result.attrs["n_repeats"] <= 4000
    fit = result.sel(estimator="fit")
    np.testing.assert_allclose(fit["sd"] / result["crlb"], 1, atol=4 * 0.02)
    assert (abs(fit["bias"]) < 4 * fit["bias_se"] + 0.03 * fit["sd"]).all()
    assert (abs(fit["coverage"] - 0.95) < 4 * fit["coverage_se"] + 0.01).all()
    np.testing.assert_allclose(result["crlb"], crlb.ratio_sd(MODEL, AMPLITUDES, SIGMA, shift_hz=4.0, phase_rad=0.7)[1:])
    np.testing.assert_allclose(result["truth"], AMPLITUDES[1:])


def test_a_biased_estimator_shows_bias_and_loses_coverage():
    fit, step = Fit().amplitudes, np.zeros(4)
    step[2] = 2 * crlb.ratio_sd(MODEL, AMPLITUDES, SIGMA)[2]
    methods = {"fit": fit, "shifted": lambda f, m: (a := fit(f, m)) + step * a[:, [0]]}
    result = repeat_until(methods, MODEL, AMPLITUDES, SIGMA, 0.03)
    shift = (result["bias"].sel(estimator="shifted") - result["bias"].sel(estimator="fit")).values
    np.testing.assert_allclose(shift, step[1:], atol=1e-9)
    # two SD off: about half of the intervals still reach the truth
    assert 0.4 < float(result["coverage"].sel(estimator="shifted", metabolite="Glx")) < 0.6
    assert float(result["coverage"].sel(estimator="shifted", metabolite="Lac")) > 0.9


def test_a_wider_interval_covers_more_and_changes_nothing_else():
    methods = dict.fromkeys(("plain", "wide"), Fit().amplitudes)
    result = repeat_until(methods, MODEL, AMPLITUDES, SIGMA, 0.03, widened={"wide": [1, 1.5, 1.5, 1.0]})
    plain, wide = (result.sel(estimator=name) for name in methods)
    # 1.5 times 1.96 SD: 99.67 %
    assert (abs(wide["coverage"] - 0.9967)[:2] < 0.01).all()
    assert wide["coverage"].sel(metabolite="Lac") == plain["coverage"].sel(metabolite="Lac")
    assert (wide["sd"] == plain["sd"]).all()


def test_stops_at_the_limit_and_says_so():
    result = repeat_until({"fit": Fit().amplitudes}, MODEL, AMPLITUDES, SIGMA, 1e-4, batch=100, most=250)
    assert result.attrs["reached"] == 0
    assert result.attrs["n_repeats"] == 200
    assert float(result["sd_error"].max()) == pytest.approx(1 / np.sqrt(400), rel=0.4)


def test_zero_filled_samples_carry_no_noise_and_no_information():
    model, seen = dmi_3t(), []

    def spy(fids, model):
        seen.append(fids)
        return Fit().amplitudes(fids, model)

    result = repeat_until({"fit": spy}, model, AMPLITUDES, 0.02, 0.5, n_measured=700, batch=50, most=50)
    assert (seen[0][:, 700:] == 0).all()
    assert np.std(seen[0][:, 650:700].real) == pytest.approx(0.02, abs=0.02 * mean_bound(2500))
    # the signal has died by then, so the bound is nearly that of all samples
    np.testing.assert_allclose(result["crlb"], crlb.ratio_sd(model, AMPLITUDES, 0.02)[1:], rtol=0.01)


def test_same_seed_same_errors():
    one, two, other = (
        repeat_until({"fit": Fit().amplitudes}, MODEL, AMPLITUDES, SIGMA, 1.0, batch=20, seed=s) for s in (1, 1, 2)
    )
    assert one.equals(two)
    assert not one["sd"].equals(other["sd"])


@pytest.mark.parametrize("options", [{"largest_error": 0}, {"batch": 1}, {"batch": 10, "most": 5}])
def test_impossible_requests_are_refused(options):
    with pytest.raises(InputError, match="is"):
        repeat_until({}, MODEL, AMPLITUDES, SIGMA, **options)
