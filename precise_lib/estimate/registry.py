"""The registry of estimators, and what they may offer besides maps.

Nothing in this package asks for the name of an estimator. What it can do beyond maps it offers by attributes:

``amplitudes(fids, model)``
    (V, t) -> (V, M) of single voxels. Their errors follow from the bound: times one where the attribute ``efficient``
    is true, else times the SD over the bound that is measured on simulated FIDs. ``unbiased = False`` says that the
    bound does not describe them.
``fit(fids, model)``
    a `precise_lib.estimate.fit.FitResult`, where it fits all that a FID holds; then nothing else is fitted beside it.
``base``
    the single-voxel estimator, or its name, whose results it works on.
``smoother(data)``
    the linear map that it applies to single-voxel amplitudes, a `precise_lib.estimate.smoother.Smoother`; errors and
    bias follow from it, and the choice of its setting: ``parameter`` is its name, ``values`` those to try, from none at
    all (zero) upward.
``approaches(data)``
    the same where its result only comes near to that of the map: what is left of a lesion follows, errors do not.
``limits(model)``
    where its results hold, `precise_lib.estimate.limits.Limits`.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from precise_lib.errors import InputError
from precise_lib.estimate.outside import factory_at

_FACTORIES: dict[str, Callable] = {}
_USES: dict[str, frozenset[str]] = {}
# Names of outside code that `find` may load, separated by commas. A name alone, which may come from a table of
# parameters, runs nothing: a person has to say so, here or by `load`.
ALLOWED = "PRECISE_ESTIMATORS"
# what an estimator may use besides the FIDs of the voxel at hand
USABLE = frozenset({"network", "base", "mri", "lambda", "neighbors"})


def register(name: str, factory: Callable, uses: tuple[str, ...] | None = None) -> None:
    """Add an estimator: ``factory(**options)`` returns the callable. Names are unique.

    `uses` says what it needs besides the FIDs of a voxel, for those who prepare its input or judge its errors:
    "network" (an option ``weights``), "base" (an option ``base``: any single-voxel estimator, so that it needs no
    network), "mri", "lambda" (options ``lam`` and ``omega_max``), "neighbors" (it mixes voxels, so its result is biased
    next to edges). By default it is what the attribute ``uses`` of the factory says.
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
