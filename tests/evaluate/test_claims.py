"""The claims and the scoreboard: complete, honest about misses, and never half written."""

import json
import os
import re

import numpy as np
import pytest

from precise_lib import show
from precise_lib.errors import InputError
from precise_lib.evaluate import claims
from precise_lib.evaluate.records import format_value
from precise_lib.evaluate.tolerances import Tolerance

EXPECTED = [f"P{i}" for i in range(1, 19)] + [f"M{i}" for i in range(1, 14)] + [f"B{i}" for i in range(1, 10)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty records folder, as the build of notebook 03 sees it."""
    monkeypatch.setenv("PRECISE_RECORDS", str(tmp_path / "records"))
    monkeypatch.setenv("PRECISE_NOTEBOOK", "03_sve_vs_fourier")
    monkeypatch.delenv("PRECISE_SCALE", raising=False)
    return tmp_path / "records"


def page_of(folder):
    out = folder.parent / "scoreboard.md"
    claims.write_scoreboard(folder, out)
    return out.read_text(encoding="utf-8")


def row_of(page, id):
    """The table row of a claim, its cells joined."""
    rows = re.split(r"^\* - ", page, flags=re.MULTILINE)
    return next(row for row in rows if row.startswith(f"**{id}** ")).replace("\N{NO-BREAK SPACE}", " ")


def test_every_claim_is_listed():
    listed = claims.load_claims()
    assert list(listed) == EXPECTED
    assert all(c.statement and c.quantity for c in listed.values())
    assert all(c.source for c in listed.values() if c.paper != "ours")


def test_bounds_are_those_of_the_list():
    listed = claims.load_claims()
    assert (listed["P1"].tolerance.min, listed["P1"].tolerance.max) == (1.5, 1.9)
    assert listed["P2"].tolerance.min == pytest.approx(0.9 * 20.5)
    assert listed["P2"].tolerance.max == pytest.approx(1.1 * 20.5)
    assert listed["P4"].parts["fit"] == Tolerance(min=0.97, max=1.05)
    assert listed["P4"].parts["SVE"] == Tolerance(min=0.95, max=1.05)
    assert listed["P7"].parts["positive and largest for Lac"].judged
    assert str(listed["P10"].parts["SD"]) == "≥ 0.8"


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (1.7, "reproduced"),
        (1.5, "reproduced"),
        (1.9, "reproduced"),
        (1.49, "not reproduced"),
        (2.5, "not reproduced"),
    ],
)
def test_bounds_decide(folder, value, verdict):
    assert claims.record("P1", value).verdict == verdict


def test_a_statement_in_words_is_judged(folder):
    about = {"part": "positive and largest for Lac"}
    assert claims.record("P7", "Lac > Glc", holds=np.True_, **about).verdict == "reproduced"
    assert claims.record("P7", "Glc > Lac", holds=False, **about).verdict == "not reproduced"
    assert claims.record("P1", 1.7, holds=False).verdict == "not reproduced"


def test_a_reason_never_turns_a_miss_into_a_success(folder):
    assert claims.record("P1", 3.0, differs="wider window").verdict == "differs"
    assert claims.record("P1", 3.0, note="a mere remark").verdict == "not reproduced"
    assert claims.record("P1", 1.7, differs="wider window").verdict == "reproduced"


def test_all_parts_are_needed(folder):
    listed = claims.load_claims()
    claims.record("P4", 1.0, part="fit, SNR 12")
    assert listed["P4"].verdict(claims.read_records(folder)) == "partly measured"
    claims.record("P4", 1.02, part="SVE")
    assert listed["P4"].verdict(claims.read_records(folder)) == "reproduced"
    claims.record("P4", 1.2, part="fit, SNR 35")
    assert listed["P4"].verdict(claims.read_records(folder)) == "partly"
    assert len(claims.read_records(folder)) == 3


def test_a_bound_inside_the_interval_is_undecided(folder):
    """P1 has bounds 1.5 and 1.9."""
    for spread, verdict in ((0.05, "reproduced"), (0.15, "undecided"), ([1.6, 1.95], "undecided")):
        assert claims.record("P1", 1.8, spread, spread_meaning="95 % CI").verdict == verdict
    assert claims.record("P1", 1.8, 0.06, spread_meaning="standard error").verdict == "undecided"
    assert claims.record("P1", 1.8, [1.0, 2.0], spread_meaning="range over SNR").verdict == "reproduced"
    outside = claims.record("P1", 2.5, 0.1, spread_meaning="95 % CI")
    assert (outside.verdict, outside.side) == ("not reproduced", "higher")
    assert claims.record("P1", 1.2, differs="wider window").side == "lower"


def test_parts_that_hold_beside_parts_that_do_not(folder):
    """Partly, for a paper; a question of our own is not met. Lowest and highest of one part are one part."""
    listed = claims.load_claims()
    claims.record("P4", 1.0, part="fit, lowest")
    claims.record("P4", 1.2, part="fit, highest")
    claims.record("P4", 1.2, part="SVE")
    assert listed["P4"].verdict(claims.read_records(folder)) == "not reproduced"
    claims.record("P4", 1.0, part="SVE")
    assert listed["P4"].verdict(claims.read_records(folder)) == "partly"
    claims.record("P4", 1.02, 0.1, part="SVE", spread_meaning="95 % CI")
    claims.record("P4", 1.0, part="fit, highest")
    assert listed["P4"].verdict(claims.read_records(folder)) == "undecided"
    claims.record("B6", holds=True, part="Stein's estimate")
    claims.record("B6", holds=False, part="cross-validation")
    assert listed["B6"].verdict(claims.read_records(folder)) == "not reproduced"


def test_two_readings_of_the_snr_have_a_verdict_each(folder):
    """M2 has bounds .25 and .45; where the readings disagree the paper leaves out what decides."""
    claim = claims.load_claims()["M2"]
    claims.record("M2", 0.2, reading="signal", differs="smaller network")
    assert claim.verdict(claims.read_records(folder)) == "differs"
    claims.record("M2", 0.3, reading="water")
    assert claim.verdict(claims.read_records(folder)) == "undecided"
    row = row_of(page_of(folder), "M2")
    assert "**? undecided** (SNR of all the signal: ≠ differs; SNR of water alone: ✔ reproduced)" in row
    claims.record("M2", 0.4, reading="signal")
    assert claim.verdict(claims.read_records(folder)) == "reproduced"
    assert len(claims.read_records(folder)) == 2
    for reading, id in ((None, "M2"), ("metabolite", "M2"), ("water", "P1")):
        with pytest.raises(InputError, match="of the SNR"):
            claims.record(id, 1.7, reading=reading)


def test_a_reading_that_lacks_parts_does_not_decide(folder):
    claim = claims.load_claims()["M6"]
    claims.record("M6", 0.1, part="1D", reading="water")
    assert claim.verdict(claims.read_records(folder)) == "partly measured"
    for part in ("1D", "2D"):
        claims.record("M6", 0.9, part=part, reading="signal")
    assert claim.verdict(claims.read_records(folder)) == "not reproduced"


def test_a_measurement_counts_once_and_a_calibration_not_at_all(folder):
    listed = claims.load_claims()
    assert [c.id for c in listed.values() if not c.counted] == ["P2", "P3", "P18"]
    before = page_of(folder)
    claims.record("P3", 3.0)
    claims.record("P2", 20.5)
    assert page_of(folder).splitlines()[2] == before.splitlines()[2]
    assert "a calibration, not counted" in row_of(page_of(folder), "P3")
    assert "counted with P1" in row_of(page_of(folder), "P2")


def test_a_claim_of_reported_values_alone_is_reported(folder):
    claims.record("P15", 10.0, part="training (min)")
    claims.record("P15", 3.0, part="fine-tuning (s)")
    assert claims.load_claims()["P15"].verdict(claims.read_records(folder)) == "reported"


def test_every_tolerance_says_when_it_was_set(folder):
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d, commit [0-9a-f]{7}", c.set) for c in claims.load_claims().values())
    claims.record("P1", 1.7)
    assert "tolerance of 2026-11-21, commit" in row_of(page_of(folder), "P1")


def test_optional_and_reported_parts_do_not_decide(folder):
    claim = claims.load_claims()["P5"]
    claims.record("P5", 3.0, part="vectorized fit")
    assert claim.verdict(claims.read_records(folder)) == "partly measured"
    claims.record("P5", 120.0, part="per-voxel fit")
    assert claim.verdict(claims.read_records(folder)) == "reproduced"


@pytest.mark.parametrize(
    "arguments",
    [
        {"id": "P99", "value": 1.0},
        {"id": "P1", "value": float("nan")},
        {"id": "P1", "value": True},
        {"id": "P1", "value": "about 1.7"},
        {"id": "P1"},
        {"id": "P7", "value": 3.0, "part": "positive and largest for Lac"},
        {"id": "P4", "value": 1.0},
        {"id": "P4", "value": 1.0, "part": "SVEN"},
        {"id": "P1", "value": 1.7, "notebook": "../03"},
        {"id": "P1", "value": 1.7, "figure": "fig 3"},
    ],
)
def test_bad_records_are_refused_and_leave_nothing(folder, arguments):
    with pytest.raises(InputError):
        claims.record(**arguments)
    assert not folder.exists() or not list(folder.iterdir())


def test_a_record_keeps_what_was_said(folder):
    claims.record(
        "P1",
        np.float32(1.5),
        spread=(1.4, np.float64(1.6)),
        spread_meaning="95 % CI",
        parameters={"n_repeats": np.int64(1000), "snr": np.array([5.0, 35.0])},
        figure="fig-precision-vs-snr",
    )
    (path,) = folder.iterdir()
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert path.name == "03_sve_vs_fourier__P1.json"
    assert kept["value"] == 1.5
    assert kept["spread"] == [1.4, 1.6]
    assert kept["parameters"] == {"n_repeats": 1000, "snr": [5.0, 35.0]}
    assert kept["version"]
    assert kept["time"].endswith("+00:00")


def test_a_later_value_replaces_the_earlier(folder):
    claims.record("P1", 1.6)
    claims.record("P1", 1.8)
    assert [r.value for r in claims.read_records(folder)] == [1.8]


def test_parts_that_differ_in_signs_only_do_not_collide(folder):
    for part in ("SVE, SNR < 10", "SVE, SNR > 10"):
        claims.record("P4", 1.0, part=part)
    assert len(claims.read_records(folder)) == 2


def test_a_failed_write_leaves_the_old_record(folder, monkeypatch):
    claims.record("P1", 1.6)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InputError, match="disk full"):
        claims.record("P1", 1.8)
    assert [r.value for r in claims.read_records(folder)] == [1.6]
    assert len(list(folder.iterdir())) == 1


def test_a_broken_record_is_named(folder):
    folder.mkdir()
    (folder / "x__P1.json").write_text("{")
    with pytest.raises(InputError, match=r"x__P1\.json"):
        claims.read_records(folder)


def test_the_line_in_the_notebook(folder):
    line = claims.record("P1", 1.6874, 0.0432, spread_meaning="95 % CI")._repr_markdown_()
    for text in ("**P1**", "1.687 ± 0.043 (95 % CI)", "1.7 fold", "1.5 to 1.9", "✔\N{NO-BREAK SPACE}reproduced"):
        assert text in line


def test_many_records_are_a_table_with_their_remarks_once(folder):
    few = [claims.record("P1", 1.6, note="a | b")]
    assert show.records(few) == few[0]._repr_markdown_()
    told = {"note": "smaller networks", "unit": "share"}
    many = [*few, *(claims.record("M7", 0.5, part=part, reading="signal", **told) for part in ("1D", "2D"))]
    many += [
        claims.record("P4", value, part=part, **told) for part, value in (("fit, lowest", 1.0), ("fit, highest", 2.0))
    ]
    many += [claims.record("P4", 1.2, part="SVE, lowest", unit="share")]
    head, rule, *lines, blank, first, second = show.records(many).splitlines()
    assert head == "| claim | measured | paper | tolerance | verdict |"
    assert [line.split(" | ")[0] for line in lines] == ["| **P1**"] + [f"| **{r.id}** {r.label}" for r in many[1:]]
    assert first == "- P1: a | b"
    assert second == "- M7; P4 fit, lowest; P4 fit, highest: smaller networks"
    assert (len({line.count(" | ") for line in (head, rule, *lines)}), blank) == (1, "")


def test_a_table_of_our_own_questions_has_no_column_for_the_paper(folder):
    own = [claims.record("B2", str(value), holds=True) for value in (1.0, 1.1, 1.2, 1.3)]
    assert show.records(own).splitlines()[0] == "| claim | measured | tolerance | verdict |"


def test_a_question_of_our_own_is_met_or_not(folder):
    line = claims.record("B2", "as computed", holds=True)._repr_markdown_()
    assert "✔\N{NO-BREAK SPACE}met" in line
    assert "paper" not in line
    claims.record("B2", "as computed", holds=False)
    n = sum(c.startswith("B") for c in EXPECTED)
    assert f"Of {n} questions of our own: 1 not met, {n - 1} not yet measured." in page_of(folder)


def test_the_page_shows_success_failure_and_what_is_missing(folder):
    claims.record("P1", 1.7, figure="fig-precision-vs-snr")
    claims.record("P2", 30.0)
    claims.record("P4", 1.01, part="fit")
    claims.record("P7", holds=True, notebook="interactive", part="positive and largest for Lac")
    claims.record("P7", 3.0, notebook="interactive", part="small (Lac)")
    page = page_of(folder)
    n = sum(c.counted and c.paper != "ours" for c in claims.load_claims().values())  # P2 is not one of them
    counted = f"Of {n} claims of the two papers: 2 reproduced, 1 partly measured"
    assert f"{counted}, {n - 3} not yet measured." in page
    assert "✔ reproduced" in row_of(page, "P1")
    assert "{numref}`fig-precision-vs-snr`" in row_of(page, "P1")
    assert "(../notebooks/03_sve_vs_fourier.ipynb)" in row_of(page, "P1")
    assert "✘ not reproduced" in row_of(page, "P2")
    assert "30" in row_of(page, "P2")
    assert "ipynb" not in row_of(page, "P7")
    missing = page.split("## Not yet measured")[1]
    assert "**P1**" not in missing
    assert all(row_of(missing, c) for c in EXPECTED if c not in ("P1", "P2", "P4", "P7"))
    assert "reduced run" not in page


def test_the_page_without_any_record(folder):
    page = page_of(folder)
    n = sum(c.counted and c.paper != "ours" for c in claims.load_claims().values())
    assert f"Of {n} claims of the two papers: {n} not yet measured." in page
    assert "(1.5 to 1.9)" not in page


def test_tables_are_rectangular(folder):
    claims.record("P1", 1.7, note="T2* in a note\nand a new line")
    claims.record("P4", 1.01, part="fit")
    page = page_of(folder)
    for table in re.findall(r"```{list-table}\n(.*?)```", page, flags=re.DOTALL):
        columns = len(re.search(r":widths: (.*)", table)[1].split())
        rows = re.split(r"^\* - ", table, flags=re.MULTILINE)[1:]
        assert {row.count("\n  -") + 1 for row in rows} == {columns}
    assert r"T2\* in a note and a new line" in row_of(page, "P1")


def test_a_reduced_run_is_called_so(folder, monkeypatch):
    monkeypatch.setenv("PRECISE_SCALE", "smoke")
    claims.record("P1", 1.7)
    assert "reduced run (smoke)" in page_of(folder)


def test_results_file(folder):
    claims.record("P1", 3.0)
    out = folder.parent / "results" / "claims.json"
    claims.write_results(folder, out)
    results = {c["id"]: c for c in json.loads(out.read_text(encoding="utf-8"))["claims"]}
    assert results["P1"]["verdict"] == "not reproduced"
    assert results["P1"]["measured"][0]["value"] == 3.0
    assert results["P2"] == {"id": "P2", "verdict": "not yet measured", "measured": []}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((1.6874,), "1.69"),
        ((20.512,), "20.5"),
        ((1234.5, 56.0), "1234 ± 56"),
        ((1.6874, 0.0432, "SD"), "1.687 ± 0.043 (SD)"),
        ((1.6874, [1.64, 1.74]), "1.687 [1.640, 1.740]"),
        ((0.0,), "0.00"),
        ((0.0, 0.1), "0.00 ± 0.10"),
        ((-0.0123,), "-0.0123"),
        ((12345678.0,), "1.23e+07"),
        ((1.2e-9,), "1.2e-09"),
        ((3.0,), "3.00"),
        ((3,), "3"),
        ((1.0, 0.0), "1.00 ± 0.00"),
    ],
)
def test_numbers_read_as_written_by_hand(arguments, text):
    assert format_value(*arguments) == text


@pytest.mark.parametrize(
    "bounds",
    [
        {},
        {"min": 2, "max": 1},
        {"min": 1, "judged": True},
        {"judged": True, "report": True},
        {"optional": True},
    ],
)
def test_senseless_tolerances_are_refused(bounds):
    with pytest.raises(InputError):
        Tolerance(**bounds)


def test_a_list_with_a_double_id_is_refused(tmp_path):
    entry = "- {id: X, paper: ours, statement: a, quantity: b, judged: true}\n"
    (tmp_path / "claims.yaml").write_text(entry * 2)
    with pytest.raises(InputError, match="twice"):
        claims.load_claims(tmp_path / "claims.yaml")
    (tmp_path / "none.yaml").write_text("- {id: X, paper: ours, statement: a, quantity: b}\n")
    with pytest.raises(InputError, match="tolerance"):
        claims.load_claims(tmp_path / "none.yaml")
