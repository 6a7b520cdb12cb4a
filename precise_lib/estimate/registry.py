"""The registry of estimators, and what they may offer besides maps.

Nothing in this package asks for the name of an estimator. What it can do beyond maps it offers by attributes:

``amplitudes(fids, model)``
    (V, t) -> (V, M) of single voxels. Their errors follow from the bound: times one where the attribute ``efficient``
    is true, else times the SD over the bound measured on simulated FIDs; ``unbiased = False``: no bound applies.
``fit(fids, model)``
    a `precise_lib.estimate.fit.FitResult`, where it fits all that a FID holds; then nothing else is fitted beside it.
``base``
    the single-voxel estimator, or its name, whose results it works on.
``smoother(data)``
    the linear map that it applies to single-voxel amplitudes, a `precise_lib.estimate.smoother.Smoother`, for errors,
    bias and the choice of its setting: ``parameter`` is its name, ``values`` those to try, upward from zero (no prior).
``approaches(data)``
    the same where its result only comes near to that of the map: what is left of a lesion follows, errors do not.
``adapted(voxels, errors=True)``
    where its map is not linear but depends on the data set: all that it says of one, an `Adapted`, from single-voxel
    results with their covariance, a `precise_lib.estimate.single_voxels.SingleVoxels` of all frames. By its attributes
    one sees which of its settings it chooses itself: they are "auto".
``limits(model)``
    where its results hold, `Limits`.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module, util
from pathlib import Path
from types import ModuleType

import numpy as np

from precise_lib.errors import InputError, reason

_FACTORIES: dict[str, Callable] = {}
_USES: dict[str, frozenset[str]] = {}
# Environment variable: outside code that `find` may load, with commas. A name alone, as in a table, runs nothing.
ALLOWED = "PRECISE_ESTIMATORS"
USABLE = frozenset({"network", "base", "mri", "lambda", "cap", "neighbors"})  # see `register`


@dataclass(frozen=True)
class Limits:
    """Where the results of an estimator hold, checked by `quantify.flags`; None where there is no limit.

    `amplitudes` (M, 2) are lowest and highest (equal ones: no limit) in units of the reference of the voxel, or of the
    median over the data set where `one_unit`.
    """

    snr: float  # lowest of the reference
    snr_why: str  # what is wrong below it
    why: str = ""  # what is wrong outside the ranges of shift and broadening
    shift_hz: tuple[float, float] | None = None
    broadening_hz: tuple[float, float] | None = None
    amplitudes: np.ndarray | None = None
    one_unit: bool = False
    network: str = ""  # the one trained on these `amplitudes`


@dataclass(frozen=True)
class Adapted:
    """What an estimator that adapts to a data set says of it. Arrays run over the N voxel-frames.

    Attributes
    ----------
    concentrations : (N, M) mM, NaN where there is none
    sd : (N, M) mM, root mean square error that is expected, of noise and of what a prior smooths away; None if unknown
    how : how `sd` came about, in half a sentence
    width : half of the 90 % interval over `sd`, a number or (N, M); None without intervals
    moved : (N, M) mM, SD of what noise alone makes `concentrations` and single-voxel results differ
    maps : values (N,) by name, with a description
    flags : voxel-frames (N,) bool by name, with a sentence
    settings : those chosen and what they are worth, for the summary
    about : what the settings mean, in a sentence
    notes : sentences of caution
    """

    concentrations: np.ndarray
    sd: np.ndarray | None = None
    how: str = ""
    width: float | np.ndarray | None = None
    moved: np.ndarray | None = None
    maps: dict[str, tuple[np.ndarray, str]] = field(default_factory=dict)
    flags: dict[str, tuple[np.ndarray, str]] = field(default_factory=dict)
    settings: dict = field(default_factory=dict)
    about: str = ""
    notes: tuple[str, ...] = ()


def register(name: str, factory: Callable, uses: tuple[str, ...] | None = None) -> None:
    """Add an estimator: ``factory(**options)`` returns the callable. Names are unique.

    `uses` says what it needs besides the FIDs of a voxel, by default what the attribute ``uses`` of the factory says:
    "network" (an option ``weights``), "base" (an option ``base``: any single-voxel estimator, so that it needs no
    network), "mri", "lambda" and "cap" (options ``lam`` and ``omega_max``), "neighbors" (it mixes voxels: biased next
    to edges).
    """
    if name in _FACTORIES:
        raise ValueError(f"An estimator named '{name}' is registered already.")
    uses = tuple(getattr(factory, "uses", ()) if uses is None else uses)
    if not USABLE.issuperset(uses):
        raise ValueError(f"An estimator uses some of {', '.join(sorted(USABLE))}, not {', '.join(uses)}.")
    _FACTORIES[name], _USES[name] = factory, frozenset(uses)


def uses(name: str) -> frozenset[str]:
    """What a registered estimator uses besides the FIDs of a voxel, see `register`."""
    return _USES[find(name)]


def load(place: str) -> str:
    """Register an estimator from outside this package under the name `place`, and return that name.

    This runs the code of the module, with all the rights of whoever calls. `place` is "package.module:factory" of an
    importable module, or "path/to/file.py:factory"; `InputError` where there is none or the module fails.
    """
    if place not in _FACTORIES:
        factory = _factory_at(place)
        try:
            register(place, factory)
        except (TypeError, ValueError) as error:
            raise InputError(f"{place} says by 'uses' what it needs, and cannot: {error}") from error
    return place


def find(name: str) -> str:
    """`name`, where it is that of an estimator, else `InputError`; outside code in ``PRECISE_ESTIMATORS`` is loaded."""
    if name in _FACTORIES:
        return name
    if name in os.environ.get(ALLOWED, "").split(","):
        return load(name)
    if ":" in name:
        raise InputError(
            f"'{name}' would run code from outside this package, which no table or notebook may ask for: "
            f"name it as --estimator of 'precise quantify' or in the environment variable {ALLOWED}."
        )
    raise InputError(f"No estimator '{name}'; there are {', '.join(names())}, or your own as 'file.py:factory'.")


def names() -> list[str]:
    """Registered estimators."""
    return list(_FACTORIES)


def make(name: str, **options):
    """Build a registered estimator; raises `InputError` for an unknown name or option."""
    try:
        made = _FACTORIES[find(name)](**options)
    except TypeError as error:
        unknown = re.search(r"argument '(\w+)'$", str(error))
        said = f"the option {unknown[1]}" if unknown else f"these options: {reason(error)}"
        raise InputError(f"The estimator '{name}' does not take {said}.") from error
    if not callable(made) or not isinstance(getattr(made, "name", None), str):
        raise InputError(f"The factory of '{name}' must return a callable with a name, not {made!r}.")
    return made


def single_voxel(method, model=None):
    """The single-voxel estimator behind an estimator (or the name of one): itself, or what it works on.

    It has ``amplitudes(fids, model)`` that are unbiased; where the estimator offers none, the fit stands in for it.
    """
    method = make(method) if isinstance(method, str) else method
    if hasattr(method, "single_voxel"):
        return method.single_voxel(model)
    if hasattr(method, "amplitudes") and getattr(method, "unbiased", True):
        return method
    base = getattr(method, "base", None)
    return make("fit") if base is None else single_voxel(base, model)


def _factory_at(place: str) -> Callable:
    """The factory that `load` is asked for."""
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
        raise _fails(path, error) from error
    return module


def _from_name(name: str) -> ModuleType:
    try:
        return import_module(name)
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and (name == missing or name.startswith(f"{missing}.")):
            raise InputError(
                f"Python finds no module '{name}': install it, or give its file as 'path/to/file.py:factory'."
            ) from error
        raise _fails(f"The module '{name}'", error) from error


def _fails(what, error: Exception) -> InputError:
    return InputError(f"{what} fails when it is imported: {type(error).__name__}: {reason(error)}.")
