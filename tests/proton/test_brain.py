"""Simulated 1H brain spectra: basis, distributions, noise, reproducibility, and the measured macromolecules."""

import itertools

import numpy as np
import pytest
from scipy.stats import kstest

from precise_lib.errors import InputError
from precise_lib.proton import brain
from precise_lib.proton.brain import METABOLITES, acquisition_3t, brain_basis, draw
from precise_lib.signal.parts import Acquisition

N = 400


@pytest.fixture(scope="module")
def data():
    return draw(N, seed=3)


def width_at_half(ppm, spectrum, near, half_window=0.15, zero=0.0):
    """Full width at half maximum (Hz at 123.25 MHz) of the line near a shift, by linear interpolation."""
    inside = np.flatnonzero(np.abs(ppm - near) < half_window)
    y, x = spectrum[inside].real - zero, ppm[inside]
    top = y.argmax()
    left = np.interp(y[top] / 2, y[: top + 1], x[: top + 1])
    right = np.interp(-y[top] / 2, -y[top:], x[top:])
    return abs(right - left) * 123.25


def fine_spectrum(fid, factor=16):
    fid = fid.copy()
    fid[0] /= 2
    n = factor * len(fid)
    ppm = 4.65 + np.fft.fftshift(np.fft.fftfreq(n, 1 / 4000)) / 123.25
    return ppm, np.fft.fftshift(np.fft.fft(fid, n))


def test_basis_has_the_papers_acquisition():
    basis = brain_basis()
    assert basis.names == (*METABOLITES, "MM", "water")
    assert basis.fids.shape == (18, 4096)
    assert basis.acquisition.bandwidth_hz == 4000
    assert not basis.fids.flags.writeable
    assert brain.MAXIMUM_MM["NAA"] == 25.8
    assert len(METABOLITES) == 16


@pytest.mark.parametrize(
    ("metabolite", "ppm", "fwhm_hz"),
    [("NAA", 2.008, 1 / (np.pi * 0.289)), ("Gly", 3.548, 1 / (np.pi * 0.185)), ("sI", 3.34, 1 / (np.pi * 0.185))],
)
def test_width_follows_from_t2(metabolite, ppm, fwhm_hz):
    # four times as long as the paper's, so that no line is cut off
    fid = brain.metabolite_fid(metabolite, Acquisition(16384, 1 / 4000, 123.25, "1H"))
    assert width_at_half(*fine_spectrum(fid, 4), ppm) == pytest.approx(fwhm_hz, rel=0.02)


def test_shim_is_a_gaussian_of_its_full_width():
    t = np.arange(40000) / 4000
    fid = brain.gaussian_decay(4.0, t) * np.exp(-2j * np.pi * 300 * t)
    ppm, spectrum = fine_spectrum(fid, 2)
    assert width_at_half(ppm, spectrum, 4.65 - 300 / 123.25) == pytest.approx(4.0, rel=1e-3)


def test_water_reference_is_where_it_belongs():
    basis = brain_basis()
    water = basis.fids[basis.index("water")]
    assert water[0] == pytest.approx(2)
    ppm, spectrum = fine_spectrum(water)
    assert ppm[np.abs(spectrum).argmax()] == pytest.approx(0.5, abs=0.001)


def test_draws_are_uniform_over_the_papers_ranges(data):
    for i, name in enumerate(METABOLITES):
        scaled = data.concentration.values[:, i] / brain.MAXIMUM_MM[name]
        assert kstest(scaled, "uniform").pvalue > 1e-4, name
    for name, low, high in (("snr", 5, 40), ("shim_hz", 2, 5), ("mm", 0.67, 1.33)):
        assert kstest((data[name].values - low) / (high - low), "uniform").pvalue > 1e-4
    drawn = np.column_stack([data.concentration, data.mm, data.shim_hz, data.snr])
    correlation = np.corrcoef(drawn.T) - np.eye(19)
    assert np.abs(correlation).max() < 5 / np.sqrt(N)


