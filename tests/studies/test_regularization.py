"""The errors of the MRI prior: closed form against Monte Carlo and theory, one noise for everything, fine-tuning."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from precise_lib.errors import InputError
from precise_lib.estimate.fit import Fit
from precise_lib.estimate.prior import ExactSolver, edge_weights
from precise_lib.estimate.weights import Sve
from precise_lib.evaluate.montecarlo import phantom_study
from precise_lib.simulate.phantoms import rings
from precise_lib.studies.finetuning import finetuning_study, jackknife, tradeoff
from precise_lib.studies.regularization import (
    closed_form,
    contrast,
    gray_levels,
    regularization_studies,
    regularization_study,
    to_maps,
)
from tests.helpers import mean_bound, sd_bounds, tiny_network

LAMS, OMEGAS = [0.0, 0.01, 0.04], [5.5, 30.0]


@pytest.fixture(scope="module")
def theory():
    return closed_form(rings(), 20.0, LAMS, OMEGAS)


def test_contrast_of_the_truth_and_of_a_ring_without_tumors():
    phantom = rings()
    truth = phantom.concentrations.values
    expected = np.tile([0.0, 1, 1, 0], (4, 1))
    expected[0] = np.nan  # water does not change in a tumor
    np.testing.assert_allclose(contrast(phantom, truth), expected)
    half = truth.copy()
    half[3][phantom.tumors["B"]] = 2.0  # halfway from 1 to 3 mM
    assert contrast(phantom, np.stack([half, truth]))[:, 3, 1].tolist() == [0.5, 1.0]


def test_closed_form_at_the_ends(theory):
    """lambda = 0 is SVE; water is one everywhere, so its ratio to itself has neither SD nor bias."""
    np.testing.assert_allclose(theory["bias"].sel(lam=0).fillna(0), 0, atol=1e-12)
    assert float(theory["sd"].sel(metabolite="water").max()) == pytest.approx(0, abs=1e-7)
    kept = theory["recovery"].sel(metabolite="Lac")
    np.testing.assert_allclose(kept.sel(lam=0), np.tile([0, 1, 1, 0], (2, 1)), atol=1e-12)
    # a site that is no lesion stays none: smoothing a flat ring leaves it flat
    assert float(np.abs(kept.sel(site=["A", "D"])).max()) < 1e-3


def test_recovery_is_linear_algebra(theory):
    """By hand, for one metabolite and one setting."""
    phantom = rings()
    h = ExactSolver(edge_weights(gray_levels(phantom), 30.0), 0.04)
    lac = h(phantom.amplitudes[phantom.mask][:, [3]])[:, 0] * 10
    kept = (lac[phantom.tumors["B"][phantom.mask]].mean() - 1) / 2
    assert float(theory["recovery"].sel(omega_max=30, lam=0.04, metabolite="Lac", site="B")) == pytest.approx(kept)


def test_monte_carlo_meets_the_closed_form(theory):
    """With a fit as estimator, which is unbiased and efficient: SD, bias and contrast, every lambda and omega_max."""
    phantom, n = rings(), 40
    study = regularization_study(lambda f: Fit().amplitudes(f, phantom.model), phantom, 20.0, LAMS, OMEGAS, n, batch=16)
    ratio = (study["sd"] / theory["sd"]).isel(metabolite=slice(1, None))
    pooled = np.sqrt((ratio**2).mean(("x", "y", "z")))
    # voxels share noise once they are smoothed, so the pooled SD counts as fewer draws; 2 % for the fit at this SNR
    low, high = sd_bounds(n * 30, tests=18)
    assert low - 0.02 < float(pooled.min()) <= float(pooled.max()) < high + 0.02
    error = (study["bias"] - theory["bias"]).isel(metabolite=slice(1, None))
    z = np.abs(error / (theory["sd"] / np.sqrt(n)).isel(metabolite=slice(1, None)))
    assert float(z.max()) < 1.1 * mean_bound(1, tests=z.size)
    spread = study["recovery_sd"].isel(metabolite=slice(1, None)) / np.sqrt(n)
    off = np.abs(study["recovery"] - theory["recovery"]).isel(metabolite=slice(1, None)) / spread
    assert float(off.max()) < 4.6
    assert study.attrs["n_repeats"] == n


def test_the_noise_is_that_of_every_other_study():
    phantom, network = rings(), tiny_network()
    ours = regularization_study(network.amplitudes, phantom, 12.1, [0.0], n_repeats=3, seed=5, batch=2)
    other = phantom_study({"sve": Sve(network)}, phantom, 12.1, 3, seed=5).isel(estimator=0)
    for name in ("mean", "sd", "bias"):
        np.testing.assert_allclose(ours[name].isel(omega_max=0, lam=0), other[name], atol=1e-12)


def test_phantoms_on_one_noise_are_each_what_they_are_alone():
    """Only voxels whose content differs are estimated again, so the second must not keep what the first had there."""
    phantoms, network, seen = [rings(size) for size in (2, 1, 4)], tiny_network(), []

    def estimate(fids):
        seen.append(len(fids))
        return network.amplitudes(fids)

    together = regularization_studies(estimate, phantoms, 12.1, LAMS, n_repeats=2, seed=5)
    assert seen == 2 * [int(phantoms[0].mask.sum()), 6, 24]  # 4 to 1 and 4 to 16 voxels at B and at C
    for phantom, own in zip(phantoms, together, strict=True):
        alone = regularization_study(network.amplitudes, phantom, 12.1, LAMS, n_repeats=2, seed=5)
        for name in ("mean", "sd", "recovery", "recovery_sd", "truth"):
            np.testing.assert_allclose(own[name], alone[name], atol=1e-5)
    with pytest.raises(InputError, match="one shape"):
        regularization_studies(estimate, [rings(), rings(matrix=16)], 12.1, LAMS)


def test_batches_do_not_matter_and_one_repeat_is_refused():
    phantom, network = rings(), tiny_network()
    a, b = (regularization_study(network.amplitudes, phantom, 12.1, [0.01], n_repeats=5, batch=k) for k in (2, 5))
    np.testing.assert_allclose(a["sd"], b["sd"], atol=1e-12)
    np.testing.assert_allclose(a["recovery_sd"], b["recovery_sd"], atol=1e-12)
    with pytest.raises(InputError, match="at least two"):
        regularization_study(network.amplitudes, phantom, 12.1, [0.01], n_repeats=1)


def test_finetuned_networks_stand_beside_the_exact_minimizer():
    phantom, network = rings(), tiny_network()
    study = finetuning_study(network, phantom, 12.1, [(5.5, 0.01, 1), (5.5, 0.01, 8)], n_repeats=2, seed=3)
    assert dict(study.sizes) == {"setting": 2, "repeat": 2, "metabolite": 4, "x": 32, "y": 32, "z": 1}
    assert study["epochs"].values.tolist() == [1, 8]
    assert (study["seconds"] > 0).all()
    far, near = study["distance"].mean("repeat").values
    assert 0 < near < far
    solver = ExactSolver(edge_weights(gray_levels(phantom), 5.5), 0.01)
    # the ratio of smoothed amplitudes is what is stored
    mc = regularization_study(network.amplitudes, phantom, 12.1, [0.0, 0.01], n_repeats=2, seed=3).isel(omega_max=0)
    np.testing.assert_allclose(study["sve"].mean("repeat"), mc["mean"].sel(lam=0), atol=1e-9)
    np.testing.assert_allclose(study["exact"][0].mean("repeat"), mc["mean"].sel(lam=0.01), atol=1e-9)
    assert to_maps(phantom, solver(phantom.amplitudes[phantom.mask])).shape == (4, 32, 32, 1)


def test_jackknife_of_a_mean_is_its_standard_error():
    samples = np.random.default_rng(0).normal(size=(12, 3))
    value, error = jackknife(lambda x: x.mean(0), samples)
    np.testing.assert_allclose(value, samples.mean(0))
    np.testing.assert_allclose(error, samples.std(0, ddof=1) / np.sqrt(12))


def test_tradeoff_takes_only_the_difference_from_the_study(theory):
    """A 'network' that is exact has the closed form's numbers without error; one that halves everything, known ones."""
    phantom, n = rings(), 4
    rng = np.random.default_rng(0)
    noisy = theory["mean"].sel(omega_max=5.5, lam=0.01).values + 0.1 * rng.standard_normal((n, 4, 32, 32, 1))
    maps = xr.DataArray(np.stack([noisy, noisy]), dims=("setting", "repeat", "metabolite", "x", "y", "z"))
    halved = maps.copy(data=np.stack([noisy, 1 + (noisy - 1) / 2]))
    settings = {"omega_max": ("setting", [5.5, 5.5]), "lam": ("setting", [0.01, 0.01])}
    where = phantom.compartments == 2
    result = tradeoff(xr.Dataset({"exact": maps, "tuned": halved}, settings), phantom, theory, where)
    at = theory.sel(omega_max=5.5, metabolite="Lac")
    sd = [np.sqrt((at["sd"].sel(lam=v).values[where] ** 2).mean()) for v in (0.0, 0.01)]
    np.testing.assert_allclose(result["gain"], [sd[0] / sd[1], 2 * sd[0] / sd[1]])
    np.testing.assert_allclose(result["gain_se"], 0, atol=1e-12)
    exact = contrast(phantom, noisy)[:, 3].mean(0)
    np.testing.assert_allclose(result["kept"][0], at["recovery"].sel(lam=0.01))
    np.testing.assert_allclose(result["kept"][1], at["recovery"].sel(lam=0.01) - exact / 2)


def test_a_phantom_with_fields_of_its_own_is_refused():
    phantom = rings()
    with pytest.raises(InputError, match="without fields"):
        closed_form(replace(phantom, b1=np.full(phantom.mask.shape, 0.5)), 12.0, [0.01])
