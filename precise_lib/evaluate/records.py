"""Claims, their tolerances, and one value measured under a claim, as objects."""

from __future__ import annotations

import hashlib
import math
import re
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

from precise_lib import __version__
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
OWN_WORDS = {"reproduced": "met", "not reproduced": "not met"}  # nothing to reproduce in a question of our own
INTERVALS = {"95 % CI": 1.0, "95 % interval": 1.0, "standard error": 1.96}  # meanings of a spread that bound a value


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

    def verdict(self, records: list) -> str:
        """Verdict over all of the claim's records; no declared part may be missing.

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


_TYPES = dict.fromkeys(("notebook", "version", "time"), str)
_TYPES |= dict.fromkeys(("part", "spread_meaning", "unit", "figure", "note", "differs", "scale"), str | None)
_TYPES |= {"value": int | float | str | None, "spread": int | float | list | tuple | None}
_TYPES |= {"parameters": dict, "holds": bool | None}


def _finite(number) -> bool:
    return abs(number) <= sys.float_info.max  # also of an integer that no float can hold


@dataclass(frozen=True)
class Record:
    """One value under a claim, as kept in a JSON file by :func:`~precise_lib.evaluate.claims.record`."""

    id: str
    notebook: str
    value: float | str | None = None
    part: str | None = None
    spread: float | list[float] | None = None
    spread_meaning: str | None = None
    unit: str | None = None
    parameters: dict = field(default_factory=dict)
    figure: str | None = None
    note: str | None = None
    holds: bool | None = None
    differs: str | None = None
    scale: str | None = None
    version: str = __version__
    time: str = ""

    def __post_init__(self):
        if self.id not in load_claims():
            raise InputError(f"There is no claim {self.id!r}; the list is in data/claims.yaml.")
        tolerance = load_claims()[self.id].tolerance_of(self.part)
        if wrong := [n for n, t in _TYPES.items() if not isinstance(getattr(self, n), t)]:
            raise InputError(f"The record of claim {self.id} has something of another type as its {', '.join(wrong)}.")
        number = isinstance(self.value, int | float) and not isinstance(self.value, bool)
        spread = self.spread if isinstance(self.spread, list | tuple) else [self.spread or 0] * 2
        if len(spread) != 2 or not all(isinstance(s, int | float) and _finite(s) for s in spread):
            raise InputError(f"The spread of claim {self.id} is {self.spread}; record one number or two.")
        if number and not _finite(self.value):
            raise InputError(f"The value of claim {self.id} is {self.value}; record a finite number.")
        if tolerance.judged and self.holds is None:
            raise InputError(f"Claim {self.id} is judged in words: record holds=True or holds=False.")
        if not (tolerance.judged or tolerance.report or number):
            raise InputError(f"Claim {self.id} has bounds ({tolerance}): record a number.")
        if not re.fullmatch(r"[\w-]+", self.notebook) or not re.fullmatch(r"[\w-]+", self.figure or "-"):
            raise InputError("Names of notebooks and labels of figures hold letters, digits, - and _ only.")

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of 95 %, where the spread is one."""
        wide = INTERVALS.get(self.spread_meaning)
        if wide is None or self.spread is None or not isinstance(self.value, int | float):
            return None
        if isinstance(self.spread, list | tuple):
            return tuple(self.spread)
        return self.value - wide * self.spread, self.value + wide * self.spread

    @property
    def verdict(self) -> str:
        """Verdict under the tolerance that ``claims.yaml`` holds now; none is stored, so none goes stale.

        A bound inside the interval of the value leaves the verdict undecided.
        """
        tolerance = load_claims()[self.id].tolerance_of(self.part)
        if tolerance.report:
            return "reported"
        met = self.holds is not False and (tolerance.judged or self.value in tolerance)
        if not tolerance.judged and self.holds is not False and self.interval is not None:
            low, high = self.interval
            if any(low < bound < high for bound in (tolerance.min, tolerance.max) if bound is not None):
                return "undecided"
        return "reproduced" if met else "differs" if self.differs else "not reproduced"

    @property
    def side(self) -> str:
        """On which side of its bounds a value lies: "lower", "higher" or nothing."""
        tolerance = load_claims()[self.id].tolerance_of(self.part)
        if self.verdict not in ("differs", "not reproduced") or not isinstance(self.value, int | float):
            return ""
        if tolerance.min is not None and self.value < tolerance.min:
            return "lower"
        return "higher" if tolerance.max is not None and self.value > tolerance.max else ""

    @property
    def text(self) -> str:
        """What was measured: value ± spread with its unit, or whether the statement holds."""
        if isinstance(self.value, str):
            return self.value
        if self.value is None:
            return {True: "holds", False: "does not hold", None: "–"}[self.holds]
        return f"{format_value(self.value, self.spread, self.spread_meaning)} {self.unit or ''}".strip()

    @property
    def filename(self) -> str:
        if not self.part:
            return f"{self.notebook}__{self.id}.json"
        # Two parts may differ only in signs that a file name cannot carry, hence the short hash.
        tag = hashlib.sha256(self.part.encode()).hexdigest()[:6]
        return f"{self.notebook}__{self.id}__{re.sub(r'[^A-Za-z0-9]+', '-', self.part).strip('-')}-{tag}.json"

    def _repr_markdown_(self) -> str:
        claim = load_claims()[self.id]
        words = [
            f"**{self.id}**{f' ({self.part})' if self.part else ''}: {self.text}",
            "" if claim.paper == "ours" else f"paper: {claim.paper_text}",
            f"tolerance: {claim.tolerance_of(self.part)}",
            f"**{claim.worded(self.verdict)}**",
        ]
        return " · ".join(text for text in (*words, self.differs, self.note) if text)


def format_value(value: float, spread: float | list[float] | None = None, meaning: str | None = None) -> str:
    """A number as one writes it by hand: two digits of the spread, or three of the value, decide.

    >>> format_value(1.6874, 0.0432, "95 % CI")
    '1.687 ± 0.043 (95 % CI)'
    """
    if isinstance(value, int) and spread is None:  # a count
        return str(value)
    pair = isinstance(spread, list | tuple)
    width = abs(spread[1] - spread[0]) / 2 if pair else abs(spread or 0)
    leading, figures = (width, 2) if width else (abs(value), 3)
    digits = figures - 1 - (math.floor(math.log10(leading)) if leading else 0)

    def number(x: float) -> str:
        if digits > 6 or abs(x) >= 1e7:  # an exponent reads better than a row of zeros
            return f"{x:.3g}"
        return f"{round(x, digits):.{max(digits, 0)}f}"

    if spread is None:
        return number(value)
    around = f"[{number(spread[0])}, {number(spread[1])}]" if pair else f"± {number(spread)}"
    return f"{number(value)} {around}" + (f" ({meaning})" if meaning else "")
