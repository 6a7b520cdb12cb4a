"""Contrasts under the MRI prior: closed forms against repeated solves, and maps whose answer is known."""

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.estimate.prior import OMEGA_MAX, ExactSolver, edge_weights
from precise_lib.simulate.phantoms import rings
from precise_lib.studies import contrasts
from precise_lib.studies.regularization import closed_form, gray_levels

SIZES = (1, 2, 4)
TOPS = np.array([np.nan, 5.0, 5.0, 3.0])
scenes = {size: contrasts.scene(size) for size in SIZES}


@pytest.mark.parametrize("size", SIZES)
def test_slopes_in_closed_form_are_those_of_repeated_solves(size):
    scene = scenes[size]
    solver = ExactSolver(edge_weights(gray_levels(scene.phantom), OMEGA_MAX), 0.01)
    truth = np.stack([scene.draw(TOPS, np.random.default_rng(k)) for k in range(150)])[..., 1:]
    solved = np.stack([solver(t) for t in truth])
    h = scene.linear_map(0.01)
    for view in scene.views:
        line = contrasts.contrast_lines(scene, view, truth, solved, names=["a", "b", "c"])
        error = (line.slope_high - line.slope) / 1.96
        assert (error < 0.02).all(), view
        assert (np.abs(line.slope - scene.slope(h, view)) < 4 * error).all(), view


def test_identity_keeps_all_and_a_mean_keeps_nothing():
    scene = scenes[2]
    n = len(scene.views[contrasts.ALL])
    for view in scene.views:
        assert scene.slope(np.eye(n), view) == pytest.approx(1)
    mean = np.full((n, n), 1 / n)
    for view in (contrasts.TISSUE, contrasts.SHOWN, contrasts.HIDDEN):
        assert scene.slope(mean, view) == pytest.approx(0, abs=0.01)
    assert scene.noise_kept(np.eye(n)) == pytest.approx(1)
    assert scene.noise_kept(mean) == pytest.approx(n**-0.5)
    assert scene.relative_rmse(np.eye(n), [0.0, 5.0]) == pytest.approx([1, 1])


def test_shown_lesion_agrees_with_the_study_of_site_c():
    """Contrast kept at C and D with all else alike, as the pages on lambda have it."""
    scene, phantom = scenes[2], rings(2)
    h = scene.linear_map(0.01)
    lesion = scene.patterns[contrasts.SHOWN][:, 0]
    kept = (h @ lesion)[lesion > 0].mean()
    study = closed_form(phantom, 12.0, [0.01])["recovery"].sel(metabolite="Lac", site="C").item()
    assert kept == pytest.approx(study, abs=0.02)  # there the other rings differ, too


def test_rmse_in_closed_form():
    rng, scene = np.random.default_rng(3), scenes[1]
    h, sd = scene.linear_map(0.02), 0.6
    truth = np.stack([scene.draw(TOPS[1:], np.random.default_rng(k)) for k in range(60)])
    estimate = h @ (truth + sd * rng.standard_normal(truth.shape))
    found = np.sqrt(((estimate - truth) ** 2).mean((0, 1))) / sd
    spread = contrasts.RANDOM_WIDTH * TOPS[1:] / np.sqrt(12) / sd
    np.testing.assert_allclose(found, scene.relative_rmse(h, spread), rtol=0.02)
    assert scene.relative_rmse(h, 0.0) == pytest.approx(scene.noise_kept(h))
    assert (scene.relative_rmse(h, spread, hidden=0.0) < scene.relative_rmse(h, spread)).all()


@pytest.mark.parametrize("seed", range(3))
def test_no_average_gains_contrast_to_noise_for_what_varies_from_voxel_to_voxel(seed):
    """tr H / V <= sqrt(tr H H^T / V), for the prior and for any other matrix."""
    h = np.random.default_rng(seed).random((40, 40))
    h /= h.sum(1, keepdims=True)
    assert np.trace(h) / 40 <= contrasts.Scene.noise_kept(h)
    scene, prior = scenes[1], scenes[1].linear_map(0.01 * (1 + seed))
    assert np.trace(prior) / len(prior) <= scene.noise_kept(prior)
    assert scene.slope(prior, contrasts.HIDDEN) <= scene.noise_kept(prior) + 0.002  # less the mean of the ring


