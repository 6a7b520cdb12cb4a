"""Total variation and non-local means: closed forms, what the MRI sets free, and a setting chosen by Stein."""

from dataclasses import replace

import numpy as np
import pytest

from precise_lib import estimate
from precise_lib.errors import InputError
from precise_lib.estimate.peers.ratios import nonlocal_means
from precise_lib.estimate.peers.variation import gradient, total_variation
from precise_lib.simulate.phantoms import rings

CUBE = np.ones(3)


def test_two_voxels_move_towards_each_other_by_lambda():
    """The difference of all metabolites together shrinks by 2 lambda, and is gone from half of it on."""
    slopes, ones = gradient(np.zeros((2, 1, 1)), CUBE), np.ones((2, 2))
    ratios = np.array([[0.0, 0.0], [3.0, 4.0]])  # 5 apart
    mean, half = ratios.mean(0), (ratios[1] - ratios[0]) / 2
    for lam, left in ((0.5, 0.8), (1.0, 0.6), (2.5, 0.0), (4.0, 0.0)):
        expected = mean + left * np.array([-half, half])
        np.testing.assert_allclose(total_variation(ratios, ones, slopes, lam, 3000), expected, atol=0.01)


def test_what_is_noisy_moves_more():
    slopes = gradient(np.zeros((2, 1, 1)), CUBE)
    found = total_variation(np.array([[0.0], [10.0]]), np.array([[1.0], [3.0]]), slopes, 1.0, 3000)
    # in units of the median variance 2: each moves by lambda times its own variance over the unit
    np.testing.assert_allclose(found[:, 0], [1 / np.sqrt(2), 10 - 3 / np.sqrt(2)], atol=0.02)


def test_an_edge_of_the_mri_is_free_and_one_across_it_is_not():
    """Across, each half moves by lambda times the length of the edge over its area: 1.5 x 12 / 72."""
    x, y = (place[..., 0].ravel() for place in np.indices((12, 12, 1))[:2] >= 6)
    noise = np.random.default_rng(0).normal(size=(144, 1))
    slopes = gradient(x.reshape(12, 12, 1).astype(float), CUBE, 0.01)
    for truth, lost in ((x, 0.0), (y, 0.5)):
        ratios = 4.0 * truth[:, None] + noise
        found = total_variation(ratios, np.ones_like(ratios), slopes, 1.5)
        before, after = (values[truth].mean() - values[~truth].mean() for values in (ratios, found))
        assert before - after == pytest.approx(lost, abs=0.05)
        assert found[truth].std() < 0.3 * noise.std()


def test_without_edges_the_mri_has_no_say():
    gray = np.full((5, 4, 3), 0.3)
    assert abs(gradient(gray, CUBE, 0.1) - gradient(gray, CUBE)).max() == 0


def test_differences_are_per_millimeter_and_end_at_the_mask():
    gray = np.zeros((3, 2, 2))
    gray[1] = np.nan
    slopes = gradient(gray, np.array([1.0, 2.0, 4.0]))
    moved = slopes @ np.arange(8.0)
    np.testing.assert_allclose(moved[:8], 0)  # nothing couples across the gap
    np.testing.assert_allclose(moved[8:16], [1, 1, 0, 0, 1, 1, 0, 0])  # numbers 2 apart, at twice the distance
    np.testing.assert_allclose(moved[16:], [0.25, 0, 0.25, 0, 0.25, 0, 0.25, 0])


def test_nonlocal_means_average_what_looks_alike_by_its_precision():
    gray = np.array([0.0, 0.0, 1.0, 1.0, np.nan])[:, None, None]
    ratios, variance = np.array([[1.0], [3.0], [10.0], [20.0]]), np.array([[1.0], [3.0], [1.0], [1.0]])
    found = nonlocal_means(ratios, variance, gray, width=0.01, window=3)
    np.testing.assert_allclose(found[:, 0], [1.5, 1.5, 15, 15])
    np.testing.assert_allclose(nonlocal_means(ratios, variance, gray, width=1e-9, window=1), found)
    np.testing.assert_allclose(nonlocal_means(0 * ratios + 2, variance, gray, 0.5), 2)


@pytest.mark.parametrize("name", ["fit-tv", "fit-dtv", "fit-nlm"])
def test_the_setting_that_stein_chooses_is_near_the_best(name):
    phantom = rings()
    data, truth = phantom.measure(12, 0), phantom.concentrations.values[1:, phantom.mask]

    def error(peer):
        return float(np.sqrt(((peer(data).values[1:, phantom.mask] - truth) ** 2).mean()))

    peer = estimate.make(name)
    each = [error(replace(peer, **{peer.parameter: value})) for value in peer.values]
    assert error(peer) < 1.15 * min(each)
    assert error(peer) < 0.5 * error(estimate.make("fit"))


def test_bad_settings_are_one_sentence():
    data = rings().measure(12, 0)
    for name, options, said in (
        ("fit-tv", {"lam": -1.0}, "lambda of total variation"),
        ("fit-nlm", {"width": 0.0}, "width of non-local means"),
        ("fit-nlm", {"window": 0}, "window of non-local means"),
    ):
        with pytest.raises(InputError, match=said):
            estimate.make(name, **options)(data)
    with pytest.raises(InputError, match="'fit-dtv' needs an MRI"):
        estimate.make("fit-dtv")(data.replace(mri=None, mri_affine=None))
