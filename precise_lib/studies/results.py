"""Results of the last full-size run, ``data/results/claims.json``: printed, and compared with those of a new run."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, fields
from pathlib import Path

from precise_lib.errors import InputError, reason
from precise_lib.evaluate.claims import counted
from precise_lib.evaluate.records import Record
from precise_lib.evaluate.tolerances import PAPERS, load_claims
from precise_lib.io.atomic import write_bytes
from precise_lib.io.shipped import data_path
from precise_lib.io.text import read_json

FILE = ("results", "claims.json")


def read_results(path: str | Path | None = None) -> list[Record]:
    """Records of a file that `claims.write_results` wrote; by default those that come with the package.

    Verdicts are not read but follow from the tolerances that ``claims.yaml`` has now. Raises `InputError` where there
    is no such file, or it is not one of results.
    """
    try:
        path = data_path(*FILE) if path is None else Path(path)
        content = read_json(path)
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
            head = f"{claim.id:4s}" + claim.told(of[claim.id]).replace("*", "").replace("\N{NO-BREAK SPACE}", " ")
            paper_says = "" if claim.paper_value is None else f" [paper: {claim.paper_text}]"
            lines += textwrap.wrap(f"{head} - {claim.statement}{paper_says}", width, subsequent_indent=" " * 6)
            for r in of[claim.id]:
                text = f"{r.label or 'measured'}: {r.text}, {r.verdict} {r.side}".strip()
                text += f" ({claim.tolerance_of(r.part)})" + f"; {r.text_of_others}" * bool(r.trainings)
                lines += textwrap.wrap(text, width, initial_indent=" " * 6, subsequent_indent=" " * 8)
    latest = max((r.time for r in records), default="never")
    return "\n".join([*textwrap.wrap(counted(claims, of), width), f"Last measured: {latest}.", *lines])


def half_width(record: Record) -> float:
    """Half width of the spread of a record, or 5 % of its value where it has none."""
    if isinstance(record.spread, list):
        return abs(record.spread[1] - record.spread[0]) / 2
    return abs(record.value) * 0.05 if record.spread is None else abs(record.spread)


@dataclass(frozen=True)
class Difference:
    """One sentence on what is not as it was; `decide` where a person has to say whether that is right."""

    text: str
    decide: bool = True


def differences(new: list[Record], kept: list[Record]) -> list[Difference]:
    """What moved by more than both spreads together, changed its verdict, came or went.

    What is measured for the first time contradicts nothing that was kept, and needs no decision; nor does a time of
    this machine, as long as it leaves the verdict alone.
    """
    found = []
    before, after = ({(r.id, r.notebook, r.label): r for r in records} for records in (kept, new))
    for key in before.keys() | after.keys():
        name = " ".join(str(k) for k in (key[0], key[2]) if k)
        if key not in before:
            found.append(Difference(f"{name}: new ({key[1]}), {after[key].text}, {after[key].verdict}", False))
            continue
        if key not in after:
            found.append(Difference(f"{name}: no longer measured ({key[1]}); it was {before[key].text}"))
            continue
        old, now = before[key], after[key]
        turned = old.verdict != now.verdict
        if turned or _moved(old, now):
            own = load_claims()[key[0]].timing and not turned
            said = f"{name}: {old.text}, {old.verdict} -> {now.text}, {now.verdict}"
            found.append(Difference(said + (" (a time of this machine)" if own else ""), not own))
    return sorted(found, key=lambda d: d.text)


def _moved(old: Record, now: Record) -> bool:
    """Whether two values lie further apart than both spreads together, or one of them is no longer a number."""
    numbers = [isinstance(r.value, int | float) for r in (old, now)]
    if not all(numbers):
        return any(numbers)
    return abs(now.value - old.value) > half_width(old) + half_width(now)


def replace(new: Path, kept: Path, accept: bool = False) -> tuple[list[Difference], bool]:
    """Compare two files of results, and put `new` in the place of `kept` where nothing speaks against it.

    Returns the `differences` and whether `kept` was replaced: always where there was none, or with `accept`; else only
    if no difference asks for a decision. Raises `InputError` where `new` cannot be read, or `kept` cannot and `accept`
    is False; nothing is written then.
    """
    records, kept = read_results(new), Path(kept)
    said = []
    if kept.exists():
        try:
            said = differences(records, read_results(kept))
        except InputError:
            if not accept:
                raise
            said = [Difference(f"{kept} could not be read and is not compared")]
    if not accept and any(d.decide for d in said):
        return said, False
    write_bytes(kept, Path(new).read_bytes())
    return said, True
