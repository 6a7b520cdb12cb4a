"""A FID that is sampled some time after the excitation: what is lost, and what is found as if nothing were."""

from dataclasses import replace

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.estimate import catalog
from precise_lib.estimate.fit import Fit, fit_fids
from precise_lib.estimate.fourier import Fourier, integration_weights
from precise_lib.estimate.sampling import Sampler
from precise_lib.estimate.training import train
from precise_lib.estimate.weights import check_match, load_weights
from precise_lib.evaluate.closed_form import sve_covariance
from precise_lib.evaluate.crlb import eq6, numeric
from precise_lib.io.nifti_mrs import check_model
from precise_lib.quantify.measurement import resolve_model
from precise_lib.signal.model import SignalModel
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.signal.parts import Acquisition, Resonance
from precise_lib.signal.presets import dmi_11t7
from precise_lib.studies.posterior import TrainingPrior, posterior
from tests.helpers import AMPLITUDES, mean_bound, minute_config, sd_bounds

MS = 1e-3
NUISANCE = {"shift_hz": 7.0, "broadening_hz": 4.0, "phase_rad": 1.1}


def delayed(dead_time_s, model=None) -> SignalModel:
    model = dmi_11t7() if model is None else model
    return replace(model, acquisition=replace(model.acquisition, dead_time_s=dead_time_s))


def test_a_line_is_turned_by_its_frequency_and_has_decayed():
    """First-order phase: 2 pi (nu + shift) t0; amplitude and phase stay those at the excitation."""
    now, late, t0 = dmi_11t7(), delayed(0.6 * MS), 0.6 * MS
    rate = 2j * np.pi * now.frequencies_hz - 1 / now.t2star_s
    np.testing.assert_allclose(late.basis(), now.basis() * np.exp(rate * t0), atol=1e-12)
    common = np.exp((2j * np.pi * 7.0 - np.pi * 4.0) * t0)
    one = np.eye(4)
    expected = now.fids(one, **NUISANCE) * (np.exp(rate * t0) * common)[:, None]
    np.testing.assert_allclose(late.fids(one, **NUISANCE), expected, atol=1e-12)


@pytest.mark.parametrize("dwells", [1, 3])
def test_a_dead_time_of_whole_dwells_is_a_fid_without_its_first_samples(dwells):
    now = dmi_11t7()
    late = delayed(dwells * now.acquisition.dwell_time_s)
    whole = now.fids(AMPLITUDES, **NUISANCE)
    np.testing.assert_allclose(late.fids(AMPLITUDES, **NUISANCE)[:-dwells], whole[dwells:], atol=1e-12)


def test_no_dead_time_changes_neither_name_nor_values_of_a_model():
    model = dmi_11t7()
    assert model.hash == delayed(0.0).hash == "21ea79d60102"  # of the shipped network
    assert set(model.to_dict()["acquisition"]) == {
        "n_samples", "dwell_time_s", "spectrometer_frequency_mhz", "nucleus"
    }  # fmt: skip
    late = replace(model, acquisition=replace(delayed(MS).acquisition, repetition_time_s=0.4, flip_angle_deg=60.0))
    assert SignalModel.from_dict(late.to_dict()) == late
    assert late.hash != model.hash


@pytest.mark.parametrize("value", [-1e-4, np.nan, np.inf])
def test_a_dead_time_that_is_none_is_refused(value):
    with pytest.raises(InputError, match="dead_time_s"):
        delayed(value)


@pytest.mark.parametrize("t0", [0.3 * MS, 2 * MS])
def test_the_bound_follows_its_closed_form(t0):
    """Eq. 6 carried back to the excitation; lines ten times as far apart do not overlap, and dt over T is 1 / 400."""
    fine = SignalModel(Acquisition(4096, 5e-5, 767.0), dmi_11t7().resonances)
    ratio = [numeric(m, AMPLITUDES, 0.1) / eq6(m, AMPLITUDES, 0.1) for m in (fine, delayed(t0, fine))]
    np.testing.assert_allclose(ratio[1], 1, atol=0.03)
    np.testing.assert_allclose(sve_covariance(delayed(t0), AMPLITUDES[None], 0.1)[0].diagonal() ** 0.5,
                               numeric(delayed(t0), AMPLITUDES, 0.1), rtol=1e-9)  # fmt: skip


