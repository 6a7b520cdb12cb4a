"""Results of a full-size run: printed, compared, kept."""

import json
import sys
from pathlib import Path

import pytest

from precise_lib import cli
from precise_lib.errors import InputError
from precise_lib.evaluate import claims
from precise_lib.studies import results


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a file of results from claim -> (value, spread) and return its path."""

    def write(name, values, **more):
        folder = tmp_path / f"{name}_records"
        monkeypatch.setenv("PRECISE_RECORDS", str(folder))
        monkeypatch.setenv("PRECISE_NOTEBOOK", "03_sve_vs_fourier")
        for (id, part), (value, spread) in values.items():
            claims.record(id, value, spread, part=part, **more)
        claims.write_results(folder, tmp_path / f"{name}.json")
        return tmp_path / f"{name}.json"

    return write


GOOD = {("P1", None): (1.7, [1.65, 1.75]), ("P2", None): (20.4, None), ("P4", "fit"): (1.0, 0.01)}


def test_what_was_written_is_read(write):
    records = results.read_results(write("new", GOOD, note="a remark"))
    assert [(r.id, r.part, r.value) for r in records] == [(*k, v) for k, (v, _) in GOOD.items()]
    assert records[0].note == "a remark"
    text = results.table(records)
    assert "P1  ✔ reproduced - " in text
    assert "1.700 [1.650, 1.750] fold, reproduced (1.5 to 1.9)" in text
    assert "P4  ◐ partly measured" in text
    assert "P18 ○ not yet measured" in text
    assert all(len(line) <= 100 for line in text.splitlines())
    assert text.startswith("Of 28 claims of the two papers: 1 reproduced, 1 partly measured, 26 not yet measured.")


def test_the_verdict_is_that_of_todays_tolerance(write):
    path = write("new", GOOD)
    content = json.loads(path.read_text())
    assert content["claims"][0]["verdict"] == "reproduced"
    content["claims"][0]["measured"][0] |= {"value": 3.0, "verdict": "reproduced"}
    path.write_text(json.dumps(content))
    assert "P1  ✘ not reproduced" in results.table(results.read_results(path))


@pytest.fixture
def compare(write, tmp_path, precise):
    """Compare results with `GOOD`, which are kept; returns exit code, what was said, and whether they were replaced."""
    kept, first = tmp_path / "data" / "results" / "claims.json", write("first", GOOD)
    kept.parent.mkdir(parents=True)

    def compare(values, *options, **more):
        kept.write_bytes(first.read_bytes())
        new = values if isinstance(values, Path) else write("second", values, **more)
        code, said, complaint = precise("results", new, kept, *options)
        assert [path.name for path in kept.parent.iterdir()] == ["claims.json"]  # and nothing half-written
        replaced = kept.read_bytes() == new.read_bytes()
        assert replaced or kept.read_bytes() == first.read_bytes()
        return code, said + complaint, replaced

    compare.kept = kept
    return compare


def test_the_first_results_are_kept(write, tmp_path, precise):
    kept = tmp_path / "data" / "claims.json"
    code, said, _ = precise("results", write("first", GOOD), kept)
    assert code == 0
    assert len(results.read_results(kept)) == 3
    assert said.startswith("The first results")


def test_what_moved_within_its_spread_is_replaced(compare):
    near = GOOD | {("P1", None): (1.62, [1.57, 1.67]), ("P2", None): (21.5, None)}
    assert compare(near) == (0, f"Nothing moved beyond its spread.\nKept: {compare.kept}\n", True)


def test_what_moved_beyond_its_spread_is_reported_and_not_replaced(compare):
    far = GOOD | {("P1", None): (1.59, [1.55, 1.63])}  # 0.11 from 1.70, half widths 0.05 and 0.04; still inside 1.5-1.9
    code, said, replaced = compare(far)
    assert (code, replaced) == (1, False)
    assert "! P1: 1.700 [1.650, 1.750] fold, reproduced -> 1.590 [1.550, 1.630] fold, reproduced" in said
    assert "is as it was" in said
    assert "make paper ACCEPT=yes" in said
    assert compare(far, "--accept")[::2] == (0, True)


def test_a_verdict_that_changed_is_reported_even_within_the_spread(compare):
    code, said, replaced = compare(GOOD | {("P4", "fit"): (1.06, 0.08)})
    assert (code, replaced) == (1, False)
    assert "! P4 fit: 1.000 ± 0.010 SD / CRLB, reproduced -> 1.060 ± 0.080 SD / CRLB, not reproduced" in said


def test_a_claim_that_vanished_is_reported_and_not_replaced(compare):
    code, said, replaced = compare({k: v for k, v in GOOD.items() if k != ("P2", None)})
    assert (code, replaced) == (1, False)
    assert "! P2: no longer measured (03_sve_vs_fourier); it was 20.4 SNR" in said


def test_a_new_claim_is_reported_and_kept(compare):
    code, said, replaced = compare(GOOD | {("P4", "SVE"): (1.0, 0.01)})
    assert (code, replaced) == (0, True)
    assert "  P4 SVE: new (03_sve_vs_fourier)" in said


def test_a_time_of_another_machine_needs_no_decision_unless_it_turns_the_verdict(write):
    kept = {("P5", "per-voxel fit"): (500.0, None)}
    pair = [
        results.read_results(write(n, {("P5", "per-voxel fit"): (v, None)})) for n, v in (("a", 300.0), ("b", 60.0))
    ]
    old = results.read_results(write("c", kept))
    assert [d.decide for d in results.differences(pair[0], old)] == [False]
    assert [d.decide for d in results.differences(pair[1], old)] == [True]


def test_damaged_results_are_neither_kept_nor_replaced_unasked(compare, write, tmp_path, precise):
    damaged = tmp_path / "damaged.json"
    damaged.write_text('{"claims": [{"measured": [{"id": "P1"')
    for options in ((), ("--accept",)):
        code, said, replaced = compare(damaged, *options)
        assert (code, replaced) == (2, False)
        assert "holds no results" in said
    new = write("third", GOOD)
    compare.kept.write_text("{")
    code, _, complaint = precise("results", new, compare.kept)
    assert code == 2
    assert compare.kept.read_text() == "{"
    assert "holds no results" in complaint
    assert precise("results", new, compare.kept, "--accept")[0] == 0
    assert compare.kept.read_bytes() == new.read_bytes()


def test_without_results_one_sentence_says_so(tmp_path, monkeypatch, capsys, write):
    with pytest.raises(InputError, match="make paper"):
        results.read_results(tmp_path / "nowhere.json")
    for text in ("{", "[]", '{"claims": [{"measured": [{"id": "P99"}]}]}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError):
            results.read_results(tmp_path / "bad.json")
    monkeypatch.setattr(sys, "argv", ["precise", "scoreboard"])
    path = write("new", GOOD)
    monkeypatch.setattr(results, "data_path", lambda *_: path)
    with pytest.raises(SystemExit) as leaving:
        cli.app_main()
    assert not leaving.value.code
    assert "P2  ✔ reproduced" in capsys.readouterr().out
    monkeypatch.setattr(results, "data_path", lambda *_: tmp_path / "nowhere.json")
    with pytest.raises(SystemExit) as leaving:
        cli.app_main()
    assert leaving.value.code == 2
    assert "make paper" in capsys.readouterr().err
