"""Denoising U-Nets: the transform, the networks, their training, and what the shipped one does to estimates."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from typer.testing import CliRunner

from precise_lib import cli
from precise_lib.errors import InputError
from precise_lib.estimate import catalog
from precise_lib.evaluate import regression
from precise_lib.io.shipped import data_path
from precise_lib.proton import brain, denoised, scores, training, weights
from precise_lib.proton.fit import fit_spectra
from precise_lib.proton.stft import Spectrogram
from precise_lib.proton.train_config import DenoiseConfig
from precise_lib.proton.training import Trainer, train
from precise_lib.proton.unets import UNet1dConfig, UNet2dConfig
from precise_lib.proton.weights import Denoiser
from tests.helpers import (
    TINY_TRAINING,
    complex_noise,
    share_of_first_loss,
    trained_by_command,
    trained_in_parts,
    untrained,
)

TINY_1D, TINY_2D = UNet1dConfig(width=1 / 16), UNet2dConfig(width=2, levels=3, frames=32)


def tiny(network=TINY_1D, **changes) -> DenoiseConfig:
    return DenoiseConfig(network, **(TINY_TRAINING | changes))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Weights of one uninterrupted tiny training."""
    return train(tiny(), tmp_path_factory.mktemp("trained"), "tiny", progress=False)


# the short-time Fourier transform


@pytest.mark.parametrize(("n", "window", "hop"), [(4096, 128, 31), (500, 32, 9), (64, 16, 16)])
def test_spectrogram_has_an_exact_inverse_and_keeps_energy(n, window, hop):
    transform, fids = Spectrogram(n, window, hop), complex_noise(3, n)
    there = transform(fids)
    assert there.shape == (3, window, transform.frames)
    if hop < window:
        torch.testing.assert_close(transform.inverse(there), fids, rtol=0, atol=2e-6)
        torch.testing.assert_close(there.abs().square().sum((1, 2)), fids.abs().square().sum(1), rtol=1e-5, atol=0)
    else:  # without overlap a Hann window has a zero that nothing else covers
        assert (transform.inverse(there) - fids)[:, ::16].abs().min() > 0


def test_the_first_sample_comes_back():
    """It holds the whole signal, and a plain set of Hann windows inside the FID would lose it."""
    fid = torch.zeros(1, 4096, dtype=torch.complex64)
    fid[0, 0] = 1
    transform = Spectrogram(4096)
    assert abs(transform.inverse(transform(fid))[0, 0] - 1) < 1e-6


def test_inverse_is_the_adjoint():
    """So a spectrogram that no FID has goes to the FID whose spectrogram is nearest."""
    transform = Spectrogram(4096)
    fids, anything = complex_noise(1, 4096), complex_noise(1, 128, transform.frames, seed=1)
    one = (transform(fids).conj() * anything).sum()
    other = (fids.conj() * transform.inverse(anything)).sum()
    assert abs(one - other) < 1e-4 * abs(one)


def test_rows_are_frequencies_and_columns_times():
    transform, t = Spectrogram(4096), torch.arange(4096) / 4000
    power = transform(torch.exp(2j * torch.pi * 500 * t)[None])[0].abs().square()
    assert power.sum(1).argmax() == 64 + 16  # rows are 31.25 Hz apart, zero in row 64
    late = transform(torch.where(torch.arange(4096) < 2000, 0, 1 + 0j)[None])[0].abs().square().sum(0)
    assert late[:60].max() == 0
    assert late[70:].min() > 0


def test_white_noise_stays_white_along_frequency_and_even_in_time():
    transform, n = Spectrogram(512, 32, 9), 400
    full = transform.taper.square().sum(1)
    inside = slice(4, -4)
    assert full[inside].max() / full[inside].min() < 1.001
    spectrogram = transform(complex_noise(n, 512))[:, :, inside]
    # frames that do not overlap are independent
    power = spectrogram[:, :, ::4].abs().square().mean((0, 2)) / (full[inside].mean() / 32)
    degrees = 2 * n * spectrogram[:, :, ::4].shape[2]
    low, high = chi2.ppf([1e-5, 1 - 1e-5], degrees) / degrees
    assert low < power.min()
    assert power.max() < high


# the networks


@pytest.mark.parametrize("config", [TINY_1D, TINY_2D, UNet1dConfig(width=0.25)])
def test_spectra_in_spectra_out_scaled_with_the_input(config):
    network = untrained(config)
    noisy = complex_noise(3, network.n_points)
    with torch.no_grad():
        out = network(noisy)
        assert out.shape == noisy.shape
        assert out.dtype == torch.complex64
        assert torch.equal(network(noisy * 1024), out * 1024)
        torch.testing.assert_close(network(noisy * 0.3), out * 0.3, rtol=1e-3, atol=1e-4)
        assert torch.isfinite(torch.view_as_real(network(torch.zeros_like(noisy)))).all()


