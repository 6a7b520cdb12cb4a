"""The signal model against closed forms: geometric series, Lorentzian, normal noise."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from precise_lib.errors import InputError
from precise_lib.signal.model import SignalModel, spectrum
from precise_lib.signal.noise import add_noise, peak_height, snr_to_sigma
from precise_lib.signal.parts import Acquisition, Resonance, exponentials
from precise_lib.signal.presets import default_2h_model, dmi_3t, dmi_11t7
from precise_lib.simulate.phantoms import b0_map, b1_map, gradient_broadening
from tests.helpers import sd_bounds

T2 = 0.02
FWHM = 1 / (np.pi * T2)


def one_line(ppm=4.7, t2=T2, n=512, dwell=4e-4) -> SignalModel:
    return SignalModel(Acquisition(n, dwell, 76.7), (Resonance("water", ppm, t2),))


def continuous(fid, frequency_hz, time_s):
    """Spectrum of the causal FID at any frequency: the first sample counts half."""
    weights = np.exp(-2j * np.pi * frequency_hz * time_s)
    weights[0] /= 2
    return fid @ weights


# the line


@pytest.mark.parametrize(("shift", "broad", "phase"), [(0, 0, 0), (13.7, 0, 0), (-31.0, 12.0, 0.8), (3.3, -5.0, -2.5)])
def test_every_bin_of_the_spectrum_is_the_geometric_series(shift, broad, phase):
    model = one_line(ppm=3.7)
    acquisition = model.acquisition
    rate = 1 / T2 + np.pi * broad
    distance = -76.7 + shift - acquisition.frequency_axis_hz
    q = np.exp((2j * np.pi * distance - rate) * acquisition.dwell_time_s)
    expected = np.exp(1j * phase) * (1 - q**acquisition.n_samples) / (1 - q)
    np.testing.assert_allclose(spectrum(model.fids([1.0], shift, broad, phase)), expected, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(broad=st.floats(-10, 40), shift=st.floats(-100, 100))
def test_line_is_a_lorentzian_of_the_stated_width(broad, shift):
    model = one_line(n=8192, dwell=1e-4)
    fid, t = model.fids([1.0], shift, broad), model.acquisition.time_s
    width = FWHM + broad
    height = continuous(fid, shift, t)
    assert height.real * model.acquisition.dwell_time_s == pytest.approx(1 / (np.pi * width), rel=1e-3)
    for side in (-1, 1):
        half = continuous(fid, shift + side * width / 2, t)
        assert half.real == pytest.approx(height.real / 2, rel=2e-3)  # full width at half maximum
        # lower frequency lags: dispersion of equal size and the sign of the distance
        assert half.imag == pytest.approx(-side * height.real / 2, rel=2e-3)


def test_higher_ppm_is_at_positive_frequency():
    for ppm in (2.4, 3.7, 5.7):
        model = one_line(ppm=ppm)
        peak = model.acquisition.frequency_axis_hz[np.abs(spectrum(model.fids([1.0]))).argmax()]
        assert peak == pytest.approx((ppm - 4.7) * 76.7, abs=model.acquisition.bandwidth_hz / 512)
    assert one_line(ppm=5.7).frequencies_hz[0] == pytest.approx(76.7)


def test_presets_hold_the_papers_numbers():
    model = dmi_11t7()
    np.testing.assert_allclose(model.frequencies_hz, [0, -76.7, -176.41, -260.78], atol=1e-9)
    assert model.names == ["water", "Glc", "Glx", "Lac"]
    assert (model.acquisition.n_samples, model.acquisition.bandwidth_hz) == (512, 2500)
    clinical = dmi_3t()
    np.testing.assert_allclose(clinical.frequencies_hz[1], -19.613053)
    assert (clinical.acquisition.n_samples, clinical.acquisition.bandwidth_hz) == (1400, 5000)


def test_axes():
    acquisition = Acquisition(10, 0.01, 76.7)
    np.testing.assert_allclose(acquisition.time_s, np.arange(10) / 100)
    np.testing.assert_allclose(acquisition.frequency_axis_hz, np.arange(-5, 5) * 10.0)
    assert Acquisition(5, 0.01, 76.7).frequency_axis_hz[2] == 0


# Eq. 2


def test_linear_in_the_amplitudes():
    model, rng = dmi_11t7(), np.random.default_rng(0)
    a, b = rng.standard_normal((2, 4))
    common = {"shift_hz": 7.0, "broadening_hz": 3.0, "phase_rad": 1.0}
    combined = model.fids(2 * a - 3 * b, **common)
    np.testing.assert_allclose(combined, 2 * model.fids(a, **common) - 3 * model.fids(b, **common), atol=1e-12)
    np.testing.assert_allclose(model.fids(np.eye(4)).T, model.basis(), atol=1e-15)


def test_phase_shift_and_broadening_act_as_factors_common_to_all_lines():
    model = dmi_11t7()
    a, t = [1.0, 0.3, 0.6, 0.1], model.acquisition.time_s
    clean = model.fids(a)
    np.testing.assert_allclose(model.fids(a, phase_rad=0.7), clean * np.exp(0.7j), atol=1e-12)
    np.testing.assert_allclose(model.fids(a, phase_rad=np.pi), -clean, atol=1e-12)
    np.testing.assert_allclose(model.fids(a, broadening_hz=9.0), clean * np.exp(-np.pi * 9 * t), atol=1e-12)
    bin_hz = model.acquisition.bandwidth_hz / 512
    moved = spectrum(model.fids(a, shift_hz=3 * bin_hz))
    np.testing.assert_allclose(moved, np.roll(spectrum(clean), 3), atol=1e-9)
    # two shifts and two broadenings add up
    both = model.fids(a, 11.0, 5.0) * model.envelope(-4.0, -2.0)
    np.testing.assert_allclose(both, model.fids(a, 7.0, 3.0), atol=1e-12)


def test_maps_of_parameters_broadcast():
    model, rng = dmi_11t7(), np.random.default_rng(1)
    amplitudes, shift = rng.random((3, 2, 1, 4)), rng.normal(size=(3, 2, 1))
    fids = model.fids(amplitudes, shift, 2.0, shift / 10)
    assert fids.shape == (3, 2, 1, 512)
    np.testing.assert_allclose(fids[2, 1, 0], model.fids(amplitudes[2, 1, 0], shift[2, 1, 0], 2.0, shift[2, 1, 0] / 10))


@settings(max_examples=25, deadline=None)
@given(delta_t=st.floats(-0.012, 0.1))
def test_delta_t_is_eq_2(delta_t):
    model = one_line(ppm=2.4)
    t = model.acquisition.time_s
    eq2 = np.exp(2j * np.pi * (2.4 - 4.7) * 76.7 * t - t / (T2 + delta_t))
    broad = (1 / (T2 + delta_t) - 1 / T2) / np.pi
    np.testing.assert_allclose(model.fids([1.0], broadening_hz=broad), eq2, atol=1e-12)
    assert broad * delta_t <= 0


# noise and SNR


def test_noise_is_white_and_equal_in_both_channels():
    sigma, n = 0.3, 400
    noise = add_noise(np.zeros((n, 512)), sigma, np.random.default_rng(0))
    samples = n * 512
    low, high = sd_bounds(samples, tests=4)
    for domain, scale in ((noise, sigma), (spectrum(noise), sigma * np.sqrt(512))):
        for channel in (domain.real, domain.imag):
            assert low < channel.std() / scale < high
        lag = (domain[:, 1:] * domain[:, :-1].conj()).mean() / (2 * scale**2)
        cross = (domain.real * domain.imag).mean() / scale**2
        assert max(abs(lag), abs(cross)) < 4.5 / np.sqrt(samples)
    assert abs(noise.mean()) < 4.5 * sigma * np.sqrt(2 / samples)


def test_noise_of_each_voxel_has_its_own_sigma_and_its_seed():
    sigma = np.array([[0.0, 1.0], [2.0, 5.0]])
    noise = add_noise(np.zeros((2, 2, 20000)), sigma, np.random.default_rng(3))
    np.testing.assert_allclose(noise.real.std(-1), sigma, rtol=0.03)
    again = add_noise(np.zeros((2, 2, 20000)), sigma, np.random.default_rng(3))
    other = add_noise(np.zeros((2, 2, 20000)), sigma, np.random.default_rng(4))
    assert (noise == again).all()
    assert (noise != other).any(-1).tolist() == [[False, True], [True, True]]


@pytest.mark.parametrize(("model", "snr", "amplitude", "broad"), [
    (dmi_11t7(), 12.0, 1.0, 0.0), (dmi_11t7(0.03), 35.0, 2.5, 8.0), (dmi_3t(), 7.7, 1.0, 0.0),
])  # fmt: skip
def test_measured_snr_is_the_one_asked_for(model, snr, amplitude, broad):
    """Height of the noiseless water line over the SD of one channel of a spectrum of noise."""
    n, t2 = model.acquisition.n_samples, model.t2star_s[0]
    sigma = snr_to_sigma(model, snr, amplitude, broad)
    water = amplitude * np.eye(4)[0]
    height = np.abs(spectrum(model.fids(water, broadening_hz=broad, phase_rad=1.0))).max()
    noise = spectrum(add_noise(np.zeros((100, n)), sigma, np.random.default_rng(0)))
    low, high = sd_bounds(noise.size)
    assert low < noise.real.std() / (height / snr) < high
    # and in closed form: the peak is a geometric series, the noise of n samples adds up in power
    q = np.exp(-(1 / t2 + np.pi * broad) * model.acquisition.dwell_time_s)
    assert peak_height(model, broad) == pytest.approx((1 - q**n) / (1 - q))
    assert sigma == pytest.approx(amplitude * (1 - q**n) / (1 - q) / snr / np.sqrt(n))


def test_infinite_snr_is_no_noise():
    assert snr_to_sigma(dmi_11t7(), np.inf) == 0


def test_fft_keeps_energy_and_comes_back():
    fids = add_noise(np.zeros((3, 512)), 1.0, np.random.default_rng(0))
    bins = spectrum(fids)
    np.testing.assert_allclose((np.abs(bins) ** 2).sum(-1), 512 * (np.abs(fids) ** 2).sum(-1))
    np.testing.assert_allclose(np.fft.ifft(np.fft.ifftshift(bins, axes=-1)), fids, atol=1e-12)


# concentrations, files, bad input


def test_concentration_is_ten_mm_times_the_ratio_to_water():
    model = dmi_11t7()
    values = model.concentrations([[2.0, 0.5, 1.0, 0.2], [0.0, 1, 1, 1], [-1.0, 1, 1, 1], [np.nan, 1, 1, 1]])
    np.testing.assert_allclose(values[0], [10, 2.5, 5, 1])
    assert np.isnan(values[1:]).all()
    other = dataclasses.replace(model, reference="Glc", reference_concentration_mm=3.0)
    np.testing.assert_allclose(other.concentrations([2.0, 0.5, 1.0, 0.2]), [12, 3, 6, 1.2])


def test_dictionary_survives_json_and_the_hash_names_its_content():
    model = dmi_11t7()
    assert SignalModel.from_dict(json.loads(json.dumps(model.to_dict()))) == model
    acquisition, line = model.acquisition, model.resonances[1]
    variants = [
        model,
        dmi_3t(),
        dataclasses.replace(model, carrier_ppm=4.65),
        dataclasses.replace(model, reference="Glc"),
        dataclasses.replace(model, reference_concentration_mm=10.12),
        dataclasses.replace(model, resonances=model.resonances[::-1]),
        dataclasses.replace(model, resonances=(*model.resonances, dataclasses.replace(line, name="other"))),
        *(
            dataclasses.replace(model, acquisition=dataclasses.replace(acquisition, **change))
            for change in ({"n_samples": 511}, {"dwell_time_s": 2e-4}, {"spectrometer_frequency_mhz": 76.8})
        ),
    ]
    assert len({m.hash for m in variants}) == len(variants)
    assert SignalModel.from_dict(model.to_dict()).hash == model.hash


@pytest.mark.parametrize(("make", "words"), [
    (lambda: Acquisition(1, 1e-3, 76.7), "1 time point"),
    (lambda: Acquisition(512, 0.0, 76.7), "dwell_time_s is 0.0"),
    (lambda: Acquisition(512, np.nan, 76.7), "dwell_time_s is nan"),
    (lambda: Acquisition(512, 1e-3, -1), "spectrometer_frequency_mhz is -1"),
    (lambda: Resonance("Glc", 3.7, 0.0), "T2\\* of Glc"),
    (lambda: SignalModel(Acquisition(8, 1e-3, 76.7), (Resonance("a", 1, 0.1),)), "reference 'water'"),
    (lambda: SignalModel(Acquisition(8, 1e-3, 76.7), (Resonance("water", 1, 0.1),) * 2), "must differ"),
    (lambda: dmi_11t7().index("NAA"), "no 'NAA'"),
    (lambda: default_2h_model(Acquisition(512, 1e-3, 300.0, "1H")), "of 1H"),
    (lambda: SignalModel.from_dict({"resonances": []}), "lacks acquisition"),
    (lambda: SignalModel.from_dict({**dmi_11t7().to_dict(), "color": 1}), "color"),
])  # fmt: skip
def test_bad_input_gets_one_sentence(make, words):
    with pytest.raises(InputError, match=words):
        make()


# field maps


def test_gradient_of_a_linear_field_broadens_by_its_slope():
    x, y = np.meshgrid(np.arange(8.0), np.arange(6.0), indexing="ij")
    ramp = (3 * x - 4 * y)[..., None]
    np.testing.assert_allclose(gradient_broadening(ramp), 5.0)
    np.testing.assert_allclose(gradient_broadening(np.full((4, 4, 3), 7.0)), 0.0)
    np.testing.assert_allclose(gradient_broadening(np.ones((1, 1, 1))), 0.0)


def test_field_maps_have_their_documented_range():
    b0 = b0_map((32, 32, 2), peak_hz=15)
    assert b0.shape == (32, 32, 2)
    assert (b0[..., 0] == b0[..., 1]).all()
    assert -6 < b0.min() < 0 < 12 < b0.max() < 18
    b1 = b1_map((4, 32, 1), depth=0.9)
    assert (np.diff(b1[0, :, 0]) < 0).all()
    assert b1[0, 0, 0] == pytest.approx(1, abs=0.02)
    assert b1[0, -1, 0] == pytest.approx(np.exp(-1 / 0.9), rel=0.02)


@pytest.mark.parametrize("n_samples", [2, 3, 97, 500, 512])
def test_exponentials_are_products_of_short_ones(n_samples):
    """Of any number of samples, prime ones too, after any dead time, and of no voxel at all."""
    acquisition = Acquisition(n_samples, 4e-4, 76.7, dead_time_s=1.3e-3)
    rates = np.array([0, -50 + 300j, 18 - 2000j, -1e3])
    np.testing.assert_allclose(
        exponentials(rates, acquisition), np.exp(rates[:, None] * acquisition.time_s), rtol=1e-12
    )
    assert exponentials(rates[:0], acquisition).shape == (0, n_samples)
    assert dmi_11t7().envelope(np.zeros(0), 3.0).shape == (0, dmi_11t7().acquisition.n_samples)
