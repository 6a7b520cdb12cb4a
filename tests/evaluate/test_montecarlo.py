"""The Monte Carlo machinery against numpy, and that every estimator meets the same noise."""

import numpy as np
import pytest

from precise_lib.estimate.fit import Fit
from precise_lib.estimate.fourier import Fourier, integration_weights
from precise_lib.evaluate.montecarlo import RunningMoments, amplitude_study, phantom_study, sd_interval
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.signal.presets import dmi_11t7
from precise_lib.simulate.phantoms import rings
from tests.helpers import AMPLITUDES, mean_bound, sd_bounds


@pytest.mark.parametrize("sizes", [[100], [1, 99], [3, 1, 50, 46], [1] * 5])
def test_running_moments_are_numpys(sizes):
    values = 1e6 + np.random.default_rng(0).normal(size=(sum(sizes), 3, 2))  # a spread of 1e-6 of the mean
    moments = RunningMoments()
    for batch in np.split(values, np.cumsum(sizes)[:-1]):
        moments.add(batch)
    assert moments.count == sum(sizes)
    np.testing.assert_allclose(moments.mean, values.mean(0), rtol=1e-14)
    np.testing.assert_allclose(moments.sd, values.std(0, ddof=1), rtol=1e-8)


def test_nan_stays_where_it_is():
    moments = RunningMoments()
    moments.add(np.array([[1.0, np.nan], [3.0, np.nan]]))
    assert moments.mean[0] == 2
    assert np.isnan(moments.mean[1])
    assert np.isnan(moments.sd[1])


def test_interval_of_an_sd_covers_as_often_as_it_says():
    rng, n, trials = np.random.default_rng(0), 40, 4000
    sds = 3.0 * rng.standard_normal((trials, n)).std(1, ddof=1)
    for level in (0.68, 0.95):
        low, high = sd_interval(sds, n, level)
        covered = ((low < 3.0) & (high > 3.0)).mean()
        assert covered == pytest.approx(level, abs=4.5 * np.sqrt(level * (1 - level) / trials))
    low, high = sd_interval(2.0, 4000)
    assert 1.95 < low < 2 < high < 2.05


class Recorder:
    """An estimator that remembers its input and returns the true amplitudes plus a known pattern."""

    def __init__(self):
        self.seen = []

    def __call__(self, fids, model):
        self.seen.append(fids.copy())
        return np.abs(fids[:, :1]) * np.ones(4)


def test_every_estimator_meets_the_same_noise_in_every_run():
    model = dmi_11t7()
    first, second, third = Recorder(), Recorder(), Recorder()
    run = {"model": model, "amplitudes": AMPLITUDES, "snrs": [5, 20], "n_repeats": 30, "batch": 8}
    a = amplitude_study({"one": first, "two": second}, seed=1, **run)
    b = amplitude_study({"two": third}, seed=1, **run)
    np.testing.assert_array_equal(np.concatenate(first.seen), np.concatenate(second.seen))
    np.testing.assert_array_equal(np.concatenate(first.seen), np.concatenate(third.seen))
    np.testing.assert_array_equal(a["mean"].sel(estimator="one"), b["mean"].sel(estimator="two"))
    other = amplitude_study({"two": Recorder()}, seed=2, **run)
    assert (other["mean"] != b["mean"]).all()
    # levels and batches do not repeat each other's noise
    assert len(np.unique(np.concatenate(first.seen)[:, 200])) == 60


def test_amplitude_study_says_what_theory_says():
    model, n, snrs = dmi_11t7(), 3000, [20, 40]
    study = amplitude_study({"fourier": Fourier().amplitudes}, model, AMPLITUDES, snrs, n, batch=700)
    sigma = np.array([snr_to_sigma(model, s) for s in snrs])
    np.testing.assert_allclose(study["sigma"], sigma)
    predicted = sigma[:, None] * np.linalg.norm(integration_weights(model), axis=0)
    low, high = sd_bounds(n, tests=8)
    ratio = study["sd"].sel(estimator="fourier").values / predicted
    assert (ratio > low).all()
    assert (ratio < high * 1.02).all()
    exact = Fourier().amplitudes(model.fids(AMPLITUDES)[None], model)[0]
    error = study["mean"].sel(estimator="fourier").values - exact
    assert (np.abs(error) < mean_bound(n, tests=8) * predicted + 0.003).all()
    np.testing.assert_allclose(study["bias"], study["mean"] - AMPLITUDES)
    assert study["mean"].dims == ("estimator", "snr", "metabolite")
    assert study["metabolite"].values.tolist() == model.names
    assert study.attrs["n_repeats"] == n
    assert {"package_version", "seed", "signal_model"} <= set(study.attrs)


def test_ratios_to_water():
    study = amplitude_study({"fit": Fit().amplitudes}, dmi_11t7(), 2 * AMPLITUDES, [50], 200, ratio=True)
    np.testing.assert_allclose(study["truth"].values[0], AMPLITUDES)
    assert (study["mean"].sel(metabolite="water") == 1).all()
    np.testing.assert_allclose(study["mean"].values[0, 0], AMPLITUDES, atol=0.005)


def test_nuisance_reaches_the_estimator():
    recorder = Recorder()
    amplitude_study(
        {"r": recorder}, dmi_11t7(), AMPLITUDES, [np.inf], 3, shift_hz=5.0, broadening_hz=2.0, phase_rad=0.3
    )
    expected = dmi_11t7().fids(AMPLITUDES, 5.0, 2.0, 0.3)
    np.testing.assert_allclose(recorder.seen[0], np.tile(expected, (3, 1)), atol=1e-6)


def test_phantom_study():
    phantom = rings()
    mask = np.zeros_like(phantom.mask)
    mask[14:18, 14:18] = True
    seen = {"a": [], "b": []}

    def spy(name):
        def estimator(data):
            seen[name].append(data.fids.copy())
            return Fourier()(data)

        return estimator

    study = phantom_study({"a": spy("a"), "b": spy("b")}, phantom, 20, n_repeats=4, seed=3, mask=mask)
    again = phantom_study({"b": spy("b")}, phantom, 20, n_repeats=4, seed=3, mask=mask)
    np.testing.assert_array_equal(seen["a"], seen["b"][:4])
    np.testing.assert_array_equal(seen["b"][:4], seen["b"][4:])
    assert (seen["a"][0] != seen["a"][1]).any(-1).all()
    np.testing.assert_array_equal(study["sd"].sel(estimator="a"), again["sd"].sel(estimator="b"))
    assert np.isfinite(study["sd"].values[:, :, mask]).all()
    assert np.isnan(study["sd"].values[:, :, ~mask]).all()
    maps = np.stack(
        [Fourier()(phantom.measure(20, np.random.default_rng([3, i])).replace(mask=mask)) for i in range(4)]
    )
    np.testing.assert_allclose(study["mean"].values[0][:, mask], maps.mean(0)[:, mask])
    np.testing.assert_allclose(study["sd"].values[0][:, mask], maps.std(0, ddof=1)[:, mask])
    np.testing.assert_allclose(study["bias"], study["mean"] - phantom.concentrations.values)
