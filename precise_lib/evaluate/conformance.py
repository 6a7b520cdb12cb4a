"""What every estimator must do, as named checks: units, phase, order, what it declares, bias and precision.

They say that an estimator is one, not that it is a good one. ``precise conformance NAME`` prints them all.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from precise_lib import estimate
from precise_lib.evaluate import checks
from precise_lib.evaluate.checks import Subject, Violation

_FORM = (checks.common_form, checks.input_untouched, checks.deterministic)
_VOXELS = (checks.unusable_voxels, checks.no_usable_voxel)
_INVARIANCE = (checks.scale, checks.phase, checks.without_mri, checks.declared_neighbors)
_QUALITY = (checks.unbiased_away_from_edges, checks.homogeneous_object, checks.precision)
CHECKS = {f.__name__.replace("_", "-"): f for f in _FORM + _VOXELS + _INVARIANCE + _QUALITY}


@dataclass(frozen=True)
class Table:
    """What the checks said: (check, passed, remark) each."""

    name: str
    rows: tuple[tuple[str, bool, str], ...]

    @property
    def passed(self) -> bool:
        return all(passed for _, passed, _ in self.rows)

    def __str__(self) -> str:
        head = f"{self.name}: {sum(ok for _, ok, _ in self.rows)} of {len(self.rows)} checks passed"
        lines = [f"{'passed' if ok else 'FAILED'}  {check:26s}{remark}".rstrip() for check, ok, remark in self.rows]
        return "\n".join([head, *lines])

    def _repr_markdown_(self) -> str:
        lines = ["| check | what it asks | | measured |", "|---|---|---|---|"]
        for check, ok, remark in self.rows:
            asks = inspect.getdoc(CHECKS[check]).splitlines()[0].replace("`", "")
            lines.append(f"| {check} | {asks} | {'✔' if ok else '✘'} | {remark} |")
        return "\n".join(lines)


def run(check: str, subject: Subject) -> str:
    """One check by name; returns what it measured and raises `Violation`, also for any error of the estimator."""
    try:
        return CHECKS[check](subject) or ""
    except Violation:
        raise
    except Exception as error:
        raise Violation(f"It fails with {type(error).__name__}: {error}") from error


def check(name: str, tolerance: float = 0.05, rounding: float | None = None, **options) -> Table:
    """Every check on one estimator, registered or "package.module:factory" or "file.py:factory" (its code is run), with
    tolerance and rounding as of `Subject` and options of the factory; `InputError` for no such estimator.
    """
    subject, rows = Subject(estimate.load(name) if ":" in name else name, options, tolerance, rounding), []
    for which in CHECKS:
        try:
            rows.append((which, True, run(which, subject)))
        except Violation as problem:
            rows.append((which, False, str(problem)))
    return Table(name, tuple(rows))
