"""Estimators: callables `MRSI` -> xarray.DataArray (metabolite, x, y, z) in mM, each with a `name`.

One registry lists them; the command line, the benchmark and the conformance tests read it. To add one, write a
callable and register a factory:

>>> from precise_lib import estimate
>>> "fit" in estimate.names()
True
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from precise_lib.errors import InputError

_FACTORIES: dict[str, Callable] = {}
_USES: dict[str, frozenset[str]] = {}
# what an estimator may use besides the FIDs of the voxel at hand
USABLE = frozenset({"network", "mri", "lambda", "neighbors"})


def register(name: str, factory: Callable, uses: tuple[str, ...] = ()) -> None:
    """Add an estimator: ``factory(**options)`` returns the callable. Names are unique.

    `uses` says what it needs besides the FIDs of a voxel, for those who prepare its input or judge its errors:
    "network" (an option ``weights``), "mri", "lambda" (options ``lam`` and ``omega_max``), "neighbors" (it mixes
    voxels, so its result is biased next to edges).
    """
    if name in _FACTORIES:
        raise ValueError(f"An estimator named '{name}' is registered already.")
    if not USABLE.issuperset(uses):
        raise ValueError(f"An estimator uses some of {', '.join(sorted(USABLE))}, not {', '.join(uses)}.")
    _FACTORIES[name], _USES[name] = factory, frozenset(uses)


def uses(name: str) -> frozenset[str]:
    """What a registered estimator uses besides the FIDs of a voxel, see `register`."""
    return _USES[name]


def names() -> list[str]:
    """Registered estimators."""
    return list(_FACTORIES)


def make(name: str, **options):
    """Build a registered estimator; raises `InputError` for an unknown name or option."""
    if name not in _FACTORIES:
        raise InputError(f"No estimator '{name}'; there are {', '.join(names())}.")
    try:
        return _FACTORIES[name](**options)
    except TypeError as error:
        raise InputError(f"The estimator '{name}' does not take these options: {error}.") from error


def _later(module: str, attribute: str, **preset) -> Callable:
    """A factory that imports its module on first use, so that listing names does not load torch."""
    return lambda **options: getattr(import_module(f"precise_lib.estimate.{module}"), attribute)(**preset, **options)


register("fourier", _later("fourier", "Fourier"))
register("fit", _later("fitting", "Fit"))
register("sve", _later("sve", "Sve"), uses=("network",))
_PRECISE = ("network", "mri", "lambda", "neighbors")
register("precise", _later("edge_preserving", "Precise", method="exact"), uses=_PRECISE)
register("precise-finetune", _later("edge_preserving", "Precise", method="finetune"), uses=_PRECISE)
register("fit-diffusion", _later("filters", "Diffusion"), uses=("neighbors",))
register("fit-guided", _later("filters", "Guided"), uses=("mri", "neighbors"))
register("svd-fit", _later("lowrank", "TruncatedSvd"), uses=("neighbors",))
register("mppca-fit", _later("lowrank", "MpPca"), uses=("neighbors",))
