"""Estimates over truth whose lines, errors and shares are known."""

import numpy as np
import pytest
import xarray as xr

from precise_lib.proton.brain import BLIND_RMSE_MM, LARGEST_MM, METABOLITES
from precise_lib.studies import quantified


@pytest.fixture(scope="module")
def found():
    """The truth itself, the half of its variation, and the truth with noise of a tenth of the range."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, LARGEST_MM.values, (400, len(METABOLITES)))
    half = LARGEST_MM.values / 2 + 0.5 * (truth - LARGEST_MM.values / 2)
    noisy = truth + 0.1 * LARGEST_MM.values * rng.standard_normal(truth.shape)
    dims, coords = ("source", "spectrum", "metabolite"), {"metabolite": list(METABOLITES)}
    estimate = (dims, np.stack([truth, half, noisy]))
    return xr.Dataset(
        {"truth": (dims[1:], truth), "estimate": estimate}, coords | {"source": ["exact", "half", "noisy"]}
    )


def test_lines_and_the_comparison_of_their_slopes(found):
    lines = quantified.lines(found)
    assert np.allclose(lines["half"].slope, 0.5)
    assert np.allclose(lines["noisy"].rmse / LARGEST_MM, 0.1, rtol=0.15)
    assert np.allclose([row[1:] for row in quantified.slopes({"half": lines["half"]})], 0.5)
    assert quantified.lower_slopes(found, "half", "noisy") == len(METABOLITES)
    assert quantified.lower_slopes(found, "noisy", "half") == 0


def test_errors_beside_each_other(found):
    assert quantified.worse(found, METABOLITES, "half", "noisy") == list(METABOLITES)  # 0.144 against 0.1 of the range
    assert quantified.worse(found, METABOLITES, "noisy", "half") == []
    squared = quantified.squared_error(found, "exact")
    assert float(squared.error.sel(source="noisy")) == pytest.approx(0.01, rel=0.05)
    assert np.allclose(squared.beyond, squared.distance)
    assert np.allclose(BLIND_RMSE_MM**2 * 12, LARGEST_MM**2)


def test_shares_of_the_middle_third(found):
    assert quantified.middle_third(found, "exact")[0] == pytest.approx(1 / 3, abs=0.09)
    share, (low, high) = quantified.middle_third(found, "half")  # the truth lies in the middle two thirds
    assert share == pytest.approx(2 / 3, abs=0.09)
    assert low < share < high
    assert quantified.normal_middle(1 / 3) == pytest.approx(0.6827, abs=1e-4)
    table = quantified.predicted(quantified.lines(found)["half"], quantified.shares(found)["half"])
    assert table.count("\n") == 1 + len(quantified.TRIO)
