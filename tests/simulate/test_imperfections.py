"""Imperfections: each does what its entry says, and the right model of its signal makes up for it."""

import numpy as np
import pytest

from precise_lib.estimate.fit import fit_fids
from precise_lib.signal.presets import dmi_11t7
from precise_lib.simulate import imperfections
from precise_lib.simulate.imperfections import IMPERFECTIONS, simulate
from tests.helpers import AMPLITUDES

MODEL = dmi_11t7()
GRID = np.broadcast_to(AMPLITUDES, (6, 6, 2, 4))
OF_SIGNAL = [n for n, entry in IMPERFECTIONS.items() if entry.signal is not imperfections.unchanged]


@pytest.mark.parametrize("name", IMPERFECTIONS)
def test_every_entry_changes_the_data(name):
    size = IMPERFECTIONS[name].sizes[-1]
    ideal, other = simulate([], MODEL, GRID, 12, 3), simulate([(name, size)], MODEL, GRID, 12, 3)
    assert other.fids.shape == ideal.fids.shape
    assert np.abs(other.fids - ideal.fids).max() > 1e-3 * np.abs(ideal.fids).max()


@pytest.mark.parametrize("name", OF_SIGNAL)
def test_the_right_model_is_without_bias(name):
    found = simulate([(name, IMPERFECTIONS[name].sizes[0])], MODEL, GRID[:1, :1], np.inf, phase_rad=0.3)
    fit = fit_fids(found.fids.reshape(-1, 512), found.right)
    assert np.allclose(fit.amplitudes, found.amplitudes.reshape(-1, len(found.right.names)), atol=2e-4)
    ideal = fit_fids(found.fids.reshape(-1, 512), MODEL).amplitudes
    assert np.abs(ideal - AMPLITUDES).max() > 2e-3


def test_a_dead_time_turns_each_line():
    fid = simulate([("dead time", 1.0)], MODEL, GRID[:1, :1, :1], np.inf).fids.ravel()
    ideal = MODEL.basis() @ AMPLITUDES
    turn = np.exp(1e-3 * (2j * np.pi * MODEL.frequencies_hz - 1 / 0.02))
    assert np.allclose(fid, MODEL.basis() @ (AMPLITUDES * turn), atol=1e-5 * abs(ideal[0]))


def test_saturation_and_labeled_water_change_amplitudes_by_known_factors():
    # exp(-400 / T1) of 320, 64, 146 and 297 ms are .2865, .00193, .0646 and .2600; (1 - E) / (1 - E / 2) over water's
    assert imperfections.saturation(MODEL, 0.4) == pytest.approx([1, 1.1996, 1.1607, 1.0213], abs=2e-4)
    found = simulate([("labeled water", 1.5)], MODEL, GRID[:1, :1, :1], np.inf)
    assert fit_fids(found.fids.reshape(1, -1), MODEL).amplitudes[0] == pytest.approx(
        AMPLITUDES * [1.5, 1, 1, 1], abs=1e-4
    )


@pytest.mark.parametrize("name", ["Hamming filter", "zero filling"])
def test_filters_in_space_keep_the_noise_level_and_make_neighbors_alike(name):
    grid = np.broadcast_to(AMPLITUDES, (12, 12, 4, 4))
    noise = {}
    for which, found in {"ideal": [], "filtered": [(name, IMPERFECTIONS[name].sizes[0])]}.items():
        noise[which] = simulate(found, MODEL, grid, 12, 5).fids - simulate([], MODEL, grid, np.inf).fids
    assert noise["filtered"].std() == pytest.approx(noise["ideal"].std(), rel=0.02)

    def shared(x):
        return (x[1:].conj() * x[:-1]).real.mean() / (np.abs(x) ** 2).mean()

    assert abs(shared(noise["ideal"])) < 0.02
    assert shared(noise["filtered"]) > 0.3


def test_a_new_entry_is_one_line(monkeypatch):
    monkeypatch.setitem(
        IMPERFECTIONS,
        "half",
        imperfections.Imperfection("half", "half", "", (1.0,), weights=lambda m, s: np.full(4, 0.5)),
    )
    found = simulate([("half", 1.0), ("dead time", 0.3)], MODEL, GRID[:1, :1, :1], np.inf)
    assert fit_fids(found.fids.reshape(1, -1), found.right).amplitudes[0] == pytest.approx(AMPLITUDES / 2, abs=1e-4)
