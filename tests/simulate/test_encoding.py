"""Spherical phase encoding: the physics of its point spread function and of its noise."""

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.estimate.fit import fit_fids
from precise_lib.estimate.prior import ExactSolver, edge_weights
from precise_lib.evaluate import closed_form
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.signal.parts import Acquisition
from precise_lib.signal.presets import default_2h_model
from precise_lib.simulate.encoding import EncodedNoise, Encoding, encode_fids, jinc
from tests.helpers import sd_bounds

BALL = Encoding((22, 22, 22), (22.0, 22.0, 22.0))
RAT = Encoding((22, 11, 22), (22.0, 22.0, 22.0))


def short_model(n=64):
    return default_2h_model(Acquisition(n, 1 / 2500, 76.7), 0.010)


@pytest.mark.parametrize("sampling", ["sphere", "cube"])
def test_a_uniform_object_keeps_its_value_and_a_point_its_total(sampling):
    encoding = Encoding((8, 5, 6), (24.0, 20.0, 18.0), sampling)
    np.testing.assert_allclose(encoding.encode(np.full((16, 10, 18), 3.0)), 3.0, atol=1e-12)
    fine = np.zeros((16, 10, 18))
    fine[9, 3, 11] = 5.0
    total = encoding.encode(fine).sum() / np.prod(encoding.matrix)
    assert total == pytest.approx(fine.mean(), abs=1e-12)


def test_the_cube_returns_an_object_of_voxels_that_it_can_hold():
    """A plane wave below the highest step passes unchanged, but for the width of the object points."""
    encoding = Encoding((6, 4, 8), (6.0, 4.0, 8.0), "cube")
    order, n = 2, 16
    fine = np.cos(2 * np.pi * order * (np.arange(n) + 0.5) / n) * np.ones((12, 8, 1))
    coarse = np.cos(2 * np.pi * order * (np.arange(8) + 0.5) / 8) * np.ones((6, 4, 1))
    np.testing.assert_allclose(encoding.encode(fine), np.sinc(order / n) * coarse, atol=1e-12)


def test_the_sphere_measures_pi_over_six_of_the_positions_and_is_symmetric():
    large = Encoding((32, 32, 32), (32.0,) * 3)
    assert large.filled == pytest.approx(np.pi / 6, rel=0.01)
    assert RAT.filled == pytest.approx(np.pi / 6, rel=0.01)
    k = np.argwhere(RAT.sampled) - np.array(RAT.matrix) // 2
    assert {tuple(x) for x in k} == {tuple(-x) for x in k}  # so that the point spread function is real
    assert (np.abs(k).max(0) == [10, 5, 10]).all()


def test_point_spread_of_the_ball_is_the_analytic_one():
    steps = np.linspace(0, 4, 81)
    for axis in range(3):
        offsets = np.zeros((81, 3))
        offsets[:, axis] = steps
        np.testing.assert_allclose(BALL.correlation(offsets), jinc(steps), atol=0.02)
    diagonal = steps[:, None] / np.sqrt(3) * np.ones(3)
    np.testing.assert_allclose(BALL.correlation(diagonal), jinc(steps), atol=0.02)
    assert jinc(0) == 1
    assert jinc(1) == pytest.approx(3 / np.pi**2)
    assert jinc(2.4983 / np.pi) == pytest.approx(0.5, abs=1e-4)  # half of the 1.59 voxels


def test_widths_of_sphere_and_cube():
    assert BALL.width_voxels() == pytest.approx(1.59, abs=0.02)
    cube = Encoding((22, 22, 22), (22.0,) * 3, "cube")
    assert cube.width_voxels() == pytest.approx(1.207, abs=0.005)  # sinc(x) = 1/2 at x = 0.6034
    for axis in range(3):
        assert RAT.width_voxels(axis) == pytest.approx(1.59, abs=0.03)


