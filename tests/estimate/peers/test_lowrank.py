"""Low rank against random matrix theory: what is noise, how much of it goes, and what goes with it."""

import numpy as np
import pytest
from scipy.stats import binom

from precise_lib import estimate
from precise_lib.errors import InputError
from precise_lib.estimate.peers.lowrank import (
    gavish_donoho,
    marchenko_pastur,
    marchenko_pastur_median,
    mppca,
    truncate,
    windows,
)
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.simulate.phantoms import rings
from tests.helpers import mean_bound

SIZES = [(25, 512), (400, 512), (700, 256)]


def noise(rng, m, n, sigma=1.0):
    """(m, n) complex with SD sigma per channel."""
    return sigma * (rng.normal(size=(m, n)) + 1j * rng.normal(size=(m, n)))


def low_rank(rng, m, n, r, strength):
    """Rank r, every singular value `strength` times the edge of unit noise."""
    u, v = (np.linalg.qr(noise(rng, k, r))[0] for k in (m, n))
    return strength * np.sqrt(2) * (np.sqrt(m) + np.sqrt(n)) * u @ v.conj().T


# the theory itself


def test_median_of_the_law():
    """Square matrix: the quarter-circle law, whose median solves u + sin(u) cos(u) = pi / 4 at x = 4 sin^2 u."""
    u = np.linspace(0, np.pi / 2, 200_001)
    half = u[np.argmin(np.abs(u + np.sin(u) * np.cos(u) - np.pi / 4))]
    assert marchenko_pastur_median(1.0) == pytest.approx(4 * np.sin(half) ** 2, rel=1e-4)
    # and a large draw of another shape
    m, n = 300, 900
    squared = np.linalg.svd(noise(np.random.default_rng(0), m, n), compute_uv=False) ** 2
    assert np.median(squared) / (2 * n) == pytest.approx(marchenko_pastur_median(m / n), rel=0.02)


def test_threshold_of_a_square_matrix_is_2_858_times_the_median():
    """The number in the title of the theorem's corollary: 2.858 for beta = 1."""
    squared = np.r_[2.86**2, np.ones(99)]
    assert gavish_donoho(squared, 100, 100) == 1
    assert gavish_donoho(np.r_[2.855**2, np.ones(99)], 100, 100) == 0


# pure noise


@pytest.mark.parametrize(("m", "n"), SIZES)
def test_of_pure_noise_nothing_is_kept_and_its_level_is_found(m, n):
    rng, draws = np.random.default_rng(1), 40 if m < 100 else 5
    ranks, variances = [], []
    for _ in range(draws):
        squared = np.linalg.svd(noise(rng, m, n, 0.3), compute_uv=False) ** 2
        rank, variance = marchenko_pastur(squared, m, n)
        ranks.append(rank)
        variances.append(variance)
        assert gavish_donoho(squared, m, n) == 0
    # the largest value lies above the edge in 3 % of draws, F2(0) = 0.97 (Tracy and Widom)
    assert max(ranks) <= 1
    assert np.sum(ranks) <= binom.isf(1e-4, draws, 0.031)
    # sum of m n exponentials of mean 2 sigma^2: relative SD 1 / sqrt(m n) each
    assert np.mean(variances) == pytest.approx(2 * 0.09, rel=mean_bound(m * n * draws, len(SIZES)) + 0.003)


def test_windows_of_pure_noise_are_emptied():
    rng = np.random.default_rng(2)
    usable = np.ones((9, 9, 1), bool)
    fids = noise(rng, 81, 400, 2.0).astype(np.complex64)
    denoised, sigma, rank = mppca(fids, usable)
    # expected: nothing but the odd window that keeps one of 25 components
    assert (np.abs(denoised) ** 2).sum() < 0.02 * (np.abs(fids) ** 2).sum()
    assert rank.mean() < 0.1
    assert np.median(sigma) == pytest.approx(2.0, rel=0.01)


# rank r in noise


@pytest.mark.parametrize(("m", "n"), SIZES)
@pytest.mark.parametrize("rule", ["gavish-donoho", "marchenko-pastur"])
def test_signal_is_kept_and_the_noise_left_is_what_its_rank_admits(m, n, rule):
    rng, r, ranks, shares = np.random.default_rng(3), 4, [], []
    signal = low_rank(rng, m, n, r, strength=8)
    for _ in range(3):
        found, rank = truncate(signal + noise(rng, m, n), rule)
        ranks.append(rank)
        shares.append((np.abs(found - signal) ** 2).sum() / (2 * m * n))
    assert np.median(ranks) == r  # one in 3 % of draws takes a component of noise for signal, see above
    left = np.median(shares)
    assert left == pytest.approx(1 - (m - r) * (n - r) / (m * n), rel=0.06)
    assert left == pytest.approx(r * (m + n) / (m * n), rel=0.2)
    assert found.dtype == np.complex64


def test_noise_level_beside_signal():
    rng, (m, n, r) = np.random.default_rng(4), (125, 512, 4)
    squared = np.linalg.svd(low_rank(rng, m, n, r, 8) + noise(rng, m, n), compute_uv=False) ** 2
    rank, variance = marchenko_pastur(squared, m, n)
    assert rank == r
    assert np.sqrt(variance / 2) == pytest.approx(1, rel=0.01)


def test_a_component_below_the_noise_is_lost():
    """Below (m n)^(1/4) sqrt(v) no singular vector tells of the signal (Baik, Ben Arous, Peche)."""
    rng, (m, n) = np.random.default_rng(5), (200, 400)
    u, v = (np.linalg.qr(noise(rng, k, 1))[0] for k in (m, n))
    for strength, seen in ((0.8, 0), (3.0, 1)):
        signal = strength * np.sqrt(2) * (m * n) ** 0.25 * u @ v.conj().T
        assert truncate(signal + noise(rng, m, n), "gavish-donoho")[1] == seen


