"""Training and certification as one thing: nothing that was done is done again, or lost."""

from functools import partial

import pytest

from precise_lib.errors import InputError
from precise_lib.estimate import training
from precise_lib.estimate.weights import load_weights
from precise_lib.evaluate import accuracy
from tests.helpers import minute_config

CERTIFY = partial(accuracy.certify, measure=lambda network: {"snr": [12.0]})
CONFIG = minute_config(iterations=6)


@pytest.fixture
def steps(monkeypatch):
    """Every step that is trained."""
    real, made = training.Trainer.step, []
    monkeypatch.setattr(training.Trainer, "step", lambda trainer: made.append(trainer.iteration) or real(trainer))
    return made


def run(folder, certify=CERTIFY, config=CONFIG):
    return accuracy.train_and_certify(config, folder, "w", certify=certify, progress=False)


def interrupted(_):
    raise KeyboardInterrupt


def test_a_finished_training_is_certified_and_not_trained_again(tmp_path, steps):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, interrupted)
    assert steps == list(range(6))
    before = (tmp_path / "w.safetensors").read_bytes()
    assert run(tmp_path)
    assert not run(tmp_path), "nothing was left to do"
    assert steps == list(range(6))
    assert (tmp_path / "w.safetensors").read_bytes() == before
    assert load_weights(tmp_path / "w.safetensors").card.accuracy == {"snr": [12.0]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.json", "w.safetensors"]


def test_weights_of_other_settings_are_not_replaced(tmp_path, steps):
    run(tmp_path)
    before = (tmp_path / "w.safetensors").read_bytes()
    with pytest.raises(InputError, match=r"w\.safetensors is a network of other settings"):
        run(tmp_path, config=minute_config(iterations=7))
    assert (tmp_path / "w.safetensors").read_bytes() == before
    (tmp_path / "w.safetensors").write_bytes(before[:-1])  # damaged: there is nothing to lose
    assert run(tmp_path)
    assert (tmp_path / "w.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"learning_rate": 1e30}, "not finite"),
        ({"broadening_range_hz": (-1e6, 0.0)}, "cannot be built|not finite"),
        ({"shift_range_hz": (-1e12, 1e12)}, "cannot be built"),
        ({"seed": 2**70}, "cannot be built"),
    ],
)
def test_what_cannot_be_trained_is_said(tmp_path, changes, named):
    with pytest.raises(InputError, match=named):
        run(tmp_path, config=minute_config(**changes))
    assert not list(tmp_path.iterdir())
