"""Results of the last full-size run, ``data/results/claims.json``: printed, and compared with those of a new run.

``python -m precise_lib.evaluate.results NEW KEPT`` reports what differs beyond its spread and replaces KEPT by NEW.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from dataclasses import fields
from pathlib import Path

from precise_lib import plain
from precise_lib.errors import InputError, reason
from precise_lib.evaluate.records import PAPERS, SYMBOLS, Record, load_claims
from precise_lib.resources import data_path

FILE = ("results", "claims.json")


def read_results(path: str | Path | None = None) -> list[Record]:
    """Records of a file that `claims.write_results` wrote; by default those that come with the package.

    Verdicts are not read but follow from the tolerances that ``claims.yaml`` has now.

    Raises
    ------
    InputError : there is no such file, or it is not one of results
    """
    try:
        path = data_path(*FILE) if path is None else Path(path)
        content = plain.read_json(path)
        known = {f.name for f in fields(Record)}
        return [Record(**{k: v for k, v in m.items() if k in known}) for c in content["claims"] for m in c["measured"]]
    except OSError as error:
        raise InputError("There are no results of a full-size run yet; 'make paper' makes them.") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} holds no results ({reason(error)}); 'make paper' makes them again.") from error


def table(records: list[Record], width: int = 100) -> str:
    """The scoreboard as plain text: each claim with its verdict, the paper's figure and every part measured."""
    lines, claims = [], load_claims()
    of = {c: [r for r in records if r.id == c] for c in claims}
    for paper, title in PAPERS.items():
        lines += ["", title]
        for claim in (c for c in claims.values() if c.paper == paper):
            verdict = claim.verdict(of[claim.id])
            head = f"{claim.id:4s}{SYMBOLS[verdict]} {verdict}"
            paper_says = "" if claim.paper_value is None else f" [paper: {claim.paper_text}]"
            lines += textwrap.wrap(f"{head} - {claim.statement}{paper_says}", width, subsequent_indent=" " * 6)
            for r in of[claim.id]:
                text = f"{r.part or 'measured'}: {r.text}, {r.verdict} ({claim.tolerance_of(r.part)})"
                lines += textwrap.wrap(text, width, initial_indent=" " * 6, subsequent_indent=" " * 8)
    counts = [claim.verdict(of[claim.id]) for claim in claims.values()]
    said = ", ".join(f"{counts.count(v)} {v}" for v in SYMBOLS if counts.count(v))
    latest = max((r.time for r in records), default="never")
    return "\n".join([f"Of {len(claims)} claims: {said}.", f"Last measured: {latest}.", *lines])


def half_width(record: Record) -> float:
    """Half width of the spread of a record, or 5 % of its value where it has none."""
    if isinstance(record.spread, list):
        return abs(record.spread[1] - record.spread[0]) / 2
    return abs(record.value) * 0.05 if record.spread is None else abs(record.spread)


def differences(new: list[Record], kept: list[Record]) -> list[str]:
    """Sentences on what moved by more than both spreads together, changed its verdict, came or went."""
    lines = []
    before, after = ({(r.id, r.notebook, r.part): r for r in records} for records in (kept, new))
    for key in before.keys() | after.keys():
        name = " ".join(str(k) for k in (key[0], key[2]) if k)
        if key not in before or key not in after:
            lines.append(f"{name}: {'new' if key not in before else 'no longer measured'} ({key[1]})")
            continue
        old, now = before[key], after[key]
        numbers = all(isinstance(r.value, int | float) for r in (old, now))
        moved = numbers and abs(now.value - old.value) > half_width(old) + half_width(now)
        if moved or old.verdict != now.verdict:
            lines.append(f"{name}: {old.text}, {old.verdict} -> {now.text}, {now.verdict}")
    return sorted(lines)


def replace(new: Path, kept: Path) -> list[str]:
    """Compare, then copy `new` over `kept`; returns `differences`, or that there was nothing to compare with."""
    records = read_results(new)
    said = differences(records, read_results(kept)) if Path(kept).is_file() else ["The first results."]
    Path(kept).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(new, kept)
    return said


def main() -> None:
    """Command line."""
    if len(sys.argv) != 3:
        sys.exit("Usage: python -m precise_lib.evaluate.results NEW KEPT")
    try:
        said = replace(Path(sys.argv[1]), Path(sys.argv[2]))
    except InputError as problem:
        sys.exit(str(problem))
    print("Against the kept results, beyond their spread:" if said else "Nothing moved beyond its spread.")
    print("\n".join(said))


if __name__ == "__main__":
    main()
