"""Record what a notebook measured beside what a paper claims, and make the scoreboard from the two.

A claim that fails stays on the page and says so, and so does a claim that nobody has measured yet.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path

from precise_lib import __version__
from precise_lib.errors import InputError, reason
from precise_lib.evaluate import trainings
from precise_lib.evaluate.records import Record
from precise_lib.evaluate.tolerances import OWN_WORDS, PAPERS, SYMBOLS, Claim, load_claims
from precise_lib.io.atomic import write_text
from precise_lib.io.text import read_json


def record(id, value=None, spread=None, unit=None, parameters=None, holds=None, notebook=None, **about) -> Record:
    """Record one measured value under a claim and return what the notebook shows of it.

    It is kept as ``<notebook>__<id>.json`` (with the part, where there is one) in the folder that ``PRECISE_RECORDS``
    names, by default ``_build/records``, in place of an earlier one of the same notebook, claim and part. `value` is
    the number that the tolerance bounds, with its `unit`; a short text or nothing for a claim judged in words, for
    which `holds` is True or False (False also fails a claim with bounds). `spread` is a half-width or (low, high),
    `parameters` is what the value depends on, as a dict; `notebook` a stem, the environment variable
    ``PRECISE_NOTEBOOK`` unless given. At full size, what other trainings of the network came to is kept with it.

    `about`: `part`, which of the claim's values it is (``"SVE, SNR 12"``), `spread_meaning`, of what the spread is
    (``"95 % CI"``), `reading` of the SNR, "signal" or "water", where a claim has both, `figure`, the label of the one
    that shows it, `note`, a remark for the scoreboard, and `differs`, why it was measured on other terms than the
    paper's: outside its tolerance its verdict is "differs".

    Raises `InputError` for an unknown claim or part, and for a value that is no finite number where bounds ask for one.
    """
    if spread is not None:
        spread = [float(s) for s in spread] if hasattr(spread, "__len__") else float(spread)
    scale = os.environ.get("PRECISE_SCALE")
    result = Record(
        id=id,
        notebook=notebook or os.environ.get("PRECISE_NOTEBOOK") or "interactive",
        value=value.item() if hasattr(value, "item") else value,
        spread=spread,
        unit=unit if unit is not None else load_claims()[id].unit if id in load_claims() else None,
        parameters=dict(parameters or {}),
        holds=None if holds is None else bool(holds),
        scale=scale,
        trainings=trainings.others(id, about.get("part")) if scale == "paper" else [],
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        **about,
    )
    folder = Path(os.environ.get("PRECISE_RECORDS") or Path("_build", "records"))
    write_text(folder / result.filename, _json(asdict(result)))
    return result


def _json(content) -> str:
    """JSON text; NumPy values become numbers and lists, anything else that JSON lacks becomes text."""

    def plain(x):
        return x.tolist() if hasattr(x, "tolist") else str(x)

    return json.dumps(content, indent=1, ensure_ascii=False, default=plain) + "\n"


def read_records(folder: str | Path) -> list[Record]:
    """Every record of a folder, in the order of the claims; `InputError` names a file that is none."""
    records = []
    for path in sorted(Path(folder).glob("[!.]*.json")):
        try:
            entry = read_json(path)
            records.append(Record(**{f.name: entry[f.name] for f in fields(Record) if f.name in entry}))
        except (ValueError, TypeError) as error:
            complaint = f"{path} is not a record of a claim ({reason(error)}); delete it and run its notebook again."
            raise InputError(complaint) from error
    order = list(load_claims())
    return sorted(records, key=lambda r: (order.index(r.id), r.notebook, r.label))


def write_results(folder: str | Path, out_json: str | Path) -> None:
    """Collect a folder of records into one JSON file: every claim with its verdict and what was measured."""
    records = read_records(folder)
    claims = []
    for claim in load_claims().values():
        own = [r for r in records if r.id == claim.id]
        measured = [asdict(r) | {"verdict": r.verdict} for r in own]
        claims.append({"id": claim.id, "verdict": claim.verdict(own), "measured": measured})
    write_text(out_json, _json({"version": __version__, "claims": claims}))


def write_scoreboard(folder: str | Path, out_md: str | Path, notebooks: str = "../notebooks") -> None:
    """Write the scoreboard page (MyST Markdown) from a folder of records; its links go to the executed `notebooks`."""
    claims, records = load_claims(), read_records(folder)
    of = {c: [r for r in records if r.id == c] for c in claims}
    lines = ["# Scoreboard", "", "## The rules", "", _LEGEND, "", "## The count", "", counted(claims, of), ""]
    if reduced := sorted({r.scale for r in records} - {None, "paper"}):
        lines += ["```{warning}", f"Numbers of a reduced run ({', '.join(reduced)}), not of full size.", "```", ""]
    for paper, title in PAPERS.items():
        if measured := [c for c in claims.values() if c.paper == paper and of[c.id]]:
            rows = [row for claim in measured for row in _rows(claim, of[claim.id], notebooks)]
            lines += [f"## {title}", "", *_table("42 16 20 22", ["Claim", "Paper", "Ours", "Verdict"], rows, "claims")]
    if missing := [c for c in claims.values() if not of[c.id]]:
        rows = [[f"**{c.id}** {c.statement}", c.paper_text, c.quantity] for c in missing]
        header = ["Claim", "Paper", "What will be measured"]
        lines += ["## Not yet measured", "", *_table("44 16 40", header, rows)]
    if records:
        latest = max(r.time for r in records)
        lines += [f"Made by precise-lib {__version__} from {len(records)} records, the latest of {latest}.", ""]
    write_text(out_md, "\n".join(lines))


def counted(claims: dict[str, Claim], of: dict[str, list[Record]]) -> str:
    """How many claims of the papers, and how many questions of our own, have which verdict."""
    sentences = []
    for kind, own in (("claims of the two papers", False), ("questions of our own", True)):
        some = [c for c in claims.values() if (c.paper == "ours") == own and c.counted]
        counts = Counter(c.verdict(of[c.id]) for c in some)
        words = [(OWN_WORDS.get(v, v) if own else v, counts[v]) for v in SYMBOLS]
        sentences.append(f"Of {len(some)} {kind}: {', '.join(f'{n} {word}' for word, n in words if n)}.")
    return " ".join(sentences)


_LEGEND = """A **tolerance** is what we would call a faithful reproduction. It stands beside each verdict, its day and
commit beside each claim; where a first measurement was known by then, it says *after a pilot*.

