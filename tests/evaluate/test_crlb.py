"""Cramer-Rao bounds: finite differences, closed forms, scaling laws and limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from precise_lib.errors import InputError
from precise_lib.evaluate.crlb import covariance, eq6, numeric, overlap_cost, ratio_sd
from precise_lib.signal.information import jacobian
from precise_lib.signal.model import SignalModel
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.signal.parts import Acquisition, Resonance
from precise_lib.signal.presets import dmi_3t, dmi_4t, dmi_11t7
from tests.helpers import AMPLITUDES


def eq2(model, theta):
    """Eq. 2 written out again: theta = M amplitudes, shift, broadening, phase."""
    *amplitudes, shift, broad, phase = theta
    t, fid = model.acquisition.time_s, 0
    for a, line in zip(amplitudes, model.resonances, strict=True):
        hz = (line.ppm - model.carrier_ppm) * model.acquisition.spectrometer_frequency_mhz
        fid = fid + a * np.exp(2j * np.pi * (hz + shift) * t - t / line.t2star_s - np.pi * broad * t + 1j * phase)
    return fid


def finite_difference_jacobian(model, theta):
    steps = 1e-5 * np.eye(len(theta))
    return np.array([(eq2(model, theta + s) - eq2(model, theta - s)) / 2e-5 for s in steps])


@settings(max_examples=15, deadline=None)
@given(
    glx=st.floats(0, 2), shift=st.floats(-20, 20), broad=st.floats(-5, 20), phase=st.floats(-3, 3), low=st.booleans()
)
def test_numeric_bound_is_the_finite_difference_fisher_matrix(glx, shift, broad, phase, low):
    model = dmi_3t(0.012) if low else dmi_11t7()
    theta = np.array([1.0, 0.3, glx, 0.1, shift, broad, phase])
    derivative = finite_difference_jacobian(model, theta)
    real = np.concatenate([derivative.real, derivative.imag], 1)  # two real channels of SD sigma each
    expected = np.linalg.inv(real @ real.T) * 0.07**2
    nuisance = {"shift_hz": shift, "broadening_hz": broad, "phase_rad": phase}
    np.testing.assert_allclose(jacobian(model, theta[:4], **nuisance), derivative, atol=1e-6)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(covariance(model, theta[:4], 0.07, **nuisance) / scale, expected / scale, atol=1e-4)
    np.testing.assert_allclose(numeric(model, theta[:4], 0.07, **nuisance), np.sqrt(np.diag(expected))[:4], rtol=1e-4)


def test_eq_6_by_hand():
    # T = 20 ms, dt = 0.4 ms: sqrt(2 * 0.4 / 20) = 0.2; sum of squares 1 + .09 + .36 + .01 = 1.46
    expected = 0.2 * 0.1 * np.sqrt([2.46 / 1.46, 1.55 / 1.46, 1.82 / 1.46, 1.47 / 1.46])
    np.testing.assert_allclose(eq6(dmi_11t7(), [1, 0.3, 0.6, 0.1], 0.1), expected)


@pytest.mark.parametrize(
    "amplitudes", [[1, 0.2, 0.2, 0.1], [1, 0.3, 0.4, 0.1], [1, 0.25, 0.3, 0.1], [1, 0.2, 0.2, 0.3]]
)
def test_eq_6_holds_within_5_percent_in_the_phantom(amplitudes):
    np.testing.assert_allclose(eq6(dmi_11t7(), amplitudes, 0.1), numeric(dmi_11t7(), amplitudes, 0.1), rtol=0.05)
    broad = eq6(dmi_11t7(), amplitudes, 0.1, 4.0)
    np.testing.assert_allclose(broad, numeric(dmi_11t7(), amplitudes, 0.1, broadening_hz=4.0), rtol=0.06)


def test_gap_of_eq_6_is_dt_against_t():
    gaps = []
    for dwell in (4e-4, 1e-4, 2.5e-5):
        model = SignalModel(Acquisition(int(0.2 / dwell), dwell, 76.7), dmi_11t7().resonances[:1])
        gaps.append(float(eq6(model, [1.0], 0.1)[0] / numeric(model, [1.0], 0.1)[0] - 1))
    assert gaps[0] > gaps[1] > gaps[2] > 0 or gaps[0] < gaps[1] < gaps[2] < 0
    assert abs(gaps[2]) < 0.002


def test_eq_6_fails_where_lines_overlap():
    ratio = numeric(dmi_3t(0.012), AMPLITUDES, 0.1) / eq6(dmi_3t(0.012), AMPLITUDES, 0.1)
    assert ratio.max() > 1.4
    assert (ratio > 1).all()


def test_eq_6_needs_one_t2():
    lines = (Resonance("water", 4.7, 0.02), Resonance("Glc", 3.7, 0.03))
    with pytest.raises(ValueError, match=r"one T2\*"):
        eq6(SignalModel(Acquisition(512, 4e-4, 76.7), lines), [1, 1], 0.1)


def test_phase_and_shift_cost_nothing_and_the_linewidth_costs_r():
    model = SignalModel(Acquisition(2048, 1e-4, 767.0), dmi_11t7().resonances)  # lines far apart
    j = jacobian(model, AMPLITUDES)
    fisher = (j.conj() @ j.T).real

    def bound(*unknown):
        keep = [0, 1, 2, 3, *unknown]
        return np.sqrt(np.diag(np.linalg.inv(fisher[np.ix_(keep, keep)])))[:4]

    known, all_unknown = bound(), bound(4, 5, 6)
    np.testing.assert_allclose(bound(4, 6), known, rtol=2e-3)
    np.testing.assert_allclose(bound(5), all_unknown, rtol=2e-3)
    r = np.sqrt(1 + AMPLITUDES**2 / (AMPLITUDES**2).sum())
    np.testing.assert_allclose(all_unknown / known, r, rtol=0.02)
    # a single line: exactly nothing, at any offset
    single = SignalModel(model.acquisition, model.resonances[:1])
    j = jacobian(single, [1.0], 9.0, 2.0, 0.4)
    fisher = (j.conj() @ j.T).real
    np.testing.assert_allclose(fisher[0, [1, 3]], 0, atol=1e-9 * fisher[0, 0])


def test_value_of_phase_and_shift_does_not_matter():
    model = dmi_3t(0.012)
    reference = numeric(model, AMPLITUDES, 0.1, broadening_hz=3.0)
    np.testing.assert_allclose(
        numeric(model, AMPLITUDES, 0.1, shift_hz=17.0, broadening_hz=3.0, phase_rad=2.0), reference, rtol=1e-9
    )


def test_scaling_laws():
    model = dmi_11t7()
    one = numeric(model, AMPLITUDES, 1.0)
    np.testing.assert_allclose(numeric(model, AMPLITUDES, 0.03), 0.03 * one)
    np.testing.assert_allclose(numeric(model, 7 * AMPLITUDES, 1.0), one)  # an amplitude's error knows no unit of it
    assert numeric(model, AMPLITUDES, np.ones((5, 2))).shape == (5, 2, 4)
    # the same time sampled twice as densely holds twice the information
    dense = SignalModel(Acquisition(1024, 2e-4, 76.7), model.resonances)
    np.testing.assert_allclose(one / numeric(dense, AMPLITUDES, 1.0), np.sqrt(2), rtol=0.02)
    # noise after the signal has died says nothing
    longer = SignalModel(Acquisition(1024, 4e-4, 76.7), model.resonances)
    np.testing.assert_allclose(numeric(longer, AMPLITUDES, 1.0), one, rtol=1e-4)
    assert (numeric(model, AMPLITUDES, 1.0, broadening_hz=10.0) > 1.2 * one).all()


def test_bound_in_terms_of_snr():
    """Water alone: SD = sqrt(2) sqrt(2 dt / T) sigma, and sigma = (T / dt) / (SNR sqrt(n))."""
    model = SignalModel(dmi_11t7().acquisition, dmi_11t7().resonances[:1])
    sd = numeric(model, [1.0], snr_to_sigma(model, 10))
    assert sd[0] == pytest.approx(2 * np.sqrt(0.02 / 4e-4) / (10 * np.sqrt(512)), rel=0.03)


@pytest.mark.parametrize("model", [dmi_11t7(), dmi_3t(0.012)], ids=["11t7", "3t"])
def test_ratio_sd_against_monte_carlo(model):
    sigma = snr_to_sigma(model, 60)
    full = covariance(model, AMPLITUDES, sigma)[:4, :4]
    draws = np.random.default_rng(0).multivariate_normal(AMPLITUDES, full, 100_000)
    expected = (draws / draws[:, :1]).std(0)
    result = ratio_sd(model, AMPLITUDES, sigma)
    assert result[0] == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(result[1:], expected[1:], rtol=0.015)
    naive = numeric(model, AMPLITUDES, sigma)  # neither water's error nor its correlation may be left out
    assert np.abs(result[1:] / naive[1:] - 1).max() > 0.02


def test_overlap_costs_nothing_far_apart_and_more_the_wider_the_lines():
    amplitudes, widths = [1.0, 0.2, 0.3, 0.1], [3.0, 12.0, 30.0]
    wide, narrow = (overlap_cost(model, amplitudes, widths) for model in (dmi_4t(), dmi_11t7()))
    assert np.isnan(wide[:, 0]).all()
    assert (np.diff(wide[:, 1:], axis=0) > 0).all()
    np.testing.assert_allclose(narrow[0, 1:], 1, atol=0.02)
    # Glc is the neighbor of water
    assert wide[-1, 1] == wide[-1, 1:].max()
    assert 1.5 < wide[-1, 1] < 4


def test_lines_are_not_moved_out_of_the_bandwidth():
    with pytest.raises(InputError, match="beyond the bandwidth"):
        overlap_cost(dmi_11t7(), [1.0, 0.2, 0.3, 0.1], [10.0], apart=20.0)
