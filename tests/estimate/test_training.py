"""Training, to the bit: resumed, repeated, and refused where a checkpoint is of other settings."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from precise_lib.errors import InputError
from precise_lib.estimate.train_config import TrainConfig
from precise_lib.estimate.trainer import learning_rate
from precise_lib.estimate.training import SveTrainer, train
from tests.helpers import (
    RECIPES,
    minute_cnn,
    minute_config,
)


@pytest.fixture(scope="module", params=RECIPES)
def trained(request, tmp_path_factory):
    """Recipe, configuration and weights of one uninterrupted training."""
    config = RECIPES[request.param]()
    return request.param, config, train(config, tmp_path_factory.mktemp("trained"), progress=False)


def test_learning_rates():
    plain, ours = TrainConfig.papers_recipe(), TrainConfig()
    assert {learning_rate(plain, i) for i in (0, 100, 24_999)} == {1e-3}
    rates = [learning_rate(ours, i) for i in range(ours.iterations)]
    assert max(rates) == pytest.approx(ours.learning_rate, rel=0.02)
    assert rates[0] < 0.01 * max(rates)
    assert rates[-1] < 0.01 * max(rates)
    peak = int(np.argmax(rates))
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()


def test_a_second_cycle_has_amplitudes_and_rates_of_its_own():
    state = SveTrainer(minute_cnn(refine_amplitude_range={"default": (0.2, 0.3)}))
    rates = []
    while not state.finished:
        state.step()
        rates.append(state.optimizers[0].param_groups[0]["lr"])
    first, second = rates[: state.config.iterations], rates[state.config.iterations :]
    assert len(second) == state.config.refine_iterations
    assert max(first) == pytest.approx(state.config.learning_rate, rel=0.1)
    assert max(second) == pytest.approx(state.config.refine_learning_rate, rel=0.1)
    assert second[-1] < 0.1 * max(second)
    amplitudes = state.sampler.draw(50, state.generator)[1]
    assert 0.2 <= amplitudes.min() < amplitudes.max() <= 0.3
    assert SveTrainer(state.config).sampler.draw(50, state.generator)[1].max() > 1


# training, to the bit


def same_weights(a, b) -> bool:
    return a.read_bytes() == b.read_bytes()


def test_training_lowers_the_loss_and_both_recipes_run(tmp_path):
    for name, make in RECIPES.items():
        path = train(make(iterations=401), tmp_path / name, progress=False)
        history = json.loads(path.with_suffix(".json").read_text())["loss_history"]
        assert history[-1][1] < 0.7 * history[0][1], name


def test_interrupted_training_ends_at_the_same_weights(trained, tmp_path):
    _, config, path = trained
    for stop in (3, 10, 11):
        assert train(config, tmp_path, progress=False, stop_after=stop) is None
        assert (tmp_path / "sve.checkpoint.safetensors").is_file()
        assert not (tmp_path / "sve.safetensors").exists()
    resumed = train(config, tmp_path, progress=False)
    assert same_weights(resumed, path)
    assert not (tmp_path / "sve.checkpoint.safetensors").exists()
    cards = [json.loads(p.with_suffix(".json").read_text()) for p in (resumed, path)]
    assert cards[0]["loss_history"] == cards[1]["loss_history"]


def test_same_seed_same_weights_whatever_happened_before(trained, tmp_path):
    _, config, path = trained
    torch.manual_seed(12345)
    torch.rand(7)
    assert same_weights(train(config, tmp_path / "a", progress=False), path)
    other = dataclasses.replace(config, seed=1)
    assert not same_weights(train(other, tmp_path / "b", progress=False), path)


def test_training_leaves_the_global_generator_alone(tmp_path):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    train(minute_config(iterations=1), tmp_path, progress=False)
    assert (torch.get_rng_state() == before).all()


def test_checkpoint_of_other_settings_is_refused(tmp_path):
    train(minute_config(), tmp_path, progress=False, stop_after=3)
    with pytest.raises(InputError, match="other settings"):
        train(minute_config(learning_rate=1e-3), tmp_path, progress=False)
    # unless it is not wanted
    assert train(minute_config(learning_rate=1e-3), tmp_path, progress=False, resume=False).is_file()
