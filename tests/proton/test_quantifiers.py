"""Networks that quantify 1H spectra: layout, training, files, the estimate of least error, and what they do."""

import numpy as np
import pytest
import torch
from scipy.stats import chi2, truncnorm
from typer.testing import CliRunner

from precise_lib import cli
from precise_lib.errors import InputError
from precise_lib.evaluate import regression
from precise_lib.io.shipped import data_path
from precise_lib.proton import brain, quantification, scores
from precise_lib.proton.brain import MAXIMUM_MM, METABOLITES, WATER_MM, WINDOW, spectra_of
from precise_lib.proton.fit import fit_spectra
from precise_lib.proton.quantifiers import InceptionConfig, ShallowCnnConfig
from precise_lib.proton.train_config import QuantifyConfig
from precise_lib.proton.training import Trainer, examples, train
from precise_lib.proton.weights import Denoiser, Quantifier
from tests.helpers import (
    TINY_TRAINING,
    complex_noise,
    share_of_first_loss,
    trained_by_command,
    trained_in_parts,
    untrained,
)

TINY_CNN, TINY_INCEPTION = ShallowCnnConfig(width=0.02), InceptionConfig(width=0.02)
TINY = [TINY_CNN, TINY_INCEPTION]
MAXIMUM = np.array(list(MAXIMUM_MM.values()))
STRONG = [METABOLITES.index(name) for name in ("NAA", "tCr", "tCho")]


