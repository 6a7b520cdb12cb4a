"""Flags: silent as often as they promise under the model, and raised by what the model does not hold."""

import json
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binom, chi2, ncx2

from precise_lib.estimate import noise
from precise_lib.estimate.fit import Fit, fit_fids
from precise_lib.estimate.fourier import Fourier
from precise_lib.estimate.noise_model import Noise
from precise_lib.estimate.precise import Precise
from precise_lib.estimate.prior import ExactSolver, edge_weights
from precise_lib.estimate.train_config import TrainConfig
from precise_lib.estimate.weights import load_weights, training_limits
from precise_lib.io import nifti, nifti_mrs
from precise_lib.quantify import flags, lesions, quantify, residuals
from precise_lib.quantify.estimates import estimate
from precise_lib.signal.mrsi import MRSI, Series
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.signal.parts import Acquisition
from precise_lib.signal.presets import default_2h_model, dmi_3t, dmi_11t7
from precise_lib.simulate.phantoms import rings
from tests.helpers import AMPLITUDES, SHIPPED, has_shipped_weights

MODEL = dmi_11t7()
KNOWN = 10**9  # samples behind a noise level that is given


def measured(n, snr, seed=0, model=MODEL, extra=0.0, **nuisance):
    """Noisy FIDs (n, t) and their noise SD; `extra` is a further signal (t,)."""
    rng = np.random.default_rng(seed)
    nuisance = {"shift_hz": rng.uniform(-15, 15, n), "broadening_hz": rng.uniform(0, 8, n)} | nuisance
    phase = np.exp(1j * rng.uniform(-np.pi, np.pi, n))[:, None]
    clean = (model.fids(np.tile(AMPLITUDES, (n, 1)), **nuisance) + extra) * phase
    sigma = float(snr_to_sigma(model, snr))
    return add_noise(clean, sigma, rng).astype(np.complex64), sigma


def p_values(fids, sigma, model=MODEL, known=KNOWN, zero_filled=0):
    rest = residuals.residual(fids, fit_fids(fids, model), model, zero_filled)
    return residuals.residual_p(rest, model, sigma, known, zero_filled), rest


def freedom(n_fids):
    """Of a noise level by the median absolute deviation of the late samples."""
    return noise.MAD_EFFICIENCY * 2 * n_fids * noise.count(noise.free_space(MODEL, MODEL.acquisition.n_samples))


def line(ppm, amplitude, t2star_s=0.02, power=1):
    """One more line (t,): Lorentzian, or Gaussian with power 2."""
    t, mhz = MODEL.acquisition.time_s, MODEL.acquisition.spectrometer_frequency_mhz
    decay = np.exp(-((t / t2star_s) ** power))
    return amplitude * decay * np.exp(2j * np.pi * (ppm - MODEL.carrier_ppm) * mhz * t)


# the residual


@pytest.mark.parametrize(("model", "shift"), [(MODEL, 15), (dmi_3t(), 5)])
def test_energy_has_the_right_degrees_of_freedom(model, shift):
    """Chi-square of 2 N - M - 3: one parameter more or less would be 1.7 standard errors of this mean."""
    n = 3000 if model is MODEL else 1200
    rng = np.random.default_rng(3)
    fids, sigma = measured(n, 25, 1, model, shift_hz=rng.uniform(-shift, shift, n), broadening_hz=1.0)
    energy = p_values(fids, sigma, model)[1].energy / sigma**2
    freedom = 2 * model.acquisition.n_samples - len(model.names) - 3
    assert abs(energy.mean() - freedom) < 4 * np.sqrt(2 * freedom / n)
    assert energy.var() == pytest.approx(2 * freedom, rel=4 * np.sqrt(2 / n))


def test_false_alarms_are_no_more_than_promised():
    fids, _ = measured(6000, 12, 5)
    estimated = noise.noise_sd(fids, MODEL)
    p = p_values(fids, estimated, known=freedom(len(fids)))[0]
    for level in (0.01, 0.1):
        found = (p < level).sum()
        # three tests that overlap, and a fit that takes some noise along: somewhat fewer than promised, never more
        assert found < binom.ppf(0.9999, len(p), level)
        assert found > 0.3 * level * len(p)
    # zero filling takes samples away, not validity
    filled = fids[:3000].copy()
    filled[:, 400:] = 0
    p = p_values(filled, estimated, zero_filled=112)[0]
    assert (p < 0.01).sum() < binom.ppf(0.9999, len(p), 0.01)


