"""Public measurements that this project did not make; they travel with it, each with its license.

Simulated data never stand in for one: a file that is not the published one raises `InputError`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from precise_lib.errors import InputError, filled
from precise_lib.io.shipped import data_path
from precise_lib.io.text import read_yaml


@dataclass(frozen=True)
class Measurement:
    """One NIfTI-MRS file: path below ``data/measurements``, SHA-256, the public file it was converted from, license."""

    file: str
    sha256: str
    origin: str
    license: str


_STORED = read_yaml(data_path("measurements", "origins.yaml"), "The list of measurements")
MEASUREMENTS = {name: filled(Measurement, entry, name) for name, entry in _STORED.items()}


def fetch(name: str) -> Path:
    """Path of one of `MEASUREMENTS` as NIfTI-MRS.

    Raises `InputError` for an unknown name or a file that is not the published one (by its SHA-256), and
    `FileNotFoundError` where it is not among the data of this installation.
    """
    if name not in MEASUREMENTS:
        raise InputError(f"There is no measurement '{name}'; known are {', '.join(MEASUREMENTS)}.")
    entry = MEASUREMENTS[name]
    path = data_path("measurements", *entry.file.split("/"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != entry.sha256:
        raise InputError(
            f"{path} is not the published measurement (SHA-256 {digest[:12]}, expected {entry.sha256[:12]}): "
            f"restore it; the origin is {entry.origin}."
        )
    return path
