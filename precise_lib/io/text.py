"""YAML and JSON that somebody else wrote: read into plain values, never into code, and refused by one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from precise_lib.errors import InputError, reason


def read_yaml(path, what: str, loader=yaml.SafeLoader):
    """Numbers, texts, lists and mappings of a YAML file (JSON is YAML too).

    Parameters
    ----------
    what : begins the sentence of a refusal, for example "The signal model"
    loader : `yaml.SafeLoader`, or a subclass with other rules for numbers

    Raises
    ------
    InputError : no such file, not UTF-8, or not YAML
    """
    try:
        return yaml.load(Path(path).read_text(encoding="utf-8-sig"), loader)
    except Exception as error:  # an impossible date, a number that is none, 10^4 brackets: each raises its own
        raise InputError(f"{what} {path} is not readable as YAML: {reason(error)}.") from error


def read_json(path):
    """Content of a JSON file; raises `ValueError` (too deep: as well) or `OSError`, as `json.loads` and `open` do."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("its brackets are nested too deeply") from error
