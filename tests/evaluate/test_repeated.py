"""One voxel again and again: what comes out for estimators whose precision and bias are known."""

import numpy as np
import pytest

from precise_lib.estimate.fit import Fit
from precise_lib.estimate.fourier import Fourier
from precise_lib.evaluate import crlb
from precise_lib.evaluate.montecarlo import amplitude_study
from precise_lib.evaluate.repeated import repeated
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.signal.presets import dmi_11t7
from tests.helpers import AMPLITUDES, sd_bounds

MODEL, SNRS, N = dmi_11t7(), [12.0, 30.0], 2000


@pytest.fixture(scope="module")
def voxel():
    methods = {"fit": Fit().amplitudes, "off": lambda fids, model: 1.1 * Fit().amplitudes(fids, model)}
    return repeated(methods | {"fourier": Fourier().amplitudes}, MODEL, AMPLITUDES, SNRS, N, seed=2)


@pytest.mark.parametrize("ratio", [False, True])
def test_the_fit_attains_the_bound_and_fourier_does_not(voxel, ratio):
    found = voxel.summary(ratio)
    bound = crlb.ratio_sd if ratio else crlb.numeric
    expected = [np.ravel(bound(MODEL, AMPLITUDES, float(s))) for s in snr_to_sigma(MODEL, SNRS, AMPLITUDES[0])]
    np.testing.assert_allclose(found["crlb"], [row[-found.sizes["metabolite"] :] for row in expected], rtol=1e-6)
    fit = found.sel(estimator="fit")
    assert (abs(fit["sd_over_crlb"] - 1) < 0.02 + 4.5 * fit["sd_over_crlb_se"]).all()
    assert (fit["sd_over_crlb_se"] < 0.3 / np.sqrt(2 * N)).all()  # far less than counting leaves
    assert (found["sd_over_crlb"].sel(estimator="fourier", metabolite="Glx") > 1.4).all()


def test_bias_and_scale_are_found(voxel):
    found = voxel.summary().sel(estimator="off", snr=30.0)
    assert (abs(found["bias_percent"] - 10) < 4.5 * found["bias_percent_se"] + 0.5).all()
    assert (abs(found["sd_over_crlb"] - 1.1) < 4.5 * found["sd_over_crlb_se"] + 0.01).all()
    same = voxel.summary(ratio=True)  # the factor cancels
    np.testing.assert_allclose(same["bias"].sel(estimator="off"), same["bias"].sel(estimator="fit"), atol=1e-12)


def test_counting_agrees(voxel):
    counted = amplitude_study({"fourier": Fourier().amplitudes}, MODEL, AMPLITUDES, SNRS, N, seed=5, ratio=True)
    ratio = voxel.summary(ratio=True)["sd"].sel(estimator="fourier") / counted["sd"].isel(estimator=0)
    low, high = (bound ** np.sqrt(2) for bound in sd_bounds(N, tests=6))
    assert ((ratio > low) & (ratio < high)).all()
