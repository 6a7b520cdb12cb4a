"""Peak integration: exact on isolated lines, noise as the norm of its weights, bias as the integral of tails."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from precise_lib import estimate
from precise_lib.errors import InputError
from precise_lib.estimate.fourier import Fourier, integration_weights
from precise_lib.signal.model import SignalModel
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.signal.parts import Acquisition, Resonance
from precise_lib.signal.presets import dmi_11t7
from tests.helpers import AMPLITUDES, noisy_fids, sd_bounds


@pytest.mark.parametrize("zero_fill", [False, True])
@pytest.mark.parametrize("half_width", [0.5, 1.5, 4.0])
def test_exact_on_an_isolated_line_of_any_phase_and_scale(zero_fill, half_width):
    lines = (Resonance("water", 4.7, 0.02), Resonance("far", -8.0, 0.03))
    model = SignalModel(Acquisition(1024, 4e-4, 76.7), lines)
    rng = np.random.default_rng(0)
    amplitude, phase = rng.uniform(0.01, 100, 20), rng.uniform(-np.pi, np.pi, 20)
    only_water = model.fids(np.stack([amplitude, 0 * amplitude], -1), phase_rad=phase)
    result = Fourier(half_width, zero_fill).amplitudes(only_water, model)
    np.testing.assert_allclose(result[:, 0], amplitude, rtol=1e-10)
    # the tail of water, a thousand hertz away, is all that the other window sees
    assert (np.abs(result[:, 1]) < 0.002 * half_width * amplitude).all()


def test_sums_exactly_the_bins_inside_the_window():
    model = dmi_11t7()
    rng = np.random.default_rng(1)
    fid = rng.normal(size=512) + 1j * rng.normal(size=512)
    halved = np.concatenate([[fid[0] / 2], fid[1:]])
    unit = model.basis()
    unit[0] /= 2
    for line, hz in enumerate((0, -76.7, -176.41, -260.78)):
        frequencies = np.arange(-256, 256) * 2500 / 512
        inside = np.abs(frequencies - hz) <= 1.5 / (np.pi * 0.02)
        dft = np.exp(-2j * np.pi * frequencies[inside, None] * np.arange(512) / 2500)
        expected = (dft @ halved).sum() / (dft @ unit[:, line]).sum().real
        assert fid @ integration_weights(model)[:, line] == pytest.approx(expected)


@pytest.mark.parametrize("zero_fill", [False, True])
@pytest.mark.parametrize("dead_time_s", [3e-4, 1e-3, 2e-3])
def test_a_dead_time_adds_no_bias(dead_time_s, zero_fill):
    """At 2 ms the windows alone were wrong by 4 to 60 %; amplitudes are those at the excitation."""
    model = dmi_11t7()
    late = replace(model, acquisition=replace(model.acquisition, dead_time_s=dead_time_s))
    found = [Fourier(zero_fill=zero_fill).amplitudes(m.fids([AMPLITUDES], phase_rad=0.7), m) for m in (model, late)]
    # the phase of the water peak, by which all are turned, differs by that of the tails in it
    np.testing.assert_allclose(found[1], found[0], atol=1e-9)


@pytest.mark.parametrize("zero_fill", [False, True])
def test_sd_is_the_norm_of_the_weights(zero_fill):
    n, model = 4000, dmi_11t7()
    fids, sigma = noisy_fids(snr=40, n=n)
    weights = integration_weights(model, zero_fill=zero_fill)
    predicted = sigma * np.linalg.norm(weights, axis=0)
    measured = Fourier(zero_fill=zero_fill).amplitudes(fids, model).std(0, ddof=1)
    low, high = sd_bounds(n, tests=4)
    # finding the phase from noisy water turns a little of the dispersive tails into the result
    assert (measured / predicted > low).all()
    assert (measured / predicted < high * 1.02).all()


def test_zero_filling_takes_a_factor_sqrt_2_off_the_sd():
    model = SignalModel(Acquisition(4096, 1e-4, 76.7), (Resonance("water", 4.7, 0.02),))  # a fine, long record
    raw, filled = (np.linalg.norm(integration_weights(model, 1.5, z)[:, 0]) for z in (False, True))
    assert raw / filled == pytest.approx(np.sqrt(2), rel=0.03)
    raw, filled = (np.linalg.norm(integration_weights(dmi_11t7(), 1.5, z), axis=0) for z in (False, True))
    np.testing.assert_allclose(raw / filled, np.sqrt(2), rtol=0.1)


def test_bias_is_the_neighbors_tail_inside_the_window():
    """The complex Lorentzian of every other line, integrated over the window in closed form.

    Real tails add to the result; imaginary ones turn the phase that is read off water.
    """
    model = dmi_11t7()
    hz, half = np.array([0, -76.7, -176.41, -260.78]), 1.5 / (np.pi * 0.02)

    def area(distance):  # of 1 / (1 / T + 2 pi i f), f from distance - half to distance + half
        upper, lower = (np.log(1 + 2j * np.pi * 0.02 * (distance + edge)) for edge in (half, -half))
        return (upper - lower) / (1j * np.pi)

    own = area(0.0)
    assert own == pytest.approx(0.795, abs=0.001)  # the 80 % of the documentation
    seen = np.array([[area(hz[k] - hz[j]) / own for j in range(4)] for k in range(4)]) @ AMPLITUDES
    expected = (seen * np.exp(-1j * np.angle(seen[0]))).real
    measured = Fourier(zero_fill=True).amplitudes(model.fids(AMPLITUDES)[None], model)[0]
    np.testing.assert_allclose(measured, expected, atol=1e-3)
    bias = measured / AMPLITUDES - 1
    assert np.abs(bias[1:]).max() > 0.05  # of a small line beside a large one
    assert abs(bias[0]) < 0.02


def test_phase_and_scale_pass_through():
    model = dmi_11t7()
    fids, _ = noisy_fids(snr=30, n=16)
    turned = fids * (3e-4 * np.exp(2.1j))
    np.testing.assert_allclose(Fourier().amplitudes(turned, model), 3e-4 * Fourier().amplitudes(fids, model), rtol=1e-4)


def test_search_finds_a_shifted_spectrum():
    model = dmi_11t7()
    centered = Fourier().amplitudes(model.fids(AMPLITUDES)[None], model)
    for shift in (-23.0, 19.3, 30.0):
        fids = model.fids(AMPLITUDES, shift, phase_rad=1.0)[None]
        np.testing.assert_allclose(Fourier(search_hz=35).amplitudes(fids, model), centered, atol=0.02)
        assert abs(Fourier().amplitudes(fids, model)[0, 0] - 1) > 0.05


def test_worse_than_the_bound_by_the_papers_factor_at_least():
    from precise_lib.evaluate.crlb import eq6

    model = dmi_11t7()
    sigma = snr_to_sigma(model, 12)
    ratio = sigma * np.linalg.norm(integration_weights(model), axis=0) / eq6(model, AMPLITUDES, sigma)
    assert (ratio[1:] > 1.5).all()
    assert (ratio < 2.6).all()


def test_a_window_without_a_bin_is_refused():
    with pytest.raises(InputError, match="window"):
        estimate.make("fourier", half_width_fwhm=0.01).amplitudes(noisy_fids(n=1)[0], dmi_11t7())


def test_memory_does_not_grow_with_the_double_precision_of_all_fids():
    model = dmi_11t7()
    fids = np.ones((40_000, model.acquisition.n_samples), np.complex64)
    tracemalloc.start()
    found = Fourier().amplitudes(fids, model)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < fids.nbytes  # twice that in double precision at once
    np.testing.assert_allclose(found, np.broadcast_to(found[:1], found.shape))
