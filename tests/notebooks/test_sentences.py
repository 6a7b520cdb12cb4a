"""What the pages conclude in words, held against the numbers of the last run at full size."""

import pytest

from precise_lib.studies.results import read_results

VALUES = {(r.id, r.part): r.value for r in read_results()}
METABOLITES = 16


FITTED = (22 / 2048) ** 0.5  # score of a fit of the true model, 1024 points


@pytest.mark.parametrize("kind", ["1D", "2D"])
def test_denoising(kind):
    assert VALUES["M1", kind] < 0.15  # a small part at low SNR
    first, region, strong = (float(v) for v in VALUES["M3", f"order, {kind}"].split(" at ")[0].split(", "))
    assert VALUES["M1", kind] < first < region < strong < 0.8  # more at high SNR; rises; not near one
    assert VALUES["M1", "1D"] < FITTED < VALUES["M2", None]
    assert "rejected in 100%" in VALUES["M12", kind] or "rejected in 9" in VALUES["M12", kind]


@pytest.mark.parametrize("kind", ["1D", "2D"])
def test_quantification_networks(kind):
    assert VALUES["M11", f"slope of sI, {kind}"] < 0.6  # far below one
    assert VALUES["M11", f"metabolites with lower slope, {kind}"] > 0.8 * METABOLITES  # nearly all
    assert 0 < VALUES["M11", f"strong metabolites better fitted, {kind}"] < 5  # some, not all
    better = VALUES["M11", "fit better for strong metabolites"].split(": ", 1)[1].split("; ")
    assert all(m in names for names in better for m in ("NAA", "tCr", "tCho"))
    assert not all("mI" in names for names in better)
