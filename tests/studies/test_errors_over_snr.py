"""Errors over the SNR on constructed estimates, whose bias, spread and dependence are known; the direction of M10."""

import numpy as np
import pytest
import xarray as xr

from precise_lib.errors import InputError
from precise_lib.proton import brain, denoised
from precise_lib.proton.brain import MAXIMUM_MM, METABOLITES
from precise_lib.proton.weights import Denoiser
from precise_lib.studies import errors_over_snr

WEAK = ("sI", "Glc", "Tau", "PE", "Asp", "Gly", "GABA", "Lac")


def named(values, *dims):
    return xr.DataArray(np.asarray(values, float), dims=dims)


def test_bias_sd_and_rmse_per_bin():
    rng = np.random.default_rng(0)
    snr = rng.uniform(5, 40, 40_000)
    error = named(0.3 + rng.standard_normal((40_000, 2)) * (10 / snr[:, None]) * [1, 2], "spectrum", "metabolite")
    found = errors_over_snr.errors_by_snr(error, snr, [10, 11, 20, 21])
    np.testing.assert_allclose(found.snr, [10.5, 15.5, 20.5])
    np.testing.assert_allclose(found.bias, 0.3, atol=5 * found.bias_se.values.max())
    expected = 10 / np.array([10.5, 20.5])[:, None] * [1, 2]
    np.testing.assert_allclose(found.sd[[0, 2]], expected, rtol=0.12)
    np.testing.assert_allclose(found.rmse**2, found.bias**2 + found.sd**2, rtol=2e-3)
    with pytest.raises(InputError):
        errors_over_snr.errors_by_snr(error, snr, [5, 40, 41])


def test_ratio_of_known_errors():
    rng = np.random.default_rng(1)
    snr = rng.uniform(5, 40, 20_000)
    z = rng.standard_normal((20_000, 2))
    ratio, (low, high) = errors_over_snr.rmse_ratio_over_snr(np.column_stack([z[:, 0] / snr, z[:, 1]]), snr)
    assert (low < [4, 1]).all()
    assert (high > [4, 1]).all()
    np.testing.assert_allclose(ratio, [4, 1], rtol=0.04)
    with pytest.raises(InputError):
        errors_over_snr.rmse_ratio_over_snr(z[:50], snr[:50] * 0 + 20)


def test_the_average_hides_what_each_third_shows():
    rng = np.random.default_rng(2)
    top = np.array([2.0, 10.0])
    truth = rng.uniform(0, 1, (60_000, 2)) * top
    noise = 0.1 * rng.standard_normal(truth.shape) * top
    shrunk = 0.4 * truth + 0.6 * top / 2  # keeps 40 % of the variation
    error = named([noise, shrunk - truth + noise], "source", "spectrum", "metabolite")
    truth = named(truth, "spectrum", "metabolite").assign_coords(metabolite=["a", "b"])
    error = error.assign_coords(metabolite=["a", "b"])
    found = errors_over_snr.bias_by_third(error, truth, top)
    within = 5 * float(found.se.max())
    np.testing.assert_allclose(found.bias[:, 0], 0, atol=within)
    np.testing.assert_allclose(found.bias[:, 1], np.array([[0.2], [0], [-0.2]]) * [1, 1], atol=within)
    np.testing.assert_allclose(error.mean("spectrum"), 0, atol=0.05)


@pytest.fixture(scope="module")
def found():
    data = brain.draw(140, seed=40)
    return data, denoised.quantified(data, {"1D": Denoiser.load("unet1d_small")}, non_negative=False)


def test_bounds_are_the_error_of_the_free_fit(found):
    data, quantified = found
    bound = errors_over_snr.bounds(brain.brain_basis(), data, brain.WINDOW)
    assert bound.dims == ("spectrum", "metabolite")
    z = (quantified.estimate.sel(source="noisy") - quantified.truth) / bound
    assert 0.9 < float(np.sqrt((z**2).mean())) < 1.1


def test_errors_of_weak_metabolites_hardly_depend_on_the_snr_after_denoising(found):
    """The direction of claim M10: fits of noisy spectra follow 1/SNR, fits of denoised ones do by less than half."""
    data, quantified = found
    error = (quantified.estimate - quantified.truth).sel(metabolite=list(WEAK)) / [MAXIMUM_MM[m] for m in WEAK]
    ratio = {s: errors_over_snr.rmse_ratio_over_snr(error.sel(source=s), data.snr)[0] for s in ("noisy", "1D")}
    assert np.median(ratio["noisy"]) > 2.5  # 4 in the limit of many spectra
    assert np.median(ratio["1D"] / ratio["noisy"]) < 0.5
    assert (ratio["1D"] < 0.75 * ratio["noisy"]).all()
    naa = METABOLITES.index("NAA")
    strong = (quantified.estimate - quantified.truth).sel(source="noisy")[:, [naa]]
    assert errors_over_snr.rmse_ratio_over_snr(strong, data.snr)[0] > 2.5
