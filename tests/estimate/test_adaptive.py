"""The prior that the data may overrule: limits with an exact answer, Stein's estimate, and what it is for."""

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.estimate import stein
from precise_lib.estimate.adaptive import Problem, Settings, adaptive
from precise_lib.estimate.coupling import Neighbors
from precise_lib.estimate.prior import ExactSolver, edge_weights
from precise_lib.estimate.stein import FEW, LAMS, PROBES, Tuner, moved, probes, risk, tune


@pytest.fixture
def scene():
    """Two halves under an MRI that shows them, a 3x3 lesion that it does not; 16x16, three metabolites."""
    rng = np.random.default_rng(0)
    gray = np.zeros((16, 16, 1))
    gray[8:] = 1.0
    truth = np.zeros((16, 16, 3)) + gray * [1.0, 2.0, 1.0]
    truth[2:5, 6:9] += [3.0, -3.0, 3.0]
    lesion = np.zeros((16, 16), bool)
    lesion[2:5, 6:9] = True
    variance = np.full((256, 3), 0.5) * rng.uniform(0.8, 1.2, (256, 1))
    return gray, truth.reshape(256, 3), lesion.ravel(), variance


def draw(scene, seed):
    _, truth, _, variance = scene
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((1 + PROBES, *truth.shape)) * np.sqrt(variance)
    return truth + noise[0], noise[1:]


def test_quadratic_limit_is_the_exact_solver_of_the_paper():
    rng = np.random.default_rng(1)
    gray = rng.uniform(size=(6, 5, 4))
    gray[0, 0] = np.nan
    neighbors = Neighbors.of(gray)
    couplings = neighbors.capped(5.5)
    assert abs(couplings.matrix - edge_weights(gray, 5.5)).max() < 1e-12
    ratios = rng.standard_normal((neighbors.n_voxels, 3))
    problem = Problem(ratios, np.full_like(ratios, 0.25), couplings)
    # (c - s)^2 / t^2 + lam g (cu - cv)^2 / 2 t^2: half the lambda of Eq. 4 counted once, a quarter counted twice
    maps, _ = problem.solve(0.4, np.inf, tolerance=1e-9)
    np.testing.assert_allclose(maps[:, 0], ExactSolver(couplings.matrix, 0.1)(ratios), atol=1e-7)


def test_a_large_tau_is_the_quadratic_penalty_and_lambda_zero_the_data(scene):
    ratios, _ = draw(scene, 2)
    problem = Problem(ratios, scene[3], Neighbors.of(scene[0]).bowsher(4))
    wide, _ = problem.solve(3.0, 1e6, tolerance=1e-9)
    flat, _ = problem.solve(3.0, np.inf, tolerance=1e-9)
    np.testing.assert_allclose(wide, flat, atol=1e-6)
    np.testing.assert_array_equal(problem.solve(0.0, 1.0)[0][:, 0], ratios)
    many, _ = problem.solve(1e5, np.inf, tolerance=1e-9)
    assert np.ptp(many[:120, 0, 0]) < 1e-2 < np.ptp(ratios[:120, 0])


def test_units_do_not_matter(scene):
    ratios, _ = draw(scene, 3)
    couplings, unit = Neighbors.of(scene[0]).bowsher(4), np.array([1e-3, 7.0, 300.0])
    one = Problem(ratios, scene[3], couplings).solve(5.0, 1.0, tolerance=1e-8)[0]
    other = Problem(ratios * unit + 5, scene[3] * unit**2, couplings).solve(5.0, 1.0, tolerance=1e-8)[0]
    np.testing.assert_allclose((other - 5) / unit, one, atol=1e-5)


def test_the_result_is_a_minimum(scene):
    ratios, _ = draw(scene, 4)
    problem = Problem(ratios, scene[3], Neighbors.of(scene[0]).bowsher(4))
    maps, _ = problem.solve(5.0, 1.0, steps=60, tolerance=1e-9)

    def loss(x):
        d = problem.distance2(x)
        fit = ((x[:, 0] - ratios) ** 2 / scene[3]).sum()
        return fit + 5.0 * (problem.couplings.weight[:, None] * d / (1 + d)).sum()

    rng = np.random.default_rng(0)
    here = loss(maps)
    for _ in range(20):
        assert loss(maps + 1e-3 * rng.standard_normal(maps.shape)) > here