def test_a_noise_level_from_one_voxel_is_allowed_for():
    """Each of 1500 data sets of one voxel has its own estimate, 5 % uncertain: known exactly it would alarm often."""
    fids, _ = measured(1500, 12, 7)
    own = noise.noise_sd(fids, MODEL, per_voxel=True)
    rest = residuals.residual(fids, fit_fids(fids, MODEL), MODEL)
    one = [slice(i, i + 1) for i in range(len(fids))]
    parts = [residuals.Residual(rest.energy[i], rest.line[i], rest.frequency_hz[i]) for i in one]
    fair, naive = (
        np.mean([residuals.residual_p(r, MODEL, s, f)[0] < 0.01 for r, s in zip(parts, own, strict=True)])
        for f in (freedom(1), KNOWN)
    )
    assert fair < binom.ppf(0.9999, len(fids), 0.01) / len(fids)
    assert naive > 2 * fair


@pytest.mark.parametrize("share", [0.6, 0.3])
def test_noise_behind_a_digital_filter_alarms_no_more_often(share):
    """Against the level in time alone ten times as many voxels would be flagged as chance allows, or half of them."""
    rng, inside = np.random.default_rng(8), np.abs(np.fft.fftfreq(512)) < share / 2
    white = rng.standard_normal((12, 12, 8, 512, 2)).view(complex)[..., 0]
    colored = np.fft.ifft(np.fft.fft(white) * inside) / np.sqrt(inside.mean())
    fids = MODEL.fids(AMPLITUDES, 4.0) + snr_to_sigma(MODEL, 12) * colored
    series = Series.of(MRSI(fids.astype(np.complex64), MODEL))
    known = estimate(series, Fit(), noise=Noise.of(series))
    found = known.flags(Fit())
    assert found[0].reason == "residual"
    assert found[0].hits.sum() <= binom.ppf(0.9999, len(found[0].hits), flags.FALSE_ALARM)
    plain = estimate(series, Fit())
    assert flags.residual_flag(plain.residual, MODEL, known.noise.level, KNOWN).hits.mean() > 10 * flags.FALSE_ALARM


def powers(extra, sigma):
    """How often each test raises the flag, from what a fit leaves without noise: energy, line, broad line."""
    clean = (MODEL.fids(AMPLITUDES) + extra)[None]
    rest = residuals.residual(clean, fit_fids(clean, MODEL), MODEL)
    freedom = 2 * MODEL.acquisition.n_samples - 7
    out = [ncx2.sf(chi2.isf(flags.FALSE_ALARM / 3, freedom), freedom, rest.energy[0] / sigma**2)]
    for width, power in zip(residuals.WIDTHS, rest.line[0], strict=True):
        t, share = MODEL.acquisition.time_s, np.exp(-2 * width * MODEL.acquisition.time_s / 0.02)
        share = share / share.sum()
        spread = np.sqrt(share @ t**2 - (share @ t) ** 2)
        rate = MODEL.acquisition.bandwidth_hz * np.sqrt(2 * np.pi) * spread

        def excess(u, rate=rate):
            return 3 * np.exp(-u / 2) * (1 + rate * np.sqrt(u)) - flags.FALSE_ALARM

        out.append(ncx2.sf(brentq(excess, 5, 60), 2, power / sigma**2))
    return out


