"""Public measurements that this project did not make: where they come from and how to get them, verified.

A file is taken from the folder named by the environment variable ``PRECISE_DATA`` (``<folder>/<file>``), or
downloaded from its origin into the user's cache. There is no third way: what cannot be had raises
`InputError`, and simulated data never stand in.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from precise_lib.errors import InputError, MissingMeasurement
from precise_lib.io.atomic import staged


@dataclass(frozen=True)
class Measurement:
    """One file of the registry: path below ``PRECISE_DATA``, SHA-256 of that file, origin, license.

    `url` is the address of the raw measurement where it can be converted here, else None.
    """

    file: str
    sha256: str
    origin: str
    license: str
    url: str | None = None


MEASUREMENTS = {
    "in_vivo_2h_3t_voxel": Measurement(
        "in_vivo_2h_3t_voxel/in_vivo_2h_3t_voxel.nii.gz",
        "9876e96a231ae0dc12726fc5a62c4fcad958154b03ec8781d6791a5c98fd7eff",
        "https://github.com/HawkMRS/pyAMARES (docs/source/notebooks/attachment/a_voxel_2HMRSI.txt)",
        "BSD-3-Clause",
        "https://raw.githubusercontent.com/HawkMRS/pyAMARES/689f69ea2547590ddf52f46a67f932525330de4f/"
        "docs/source/notebooks/attachment/a_voxel_2HMRSI.txt",
    ),
    "in_vivo_1h_3t_press35": Measurement(
        "in_vivo_1h_3t_press35/metabolites.nii.gz",
        "0aa5c1966f612f4f8b9e87aa890cc25c9dd3a96f1f9c036e157f1df4c39875cd",
        "https://github.com/schorschinho/osprey (exampledata, sub-01_PRESS_35_act.sdat)",
        "MIT",
    ),
    "in_vivo_1h_3t_press35_water": Measurement(
        "in_vivo_1h_3t_press35/water_reference.nii.gz",
        "db93c5d552f23a7c17370d080a78f3412d5f9da0053a2dca0e206d2574747e97",
        "https://github.com/schorschinho/osprey (exampledata, sub-01_PRESS_35_ref.sdat)",
        "MIT",
    ),
    "mm_consensus_3t": Measurement(
        "mm_consensus_3t/macromolecules_3t_steam.nii.gz",
        "d7669315723a650bc181068d669b9c76f2d3c156b68ce22cb8b6aa4c06d46617",
        "https://github.com/mrshub/mm-consensus-data-collection (MM_database/3T_MM_human_STEAM_CMRR.fid)",
        "BSD-3-Clause",
    ),
}

# What the text of the 2H voxel does not say of itself; its numbers, as complex64, have this SHA-256.
_VOXEL = {"spec_freq": 19.613053, "dwelltime": 1 / 5000, "nucleus": "2H"}
_VOXEL_SAMPLES_SHA256 = "5707e6a4feb8ad7d90db6176e47667879c70ff63924a1e5466ce667b5175a78c"


def fetch(name: str) -> Path:
    """Path of a measurement as NIfTI-MRS, verified by its SHA-256.

    Parameters
    ----------
    name : a key of `MEASUREMENTS`

    Raises
    ------
    MissingMeasurement : neither on this computer nor downloadable
    InputError : unknown name, not in the folder that PRECISE_DATA names, or not the published one
    """
    if name not in MEASUREMENTS:
        raise InputError(f"There is no measurement '{name}'; known are {', '.join(MEASUREMENTS)}.")
    entry = MEASUREMENTS[name]
    folder = os.environ.get("PRECISE_DATA")
    if folder:
        return _from_folder(name, entry, Path(folder))
    if entry.url is None:
        raise MissingMeasurement(
            f"The measurement '{name}' is not on this computer and has to be converted from {entry.origin}: "
            f"set the environment variable PRECISE_DATA to a folder that holds it as {entry.file}."
        )
    return _download_voxel(name, entry)


def _from_folder(name: str, entry: Measurement, folder: Path) -> Path:
    path = folder / entry.file
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(
            f"The measurement '{name}' is not at {path}: set PRECISE_DATA to the folder that holds "
            f"{entry.file}, or unset it; the origin is {entry.origin}."
        ) from error
    if digest != entry.sha256:
        raise InputError(
            f"{path} is not the published measurement (SHA-256 {digest[:12]}, expected {entry.sha256[:12]}): "
            f"get it again; the origin is {entry.origin}."
        )
    return path


def _download_voxel(name: str, entry: Measurement) -> Path:
    """The 2H voxel: two columns of text (real, imaginary), written as NIfTI-MRS into the cache.

    The text holds the FID with high ppm at positive frequency under a plain FFT, as `nifti_mrs` takes it.
    """
    import pooch
    from nifti_mrs.create_nmrs import gen_nifti_mrs

    cache = Path(pooch.os_cache("precise_lib"))
    try:
        text = pooch.retrieve(entry.url, known_hash=None, fname=f"{name}.txt", path=cache)
        columns = np.loadtxt(text)
    except (OSError, ValueError) as error:
        raise MissingMeasurement(
            f"The measurement '{name}' is not on this computer and could not be downloaded from {entry.url} "
            f"({type(error).__name__}): go online, or set the environment variable PRECISE_DATA to a folder "
            f"that holds it as {entry.file}."
        ) from error
    fid = np.ascontiguousarray(columns, float).view(complex).ravel().astype("<c8")
    if hashlib.sha256(fid.tobytes()).hexdigest() != _VOXEL_SAMPLES_SHA256:
        Path(text).unlink()
        raise InputError(f"What {entry.url} delivered is not the published measurement; try again later.")
    with staged(cache) as work:
        gen_nifti_mrs(fid[None, None, None], **_VOXEL).save(work / f"{name}.nii.gz")
    return cache / f"{name}.nii.gz"