def test_encoding_a_point_shows_the_point_spread_function():
    fine = np.zeros((44, 22, 44))
    fine[20, 11, 25] = 1.0
    image = RAT.encode(fine) * fine.size / np.prod(RAT.matrix)
    at = np.array([(20.5 / 44 - 0.5) * 22, (11.5 / 22 - 0.5) * 22, (25.5 / 44 - 0.5) * 22])
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in RAT.matrix), indexing="ij"), -1)
    centers = voxels @ RAT.affine[:3, :3].T + RAT.affine[:3, 3]
    # the object is a box half a voxel wide, which lowers the peak by the average of its own spread
    assert np.abs(image.imag).max() < 1e-12
    assert np.abs(image.real - np.prod(RAT.matrix) * RAT.psf(centers - at) / np.prod(RAT.matrix)).max() < 0.06
    assert np.unravel_index(image.real.argmax(), image.shape) == (10, 5, 12)


@pytest.mark.parametrize("sampling", ["sphere", "cube"])
def test_noise_has_unit_sd_and_the_correlation_of_the_point_spread_function(sampling):
    encoding = Encoding((11, 11, 11), (27.5,) * 3, sampling)
    noise = encoding.noise(np.random.default_rng(0), 400)
    assert noise.dtype == np.complex64
    # correlated voxels count for less: the encodings are the independent draws
    low, high = sd_bounds(400 * encoding.n_encodings, 2)
    for part in (noise.real, noise.imag):
        assert low < part.std() < high
    assert abs((noise.real * noise.imag).mean()) < 5 / np.sqrt(400 * encoding.n_encodings)
    for step in ((1, 0, 0), (0, 1, 0), (2, 0, 0), (1, 1, 0)):
        a = noise[tuple(slice(None, n - s) for n, s in zip(encoding.matrix, step, strict=True))]
        b = noise[tuple(slice(s, None) for s in step)]
        expected = encoding.correlation(np.array(step) * encoding.voxel_mm)
        assert (a.conj() * b).real.mean() / 2 == pytest.approx(expected, abs=0.01)


def test_a_voxel_of_the_sphere_has_less_noise_at_equal_noise_in_each_encoding():
    """The corners of k-space bring none: the variance is the share of positions measured."""
    rng = np.random.default_rng(1)
    k_space = rng.standard_normal((11, 11, 11, 200)) + 1j * rng.standard_normal((11, 11, 11, 200))
    sphere, cube = (Encoding((11, 11, 11), (27.5,) * 3, s) for s in ("sphere", "cube"))
    ratio = sphere._image(k_space).real.var() / cube._image(k_space).real.var()
    assert ratio == pytest.approx(sphere.filled, rel=0.02)


def test_white_over_time():
    noise = RAT.noise(np.random.default_rng(2), 128)[5:15, 3:8, 5:15].reshape(-1, 128)
    lagged = (noise[:, :-1].conj() * noise[:, 1:]).real.mean() / 2
    assert abs(lagged) < 0.02


def test_noise_of_a_box_is_that_part_of_the_whole():
    whole = EncodedNoise(RAT)
    box = whole.crop((slice(2, 9), slice(1, 5), slice(0, 22))).crop((slice(1, 3), slice(0, 2), slice(4, 6)))
    a, b = (n(np.random.default_rng(3), 4) for n in (whole, box))
    np.testing.assert_array_equal(a[3:5, 1:3, 4:6], b)


def test_fids_of_a_uniform_object_are_those_of_the_model():
    model, encoding = short_model(), Encoding((6, 5, 6), (6.0, 5.0, 6.0))
    amplitudes = np.broadcast_to([1.0, 0.3, 0.4, 0.1], (12, 10, 12, 4))
    fids = encode_fids(encoding, model, amplitudes, np.full((12, 10, 12), 7.0), np.full((12, 10, 12), 2.0))
    np.testing.assert_allclose(fids, np.broadcast_to(model.fids([1, 0.3, 0.4, 0.1], 7.0, 2.0), fids.shape), atol=2e-5)


