"""Scores and lines of spectra that a known thing was done to."""

import numpy as np
import pytest

from precise_lib.proton import brain
from precise_lib.proton.brain import WINDOW
from precise_lib.studies import denoising


class Halves:
    """A denoiser that gives back half of what it got, in the points of the 1D networks."""

    points = WINDOW

    def denoise_spectra(self, spectra):
        return spectra / 2

    def denoise(self, fids):
        return brain.spectra_of(fids, WINDOW) / 2


@pytest.fixture(scope="module")
def found():
    return denoising.denoise(brain.draw(6, 0, snr=(40.0, 40.0)), {"half": Halves()})


def test_spectra_scores_and_what_remains(found):
    wrong = found.noisy["half"] / 2 - found.clean["half"]
    assert np.allclose(found.remains()["half"], wrong)
    score = np.linalg.norm(wrong, axis=1) / np.linalg.norm(found.remains()["noise"], axis=1)
    assert found.median("half", "DS", (30, 50))[0] == pytest.approx(np.median(score))
    assert found.median(denoising.FIT, "DS", (30, 50))[0] < 0.2
    assert found.least("half", (30, 50)) < 0.2


def test_half_of_a_line_is_lost_and_the_fit_keeps_it(found):
    naa = np.ones(6, bool)
    assert denoising.lost_lines(found, naa)["half"] == 1
    assert denoising.lost_lines(found, naa, 0.3)["half"] == 0
    one = denoising.example({"half": Halves()}, 40.0, 0, 0)
    assert np.allclose(one["half"], one["noisy"] / 2)


def test_the_nearer_of_two():
    assert denoising.nearer((0.3, 0.5), {"a": 0.2, "b": 0.55}) == "b"
    assert denoising.nearer((0.3, 0.5), {"a": 0.4, "b": 0.45}) == "both alike"
