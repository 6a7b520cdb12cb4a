"""Own data: files to concentrations, errors and flags, and back to files and a report.

>>> from precise_lib.quantify import quantify
"""


def __getattr__(name: str):
    if name != "quantify":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from precise_lib.quantify.run import quantify

    return quantify
