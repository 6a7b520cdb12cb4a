"""Results of a full-size run: printed, compared, kept."""

import json
import sys

import pytest

from precise_lib import cli
from precise_lib.errors import InputError
from precise_lib.evaluate import claims, results


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
    assert text.startswith("Of 36 claims: 2 reproduced, 1 partly measured, 33 not yet measured.")


def test_the_verdict_is_that_of_todays_tolerance(write):
    path = write("new", GOOD)
    content = json.loads(path.read_text())
    assert content["claims"][0]["verdict"] == "reproduced"
    content["claims"][0]["measured"][0] |= {"value": 3.0, "verdict": "reproduced"}
    path.write_text(json.dumps(content))
    assert "P1  ✘ not reproduced" in results.table(results.read_results(path))


def test_only_what_moved_beyond_its_spread_is_reported(write, tmp_path, monkeypatch, capsys):
    kept = tmp_path / "data" / "results" / "claims.json"
    assert results.replace(write("first", GOOD), kept) == ["The first results."]
    moved = GOOD | {("P1", None): (1.62, [1.57, 1.67]), ("P2", None): (23.0, None), ("P4", "SVE"): (1.0, 0.01)}
    new = write("second", moved)
    said = results.replace(new, kept)
    assert len(said) == 2
    assert said[0].startswith("P2: 20.4 SNR, reproduced -> 23.0 SNR, not reproduced")
    assert said[1].startswith("P4 SVE: new")
    assert kept.read_bytes() == new.read_bytes()
    monkeypatch.setattr(sys, "argv", ["results", str(new), str(kept)])
    results.main()
    assert capsys.readouterr().out.startswith("Nothing moved")


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
