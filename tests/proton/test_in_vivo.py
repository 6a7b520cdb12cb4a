"""A measured 1H spectrum: its preparation and model on constructed signals, the tests without truth, the real file."""

from functools import lru_cache

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.io import measurements, nifti_mrs
from precise_lib.proton import denoised, in_vivo, preprocess
from precise_lib.proton.brain import BasisSet, acquisition_3t, brain_basis, macromolecules, spectra_of
from precise_lib.proton.figures import model_parts
from precise_lib.proton.fit import fit_spectra
from precise_lib.signal.noise import add_noise
from precise_lib.signal.parts import Acquisition, gaussian_decay

SCANNER = Acquisition(2048, 1 / 2000, 127.75, "1H")  # as the PRESS measurement was sampled
# mM of a healthy brain, roughly; MM at its normal amplitude
HEALTHY = {"NAA": 12.0, "tCr": 9.0, "mI": 7.0, "Glu": 10.0, "Gln": 2.5, "GABA": 1.0, "sI": 0.3, "tCho": 1.8, "MM": 1.0}
UPRIGHT = denoised.UPRIGHT


def part(basis: BasisSet, names) -> BasisSet:
    return BasisSet(basis.acquisition, tuple(names), basis.fids[[basis.index(n) for n in names]])


@lru_cache
def healthy(acquisition: Acquisition):
    """Basis of the metabolites in HEALTHY, and the FID of a brain that holds them, 4 Hz wide."""
    basis = part(brain_basis(acquisition, 0.035, "press"), HEALTHY)
    return basis, basis.signals(list(HEALTHY.values()), 4.0)


def residual_water(acquisition: Acquisition, size: float) -> np.ndarray:
    """Water as it is left in a brain: five lines of phases of their own within 12 Hz of the carrier."""
    t, rng = acquisition.time_s, np.random.default_rng(3)
    hz, width, phase = rng.uniform(-12, 12, 5), rng.uniform(6, 14, 5), rng.uniform(-1, 1, 5)
    lines = np.exp((2j * np.pi * hz - np.pi * width)[:, None] * t + 1j * phase[:, None])
    return size * lines.mean(0)


def test_eddy_currents_and_phase_are_taken_off():
    _, fid = healthy(SCANNER)
    t = SCANNER.time_s
    drift = np.exp(1j * (0.7 + 2 * np.exp(-t / 0.05) + 2 * np.pi * 3.0 * t))
    water = 5000 * np.exp(-t / 0.05)
    np.testing.assert_allclose(preprocess.eddy_current_corrected(fid * drift, water * drift), fid, atol=1e-9)


def test_lines_are_found_exactly_and_extrapolated():
    hz, width, amplitude = np.array([-60.0, 11.0, 14.0]), np.array([4.0, 9.0, 5.0]), np.array([2.0, 1j, -3.0])
    t = SCANNER.time_s
    fid = amplitude @ np.exp((2j * np.pi * hz - np.pi * width)[:, None] * t)
    damaged = fid.copy()
    damaged[:2] = 0
    lines = preprocess.decompose(damaged, SCANNER, rank=3, skip=2)
    order = np.argsort(lines.frequency_hz)
    np.testing.assert_allclose(lines.frequency_hz[order], hz, atol=1e-6)
    np.testing.assert_allclose(lines.width_hz[order], width, atol=1e-5)
    np.testing.assert_allclose(lines.amplitude[order], amplitude, atol=1e-6)
    rest = preprocess.remove_band(damaged, SCANNER, (5, 20), rank=3, skip=2)
    np.testing.assert_allclose(rest, fid - lines.fid(lines.frequency_hz > 0), atol=1e-6)


def test_growing_noise_is_held():
    """A decomposition into more lines than there are meets some that grow; none of them may overflow."""
    fid = add_noise(np.zeros(2048, complex), 1.0, np.random.default_rng(0))
    assert np.abs(preprocess.decompose(fid, SCANNER, 30).fid()).max() < 100


def test_water_goes_and_metabolites_stay():
    basis, fid = healthy(SCANNER)
    noisy = add_noise(fid, np.abs(fid[0]) / 2000, np.random.default_rng(0))
    wet = noisy + residual_water(SCANNER, 20 * np.abs(fid[0]))
    dry = preprocess.remove_band(wet, SCANNER)
    near = np.abs(basis.ppm - 4.65) < 0.3
    before, after = (np.linalg.norm(spectra_of(f - noisy, slice(None))[near]) for f in (wet, dry))
    assert after < 2e-3 * before
    points = in_vivo.points_between(SCANNER, 0.2, 4.1)
    before, after = (fit_spectra(spectra_of(f, points), basis, points).amplitudes[0] for f in (noisy, dry))
    np.testing.assert_allclose(before, list(HEALTHY.values()), rtol=0.1)
    np.testing.assert_allclose(after[[0, 1, 2, 3, 7]], before[[0, 1, 2, 3, 7]], rtol=0.01)
    # nothing to remove: nothing is
    np.testing.assert_allclose(preprocess.remove_band(noisy, SCANNER), noisy, atol=0.05 * np.abs(fid[0]))