@pytest.mark.parametrize(("tau", "allowed"), [(1.0, 0.03), (np.inf, 0.0)])
def test_stein_s_estimate_has_the_mean_of_the_true_error(scene, tau, allowed):
    """To the chance of 60 data sets; a probe of finite size costs a little where couplings open."""
    gaps = []
    for seed in range(60):
        ratios, noise = draw(scene, 100 + seed)
        problem = Problem(moved(ratios, noise), scene[3], Neighbors.of(scene[0]).bowsher(4))
        maps, _ = problem.solve(3.0, tau)
        true = ((maps[:, 0] - scene[1]) ** 2 / scene[3]).mean()
        gaps.append(risk(problem, maps, noise).mean() - true)
    assert np.std(gaps) / np.sqrt(60) < 0.02
    assert abs(np.mean(gaps)) < allowed + 4 * np.std(gaps) / np.sqrt(60)


def test_noise_that_neighbors_share_needs_probes_that_they_share(scene):
    def shared(rng):
        white = rng.standard_normal((17, 17, 3))
        return ((white[1:, 1:] + white[:-1, 1:] + white[1:, :-1] + white[:-1, :-1]) / 2).reshape(256, 3)

    couplings = Neighbors.of(scene[0]).bowsher(4)
    variance, gaps = np.ones((256, 3)), {"shared": [], "white": []}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        ratios = scene[1] + shared(rng)
        for kind, noise in (("shared", shared(rng)), ("white", rng.standard_normal((256, 3)))):
            problem = Problem(moved(ratios, noise[None]), variance, couplings)
            maps, _ = problem.solve(2.0, np.inf)
            true = ((maps[:, 0] - scene[1]) ** 2).mean()
            gaps[kind].append(risk(problem, maps, noise[None]).mean() - true)
    assert abs(np.mean(gaps["shared"])) < 0.04
    assert np.mean(gaps["white"]) < -0.2


def test_probes_have_the_variance_and_the_correlation_of_the_noise():
    rng = np.random.default_rng(0)
    free = rng.standard_normal((50, 800))
    free[1] = free[0]
    variance = rng.uniform(1, 4, (50, 3))
    noise = probes(free, variance, count=200)
    np.testing.assert_allclose(noise.std(0) / np.sqrt(variance), 1, atol=0.25)
    np.testing.assert_allclose(noise[:, 0] / np.sqrt(variance[0]), noise[:, 1] / np.sqrt(variance[1]))
    assert abs(np.corrcoef(noise[:, 2, 0], noise[:, 3, 0])[0, 1]) < 0.3
    few = probes(free[:, : FEW - 1], variance, count=200)  # too few to draw from: white, and not shared
    np.testing.assert_allclose(few.std(0) / np.sqrt(variance), 1, atol=0.25)
    assert abs(np.corrcoef(few[:, 0, 0], few[:, 1, 0])[0, 1]) < 0.3


def test_tuned_by_itself_it_keeps_a_lesion_that_the_mri_does_not_show(scene):
    gray, truth, lesion, variance = scene
    neighbors = Neighbors.of(gray)
    kept, errors, linear = [], [], []
    for seed in range(5):
        ratios, noise = draw(scene, 200 + seed)
        field = adaptive(ratios, variance, neighbors, tune(ratios, variance, neighbors, noise).settings)
        kept.append(field.maps[lesion].mean(0) / truth[lesion].mean(0))
        errors.append(((field.maps - truth) ** 2).mean())
        quadratic = Problem(ratios, variance, neighbors.bowsher(4))
        linear.append(min(((quadratic.solve(lam, np.inf)[0][:, 0] - truth) ** 2).mean() for lam in LAMS))
    assert (np.mean(kept, 0) > 0.9).all()
    assert np.mean(errors) < 0.5 * np.mean(linear)


