"""Simulate, quantify and judge MR spectroscopic imaging with deep learning and an MRI prior.

Data walks one way: :mod:`precise_lib.simulate` -> :mod:`precise_lib.estimate` -> :mod:`precise_lib.evaluate`
-> plots, notebooks and maps. Importing the package itself is cheap: what it names is loaded when it is asked for.
"""

from importlib import import_module

__version__ = "0.1.0"
NOTICE = "Research software: not a medical device, not for clinical use."

_FACE = {  # name -> the module that has it; None: the name is a module or package
    "SignalModel": "signal.model",
    "Acquisition": "signal.parts",
    "Resonance": "signal.parts",
    "MRSI": "signal.mrsi",
    "rings": "simulate.phantoms",
    "estimate": None,
    "evaluate": None,
    "quantify": None,
    "show": None,
    "simulate": None,
}
__all__ = ["NOTICE", "__version__", *_FACE]


def __getattr__(name: str):
    if name not in _FACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _FACE[name]
    return import_module(f"{__name__}.{name}") if home is None else getattr(import_module(f"{__name__}.{home}"), name)


def __dir__():
    return sorted(__all__)