# windows


@pytest.mark.parametrize(("shape", "size", "stride"), [((7, 5, 1), 5, 1), ((8, 3, 6), 3, 2), ((2, 9, 2), 5, 5)])
def test_windows_cover_every_usable_voxel(shape, size, stride):
    usable = np.random.default_rng(0).uniform(size=shape) < 0.7
    seen = np.concatenate(list(windows(usable, size, stride)))
    assert set(seen) == set(range(usable.sum()))
    largest = np.prod([min(size, n) for n in shape])
    assert max(len(w) for w in windows(np.ones(shape, bool), size, stride)) == largest


def test_local_rank_keeps_what_changes_from_place_to_place():
    """Two halves with time courses of their own: rank one in each window away from the seam."""
    rng = np.random.default_rng(6)
    left, right = np.linalg.qr(noise(rng, 300, 2))[0].T
    usable = np.ones((16, 5, 1), bool)
    course = np.where(np.indices(usable.shape)[0][usable][:, None] < 8, left, right)
    clean = 40 * course
    noisy = (clean + noise(rng, 80, 300)).astype(np.complex64)
    denoised, sigma, rank = mppca(noisy, usable)
    assert rank.reshape(16, 5)[0] == pytest.approx(1)
    assert rank.reshape(16, 5)[7:9].min() > 1.5
    np.testing.assert_allclose(sigma, 1, rtol=0.05)
    # r (m + n) / (m n) of the noise for one window; overlap leaves less
    error = (np.abs(denoised - clean) ** 2).sum(1).reshape(16, 5) / (2 * 300)
    assert error[0].mean() < 1 - 24 * 299 / (25 * 300)


def test_more_voxels_than_time_points():
    """The smaller side is the one that is decomposed; both ways say the same."""
    rng = np.random.default_rng(7)
    usable = np.ones((5, 5, 5), bool)
    noisy = low_rank(rng, 125, 60, 2, 6) + noise(rng, 125, 60)
    windowed, _, rank = mppca(noisy.astype(np.complex64), usable)
    whole, r = truncate(noisy, "marchenko-pastur")
    assert (rank == 2).all()
    assert r == 2
    np.testing.assert_allclose(windowed, whole, atol=1e-4)


def test_a_lonely_voxel_is_left_alone():
    usable = np.zeros((9, 9, 1), bool)
    usable[0, 0] = usable[8, 8] = True
    fids = noise(np.random.default_rng(0), 2, 50).astype(np.complex64)
    denoised, sigma, _ = mppca(fids, usable)
    np.testing.assert_allclose(denoised, fids)
    assert np.isnan(sigma).all()


# before a fit


def test_full_rank_changes_nothing():
    data = rings().measure(12, 0)
    data = data.replace(mask=data.mask & (np.indices(data.grid_shape)[0] < 6))
    np.testing.assert_allclose(estimate.make("svd-fit", rank=512)(data), estimate.make("fit")(data), atol=2e-3)


def test_what_it_gains_is_what_it_shrinks():
    """Ring phantom: a small SD of Lac goes with its tumor's contrast, which the fit keeps."""
    phantom = rings(tumor_size=4)
    lac = [
        np.stack([estimate.make(name)(phantom.measure(12, seed)).sel(metabolite="Lac").values for seed in range(6)])
        for name in ("fit", "svd-fit")
    ]
    ring = (phantom.compartments == 2) & ~sum(phantom.tumors.values()).astype(bool)
    sd = [np.median(maps.std(0, ddof=1)[ring]) for maps in lac]
    contrast = [(maps[:, phantom.tumors["C"]].mean() - maps[:, ring].mean()) / 2 for maps in lac]
    assert sd[1] < 0.5 * sd[0]
    assert contrast[0] == pytest.approx(1, abs=0.1)
    assert contrast[1] < 0.5


def test_frequency_shifts_raise_the_rank():
    """Water alone, one component without shifts, needs more and more of them to stand above the noise."""
    phantom = rings()
    position = np.linspace(-0.5, 0.5, 32)[:, None, None] * np.ones((32, 32, 1))
    water = phantom.amplitudes * [1, 0, 0, 0]
    m, n = phantom.mask.sum(), phantom.model.acquisition.n_samples
    edge = np.sqrt(2) * snr_to_sigma(phantom.model, 25) * (np.sqrt(m) + np.sqrt(n))
    ranks = [
        int((np.linalg.svd(phantom.model.fids(water, hz * position)[phantom.mask], compute_uv=False) > edge).sum())
        for hz in (0, 10, 40)
    ]
    assert ranks[0] == 1
    assert ranks[0] < ranks[1] < ranks[2]


@pytest.mark.parametrize(("name", "options", "words"), [
    ("svd-fit", {"rank": 0}, "rank is 0"),
    ("svd-fit", {"rank": "guess"}, "no rank 'guess'"),
    ("mppca-fit", {"size": 1}, "do not cover"),
    ("mppca-fit", {"stride": 6}, "do not cover"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(name, options, words):
    data = rings().measure(20, 0)
    with pytest.raises(InputError, match=words):
        estimate.make(name, **options)(data)


def test_the_maps_say_what_was_kept():
    data = rings().measure(25, 0)
    data = data.replace(mask=data.mask & (np.indices(data.grid_shape)[0] < 8))
    assert estimate.make("svd-fit", rank=3)(data).attrs["rank"] == 3
    assert 0.5 < estimate.make("mppca-fit")(data).attrs["rank"] < 4
    assert estimate.make("mppca-fit", size=None)(data).attrs["rank"] >= 1