- ✔ **reproduced**: every part lies inside its tolerance, with the whole of its 95 % interval where it has one.
- ◑ **partly**: some parts do, others do not.
- ≠ **differs**: outside, measured on other terms than the paper's, which the line names; it lies *higher* or *lower*.
- ? **undecided**: a bound lies inside the interval of the value, or trainings from other seeds disagree.
- ✘ **not reproduced**: outside. For questions of our own the words are *met* and *not met*.
- ◐ **partly measured**: nothing measured so far lies outside, but a part is missing.
- · **reported**: shown, and not comparable.

**One measurement counts once.** A claim that restates another one's measurement is shown and not counted, nor is a
calibration, whose free parameter was chosen to bring the paper's figure about. Parts that are for information decide
nothing. A claim on several networks, SNRs or values of λ is judged by its worst; what depends on the CNN carries the
figures of its other trainings on the same noise.

**The SNR of the second paper can be read in two ways**: that of all the signal, as its text says, or of water alone,
as notes of its authors on their data have it, with a quarter of the noise. Neither is called the paper's: its claims
have a verdict under each reading that was measured, and are *undecided* where the two disagree."""


def _table(widths: str, header: list[str], rows: list[list[str]], look: str = "") -> list[str]:
    """A MyST list table: unlike a pipe table it wraps its cells, so no verdict hides beyond the margin."""
    lines = [
        "```{list-table}",
        ":header-rows: 1",
        f":widths: {widths}",
        ":width: 100%",
        *[f":class: {look}"] * bool(look),
        "",
    ]
    for row in [header, *rows]:
        for i, cell in enumerate(row):
            # an asterisk is part of T2*; the only markup is the bold face of ids and verdicts
            text = re.sub(r"(?<!\*)\*(?!\*)", r"\\*", re.sub(r"[ \n\t\r]+", " ", cell.strip()))
            lines.append(f"{'* -' if i == 0 else '  -'} {text}".rstrip())
    return [*lines, "```", ""]


def _rows(claim: Claim, records: list[Record], notebooks: str) -> list[list[str]]:
    """Table rows of one claim: a single line, or a head line with one line for each part below it."""
    about = [f"tolerance of {claim.set}"] * bool(claim.set)
    about += ["after a pilot"] * claim.pilot + [f"counted with {claim.counts_with}"] * bool(claim.counts_with)
    about += ["a calibration, not counted"] * claim.calibration
    head = f"**{claim.id}** {claim.statement}" + f" ({', '.join(about)})" * bool(about)
    single = len(records) == 1 and not (claim.parts or claim.readings)
    rows = [] if single else [[head, claim.paper_text, "", claim.told(records)]]
    for r in records:
        page = "" if r.notebook == "interactive" else f"[{r.notebook}]({notebooks}/{r.notebook}.ipynb)"
        links = ", ".join(text for text in (f"{{numref}}`{r.figure}`" if r.figure else "", page) if text)
        remarks = ["; ".join(text for text in (r.differs, r.note) if text)] * bool(r.differs or r.note)
        words = [head] if single else [f"– {r.label or r.notebook}{':' if remarks else ''}"]
        words += remarks + ([f"({links})"] if links else [])
        state = claim.worded(r.verdict) + f", {r.side}" * bool(r.side)
        state = f"{f'**{state}**' if single else state} ({claim.tolerance_of(r.part)})"
        measured = r.text + f" ({r.text_of_others})" * bool(r.trainings)
        rows.append([" ".join(words), claim.paper_text if single else "", measured, state])
    return rows
