"""The formulas of book/theory.md, each against a direct computation."""

import re

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import norm

from precise_lib.evaluate import crlb
from precise_lib.proton.scores import denoising_score
from precise_lib.signal.noise import peak_height, snr_to_sigma
from precise_lib.signal.presets import dmi_11t7
from tests.helpers import ROOT

THEORY = ROOT / "book" / "theory.md"
MODEL = dmi_11t7()
N, DT, T2 = MODEL.acquisition.n_samples, MODEL.acquisition.dwell_time_s, 0.020
AMPLITUDES = np.array([1.0, 0.3, 0.6, 0.1])


def test_every_equation_is_numbered_and_its_section_leads_to_code():
    sections = re.split(r"\n(?=##+ )", THEORY.read_text(encoding="utf-8"))
    formulas = [section for section in sections if "```{math}" in section]
    assert len(formulas) > 10
    for section in formulas:
        assert section.count("```{math}") == section.count("\n:label: eq-"), section[:40]
        assert re.search(r"\{(?:func|meth|class|mod)\}`", section), section[:40]


def test_snr_and_time_domain_noise():
    """SNR = A T / (dt sigma sqrt(N)) up to the sampling of the first point."""
    assert peak_height(MODEL) == pytest.approx(T2 / DT, rel=0.02)
    assert snr_to_sigma(MODEL, 12.0) == pytest.approx(T2 / (DT * 12.0 * np.sqrt(N)), rel=0.02)


def window_sd(u, zero_fill):
    """SD, for unit noise, of the amplitude from summing the real bins within u linewidths of a line."""
    t = MODEL.acquisition.time_s
    f = np.fft.fftfreq(N * zero_fill, DT)
    inside = np.abs(f) <= u / (np.pi * T2)
    # a window that ends between two bins holds the width of its bins
    u_bins = inside.sum() / (N * zero_fill * DT) / 2 * np.pi * T2
    weights = np.exp(-2j * np.pi * f[inside][:, None] * t).sum(0)
    weights[0] /= 2
    captured = (weights @ np.exp(-t / T2)).real
    return np.sqrt((np.abs(weights) ** 2).sum()) / captured, u_bins


@pytest.mark.parametrize("u", [0.7, 1.0, 1.5, 2.0, 3.0])
def test_cost_of_peak_integration(u):
    bound = np.sqrt(2 * DT / T2)
    plain, u_plain = window_sd(u, 1)
    filled, u_filled = window_sd(u, 8)
    assert plain / bound == pytest.approx(np.sqrt(np.pi * u_plain) / np.arctan(2 * u_plain), rel=0.03)
    assert filled / bound == pytest.approx(np.sqrt(np.pi * u_filled / 2) / np.arctan(2 * u_filled), rel=0.03)


def test_best_window():
    """The best half width solves (1 + v^2) arctan v = 2 v with v = 2 u."""
    u = minimize_scalar(lambda u: np.sqrt(np.pi * u) / np.arctan(2 * u), bounds=(0.1, 3), method="bounded").x
    assert (1 + 4 * u**2) * np.arctan(2 * u) == pytest.approx(4 * u, rel=1e-4)
    assert u == pytest.approx(0.70, abs=0.005)


def test_common_linewidth_costs_a_ratio_nothing():
    """Cov(A) = c^2 (I + A A^T / A^T A); the gradient of a ratio is orthogonal to A."""
    c = np.sqrt(2 * DT / T2)
    ratio = AMPLITUDES / AMPLITUDES[0]
    expected = c * np.sqrt(1 + ratio**2) / AMPLITUDES[0]
    np.testing.assert_allclose(crlb.ratio_sd(MODEL, AMPLITUDES, 1.0)[1:], expected[1:], rtol=0.03)
    closed = c * np.sqrt(1 + AMPLITUDES**2 / (AMPLITUDES**2).sum())
    np.testing.assert_allclose(crlb.eq6(MODEL, AMPLITUDES, 1.0), closed, rtol=1e-12)


def test_profile_over_amplitudes_and_phase():
    rng = np.random.default_rng(1)
    basis = MODEL.basis()
    x = MODEL.fids(AMPLITUDES, phase_rad=2.0) + 0.3 * (rng.standard_normal(N) + 1j * rng.standard_normal(N))
    h, g = basis.conj().T @ x, (basis.conj().T @ basis).real
    q = h @ np.linalg.solve(g, h)
    phase = np.angle(q) / 2
    amplitudes = np.linalg.solve(g, (np.exp(-1j * phase) * h).real)
    explained = (np.vdot(h, np.linalg.solve(g, h)).real + abs(q)) / 2

    def residual(p):
        return (np.abs(x - np.exp(1j * p[-1]) * basis @ p[:-1]) ** 2).sum()

    best = residual([*amplitudes, phase])
    assert best == pytest.approx((np.abs(x) ** 2).sum() - explained)
    for start in range(3):
        found = minimize(residual, np.r_[rng.uniform(-1, 1, 4), start * 2.0])
        assert best <= found.fun * (1 + 1e-9)
    assert best == pytest.approx(found.fun, rel=1e-6)


@pytest.fixture
def graph():
    """Random symmetric weights between eight voxels and their Laplacian."""
    rng = np.random.default_rng(2)
    w = np.triu(rng.uniform(0, 5, (8, 8)) * (rng.random((8, 8)) < 0.6), 1)
    w += w.T
    return w, np.diag(w.sum(1)) - w