def tiny(network=TINY_INCEPTION, **changes) -> QuantifyConfig:
    return QuantifyConfig(network, **(TINY_TRAINING | changes))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Weights of one uninterrupted tiny training."""
    return train(tiny(), tmp_path_factory.mktemp("trained"), "tiny", progress=False)


# the networks


def test_shallow_network_has_the_papers_size():
    network = untrained(ShallowCnnConfig())
    found = [(m.out_channels, m.kernel_size) for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert found == [(300, (7, 7)), (100, (9, 9)), (150, (5, 5))]
    kinds = [type(m).__name__ for m in network.stack]
    block = ["Conv2d", "ELU", "MaxPool2d"]
    assert kinds == [*block, *block, "Dropout2d", *block, "Dropout2d", "Flatten", "Linear"]
    assert {m.p for m in network.modules() if isinstance(m, torch.nn.Dropout2d)} == {0.35}
    assert network.stack[-1].out_features == 17
    assert network.represent(complex_noise(1, 4096)).shape == (1, 2, 32, 128)


def test_inception_net_has_the_papers_size():
    network = untrained(InceptionConfig())
    modules = list(network.stack)[:3]
    for module, width in zip(modules, (96, 128, 256), strict=True):
        convolutions = [m for m in module.modules() if isinstance(m, torch.nn.Conv1d)]
        assert [m.kernel_size[0] for m in convolutions] == [9, 7, 5, 3, 1, 1]
        assert {m.out_channels for m in convolutions} == {width}
        assert sum(isinstance(m, torch.nn.AvgPool1d) for m in module.modules()) == 1
    x = network.represent(complex_noise(2, 1024))
    lengths = [(x := module(x)).shape[-1] for module in modules]
    assert lengths == [1024, 512, 256]
    assert network.stack[-1].out_features == 17


def test_the_zoomed_spectrogram_holds_what_the_1d_window_holds():
    """The rest of the signal lies above the carrier: amide protons, part of Glc, and the step at the first sample."""
    network, data = untrained(TINY_CNN), brain.draw(8, 3)
    clean = torch.from_numpy(spectra_of(data.clean.values, slice(None)).astype(np.complex64))
    rows = network.represent(clean).square().sum((1, 2, 3))
    assert (rows / clean[:, -1024:].abs().square().sum(1)).min() > 0.995


@pytest.mark.parametrize("config", TINY)
def test_concentrations_do_not_depend_on_the_scale(config):
    network = untrained(config)
    data = brain.draw(4, 5)
    noisy = torch.from_numpy(spectra_of(data.noisy.values, network.points).astype(np.complex64))
    with torch.no_grad():
        network.stack[-1].bias[-1] = 1.0  # an untrained network finds no water by itself
        out = network(noisy)
        assert out.shape == (4, 16)
        assert torch.isfinite(out).all()
        assert torch.equal(network(noisy * 1024), out)
        torch.testing.assert_close(network(noisy * 0.3), out, rtol=1e-3, atol=1e-3)
        network.stack[-1].bias[-1] = -100.0
        assert torch.isnan(network(noisy)).all()


@pytest.mark.parametrize("config", TINY)
def test_targets_are_what_gives_the_truth(config):
    """Whatever the scale of the input: the ratio to water undoes it, and so do the targets."""
    network, data = untrained(config), brain.draw(5, 6)
    truth = torch.from_numpy(data.concentration.values.astype(np.float32))
    noisy = torch.from_numpy(spectra_of(data.noisy.values * 7, network.points).astype(np.complex64))
    targets = network.targets(truth, network.scale(network.represent(noisy / 7)))
    network.layers = lambda _: targets
    torch.testing.assert_close(network(noisy), truth, rtol=1e-5, atol=1e-6)
    assert 0.05 < targets[:, :16].mean() < 1
    assert (targets[:, -1] < 1.5).all()  # shim lowers the RMS of all signals


def test_the_unit_is_what_water_alone_gives():
    """Without shim and noise, the target of water is 1: the share of the reference in the RMS is all."""
    network, basis = untrained(TINY_INCEPTION), brain.brain_basis()
    water = spectra_of(3 * basis.fids[[basis.index("water")]], network.points).astype(np.complex64)
    scale = network.scale(network.represent(torch.from_numpy(water)))
    target = network.targets(torch.zeros(1, 16), scale * WATER_MM / 3)
    torch.testing.assert_close(target, torch.tensor([[0.0] * 16 + [1.0]]))


# training and files


@pytest.mark.parametrize("network", TINY)
def test_training_lowers_the_loss(network):
    trainer = Trainer(tiny(network, n_train=200, batch_size=10, epochs=3, schedule="one_cycle"))
    assert share_of_first_loss(trainer) < 0.6


@pytest.mark.parametrize("network", TINY)
def test_interrupted_training_ends_at_the_same_file(network, tmp_path):
    config = tiny(network, n_train=26, epochs=2, batch_size=5)  # twelve steps; a batch of one at the end
    _, card = trained_in_parts(train, config, tmp_path)
    assert QuantifyConfig.from_dict(card) == config


def test_inputs_and_targets_are_those_of_the_data_set():
    config = tiny(data={"maximum_mm": {"sI": 6.0}})
    noisy, truth = examples(config, 3, 9, untrained(TINY_INCEPTION))
    data = brain.draw(3, 9, maximum_mm={"sI": 6.0})
    np.testing.assert_allclose(truth, data.concentration.values, rtol=1e-6)
    np.testing.assert_allclose(noisy, brain.spectra_of(data.noisy.values), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"network": {"kind": "1d"}}, "kind 'cnn' or 'inception'"),
        ({"network": {"kind": "cnn", "groups": 2}}, "unknown settings groups"),
        ({"network": {"kind": "cnn", "dropout": 1.0}}, "dropout"),
        ({"network": {"kind": "cnn", "filters": [3, 4]}}, "kernel for each convolution"),
        ({"network": {"kind": "cnn", "filters": [2] * 6, "kernels": [3] * 6}}, "one to five"),
        ({"network": {"kind": "inception", "kernels": [4]}}, "odd kernels"),
        ({"network": {"kind": "inception", "width": 0}}, "positive width"),
        ({"network": {"kind": "inception", "width": "much"}}, "it must be a number"),
        ({"loss": "l1"}, "mse or huber"),
        ({"epoch": 3}, "unknown settings epoch"),
    ],
)
def test_bad_settings_get_one_sentence(values, words):
    with pytest.raises(InputError, match=words):
        QuantifyConfig.from_dict(values)


@pytest.mark.parametrize("path", sorted(data_path("training", "quantify").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_settings_are_read_and_build(path):
    config = QuantifyConfig.from_dict(cli.train.read_yaml(path))
    assert untrained(config.network).n_points in (1024, 4096)
    assert f"--name {path.stem}" in path.read_text()


def test_files_that_do_not_fit_are_refused(trained):
    network = Quantifier.load(trained)
    with pytest.raises(InputError, match="4096"):
        network.quantify(np.zeros((2, 1024), complex))
    with pytest.raises(InputError, match="1024"):
        network.quantify_spectra(np.zeros((2, 4096), complex))
    with pytest.raises(InputError, match="not finite"):
        network.quantify_spectra(np.full((2, 1024), np.nan + 0j))
    assert network.quantify(np.zeros((0, 4096), complex)).shape == (0, 16)
    with pytest.raises(InputError, match="No quantification network 'nobody'"):
        Quantifier.load("nobody")
    with pytest.raises(InputError, match="kind 'cnn' or 'inception'"):
        Quantifier.load(data_path("weights", "denoise", "unet1d_small.safetensors"))
    with pytest.raises(InputError, match="kind '1d' or '2d'"):
        Denoiser.load(trained)


def test_a_network_behind_a_denoiser_learns_from_and_reads_denoised_spectra(tmp_path):
    config = tiny(denoiser="unet1d_small")
    data = brain.draw(3, 9)
    denoised = Denoiser.load("unet1d_small").denoise(data.noisy.values)
    seen, _ = examples(config, 3, 9, untrained(TINY_INCEPTION))
    np.testing.assert_allclose(seen, denoised, rtol=1e-5, atol=1e-4)
    network = Quantifier.load(train(config, tmp_path, "behind", progress=False))
    assert network.card.config.denoiser == "unet1d_small"
    with torch.no_grad():
        expected = network.network(torch.from_numpy(denoised)).numpy()
    np.testing.assert_allclose(network.quantify(data.noisy.values), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match="name another one"):
        examples(tiny(denoiser="unet2d_small"), 3, 9, untrained(TINY_INCEPTION))


def test_command_trains_and_writes_slopes_on_the_card(tmp_path):
    network = Quantifier.load(trained_by_command("train-quantifier", tiny(n_train=20, n_validation=4), tmp_path))
    assert network.card.epochs == 1
    assert network.card.accuracy["n_spectra"] == 600


def test_command_refuses_bad_settings_and_writes_nothing(tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("network: {kind: 1d}")
    arguments = ["train-quantifier", "--config", str(settings), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(cli.app, arguments)
    assert isinstance(result.exception, InputError)
    assert not (tmp_path / "out").exists()


# the estimate of least error


@pytest.mark.parametrize(("snr", "kept"), [(1e6, 1.0), (1e-3, 0.0)])
def test_least_error_has_the_right_limits(snr, kept):
    """Much data: the truth. No data: the middle of the range."""
    data = brain.draw(4, 12, snr=(snr, snr))
    best = quantification.least_error(brain.brain_basis(), data, WINDOW, n_sweeps=400)
    expected = np.where(kept, data.concentration.values, MAXIMUM / 2)
    np.testing.assert_allclose(best.linear, expected, atol=1e-2 * MAXIMUM.max() * (1 - kept) + 0.02)
    tolerance = np.where(kept, 0.01, 5 * 0.29 / np.sqrt(400)) * MAXIMUM  # uniform draws, five standard errors
    assert (np.abs(best.posterior_mean.values - expected) < tolerance).all()


def test_posterior_mean_of_one_parameter_has_its_closed_form():
    center = np.array([[-0.5], [0.2], [0.9], [1.4]])
    sd, n = 0.4, 8000
    precision = np.full((4, 1, 1), 1 / sd**2)
    mean = quantification._gibbs(precision, center, np.zeros(1), np.ones(1), n, np.random.default_rng(0))[:, 0]
    exact = truncnorm(-center[:, 0] / sd, (1 - center[:, 0]) / sd, center[:, 0], sd)
    assert (np.abs(mean - exact.mean()) < 5 * exact.std() / np.sqrt(n)).all()


def test_posterior_mean_of_two_parameters_by_quadrature():
    precision = np.array([[[9.0, 6.0], [6.0, 8.0]]])
    center = np.array([[0.9, -0.1]])
    mean = quantification._gibbs(precision, center, np.zeros(2), np.ones(2), 6000, np.random.default_rng(0))[0]
    x = np.stack(np.meshgrid(*[(np.arange(400) + 0.5) / 400] * 2, indexing="ij"), -1) - center
    weight = np.exp(-0.5 * np.einsum("abi,ij,abj->ab", x, precision[0], x))
    exact = np.einsum("ab,abi->i", weight, x + center) / weight.sum()
    np.testing.assert_allclose(mean, exact, atol=0.02)


def test_without_ranges_it_is_the_fit():
    """The linear problem stands for the fit: what it finds without any range is what the fit finds."""
    data, basis = brain.draw(12, 14, snr=(35, 40)), brain.brain_basis()
    best = quantification.least_error(basis, data, WINDOW, n_sweeps=1)
    fit = quantification.to_water(fit_spectra(spectra_of(data.noisy.values, WINDOW), basis, WINDOW), basis)
    error = best.unbounded.values - data.concentration.values
    # the fit looks for shift, phase and Lorentzian width too, which costs it little
    assert np.sqrt(((fit - best.unbounded.values) ** 2).mean(0) / (error**2).mean(0))[STRONG].max() < 0.5
    assert np.corrcoef(((fit - data.concentration.values) / MAXIMUM).ravel(), (error / MAXIMUM).ravel())[0, 1] > 0.97


def test_ratios_to_water_attain_their_own_bound():
    """Errors that water shares cancel in the ratio, so it can be known better than the amplitude."""
    n, basis = 150, brain.brain_basis()
    data = brain.draw(n, 16, snr=(20, 40))
    bound = quantification.crlb_to_water(basis, data, WINDOW)
    fit = fit_spectra(spectra_of(data.noisy.values, WINDOW), basis, WINDOW)
    z = ((quantification.to_water(fit, basis) - data.concentration.values) / bound)[:, STRONG]
    low, high = np.sqrt(chi2.ppf([1e-5, 1 - 1e-5], n) / n)
    assert ((z.std(0) > low) & (z.std(0) < high)).all()
    narrower = bound < fit.crlb[:, : len(METABOLITES)]
    assert narrower[:, METABOLITES.index("NAA")].mean() > 0.8


def test_nothing_errs_less_than_the_posterior_mean():
    data = brain.draw(250, 15)
    truth, best = data.concentration.values, quantification.least_error(brain.brain_basis(), data, WINDOW, 400)
    mean = best.posterior_mean.values
    ratios = {k: scores.rmse_ratio(truth, best[k], mean, METABOLITES).ratio for k in ("linear", "unbounded")}
    assert np.log(ratios["linear"]).mean() < 0
    assert ratios["linear"].max() < 1.03
    assert ratios["unbounded"].sel(metabolite=["sI", "Gly", "Lac", "GABA"]).max() < 0.5
    assert ratios["unbounded"].max() < 1.05
    # an estimate of least error is at right angles to its error: slope on the truth = share of the variance kept
    line = regression.line(truth, mean, METABOLITES, n_draws=100)
    kept = mean.var(0) / truth.var(0)
    assert np.abs(line.slope.values - kept).max() < 0.06
    assert np.abs(line.slope.values - kept).mean() < 0.02


def test_ranges_help_what_overlaps():
    """By the inverse of the whole precision, against the update of rank one."""
    data, basis = brain.draw(1, 17), brain.brain_basis()
    table = quantification.helped(basis, data, WINDOW)
    precision = quantification.problem(basis, data, WINDOW)[0][0]
    gly, glycine = METABOLITES.index("Gly"), np.zeros(18)
    glycine[gly] = 12 / MAXIMUM_MM["Gly"] ** 2
    sd = [np.sqrt(np.diag(np.linalg.inv(p)))[:16] for p in (precision + np.diag(glycine), precision)]
    np.testing.assert_allclose(table.sel(by="Gly"), sd[0] / sd[1], rtol=1e-6)
    assert table.sel(metabolite="mI").idxmin() == "Gly"  # two neighbors at 3.55 ppm


def test_least_error_refuses_other_ranges():
    data = brain.draw(2, 1, maximum_mm={"sI": 60.0})
    with pytest.raises(InputError, match="ranges"):
        quantification.least_error(brain.brain_basis(), data, WINDOW)


def test_all_sources_are_compared_on_the_same_spectra(trained):
    data, network = brain.draw(6, 41), Quantifier.load(trained)
    found = quantification.compared(data, {"mine": network}, n_sweeps=5)
    assert list(found.source.values) == ["fit", "fit, not negative", "mine", "best linear", "posterior mean"]
    np.testing.assert_array_equal(found.truth, data.concentration)
    np.testing.assert_array_equal(found.estimate.sel(source="mine"), network.quantify(data.noisy.values))
    assert float(found.estimate.sel(source="fit, not negative").min()) == 0
    assert float(found.estimate.sel(source="fit").min()) < 0
    with pytest.raises(InputError, match="source 'fit' already"):
        quantification.compared(data, {"fit": network}, n_sweeps=5)


# the shipped networks


@pytest.mark.parametrize("name", Quantifier.shipped())
def test_shipped_networks_come_from_their_settings(name):
    network = Quantifier.load(name)
    assert network.card.sha256 == network.hash
    settings = cli.train.read_yaml(data_path("training", "quantify", f"{name}.yaml"))
    assert network.card.config == QuantifyConfig.from_dict(settings)
    table = network.card.accuracy
    assert set(table["slope"]) == set(table["rmse"]) == set(METABOLITES)
    assert table["without_water"] == 0
    assert network.card.wall_time_s > 0
    assert data_path("weights", "quantify", f"{name}.safetensors").stat().st_size < 4e6


@pytest.mark.parametrize("name", Quantifier.shipped())
def test_shipped_networks_bend_what_the_data_leave_open(name):
    """The direction of M11 on spectra that the network has not seen."""
    network, data = Quantifier.load(name), brain.draw(250, 31)
    estimate, truth = network.quantify(data.noisy.values), data.concentration.values
    line = regression.line(truth, estimate, METABOLITES, n_draws=100)
    assert line.slope_high.sel(metabolite="sI") < 0.6
    assert (line.slope.values[STRONG] > 0.85).all()
    shares = scores.marginals(estimate, MAXIMUM, METABOLITES)
    assert shares.middle_third.sel(metabolite="sI") > 0.5
    best = quantification.least_error(brain.brain_basis(), data, WINDOW, 400)
    ratio = scores.rmse_ratio(truth, best.posterior_mean, estimate)
    assert (ratio.ratio_high > 1).all()
