"""Lambda from one data set: estimated risks against true ones, and what water's lambda does to a ratio."""

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.estimate import choose, smoother
from precise_lib.estimate.prior import ExactSolver, edge_weights

SHAPE = (16, 16, 1)
LAMS = np.r_[0.0, 10 ** np.arange(-3.5, 0.6, 0.25)]


def scene(noise=0.05, n=60, seed=0, profile=None):
    """Weights, true ratios (V, 3), noisy amplitudes (n, V, 3) and the SD of their ratios; water comes first."""
    rng = np.random.default_rng(seed)
    gray = np.zeros(SHAPE)
    gray[:, 8:] = 1
    ratio = np.ones((*SHAPE, 3))
    ratio[..., 1] = 0.3 + 0.3 * gray  # as the MRI says
    ratio[..., 2] = 0.2 + 0.1 * np.sin(np.arange(16) / 2)[:, None, None]  # what the MRI does not show
    water = np.ones(SHAPE) if profile is None else profile
    truth = (ratio * water[..., None]).reshape(-1, 3)
    draws = truth + noise * rng.standard_normal((n, *truth.shape))
    single = ratio.reshape(-1, 3)
    sd = noise * np.sqrt(1 + single**2) / water.reshape(-1, 1)
    sd[:, 0] = 0
    return edge_weights(gray), single, draws, np.broadcast_to(sd, draws.shape)


def test_steins_estimate_is_unbiased_and_so_is_the_squared_bias():
    weights, truth, draws, sd = scene(noise=0.03, n=150)
    found = choose.curves(weights, draws, 0, sd, LAMS, truth=truth)
    error2, stein = found.error2[..., 1:].mean(1), found.stein[..., 1:].mean(1)
    scatter = (found.stein - found.error2)[..., 1:].std(1) / np.sqrt(150)
    # the second order of the ratio is 1 % of a unit
    assert (np.abs(stein - error2) < 5 * scatter + 0.02).all()
    bias2 = found.bias2[..., 1:].mean(1)
    np.testing.assert_allclose(bias2 + found.variance[..., 1:].mean(1), error2, rtol=0.01, atol=0.03)
    assert found.stein[..., 0].max() == 0


def test_the_choice_costs_little_and_follows_the_noise():
    chosen = []
    for noise in (0.02, 0.1):
        weights, truth, draws, sd = scene(noise, n=40)
        found = choose.curves(weights, draws, 0, sd, LAMS, truth=truth)
        pick, oracle = found.choose(), choose.least(found.lams, found.error2)
        nearest = np.abs(np.log(np.maximum(pick[..., None], 1e-9) / LAMS[1:])).argmin(-1) + 1
        error2 = np.take_along_axis(found.error2, nearest[None], 0)[0]
        excess = np.sqrt(error2[:, 1:] / found.error2.min(0)[:, 1:]) - 1
        assert np.median(excess) < 0.02
        # what the MRI does not show asks for less smoothing than what it shows
        assert np.median(pick, 0)[1] > 1.2 * np.median(pick, 0)[2]
        assert np.median(pick[:, 2] / oracle[:, 2]) == pytest.approx(1, abs=0.25)
        assert found.choose("cross-validation").shape == pick.shape
        chosen.append(np.median(pick[:, 2]))
    assert chosen[1] > 3 * chosen[0]


def test_bias_stays_under_its_share():
    weights, truth, draws, sd = scene(0.03, n=60)
    found = choose.curves(weights, draws, 0, sd, LAMS, truth=truth)
    picks = {share: found.choose("bias", share)[:, 2] for share in (0.25, 0.5, 1.0)}
    assert np.median(picks[0.25]) < np.median(picks[0.5]) < np.median(picks[1.0])
    exact = choose.curves(weights, truth[None], 0, sd[:1], LAMS, truth=truth)
    # noiseless maps: the bias is known, and so is the largest lambda that keeps it small
    bias2 = exact.error2[:, 0, 2]
    allowed = LAMS[(bias2 <= 0.25 * exact.variance[:, 0, 2]).argmin() - 1]
    assert np.median(picks[0.5]) == pytest.approx(allowed, rel=0.5)
    for bad in (0, -1, np.nan):
        with pytest.raises(InputError, match="share"):
            found.choose("bias", bad)
    with pytest.raises(InputError, match="No way"):
        found.choose("luck")


