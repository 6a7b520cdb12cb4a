"""Claims and the tolerances under which a measurement counts as reproduced, as ``data/claims.yaml`` states them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

from precise_lib.errors import InputError
from precise_lib.io.shipped import data_path

SYMBOLS = {
    "reproduced": "✔",
    "partly": "◑",
    "differs": "≠",
    "undecided": "?",
    "not reproduced": "✘",
    "partly measured": "◐",
    "not yet measured": "○",
    "reported": "·",
}
PAPERS = {"precise": "PRECISE-DMI", "mirage": "Miracle or mirage?", "ours": "Questions of our own"}
READINGS = {"signal": "SNR of all the signal", "water": "SNR of water alone"}  # of the second paper's SNR
OWN_WORDS = {"reproduced": "met", "not reproduced": "not met"}  # nothing to reproduce in a question of our own


@dataclass(frozen=True)
class Tolerance:
    """What counts as reproduced: bounds (both included), a judgment, or nothing at all (``report``)."""

    min: float | None = None
    max: float | None = None
    judged: bool = False
    report: bool = False
    optional: bool = False

    def __post_init__(self):
        bounded = self.min is not None or self.max is not None
        if bounded + self.judged + self.report != 1:
            raise InputError("A tolerance needs bounds (min, max), or judged: true, or report: true.")
        if None not in (self.min, self.max) and self.min > self.max:
            raise InputError(f"A tolerance from {self.min} to {self.max} is empty.")

    def __contains__(self, value) -> bool:
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    def __str__(self) -> str:
        if self.judged or self.report:
            return "as stated" if self.judged else "for information"
        if self.min is None:
            return f"≤ {self.max:g}"
        return f"≥ {self.min:g}" if self.max is None else f"{self.min:g} to {self.max:g}"


@dataclass(frozen=True)
class Claim:
    """One claim: what is said and where, what is measured here, and what counts as reproduced.

    `set` is the day and the commit of the tolerance, `pilot` whether a first measurement was known by then. A claim
    that is another reading of a measurement names that one's by `counts_with`; it is not counted, nor a `calibration`.
    With `readings` every record says under which of `READINGS` of the SNR it was measured.
    """

    id: str
    paper: str
    statement: str
    quantity: str
    paper_value: float | str | None = None
    paper_unit: str | None = None
    source: str | None = None
    unit: str = ""
    tolerance: Tolerance | None = None
    parts: dict[str, Tolerance] = field(default_factory=dict)
    notebook: str | None = None
    timing: bool = False
    set: str = ""
    pilot: bool = False
    counts_with: str | None = None
    calibration: bool = False
    readings: bool = False

    @property
    def counted(self) -> bool:
        """Whether it counts on the scoreboard: one measurement counts once, a calibration does not."""
        return not (self.counts_with or self.calibration)

    @property
    def paper_text(self) -> str:
        """The paper's figure with its unit, or a dash where it gives none."""
        return "–" if self.paper_value is None else f"{self.paper_value} {self.paper_unit or ''}".strip()

    def worded(self, verdict: str) -> str:
        """A verdict with its symbol, as a reader sees it."""
        word = OWN_WORDS.get(verdict, verdict) if self.paper == "ours" else verdict
        return f"{SYMBOLS[verdict]}\N{NO-BREAK SPACE}{word}"

    def told(self, records: list) -> str:
        """The verdict in bold as a reader sees it, and where its SNR can be read in two ways that under each."""
        each = [
            f"{READINGS[k]}: {self.worded(self._verdict(own))}" for k, own in self._by_reading(records).items() if k
        ]
        return f"**{self.worded(self.verdict(records))}**" + f" ({'; '.join(each)})" * bool(each)

    def declared(self, part: str | None) -> str | None:
        """The declared part that a recorded part falls under: ``"SVE, SNR 12"`` falls under ``"SVE"``."""
        return next((p for p in self.parts if part == p or (part or "").startswith(p + ", ")), None)

    def tolerance_of(self, part: str | None) -> Tolerance:
        """Tolerance of one part; raises `InputError` where the claim has other parts."""
        if not self.parts:
            return self.tolerance
        if self.declared(part) is None:
            raise InputError(f"Claim {self.id} has the parts {', '.join(self.parts)}; {part!r} is none of them.")
        return self.parts[self.declared(part)]

    def _by_reading(self, records: list) -> dict[str | None, list]:
        """The records under each reading of the SNR that was measured; one list of all where there is but one."""
        measured = [k for k in READINGS if any(r.reading == k for r in records)] if self.readings else []
        return {k: [r for r in records if r.reading == k] for k in measured} or {None: records}

    def verdict(self, records: list) -> str:
        """Verdict over all of the claim's records; undecided where two readings of the SNR disagree.

        A reading under which parts are missing does not decide as long as another one is measured in full.
        """
        verdicts = {self._verdict(own) for own in self._by_reading(records).values()}
        settled = verdicts - {"partly measured"} or verdicts
        return settled.pop() if len(settled) == 1 else "undecided"

    def _verdict(self, records: list) -> str:
        """Verdict over records of one reading; no declared part may be missing.

        A part holds when all its records do. A claim of a paper of which some parts hold and others do not is
        reproduced "partly"; a question of our own is then not met.
        """
        if not records:
            return "not yet measured"
        of_part: dict[str, set] = {}
        for r in records:
            of_part.setdefault(self.declared(r.part), set()).add(r.verdict)
        worst = ("not reproduced", "differs", "undecided", "reproduced")
        verdicts = {next(v for v in worst if v in found) for found in of_part.values() if found != {"reported"}}
        if missed := [v for v in worst[:2] if v in verdicts]:
            return "partly" if "reproduced" in verdicts and self.paper != "ours" else missed[0]
        needed = {p for p, t in self.parts.items() if not (t.optional or t.report)}
        if self.parts and all(t.report for t in self.parts.values()):
            return "reported"
        if not (verdicts and needed <= {self.declared(r.part) for r in records}):
            return "partly measured"
        return "undecided" if "undecided" in verdicts else "reproduced"


@cache
def load_claims(path: str | Path | None = None) -> dict[str, Claim]:
    """All claims by id, in the order of ``data/claims.yaml``; `InputError` on one that is double or makes no sense."""
    claims = {}
    for entry in yaml.safe_load(Path(path or data_path("claims.yaml")).read_text(encoding="utf-8")):
        own = {key: entry.pop(key) for key in ("min", "max", "judged", "report") if key in entry}
        parts = {name: Tolerance(**bounds) for name, bounds in entry.pop("parts", {}).items()}
        if bool(own) == bool(parts):
            raise InputError(f"Claim {entry.get('id')} needs either a tolerance or parts.")
        claim = Claim(**entry, tolerance=Tolerance(**own) if own else None, parts=parts)
        if claim.id in claims or claim.paper not in PAPERS:
            raise InputError(f"Claim {claim.id} is listed twice or names an unknown paper.")
        claims[claim.id] = claim
    return claims