def test_a_field_gradient_moves_signal_through_k_space():
    """A slope of g Hz per voxel leaves the FID of a uniform object alone until it ends at 1 / (2 g)."""
    model = default_2h_model(Acquisition(128, 1 / 2000, 76.7), 0.1)
    encoding, slope_hz = Encoding((16, 4, 4), (16.0, 4.0, 4.0)), 16.0
    amplitudes = np.zeros((256, 8, 8, 4))
    amplitudes[...] = [1.0, 0, 0, 0]
    shift = np.broadcast_to(((np.arange(256) + 0.5) / 256 - 0.5)[:, None, None] * 16 * slope_hz, (256, 8, 8))
    fids = encode_fids(encoding, model, amplitudes, shift, np.zeros_like(shift))
    own = slope_hz * (np.arange(16) - 7.5)  # the shift of each voxel's center
    left = fids[4:12, 1, 1] / model.fids([1.0, 0, 0, 0], own[4:12])
    time_ms, end_ms = model.acquisition.time_s * 1e3, 1e3 / (2 * slope_hz)
    np.testing.assert_allclose(left[:, time_ms < 0.6 * end_ms], 1, atol=0.15)
    assert np.abs(left[:, (time_ms > 1.4 * end_ms) & (time_ms < 1.6 * end_ms)]).max() < 0.3


def test_a_field_within_object_points_broadens():
    model, encoding = short_model(256), Encoding((4, 4, 4), (4.0, 4.0, 4.0))
    amplitudes = np.tile([1.0, 0.3, 0.4, 0.1], (8, 8, 8, 1))
    fids = encode_fids(encoding, model, amplitudes, np.zeros((8, 8, 8)), np.full((8, 8, 8), 5.0))
    np.testing.assert_allclose(fit_fids(fids[1, 1], model).broadening_hz, 5.0, atol=0.01)


def test_sd_under_shared_noise_is_as_counted():
    """Closed form against repetitions: SVE by a fit, the prior over all voxels of a small cube."""
    model, encoding = short_model(), Encoding((6, 5, 6), (6.0, 5.0, 6.0))
    mask = np.ones(encoding.matrix, bool)
    mask[0, 0] = False
    amplitudes = np.tile([1.0, 0.3, 0.4, 0.1], (mask.sum(), 1))
    sigma, clean = float(snr_to_sigma(model, 60)), model.fids(amplitudes)
    solver = ExactSolver(edge_weights(np.where(mask, 0.0, np.nan)), 0.02)

    def chain(fids):
        a = fit_fids(fids, model, n_jobs=1).amplitudes
        return np.stack([model.concentrations(a), model.concentrations(solver(a))])

    noise = EncodedNoise(encoding)
    repeated = closed_form.repeated(clean, sigma, chain, 60, 0, lambda rng: noise(rng, 64)[mask])
    covariance = closed_form.sve_covariance(model, amplitudes, sigma)
    shared = encoding.correlation_matrix(mask)
    for i, solve in enumerate((None, solver)):
        sd = closed_form.sd_of_shared_noise(model, amplitudes, covariance, shared, solve)
        counted = np.sqrt((repeated.sd[i, :, 1:] ** 2).mean() / (sd[:, 1:] ** 2).mean())
        # PRECISE averages the brain: hardly more independent draws than repetitions times a few modes
        assert counted == pytest.approx(1, abs=0.03 if solve is None else 0.08)
    # independent voxels: both closed forms are one, and promise too much
    alone = closed_form.closed_form(model, amplitudes, covariance, solver).sd
    same = closed_form.sd_of_shared_noise(model, amplitudes, covariance, np.eye(len(amplitudes)), solver)
    np.testing.assert_allclose(same[:, 1:], alone[:, 1:], rtol=1e-6)
    assert 1.1 < np.median(sd[:, 1:] / alone[:, 1:]) < 1 / np.sqrt(encoding.filled)


@pytest.mark.parametrize("wrong", [
    {"matrix": (4, 4)}, {"matrix": (4, 0, 4)}, {"matrix": (4, 2.5, 4)}, {"sampling": "spiral"},
    {"field_of_view_mm": (4, -4, 4)}, {"field_of_view_mm": (4, np.nan, 4)},
])  # fmt: skip
def test_what_makes_no_sense_is_an_error(wrong):
    with pytest.raises(InputError):
        Encoding(**({"matrix": (4, 4, 4), "field_of_view_mm": (4.0, 4.0, 4.0)} | wrong))
    with pytest.raises(InputError, match="shape"):
        RAT.correlation_matrix(np.ones((3, 3, 3), bool))
