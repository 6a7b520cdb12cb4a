"""What a summary says of how it came about: settings, versions, memory."""

from __future__ import annotations

import platform
import re
import sys
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from precise_lib import __version__
from precise_lib.quantify.request import Request
from precise_lib.quantify.scan import Scan


def settings(files: dict, request: Request, model, scan: Scan, auto: bool, calibrate) -> dict:
    """Files and options as plain values; those that the estimator has no use for are None.

    Parameters
    ----------
    files : paths or None by name
    scan, auto : see `Scan.or_auto`
    model, calibrate : see `quantify.quantify`
    """
    return {name: None if path is None else str(path) for name, path in files.items()} | {
        "estimator": request.estimator,
        "lambda": request.lam if "lambda" in request.uses or request.lam == "auto" else None,
        "omega_max": request.omega_max if "cap" in request.uses else None,
        "options": request.own,
        "model": None if model is None else str(model),
        "scan": scan.set | ({"dead_time_s": "auto"} if auto else {}),
        "calibrate": str(calibrate),
    }


def cost(started: float, read: float, estimated: float) -> dict:
    """Seconds of each step, from when it began or ended (`time.perf_counter`), and peak memory, both up to now."""
    times = {"read": read - started, "estimate": estimated - read, "total": time.perf_counter() - started}
    times["write"] = times["total"] - times["estimate"] - times["read"]
    return {"timings_s": {name: round(t, 3) for name, t in times.items()}, "peak_memory_mib": peak_memory_mib()}


def peak_memory_mib() -> int | None:
    """Peak memory of this process so far; None where the system does not tell."""
    with suppress(OSError, TypeError):  # of this program alone; `resource` may count the one that started it
        return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) // 1024
    with suppress(ImportError):  # on Windows
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return None


def versions() -> dict:
    """Versions of what the numbers depend on."""
    packages = {name: metadata.version(name) for name in ("numpy", "scipy", "torch")}
    return {"precise_lib": __version__, "python": platform.python_version(), **packages}
