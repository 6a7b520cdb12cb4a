"""Fit of 1H spectra: exact on noiseless data, efficient on noisy, its derivatives and bounds against other routes."""

import time

import numpy as np
import pytest
from scipy.optimize import least_squares, nnls

from precise_lib.errors import InputError
from precise_lib.proton import brain, spectrum_model
from precise_lib.proton.brain import brain_basis, draw, spectra_of
from precise_lib.proton.fit import fit_spectra
from precise_lib.proton.spectrum_model import SpectrumModel, crlb
from precise_lib.signal.parts import GAUSSIAN
from tests.helpers import mean_bound, sd_bounds

STRONG = ("NAA", "tCr", "mI", "Glu", "tCho")
WINDOW = brain.WINDOW
N = 600


def amplitudes_of(data):
    return np.column_stack([data.concentration, data.mm, np.full(data.sizes["spectrum"], brain.WATER_MM)])


@pytest.fixture(scope="module")
def noisy():
    """Data, truth, bound and fit without a positivity bound of N spectra at SNR 5 to 40, and the time it took."""
    data = draw(N, seed=11)
    truth = amplitudes_of(data)
    bound = crlb(brain_basis(), truth, data.shim_hz.values, data.sigma.values, WINDOW)
    spectra = spectra_of(data.noisy.values)
    start = time.process_time()
    fit = fit_spectra(spectra, brain_basis(), WINDOW, n_jobs=1)
    return data, truth, bound, spectra, fit, time.process_time() - start


@pytest.mark.parametrize("points", [slice(None), WINDOW], ids=["full", "window"])
@pytest.mark.parametrize("bounded", [False, True])
def test_noiseless_spectra_are_recovered(points, bounded):
    data = draw(5, seed=2)
    truth, basis = amplitudes_of(data), brain_basis()
    shift, broadening, phase = (
        np.array([0, 4, -7, 2.5, -1]),
        np.array([0, 1, 3, -0.3, 0]),
        np.array([0, 1, -2, 3, 0.1]),
    )
    t = basis.acquisition.time_s
    factor = np.exp((2j * np.pi * shift - np.pi * broadening)[:, None] * t + 1j * phase[:, None])
    fids = basis.signals(truth, data.shim_hz.values) * factor
    fit = fit_spectra(np.fft.fft(fids)[:, points], basis, points, non_negative=bounded)
    assert fit.converged.all()
    np.testing.assert_allclose(fit.amplitudes, truth, atol=2e-4)
    np.testing.assert_allclose(fit.shift_hz, shift, atol=1e-5)
    np.testing.assert_allclose(fit.broadening_hz, broadening, atol=1e-4)
    np.testing.assert_allclose(fit.shim_hz, data.shim_hz, atol=1e-3)
    np.testing.assert_allclose(fit.phase_rad, phase, atol=1e-5)
    assert (fit.sigma < 1e-3).all()


def test_derivatives_against_finite_differences():
    basis, rng = brain_basis(), np.random.default_rng(0)
    model = SpectrumModel(basis, WINDOW)
    amplitudes, theta = rng.uniform(1, 10, (1, 18)), np.array([[3.0, 0.7, 9.0, 0.4]])

    def spectrum(theta):
        return (amplitudes[:, None] @ model.columns(theta)[1])[:, 0]

    analytic = model.nuisance_columns(amplitudes, model.envelope(theta), spectrum(theta))[0]
    for k, step in enumerate((1e-4, 1e-4, 1e-3, 1e-5)):
        change = np.zeros((1, 4))
        change[0, k] = step
        numeric = (spectrum(theta + change) - spectrum(theta - change))[0] / (2 * step)
        np.testing.assert_allclose(analytic[k], numeric, atol=1e-5 * np.abs(numeric).max())


def test_bound_against_a_numeric_fisher_matrix():
    """The whole FID, differentiated numerically, in the time domain: nothing shared with the module but the basis."""
    data, basis = draw(1, seed=5), brain_basis()
    truth, t = amplitudes_of(data)[0], brain_basis().acquisition.time_s

    def signal(p):
        decay = np.exp((2j * np.pi * p[-4] - np.pi * p[-3]) * t - GAUSSIAN * p[-2] * t**2 + 1j * p[-1])
        return ((p[:-4] @ basis.fids) * decay).view(float)

    at = np.concatenate([truth, [0.0, 0.0, float(data.shim_hz[0]) ** 2, 0.0]])
    steps = np.diag(np.concatenate([np.full(18, 1e-2), [1e-4, 1e-4, 1e-3, 1e-5]]))
    jacobian = np.array([(signal(at + s) - signal(at - s)) / (2 * s.sum()) for s in steps])
    expected = np.sqrt(np.diag(np.linalg.inv(jacobian @ jacobian.T))) * float(data.sigma[0])
    found = crlb(basis, truth, data.shim_hz.values, data.sigma.values)[0]
    np.testing.assert_allclose(found, expected[:18], rtol=1e-4)


def test_attains_the_bound_without_bias(noisy):
    _, truth, bound, _, fit, _ = noisy
    assert fit.converged.mean() > 0.995
    columns = [brain_basis().index(name) for name in STRONG]
    z = ((fit.amplitudes - truth) / bound)[:, columns]
    low, high = sd_bounds(N, tests=len(STRONG))
    for name, values in zip(STRONG, z.T, strict=True):
        assert low < values.std(ddof=1) < high, name
        assert abs(values.mean()) < mean_bound(N, tests=len(STRONG)), name
    assert 0.95 < z.std() < 1.05


