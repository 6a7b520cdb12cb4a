"""Intervals of the adaptive prior, and the places where it says that the data overruled the MRI."""

import numpy as np
import pytest

from precise_lib.estimate.adaptive import Settings, adaptive
from precise_lib.estimate.coupling import Neighbors
from precise_lib.estimate.intervals import DRAWS, _beyond, _mean_around, _square, intervals
from precise_lib.estimate.overruled import islands, least_gain

SETTINGS = Settings(30.0, 0.7, 4)  # as tuning finds them, about


@pytest.fixture(scope="module")
def scene():
    gray = np.zeros((20, 20, 1))
    gray[10:] = 1.0
    flat = (np.zeros((20, 20, 3)) + gray * [1.0, 2.0, 1.0]).reshape(400, 3)
    lesion = np.zeros((20, 20), bool)
    lesion[3:6, 8:11] = True
    truth = flat.copy()
    truth[lesion.ravel()] += [2.5, -2.5, 2.5]
    return Neighbors.of(gray), truth, flat, lesion.ravel(), np.full((400, 3), 0.5)


def draw(truth, variance, seed, count=DRAWS):
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((1 + count, *truth.shape)) * np.sqrt(variance)
    return truth + noise[0], noise[1:]


def test_intervals_hold_the_truth_about_as_often_as_they_say(scene):
    neighbors, truth, _, lesion, variance = scene
    held, size = [], []
    for seed in range(6):
        ratios, noise = draw(truth, variance, seed)
        found = intervals(adaptive(ratios, variance, neighbors, SETTINGS), neighbors, noise)
        low, high = found.bounds()
        held.append((low <= truth) & (truth <= high))
        size.append((((found.maps - truth) ** 2).mean(), (found.sd**2).mean()))
    assert np.mean(held) > 0.86
    # the root mean square is that of the few voxels at borders, so it says less than how often the intervals hold
    error, stated = np.sqrt(np.mean(size, 0))
    assert 0.8 * error < stated < 3 * error
    assert np.mean(np.array(held)[:, lesion]) > 0.8


def test_noise_alone_passes_for_little_bias(scene):
    neighbors, _, flat, _, variance = scene
    held, size = [], []
    for seed in range(6):
        ratios, noise = draw(flat, variance, seed)
        found = intervals(adaptive(ratios, variance, neighbors, SETTINGS), neighbors, noise)
        low, high = found.bounds()
        held.append(((low <= flat) & (flat <= high)).mean())
        size.append((found.sd**2).mean())
    assert 0.85 < np.mean(held) < 0.97
    assert np.mean(size) < 0.1 * variance.mean()


def test_a_bias_counts_on_average_over_a_voxel_and_those_that_touch_it():
    neighbors = Neighbors.of(np.zeros((5, 5, 1)))
    one = np.zeros((25, 1, 1))
    one[12] = 9.0  # the middle voxel
    mean = _mean_around(neighbors)
    found = mean(one).reshape(5, 5)
    np.testing.assert_allclose(found[1:4, 1:4], 1.0)
    assert found.sum() == pytest.approx(9.0)
    np.testing.assert_allclose(mean(np.ones((25, 2, 3))), 1.0)
    # a difference of noise alone in the middle is averaged with what its neighbors lack, and is no bias
    np.testing.assert_array_equal(_beyond(one - 9 / 8 * (one == 0), mean).reshape(5, 5)[[0, 0, -1], [0, -1, 0]], 0)
    np.testing.assert_allclose(_square(np.full((25, 4, 1), 2.0), mean), 4.0)
    np.testing.assert_allclose(_square(np.sqrt(one), mean).reshape(5, 5)[2], [0, 1, 9, 1, 0])


def test_intervals_without_neighbors_are_those_of_single_voxels():
    neighbors, variance = Neighbors.of(np.zeros((1, 1, 1))), np.full((1, 2), 0.25)
    rng = np.random.default_rng(0)
    ratios, noise = np.ones((1, 2)), 0.5 * rng.standard_normal((DRAWS, 1, 2))
    found = intervals(adaptive(ratios, variance, neighbors, Settings(0.0, 1.0, 1)), neighbors, noise)
    np.testing.assert_allclose(found.moved, 0, atol=1e-12)
    assert ((found.sd > 0.2) & (found.sd < 1.2)).all()  # of eight trials of one voxel


def test_intervals_scale_with_the_unit_and_the_noise(scene):
    neighbors, truth, _, _, variance = scene
    ratios, noise = draw(truth, variance, 1)
    one = intervals(adaptive(ratios, variance, neighbors, SETTINGS), neighbors, noise)
    other = intervals(adaptive(10 * ratios, 100 * variance, neighbors, SETTINGS), neighbors, 10 * noise)
    np.testing.assert_allclose(other.sd, 10 * one.sd, rtol=1e-3)
    assert (one.sd.mean(0) < 0.6 * np.sqrt(variance[0])).all()
    low, high = one.bounds()
    np.testing.assert_allclose(high - low, 2 * 1.644854 * one.sd, rtol=1e-6)


def test_a_lesion_that_the_mri_does_not_show_is_an_island(scene):
    neighbors, truth, _, lesion, variance = scene
    for seed in range(4):
        ratios, _ = draw(truth, variance, seed)
        found = islands(adaptive(ratios, variance, neighbors, SETTINGS), neighbors)[0]
        assert lesion[found.voxels].all()
        assert len(found.voxels) >= 7
        np.testing.assert_allclose(found.difference, [2.5, -2.5, 2.5], atol=0.8)


def test_without_a_lesion_there_is_hardly_an_island(scene):
    neighbors, _, flat, _, variance = scene
    counts = []
    for seed in range(50, 60):
        field = adaptive(draw(flat, variance, seed)[0], variance, neighbors, SETTINGS)
        counts.append(len(islands(field, neighbors)))
    assert np.mean(counts) < 0.5


def test_voxels_that_mix_two_tissues_are_no_island(scene):
    _, _, flat, _, _ = scene
    gray, mixed = np.zeros((20, 20, 1)), np.zeros((20, 20), bool)
    gray[10:], mixed[9, 1:19:3] = 1.0, True
    gray[mixed] = 0.5
    truth = 4 * flat
    truth[mixed.ravel()] = (truth[0] + truth[-1]) / 2
    neighbors, variance = Neighbors.of(gray), np.full((400, 3), 0.02)
    counts = []
    for seed in range(5):
        field = adaptive(draw(truth, variance, seed)[0], variance, neighbors, SETTINGS)
        assert field.opened_share[mixed.ravel()].min() > 0.5  # the data do cut them off
        counts.append(len(islands(field, neighbors)))
    assert np.mean(counts) < 0.5


def test_larger_islands_and_more_voxels_need_a_larger_gain():
    gains = least_gain(1000, 3, np.array([1, 2, 5, 12, 200]))
    assert (np.diff(gains[:4]) > 0).all()
    assert gains[4] == gains[3]
    assert least_gain(10_000, 3, 1) > least_gain(100, 3, 1)
