"""Estimators that are not part of this package: a factory in somebody's module or file, found by its name."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from importlib import import_module, util
from pathlib import Path
from types import ModuleType

from precise_lib.errors import InputError, reason


def factory_at(place: str) -> Callable:
    """The factory that "package.module:factory" or "path/to/file.py:factory" names; runs the code of that module.

    Raises
    ------
    InputError : see `precise_lib.estimate.load`
    """
    where, _, attribute = place.rpartition(":")
    if not where or not attribute.isidentifier():
        raise InputError(f"'{place}' names no estimator: write 'package.module:factory' or 'path/to/file.py:factory'.")
    module = _from_file(Path(where)) if where.endswith(".py") else _from_name(where)
    factory = getattr(module, attribute, None)
    if not callable(factory):
        there = sorted(
            n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__
        )
        raise InputError(f"{where} has no function or class '{attribute}'; it has {', '.join(there) or 'none at all'}.")
    return factory


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"There is no file {path}: check its name.")
    # a name of its own: two files called method.py do not get in each other's way, nor in that of a real module
    name = f"{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = util.spec_from_file_location(name, path)
    module = util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InputError(f"{path} fails when it is imported: {_said(error)}.") from error
    return module


def _from_name(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise InputError(
                f"Python finds no module '{name}': install it, or give its file as 'path/to/file.py:factory'."
            ) from error
        raise InputError(f"The module '{name}' fails when it is imported: {_said(error)}.") from error
    except Exception as error:
        raise InputError(f"The module '{name}' fails when it is imported: {_said(error)}.") from error


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {reason(error)}"
