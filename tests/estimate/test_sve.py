"""The network: its symmetries, what its front end keeps, its training to the bit, its files, and its precision."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from precise_lib.errors import InputError
from precise_lib.estimate import sve
from precise_lib.estimate.fit import fit_fids
from precise_lib.estimate.network import FidFront, MatchedFront, Network, NetworkConfig
from precise_lib.estimate.sve import Sve, find_weights, load_weights, resolve, shipped_weights
from precise_lib.estimate.training import (
    Sampler,
    TrainConfig,
    Trainer,
    learning_rate,
    shorter,
    signal_families,
    train,
)
from precise_lib.evaluate.accuracy import certify
from precise_lib.evaluate.crlb import covariance, numeric
from precise_lib.signal.information import jacobian
from precise_lib.signal.model import Acquisition, Resonance, SignalModel
from precise_lib.signal.presets import default_2h_model, dmi_3t, dmi_11t7
from tests.helpers import (
    AMPLITUDES,
    SHIPPED,
    has_certified_weights,
    has_shipped_weights,
    noisy_fids,
    sd_bounds,
    tiny_network,
)

needs_certified = pytest.mark.skipif(not has_certified_weights(), reason=f"data/weights has no certified {SHIPPED}")
needs_weights = pytest.mark.skipif(not has_shipped_weights(), reason=f"the weights {SHIPPED} are not in data/weights")

# single precision through 512 samples, and the whitening of directions that hold next to nothing
ROUNDING = 2e-3


def minute_config(**changes) -> TrainConfig:
    """As small as a training can be: two lines, 64 samples."""
    model = SignalModel(Acquisition(64, 1.6e-3, 76.7), dmi_11t7().resonances[:2])
    settings = {
        "signal_model": model,
        "network": NetworkConfig(bank=16, hidden=8, rank=16, aligned_rank=8),
        "batch_size": 32,
        "iterations": 24,
        "checkpoint_every": 5,
    }
    return TrainConfig(**(settings | changes))


def minute_plain(**changes) -> TrainConfig:
    config = minute_config()
    network = NetworkConfig(front="fid", channels=(4, 8), hidden=8)
    settings = {"signal_model": config.signal_model, "network": network, "iterations": 24, "batch_size": 32}
    return TrainConfig.plain(**(settings | {"checkpoint_every": 5} | changes))


RECIPES = {"matched": minute_config, "plain": minute_plain}


@pytest.fixture(scope="module", params=RECIPES)
def trained(request, tmp_path_factory):
    """Recipe, configuration and weights of one uninterrupted training."""
    config = RECIPES[request.param]()
    return request.param, config, train(config, tmp_path_factory.mktemp("trained"), progress=False)


# symmetries of the matched network


@pytest.mark.parametrize("scale", [2.0**-40, 0.25, 2.0**30])
def test_estimate_scales_with_the_fid(scale):
    fids, _ = noisy_fids(snr=15, n=200, max_shift_hz=15)
    network = tiny_network()
    np.testing.assert_array_equal(network.amplitudes(scale * fids), scale * network.amplitudes(fids))


def test_estimate_does_not_know_the_phase():
    fids, _ = noisy_fids(snr=15, n=200, max_shift_hz=15)
    network = tiny_network()
    reference = network.amplitudes(fids)
    for phase in (np.pi / 2, np.pi, 0.3, -2.0):
        turned = (fids * np.exp(1j * phase)).astype(np.complex64)
        np.testing.assert_allclose(network.amplitudes(turned), reference, atol=ROUNDING)


def test_shift_inside_the_training_range_moves_the_estimate_little():
    network, model = tiny_network(), dmi_11t7()
    shifts = np.linspace(-20, 20, 81)
    estimate = network.amplitudes(model.fids(np.tile(AMPLITUDES, (81, 1)), shifts))
    assert estimate.std(0).max() < 0.05


def test_alignment_finds_the_shift():
    """Aligned samples of the same FID under other shifts are the same, to a small part of the linewidth."""
    front, model = tiny_network().network.front, dmi_11t7()
    shifts = np.linspace(-20, 20, 41)
    fids = torch.tensor(model.fids(np.tile(AMPLITUDES, (41, 1)), shifts, phase_rad=shifts)).to(torch.complex64)
    aligned, unit = front.align(front.project(fids))
    spread = (aligned - aligned[20]).norm(dim=1).max() / aligned[20].norm()
    assert spread < 0.05
    np.testing.assert_allclose(unit[:, 0], unit[20, 0], rtol=0.01)


# what the front end keeps


@pytest.fixture(scope="module")
def front() -> MatchedFront:
    config = TrainConfig()
    return MatchedFront(config.signal_model, config.network, config.shift_range_hz, signal_families(config, 2000))


def search_grid(front, config):
    """Shifts (Hz) that the rotations of the front end take out."""
    margin = 0.5 / (np.pi * config.signal_model.t2star_s.max())
    low, high = config.shift_range_hz
    return np.linspace(low - margin, high + margin, len(front.rotations))


def test_projection_and_alignment_lose_nothing(front):
    """The bound for projected and for aligned data equals that for the FID, over the training range.

    Aligned means by a search that errs by a few hertz.
    """
    model, config = dmi_11t7(), TrainConfig()
    projector = torch.view_as_complex(front.projector).numpy().astype(complex)
    rotations, grid = torch.view_as_complex(front.rotations).numpy().astype(complex), search_grid(front, config)
    rng = np.random.default_rng(0)
    for _ in range(20):
        amplitudes = np.array([1.0, *rng.uniform(0, 1.2, 3)])
        shift, broad = rng.uniform(*config.shift_range_hz), rng.uniform(*config.broadening_range_hz)
        projected = jacobian(model, amplitudes, shift, broad, 0.4) @ projector
        full = np.sqrt(np.diag(covariance(model, amplitudes, 1.0, shift, broad, 0.4)))[:4]
        rotation = rotations[np.abs(grid - shift - rng.normal(0, 1.5)).argmin()]
        noise = rotation.conj().T @ rotation
        aligned = projected @ rotation
        np.testing.assert_allclose(np.diag(noise)[:8], 1, atol=0.01)  # white still, where the signal is
        for j, inverse in ((projected, np.eye(projected.shape[1])), (aligned, np.linalg.inv(noise.conj()))):
            bound = np.sqrt(np.diag(np.linalg.inv((j.conj() @ inverse @ j.T).real)))[:4]
            assert (bound / full >= 1 - 1e-5).all()
            assert (bound / full < 1.01).all()


def test_noise_stays_white_after_projection(front):
    projector = torch.view_as_complex(front.projector).numpy()
    np.testing.assert_allclose(projector.conj().T @ projector, np.eye(projector.shape[1]), atol=1e-5)
    rng = np.random.default_rng(0)
    noise = 0.3 * rng.standard_normal((4000, 512, 2)).astype(np.float32).view(np.complex64)[..., 0]
    z = front.project(torch.from_numpy(noise)).numpy()
    low, high = sd_bounds(2 * z.size)
    assert low < np.sqrt((np.abs(z) ** 2).mean() / 2) / 0.3 < high
    covariances = np.cov(z.T) / (2 * 0.3**2)
    assert np.abs(covariances - np.eye(len(covariances))).max() < 5.5 / np.sqrt(4000)


def test_whitening_makes_training_data_white():
    trainer = Trainer(minute_config())
    fids, _, sigma = trainer.sampler.draw(8192, torch.Generator().manual_seed(9))
    front = trainer.network.front
    x, _ = front(trainer.sampler.noise(front.project(fids), sigma, torch.Generator().manual_seed(8)))
    moments = torch.linalg.eigvalsh(x.flatten(1).T.double() @ x.flatten(1).double() / len(x))
    assert moments.max() < 1.3
    assert moments.median() > 0.3


def test_plain_network_is_the_papers():
    """Conv of kernel 3, PReLU, max pooling; two fully connected layers; as many outputs as lines; FIDs as input."""
    config = TrainConfig.plain()
    network = Network(config.signal_model, config.network, config.shift_range_hz)
    kinds = [type(layer) for layer in network.convolutions]
    assert kinds == [torch.nn.Conv1d, torch.nn.PReLU, torch.nn.MaxPool1d] * 5 + [torch.nn.Flatten]
    assert all(layer.kernel_size == (3,) for layer in network.convolutions if isinstance(layer, torch.nn.Conv1d))
    assert [type(layer) for layer in network.head] == [torch.nn.Linear, torch.nn.PReLU, torch.nn.Linear]
    x, unit = network.front(torch.zeros(3, 512, dtype=torch.complex64))
    assert x.shape == (3, 2, 512)
    assert (unit == 1).all()
    assert network(torch.zeros(3, 512, dtype=torch.complex64)).shape == (3, 4)
    assert (config.batch_size, config.iterations, config.learning_rate) == (128, 25_000, 1e-3)
    assert (config.noise, config.noiseless_share, config.loss) == ("uniform_sigma", 0.2, "mse")


def test_plain_network_takes_its_scale_from_the_data_set():
    front = FidFront(dmi_11t7())
    fids = dmi_11t7().fids(np.array([[3.0, 0, 0, 0], [5.0, 0, 0, 0], [90.0, 0, 0, 0]]), phase_rad=1.0)
    assert front.dataset_unit(torch.tensor(fids).to(torch.complex64)) == pytest.approx(5.0, rel=1e-5)


# training data


@pytest.mark.parametrize("make", [minute_config, minute_plain])
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
    config = minute_plain()
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


def test_learning_rates():
    plain, ours = TrainConfig.plain(), TrainConfig()
    assert {learning_rate(plain, i) for i in (0, 100, 24_999)} == {1e-3}
    rates = [learning_rate(ours, i) for i in range(ours.iterations)]
    assert max(rates) == pytest.approx(ours.learning_rate, rel=0.02)
    assert rates[0] < 0.01 * max(rates)
    assert rates[-1] < 0.01 * max(rates)
    peak = int(np.argmax(rates))
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()


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


def test_settings_survive_yaml_and_say_what_they_do_not_know():
    import yaml

    for config in (TrainConfig(), TrainConfig.plain(), minute_config(), minute_plain(seed=3)):
        assert TrainConfig.from_dict(yaml.safe_load(yaml.safe_dump(config.to_dict()))) == config
    assert TrainConfig.from_dict({"recipe": "plain", "seed": 4}) == TrainConfig.plain(seed=4)
    assert shorter(TrainConfig(), 10).iterations == 10


@pytest.mark.parametrize(("values", "words"), [
    ({"epochs": 3}, "unknown settings epochs"),
    ({"recipe": "secret"}, "unknown recipe 'secret'"),
    ({"network": {"front": "magic"}}, "front is 'magic'"),
    ({"network": {"depth": 3}}, "depth"),
    ({"shift_range_hz": [1]}, "not readable"),
    ({"signal_model": {"acquisition": {}}}, "not readable"),
])  # fmt: skip
def test_bad_settings_get_one_sentence(values, words):
    with pytest.raises(InputError, match=words):
        TrainConfig.from_dict(values)


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
    assert card["accuracy"]["n_repeats"] > 0
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
        monkeypatch.setattr(sve, "BATCH", size)
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


# the shipped networks


@needs_weights
def test_shipped_weights_have_cards_and_are_found():
    assert find_weights(dmi_11t7().acquisition) == SHIPPED
    for name in shipped_weights():
        network = load_weights(name)
        assert network.name == name
        assert network.card["sha256"] == network.hash
        assert {"accuracy", "wall_time_s", "machine", "config", "signal_model"} <= set(network.card)
    with pytest.raises(InputError, match="No network fits 999 points"):
        find_weights(Acquisition(999, 1e-3, 76.7))
    assert Sve().amplitudes(noisy_fids(n=2)[0], dmi_11t7()).shape == (2, 4)


@needs_certified
@pytest.mark.parametrize("snr", [8, 12, 35])
def test_shipped_network_attains_the_bound(snr):
    """All four lines under random phase and shift; with this N a ratio above 1.1 or below 0.9 cannot hide."""
    n, model = 5000, dmi_11t7()
    low, high = sd_bounds(n, tests=12, risk=1e-3)
    assert 1.1 * low > 1.05
    assert 0.9 * high < 0.95
    fids, sigma = noisy_fids(model, snr, n, seed=100 + snr, max_shift_hz=12)
    estimate = Sve().amplitudes(fids, model)
    bound = numeric(model, AMPLITUDES, sigma)
    ratio = estimate.std(0, ddof=1) / bound
    assert (ratio > 0.93).all(), ratio
    assert (ratio < 1.07).all(), ratio
    bias = np.abs(estimate.mean(0) - AMPLITUDES)
    allowed = (0.01 if snr >= 12 else 0.03) * AMPLITUDES + 3 * bound / np.sqrt(n)
    assert (bias < allowed).all(), bias / AMPLITUDES


@needs_certified
@pytest.mark.parametrize(("shift", "broad"), [(0, 0), (18, 0), (-18, 5), (0, 15), (7, -4)])
def test_shipped_network_is_right_without_noise(shift, broad):
    rng = np.random.default_rng(0)
    amplitudes = np.column_stack([np.ones(50), rng.uniform(0, 1, (50, 3))])
    fids = dmi_11t7().fids(amplitudes, shift, broad, rng.uniform(-3, 3, 50))
    error = Sve().amplitudes(fids.astype(np.complex64), dmi_11t7()) - amplitudes
    assert np.abs(error).max() < 0.02
    assert np.sqrt((error**2).mean()) < 0.006


@needs_certified
def test_shipped_network_follows_an_amplitude_in_proportion():
    """Lactate from none to plenty: slope one, no offset."""
    lac = np.linspace(0, 0.6, 25)
    amplitudes = np.tile(AMPLITUDES, (25, 1))
    amplitudes[:, 3] = lac
    estimate = Sve().amplitudes(dmi_11t7().fids(amplitudes).astype(np.complex64), dmi_11t7())[:, 3]
    slope, offset = np.polyfit(lac, estimate, 1)
    assert slope == pytest.approx(1, abs=0.015)
    assert offset == pytest.approx(0, abs=0.003)