def test_resampling_keeps_signals_and_their_amplitude():
    target = in_vivo.on_training_grid(SCANNER)
    np.testing.assert_allclose(brain_basis(target).ppm, brain_basis().ppm, atol=1e-9)
    (basis, expected), (_, fid) = healthy(target), healthy(SCANNER)
    resampled = preprocess.resample(fid, SCANNER, target)
    points = in_vivo.points_between(target, 0.2, 4.1)
    there, here = (spectra_of(f, points) for f in (expected, resampled))
    assert np.abs(there - here).max() < 0.01 * np.abs(there).max()
    # tails of lines beyond the measured band are folded into it: a smooth baseline, which the model has
    larger = in_vivo.extended(basis, points, lipids=(), n_free=4)
    amplitudes = fit_spectra(here, larger, points, upright=UPRIGHT).amplitudes[0, : len(HEALTHY)]
    np.testing.assert_allclose(amplitudes, list(HEALTHY.values()), rtol=0.01)


def test_resampling_keeps_noise_white():
    target = in_vivo.on_training_grid(SCANNER)
    noise = add_noise(np.zeros(2048, complex), 1.0, np.random.default_rng(1))
    spectrum = np.fft.fft(preprocess.resample(noise, SCANNER, target, 1.0, seed=5))
    sd = np.sqrt(SCANNER.dwell_time_s / target.dwell_time_s * target.n_samples)
    measured = np.abs(np.fft.fftfreq(target.n_samples, target.dwell_time_s)) < 1000
    for chosen in (measured, ~measured):
        parts = np.concatenate([spectrum[chosen].real, spectrum[chosen].imag])
        assert parts.std() / sd == pytest.approx(1, abs=4 / np.sqrt(2 * len(parts)))
    empty = np.fft.fft(preprocess.resample(noise, SCANNER, target))
    np.testing.assert_allclose(empty[~measured], 0, atol=1e-9)
    np.testing.assert_allclose(empty[measured], spectrum[measured])


def test_the_model_recovers_what_a_measurement_adds():
    """Lipid of any phase, damaged first samples and a strong CH2 leave no trace in the metabolites, at any phase."""
    acquisition = in_vivo.on_training_grid(SCANNER)
    basis, fid = healthy(acquisition)
    points, t = in_vivo.points_between(acquisition, 0.2, 4.1), acquisition.time_s
    larger = in_vivo.extended(basis, points, n_free=4)
    lipid = np.exp(2j * np.pi * (1.28 - 4.65) * 127.75 * t) * gaussian_decay(30.0, t)
    more = (
        -200j * np.exp(0.4j) * lipid * gaussian_decay(4.0, t) + 2.0 * gaussian_decay(4.0, t) * larger.fids[len(HEALTHY)]
    )
    for turn in (1, -1, np.exp(2j)):
        fit = fit_spectra(spectra_of((fid + more) * turn, points), larger, points, upright=UPRIGHT)
        np.testing.assert_allclose(fit.amplitudes[0, : len(HEALTHY)], list(HEALTHY.values()), rtol=1e-3)
        assert fit.amplitudes[0, larger.index("CrCH2")] == pytest.approx(2.0, rel=1e-3)
    plain = fit_spectra(spectra_of(fid + more, points), basis, points)
    assert np.abs(plain.amplitudes[0] / list(HEALTHY.values()) - 1).max() > 0.2


def test_parts_of_a_fit_are_what_was_put_in():
    acquisition = in_vivo.on_training_grid(SCANNER)
    basis, fid = healthy(acquisition)
    points, t = in_vivo.points_between(acquisition, 0.2, 4.1), acquisition.time_s
    lipid = -300j * np.exp(2j * np.pi * (1.28 - 4.65) * 127.75 * t) * gaussian_decay(30.0, t) * gaussian_decay(4.0, t)
    larger = in_vivo.extended(basis, points, n_free=2)
    spectrum = spectra_of(fid + lipid, points)
    parts = model_parts(fit_spectra([spectrum, 2 * spectrum], larger, points, upright=UPRIGHT), larger, points)
    mm = basis.fids[basis.index("MM")] * gaussian_decay(4.0, t)
    truth = {"fit": fid + lipid, "macromolecules": mm, "lipids and baseline": lipid}
    for label, signal in truth.items():
        assert np.abs(parts[label] - spectra_of(signal, points)).max() < 2e-3 * np.abs(spectrum).max(), label