def test_a_blind_map_treats_shown_and_hidden_alike():
    """Without an edge in the MRI lesions shrink as the blocks do, and tissues more than with the edges."""
    scene = scenes[4]
    blind, seeing = scene.linear_map(0.01, 30, without_edges=True), scene.linear_map(0.01, 30)
    hidden, shown = (scene.slope(blind, view) for view in (contrasts.HIDDEN, contrasts.SHOWN))
    assert shown == pytest.approx(hidden, abs=0.06)
    assert scene.slope(seeing, contrasts.SHOWN) > shown + 0.2
    assert scene.slope(seeing, contrasts.TISSUE) > scene.slope(blind, contrasts.TISSUE) + 0.05
    assert np.allclose(blind.sum(1), 1)


def test_blocks_tile_the_object():
    mask = np.zeros((6, 7, 1), bool)
    mask[1:6, 0:5] = True
    for size in (1, 2, 3):
        tiles = contrasts.blocks(mask, size)
        assert (tiles.sum(1) == 1).all()
        assert tiles.sum(0).max() <= size**2
    assert contrasts.blocks(mask, 1).shape == (25, 25)
    cells = np.argwhere(mask)
    together = contrasts.blocks(mask, 2) @ contrasts.blocks(mask, 2).T > 0
    same = (cells[:, None, :2] // 2 == cells[None, :, :2] // 2).all(-1)
    assert (together == same).all()
    with pytest.raises(InputError):
        contrasts.blocks(mask, 0)


def least_squares(model):
    return lambda fids: (
        np.linalg.lstsq(
            np.vstack([model.basis().real, model.basis().imag]), np.hstack([fids.real, fids.imag]).T, rcond=None
        )[0].T
    )


def test_measure_gives_back_the_truth_without_noise():
    scene = scenes[4]
    maps = {"sve": None, "precise": scene.linear_map(0.01)}
    data = contrasts.measure(scene, least_squares(scene.phantom.model), maps, TOPS, 1e6, 2)
    truth, found = data.truth, data.estimate
    assert truth.shape == found["sve"].shape == (2, scene.phantom.mask.sum(), 4)
    assert (truth[..., 0] == 10).all()
    assert ((truth[..., 1:] >= 0) & (truth[..., 1:] <= TOPS[1:])).all()
    assert not np.array_equal(truth[0], truth[1])
    np.testing.assert_allclose(found["sve"], truth, atol=1e-3)
    np.testing.assert_allclose(found["precise"], maps["precise"] @ truth, atol=1e-3)


def test_measured_slopes_are_those_in_closed_form():
    """With the known error as regressor a few phantoms are enough, and chance is told from the map."""
    scene = scenes[2]
    maps = {"sve": None, "precise": scene.linear_map(0.01)}
    data = contrasts.measure(scene, least_squares(scene.phantom.model), maps, TOPS, 30, 25)
    for view in (contrasts.TISSUE, contrasts.SHOWN, contrasts.HIDDEN):
        for name, h in maps.items():
            parts = (x[..., 1:] for x in (data.truth, data.estimate[name], data.error[name]))
            line = contrasts.contrast_lines(scene, view, *parts)
            slope = scene.slope(np.eye(len(scene.views[contrasts.ALL])) if h is None else h, view)
            np.testing.assert_allclose(line.slope, slope, atol=0.02)


def test_pooled_metabolites_are_further_phantoms():
    x = np.arange(24.0).reshape(2, 4, 3)
    truth, *_ = contrasts.Measured(x, {"a": x}, {"a": x}).pooled("a", [0, 2.0, 5.0])
    assert truth.shape == (4, 4, 1)
    np.testing.assert_allclose(truth[..., 0], [x[0, :, 1] / 2, x[0, :, 2] / 5, x[1, :, 1] / 2, x[1, :, 2] / 5])
