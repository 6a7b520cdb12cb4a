"""Noise as filters leave it: found where it is, not where it is not, and its consequences for amplitudes and maps."""

from dataclasses import replace

import numpy as np
import pytest

from precise_lib.estimate.fit import fit_fids
from precise_lib.estimate.noise import free_samples, free_space
from precise_lib.estimate.noise_model import Kernel, Noise
from precise_lib.estimate.prior import ExactSolver, edge_weights
from precise_lib.evaluate import closed_form
from precise_lib.signal.mrsi import MRSI, Series
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.signal.parts import Acquisition
from precise_lib.signal.presets import dmi_11t7
from tests.helpers import AMPLITUDES, sd_bounds

MODEL = dmi_11t7()
SIGMA = float(snr_to_sigma(MODEL, 12))
N = MODEL.acquisition.n_samples


def white(shape, n=N, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((*shape, n)) + 1j * rng.standard_normal((*shape, n))


def digital_filter(x, share):
    """Of a passband: noise of SD one stays so."""
    inside = np.abs(np.fft.fftfreq(x.shape[-1])) < share / 2
    return np.fft.ifft(np.fft.fft(x) * inside) / np.sqrt(inside.mean())


def windowed(x, axes=(0, 1, 2)):
    """A Hamming window over k-space, SD kept; the correlation that it leaves at steps 1 and 2 along an axis of 12."""
    k = np.fft.fftn(x, axes=axes)
    for axis in axes:
        place = np.fft.fftfreq(x.shape[axis])
        window = 0.54 + 0.46 * np.cos(2 * np.pi * place)
        k = k * (window / np.sqrt((window**2).mean())).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    return np.fft.ifftn(k, axes=axes)


def series(noisy, model=MODEL, phase=0.4):
    clean = model.fids(AMPLITUDES, phase_rad=phase)
    return Series.of(MRSI((clean + SIGMA * noisy).astype(np.complex64), model))


@pytest.mark.parametrize("shape", [(12, 12, 4), (6, 6, 1), (1, 1, 1)])
@pytest.mark.parametrize("acquisition", [(512, 4e-4), (128, 4e-4), (64, 4e-4), (64, 1e-3)])
def test_white_noise_is_white_however_short_the_fids(shape, acquisition):
    model = replace(MODEL, acquisition=Acquisition(*acquisition, 76.7))
    found = Noise.of(series(white(shape, acquisition[0]), model))
    assert found.density is None
    assert found.kernel is None
    assert np.ptp(found.sigma) == 0
    if np.prod(shape) > 1:  # within four SD of so many real samples free of signal
        n = acquisition[0]
        free = 2 * free_samples(white(shape, n).reshape(-1, n), free_space(model, n)).size
        assert found.level == pytest.approx(SIGMA, rel=4 / np.sqrt(2 * free))
    assert found.said(model) == []


@pytest.mark.parametrize("broadening_hz", [-6.0, 15.0])
def test_lines_narrower_than_the_model_do_not_color_the_noise(broadening_hz):
    """A T2* of 31 ms for 20: 2 % of water where signal is taken to end, .5 % where color is looked for."""
    clean = MODEL.fids(AMPLITUDES, 5.0, broadening_hz, 0.4)
    fids = (clean + 0.4 * SIGMA * white((12, 12, 4))).astype(np.complex64)
    found = Noise.of(Series.of(MRSI(fids, MODEL)))
    assert found.density is None
    assert found.kernel is None


@pytest.mark.parametrize("shape", [(12, 12, 4), (4, 4, 1), (1, 1, 1)])
@pytest.mark.parametrize("share", [0.6, 0.3])
def test_a_digital_filter_is_found(shape, share):
    found = Noise.of(series(digital_filter(white(shape), share)))
    # 128 samples of each FID in 64, 20 and 8 bands: 3, 10 and 25 % standard error of one
    efficiency, tolerance = {576: (0.05, 0.15), 16: (0.1, 0.3), 1: (0.35, 0.6)}[np.prod(shape)]
    assert found.efficiency == pytest.approx(share, rel=efficiency)
    lines = found.at(MODEL.frequencies_hz * MODEL.acquisition.dwell_time_s)
    np.testing.assert_allclose(lines, 1 / share, rtol=tolerance)
    assert found.at(0.5) < 0.2
    assert "digital filter" in found.said(MODEL)[0]


@pytest.mark.parametrize("share", [0.6, 0.3])
def test_the_covariance_of_a_fit_in_colored_noise(share):
    """Against the scatter of 2000 fits; by the level alone it would be 1.3 and 1.8 times too small."""
    noisy = digital_filter(white((2000,)), share)
    fit = fit_fids((MODEL.fids(AMPLITUDES) + 0.5 * SIGMA * noisy).astype(np.complex64), MODEL)
    known = Noise(np.full(1, 0.5 * SIGMA), 1.0 * (np.abs(np.fft.fftfreq(50)) < share / 2) / share, None, 100)
    stated = closed_form.sve_covariance(MODEL, AMPLITUDES[None], 0.5 * SIGMA, noise=known)[0]
    found = fit.amplitudes.std(0) / np.sqrt(np.diag(stated))
    low, high = sd_bounds(2000, 4)
    assert low < found.min()
    assert found.max() < high
    plain = closed_form.sve_covariance(MODEL, AMPLITUDES[None], 0.5 * SIGMA)[0]
    np.testing.assert_allclose(np.diag(stated) / np.diag(plain), 1 / share, rtol=0.06)
    # white noise by the same formula is the bound
    flat = closed_form.sve_covariance(MODEL, AMPLITUDES[None], 0.5 * SIGMA, noise=replace(known, density=None))[0]
    np.testing.assert_allclose(flat, plain, rtol=1e-9)


def test_neighbors_that_share_noise_are_found():
    """The correlation of a Hamming window along a periodic axis of 12, from its theory: .625 and .13."""
    found = Noise.of(series(windowed(white((12, 12, 4)))))
    x, y, z = found.kernel.reach
    window = 0.54 + 0.46 * np.cos(2 * np.pi * np.fft.fftfreq(12))
    theory = np.fft.ifft(window**2).real / (window**2).mean()
    np.testing.assert_allclose(found.kernel.values[x:, y, z].real, theory[:7], atol=0.03)
    assert found.kernel.values[x, y, z] == 1
    assert "correlates (0.6" in found.said(MODEL)[0]
    one = Noise.of(series(windowed(white((12, 12, 4)), (1,)))).kernel
    assert abs(one.values[x + 1, y, z]) < 0.03
    assert one.values[x, y + 1, z].real == pytest.approx(0.625, abs=0.03)


def test_the_variance_of_a_map_of_shared_noise():
    """Smoothed draws against the sum over pairs, by rows and by probes; phases differ from voxel to voxel."""
    shape, rng = (12, 12, 4), np.random.default_rng(0)
    usable = np.ones(shape, bool)
    usable[0, :3] = False
    kernel = Kernel.of(windowed(white(shape)), usable, slice(0, N))
    n, phase = int(usable.sum()), rng.uniform(-0.8, 0.8, usable.sum())
    solver = ExactSolver(edge_weights(np.where(usable, 0.1 * rng.random(shape), np.nan)), 0.02)
    scale = np.sqrt(rng.uniform(0.8, 1.2, n))
    correlate = kernel.between(usable, phase)
    own, squares = closed_form.leverage_and_variance(solver, scale[:, None] ** 2, correlate=correlate)
    matrix = correlate(np.eye(n))
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-9)
    rows = solver.rows(np.arange(n))
    np.testing.assert_allclose(own, np.diag(rows @ matrix), rtol=1e-9)
    draws = (kernel.draw(rng, usable, 1500) * np.exp(-1j * phase)[:, None]).real * scale[:, None]
    found = solver(draws).std(1) / np.sqrt(squares[:, 0])
    assert np.sqrt((found**2).mean()) == pytest.approx(1, abs=0.02)
    independent = closed_form.leverage_and_variance(solver, scale[:, None] ** 2)[1]
    assert (squares / independent).mean() > 1.5


@pytest.mark.parametrize("drop", [3.0, 12.0])
def test_a_level_of_each_voxel_where_a_profile_was_divided_out(drop):
    profile = np.exp(-np.arange(12) / drop)[:, None, None] * np.ones((12, 12, 4))
    found = Noise.of(series(white(profile.shape) / profile[..., None]))
    off = np.log(found.sigma * profile.ravel() / SIGMA)
    assert abs(off.mean()) < 0.02
    assert off.std() < 0.07  # of one estimate by 424 samples: 5.6 %
    assert "receive profile" in found.said(MODEL)[0]


def test_a_level_of_each_frame_where_the_gain_changed():
    frames = np.stack(
        [MODEL.fids(AMPLITUDES) + g * SIGMA * white((8, 8, 1), seed=i) for i, g in enumerate([1, 1, 1, 2])]
    )
    data = Series(np.moveaxis(frames, 0, -1).astype(np.complex64), MODEL)
    found = Noise.of(data)
    levels = [found.sigma[part].mean() / SIGMA for part in data.parts]
    assert levels == pytest.approx([1, 1, 1, 2], rel=0.03)