def test_1d_network_has_the_papers_size():
    network = untrained(UNet1dConfig())
    encoder = [m for m in network.down.modules() if isinstance(m, torch.nn.Conv1d)]
    decoder = [m for m in network.up.modules() if isinstance(m, torch.nn.ConvTranspose1d)]
    assert (len(encoder), len(decoder)) == (14, 14)
    assert [m.out_channels for m in encoder][:5] == [32, 64, 32, 64, 128]
    assert sum(m.stride == (2,) for m in encoder) == 4
    assert encoder[-1].out_channels == 256
    assert network.up[0][-1].out_channels == 2
    small = sum(p.numel() for p in untrained(UNet1dConfig(width=0.25)).parameters())
    assert small < sum(p.numel() for p in network.parameters()) / 14


def test_2d_network_has_the_papers_shape():
    network = untrained(UNet2dConfig())
    seen = network.represent(complex_noise(1, 4096))
    assert seen.shape == (1, 2, 128, 128)
    assert [pair[0][0].out_channels for pair in network.down] == [16, 32, 64, 128, 256]
    assert sum(isinstance(m, torch.nn.Dropout) for m in network.modules()) == 2


def test_no_signal_lies_after_the_frames_taken():
    network, data = untrained(UNet2dConfig()), brain.draw(6, 3, shim_hz=(2.0, 2.0))
    clean = torch.from_numpy(brain.spectra_of(data.clean, network.points).astype(np.complex64))
    back = network.restore(network.represent(clean))
    assert ((back - clean).abs().square().sum(1) / clean.abs().square().sum(1)).max() < 1e-9


# training


@pytest.mark.parametrize("network", [UNet1dConfig(width=0.25), TINY_2D])
def test_training_lowers_the_loss(network):
    trainer = Trainer(tiny(network, n_train=100, batch_size=10, epochs=3, data={"snr": (20, 40)}))
    assert share_of_first_loss(trainer) < 0.6
    assert [row[0] for row in trainer.history] == [1, 2, 3]


@pytest.mark.parametrize("network", [TINY_1D, TINY_2D])
def test_interrupted_training_ends_at_the_same_file(network, tmp_path):
    config = tiny(network, n_train=26, epochs=2, batch_size=5)  # twelve steps; a batch of one at the end
    weights, _ = trained_in_parts(train, config, tmp_path)
    assert sorted(p.name for p in weights.parent.iterdir()) == ["network.json", "network.safetensors"]


def test_seed_decides_and_the_global_generator_is_left_alone(trained, tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = train(tiny(), tmp_path / "again", progress=False)
    assert torch.equal(torch.get_rng_state(), before)
    assert again.read_bytes() == trained.read_bytes()
    other = train(tiny(seed=1), tmp_path / "other", progress=False)
    assert other.read_bytes() != trained.read_bytes()


def test_best_epoch_is_kept_and_patience_ends(monkeypatch, tmp_path):
    losses = iter([3.0, 1.0, 2.0, 1.5, 4.0, 5.0])
    monkeypatch.setattr(Trainer, "validate", lambda trainer: next(losses))
    trainer = Trainer(tiny(epochs=6, patience=2))
    kept = None
    while not trainer.finished:
        trainer.step()
        if len(trainer.history) == 2 and kept is None:
            kept = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    assert len(trainer.history) == 4
    assert all(torch.equal(v, kept[k]) for k, v in trainer.kept.items())


def test_checkpoint_of_other_settings_is_refused(tmp_path):
    train(tiny(), tmp_path, progress=False, stop_after=1)
    with pytest.raises(InputError, match="other settings"):
        train(tiny(seed=3), tmp_path, progress=False)
    (tmp_path / "network.checkpoint.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="damaged"):
        train(tiny(), tmp_path, progress=False)


def test_settings_survive_their_card(trained):
    card = json.loads(trained.with_suffix(".json").read_text())
    assert DenoiseConfig.from_dict(card) == tiny()
    config = tiny(TINY_2D, loss="huber", data={"maximum_mm": {"sI": 1.2}})
    assert DenoiseConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epoch": 3}, "unknown settings epoch"),
        ({"network": {"kind": "3d"}}, "kind '1d' or '2d'"),
        ({"network": "1d"}, "kind '1d' or '2d'"),
        ({"network": {"kind": "1d", "depth": 2}}, "unknown settings depth"),
        ({"network": {"kind": "1d", "kernel": 4}}, "odd kernel"),
        ({"network": {"kind": "2d", "frames": 100}}, "frames"),
        ({"loss": "l1"}, "mse or huber"),
        ({"batch_size": 1}, "at least two"),
        ({"epochs": 0}, "epochs"),
        ({"n_train": 2.5}, "n_train"),
        ({"learning_rate": -1}, "learning rate"),
        ({"data": [1]}, "it must be a mapping"),
        ({"config": []}, "mapping"),
    ],
)
def test_bad_settings_get_one_sentence(values, words):
    with pytest.raises(InputError, match=words):
        DenoiseConfig.from_dict(values)


