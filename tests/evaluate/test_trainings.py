"""What other trainings came to stands beside a figure, and decides with it."""

import pytest

from precise_lib.evaluate import claims, trainings
from precise_lib.evaluate.records import Record

MEASURED = [
    {"id": "P1", "part": None, "network": "b", "value": 1.6, "spread": [1.58, 1.62], "holds": None},
    {"id": "P1", "part": None, "network": "c", "value": 1.45, "spread": None, "holds": None},
    {"id": "P7", "part": "positive and largest for Lac", "network": "b", "value": None, "spread": None, "holds": True},
]


@pytest.fixture
def stored(monkeypatch, tmp_path):
    monkeypatch.setattr(trainings, "stored", lambda: {"networks": {}, "measured": MEASURED})
    monkeypatch.setenv("PRECISE_RECORDS", str(tmp_path))
    monkeypatch.setenv("PRECISE_SCALE", "paper")


def test_trainings_that_disagree_leave_a_claim_undecided(stored):
    found = claims.record("P1", 1.7)
    assert found.verdict == "undecided"
    assert Record(**{k: v for k, v in vars(found).items() if k != "trainings"}).verdict == "reproduced"
    assert "other trainings: 1.600 [1.580, 1.620], 1.45" in found._repr_markdown_()
    agree = claims.record("P7", part="positive and largest for Lac", holds=True)
    assert agree.verdict == "reproduced"
    assert agree.text_of_others == "other trainings: holds"
    assert not claims.record("P2", 20.0).trainings


def test_they_reach_the_scoreboard(stored, tmp_path):
    claims.record("P1", 1.7)
    claims.write_scoreboard(tmp_path, tmp_path / "page.md")
    assert "1.70 fold (other trainings: 1.600 [1.580, 1.620], 1.45)" in (tmp_path / "page.md").read_text()
    (read,) = claims.read_records(tmp_path)
    assert read.trainings == [{k: m[k] for k in trainings.KEPT} for m in MEASURED[:2]]


def test_a_reduced_run_is_not_compared_with_them(stored, monkeypatch):
    monkeypatch.setenv("PRECISE_SCALE", "smoke")
    assert claims.record("P1", 1.7).trainings == []