def test_water_takes_the_lambda_of_what_it_divides():
    """A profile cancels, nothing leaves the range of the data; with a lambda of water's own, both are lost."""
    profile = np.exp(-np.arange(16) / 5)[:, None, None] * np.ones(SHAPE)
    weights, truth, *_ = scene(profile=profile)
    flat = truth.copy()
    flat[:, 1:] = 0.4
    amplitudes = flat * profile.reshape(-1, 1)
    lams = [0.0, 0.05, 0.3]
    made = [ExactSolver(weights, lam) for lam in lams]
    result = choose.ratios(made, amplitudes, 0)
    np.testing.assert_allclose(result[:, 0], 1)
    np.testing.assert_allclose(result[:, 1:], 0.4, rtol=1e-9)
    own = made[2](amplitudes)[:, 2] / made[1](amplitudes)[:, 0]
    assert np.abs(own / 0.4 - 1).max() > 0.1
    jagged = choose.ratios(made, truth * profile.reshape(-1, 1), 0)
    assert (jagged.min(0) >= truth.min(0) - 1e-9).all()
    assert (jagged.max(0) <= truth.max(0) + 1e-9).all()


def test_the_choice_does_not_depend_on_a_profile():
    """Under a surface coil the same truth at the same noise in units of the ratio leads to about the same lambda."""
    weights, _, draws, sd = scene(0.03, n=20)
    profile = np.linspace(0.5, 2, 16)[:, None, None] * np.ones(SHAPE)
    shaped = draws * profile.reshape(-1, 1)
    even = choose.curves(weights, draws, 0, sd, LAMS).choose()
    uneven = choose.curves(weights, shaped, 0, sd, LAMS).choose()
    assert np.median(np.log(uneven[:, 2] / even[:, 2])) == pytest.approx(0, abs=0.2)


def test_voxels_without_water_do_not_count():
    weights, _, draws, sd = scene(n=3)
    spoiled = draws.copy()
    spoiled[:, 7, 0] = -0.5
    found = choose.curves(weights, spoiled, 0, sd, LAMS)
    assert np.isfinite(found.stein).all()
    with pytest.raises(InputError, match="no voxel"):
        choose.curves(weights, -draws, 0, sd, LAMS)
    for grid in ([0.1, 0.2, 0.3, 0.4], [0, 0.1], [0, 0.2, 0.1, 0.3]):
        with pytest.raises(InputError, match="ascend"):
            choose.curves(weights, draws, 0, sd, grid)
    assert np.isnan(choose.ratios([ExactSolver(weights, 0.0)] * 3, -draws[0], 0)).all()


def test_many_voxels_are_probed(monkeypatch):
    weights, _, draws, sd = scene(n=2)
    exact = choose.curves(weights, draws, 0, sd, LAMS)
    monkeypatch.setattr(smoother, "SUM_EXACT_UP_TO", 10)
    lattice = smoother.lattices(np.ones(SHAPE, bool), sums_only=True)
    assert len(np.unique(lattice.number)) == 9
    probed = choose.curves(weights, draws, 0, sd, LAMS, lattice=lattice)
    small = LAMS < 0.1
    np.testing.assert_allclose(probed.stein[small], exact.stein[small], atol=0.02)
    assert np.abs(np.log(probed.choose()[:, 1:] / exact.choose()[:, 1:])).max() < 0.3
    assert np.isinf(probed.gcv[0, :, 1:]).all()


def test_the_least_point_lies_between_grid_points():
    curve = (np.log(LAMS[1:] / 0.021)) ** 2
    assert choose.least(LAMS, np.r_[9.0, curve][:, None]) == pytest.approx(0.021, rel=1e-6)
    assert choose.least(LAMS, LAMS[:, None]) == 0
    assert choose.least(LAMS, -LAMS[:, None]) == LAMS[-1]
