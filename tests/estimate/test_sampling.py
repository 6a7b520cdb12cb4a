"""What a network is trained on: random FIDs, noise, efficient targets, and settings that survive YAML."""

import numpy as np
import pytest
import torch

from precise_lib.errors import InputError
from precise_lib.estimate.fit import fit_fids
from precise_lib.estimate.sampling import Sampler
from precise_lib.estimate.train_config import TrainConfig
from precise_lib.evaluate.crlb import numeric
from precise_lib.signal.presets import dmi_11t7
from tests.helpers import (
    AMPLITUDES,
    minute_config,
    minute_papers,
    sd_bounds,
)

# training data


@pytest.mark.parametrize("make", [minute_config, minute_papers])
def test_training_fids_are_eq_2_within_the_ranges(make):
    config = make()
    fids, amplitudes, sigma = Sampler(config).draw(300, torch.Generator().manual_seed(0))
    low, high = config.ranges().T
    assert ((amplitudes.numpy() >= low - 1e-6) & (amplitudes.numpy() <= high + 1e-6)).all()
    fit = fit_fids(fids.numpy(), config.signal_model)
    clear = amplitudes[:, 0].numpy() > 0.2  # a phase of its own
    np.testing.assert_allclose(fit.amplitudes[clear], amplitudes.numpy()[clear], atol=2e-3)
    for values, (lowest, highest) in (
        (fit.shift_hz, config.shift_range_hz),
        (fit.broadening_hz, config.broadening_range_hz),
    ):
        assert lowest - 0.05 < values[clear].min() < lowest + 0.1 * (highest - lowest)
        assert highest - 0.1 * (highest - lowest) < values[clear].max() < highest + 0.05
    assert len(np.unique(fit.phase_rad.round(2))) > 150
    assert sigma.shape == (300,)


def test_noise_of_the_papers_recipe():
    config = minute_papers()
    _, _, sigma = Sampler(config).draw(20_000, torch.Generator().manual_seed(0))
    share = float((sigma == 0).float().mean())
    assert share == pytest.approx(0.2, abs=0.015)
    t = np.arange(64) * 1.6e-3
    sigma_max = np.exp(-t / 0.02).sum() / (5 * 8)  # SNR 5, 64 samples
    noisy = sigma[sigma > 0].numpy() / sigma_max
    np.testing.assert_allclose(np.quantile(noisy, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.02)
    assert noisy.max() <= 1


def test_efficient_target_errs_as_the_bound_allows():
    """What an efficient estimator would find is the truth plus noise of the Cramer-Rao covariance."""
    config = TrainConfig(
        shift_range_hz=(5.0, 5.0),
        broadening_range_hz=(2.0, 2.0),
        amplitude_range={"water": (1, 1), "Glc": (0.25, 0.25), "Glx": (0.3, 0.3), "Lac": (0.1, 0.1)},
        snr_range=(20.0, 20.0),
        noiseless_share=0.0,
    )
    sampler, n = Sampler(config), 4000
    z, target, sigma = sampler.draw_efficient(n, torch.Generator().manual_seed(0), lambda fids: fids)
    n = len(z)
    bound = numeric(dmi_11t7(), AMPLITUDES, float(sigma[0]), shift_hz=5.0, broadening_hz=2.0)
    low, high = sd_bounds(n, tests=4)
    ratio = target.numpy().std(0, ddof=1) / bound
    assert low < ratio.min() < ratio.max() < high
    # and it is what the fit finds in the same noise, to first order
    fit = fit_fids(z[:200].numpy(), dmi_11t7()).amplitudes
    assert ((fit - target[:200].numpy()) / bound).std() < 0.25


def test_settings_survive_yaml_and_say_what_they_do_not_know():
    import yaml

    for config in (TrainConfig(), TrainConfig.papers_recipe(), minute_config(), minute_papers(seed=3)):
        assert TrainConfig.from_dict(yaml.safe_load(yaml.safe_dump(config.to_dict()))) == config
    assert TrainConfig.from_dict({"recipe": "paper", "seed": 4}) == TrainConfig.papers_recipe(seed=4)


@pytest.mark.parametrize(("values", "words"), [
    ({"epochs": 3}, "unknown settings epochs"),
    ({"recipe": "secret"}, "unknown recipe 'secret'"),
    ({"network": {"front": "magic"}}, "front of the network is 'magic'"),
    ({"network": {"depth": 3}}, "depth"),
    ({"shift_range_hz": [1]}, "it must be a list of 2 numbers"),
    ({"signal_model": {"acquisition": {}}}, "lacks n_samples, dwell_time_s"),
])  # fmt: skip
def test_bad_settings_get_one_sentence(values, words):
    with pytest.raises(InputError, match=words):
        TrainConfig.from_dict(values)
