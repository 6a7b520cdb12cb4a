"""What breaks a map: what a scanner knows mends it in the tool, from file to maps; the table by one command."""

import numpy as np
import pytest

from precise_lib.signal.mrsi import MRSI
from precise_lib.signal.presets import dmi_11t7
from precise_lib.studies import imperfections, scanner

MODEL, GRID = dmi_11t7(), (8, 6, 2)
TRUTH = 10 * imperfections.TISSUE


def data(name, size):
    return imperfections.measured(name, size, MODEL, 30, 0, GRID).fids


@pytest.mark.parametrize(
    ("name", "size", "least"), [("T1", 0.4, 15), ("labeled water", 1.5, 30), ("coils", 4.0, 0), ("drift", 16.0, 1)]
)
def test_the_tool_is_right_where_it_is_told(name, size, least):
    """Within 1 % of what ideal data of the same noise give, SD included; untold off by `least` % or more."""
    ideal, seen = data("ideal", 0.0), data(name, size)
    values, sd, _ = imperfections.quantified(ideal, MODEL)
    found, its_sd = scanner.quantified(name, size, MRSI(ideal, MODEL), MRSI(seen, MODEL), 30, 0)
    np.testing.assert_allclose(found.mean(0)[1:], values.mean(0)[1:], rtol=0.01)
    weights = (found.std(0) / values.std(0))[1:]  # of saturation, on the noise
    np.testing.assert_allclose(its_sd.mean(0)[1:], (sd.mean(0)[1:] * weights), rtol=0.06)
    untold = imperfections.quantified(seen, MODEL)[0].mean(0)
    assert np.abs(untold / values.mean(0) - 1).max() >= least / 100


def test_the_table_by_one_command(precise):
    code, out, _ = precise("imperfections", "--which", "drift", "--snr", "30", "--size", "4")
    assert code == 0
    rows = [line.split("|") for line in out.splitlines() if line.startswith("| drift 16 Hz in all")]
    assert len(rows) == 1
    right = float(rows[0][4].split("%")[0])
    assert abs(right) < 1
    code, _, err = precise("imperfections", "--which", "gravity")
    assert code == 2
    assert "no imperfection 'gravity'" in err
