"""Tables as Markdown, and what was recorded under claims."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

FEW = 3  # records that read better as text than as a table


class Markdown(str):
    """Text that a notebook shows as Markdown."""

    __slots__ = ()

    def _repr_markdown_(self) -> str:
        return str(self)


def table(head: Sequence[str], rows: Iterable[Sequence], form: str = ".2f") -> Markdown:
    """Table with the titles `head` over `rows` of cells: texts and counts as they are, other numbers in the format
    `form`; what a row lacks at its end stays empty.
    """
    cells = [[_text(c, form) for c in row] for row in rows]
    lines = [list(head), ["---"] * len(head), *(row + [""] * (len(head) - len(row)) for row in cells)]
    return Markdown("\n".join("| " + " | ".join(line) + " |" for line in lines))


def _text(cell, form: str) -> str:
    value = np.asarray(cell).item()
    return f"{value:{form}}" if isinstance(value, float) else str(value)


def records(measured: Iterable) -> Markdown:
    """What was recorded under claims (`evaluate.claims.record`): a few as a paragraph each, more as a table with their
    remarks once below.
    """
    measured = list(measured)
    if len(measured) <= FEW:
        return Markdown("\n\n".join(r._repr_markdown_() for r in measured))
    head = ["claim", "measured", "paper", "tolerance", "verdict"]
    rows = [[_escaped(c) for c in r.cells] for r in measured]
    said = [i for i in range(len(head)) if any(row[i] for row in rows)]  # our own questions have no paper's figure
    lines = table([head[i] for i in said], [[row[i] for i in said] for row in rows])
    named: dict[str, dict] = {}  # remark -> claims that it belongs to
    for r in measured:
        for remark in r.remarks:
            everywhere = all(remark in other.remarks for other in measured if other.id == r.id)
            named.setdefault(remark, {})[r.id if everywhere else f"{r.id} {r.label}"] = None
    return Markdown("\n".join([lines, "", *(f"- {'; '.join(names)}: {remark}" for remark, names in named.items())]))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
