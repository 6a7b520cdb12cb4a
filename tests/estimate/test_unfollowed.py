"""Edges of the MRI that metabolism does not follow: what is found, what passes by chance, what noise leaves open."""

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.estimate.coupling import Neighbors
from precise_lib.estimate.unfollowed import DRAWS, across, along, contrast_of_edges, draws, edges

LEVELS = np.array([2.0, 3.0, 1.0])
SHAPE = (16, 16, 1)


def block(x, y, shape=SHAPE):
    """(x, y, z) bool, true in the slices."""
    out = np.zeros(shape, bool)
    out[x, y] = True
    return out


SHOWN, FOLLOWED = block(slice(2, 6), slice(2, 14)), block(slice(10, 14), slice(2, 14))
GRAY = np.where(SHOWN | FOLLOWED, 1.0, 0.0)


def found(truth, gray, sd, seed=0, tolerance=20.0):
    """Edges of maps (x, y, z, K) under noise of `sd`, a share of the level."""
    rng, neighbors = np.random.default_rng(seed), Neighbors.of(gray)
    truth = truth.reshape(-1, truth.shape[-1])
    noise = sd * LEVELS * rng.standard_normal((1 + DRAWS, *truth.shape))
    return edges(truth + noise[0], neighbors, noise[1:], tolerance)


def levels(factor, where, metabolite=2):
    """Maps that are level but for one metabolite, by a factor, somewhere."""
    truth = np.broadcast_to(LEVELS, (*SHAPE, 3)).copy()
    truth[where, metabolite] *= factor
    return truth


def test_the_block_that_no_metabolite_has_is_found_and_the_other_is_not():
    result = found(levels(1.6, FOLLOWED), GRAY, 0.02)
    of = {name: where.ravel()[result.pairs].any(1) for name, where in (("shown", SHOWN), ("followed", FOLLOWED))}
    assert result.level[of["shown"]].all()
    assert not result.level[of["followed"]].any()
    assert GRAY.ravel()[result.pairs].tolist() == [[1.0, 0.0]] * len(result.pairs)  # the brighter one first
    share = result.share.reshape(SHAPE)
    assert np.isnan(share[3:5, 3:13]).all()  # inside the block
    np.testing.assert_array_equal(share[SHOWN & np.isfinite(share)], 1.0)
    np.testing.assert_array_equal(share[FOLLOWED & np.isfinite(share)], 0.0)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("metabolite", [0, 2])
def test_of_steps_as_large_as_the_tolerance_one_in_twenty_passes(metabolite, sign):
    """20 % of the mean of both sides, in one metabolite; the others are level."""
    truth = levels((1 + sign * 0.1) / (1 - sign * 0.1), block(slice(8), slice(None)), metabolite)
    gray = np.where(block(slice(8), slice(None)), 1.0, 0.0)
    passed = [found(truth, gray, 0.1, seed).level.mean() for seed in range(150)]
    assert 0 < np.mean(passed) < 0.05 + 2 * np.std(passed) / np.sqrt(len(passed))


def test_a_level_edge_is_found_unless_noise_hides_it():
    gray = np.where(block(slice(8), slice(None)), 1.0, 0.0)
    results = {sd: [found(levels(1, SHOWN), gray, sd, seed) for seed in range(10)] for sd in (0.05, 1.0)}
    assert np.mean([r.level.mean() for r in results[0.05]]) > 0.95
    assert np.mean([r.told.mean() for r in results[0.05]]) == 1
    assert np.mean([r.level.mean() for r in results[1.0]]) < 0.02
    assert np.mean([r.told.mean() for r in results[1.0]]) < 0.02


def test_a_metabolite_that_is_not_there_has_no_percent():
    truth = levels(0.0, np.ones(SHAPE, bool))
    assert not found(truth, GRAY, 0.1).level.any()


def test_a_part_of_an_edge_that_metabolism_follows_is_not_hidden_by_the_rest():
    part = block(slice(8), slice(4))
    result = found(levels(1.8, part), np.where(block(slice(8), slice(None)), 1.0, 0.0), 0.15)
    inside = part.ravel()[result.pairs[:, 0]] & part.ravel()[result.pairs[:, 1] - SHAPE[1]]  # not beside its end
    assert not result.level[inside].any()
    assert result.level.any()


def test_noise_and_shading_of_the_mri_are_no_edges():
    rng, x = np.random.default_rng(0), np.arange(16)[:, None, None] / 16
    gray = np.where(SHOWN, 1.0, 0.0) + 0.01 * rng.standard_normal(SHAPE) + 0.2 * x
    neighbors = Neighbors.of(gray)
    pairs = across(neighbors, contrast_of_edges(neighbors))
    true = SHOWN.ravel()[neighbors.pairs].sum(1) == 1
    assert len(pairs) < 1.15 * true.sum()
    assert (SHOWN.ravel()[pairs].sum(1) == 1).sum() == true.sum()
    sums = np.asarray(along(pairs, neighbors, contrast_of_edges(neighbors)).sum(1))
    np.testing.assert_allclose(sums, 1)


def test_without_edges_there_is_nothing():
    result = found(levels(1, SHOWN), np.zeros(SHAPE), 0.1)
    assert len(result.pairs) == 0
    assert np.isnan(result.share).all()


@pytest.mark.parametrize("tolerance", [0, -5, 100, np.nan, np.inf])
def test_a_tolerance_out_of_range_is_refused(tolerance):
    with pytest.raises(InputError, match="tolerance"):
        found(levels(1, SHOWN), GRAY, 0.1, tolerance=tolerance)


def test_many_voxels_need_fewer_draws():
    assert draws(100) == DRAWS > draws(5000) > draws(100_000) >= 16