def test_clean_is_the_model_and_noise_is_white(data):
    basis = brain_basis()
    amplitudes = np.column_stack([data.concentration, data.mm, np.full(N, 64.5)])
    t = basis.acquisition.time_s
    envelope = np.exp(-((np.pi * data.shim_hz.values[:, None] * t) ** 2) / (4 * np.log(2)))
    np.testing.assert_allclose(data.clean.values, amplitudes @ basis.fids * envelope, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(np.abs(data.clean.values[:, 0]) / data.snr.values, data.sigma.values, rtol=1e-5)
    noise = (data.noisy - data.clean).values / data.sigma.values[:, None]
    channels = noise.astype(complex).view(float)
    assert channels.std(axis=1) == pytest.approx(1, abs=0.05)
    assert channels.std() == pytest.approx(1, abs=0.002)
    next_sample = (noise[:, 1:] * noise[:, :-1].conj()).mean()
    assert abs(next_sample) / 2 < 5 / np.sqrt(noise.size)


def test_a_spectrum_is_the_same_in_any_batch(data):
    alone = draw(1, seed=3, start=7)
    assert alone.noisy.values[0] == pytest.approx(data.noisy.values[7])
    streamed = list(brain.batches(11, seed=3, size=4))
    assert [b.sizes["spectrum"] for b in streamed] == [4, 4, 3]
    assert np.concatenate([b.noisy for b in streamed]) == pytest.approx(data.noisy.values[:11])
    assert not np.allclose(draw(1, seed=4).clean, data.clean[:1])
    a, b = data.concentration.values[:2]
    assert not np.allclose(a, b)


def test_ranges_can_be_changed():
    d = draw(50, 0, snr=(20, 20), mm=(0, 0), maximum_mm={"NAA": 0.0, "Lac": 8.0})
    assert (d.snr == 20).all()
    assert (d.concentration.sel(metabolite="NAA") == 0).all()
    assert d.concentration.sel(metabolite="Lac").max() > 6


def test_snr_of_the_water_reference(data):
    other = draw(20, seed=3, snr_of="water")
    np.testing.assert_allclose(other.sigma * other.snr, 129.0)
    np.testing.assert_array_equal(other.clean, data.clean[:20])
    assert (other.sigma.values < data.sigma.values[:20]).all()


def test_window_is_the_upfield_quarter(data):
    axis = brain_basis().ppm[-brain.WINDOW_POINTS :]
    spectra = brain.spectra_of(data.clean.values)
    assert spectra.shape == (N, 1024)
    assert axis[[0, -1]] == pytest.approx([-3.463, 4.642], abs=0.001)
    assert (np.diff(axis) > 0).all()
    naa = draw(1, 0, mm=(0, 0), maximum_mm={m: 0 for m in METABOLITES if m != "NAA"})
    spectrum = brain.spectra_of(naa.clean.values)[0].real
    inside = axis > 1
    assert axis[inside][spectrum[inside].argmax()] == pytest.approx(2.008, abs=0.01)


@pytest.mark.parametrize(
    "make",
    [
        lambda: draw(0),
        lambda: draw(1, snr=(0, 10)),
        lambda: draw(1, snr=(20, 10)),
        lambda: draw(1, maximum_mm={"Ala": 1.0}),
        lambda: draw(1, maximum_mm={"NAA": -1.0}),
        lambda: draw(1, snr_of="noise"),
        lambda: brain_basis(Acquisition(64, 1e-3, 19.6, "2H")),
        lambda: brain_basis().index("Ala"),
        lambda: brain.metabolite_fid("Ala", acquisition_3t()),
        lambda: brain.BasisSet(acquisition_3t(), ("a",), np.zeros((1, 8), complex)),
    ],
)
def test_says_what_is_wrong(make):
    with pytest.raises(InputError):
        make()


def test_macromolecules_resemble_the_measured_spectrum():
    """Real parts over 0.5-4.2 ppm; the measurement's carrier and phase are not known and are fitted."""
    from nifti_mrs.nifti_mrs import NIFTI_MRS

    from precise_lib.io.measurements import fetch

    file = NIFTI_MRS(str(fetch("mm_consensus_3t")))
    fid, mhz = np.ravel(file[:]), float(file.spectrometer_frequency[0])
    acquisition = Acquisition(len(fid), float(file.dwelltime), mhz, "1H")
    hz = np.fft.fftfreq(len(fid), acquisition.dwell_time_s)
    best = {}
    for carrier, phase in itertools.product(np.arange(4.6, 4.76, 0.01), np.arange(-0.5, 0.51, 0.05)):
        inside = np.abs(carrier + hz / mhz - 2.35) < 1.85
        model = np.fft.fft(brain.macromolecules(acquisition, carrier)).real[inside]
        measured = (np.fft.fft(fid) * np.exp(-1j * phase)).real[inside]
        best[np.corrcoef(model, measured)[0, 1]] = carrier, phase
    assert max(best) >= 0.99
    assert best[max(best)][0] == pytest.approx(4.68, abs=0.03)
