"""The one exception that means "your input, not our code", reasons in words for it, and dataclasses of plain values."""

import math
import re
from dataclasses import MISSING, fields
from difflib import get_close_matches

# annotation of a field -> what a value of a file may be, and one and many of it in words
KINDS = {
    "int": (int, "a whole number", "whole numbers"),
    "float": (int | float, "a number", "numbers"),
    "str": (str, "text", "texts"),
    "bool": (bool, "true or false", ""),
    "dict": (dict, "a mapping", ""),
    "list": (list, "a list", "lists"),
}
LARGEST_INTEGER = 2**63 - 1
PYTHONS_OWN = re.compile("invalid literal for|could not convert|cannot convert|(too many|not enough) values|setting an")


class InputError(ValueError):
    """Input that cannot be used: a file, an option or an array.

    The message is one sentence that says what is wrong and what to do about it. The command line prints it
    without a traceback and leaves with exit code 2.
    """


def printable(text) -> str:
    """Text from outside on one line, without what would steer a terminal or a page, or is half a character."""
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(str(text).split()))


def reason(error: BaseException) -> str:
    """What an exception of Python, YAML or the system says, as part of a sentence: one line, no period."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    mark = getattr(error, "problem_mark", None)  # of YAML: the message itself begins with what was being read
    if mark is not None:
        return f"{error.problem} in line {mark.line + 1}"
    if isinstance(error, KeyError) and error.args:
        return f"{error.args[0]} is missing"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    text = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    if isinstance(error, TypeError | AttributeError | LookupError) or PYTHONS_OWN.match(text):
        return "a value is missing or of another kind than it must be"
    return text


def check_number(what: str, value, zero: bool = False, whole: bool = False) -> None:
    """Raise `InputError` unless a number is finite and positive (or `zero`), and `whole` where it must be."""
    if not (0 < value < math.inf or (zero and value == 0)) or (whole and value != int(value)):
        must = f"a whole number, {'zero' if zero else 'one'} or more" if whole else f"{'zero or ' * zero}positive"
        raise InputError(f"{what} is {value}; it must be {must}.")


def mapping(values, what: str) -> dict:
    """Plain values by name that somebody wrote; raises `InputError` for anything else."""
    if not isinstance(values, dict):
        raise InputError(f"{what} is {_short(values)}; it must be a mapping of settings.")
    return dict(values)


def settings_in(values, what: str) -> dict:
    """Settings as such, or in a whole card, which has them as its ``config``; errors of `mapping`."""
    values = mapping(values, what)
    return mapping(values["config"], f"{what}, its 'config',") if "config" in values else values


def filled(cls, values, what: str):
    """An instance of a dataclass from plain values that somebody wrote, see `checked`."""
    return cls(**checked(cls, values, what))


def checked(cls, values, what: str) -> dict:
    """Plain values as the fields of a dataclass, lists as tuples; annotations that `KINDS` lacks are not checked.

    Raises `InputError`, which begins with `what` ("The signal model"): no mapping, a field that is missing, unknown or
    of another kind than its annotation says.
    """
    known, values = {f.name: f for f in fields(cls)}, mapping(values, what)
    if unknown := sorted(str(name) for name in values if name not in known):
        hint = "".join(f" (did you mean {name}?)" for name in get_close_matches(unknown[0], known, 1))
        raise InputError(f"{what} has unknown settings {printable(', '.join(unknown))}{hint}.")
    missing = [n for n, f in known.items() if n not in values and f.default is f.default_factory is MISSING]
    if missing:
        raise InputError(f"{what} lacks {', '.join(missing)}.")
    for name, value in values.items():
        kind = known[name].type
        if not _fits(value, kind):
            raise InputError(f"{what} has {name} {_short(value)}; it must be {_words(kind)}.")
    return {n: _frozen(value) if known[n].type.startswith("tuple[") else value for n, value in values.items()}


def _frozen(value):
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def _short(value) -> str:
    text = printable(repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _fits(value, kind: str) -> bool:
    kind, _, none = kind.partition(" | ")
    if value is None:
        return none == "None"
    if kind.startswith("tuple["):
        inner = kind[6:-1]
        if not isinstance(value, list | tuple):
            return False
        if inner.endswith(", ..."):
            return all(_fits(part, inner[:-5]) for part in value)
        parts = inner.split(", ")
        return len(parts) == len(value) and all(map(_fits, value, parts))
    allowed = KINDS.get(kind, (object,))[0]
    if isinstance(value, bool):
        return allowed in (bool, object)
    return isinstance(value, allowed) and not (isinstance(value, int) and abs(value) > LARGEST_INTEGER)


def _words(kind: str) -> str:
    kind, _, none = kind.partition(" | ")
    if kind.startswith("tuple["):
        inner = kind[6:-1].split(", ")
        many = KINDS.get(inner[0], (0, 0, "lists"))[2]
        said = f"a list of {many}" if inner[-1] == "..." else f"a list of {len(inner)} {many}"
    else:
        said = KINDS.get(kind, (0, "a mapping of settings"))[1]
    return said + (" or nothing" if none else "")