def test_exact_minimizer_of_eq4(graph):
    w, laplacian = graph
    rng = np.random.default_rng(3)
    s, lam = rng.uniform(0, 1, 8), 0.07
    smoother = np.linalg.inv(np.eye(8) + 2 * lam * laplacian)

    def loss(c):  # Eq. 4 as it is written: every voxel with each of its neighbors
        return ((c - s) ** 2).sum() + lam * (w * (c[:, None] - c) ** 2).sum()

    found = minimize(loss, np.zeros(8), tol=1e-12)
    np.testing.assert_allclose(found.x, smoother @ s, atol=1e-6)
    np.testing.assert_allclose(smoother.sum(1), 1)
    assert (smoother > -1e-12).all()
    noise = rng.standard_normal((100000, 8)) * np.arange(1, 9) / 10
    result = (s + noise) @ smoother.T
    expected = np.sqrt(np.diag(smoother @ np.diag((np.arange(1, 9) / 10) ** 2) @ smoother.T))
    np.testing.assert_allclose(result.std(0), expected, rtol=0.02)
    np.testing.assert_allclose(result.mean(0) - s, (smoother - np.eye(8)) @ s, atol=0.01)


@pytest.mark.parametrize("z", [0.01, 0.02, 0.04, 0.08, 0.2])
def test_gain_on_an_even_lattice(z):
    """SD falls by the root mean square of 1 / (1 + 2 z mu) over the lattice, z = lambda omega."""
    n = 48
    index = np.arange(n)
    kx, ky = np.meshgrid(2 * np.pi * index / n, 2 * np.pi * index / n)
    mu = 8 - 2 * np.cos(kx) - 2 * np.cos(ky) - 4 * np.cos(kx) * np.cos(ky)
    gain = 1 / np.sqrt((1 / (1 + 2 * z * mu) ** 2).mean())
    impulse = np.zeros((n, n))
    impulse[0, 0] = 1
    response = np.fft.ifft2(np.fft.fft2(impulse) / (1 + 2 * z * mu)).real
    assert 1 / np.sqrt((response**2).sum()) == pytest.approx(gain)
    assert gain == pytest.approx({0.01: 1.16, 0.02: 1.30, 0.04: 1.58, 0.08: 2.08, 0.2: 3.29}[z], abs=0.02)


def posterior_mean(x, s, low, high):
    a, b = (low - x) / s, (high - x) / s
    return x + s * (norm.pdf(a) - norm.pdf(b)) / (norm.cdf(b) - norm.cdf(a))


def test_posterior_mean_of_a_uniform_prior():
    x, s, low, high = 0.05, 0.2, 0.0, 2.0
    mass = quad(lambda a: norm.pdf(x, a, s), low, high)[0]
    direct = quad(lambda a: a * norm.pdf(x, a, s), low, high)[0] / mass
    assert posterior_mean(x, s, low, high) == pytest.approx(direct)


def bias(a, s, low, high):
    return quad(lambda z: posterior_mean(a + s * z, s, low, high) * norm.pdf(z), -7, 7)[0] - a


def test_where_the_bias_of_small_metabolites_comes_from():
    s, high = 0.1, 2.0
    at_zero = bias(0.0, s, 0.0, high)
    assert at_zero == pytest.approx(0.9 * s, rel=0.02)
    assert 0 < bias(0.2, s, 0.0, high) < bias(0.1, s, 0.0, high) < at_zero
    assert bias(0.5, s, 0.0, high) == pytest.approx(0, abs=1e-3)
    # amplitudes below zero in training remove it
    assert abs(bias(0.0, s, -0.5, high)) < 1e-3
    # averaged over the prior itself the posterior mean has no bias
    total = quad(lambda a: bias(a, 0.5, 0.0, high), 0.0, high)[0]
    assert total == pytest.approx(0, abs=1e-6)
    # no information: the middle of the training range
    assert posterior_mean(5.0, 1e3, 0.0, high) == pytest.approx(high / 2, rel=1e-2)


def test_regression_slope_of_a_posterior_mean():
    """Estimate on truth has slope 1 - E[Var(A | x)] / Var(A) under the prior."""
    rng = np.random.default_rng(4)
    low, high, s = 0.0, 1.0, 0.3
    a = rng.uniform(low, high, 400000)
    x = a + s * rng.standard_normal(a.size)
    estimate = posterior_mean(x, s, low, high)
    slope = np.cov(a, estimate)[0, 1] / a.var()
    assert slope == pytest.approx(1 - ((a - estimate) ** 2).mean() / a.var(), abs=0.005)
    assert slope < 0.8


def test_score_of_a_fit_of_the_true_model():
    """A projection on K real dimensions leaves K of 2 n channels of the noise: DS = sqrt(K / 2 n) at any SNR."""
    rng = np.random.default_rng(5)
    n, k, spectra = 256, 12, 4000
    truth = rng.standard_normal((k, 2 * n))
    amplitudes = rng.uniform(0, 50, (spectra, k))
    clean, noise = amplitudes @ truth, rng.standard_normal((spectra, 2 * n))
    drawn = np.linalg.lstsq(truth.T, (clean + noise).T, rcond=None)[0].T @ truth
    drawn, clean, noisy = (a.reshape(-1, 2, n) for a in (drawn, clean, clean + noise))
    score = denoising_score(*(a[:, 0] + 1j * a[:, 1] for a in (drawn, clean, noisy)))
    assert np.sqrt((score**2).mean()) == pytest.approx(np.sqrt(k / (2 * n)), rel=0.01)
