"""Estimators: callables `MRSI` -> xarray.DataArray (metabolite, x, y, z) in mM, each with a `name`.

One registry lists them; the command line, the benchmark and the conformance tests read it. To add one, write a
callable and register a factory:

>>> from precise_lib import estimate
>>> "fit" in estimate.names()
True

Code outside this package needs no registration: ``load("package.module:factory")`` or ``load("file.py:factory")``
registers it under that very name, and ``precise quantify --estimator`` takes the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module

from precise_lib.errors import InputError

_FACTORIES: dict[str, Callable] = {}
_USES: dict[str, frozenset[str]] = {}
# Names of outside code that `find` may load, separated by commas. A name alone, which may come from a table of
# parameters, runs nothing: a person has to say so, here or by `load`.
ALLOWED = "PRECISE_ESTIMATORS"
# what an estimator may use besides the FIDs of the voxel at hand
USABLE = frozenset({"network", "mri", "lambda", "neighbors"})


def register(name: str, factory: Callable, uses: tuple[str, ...] | None = None) -> None:
    """Add an estimator: ``factory(**options)`` returns the callable. Names are unique.

    `uses` says what it needs besides the FIDs of a voxel, for those who prepare its input or judge its errors:
    "network" (an option ``weights``), "mri", "lambda" (options ``lam`` and ``omega_max``), "neighbors" (it mixes
    voxels, so its result is biased next to edges). By default it is what the attribute ``uses`` of the factory says.
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

    This runs the code of the module that `place` names, with all the rights of whoever calls.

    Parameters
    ----------
    place : "package.module:factory" of an importable module, or "path/to/file.py:factory"

    Raises
    ------
    InputError : no such module, file or factory, or the module itself fails
    """
    if place not in _FACTORIES:
        from precise_lib.estimate.outside import factory_at

        factory = factory_at(place)
        try:
            register(place, factory)
        except (TypeError, ValueError) as error:
            raise InputError(f"{place} says by 'uses' what it needs, and cannot: {error}") from error
    return place


def find(name: str) -> str:
    """`name`, where it is that of an estimator; outside code that ``PRECISE_ESTIMATORS`` names is loaded.

    Raises
    ------
    InputError : there is none of that name, or it is outside code that nobody has asked for
    """
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
        raise InputError(f"The estimator '{name}' does not take these options: {error}.") from error
    if not callable(made) or not isinstance(getattr(made, "name", None), str):
        raise InputError(f"The factory of '{name}' must return a callable with a name, not {made!r}.")
    return made


def _later(module: str, attribute: str, **preset) -> Callable:
    """A factory that imports its module on first use, so that listing names does not load torch."""
    return lambda **options: getattr(import_module(f"precise_lib.estimate.{module}"), attribute)(**preset, **options)


register("fourier", _later("fourier", "Fourier"))
register("fit", _later("fit", "Fit"))
register("sve", _later("sve", "Sve"), uses=("network",))
_PRECISE = ("network", "mri", "lambda", "neighbors")
register("precise", _later("prior", "Precise", method="exact"), uses=_PRECISE)
register("precise-finetune", _later("prior", "Precise", method="finetune"), uses=_PRECISE)
register("fit-diffusion", _later("peers.filters", "Diffusion"), uses=("neighbors",))
register("fit-guided", _later("peers.filters", "Guided"), uses=("mri", "neighbors"))
register("svd-fit", _later("peers.lowrank", "TruncatedSvd"), uses=("neighbors",))
register("mppca-fit", _later("peers.lowrank", "MpPca"), uses=("neighbors",))
