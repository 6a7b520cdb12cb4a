"""Errors by region: closed form against counting, contrasts exact on perfect maps, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from precise_lib.errors import InputError
from precise_lib.estimate.fit import Fit
from precise_lib.estimate.prior import ExactSolver, edge_weights
from precise_lib.simulate.phantoms import TUMOR_MM, b0_map, b1_map, rings
from precise_lib.studies import regions
from precise_lib.studies.regularization import gray_levels

SNR, LAMS = 25.0, [0.0, 0.01, 0.04]


@pytest.fixture(scope="module")
def phantom():
    whole = rings(matrix=16, mri_matrix=80)
    return replace(whole, b0_hz=b0_map(whole.mask.shape, 6.0), b1=b1_map(whole.mask.shape))


@pytest.fixture(scope="module")
def healthy(phantom):
    maps = phantom.concentrations.copy()
    ring = maps.values[:, phantom.compartments == 2]
    for site in ("B", "C"):
        maps.values[:, phantom.tumors[site]] = np.median(ring, 1)[:, None]
    return replace(phantom, concentrations=maps)


@pytest.fixture(scope="module")
def setting(phantom, healthy):
    priors = {"MRI": gray_levels(phantom), "flat": np.where(phantom.mask, 0.0, np.nan)}
    where = {"ring 3": phantom.compartments == 3, **{site: phantom.tumors[site] for site in "BC"}}
    contrasts = {site: regions.region_contrast(phantom, phantom.tumors[site], healthy) for site in "BC"}
    return {"priors": priors, "lams": LAMS, "regions": where, "contrasts": contrasts}


def test_closed_form_is_what_counting_finds(phantom, setting):
    theory = regions.predicted(phantom, SNR, **setting)
    counted = regions.measured(
        lambda f: Fit().amplitudes(f, phantom.model), phantom, SNR, **setting, n_repeats=80, n_bootstrap=200
    )
    metabolites = ["Glc", "Glx", "Lac"]
    # 80 realizations of at least 4 voxels, correlated by the prior: an SD to about 1 / sqrt(2 * 80) = 8 %
    ratio = (counted["sd"] / theory["sd"]).sel(metabolite=metabolites)
    assert abs(ratio - 1).max() < 0.25
    assert abs(ratio.mean() - 1) < 0.05
    # of the bias a part as large as the uncertainty of a mean may be missing
    for name, sd in (("bias", 0.25), ("rmse", 0.25)):
        difference = abs(counted[name] - theory[name]).sel(metabolite=metabolites)
        assert (difference < sd * theory["rmse"].sel(metabolite=metabolites)).all(), name
    kept = (counted["kept"] - theory["kept"]).sel(metabolite=["Glx", "Lac"])
    assert (abs(kept) < 4 * counted["kept_sd"].sel(metabolite=["Glx", "Lac"]) / np.sqrt(80) + 0.02).all()
    inside = (counted["ratio_low"] <= counted["ratio"]) & (counted["ratio"] <= counted["ratio_high"])
    assert inside.sel(metabolite=metabolites).all()
    assert np.isnan(counted["ratio"].sel(metabolite="water")).all()  # water over itself has no error to compare


def test_no_prior_leaves_contrast_and_errors_alone(phantom, setting):
    theory = regions.predicted(phantom, SNR, **setting).sel(lam=0)
    np.testing.assert_allclose(theory["ratio"].sel(metabolite=["Glc", "Glx", "Lac"]), 1)
    np.testing.assert_allclose(theory["bias"], 0, atol=1e-9)
    np.testing.assert_allclose(theory["kept"].sel(metabolite=["Glx", "Lac"]), 1)
    # a tumor changes no water: there is no contrast to keep
    assert np.isnan(theory["kept"].sel(metabolite="water")).all()


def test_an_mri_that_shows_the_tumor_keeps_more_of_it_than_none(phantom, setting):
    kept = regions.predicted(phantom, SNR, **setting)["kept"].sel(metabolite="Lac", lam=0.01)
    assert kept.sel(prior="MRI", contrast="C") > kept.sel(prior="flat", contrast="C") + 0.05
    assert kept.sel(prior="MRI", contrast="C") > kept.sel(prior="MRI", contrast="B") + 0.05


def test_tissue_contrast_is_exact_on_mixed_voxels_and_blind_to_the_rest():
    phantom = rings(matrix=16, mri_matrix=80)
    rng = np.random.default_rng(0)
    share = rng.dirichlet([1, 1, 1], size=phantom.mask.shape)
    levels = np.array([[10, 2.0, 4.0, 1.0], [10, 1.0, 3.0, 0.5], [10, 0.0, 0.0, 0.0]])
    maps = phantom.concentrations.copy(data=np.moveaxis(share @ levels, -1, 0)).where(phantom.mask)
    phantom = replace(phantom, concentrations=maps)
    fractions = xr.DataArray(
        np.moveaxis(share, -1, 0), dims=("tissue", "x", "y", "z"), coords={"tissue": ["gray", "white", "CSF"]}
    )
    contrast = regions.tissue_contrast(phantom, fractions, phantom.compartments == 2)
    truth = maps.values[:, phantom.mask].T
    np.testing.assert_allclose(contrast(truth)[1:], 1)
    np.testing.assert_allclose((contrast.full - contrast.baseline)[1:], [1.0, 1.0, 0.5])
    half = truth.mean(0) + (truth - truth.mean(0)) / 2
    np.testing.assert_allclose(contrast(half)[1:], 0.5)
    elsewhere = truth + 5.0 * (phantom.compartments[phantom.mask] == 1)[:, None]
    np.testing.assert_allclose(contrast(elsewhere)[1:], 1)


def test_region_contrast_is_the_share_of_the_lesion(phantom, healthy):
    region = phantom.tumors["B"]
    contrast = regions.region_contrast(phantom, region, healthy)
    truth, without = (p.concentrations.values[:, p.mask].T for p in (phantom, healthy))
    np.testing.assert_allclose(contrast(truth)[2:], 1)
    np.testing.assert_allclose(contrast(without)[2:], 0, atol=1e-12)
    np.testing.assert_allclose(contrast((truth + 3 * without) / 4)[2:], 0.25)
    assert (contrast.full - contrast.baseline)[3] == pytest.approx(TUMOR_MM[3] - 1.0)


def test_bias_under_a_sensitivity_is_that_of_the_amplitudes(phantom, setting):
    """Eq. 4 smooths amplitudes; bright neighbors count for more."""
    theory = regions.predicted(phantom, SNR, **setting).sel(prior="MRI", lam=0.04)
    amplitudes, _ = regions.signal(phantom)
    smooth = ExactSolver(edge_weights(setting["priors"]["MRI"]), 0.04)(amplitudes)
    maps = 10 * smooth / smooth[:, [0]]
    error = maps - phantom.concentrations.values[:, phantom.mask].T
    for name, region in setting["regions"].items():
        expected = np.sqrt((error[region[phantom.mask]] ** 2).mean(0))
        np.testing.assert_allclose(theory["bias"].sel(region=name), expected, atol=1e-9)


def test_zero_must_be_among_the_lambdas_and_one_repeat_is_none(phantom, setting):
    with pytest.raises(InputError, match="must include 0"):
        regions.predicted(phantom, SNR, **(setting | {"lams": [0.01]}))
    with pytest.raises(InputError, match="at least two"):
        regions.measured(lambda f: f, phantom, SNR, **setting, n_repeats=1)