def test_free_samples_are_a_smooth_baseline():
    acquisition = in_vivo.on_training_grid(SCANNER)
    basis, fid = healthy(acquisition)
    points = in_vivo.points_between(acquisition, 0.2, 4.1)
    larger = in_vivo.extended(basis, points, lipids=(), n_free=6)
    hz = np.fft.fftfreq(4096, acquisition.dwell_time_s)
    early = sum(a * np.exp(-2j * np.pi * hz * 5e-4 * k) for k, a in enumerate([300, -200j, 100 + 50j]))
    spectrum = np.fft.fft(fid) + np.where(np.abs(hz) <= 1000, early, 0)
    fit = fit_spectra(spectrum[points], larger, points, upright=UPRIGHT)
    np.testing.assert_allclose(fit.amplitudes[0, : len(HEALTHY)], list(HEALTHY.values()), rtol=5e-3)
    smooth = np.ascontiguousarray(spectra_of(larger.fids[len(HEALTHY) + 1 :], points)).view(float)
    gram = smooth @ smooth.T
    np.testing.assert_allclose(gram / gram[0, 0], np.eye(len(gram)), atol=1e-6)


def test_measured_macromolecules_come_back():
    measured, t = Acquisition(2048, 1 / 6000, 123.25, "1H"), np.arange(2048) / 6000
    fid = macromolecules(measured) + 0.5 * np.exp(2j * np.pi * (0 - 4.65) * 123.25 * t - 12 * t)
    fid = 370 * fid * np.exp(2j * np.pi * 4.0 * t + 0.3j)  # a carrier that is off, a phase, a unit of its own
    fid[0] *= 0.5
    found = in_vivo.measured_macromolecules(fid, measured, acquisition_3t(), decay_s=np.inf)
    inside = (brain_basis().ppm > 0.5) & (brain_basis().ppm < 3.9)
    there, here = np.fft.fft(macromolecules(acquisition_3t())).real, np.fft.fft(found).real
    assert np.abs(there - here)[inside].max() < 0.03 * there[inside].max()


@lru_cache
def trial():
    """A brain in the field of the training set, its basis, and a tenth of sI and GABA to be added."""
    basis, fid = healthy(acquisition_3t())
    added = {
        n: a * basis.fids[basis.index(n)] * gaussian_decay(4.0, basis.acquisition.time_s) for n, a in AMOUNTS.items()
    }
    return basis, fid, added


AMOUNTS = {"sI": 0.3, "Glu": 2.0}


class Pull:
    """A denoiser that gives 40 % of what lies off the spectrum it expects, and 100 % of what it expects."""

    points = slice(-1024, None)

    def __init__(self, expected, kept=0.4):
        self.expected, self.kept = spectra_of(expected, self.points), kept

    def denoise(self, fids):
        return self.expected + self.kept * (spectra_of(fids, self.points) - self.expected)


def test_added_amounts_come_back_from_noise_and_shrink_in_what_shrinks():
    basis, fid, added = trial()
    denoisers = {"pulls": Pull(fid), "does nothing": Pull(fid, 1.0)}
    points = in_vivo.points_between(acquisition_3t(), 0.2, 4.1)
    sigma = np.abs(fid[0]) / 40
    estimates = denoised.repeated_estimates(fid, added, basis, points, denoisers, sigma, n_repeats=6, seed=1)
    found = denoised.recovered(estimates, AMOUNTS)
    assert estimates.converged.all()
    for name in AMOUNTS:
        share = found.sel(added=name, metabolite=name)
        assert share.share.sel(source="noisy").item() == pytest.approx(1, abs=0.02)
        assert share.share.sel(source="does nothing").item() == pytest.approx(
            share.share.sel(source="noisy").item(), abs=1e-4
        )
        assert share.share.sel(source="pulls").item() == pytest.approx(0.4, abs=0.02)
        other = found.share.sel(added=name, metabolite="NAA", source="noisy").item() * AMOUNTS[name]
        assert abs(other) < 0.02
    # the noise is that asked for: its spread is the bound, up to the few repetitions
    spread = estimates.estimate.sel(added="nothing", source="noisy").std("repeat", ddof=1)
    bound = estimates.crlb.sel(added="nothing", source="noisy").mean("repeat")
    assert 0.5 < float((spread / bound).mean()) < 1.5
    shrunk = estimates.estimate.sel(added="nothing", source="pulls").std("repeat", ddof=1)
    assert float((shrunk / spread).mean()) == pytest.approx(0.4, abs=0.05)