@pytest.mark.parametrize(
    ("snr", "extra", "best"),
    [
        (20, line(3.05, 0.14), 1),  # betaine
        (20, line(3.05, 0.2), 1),
        (15, line(1.3, 1.5, 0.002), 2),  # a broad lipid under Lac
        (15, line(4.0, 2.0, 0.001), 2),  # a baseline: gone after 3 ms
        (60, line(2.4, 0.5, 0.015, power=2), 1),  # a Gaussian line under Glx
        (60, line(2.4, 0.4, 0.005), 1),  # a pool of another T2*
    ],
)
def test_what_the_model_lacks_is_found_as_often_as_theory_says(snr, extra, best):
    """Noncentral chi-square: of the energy with all its degrees of freedom, of a line with two over a whole scan."""
    fids, sigma = measured(400, snr, 2, extra=extra, shift_hz=0.0, broadening_hz=0.0)
    p, rest = p_values(fids, sigma)
    expected = powers(extra, sigma)
    found = (p < flags.FALSE_ALARM).mean()
    assert np.argmax(expected) == best or max(expected) > 0.99
    # one test alone at least, all three at most; 2.5 % standard error, and noise lifts the maximum of a scan
    assert max(expected) - 0.08 < found < min(sum(expected), 1) + 0.12
    assert max(expected) > 0.3
    # the energy alone would see less, or no more
    freedom = 2 * MODEL.acquisition.n_samples - 7
    assert (chi2.sf(rest.energy / sigma**2, freedom) < flags.FALSE_ALARM).mean() <= found + 0.02


def test_the_place_of_an_unknown_line_is_told():
    fids, _ = measured(200, 20, 2, extra=line(3.05, 0.3), shift_hz=0.0)
    place = residuals.residual(fids, fit_fids(fids, MODEL), MODEL).frequency_hz[:, 0]
    assert MODEL.carrier_ppm + np.median(place) / 76.7 == pytest.approx(3.05, abs=0.05)


def test_noise_of_another_size_is_no_noise_of_the_set():
    fids, sigma = measured(300, 15, 4)
    p = p_values(fids + 0.5 * (fids - measured(300, 1e6, 4)[0]), sigma)[0]
    assert (p < flags.FALSE_ALARM).all()


def test_the_sentence_states_numbers_and_chance():
    fids, sigma = measured(200, 30, 6)
    fids[:20] += line(3.05, 0.3).astype(np.complex64)
    rest = residuals.residual(fids, fit_fids(fids, MODEL), MODEL)
    flag = flags.residual_flag(rest, MODEL, sigma, KNOWN)
    assert flag.hits[:20].mean() > 0.7  # the phase of the extra line is random against the others
    assert flag.hits[20:].sum() <= 2
    assert f"In {flag.hits.sum()} of 200 voxel(s)" in flag.sentence
    assert "0.2 expected by chance" in flag.sentence
    assert flag.worth_saying
    # one hit where one in ten sets has one is nothing to speak of
    assert not flags.Flag("residual", np.eye(1, 1000, dtype=bool)[0], "", chance=1.0).worth_saying
    assert flags.Flag("range", np.eye(1, 1000, dtype=bool)[0], "").worth_saying


# beyond the training


def network(**changes):
    """What `training_limits` asks of a network: its card."""
    config = TrainConfig(**changes)
    return SimpleNamespace(name="test", card=SimpleNamespace(config=config), signal_model=config.signal_model)


def network_flags(network, amplitudes, fit, sigma):
    return flags.limit_flags(network.signal_model, training_limits(network), amplitudes, fit, sigma)


def hits(found):
    return {f.reason: np.flatnonzero(f.hits).tolist() for f in found if f.hits.any()}


def test_flags_of_a_network():
    n = 6
    shift, broad = np.zeros(n), np.zeros(n)
    amplitudes = np.tile(AMPLITUDES, (n, 1))
    shift[1], broad[2] = 27.0, 25.0  # trained: -22 to 22, -5.8 to 17
    amplitudes[3, 3], amplitudes[4, 1] = 1.15, -0.28  # trained: -0.3 to 1.2, 5 % at each end count as near
    amplitudes[5] *= 0.06  # SNR 3 of 50; trained from 4
    sigma = float(snr_to_sigma(MODEL, 50))
    fids = add_noise(MODEL.fids(amplitudes, shift, broad), sigma, np.random.default_rng(0)).astype(np.complex64)
    fit = fit_fids(fids, MODEL)
    found = network_flags(network(), amplitudes, fit, sigma)
    assert [f.reason for f in found] == ["range", "snr", "offset", "broadening"]
    assert hits(found) == {"range": [3, 4], "snr": [5], "offset": [1], "broadening": [2]}
    assert "Glc, Lac" in found[0].sentence
    assert "-3 to 12 mM" in found[0].sentence
    assert "-22 to 22 Hz" in found[2].sentence
    wide = network(shift_range_hz=(-30, 30), broadening_range_hz=(-5, 30), snr_range=(2, 100))
    assert hits(network_flags(wide, amplitudes, fit, sigma)) == {"range": [3, 4]}
    # the paper's network counts in the water of the data set, water included, from 0 to 2
    plain = SimpleNamespace(name="p", card=SimpleNamespace(config=TrainConfig.papers_recipe()), signal_model=MODEL)
    amplitudes[0, 0] = 2.5
    assert hits(network_flags(plain, amplitudes, fit, sigma))["range"] == [0, 4, 5]
    # without water there is no unit to count in
    amplitudes[1, 0] = -0.1
    assert hits(network_flags(network(), amplitudes, fit, sigma))["range"] == [1, 3, 4]


