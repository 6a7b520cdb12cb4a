"""Errors without ground truth: against Monte Carlo on the truth, and the noise level against the noise put in."""

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.estimate import noise, smoother
from precise_lib.estimate.choose import ratios
from precise_lib.estimate.fit import fit_fids
from precise_lib.estimate.prior import ExactSolver, edge_weights
from precise_lib.evaluate import closed_form, crlb
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.signal.presets import dmi_3t, dmi_11t7
from tests.helpers import AMPLITUDES, noisy_fids

MODEL = dmi_11t7()
GRID = (7, 6, 1)


def gray(seed=0):
    """Gray levels with an edge and some texture."""
    level = np.zeros(GRID)
    level[4:] = 1
    return level + 0.2 * np.random.default_rng(seed).random(GRID)


def truth():
    """Amplitudes (V, 4) with an edge where the MRI has one and a spot that it does not show; water not flat."""
    maps = np.tile(AMPLITUDES, (*GRID, 1))
    maps[4:, ..., 2] *= 2
    maps[1, 2, 0, 3] *= 4
    maps *= np.linspace(0.6, 1.4, GRID[1])[None, :, None, None]
    return maps.reshape(-1, 4)


def normal_draws(n, sigma=0.03, seed=0):
    """Efficient, unbiased amplitudes (n, V, 4) and their covariance."""
    covariance = closed_form.sve_covariance(MODEL, truth(), sigma)
    root = np.linalg.cholesky(covariance)
    draws = np.random.default_rng(seed).standard_normal((n, *truth().shape))
    return truth() + np.einsum("vkl,nvl->nvk", root, draws), covariance


@pytest.mark.parametrize("lams", [[0.0] * 4, [0.02] * 4, [0.0, 0.3, 0.004, 0.05]])
def test_closed_form_is_what_repetition_finds(lams):
    weights = edge_weights(gray())
    solvers = [ExactSolver(weights, lam) for lam in lams]
    draws, covariance = normal_draws(4000)
    results = 10 * np.stack([ratios(solvers, s, 0) for s in draws])
    single = 10 * draws / draws[..., [0]]
    expected = closed_form.closed_form(MODEL, truth(), covariance, solvers)
    # 4000 repetitions: SD to 1.1 % of itself; the second order of the ratio is below 1 % at this noise
    np.testing.assert_allclose(results.std(0)[:, 1:], expected.sd[:, 1:], rtol=0.06)
    bias = results.mean(0) - 10 * truth() / truth()[:, [0]]
    assert np.abs(bias - expected.bias).max() < 5 * expected.sd.max() / np.sqrt(4000)
    # how much of the estimated bias is noise
    noise_of_bias = (results - single).std(0)
    np.testing.assert_allclose(noise_of_bias[:, 1:], expected.bias_noise[:, 1:], rtol=0.06, atol=1e-9)
    assert expected.sd[:, 0].max() < 1e-6


