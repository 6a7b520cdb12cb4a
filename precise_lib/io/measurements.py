"""Public measurements that this project did not make; they travel with it, each with its license.

Simulated data never stand in for one: a file that is not the published one raises `InputError`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from precise_lib.errors import InputError
from precise_lib.io.shipped import data_path

_PYAMARES = "https://github.com/HawkMRS/pyAMARES"
_OSPREY = "https://github.com/schorschinho/osprey"


@dataclass(frozen=True)
class Measurement:
    """One NIfTI-MRS file: path below ``data/measurements``, SHA-256, the public file it was converted from, license."""

    file: str
    sha256: str
    origin: str
    license: str


MEASUREMENTS = {
    "in_vivo_2h_3t_voxel": Measurement(
        "in_vivo_2h_3t_voxel/in_vivo_2h_3t_voxel.nii.gz",
        "9876e96a231ae0dc12726fc5a62c4fcad958154b03ec8781d6791a5c98fd7eff",
        f"{_PYAMARES} (docs/source/notebooks/attachment/a_voxel_2HMRSI.txt)",
        "BSD-3-Clause",
    ),
    "in_vivo_31p_7t": Measurement(
        "in_vivo_31p_7t/brain.nii.gz",
        "953faa26b15cbe2d4d4379772851a11d411901fa030ec519363ba2236e146902",
        f"{_PYAMARES} (fid.txt)",
        "BSD-3-Clause",
    ),
    "in_vivo_129xe": Measurement(
        "in_vivo_129xe/voxel.nii.gz",
        "4c744a5f63bf1a79e25b28ac4228a27e3b2b5e9e2e319f5f35ca19e4a111c5c3",
        f"{_PYAMARES} (a_voxel_Xe.txt)",
        "BSD-3-Clause",
    ),
    "in_vivo_1h_3t_press35": Measurement(
        "in_vivo_1h_3t_press35/metabolites.nii.gz",
        "0aa5c1966f612f4f8b9e87aa890cc25c9dd3a96f1f9c036e157f1df4c39875cd",
        f"{_OSPREY} (exampledata, sub-01_PRESS_35_act.sdat)",
        "MIT",
    ),
    "in_vivo_1h_3t_press35_water": Measurement(
        "in_vivo_1h_3t_press35/water_reference.nii.gz",
        "db93c5d552f23a7c17370d080a78f3412d5f9da0053a2dca0e206d2574747e97",
        f"{_OSPREY} (exampledata, sub-01_PRESS_35_ref.sdat)",
        "MIT",
    ),
    "mm_consensus_3t": Measurement(
        "mm_consensus_3t/macromolecules_3t_steam.nii.gz",
        "d7669315723a650bc181068d669b9c76f2d3c156b68ce22cb8b6aa4c06d46617",
        "https://github.com/mrshub/mm-consensus-data-collection (MM_database/3T_MM_human_STEAM_CMRR.fid)",
        "BSD-3-Clause",
    ),
}


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
