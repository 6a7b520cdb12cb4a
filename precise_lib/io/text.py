"""YAML and JSON that somebody else wrote: read into plain values, never into code, and refused by one sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from precise_lib.errors import InputError, reason

MOST_ENTRIES, DEEPEST = 100_000, 50  # of what a file holds, with every alias written out


class Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number, as everywhere else, and 2024-05-01 a text."""


Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] not in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:float")]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^([-+]?[0-9]+\.[0-9]*([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.[0-9]+([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def read_yaml(path, what: str, check: bool = True):
    """Numbers, texts, lists and mappings of a YAML file (JSON is YAML too).

    Raises `InputError`, which begins with `what` ("The signal model"): no such file, not UTF-8, not YAML, or refused by
    `check_content`, which the caller applies to each part itself where not `check`.
    """
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8-sig"), Loader)
        if check:
            check_content(content)
    except Exception as error:  # an impossible date, a number that is none, 10^4 brackets: each raises its own
        raise InputError(f"{what} {path} is not readable as YAML: {reason(error)}.") from error
    return content


def check_content(content) -> None:
    """Raise `ValueError` where nested values are endless, too deep or too many, or a text is no Unicode.

    YAML lets a list hold itself, and nine lists of nine aliases each stand for 10^9 entries.
    """
    entries = 0

    def visit(part, depth: int):
        nonlocal entries
        entries += 1
        if depth > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} levels deep, or holds itself")
        if entries > MOST_ENTRIES:
            raise ValueError(f"it stands for more than {MOST_ENTRIES} entries")
        if isinstance(part, str):
            try:
                part.encode()
            except UnicodeEncodeError:
                raise ValueError("a text holds half a character (a lone surrogate)") from None
        elif isinstance(part, dict):
            for pair in part.items():
                visit(pair[0], depth + 1)
                visit(pair[1], depth + 1)
        elif isinstance(part, list | tuple | set):
            for item in part:
                visit(item, depth + 1)

    visit(content, 0)


def read_json(path):
    """Content of a JSON file; raises `ValueError` (too deep: as well) or `OSError`, as `json.loads` and `open` do."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("its brackets are nested too deeply") from error
