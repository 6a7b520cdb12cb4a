"""What the pages conclude in words, held against the numbers of the last run at full size."""

import pytest

from precise_lib.studies.results import read_results

VALUES = {(r.id, r.part): r.value for r in read_results()}
METABOLITES = 16


@pytest.mark.parametrize("kind", ["1D", "2D"])
def test_quantification_networks(kind):
    assert VALUES["M11", f"slope of sI, {kind}"] < 0.6  # far below one
    assert VALUES["M11", f"metabolites with lower slope, {kind}"] > 0.8 * METABOLITES  # nearly all
    assert 0 < VALUES["M11", f"strong metabolites better fitted, {kind}"] < 5  # some, not all
    better = VALUES["M11", "fit better for strong metabolites"].split(": ", 1)[1].split("; ")
    assert all(m in names for names in better for m in ("NAA", "tCr", "tCho"))
    assert not all("mI" in names for names in better)