@pytest.mark.parametrize("t0", [0.3 * MS, 0.6 * MS, 1 * MS, 2 * MS])
def test_the_fit_attains_the_bound_without_bias(t0):
    model, n = delayed(t0), 3000
    sigma, rng = snr_to_sigma(model, 12.0), np.random.default_rng(0)
    clean = model.fids(np.tile(AMPLITUDES, (n, 1)), rng.uniform(-20, 20, n), 2.0, rng.uniform(-3, 3, n))
    fit = fit_fids(add_noise(clean, sigma, rng).astype(np.complex64), model)
    bound = numeric(model, AMPLITUDES, sigma, broadening_hz=2.0)
    low, high = sd_bounds(n, tests=16)
    ratio = fit.amplitudes.std(0, ddof=1) / bound
    assert (ratio > low).all(), ratio
    assert (ratio < max(high, 1.06)).all(), ratio  # second order in the noise, as without dead time
    bias = np.abs(fit.amplitudes.mean(0) - AMPLITUDES)
    assert (bias < 0.01 * AMPLITUDES + mean_bound(n, tests=16) * bound).all(), bias / AMPLITUDES
    assert fit.converged.mean() > 0.995


def test_without_the_dead_time_the_fit_is_wrong_and_with_it_exact():
    """At 0.6 ms Glc, 77 Hz from water, is 17 degrees off, Glx 38: two phases that a model with one cannot have."""
    fids = delayed(0.6 * MS).fids(AMPLITUDES)
    found = Fit().amplitudes(fids[None], dmi_11t7())[0]
    ratio = found / found[0] / AMPLITUDES
    assert (ratio[1:3] < 0.9).all()
    right = Fit().amplitudes(fids[None], delayed(0.6 * MS))[0]
    np.testing.assert_allclose(right, AMPLITUDES, rtol=1e-6)


@pytest.mark.parametrize("zero_fill", [False, True])
def test_fourier_turns_the_phases_back(zero_fill):
    """A line alone is found with amplitude and phase of the excitation."""
    model = delayed(0.6 * MS)
    peaks = np.einsum("tm,tk->mk", integration_weights(model, zero_fill=zero_fill), model.basis())
    np.testing.assert_allclose(np.diag(peaks).real, 1, atol=1e-9)
    assert np.abs(np.angle(np.diag(peaks))).max() < 0.2
    alone = model.fids([[1.0, 0, 0, 0]], phase_rad=0.7)
    assert Fourier(zero_fill=zero_fill).amplitudes(alone, model)[0, 0] == pytest.approx(1, abs=0.02)


def test_the_posterior_starts_there_too():
    model, config = delayed(1 * MS), minute_config()
    prior = TrainingPrior.of(replace(config, signal_model=model, amplitude_range=config.amplitude_range))
    clean = model.fids(np.array([[1.0, 0.4, 0.5, 0.3]]), 5.0, 1.0, 0.3)
    found = posterior(clean, model, 1e-3, prior, n_samples=512)
    np.testing.assert_allclose(found.mean / found.mean[:, :1], [[1, 0.4, 0.5, 0.3]], atol=0.01)


def test_training_draws_fids_of_its_own_acquisition(tmp_path):
    import torch

    config = minute_config()
    late = replace(config, signal_model=delayed(1 * MS, config.signal_model))
    fids, amplitudes, _ = Sampler(late).draw(8, torch.Generator().manual_seed(0))
    fit = fit_fids(fids.numpy(), late.signal_model)
    np.testing.assert_allclose(fit.amplitudes, amplitudes, atol=2e-3)
    network = load_weights(train(late, tmp_path, name="late", progress=False))
    assert network.signal_model.acquisition.dead_time_s == 1 * MS
    with pytest.raises(InputError, match="another acquisition"):
        check_match(network, config.signal_model)


def test_a_network_serves_its_own_dead_time_alone_and_the_fit_says_so():
    now, late = dmi_11t7().acquisition, delayed(0.6 * MS).acquisition
    assert not now.differences(delayed(2e-6).acquisition)
    assert now.differences(late)
    if catalog.fitting(now):
        assert not catalog.fitting(late)
        model, network, notes = resolve_model(None, "precise", late)
        assert network is None
        assert model.acquisition.dead_time_s == 0.6 * MS
        assert "dead time of 0.6 ms" in " ".join(notes)
    with pytest.raises(InputError, match=r"dead time in s 0\.0006 against 0"):
        check_model(dmi_11t7(), late)


def test_one_line_alone_keeps_its_amplitude():
    model = delayed(1.5 * MS, SignalModel(Acquisition(256, 4e-4, 76.7), (Resonance("water", 4.7, 0.02),)))
    np.testing.assert_allclose(fit_fids(model.fids([[2.0]], 9.0, 3.0), model).amplitudes, 2.0, rtol=1e-6)
