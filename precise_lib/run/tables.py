"""Read a table of parameters, a row a run, from CSV or YAML. What it holds is data: nothing is evaluated."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path

from precise_lib.errors import InputError, reason
from precise_lib.io.text import check_content, read_yaml

INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?inf|nan")
MOST_DIGITS = 300
WORDS = {"true": True, "false": False, "none": None, "null": None}


@dataclass(frozen=True)
class Refused:
    """Stands for a value that no notebook can get, for a reason in a sentence."""

    reason: str


def read(path, defaults: dict[str, object]) -> list[dict]:
    """Rows of a table as {parameter: value}, in their order; a value that cannot be used is `Refused`.

    `path` is ``.csv`` (first line: names; an empty cell: the default) or ``.yaml`` / ``.yml`` (a list of mappings),
    `defaults` the parameters that exist, see `notebooks.parameters_of`. A cell of a CSV stays text where the default is
    text, and where the parameter is one without a default, but for none and JSON quotes; otherwise it is a
    number, true, false or none, a JSON list or mapping, or text; a number with leading zeros is text (``007``), and so
    is anything in JSON quotes. Raises `InputError` where not readable, without a row, for a name that is no parameter
    or appears twice.
    """
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".tsv", ".yaml", ".yml"):
        raise InputError(f"{path} is no table of parameters: give a .csv, .tsv or .yaml file.")
    try:
        rows = _csv(path, defaults) if path.suffix.lower() in (".csv", ".tsv") else _yaml(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The table {path} is not readable: {reason(error)}.") from error
    if not rows:
        raise InputError(f"The table {path} has no row: give one for each run.")
    unknown = sorted({name for row in rows for name in row} - set(defaults))
    if unknown:
        extra = f"The table {path} has {', '.join(map(repr, unknown))}, which the notebook does not take"
        raise InputError(f"{extra}: its parameters are {', '.join(defaults)}.")
    return rows


def _csv(path: Path, defaults) -> list[dict]:
    text = path.read_text(encoding="utf-8-sig")
    header = text.partition("\n")[0]
    # spreadsheets of some countries write semicolons
    mark = "\t" if path.suffix.lower() == ".tsv" else ";" if header.count(";") > header.count(",") else ","
    lines = csv.reader(text.splitlines(keepends=True), delimiter=mark)
    names = [name.strip() for name in next(lines, [])]
    if len(set(names)) < len(names) or "" in names:
        raise InputError(f"The first line of {path} must name each column once, not {', '.join(names)!r}.")
    rows = []
    for cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(names):
            raise InputError(f"Line {lines.line_num} of {path} has {len(cells)} cells, the first line {len(names)}.")
        pairs = [(n, c.strip()) for n, c in zip(names, cells, strict=True) if c.strip()]
        rows.append({name: value(cell, defaults.get(name)) for name, cell in pairs})
    # a column may be empty in every row: its name must be a parameter all the same
    return [dict.fromkeys(set(names) - set(defaults)) | row for row in rows]


def value(cell: str, default=None):
    """What a cell of a CSV means, see `read`."""
    if isinstance(default, str):
        return cell
    if cell.startswith('"') and cell.endswith('"') and len(cell) > 1:
        return _json(cell)
    if cell.lower() in WORDS and (default is not str or WORDS[cell.lower()] is None):
        return WORDS[cell.lower()]
    if default is str:  # the name of a file, of a subject, of weights, though it be of digits
        return cell
    if len(cell) > MOST_DIGITS and NUMBER.fullmatch(cell):
        return Refused(f"The cell {cell[:20]}... has {len(cell)} digits: give a number of at most {MOST_DIGITS}.")
    if INTEGER.fullmatch(cell):
        return int(cell)
    if NUMBER.fullmatch(cell) and not re.match(r"[-+]?0[0-9]", cell):
        return float(cell)
    return _json(cell) if cell[0] in "[{" else cell


def _json(cell: str):
    try:
        content = json.loads(cell)
        check_content(content)
    except (ValueError, RecursionError) as error:
        return Refused(f"The cell {cell[:80]} is not readable as JSON: {reason(error)}.")
    return content


def _yaml(path: Path) -> list[dict]:
    rows = read_yaml(path, "The table", check=False)
    if rows is None:
        return []
    if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
        raise InputError(f"The table {path} must be a list of mappings, one for each run.")
    if unnamed := [name for row in rows for name in row if not isinstance(name, str)]:
        raise InputError(f"The table {path} has {str(unnamed[0])[:80]!r} where the name of a parameter belongs.")
    return [{name: _usable(name, content) for name, content in row.items()} for row in rows]


def _usable(name: str, content):
    try:
        check_content(content)
    except ValueError as error:
        return Refused(f"The value of {name} cannot be used: {reason(error)}.")
    if _plain(content):
        return content
    return Refused(f"The value of {name} is neither a number, a text, nor a list or mapping of these.")


def _plain(content) -> bool:
    if isinstance(content, list):
        return all(map(_plain, content))
    if isinstance(content, dict):
        return all(isinstance(name, str) and _plain(item) for name, item in content.items())
    return content is None or isinstance(content, bool | int | float | str)
