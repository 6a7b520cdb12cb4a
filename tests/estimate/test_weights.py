"""Files of weights and their cards: read, refused, matched to data; results do not depend on the batch."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from precise_lib.errors import InputError
from precise_lib.estimate import weights
from precise_lib.estimate.train_config import TrainConfig
from precise_lib.estimate.training import (
    train,
)
from precise_lib.estimate.weights import Sve, load_weights, resolve
from precise_lib.evaluate.accuracy import certify
from precise_lib.signal.model import SignalModel
from precise_lib.signal.parts import Resonance
from precise_lib.signal.presets import default_2h_model, dmi_3t, dmi_11t7
from tests.helpers import (
    AMPLITUDES,
    RECIPES,
    minute_config,
    noisy_fids,
    tiny_network,
)

# single precision through 512 samples, and the whitening of directions that hold next to nothing
ROUNDING = 2e-3


@pytest.fixture(scope="module", params=RECIPES)
def trained(request, tmp_path_factory):
    """Recipe, configuration and weights of one uninterrupted training."""
    config = RECIPES[request.param]()
    return request.param, config, train(config, tmp_path_factory.mktemp("trained"), progress=False)


def test_card_says_how_the_weights_were_made(trained):
    _, config, path = trained
    card = json.loads(path.with_suffix(".json").read_text())
    assert TrainConfig.from_dict(card["config"]) == config
    assert SignalModel.from_dict(card["signal_model"]) == config.signal_model
    assert card["signal_model_hash"] == config.signal_model.hash
    assert card["wall_time_s"] >= 0
    assert "torch" in card["machine"]
    assert str(path.parent) not in json.dumps(card)
    assert card["parameters"] == sum(p.numel() for p in load_weights(path).network.parameters())
    assert load_weights(path).hash == load_weights(str(path)).hash


# files


@pytest.fixture
def copied(trained, tmp_path):
    path = trained[2]
    for suffix in (".safetensors", ".json"):
        shutil.copy(path.with_suffix(suffix), tmp_path / f"copy{suffix}")
    return tmp_path / "copy.safetensors"


def test_weights_load_wherever_they_lie(copied):
    network = load_weights(copied)
    fids, _ = noisy_fids(network.signal_model, n=5, amplitudes=AMPLITUDES[:2])
    assert network.amplitudes(fids).shape == (5, 2)


def test_damaged_files_get_one_sentence(copied):
    content = copied.read_bytes()
    copied.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="damaged"):
        load_weights(copied)
    copied.write_bytes(b"")
    with pytest.raises(InputError, match="damaged"):
        load_weights(copied)
    copied.write_bytes(content)
    copied.with_suffix(".json").write_text("{")
    with pytest.raises(InputError, match=r"card copy\.json is not readable"):
        load_weights(copied)
    copied.with_suffix(".json").unlink()
    with pytest.raises(InputError, match="no card"):
        load_weights(copied)


def test_one_flipped_bit_is_noticed_in_certified_weights(tmp_path):
    path = train(minute_config(iterations=2), tmp_path, progress=False)
    card = certify(path, default=False)
    assert card.accuracy["n_repeats"] > 0
    load_weights(path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="SHA-256 differs"):
        load_weights(path)


@pytest.mark.parametrize("field", [
    {"hidden": 9}, {"bank": 9, "channels": [5, 5]}, {"front": "fid"}, {"front": "matched"},
])  # fmt: skip
def test_weights_of_another_network_are_refused(copied, field):
    card_path = copied.with_suffix(".json")
    card = json.loads(card_path.read_text())
    if card["config"]["network"]["front"] == field.get("front"):
        field = {"hidden": 7}
    card["config"]["network"] |= field
    card_path.write_text(json.dumps(card))
    with pytest.raises(InputError, match=r"damaged or of another network|not readable"):
        load_weights(copied)


def test_unknown_weights(tmp_path):
    with pytest.raises(InputError, match="No weights 'nothing'"):
        load_weights("nothing")
    with pytest.raises(InputError, match="No weights"):
        load_weights(tmp_path)


def test_a_network_for_other_data_is_refused():
    network = tiny_network()
    acquisition = dmi_11t7().acquisition
    for other, words in (
        (dmi_3t(), "another acquisition"),
        (default_2h_model(dataclasses.replace(acquisition, n_samples=511)), "another acquisition"),
        (default_2h_model(dataclasses.replace(acquisition, dwell_time_s=1 / 2501)), "another acquisition"),
        (default_2h_model(dataclasses.replace(acquisition, spectrometer_frequency_mhz=78.0)), "another acquisition"),
        (SignalModel(acquisition, dmi_11t7().resonances[:3]), "estimates water, Glc, Glx, Lac"),
        (dmi_11t7(t2star_s=0.03), "T2"),
        (dataclasses.replace(dmi_11t7(), carrier_ppm=4.65), "frequencies"),
        (
            SignalModel(acquisition, (*dmi_11t7().resonances[:3], Resonance("Lac", 1.9, 0.02))),
            "frequencies",
        ),
    ):
        with pytest.raises(InputError, match=words):
            resolve(network, other)
        with pytest.raises(InputError, match=words):
            Sve(network).amplitudes(np.ones((1, other.acquisition.n_samples), complex), other)
    nearly = default_2h_model(dataclasses.replace(acquisition, spectrometer_frequency_mhz=76.75))
    assert resolve(network, nearly) is network


# batches


def test_result_does_not_depend_on_the_batch(monkeypatch):
    fids, _ = noisy_fids(snr=15, n=101)
    network = tiny_network()
    whole = network.amplitudes(fids)
    features, unit = network.features(fids)
    for size in (1, 7, 64):
        monkeypatch.setattr(weights, "BATCH", size)
        np.testing.assert_allclose(network.amplitudes(fids), whole, atol=ROUNDING)
        again, unit_again = network.features(fids)
        torch.testing.assert_close(again, features, atol=2 * ROUNDING, rtol=1e-3)
        torch.testing.assert_close(unit_again, unit)
    np.testing.assert_allclose(network.amplitudes(fids[40:43]), whole[40:43], atol=ROUNDING)


def test_features_and_fc_layers_are_the_network():
    fids, _ = noisy_fids(snr=15, n=20)
    network = tiny_network()
    features, unit = network.features(fids)
    head = network.new_head()
    with torch.no_grad():
        np.testing.assert_allclose((head(features) * unit).numpy(), network.amplitudes(fids), atol=1e-6)
        next(head.parameters()).add_(1.0)  # a copy: the network stays as it is
    assert (network.new_head()(features).detach() * unit).numpy() == pytest.approx(network.amplitudes(fids), abs=1e-6)
