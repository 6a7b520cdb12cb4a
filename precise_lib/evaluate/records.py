"""One value measured under a claim, as an object: its verdict, and how it reads."""

from __future__ import annotations

import hashlib
import math
import re
import sys
from dataclasses import dataclass, field, replace

from precise_lib import __version__
from precise_lib.errors import InputError
from precise_lib.evaluate.tolerances import READINGS, load_claims

INTERVALS = {"95 % CI": 1.0, "95 % interval": 1.0, "standard error": 1.96}  # meanings of a spread that bound a value
_TYPES = dict.fromkeys(("notebook", "version", "time"), str)
_TYPES |= dict.fromkeys(("part", "spread_meaning", "unit", "figure", "note", "differs", "scale", "reading"), str | None)
_TYPES |= {"value": int | float | str | None, "spread": int | float | list | tuple | None}
_TYPES |= {"parameters": dict, "holds": bool | None, "trainings": list}


def _finite(number) -> bool:
    return abs(number) <= sys.float_info.max  # also of an integer that no float can hold


@dataclass(frozen=True)
class Record:
    """One value under a claim, as kept in a JSON file by :func:`~precise_lib.evaluate.claims.record`.

    `trainings` has what other trainings of the network came to, where the value depends on one (`trainings.others`).
    """

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
    reading: str | None = None
    trainings: list[dict] = field(default_factory=list)
    version: str = __version__
    time: str = ""

    def __post_init__(self):
        if self.id not in load_claims():
            raise InputError(f"There is no claim {self.id!r}; the list is in data/claims.yaml.")
        tolerance = load_claims()[self.id].tolerance_of(self.part)
        if wrong := [n for n, t in _TYPES.items() if not isinstance(getattr(self, n), t)]:
            raise InputError(f"The record of claim {self.id} has something of another type as its {', '.join(wrong)}.")
        if self.reading not in (READINGS if load_claims()[self.id].readings else [None]):
            wanted = " or ".join(READINGS) if load_claims()[self.id].readings else "none"
            raise InputError(f"Claim {self.id} has the reading {self.reading} of the SNR; record {wanted}.")
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
    def others(self) -> list[Record]:
        """The same of other trainings of the network."""
        return [replace(self, trainings=[], **other) for other in self.trainings]

    @property
    def verdict(self) -> str:
        """Verdict under the tolerance that ``claims.yaml`` holds now; none is stored, so none goes stale.

        A bound inside the interval of the value leaves it undecided, and so do trainings that disagree.
        """
        verdicts = {record._verdict for record in (self, *self.others)}
        return verdicts.pop() if len(verdicts) == 1 else "undecided"

    @property
    def _verdict(self) -> str:
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
    def text_of_others(self) -> str:
        """What other trainings came to; empty where there are none."""
        texts = []
        for other in self.others:
            number = isinstance(other.value, int | float)
            texts.append(format_value(other.value, other.spread) if number else replace(other, value=None).text)
        return f"other trainings: {', '.join(texts)}" * bool(texts)

    @property
    def label(self) -> str:
        """The part, and under which reading of the SNR it was measured; empty where there is neither."""
        return ", ".join(text for text in (self.part, READINGS.get(self.reading)) if text)

    @property
    def filename(self) -> str:
        start = f"{self.notebook}__{self.id}" + f"-{self.reading}" * bool(self.reading)
        if not self.part:
            return f"{start}.json"
        # Two parts may differ only in signs that a file name cannot carry, hence the short hash.
        tag = hashlib.sha256(self.part.encode()).hexdigest()[:6]
        return f"{start}__{re.sub(r'[^A-Za-z0-9]+', '-', self.part).strip('-')}-{tag}.json"

    @property
    def cells(self) -> list[str]:
        """Line of a table: claim and part, value with those of other trainings, the paper's, tolerance, verdict."""
        claim = load_claims()[self.id]
        measured = self.text + f" ({self.text_of_others})" * bool(self.trainings)
        paper = "" if claim.paper == "ours" else claim.paper_text
        bound, verdict = str(claim.tolerance_of(self.part)), claim.worded(self.verdict)
        return [f"**{self.id}** {self.label}".strip(), measured, paper, bound, f"**{verdict}**"]

    @property
    def remarks(self) -> list[str]:
        return [text for text in (self.differs, self.note) if text]

    def _repr_markdown_(self) -> str:
        claim = load_claims()[self.id]
        words = [
            f"**{self.id}**{f' ({self.label})' if self.label else ''}: {self.text}",
            "" if claim.paper == "ours" else f"paper: {claim.paper_text}",
            f"tolerance: {claim.tolerance_of(self.part)}",
            f"**{claim.worded(self.verdict)}**",
        ]
        return " · ".join(text for text in (*words, self.text_of_others, *self.remarks) if text)


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
