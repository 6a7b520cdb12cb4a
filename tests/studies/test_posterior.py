"""The posterior mean against brute force (draws from the prior, weighted by the likelihood) and against its limits."""

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.estimate.fit import fit_fids
from precise_lib.estimate.train_config import TrainConfig
from precise_lib.evaluate.crlb import numeric
from precise_lib.signal.model import SignalModel
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.signal.parts import Acquisition, Resonance
from precise_lib.signal.presets import dmi_11t7
from precise_lib.simulate.phantoms import rings
from precise_lib.studies.posterior import PosteriorMean, TrainingPrior, posterior

ACQUISITION = Acquisition(40, 2e-3, 76.7)
ONE = SignalModel(ACQUISITION, (Resonance("water", 4.7, 0.02),))
# 20 Hz apart: lines 16 Hz wide that overlap
TWO = SignalModel(ACQUISITION, (Resonance("Lac", 4.44, 0.02), Resonance("water", 4.7, 0.02)))


def brute_force(fid, model, sigma, prior, n=200_000, seed=5):
    """Mean under draws from the prior, and its standard error."""
    rng = np.random.default_rng(seed)
    m, water = len(model.names), model.index(model.reference)
    amplitudes = prior.amplitudes[:, 0] + np.diff(prior.amplitudes, axis=1)[:, 0] * rng.random((n, m))
    log_weight = np.zeros(n)
    if prior.relative:
        lowest = prior.lowest_snr * sigma / snr_to_sigma(model, 1.0)
        scale = np.exp(rng.uniform(np.log(lowest), np.log(5), n))  # wide enough for a FID of water 1
        amplitudes = amplitudes * scale[:, None]
        log_weight = -(2 + (prior.noise == "uniform_sigma")) * np.log(scale)
        assert (prior.amplitudes[water] == 1).all()
    shift, broad = rng.uniform(*prior.shift_hz, n), rng.uniform(*prior.broadening_hz, n)
    clean = model.fids(amplitudes, shift, broad, rng.uniform(-np.pi, np.pi, n))
    log_weight = log_weight - 0.5 * (np.abs(fid - clean) ** 2).sum(-1) / sigma**2
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    mean = weight @ amplitudes
    return mean, np.sqrt(weight**2 @ (amplitudes - mean) ** 2)


@pytest.mark.parametrize("snr", [1.5, 4])
@pytest.mark.parametrize(("model", "amplitudes", "prior"), [
    (ONE, [0.8], TrainingPrior([(0, 1)], (-8, 8), (-4, 8))),
    (TWO, [0.1, 0.7], TrainingPrior([(0, 1), (0, 1)], (-8, 8), (-4, 8))),
    (TWO, [0.1, 1.0], TrainingPrior([(-0.2, 0.6), (1, 1)], (-8, 8), (-4, 8), True, 1.0)),
    (TWO, [0.1, 1.0], TrainingPrior([(-0.2, 0.6), (1, 1)], (-8, 8), (-4, 8), True, 1.0, "uniform_sigma")),
], ids=["one line", "two overlapping lines", "scale unknown", "scale unknown, noise uniform"])  # fmt: skip
def test_equals_brute_force(model, amplitudes, prior, snr):
    sigma = float(snr_to_sigma(model, snr))
    fids = add_noise(np.tile(model.fids(amplitudes, 3.0, 1.0, 0.5), (4, 1)), sigma, np.random.default_rng(0))
    result = posterior(fids, model, sigma, prior, n_samples=8192)
    assert result.effective.min() > 10
    for fid, mean, sd, effective in zip(fids, result.mean, result.sd, result.effective, strict=True):
        reference, error = brute_force(fid, model, sigma, prior)
        np.testing.assert_array_less(np.abs(mean - reference), 4.5 * np.hypot(error, sd / np.sqrt(effective)))


@pytest.mark.parametrize("config", [TrainConfig.papers_recipe(), TrainConfig()], ids=["plain", "best"])
def test_is_calibrated_over_its_prior(config):
    """Truth and FID drawn from the prior (next to no water among them): no bias, and an SD that means something."""
    n, prior, model, rng = 600, TrainingPrior.of(config), dmi_11t7(), np.random.default_rng(1)
    low, high = prior.amplitudes.T
    truth = low + (high - low) * rng.random((n, 4))
    shift, broad = rng.uniform(*prior.shift_hz, n), rng.uniform(*prior.broadening_hz, n)
    sigma = float(snr_to_sigma(model, 12))
    fids = add_noise(model.fids(truth, shift, broad, rng.uniform(-np.pi, np.pi, n)), sigma, rng)
    result = posterior(fids, model, sigma, prior, 128)
    z = (result.mean - truth) / result.sd
    assert np.abs(z.mean(0)).max() < 4 / np.sqrt(n)
    assert np.abs((z**2).mean(0) - 1).max() < 0.3
    assert np.percentile(result.effective, 5) > 15