def test_an_mri_of_noise_is_not_followed(scene):
    """It costs at most 2 % over the choice without an MRI."""
    gray = np.random.default_rng(5).uniform(size=scene[0].shape)
    errors = {True: [], False: []}
    for seed in range(5):
        ratios, noise = draw(scene, 300 + seed)
        for blind in errors:
            neighbors = Neighbors.of(np.zeros_like(gray) if blind else gray)
            settings = tune(ratios, scene[3], neighbors, noise).settings
            error = (adaptive(ratios, scene[3], neighbors, settings).maps - scene[1]) ** 2 / scene[3]
            errors[blind].append(error.mean())
    # 2 % of the error, 4 % of its square, but for the chance of five pairs
    gap, allowed = np.subtract(errors[False], errors[True]), 0.04 * np.mean(errors[True])
    assert gap.mean() < allowed + 3 * gap.std(ddof=1) / np.sqrt(len(gap))


def test_slack_buys_a_smaller_step(scene):
    ratios, noise = draw(scene, 6)
    tuner = Tuner(ratios, scene[3], Neighbors.of(scene[0]), noise)
    best = tuner.least(tuner.start())
    wide = tuner.keep(best, 0.5)
    assert wide.step < best.step
    assert tuner.risk(wide) <= tuner.risk(best) + 0.5 * abs(tuner.risk(best))


def test_a_metabolite_with_a_course_of_its_own_gets_a_smaller_lambda(scene):
    gray, truth, _, variance = scene
    rng = np.random.default_rng(8)
    truth = truth.copy()
    truth[:, 1] += 1.5 * np.sin(np.arange(256) / 3)
    ratios = truth + rng.standard_normal(truth.shape) * np.sqrt(variance)
    noise = rng.standard_normal((4, *truth.shape)) * np.sqrt(variance)
    shares = Tuner(ratios, variance, Neighbors.of(gray), noise).shares(Settings(LAMS[8], 1.0, 4))[0].share
    assert shares[1] < 0.5 * min(shares[0], shares[2])


def test_the_field_solves_its_own_quadratic_problem(scene):
    ratios, _ = draw(scene, 9)
    field = adaptive(ratios, scene[3], Neighbors.of(scene[0]), Settings(10.0, 0.7, 4, share=(1.0, 0.2, 0.6)))
    for k in range(3):
        np.testing.assert_allclose(field.factor(k).solve(ratios[:, k] / scene[3][:, k]), field.maps[:, k], atol=0.02)
    assert ((field.opened >= 0) & (field.opened <= 1)).all()
    border = scene[2][field.problem.couplings.pairs].sum(1) == 1
    assert field.opened[border].mean() > 0.9 > 0.3 > np.median(field.opened[~border])


def test_bowsher_votes():
    gray = np.array([0.0, 0.1, 0.5, 0.55]).reshape(4, 1, 1)
    one = Neighbors.of(gray).bowsher(1)
    # 0 and 1 choose each other, so do 2 and 3; nobody chooses across
    assert one.pairs.tolist() == [[0, 1], [2, 3]]
    assert one.weight.tolist() == [1.0, 1.0]
    every = Neighbors.of(np.random.default_rng(0).uniform(size=(4, 4, 4))).bowsher(26)
    assert (every.weight == 1).all()
    assert len(every.pairs) == 3 * 48 + 6 * 36 + 4 * 27
    half = Neighbors.of(np.array([0.0, 0.1, 0.15]).reshape(3, 1, 1)).bowsher(1)
    assert half.weight.tolist() == [0.5, 1.0]


def test_equal_gray_levels_choose_the_closer_voxel():
    affine = np.diag([10.0, 10.0, 2.0, 1.0])
    flat = Neighbors.of(np.zeros((5, 5, 9)), affine)
    chosen = flat.bowsher(2)
    # at both ends of z a voxel has one neighbor there; all others choose theirs along z
    inside = ~np.isin(chosen.pairs % 9, (0, 8)).any(1)
    assert inside.sum() == 25 * 6
    assert (np.diff(chosen.pairs[inside], axis=1) == 1).all()


