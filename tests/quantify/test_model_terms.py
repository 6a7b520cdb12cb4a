"""Signal models with more than Eq. 2, spectra that no model explains, and estimators that say they are biased."""

from dataclasses import replace

import numpy as np
import pytest

from precise_lib.estimate.fit import Fit, fit_fids
from precise_lib.estimate.fourier import Fourier
from precise_lib.quantify import flags
from precise_lib.quantify.errors import ErrorModel
from precise_lib.quantify.estimates import estimate
from precise_lib.signal.mrsi import MRSI, Series
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.signal.parts import Resonance
from precise_lib.signal.presets import dmi_3t, dmi_11t7
from tests.helpers import AMPLITUDES, sd_bounds

MODEL = dmi_11t7()
VOIGT = replace(MODEL, lineshape="voigt")
LIPID = replace(MODEL, resonances=(*MODEL.resonances, Resonance("lipid", 1.05, 0.02, "lipid")))


def series(model, amplitudes, snr, fitted=None, n=200, **nuisance):
    sigma = snr_to_sigma(model, snr)
    clean = np.broadcast_to(model.fids(amplitudes, **nuisance), (n, model.acquisition.n_samples))
    fids = add_noise(clean, sigma, np.random.default_rng(0)).astype(np.complex64)
    return Series.of(MRSI(fids[:, None, None], fitted or model))


@pytest.mark.parametrize("snr", [15, 100])
@pytest.mark.parametrize(
    ("model", "amplitudes", "nuisance"),
    [
        (VOIGT, AMPLITUDES, {"gaussian_hz": 20.0}),
        (LIPID, [*AMPLITUDES, 0.4], {"offset_hz": 8.0}),
    ],
)
def test_models_with_more_terms_are_not_flagged_and_their_sd_is_the_scatter(model, amplitudes, nuisance, snr):
    """Flags and the bound without these terms flagged all voxels at SNR 100, and an SD a third too small."""
    known = estimate(series(model, amplitudes, snr, shift_hz=3.0, **nuisance), Fit())
    (name, value), *_ = nuisance.items()
    assert np.median(known.fit.nuisance(model)[name]) == pytest.approx(value, rel=0.1)
    found = {flag.reason: flag.hits.sum() for flag in known.flags(Fit())}
    assert found["residual"] <= 3
    assert sum(found.values()) <= 4
    stated = np.median(ErrorModel(known).closed_form().sd, 0)
    ratios = model.concentrations(known.amplitudes)
    low, high = sd_bounds(200, 3)
    for k in (1, 2, 3):
        assert low - 0.05 < ratios[:, k].std() / stated[k] < high + 0.05  # to first order in the noise


def test_a_metabolite_below_zero_is_said():
    known = estimate(series(MODEL, AMPLITUDES * [-1, 1, 1, 1], 30), Fit())
    flag = known.flags(Fit())[-1]
    assert flag.reason == "negative"
    assert flag.hits.all()
    assert "(Glc, Glx" in flag.sentence
    absent = estimate(series(MODEL, AMPLITUDES * [1, 0, 1, 0], 30), Fit())
    assert not absent.flags(Fit())[-1].hits.any()


@pytest.mark.parametrize("snr", [15, 60])
def test_mirrored_spectra_are_named(snr):
    right = series(MODEL, AMPLITUDES, snr, shift_hz=4.0, n=64)
    turned = replace(right, fids=right.fids.conj())
    assert "frequency axis reversed" in estimate(turned, Fit()).mirrored()
    assert estimate(right, Fit()).mirrored() is None


@pytest.mark.parametrize(
    ("model", "t2star_s", "flagged"),
    [(MODEL, 0.02, False), (MODEL, 0.008, True), (dmi_3t(), 0.02, True), (dmi_3t(), 0.008, True)],
)
def test_an_estimator_that_says_it_is_biased_is_held_to_it(model, t2star_s, flagged):
    """Tails of water in the window of glucose: 30 % at 11.7 T with lines of 40 Hz, 250 % at 3 T."""
    broad = 1 / np.pi / t2star_s - 1 / np.pi / model.t2star_s.max()
    known = estimate(series(model, AMPLITUDES[: len(model.names)], 40, n=60, broadening_hz=broad), Fit())
    flag = next(f for f in known.flags(Fourier()) if f.reason == "overlap")
    # where the fit's own noise makes a share of its result uncertain, the limit is two SD of it
    assert flag.hits.mean() > 0.9 if flagged else flag.hits.mean() < 0.05
    assert ("Glc by" in flag.sentence) == flagged
    own = flags.overlap_flag(model, Fit(), known.fit, known.noise.sigma)
    assert not own.hits.any()  # the fit has no bias on the FID of its own result


def test_fits_of_one_shape_join():
    """What a model has beyond Eq. 2 stands in its fit by name, whatever their number."""
    fit = fit_fids(LIPID.fids([*AMPLITUDES, 0.4], offset_hz=5.0)[None], LIPID)
    assert list(fit.nuisance(LIPID)) == ["shift_hz", "broadening_hz", "phase_rad", "offset_hz"]
    assert fit.nuisance(LIPID)["offset_hz"] == pytest.approx([5.0], abs=0.01)
    assert list(fit_fids(MODEL.fids(AMPLITUDES)[None], MODEL).nuisance(MODEL)) == list(MODEL.common)
