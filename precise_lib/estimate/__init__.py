"""Estimators: callables `MRSI` -> xarray.DataArray (metabolite, x, y, z) in mM, each with a `name`.

To add one, write a callable and register a factory; `precise_lib.estimate.registry` says what it may offer:

>>> from precise_lib import estimate
>>> "fit" in estimate.names()
True

Code outside this package needs no registration: ``load("package.module:factory")`` or ``load("file.py:factory")``
registers it under that very name, and ``precise quantify --estimator`` takes the same.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from precise_lib.estimate.registry import ALLOWED, find, load, make, names, register, uses

__all__ = ["ALLOWED", "find", "load", "make", "names", "register", "uses"]


def _later(module: str, attribute: str) -> Callable:
    """A factory that imports its module on first use, so that listing names does not load torch."""
    return lambda **options: getattr(import_module(f"precise_lib.estimate.{module}"), attribute)(**options)


register("fourier", _later("fourier", "Fourier"))
register("fit", _later("fit", "Fit"))
register("sve", _later("weights", "Sve"), uses=("network",))
_PRECISE = ("network", "mri", "lambda", "cap", "neighbors")
register("precise", _later("precise", "Precise"), uses=(*_PRECISE, "base"))
register("adaptive", _later("tuned", "Adaptive"), uses=("network", "mri", "lambda", "neighbors", "base"))
register("precise-finetune", _later("precise", "FineTuned"), uses=_PRECISE)
register("fit-diffusion", _later("peers.filters", "Diffusion"), uses=("neighbors",))
register("fit-guided", _later("peers.filters", "Guided"), uses=("mri", "neighbors"))
register("fit-nlm", _later("peers.ratios", "NonlocalMeans"), uses=("mri", "neighbors"))
register("fit-tv", _later("peers.variation", "JointVariation"), uses=("neighbors",))
register("fit-dtv", _later("peers.variation", "DirectionalVariation"), uses=("mri", "neighbors"))
register("svd-fit", _later("peers.lowrank", "TruncatedSvd"), uses=("neighbors",))
register("mppca-fit", _later("peers.lowrank", "MpPca"), uses=("neighbors",))
