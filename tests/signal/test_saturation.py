"""Saturation in the steady state against a simulated train of pulses, and its slope against differences."""

import numpy as np
import pytest

from precise_lib.signal.parts import saturation, sensitivity


@pytest.mark.parametrize("t1_s", [0.064, 0.146, 0.32])
@pytest.mark.parametrize("tr_s", [0.05, 0.4, 2.0])
@pytest.mark.parametrize("angle", [10.0, 60.0, 90.0, 130.0])
def test_a_train_of_pulses_ends_there(t1_s, tr_s, angle):
    z, a, e = 1.0, np.radians(angle), np.exp(-tr_s / t1_s)
    for _ in range(500):
        z = 1 + (z * np.cos(a) - 1) * e
    assert saturation(t1_s, tr_s, angle) == pytest.approx(z * np.sin(a), rel=1e-9)
    slope = np.log(saturation(t1_s * 1.0005, tr_s, angle) / saturation(t1_s * 0.9995, tr_s, angle)) / 1e-3
    assert sensitivity(t1_s, tr_s, angle) == pytest.approx(slope, rel=1e-4, abs=1e-9)


def test_the_ernst_angle_is_the_best():
    e = np.exp(-0.4 / 0.32)
    angles = np.linspace(1, 179, 17801)
    best = angles[np.argmax(saturation(0.32, 0.4, angles))]
    assert best == pytest.approx(np.degrees(np.arccos(e)), abs=0.02)