def test_an_offset_at_the_edge_of_its_noise_is_no_offset_beyond_the_range():
    sigma = float(snr_to_sigma(MODEL, 8))
    fids, _ = measured(400, 8, 1, shift_hz=21.5, broadening_hz=0.0)
    fit = fit_fids(fids, MODEL)
    assert (fit.shift_hz > 22).mean() > 0.1
    found = network_flags(network(), fit.amplitudes, fit, sigma)
    # beyond two SD: 2.3 % of draws at 22 Hz, less at 21.5
    assert found[2].hits.mean() < 0.03


@pytest.mark.skipif(not has_shipped_weights(), reason="the shipped weights are not here")
@pytest.mark.parametrize("shift", [-100.0, -78.0, -60.0, -30.0, 30.0, 60.0, 100.0])
def test_no_offset_passes_unnoticed(shift):
    """Beyond half of the line spacing a fit may take one line for another; then something else speaks up."""
    network = load_weights(SHIPPED)
    for snr, least in ((8, 0.93), (20, 1.0)):
        fids, sigma = measured(150, snr, 2, shift_hz=shift, broadening_hz=2.0)
        fit = fit_fids(fids, MODEL)
        found = [flags.residual_flag(residuals.residual(fids, fit, MODEL), MODEL, sigma, KNOWN)]
        found += network_flags(network, network.amplitudes(fids), fit, sigma)
        assert np.any([flag.hits for flag in found], axis=0).mean() >= least


def test_flags_of_fit_and_fourier():
    sigma = float(snr_to_sigma(MODEL, 30))
    shift = np.array([0.0, 20.0, 0.0])
    amplitudes = np.tile(AMPLITUDES, (3, 1)) * [[1], [1], [0.05]]
    fids = add_noise(MODEL.fids(amplitudes, shift), sigma, np.random.default_rng(0)).astype(np.complex64)
    fit = fit_fids(fids, MODEL)
    found = flags.limit_flags(MODEL, Fourier().limits(MODEL), fit.amplitudes, fit, sigma)
    assert hits(found) == {
        "snr": [2],
        "offset": [1],
    }
    assert hits(flags.fit_flags(MODEL, fit, sigma))["snr"] == [2]
    edge = fit_fids(MODEL.fids(AMPLITUDES[None], 0.0, 400.0), MODEL)  # ten line widths: the end of the search
    assert hits(flags.fit_flags(MODEL, edge, 1e-4))["fit"] == [0]


# the false negative


def test_surviving_contrast_is_what_a_lesion_in_the_data_keeps():
    rng = np.random.default_rng(0)
    usable = rng.random((6, 5, 4)) > 0.1
    gray = np.where(usable, rng.random(usable.shape), np.nan)
    solver, water = ExactSolver(edge_weights(gray), 0.03), rng.uniform(0.5, 1.5, usable.sum())
    index = np.full(usable.shape, -1)
    index[usable] = np.arange(usable.sum())
    for size in (1, 2):
        expected = []
        for corner in np.argwhere(usable):
            block = index[tuple(slice(c, c + size) for c in corner)]
            if block.size < size**3 or (block < 0).any():
                continue
            ratio = np.full(usable.sum(), 0.3)
            before = solver(ratio * water) / solver(water)
            ratio[block.ravel()] += 0.2
            after = solver(ratio * water) / solver(water)
            expected.append((after - before)[block.ravel()].mean() / 0.2)
        found = lesions.surviving(solver, usable, water, size, places=1000)
        np.testing.assert_allclose(np.sort(found), np.sort(expected), rtol=1e-9)
        some = lesions.surviving(solver, usable, water, size, places=10)
        assert np.isin(some.round(9), found.round(9)).all()
    assert lesions.surviving(solver, usable, water, 5) is None


