"""Edges that metabolism does not follow, on two random objects."""

import numpy as np
import pytest

from precise_lib.simulate.random_object import random_object
from precise_lib.studies.unfollowed import Trial, with_ball
from tests.helpers import has_shipped_weights


def test_the_ball_is_in_the_mri_alone_and_away_from_tumors():
    phantom = random_object(601)
    changed, ball = with_ball(phantom)
    np.testing.assert_array_equal(changed.concentrations, phantom.concentrations)
    assert 50 < ball.sum() < 90  # a radius of 2.5 voxels
    assert not any((ball & tumor).any() for tumor in phantom.tumors.values())
    assert 0.8 < (changed.mri != phantom.mri).sum() / ball.sum() / 4**3 < 1.2


@pytest.mark.skipif(not has_shipped_weights(), reason="no shipped weights")
def test_what_the_page_says_of_found_and_false_edges():
    trial = Trial((601, 602), (12.0, 35.0))
    low, high = (trial.rates(snr) for snr in (12.0, 35.0))
    assert low["told"] < 0.4 < 0.8 < high["told"]
    assert low["ball"] < 0.4 < high["ball"]
    for rates in (low, high):
        assert rates["piece"] < 0.02
        assert rates["pair"] < 0.08  # whose own step is larger than that of the piece around them
        assert rates["voxel"] < 0.06