@pytest.mark.parametrize("path", sorted(data_path("training", "denoise").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_settings_are_read_and_build(path):
    config = DenoiseConfig.from_dict(cli.train.read_yaml(path))
    assert untrained(config.network).n_points in (1024, 4096)


# the denoiser


def test_denoiser_takes_fids_and_spectra_in_any_batches(trained, monkeypatch):
    network, data = Denoiser.load(trained), brain.draw(7, 4)
    out = network.denoise(data.noisy.values)
    assert out.shape == (7, 1024)
    np.testing.assert_array_equal(out, network.denoise_spectra(brain.spectra_of(data.noisy.values)))
    monkeypatch.setattr(weights, "BATCH", 3)
    np.testing.assert_allclose(network.denoise(data.noisy.values), out, atol=1e-4 * np.abs(out).max())
    assert network.denoise(data.noisy.values[:0]).shape == (0, 1024)


def test_denoiser_refuses_what_it_was_not_made_for(trained):
    network = Denoiser.load(trained)
    with pytest.raises(InputError, match="4096"):
        network.denoise(np.zeros((2, 1024), complex))
    with pytest.raises(InputError, match="1024"):
        network.denoise_spectra(np.zeros((2, 4096), complex))
    with pytest.raises(InputError, match="not finite"):
        network.denoise_spectra(np.full((2, 1024), np.nan + 0j))


@pytest.fixture
def copied(trained, tmp_path):
    for path in (trained, trained.with_suffix(".json")):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path / trained.name


def change_card(path, **fields):
    card = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(card | fields))


def test_damaged_weights_get_one_sentence(copied):
    content = copied.read_bytes()
    copied.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="damaged"):
        Denoiser.load(copied)
    copied.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    change_card(copied, sha256="0" * 64)
    with pytest.raises(InputError, match="SHA-256"):
        Denoiser.load(copied)


def test_cards_that_do_not_fit_are_refused(copied):
    config = tiny().to_dict()
    change_card(copied, config=config | {"network": UNet1dConfig(width=1 / 8).to_dict()})
    with pytest.raises(InputError, match="of another network"):
        Denoiser.load(copied)
    change_card(copied, config={"bank": 3})
    with pytest.raises(InputError, match="not readable"):
        Denoiser.load(replace_name(copied, "b"))
    copied.with_suffix(".json").unlink()
    with pytest.raises(InputError, match="no card"):
        Denoiser.load(copied.with_name("b.safetensors").rename(copied.with_name("c.safetensors")))
    with pytest.raises(InputError, match="No denoising network 'nobody'"):
        Denoiser.load("nobody")


def replace_name(path, stem):
    for suffix in (".json", ".safetensors"):
        path.with_suffix(suffix).with_stem(stem).write_bytes(path.with_suffix(suffix).read_bytes())
    return path.with_stem(stem)


# the command line


def test_command_trains_and_writes_scores_on_the_card(tmp_path):
    network = Denoiser.load(trained_by_command("train-denoiser", tiny(n_train=20, n_validation=4), tmp_path))
    assert network.card.epochs == 1
    assert set(network.card.accuracy["SNR 5-10"]) == set(scores.VERSIONS)