@pytest.mark.parametrize(
    ("lam", "kept"), [(0.004, (0.75, 0.83, 0.90)), (0.01, (0.55, 0.68, 0.81)), (0.04, (0.25, 0.39, 0.58))]
)
def test_false_negative_of_the_ring_phantom(lam, kept):
    """What the false negative of the paper's phantom keeps, by the exact minimizer with the default cap."""
    phantom = rings()
    data = phantom.measure(np.inf)
    water = phantom.amplitudes[phantom.mask][:, 0]
    found = lesions.false_negative(Precise().smoother(data), water, {"Glx": lam, "Lac": lam})
    assert [found["kept"]["Lac"][size] for size in ("1", "2", "4")] == pytest.approx(kept, abs=0.03)
    assert found["kept"]["Glx"] == found["kept"]["Lac"]
    assert f"at lambda {lam:g} is left" in found["sentence"]
    both = lesions.false_negative(Precise().smoother(data), water, {"Glx": lam, "Lac": 0.0})
    assert both["kept"]["Lac"] == {"1": 1.0, "2": 1.0, "4": 1.0}
    assert "(Lac)" in both["sentence"]


# all of it in files


def test_flags_are_written_and_said(tmp_path):
    phantom = rings()
    data = phantom.measure(25, seed=0)
    fids = data.fids.copy()
    fids[10:13, 16, 0] += line(3.05, 0.5).astype(np.complex64)
    fids[20, 8, 0] *= np.exp(2j * np.pi * 30 * MODEL.acquisition.time_s)
    nifti_mrs.write_mrsi(tmp_path / "dmi.nii.gz", data.replace(fids=fids))
    nifti.write_image(tmp_path / "mask.nii.gz", phantom.mask, phantom.affine)
    summary = quantify(tmp_path / "dmi.nii.gz", tmp_path / "out", mask=tmp_path / "mask.nii.gz", estimator="sve")
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["flags"] == summary["flags"]
    assert set(summary["flags"]) == {"residual", "range", "snr", "offset", "broadening", "negative"}
    for reason, about in summary["flags"].items():
        image = nib.load(tmp_path / "out" / about["file"])
        assert image.get_data_dtype() == np.uint8, reason
        np.testing.assert_allclose(image.affine, phantom.affine)
        values = np.asarray(image.dataobj)
        assert values.sum() == about["voxels"]
        assert not values[~phantom.mask].any()
        assert (about["sentence"] is None) == (about["voxels"] == 0)
    residual = np.asarray(nib.load(tmp_path / "out" / "flag_residual.nii.gz").dataobj)
    assert residual[10:13, 16, 0].all()
    offset = np.asarray(nib.load(tmp_path / "out" / "flag_offset.nii.gz").dataobj)
    assert np.argwhere(offset).tolist() == [[20, 8, 0]]
    assert any("more than noise" in said for said in summary["warnings"])
    assert any("offset lies outside" in said for said in summary["warnings"])
    assert summary["false_negative"] is None


def test_a_set_too_short_to_know_its_noise_says_that_nothing_was_checked(tmp_path):
    model = default_2h_model(Acquisition(10, 1 / 2500, 76.7))
    nifti_mrs.write_mrsi(tmp_path / "dmi.nii.gz", MRSI(np.tile(model.fids(AMPLITUDES), (2, 2, 1, 1)), model))
    summary = quantify(tmp_path / "dmi.nii.gz", tmp_path / "out", estimator="fit")
    assert summary["flags"] == {}
    assert any("Nothing was checked" in said for said in summary["warnings"])


def test_without_noise_nothing_is_checked(tmp_path):
    """The late samples are zero to the last bit, and no zero filling either."""
    fids = np.tile(MODEL.fids(AMPLITUDES), (2, 2, 1, 1))
    fids[..., 300:] = 0
    fids[..., -1] = 1e-3
    nifti_mrs.write_mrsi(tmp_path / "dmi.nii.gz", MRSI(fids, MODEL))
    summary = quantify(tmp_path / "dmi.nii.gz", tmp_path / "out", estimator="fit")
    assert any("hold no noise" in said for said in summary["warnings"])
    assert summary["flags"] == {}