def test_without_noise_there_is_no_standard_error():
    basis, fid, added = trial()
    points = in_vivo.points_between(acquisition_3t(), 0.2, 4.1)
    one = denoised.repeated_estimates(fid, added, basis, points, {}, 0.0, n_repeats=1)
    found = denoised.recovered(one, AMOUNTS)
    assert found.share.sel(source="noisy", added="sI", metabolite="sI").item() == pytest.approx(1, abs=1e-3)
    assert np.isnan(found.se).all()


def test_the_real_spectrum():
    """Not the truth, which nobody knows: what no brain spectrum of a healthy volunteer may miss."""
    measured, water = (nifti_mrs.open_mrsi(measurements.fetch(f"in_vivo_1h_3t_press35{w}")) for w in ("", "_water"))
    fids = [m.fids.squeeze().astype(complex) for m in (measured, water)]
    corrected = preprocess.eddy_current_corrected(*fids)
    grid = in_vivo.on_training_grid(measured.acquisition)
    basis = part(brain_basis(grid, 0.035, "press"), brain_basis().names[:-1])
    points = in_vivo.points_between(grid, 0.2, 4.1)
    larger, ratios = in_vivo.extended(basis, points), []
    for rank in (20, 40):
        fid = preprocess.remove_band(corrected, measured.acquisition, rank=rank, skip=1)
        near = spectra_of([corrected, fid], slice(None))[:, np.r_[-20:20]]
        assert np.linalg.norm(near[1]) < 0.02 * np.linalg.norm(near[0])
        spectrum = spectra_of(preprocess.resample(fid, measured.acquisition, grid), points)
        fit = fit_spectra(spectrum, larger, points, upright=UPRIGHT)
        assert fit.converged.all()
        ratios.append(fit.amplitudes[0] / fit.amplitudes[0, 1])
    strong = [basis.index(n) for n in ("NAA", "tCr", "mI", "Glu", "tCho")]
    np.testing.assert_allclose(ratios[0][strong], ratios[1][strong], rtol=0.02)
    naa, _, mi, glu, cho = ratios[0][strong]
    assert 0.9 < naa < 1.8
    assert 0.4 < mi < 1.3
    assert 0.7 < glu < 1.8
    assert 0.12 < cho < 0.35


def test_the_measured_macromolecules_are_those_simulated():
    mm = nifti_mrs.open_mrsi(measurements.fetch("mm_consensus_3t"))
    found = in_vivo.measured_macromolecules(mm.fids.squeeze(), mm.acquisition, acquisition_3t())
    inside = (brain_basis().ppm > 0.4) & (brain_basis().ppm < 4.0)
    both = np.fft.fft([found, macromolecules(acquisition_3t())]).real[:, inside]
    assert np.corrcoef(both)[0, 1] > 0.98


@pytest.mark.parametrize(
    "wrong",
    [
        lambda fid: preprocess.eddy_current_corrected(fid, fid[:-1]),
        lambda fid: preprocess.decompose(fid[:-1], SCANNER),
        lambda fid: preprocess.decompose(fid * np.nan, SCANNER),
        lambda fid: preprocess.decompose(fid, SCANNER, rank=0),
        lambda fid: preprocess.decompose(fid, SCANNER, skip=2040),
        lambda fid: preprocess.remove_band(0 * fid, SCANNER),
        lambda fid: preprocess.resample(fid, SCANNER, Acquisition(1024, 1 / 1000, 127.75, "1H")),
        lambda fid: preprocess.resample(fid, SCANNER, Acquisition(8192, 1 / 4000, 127.75, "1H")),
        lambda fid: in_vivo.on_training_grid(Acquisition(2048, 1 / 4000, 297.2, "1H")),
        lambda fid: in_vivo.points_between(SCANNER, 2.0, 1.0),
        lambda fid: in_vivo.measured_macromolecules(fid, SCANNER, acquisition_3t()),
        lambda fid: denoised.repeated_estimates(fid, {}, healthy(acquisition_3t())[0], slice(-500, -50), {}, 1.0),
        lambda fid: denoised.repeated_estimates(fid, {"nothing": fid}, healthy(SCANNER)[0], slice(-500, -50), {}, 1.0),
        lambda fid: fit_spectra(spectra_of(fid, slice(None)), healthy(SCANNER)[0], upright=("Ala",)),
    ],
)
def test_says_what_is_wrong(wrong):
    with pytest.raises(InputError):
        wrong(healthy(SCANNER)[1])
