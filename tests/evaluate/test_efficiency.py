"""SD over CRLB with the noise's own error taken out: the same answer as counting, and far less of chance."""

import numpy as np
import pytest

from precise_lib.estimate.fit import Fit
from precise_lib.evaluate.crlb import numeric
from precise_lib.evaluate.efficiency import efficiency
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.signal.presets import dmi_11t7
from tests.helpers import AMPLITUDES, mean_bound, sd_bounds

MODEL = dmi_11t7()
SIGMA = float(snr_to_sigma(MODEL, 20))
VOXELS = np.array([AMPLITUDES, 0.7 * AMPLITUDES, AMPLITUDES[[0, 3, 1, 2]]])
NUISANCE = {"shift_hz": np.array([0.0, 8.0, -5.0]), "broadening_hz": np.array([0.0, 6.0, -2.0]), "phase_rad": 0.7}


@pytest.fixture(scope="module")
def fit():
    return efficiency(Fit().amplitudes, MODEL, VOXELS, SIGMA, n_repeats=1500, seed=1, **NUISANCE)


def test_the_fit_is_efficient(fit):
    np.testing.assert_allclose(fit["crlb"], numeric(MODEL, VOXELS, SIGMA, **NUISANCE), rtol=1e-9)
    ratio, error = fit["sd_over_crlb"], fit["sd_over_crlb_se"]
    assert (abs(ratio - 1) < 0.02 + 4.5 * error).all()
    assert (abs(fit["bias"]) < 0.05 * fit["crlb"]).all()


def test_agrees_with_counting_and_is_sharper(fit):
    low, high = sd_bounds(1500, tests=12)
    counted = fit["sd"] / fit["crlb"]
    assert (counted / fit["sd_over_crlb"] > low).all()
    assert (counted / fit["sd_over_crlb"] < high).all()
    assert (abs(fit["mean"] - VOXELS - fit["bias"]) < mean_bound(1500, 12) * fit["crlb"]).all()
    assert (fit["sd_over_crlb_se"] < 0.5 / np.sqrt(2 * 1500)).all()


def test_a_known_inefficiency_is_found():
    """An efficient linear estimate, shrunk by a tenth and made noisier by half: ratio sqrt(.81 + .25), known bias."""
    rng, bound = np.random.default_rng(3), numeric(MODEL, AMPLITUDES, SIGMA)

    def method(fids, model):
        estimate = Fit().amplitudes(fids, model)
        return 0.9 * estimate + 0.5 * bound * rng.standard_normal(estimate.shape)

    result = efficiency(method, MODEL, AMPLITUDES, SIGMA, n_repeats=3000)
    assert (abs(result["sd_over_crlb"] - np.sqrt(0.81 + 0.25)) < 0.02 + 4.5 * result["sd_over_crlb_se"]).all()
    assert (abs(result["bias"] + 0.1 * AMPLITUDES) < 0.05 * bound + 4.5 * result["bias_se"]).all()


def test_batches_do_not_matter(monkeypatch):
    whole = efficiency(Fit().amplitudes, MODEL, VOXELS, SIGMA, n_repeats=40)
    assert whole.attrs["n_repeats"] == 40
    monkeypatch.setattr("precise_lib.evaluate.efficiency.BATCH", 21)
    parts = efficiency(Fit().amplitudes, MODEL, VOXELS, SIGMA, n_repeats=40)
    assert parts["sd"].shape == (3, 4)
    np.testing.assert_allclose(parts["sd_over_crlb"], whole["sd_over_crlb"], atol=0.2)
