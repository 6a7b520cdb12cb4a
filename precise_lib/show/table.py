"""Tables as Markdown, and what was recorded under claims."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


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
    """What was recorded under claims (`evaluate.claims.record`), one paragraph each."""
    return Markdown("\n\n".join(r._repr_markdown_() for r in measured))
