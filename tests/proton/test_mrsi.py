"""Proton signal model with lipids, baseline and lineshape: analytic signals, its bound, its fit, its networks."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
import yaml

from precise_lib import estimate
from precise_lib.errors import InputError
from precise_lib.estimate.fit import fit_fids
from precise_lib.estimate.network import MatchedFront, NetworkConfig
from precise_lib.estimate.sampling import Sampler, signal_families
from precise_lib.estimate.train_config import TrainConfig
from precise_lib.estimate.weights import load_weights
from precise_lib.evaluate import crlb
from precise_lib.evaluate.accuracy import typical_amplitudes
from precise_lib.evaluate.efficiency import efficiency
from precise_lib.io.shipped import data_path
from precise_lib.proton import brain
from precise_lib.proton.mrsi import LIPIDS, head, mrsi_3t, without
from precise_lib.signal.model import SignalModel
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.signal.parts import Acquisition, Resonance
from precise_lib.signal.presets import dmi_11t7
from precise_lib.studies.proton_terms import by_depth, lipid_error, under

MODEL, BLIND = mrsi_3t(), mrsi_3t(terms=False)
TYPICAL, SHAPE = typical_amplitudes(MODEL.names), {"gaussian_hz": 4.0, "offset_hz": 2.0}
K = len(BLIND.names)


def weights(name):
    return load_weights(data_path("weights", "studies", f"{name}.safetensors"))


@pytest.fixture(scope="module")
def heads():
    return head(8.0), head(0.0)


# signal


def test_each_term_is_the_analytic_signal():
    acquisition = Acquisition(256, 1e-3, 100.0, "1H")
    doublet = Resonance("Lac", 1.3, 0.1, lines=((1.26, -0.5, 0.0, 0.0), (1.34, -0.5, 0.2, 0.0)))
    broad = Resonance("Lip", 1.0, 0.05, "lipid", ((1.0, 1.0, 0.0, 20.0),))
    model = SignalModel(acquisition, (Resonance("w", 3.0, 0.1), doublet, broad), 3.0, "w", lineshape="voigt")
    t = acquisition.time_s
    halved = np.exp(-np.log(2) * (t / (2 * np.log(2) / (np.pi * 20.0))) ** 2)  # half width of the line's transform
    lac = (-0.5 * np.exp(-2j * np.pi * 174 * t) + (-0.5 + 0.2j) * np.exp(-2j * np.pi * 166 * t)) * np.exp(-t / 0.1)
    lip = np.exp(-2j * np.pi * 200 * t - t / 0.05) * halved
    np.testing.assert_allclose(model.basis(), np.stack([np.exp(-t / 0.1), lac, lip], 1), atol=1e-12)
    common = np.exp(2j * np.pi * 3 * t - np.pi * 2 * t + 0.7j) * np.exp(-((np.pi * 5 * t) ** 2) / (4 * np.log(2)))
    expected = (2 * np.exp(-t / 0.1) + lac + 4 * lip * np.exp(2j * np.pi * 6 * t)) * common
    np.testing.assert_allclose(model.fids([2, 1, 4], 3, 2, 0.7, gaussian_hz=5, offset_hz=6), expected, atol=1e-12)


def test_merged_lines_are_the_spin_simulation():
    acquisition = MODEL.acquisition
    for name in ("NAA", "tCr", "mI"):
        full = brain.metabolite_fid(name, acquisition)
        decay = 0.185 if name != "NAA" else 0.289  # the lines of both differ in T2: compare where it hardly counts
        full = full[:60] * np.exp(acquisition.time_s[:60] * (1 / decay - 1 / 0.06)) / 3
        own = MODEL.basis()[:60, MODEL.index(name)]
        assert np.linalg.norm(own - full) < 0.08 * np.linalg.norm(full)


def test_old_models_keep_their_name_and_new_ones_survive_json():
    card = json.loads(data_path("weights", "dmi_11t7.json").read_text())
    assert dmi_11t7().hash == card["signal_model_hash"]
    config = TrainConfig.from_dict(card).to_dict()
    config["network"] = {key: config["network"][key] for key in card["config"]["network"]}
    assert {key: config[key] for key in card["config"]} == card["config"]  # settings that came later are as before
    assert SignalModel.from_dict(json.loads(json.dumps(MODEL.to_dict()))) == MODEL
    assert MODEL.hash != BLIND.hash
    assert MODEL.common == ("shift_hz", "broadening_hz", "phase_rad", "gaussian_hz", "offset_hz")


@pytest.mark.parametrize(("make", "word"), [
    (lambda: Resonance("a", 1, 0.1, "fat"), "role"),
    (lambda: Resonance("a", 1, 0.1, lines=((1.0, 1.0),)), "four numbers"),
    (lambda: replace(MODEL, lineshape="square"), "lineshape"),
    (lambda: head(-1.0), "zero or more"),
    (lambda: head(matrix=8), "at least 16"),
])  # fmt: skip
def test_bad_input_is_one_sentence(make, word):
    with pytest.raises(InputError, match=word):
        make()


# bound and blindness


def test_jacobian_is_the_derivative():
    theta = np.array([*TYPICAL, 1.0, 0.5, 0.3, 4.0**2, 2.0])

    def fid(p):
        return MODEL.fids(p[:9], p[9], p[10], p[11], gaussian_hz=np.sqrt(p[12]), offset_hz=p[13])

    step = 1e-5
    slopes = [(fid(theta + step * e) - fid(theta - step * e)) / (2 * step) for e in np.eye(14)]
    np.testing.assert_allclose(crlb.jacobian(MODEL, TYPICAL, 1.0, 0.5, 0.3, 4.0, 2.0), slopes, atol=1e-6)


def test_every_term_costs_precision():
    steps = [BLIND, without(MODEL, "baseline", "lipid"), without(MODEL, "lipid"), MODEL]
    bounds = [crlb.numeric(m, TYPICAL[: len(m.names)], 1.0, **SHAPE)[:K] for m in steps]
    for fewer, more in pairwise(bounds):
        assert (more >= fewer * (1 - 1e-9)).all()
    assert (bounds[-1][:2] > 1.2 * bounds[0][:2]).all()


def test_bound_without_any_lipid_is_finite():
    amplitudes = np.where(MODEL.of_role("lipid"), 0, TYPICAL)
    assert np.isfinite(crlb.numeric(MODEL, amplitudes, 1.0, **SHAPE)).all()


@pytest.mark.parametrize("role", ["lipid", "baseline"])
def test_misspecified_bias_is_the_projection(role):
    """Exact to first order: a hundredth of the term, the fit of a noiseless FID."""
    belief = without(MODEL, role)
    amplitudes = TYPICAL * np.where(MODEL.of_role(role), 0.01, 1)
    own = amplitudes[[MODEL.index(name) for name in belief.names]]
    predicted = crlb.misspecified_bias(MODEL, belief, amplitudes, **SHAPE)[:K]
    found = fit_fids(MODEL.fids(amplitudes[None], **SHAPE), belief).amplitudes[0] - own
    np.testing.assert_allclose(found[:K], predicted, atol=0.02 * np.abs(predicted).max())
    assert np.abs(predicted).max() > 5e-4
    np.testing.assert_allclose(crlb.misspecified_bias(MODEL, MODEL, amplitudes, **SHAPE), 0, atol=1e-12)


def test_fit_takes_the_terms_and_attains_the_bound():
    fids = MODEL.fids(np.stack([TYPICAL, TYPICAL]), [3.0, -4.0], 1.0, 1.0, [4.0, 0.0], [3.0, -3.0])
    fit = fit_fids(fids, MODEL, max_shift_hz=10.0)
    np.testing.assert_allclose(fit.amplitudes, [TYPICAL, TYPICAL], rtol=2e-3)
    assert fit.converged.all()
    result = efficiency(
        lambda x, m: fit_fids(x, m).amplitudes,
        MODEL,
        TYPICAL,
        float(snr_to_sigma(MODEL, 20)),
        300,
        phase_rad=1.0,
        **SHAPE,
    )
    assert (abs(result["sd_over_crlb"] - 1) < 0.03 + 4 * result["sd_over_crlb_se"]).all()
    assert (abs(result["bias"]) < 0.02 * TYPICAL + 4 * result["bias_se"]).all()


# training and networks


def config() -> TrainConfig:
    return TrainConfig.from_dict(yaml.safe_load(data_path("training", "h1_3t.yaml").read_text()))


def test_training_files_hold_these_models():
    assert config().signal_model == MODEL
    blind = TrainConfig.from_dict(yaml.safe_load(data_path("training", "h1_3t_metabolites.yaml").read_text()))
    assert blind.signal_model == BLIND
    same = ("network", "batch_size", "iterations", "loss", "loss_floor", "snr_range", "learning_rate", "seed")
    assert all(getattr(blind, name) == getattr(config(), name) for name in same)


def test_training_signals_are_those_of_the_model():
    """A fit under the model leaves nothing of a noiseless draw; the efficient target is the truth without noise."""
    quiet = replace(config(), noiseless_share=1.0)
    fids, amplitudes, _ = Sampler(quiet).draw(40, torch.Generator().manual_seed(0))
    fit = fit_fids(fids.numpy(), MODEL, max_shift_hz=12.0)
    good = (amplitudes[:, :K].numpy() > 0.1).all(1) & fit.converged
    assert good.sum() > 10
    np.testing.assert_allclose(fit.amplitudes[good][:, :K], amplitudes[good][:, :K], atol=0.01)
    z, target, _ = Sampler(quiet).draw_efficient(40, torch.Generator().manual_seed(1), lambda x: x)
    fit = fit_fids(z.numpy(), MODEL, max_shift_hz=12.0)
    good = (target[:, :K].numpy() > 0.1).all(1) & fit.converged
    np.testing.assert_allclose(fit.amplitudes[good][:, :K], target[good][:, :K], atol=0.01)


def test_front_end_aligns_by_metabolites_alone():
    settings, rng = config(), np.random.default_rng(0)
    front = MatchedFront(MODEL, NetworkConfig(rank=52, aligned_rank=26), (-12, 12), signal_families(settings, 1800))
    # at 5 Hz and above, tCho at the filter of creatine once scored higher than everything at its own
    shift = np.array([-9.0, -2.0, 4.0, 5.0, 8.0, 11.0])
    for lipids in (0.0, 3.0, -3.0):
        amplitudes = TYPICAL * np.where(MODEL.of_role("lipid"), lipids, 1)
        fids = torch.tensor(MODEL.fids(np.tile(amplitudes, (6, 1)), shift, 0.0, rng.uniform(0, 6, 6), 4.0, 6.0))
        _, unit = front.align(front.project(fids.to(torch.complex64)))
        aligned = unit[:, 0].numpy()
        # the unit is creatine's: not misled by lipids six times as large, at whatever shift
        np.testing.assert_allclose(aligned, aligned[0], rtol=0.03)
        assert abs(aligned[0] - 1) < 0.35


@pytest.mark.parametrize("snr", [12, 35])
def test_network_with_the_terms_comes_close_to_the_bound(snr):
    network = weights("h1_3t")
    result = efficiency(
        network.amplitudes, MODEL, TYPICAL, float(snr_to_sigma(MODEL, snr)), 2000, phase_rad=1.0, **SHAPE
    )
    result = result.isel(voxel=0, metabolite=slice(0, K))
    assert (result["sd_over_crlb"] < 1.15 + 3 * result["sd_over_crlb_se"]).all()
    assert (abs(result["bias"]) < 0.05 * TYPICAL[:K] + 4 * result["bias_se"]).all()


def test_blind_network_errs_as_the_projection_says():
    network = weights("h1_3t_metabolites")
    amplitudes = TYPICAL * np.where(MODEL.of_role("lipid"), 0.25, 1)
    predicted = crlb.misspecified_bias(MODEL, BLIND, amplitudes, **SHAPE) / TYPICAL[:K]
    found = network.amplitudes(MODEL.fids(amplitudes[None], **SHAPE), BLIND)[0] / TYPICAL[:K] - 1
    np.testing.assert_allclose(found, predicted, atol=0.06)
    assert (predicted > 0.1).all()


# the head


def test_leakage_falls_from_the_rim(heads):
    (phantom, regions), _ = heads
    lipid = (phantom.concentrations.sel(metabolite="Lip13") * phantom.b1 / 8).values
    _, rms = by_depth(lipid, regions["depth_mm"], phantom.mask, 14.0)
    assert rms[0] > 1.5 * rms[1:].mean()
    assert np.nanmax(np.abs(lipid)) == pytest.approx(8.0)
    assert (lipid[phantom.mask] < 0).any()
    assert not (regions["rim"] & regions["inside"]).any()
    assert (regions["scalp"] & regions["head"]).sum() > 20


def test_estimators_under_another_belief(heads):
    (phantom, regions), (clear, _) = heads
    network, blind = weights("h1_3t"), weights("h1_3t_metabolites")
    data = phantom.measure(np.inf)
    maps = under(estimate.make("sve", weights=blind), BLIND)(data)
    assert list(maps.metabolite.values) == MODEL.names
    assert np.isnan(maps.sel(metabolite=[*LIPIDS, "MM"])).all()
    ours = estimate.make("sve", weights=network)(data)
    truth = phantom.concentrations

    def rms(values, name):
        return float(np.sqrt(((values - truth).sel(metabolite=name).values[regions["rim"]] ** 2).mean()))

    assert all(rms(maps, name) > 2 * rms(ours, name) for name in ("NAA", "Glx"))
    error = lipid_error(blind, BLIND, phantom, clear, regions, 0.0)
    assert error["PRECISE, rim"] == pytest.approx(error["SVE, rim"])
    assert error["from beyond, with the MRI"] == pytest.approx(0, abs=1e-9)
