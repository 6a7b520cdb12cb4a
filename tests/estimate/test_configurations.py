"""Networks by configuration alone: the files of data/training and the weights made from them."""

import numpy as np
import pytest
import yaml

from precise_lib.estimate.network import MatchedFront
from precise_lib.estimate.sampling import signal_families
from precise_lib.estimate.train_config import TrainConfig
from precise_lib.estimate.weights import find_weights, load_weights
from precise_lib.evaluate.accuracy import typical_amplitudes
from precise_lib.evaluate.crlb import covariance
from precise_lib.evaluate.efficiency import efficiency
from precise_lib.io.shipped import data_path
from precise_lib.signal.information import jacobian
from precise_lib.signal.noise import snr_to_sigma

CONFIGS = sorted(data_path("training").glob("*.yaml"))
ACETATE = "dmi_11t7_acetate"


def config_of(path) -> TrainConfig:
    return TrainConfig.from_dict(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_weights_are_those_of_their_configuration(path):
    (weights,) = data_path("weights").rglob(f"{path.stem}.safetensors")
    network = load_weights(weights)
    assert network.name == path.stem
    assert network.card.sha256 == network.hash
    assert network.card.config == config_of(path)
    # one of an acquisition of its own is what `quantify` takes for it; others are asked for by name
    assert network.card.default == (network.name in ("dmi_11t7_rat", "dmi_7t", "dmi_4t"))
    if network.card.default:
        assert find_weights(network.signal_model.acquisition) == network.name


@pytest.mark.parametrize("name", [ACETATE, "mse_2x"])
def test_front_end_of_that_rank_keeps_the_precision(name):
    """The bound for projected data is within 1 % of that for the FID, over the training range."""
    config = config_of(data_path("training", f"{name}.yaml"))
    model, rng = config.signal_model, np.random.default_rng(0)
    m = len(model.names)
    fronts = MatchedFront(model, config.network, config.shift_range_hz, signal_families(config, 2000))
    projector = fronts.projector.numpy().astype(float).view(complex)[..., 0]
    for _ in range(10):
        amplitudes = np.array([1.0, *rng.uniform(0, 1.2, m - 1)])
        shift, broad = rng.uniform(*config.shift_range_hz), rng.uniform(*config.broadening_range_hz)
        full = np.sqrt(np.diag(covariance(model, amplitudes, 1.0, shift, broad, 0.4)))[:m]
        j = jacobian(model, amplitudes, shift, broad, 0.4) @ projector
        bound = np.sqrt(np.diag(np.linalg.inv((j.conj() @ j.T).real)))[:m]
        assert (bound / full < 1.01).all()


@pytest.mark.parametrize("snr", [8, 35])
def test_six_lines_attain_the_bound(snr):
    """P16 at reduced size: known to half a percent, since the noise's own error is taken out."""
    network = load_weights(ACETATE)
    model = network.signal_model
    typical = typical_amplitudes(model.names)
    result = efficiency(network.amplitudes, model, typical, float(snr_to_sigma(model, snr)), 4000, phase_rad=1.0)
    assert (abs(result["sd_over_crlb"] - 1) < 0.05 + 3 * result["sd_over_crlb_se"]).all()
    assert (abs(result["bias"]) < 0.03 * typical + 4 * result["bias_se"]).all()