def test_few_draws_suffice():
    sigma = float(snr_to_sigma(dmi_11t7(), 8))
    fids = add_noise(np.tile(dmi_11t7().fids([1, 0.25, 0.3, 0.1], 4.0), (100, 1)), sigma, np.random.default_rng(0))
    prior = TrainingPrior.of(TrainConfig.papers_recipe())
    few, many = (posterior(fids, dmi_11t7(), sigma, prior, n_samples=n, seed=n) for n in (128, 2048))
    assert np.median(few.effective) > 30
    assert ((few.mean - many.mean) / many.sd).std() < 0.15
    assert np.abs(((few.mean - many.mean) / many.sd).mean()) < 0.05


def test_little_noise_gives_the_fit():
    model, amplitudes = dmi_11t7(), np.array([1, 0.25, 0.3, 0.1])
    sigma = float(snr_to_sigma(model, 200))
    fids = add_noise(np.tile(model.fids(amplitudes, -6.0, 5.0, 1.0), (50, 1)), sigma, np.random.default_rng(0))
    fit, bound = fit_fids(fids, model).amplitudes, numeric(model, amplitudes, sigma, shift_hz=-6.0, broadening_hz=5.0)
    for config in (TrainConfig.papers_recipe(), TrainConfig()):
        result = posterior(fids, model, sigma, TrainingPrior.of(config))
        assert np.abs((result.mean - fit) / bound).mean() < 0.15
        np.testing.assert_allclose(result.sd.mean(0), bound, rtol=0.1)


def test_noise_alone_gives_the_middle_of_the_prior():
    """Of the prior less what even noise says: that there is no large signal. At endless noise nothing is left."""
    prior = TrainingPrior([(0, 2), (0, 1)], (-8, 8), (-4, 8))
    fids = 100 * np.random.default_rng(0).standard_normal((20, 40, 2)).view(complex)[..., 0]
    result = posterior(fids, TWO, 100.0, prior, n_samples=1024)
    np.testing.assert_allclose(result.mean, np.tile([1.0, 0.5], (20, 1)), rtol=0.12)
    np.testing.assert_allclose(result.sd, np.tile([2, 1] / np.sqrt(12), (20, 1)), rtol=0.12)


def test_unknown_scale_makes_the_estimate_equivariant():
    model, prior = dmi_11t7(), TrainingPrior.of(TrainConfig())
    sigma = float(snr_to_sigma(model, 10))
    fids = add_noise(np.tile(model.fids([1, 0.25, 0.3, 0.1]), (20, 1)), sigma, np.random.default_rng(0))
    results = [posterior(s * fids, model, s * sigma, prior).mean / s for s in (1, 4)]
    np.testing.assert_allclose(*results, rtol=1e-4)


def test_as_an_estimator_it_finds_the_noise_itself():
    data = rings().measure(12, seed=0)
    data = data.replace(mask=data.mask & (np.arange(32) % 8 == 4)[:, None, None])
    prior = TrainingPrior.of(TrainConfig.papers_recipe())
    maps = PosteriorMean(prior)(data)
    assert maps.dims == ("metabolite", "x", "y", "z")
    sigma = float(snr_to_sigma(data.model, 12))
    known = posterior(data.fids[data.usable], data.model, sigma, prior, n_samples=512)
    found = PosteriorMean(prior).amplitudes(data.fids[data.usable], data.model)
    assert ((found - known.mean) / known.sd).std() < 0.15
    np.testing.assert_allclose(maps.values[:, data.usable].T, data.model.concentrations(found), rtol=1e-6)


def test_result_does_not_depend_on_the_chunk(monkeypatch):
    sigma, prior = float(snr_to_sigma(TWO, 5)), TrainingPrior([(0, 1), (0, 2)], (-8, 8), (-4, 8))
    fids = add_noise(np.tile(TWO.fids([0.3, 1.0]), (30, 1)), sigma, np.random.default_rng(0))
    whole = posterior(fids, TWO, sigma, prior).mean
    monkeypatch.setattr("precise_lib.studies.posterior.CHUNK", 7)
    np.testing.assert_allclose(posterior(fids, TWO, np.full(30, sigma), prior).mean, whole, rtol=1e-5)


def test_priors_that_make_no_sense():
    with pytest.raises(InputError, match="lower end below"):
        TrainingPrior([(0, 1), (1, 1)], (-8, 8), (-4, 8))
    with pytest.raises(InputError, match="lower end below"):
        TrainingPrior([(0, 1)], (8, -8), (-4, 8))
    with pytest.raises(InputError, match="1 lines, the model has 4"):
        posterior(np.ones((1, 512), complex), dmi_11t7(), 1.0, TrainingPrior([(0, 1)], (-8, 8), (-4, 8)))
