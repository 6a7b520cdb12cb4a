"""The SD over the bound of each voxel: where all are alike one number, else by SNR and width, from sound voxels."""

import numpy as np
import pytest

from precise_lib.estimate.fit import fit_fids
from precise_lib.evaluate import excess
from precise_lib.evaluate.closed_form import excess_over_bound, sve_covariance
from precise_lib.evaluate.excess import excess_of_voxels, nodes
from precise_lib.signal.noise import snr_to_sigma, water_snr
from precise_lib.signal.presets import dmi_11t7
from tests.helpers import AMPLITUDES

MODEL = dmi_11t7()


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch):
    monkeypatch.setattr(excess, "N_DRAWS", 2000)
    monkeypatch.setattr(excess, "FEWEST_DRAWS", 2000)


class Floor:
    """Efficient but for a constant error of its own: the more above the bound, the higher the SNR."""

    def __init__(self, level=0.02):
        self.level, self.rng = level, np.random.default_rng(1)

    def __call__(self, fids):
        found = fit_fids(fids, MODEL).amplitudes
        return found + self.level * self.rng.standard_normal(found.shape) * found[:, :1]


def bound(amplitudes, sigma, broadening_hz=0.0):
    return np.sqrt(np.einsum("vkk->vk", sve_covariance(MODEL, amplitudes, sigma, broadening_hz)))


def test_alike_voxels_have_the_factor_of_all():
    amplitudes, sigma = np.tile(AMPLITUDES, (50, 1)), snr_to_sigma(MODEL, 20)
    floor, again = Floor(), Floor()
    every = np.ones(50, bool)
    found = excess_of_voxels(floor, MODEL, amplitudes, sigma, every)
    assert np.ptp(found, 0).max() == 0
    np.testing.assert_allclose(found[0], excess_over_bound(again, MODEL, amplitudes, sigma, 2000))


def test_each_voxel_has_that_of_its_snr():
    """Water SNR of 5 to 80 over a coil profile: the factor is sqrt(1 + (floor / bound)^2) of each voxel."""
    gain = np.geomspace(0.25, 4, 100)
    amplitudes, sigma = AMPLITUDES * gain[:, None], float(snr_to_sigma(MODEL, 20))
    assert water_snr(MODEL, amplitudes, sigma)[[0, -1]] == pytest.approx([5, 80])
    found = excess_of_voxels(Floor(), MODEL, amplitudes, sigma, np.ones(100, bool))
    expected = np.sqrt(1 + (0.02 * gain[:, None] / bound(amplitudes, sigma)) ** 2)
    np.testing.assert_allclose(found[:, 1:], expected[:, 1:], rtol=0.08)
    assert found[-1, 3] > 1.3 * found[0, 3]


def test_voxels_that_are_not_sound_have_no_say():
    """Noise alone, a spike: the factor of the others stays, and theirs is that of the nearest sound voxel."""
    amplitudes, sigma = np.tile(AMPLITUDES, (60, 1)), float(snr_to_sigma(MODEL, 20))
    sound = np.arange(60) < 40
    spoiled = amplitudes.copy()
    spoiled[40:50] *= 1e-3
    spoiled[50:] *= [1e3, -1e4, 5, 1]
    clean = excess_of_voxels(Floor(), MODEL, amplitudes[:40], sigma, sound[:40])
    found = excess_of_voxels(Floor(), MODEL, spoiled, sigma, sound)
    np.testing.assert_allclose(found[:40], clean, rtol=1e-9)
    np.testing.assert_allclose(found[40:], np.tile(clean[0], (20, 1)), rtol=1e-9)


def test_nodes_span_a_range():
    assert nodes(np.full(5, 3.0), 1.0, 8).tolist() == [3.0]
    assert len(nodes(np.linspace(0, 4.5, 1000), 1.0, 8)) == 6
    assert len(nodes(np.linspace(0, 100, 1000), 1.0, 8)) == 8