def test_one_solver_for_all_and_none_at_all():
    _, covariance = normal_draws(1)
    one = ExactSolver(edge_weights(gray()), 0.05)
    np.testing.assert_array_equal(
        closed_form.closed_form(MODEL, truth(), covariance, one).sd,
        closed_form.closed_form(MODEL, truth(), covariance, [one] * 4).sd,
    )
    alone = closed_form.closed_form(MODEL, truth(), covariance)
    assert alone.bias is None
    still = closed_form.closed_form(MODEL, truth(), covariance, ExactSolver(edge_weights(gray()), 0.0))
    np.testing.assert_allclose(alone.sd, still.sd, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(still.bias, 0, atol=1e-12)
    np.testing.assert_allclose(still.bias_noise, 0, atol=1e-6)


def test_noise_is_taken_out_of_the_squared_bias_on_average():
    """Estimated from noisy maps, the square of the bias is too large; the corrected square is right on average."""
    solver = ExactSolver(edge_weights(gray()), 0.02)
    draws, covariance = normal_draws(600, sigma=0.1, seed=3)
    real = closed_form.closed_form(MODEL, truth(), covariance, solver).bias
    found = [closed_form.closed_form(MODEL, s, covariance, solver) for s in draws]
    raw = np.array([(f.bias**2).mean(0) for f in found])[:, 1:]
    corrected = np.array([(f.bias**2 - f.bias_noise**2).mean(0) for f in found])[:, 1:]
    expected = (real**2).mean(0)[1:]
    assert (raw.mean(0) > 1.1 * expected).all()
    assert (np.abs(corrected.mean(0) - expected) < 5 * corrected.std(0) / np.sqrt(600) + 0.02 * raw.mean(0)).all()
    assert (found[0].corrected_bias <= np.abs(found[0].bias)).all()


def test_a_voxel_without_water_has_no_error():
    amplitudes = truth()
    amplitudes[5, 0] = -0.1
    maps = closed_form.closed_form(MODEL, amplitudes, closed_form.sve_covariance(MODEL, amplitudes, 0.03))
    assert np.isnan(maps.sd[5]).all()
    assert np.isfinite(np.delete(maps.sd, 5, 0)).all()


def test_the_papers_way_converges_to_the_closed_form():
    """Noise on FIDs, the whole chain repeated, a fit as the unbiased single-voxel estimate."""
    solver, sigma = ExactSolver(edge_weights(gray()), 0.02), 0.05
    distorted = {"shift_hz": 3.0, "broadening_hz": 4.0, "phase_rad": 1.0}
    clean = MODEL.fids(truth(), **distorted)

    def chain(fids):
        assert fids.dtype == np.complex64
        return 10 * ratios([solver] * 4, fit_fids(fids, MODEL).amplitudes, 0)

    moments = closed_form.repeated(clean, sigma, chain, n_repeats=150, seed=2)
    closed = closed_form.closed_form(MODEL, truth(), closed_form.sve_covariance(MODEL, truth(), sigma, 4.0), solver)
    ratio = np.sqrt((moments.sd**2).mean(0)[1:] / (closed.sd**2).mean(0)[1:])
    assert ratio == pytest.approx(1, abs=0.04)
    z = (moments.mean - 10 * truth() / truth()[:, [0]] - closed.bias)[:, 1:] / closed.sd[:, 1:] * np.sqrt(150)
    assert np.abs(z).max() < 5
    again = closed_form.repeated(clean, sigma, chain, n_repeats=3, seed=2)
    np.testing.assert_array_equal(again.sd, closed_form.repeated(clean, sigma, chain, n_repeats=3, seed=2).sd)
    with pytest.raises(InputError, match="at least 2"):
        closed_form.repeated(clean, sigma, chain, n_repeats=1)


@pytest.mark.parametrize("model", [dmi_11t7(), dmi_3t()])
def test_covariance_by_moments_is_that_of_the_fisher_matrix(model):
    rng = np.random.default_rng(0)
    a, sigma, broad = rng.uniform(0.1, 1, (700, 4)), rng.uniform(0.01, 0.1, 700), rng.uniform(-3, 15, 700)
    nuisance = {"shift_hz": rng.uniform(-20, 20, 700), "phase_rad": rng.uniform(-3, 3, 700)}
    full = crlb.covariance(model, a, sigma, broadening_hz=broad, **nuisance)[:, :4, :4]
    np.testing.assert_allclose(closed_form.sve_covariance(model, a, sigma, broad), full, rtol=1e-6, atol=1e-12)


def test_excess_over_the_bound():
    amplitudes, rng = np.tile(AMPLITUDES, (10, 1)), np.random.default_rng(1)

    def clumsy(fids):
        """A fit with half as much noise again on Lac."""
        found = fit_fids(fids, MODEL).amplitudes
        sd = np.sqrt(closed_form.sve_covariance(MODEL, amplitudes[:1], 0.05)[0, 3, 3])
        found[:, 3] += np.sqrt(1.25) * sd * rng.standard_normal(len(found))
        return found

    excess = closed_form.excess_over_bound(clumsy, MODEL, amplitudes, 0.05, n_draws=3000)
    assert excess == pytest.approx([1, 1, 1, 1.5], rel=0.06)


@pytest.mark.parametrize("method", ["late", "subspace"])
@pytest.mark.parametrize("model", [dmi_11t7(), dmi_3t()])
def test_noise_level(model, method):
    fids, sigma = noisy_fids(model, snr=20, n=200, max_shift_hz=5)
    assert noise.noise_sd(fids, model, method=method) == pytest.approx(sigma, rel=0.01)
    own = noise.noise_sd(fids, model, per_voxel=True, method=method)
    assert own.shape == (200,)
    assert np.median(own) == pytest.approx(sigma, rel=0.02)
    assert own.std() < 0.1 * sigma


@pytest.mark.parametrize(("points", "tolerance"), [(310, 0.01), (330, 0.006), (512, 0.003)])
def test_noise_level_has_no_bias(points, tolerance):
    """Standard error of the median absolute deviation: 1.17 / sqrt(number of samples); tolerances are 3.5 of it."""
    sigma = snr_to_sigma(MODEL, 20)
    fids = add_noise(np.zeros((8000, points)), sigma, np.random.default_rng(0)).astype(np.complex64)
    assert noise.noise_sd(fids, MODEL, method="late") == pytest.approx(sigma, rel=tolerance)
    own = noise.noise_sd(fids, MODEL, per_voxel=True, method="late")
    assert own.mean() == pytest.approx(sigma, rel=0.03)


def test_noise_level_survives_what_is_not_noise():
    fids, sigma = noisy_fids(n=100)
    filled = fids.copy()
    filled[:, 400:] = 0
    assert noise.noise_sd(filled, MODEL, zero_filled=112) == pytest.approx(sigma, rel=0.02)
    assert noise.noise_sd(filled, MODEL) < 0.9 * sigma  # what would happen otherwise
    spoiled = fids + 0.5 * sigma
    spoiled[:, 450:455] += 100 * sigma
    spoiled[:5] *= 50
    assert noise.noise_sd(spoiled, MODEL) == pytest.approx(sigma, rel=0.1)
    # too short for late samples: what no FID can be
    short = fids.copy()
    short[:, 200:] = 0
    assert noise.noise_sd(short, MODEL, zero_filled=312) == pytest.approx(sigma, rel=0.03)
    with pytest.raises(InputError, match="noise level"):
        noise.noise_sd(fids, MODEL, zero_filled=500)


@pytest.mark.parametrize("shape", [(18, 17, 1), (9, 8, 7)])
def test_probing_finds_diagonal_and_squares(shape, monkeypatch):
    usable = np.random.default_rng(0).random(shape) > 0.1
    level = np.where(usable, np.random.default_rng(1).random(shape), np.nan)
    solver, n = ExactSolver(edge_weights(level), 0.01), usable.sum()
    values = np.random.default_rng(2).random((n, 3))
    rows = solver.rows(np.arange(n))
    exact = smoother.leverage_and_variance(solver, values)
    np.testing.assert_allclose(exact[0], np.diag(rows), rtol=1e-10)
    np.testing.assert_allclose(exact[1], rows**2 @ values, rtol=1e-10)
    assert smoother.lattices(usable) is None
    monkeypatch.setattr(smoother, "EXACT_UP_TO", 10)
    lattice = smoother.lattices(usable)
    assert len(np.unique(lattice.number)) <= np.prod(np.minimum(shape, smoother.SPACING))
    probed = smoother.leverage_and_variance(solver, values, lattice)
    np.testing.assert_allclose(probed[0], exact[0], rtol=2e-3)
    np.testing.assert_allclose(probed[1], exact[1], rtol=2e-2)
    # the error that is stated is the one there is
    stated = smoother.probing_error(solver, values, probed[1], n_rows=n)
    assert stated == pytest.approx(np.sqrt(np.mean((np.sqrt(probed[1] / exact[1]) - 1) ** 2)), rel=1e-6)
    assert smoother.probing_error(solver, values, exact[1]) < 1e-10