def test_gray_levels_and_distance_count_together():
    """A voxel passes over a closer neighbor for a step of the MRI, not for its noise."""
    gray = np.zeros((3, 3, 1))
    gray[0, 1], gray[2, 1] = 0.5, 0.02  # an edge and noise, both beside the voxel in the middle
    neighbors = Neighbors.of(gray)

    def weight(one, other, gray):
        found = neighbors.bowsher(4, gray=gray)
        return dict(zip(map(tuple, found.pairs.tolist()), found.weight, strict=True))[one, other]

    # half a vote comes from the outer voxel, to which all others are equally like
    assert (weight(4, 7, 0.0), weight(4, 7, 0.1)) == (0.5, 1.0)  # by gray level alone the corners come first
    assert (weight(1, 4, 0.0), weight(1, 4, 0.1), weight(1, 4, 10.0)) == (0.5, 0.5, 1.0)
    blind, far = neighbors.blind.bowsher(4), neighbors.bowsher(4, gray=1e6)
    assert (blind.pairs.tolist(), blind.weight.tolist()) == (far.pairs.tolist(), far.weight.tolist())


def test_levels_that_vary_slowly_want_close_neighbors():
    """Under an MRI of a little noise, the error is below that of neighbors by gray level alone."""
    rng, places = np.random.default_rng(5), np.indices((16, 16)).reshape(2, -1)
    truth = 3 * np.stack([np.sin(places[0] / 2), np.cos(places[1] / 2), np.sin(places.sum(0) / 3)], 1)
    noise, variance = rng.standard_normal((5, *truth.shape)), np.ones_like(truth)
    neighbors, ratios, error = Neighbors.of(0.02 * rng.standard_normal((16, 16, 1))), truth + noise[0], {}
    four = {"mri": True, "neighbors": 4, "tau": np.inf}
    for name, fixed in (("searched", {}), ("gray alone", {"gray": 0.0})):
        settings = tune(ratios, variance, neighbors, noise[1:], fixed=four | fixed).settings
        error[name] = ((adaptive(ratios, variance, neighbors, settings).maps - truth) ** 2).mean()
        assert fixed.get("gray", settings.gray) == settings.gray
    assert error["searched"] < 0.9 * error["gray alone"], error


def test_frames_are_a_fourth_direction():
    usable = np.ones((3, 2, 1, 1), bool)
    usable[1, 1] = False
    three = Neighbors.of_frames(np.zeros((2, 1, 1)), usable)
    assert three.n_voxels == 5
    assert three.following.tolist() == [[0, 2], [2, 3]]
    coupled = three.bowsher(2, following=0.5)
    weights = {tuple(p): w for p, w in zip(coupled.pairs.tolist(), coupled.weight, strict=True)}
    assert weights == {(0, 1): 1, (3, 4): 1, (0, 2): 0.5, (2, 3): 0.5}
    assert len(three.bowsher(2).pairs) == 2


def test_many_voxels_are_tuned_on_those_in_the_middle(scene, monkeypatch):
    """And with a probe for four: the settings of the part alone."""
    ratios, noise = draw(scene, 11)
    neighbors = Neighbors.of(scene[0])
    monkeypatch.setattr(stein, "ENOUGH", 128)
    part = slice(64, 192)
    alone = tune(ratios[part], scene[3][part], Neighbors.of(scene[0][4:12]), noise[:, part])
    assert tune(ratios, scene[3], neighbors, noise).tried == alone.tried


@pytest.mark.parametrize("bad", [{"lam": -1.0}, {"lam": np.nan}, {"tau": 0.0}, {"gray": -0.1}])
def test_bad_settings_say_so(bad):
    with pytest.raises(InputError):
        Settings(**{"lam": 1.0, "tau": 1.0, "neighbors": 4} | bad)
