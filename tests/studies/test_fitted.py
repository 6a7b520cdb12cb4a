"""Fits of spectra with next to no noise give the truth; what the page draws exists."""

import numpy as np
import pytest

from precise_lib.proton import brain, denoised
from precise_lib.studies import errors_over_snr, fitted, quantified


def test_loud_spectra_are_fitted_right_under_both_bounds():
    found = fitted.fitted(brain.draw(8, 0, snr=(4000.0, 4000.0)))
    assert found.converged.all()
    assert (abs(found.estimate - found.truth) < 6 * found.bound + 1e-3 * brain.LARGEST_MM).all()
    assert (found.whole <= found.bound * 1.0001).all()
    assert found.spectra_per_s > 0
    lines = quantified.lines(found)
    fitted.truth_figure(found, lines, quantified.TRIO)
    fitted.bound_figure(brain.LARGEST_MM * 0 + 1, 8, lines, brain.LARGEST_MM * 0.01, list(brain.METABOLITES))


@pytest.fixture(scope="module")
def data():
    return brain.draw(40, 3)


def test_errors_of_the_unbounded_fit_follow_the_bound(data):
    found = denoised.quantified(data, {}, unbounded=True)
    assert found.source.values.tolist() == ["noisy", denoised.UNBOUNDED]
    error, own = found.estimate - found.truth, errors_over_snr.Yardsticks(data)
    by_snr, (bound, best) = errors_over_snr.errors_by_snr(error, data.snr, [5, 20, 40]), own.in_bins([5, 20, 40])
    ratio = (by_snr.rmse.sel(source=denoised.UNBOUNDED) / bound).mean()
    assert float(ratio) == pytest.approx(1, abs=0.15)
    assert (best < brain.BLIND_RMSE_MM).all()
    ratios, ends = own.rmse_ratios(error)
    assert set(ratios) == {*error.source.values.tolist(), "Cramér-Rao bound", "best linear estimate"}
    assert all((ends[s][0] <= ends[s][1]).all() for s in ends)
    assert np.isin(("NAA", "tCr"), own.order[:5]).all()


def test_a_fit_from_a_start_nearby_is_that_from_the_grid(data):
    found = denoised.quantified(data, {}, unbounded=True).estimate.sel(source=denoised.UNBOUNDED, drop=True)
    free = denoised.quantified(data, {}, non_negative=False)
    assert (abs(found - free.estimate.sel(source="noisy", drop=True)) < 0.01 * free.crlb.sel(source="noisy")).all()