def test_knows_its_own_precision(noisy):
    data, _, bound, _, fit, _ = noisy
    # the residual's SD has 2 x 1024 - 22 degrees of freedom
    ratio = fit.sigma / data.sigma.values
    assert ratio.mean() == pytest.approx(1, abs=5 / np.sqrt(2 * 2026 * N))
    assert ratio.std() == pytest.approx(1 / np.sqrt(2 * 2026), rel=0.15)
    np.testing.assert_allclose(np.median(fit.crlb / bound, axis=0), 1, atol=0.02)


def test_twenty_spectra_a_second(noisy):
    *_, seconds = noisy
    assert N / seconds > 20


def test_slopes_of_strong_metabolites(noisy):
    _, truth, _, _, fit, _ = noisy
    for name in STRONG:
        k = brain_basis().index(name)
        slope = np.polyfit(truth[:, k], fit.amplitudes[:, k], 1)[0]
        spread = (fit.amplitudes - truth)[:, k].std() / truth[:, k].std() / np.sqrt(N)
        assert abs(slope - 1) < 4 * spread, name


def test_positive_amplitudes(noisy):
    _, truth, bound, spectra, free, _ = noisy
    few = slice(0, 48)
    fit = fit_spectra(spectra[few], brain_basis(), WINDOW, non_negative=True)
    assert (fit.amplitudes >= 0).all()
    assert fit.converged.mean() > 0.97
    assert (fit.amplitudes == 0).any()
    assert (fit.sigma >= free.sigma[few] * (1 - 1e-6)).all()
    # a bound that does not bind changes nothing
    inside = (free.amplitudes[few] > 0.0).all(axis=1)
    np.testing.assert_allclose(fit.amplitudes[inside], free.amplitudes[few][inside], atol=1e-2 * bound.min())
    z = ((fit.amplitudes - truth[few]) / bound[few])[:, :16]
    assert z.std() < ((free.amplitudes - truth)[few] / bound[few])[:, :16].std()


def test_positive_minimum_against_a_general_solver(noisy):
    data, _, _, spectra, _, _ = noisy
    basis, model = brain_basis(), SpectrumModel(brain_basis(), WINDOW)
    one = spectra[:1]
    fit = fit_spectra(one, basis, WINDOW, non_negative=True)
    x = one.view(float)[0] / 64
    theta = [fit.shift_hz[0], fit.broadening_hz[0], fit.shim_hz[0] ** 2, fit.phase_rad[0]]

    def residual(p):
        return (p[:18] @ model.columns(p[None, 18:])[1][0] - x) / float(data.sigma[0])

    start = np.concatenate([fit.amplitudes[0] + 0.1, theta])
    lower = np.concatenate([np.zeros(18), [-10, -0.9, 0, -np.pi]])
    general = least_squares(residual, start, bounds=(lower, np.full(22, np.inf)), x_scale="jac", xtol=1e-10)
    ours = (residual(np.concatenate([fit.amplitudes[0], theta])) ** 2).sum()
    assert ours <= 2 * general.cost + 1e-3


def test_non_negative_least_squares_per_row():
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal((6, 40, 9)), rng.standard_normal((6, 40))
    gram, h = a.swapaxes(1, 2) @ a, (a.swapaxes(1, 2) @ b[..., None])[..., 0]
    expected = [nnls(m, v)[0] for m, v in zip(a, b, strict=True)]
    np.testing.assert_allclose(spectrum_model.non_negative(gram, h), expected, atol=1e-8)


def test_unit_phase_and_order_do_not_matter(noisy):
    _, _, _, spectra, free, _ = noisy
    k = [3, 30, 17]
    fit = fit_spectra(1e-7 * np.exp(1.5j) * spectra[k], brain_basis(), WINDOW)
    np.testing.assert_allclose(fit.amplitudes * 1e7, free.amplitudes[k], rtol=1e-3, atol=2e-3)
    np.testing.assert_allclose(fit.crlb * 1e7, free.crlb[k], rtol=1e-3)
    turned = np.angle(np.exp(1j * (fit.phase_rad - free.phase_rad[k])))
    np.testing.assert_allclose(turned, 1.5, atol=1e-4)


@pytest.mark.parametrize("bounded", [False, True])
def test_an_empty_spectrum_is_zero(bounded):
    fit = fit_spectra(np.zeros((1, 1024), complex), brain_basis(), WINDOW, non_negative=bounded)
    assert (fit.amplitudes == 0).all()
    assert (fit.sigma == 0).all()


@pytest.mark.parametrize(
    ("spectra", "settings"),
    [
        (np.zeros((2, 512)), {}),
        (np.zeros((2, 4096)), {"points": WINDOW}),
        (np.full((1, 4096), np.nan), {}),
        (np.zeros((1, 8)), {"points": slice(0, 8)}),
    ],
)
def test_says_what_is_wrong(spectra, settings):
    with pytest.raises(InputError):
        fit_spectra(spectra, brain_basis(), **settings)