@pytest.mark.parametrize(("text", "words"), [("loss: l1", "mse or huber"), ("- 1", "mapping"), (None, "not readable")])
def test_command_refuses_bad_settings_and_writes_nothing(tmp_path, text, words):
    settings = tmp_path / "settings.yaml"
    if text is not None:
        settings.write_text(text)
    arguments = ["train-denoiser", "--config", str(settings), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(cli.app, arguments)
    assert isinstance(result.exception, InputError)
    assert words in str(result.exception)
    assert not (tmp_path / "out").exists()


# what denoising does


def test_the_true_model_leaves_the_noise_of_its_parameters():
    n = 40
    data, basis, points = brain.draw(n, 11, snr=(20, 40)), brain.brain_basis(), slice(-1024, None)
    noisy, clean = (brain.spectra_of(s.values, points) for s in (data.noisy, data.clean))
    drawn = denoised.fitted_spectra(fit_spectra(noisy, basis, points), basis, points)
    squared = scores.score_table(drawn, clean, noisy, data.snr, points)["DS"].values ** 2
    expected, k = 22 / 2048, 22
    assert abs(squared.mean() / expected - 1) < 4 * np.sqrt(2 / k / n)


@pytest.mark.parametrize(("snr", "slope"), [(1e6, 1.0), (1e-3, 0.0)])
def test_best_possible_has_the_right_limits(snr, slope):
    """Much data: the noise of the 18 free parameters remains, nothing is biased. No data: the middle of the range."""
    data, points = brain.draw(5, 12, snr=(snr, snr)), slice(-1024, None)
    best = scores.best_possible(brain.brain_basis(), data, points)
    np.testing.assert_allclose(best.slope, slope, atol=1e-3)
    np.testing.assert_allclose(best.DS, np.sqrt(18 / 2048) * slope, atol=1e-3)


def test_best_possible_is_the_best_linear_estimate():
    """Monte Carlo of the linear problem around one spectrum: random amplitudes, noise, ridge regression."""
    data, basis, points = brain.draw(1, 13, snr=(12, 12)), brain.brain_basis(), slice(-1024, None)
    best, rng = scores.best_possible(basis, data, points), np.random.default_rng(0)
    maximum, m = np.array(list(brain.MAXIMUM_MM.values())), len(brain.METABOLITES)
    units = brain.spectra_of(basis.signals(np.eye(len(basis.names))[: m + 1], float(data.shim_hz[0])), points)
    columns = units.view(float) / float(data.sigma[0]) / 64  # a point of the FFT has 64 times the noise of a sample
    spread = np.append(maximum, 0.66) / np.sqrt(12)
    drawn = rng.standard_normal((4000, m + 1)) * spread
    seen = drawn @ columns + rng.standard_normal((4000, columns.shape[1]))
    estimate = seen @ columns.T @ np.linalg.inv(columns @ columns.T + np.diag(1 / spread**2))
    slopes = regression.line(drawn, estimate, n_draws=2).slope.values[:m]
    # here the shim is known, which can only help
    assert (slopes > best.slope.values - 0.03).all()
    assert np.abs(slopes - best.slope.values).max() < 0.06


@pytest.fixture(scope="module", params=["unet1d_small", "unet2d_small"])
def shipped(request):
    return Denoiser.load(request.param)


def test_shipped_denoisers_are_apart_from_the_networks_that_quantify():
    assert not {entry.path.stem for entry in catalog.available()} & set(Denoiser.shipped())


@pytest.mark.parametrize("name", Denoiser.shipped())
def test_shipped_denoisers_come_from_their_settings(name):
    network = Denoiser.load(name)
    assert network.card.sha256 == network.hash
    settings = cli.train.read_yaml(data_path("training", "denoise", f"{name}.yaml"))
    assert network.card.config == DenoiseConfig.from_dict(settings)
    assert data_path("weights", "denoise", f"{name}.safetensors").stat().st_size < 2e6


def test_shipped_networks_denoise_the_look(shipped):
    """The direction of M1 and M3 at reduced size, on spectra that they have not seen; test_quantified has M5 and M6."""
    data, basis = brain.draw(120, 21), brain.brain_basis()
    noisy, clean = (brain.spectra_of(s.values, shipped.points) for s in (data.noisy, data.clean))
    table = scores.score_table(shipped.denoise_spectra(noisy), clean, noisy, data.snr, shipped.points)
    low, high = scores.medians(table), scores.medians(table, scores.HIGH_SNR)
    least = scores.best_possible(basis, data, shipped.points).DS.values
    knowing_the_model = np.sqrt(22 / (2 * shipped.network.n_points))
    assert np.median(least) < low["DS"] < 1.4 * knowing_the_model
    assert low["DS"] * 1.2 < high["DS"] < 0.5
    assert low["DS"] < low["DS 0-4.5 ppm"] < low["DSw"]


def test_denoised_residual_is_not_white(shipped):
    data = brain.draw(60, 22)
    noisy, clean = (brain.spectra_of(s.values, shipped.points) for s in (data.noisy, data.clean))
    assert np.median(scores.ljung_box(shipped.denoise_spectra(noisy) - clean)) < 1e-6
    assert (scores.ljung_box(noisy - clean) < 1e-3).mean() < 0.05


def test_changed_settings_change_what_is_drawn():
    wide = training.examples(tiny(data={"maximum_mm": {"sI": 6.0}}), 3, 1, untrained(TINY_1D))
    plain = training.examples(tiny(), 3, 1, untrained(TINY_1D))
    assert not torch.equal(wide[1], plain[1])
    assert replace(tiny(), seed=4).to_dict() != tiny().to_dict()
