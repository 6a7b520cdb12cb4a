"""MRSI as NIfTI-MRS, in and out; whatever is wrong with a file ends here as `InputError`.

NIfTI-MRS stores the conjugate of the FID that has high ppm at positive frequency under a plain FFT; reading and writing
conjugate, so everything in this package sees that FID.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from precise_lib.errors import InputError, reason
from precise_lib.io import nifti
from precise_lib.io.atomic import staged
from precise_lib.signal import plausible
from precise_lib.signal.model import Acquisition, SignalModel
from precise_lib.signal.mrsi import MRSI, Series
from precise_lib.signal.presets import default_2h_model


@dataclass(frozen=True)
class Stored:
    """What a NIfTI-MRS file holds: FIDs (x, y, z, t, f) complex64, acquisition, affine; tag and length of f, if any."""

    path: Path
    fids: np.ndarray
    acquisition: Acquisition
    affine: np.ndarray
    frames: str | None


def open_mrsi(path) -> Stored:
    """Read a NIfTI-MRS file; raises `InputError` as `read_series`."""
    from nifti_mrs.nifti_mrs import NIFTI_MRS

    image, stored = nifti.load(path, "MRSI (NIfTI-MRS)")
    if not isinstance(image, nib.Nifti1Pair):
        raise InputError(f"{path} is no NIfTI file: convert it to NIfTI-MRS, for example with spec2nii.")
    if 44 not in image.header.extensions.get_codes():
        raise InputError(
            f"{path} has no NIfTI-MRS header extension, so nucleus and frequency are unknown: convert the "
            "data from the scanner to NIfTI-MRS, for example with spec2nii."
        )
    if not np.iscomplexobj(stored):
        raise InputError(f"{path} holds {stored.dtype} numbers: FIDs are complex; convert the data again.")
    if stored.ndim < 4 or stored.shape[3] < 2:
        points = stored.shape[3] if stored.ndim > 3 else 1
        raise InputError(f"{path} holds {points} time point per voxel: FIDs need a fourth axis of at least two.")
    if stored.size == 0:
        raise InputError(f"{path} holds no voxel: its shape is {stored.shape}.")
    affine = nifti.affine_of(image, path, "MRSI")
    try:
        mrs = NIFTI_MRS(image)
        nucleus, frequency = mrs.nucleus, [float(f) for f in mrs.spectrometer_frequency]
        tags, dwell_time_s = mrs.dim_tags, _dwell_time(mrs)
    except Exception as error:  # the reader and its validator raise anything on a header that is not as they expect
        raise InputError(f"{path} is not valid NIfTI-MRS ({reason(error)}): convert the data again.") from error
    if len(nucleus) != 1 or len(frequency) != 1:
        raise InputError(f"{path} holds the nuclei {', '.join(map(str, nucleus))}: give data of one nucleus.")
    if not isinstance(nucleus[0], str):
        raise InputError(f"{path} is not valid NIfTI-MRS (its nucleus is {nucleus[0]}): convert the data again.")
    frames = _frame_axis(path, tags, stored.shape[4:])
    try:
        acquisition = Acquisition(stored.shape[3], dwell_time_s, frequency[0], nucleus[0])
        plausible.check_acquisition(acquisition)
    except InputError as error:
        raise InputError(f"The header of {path} cannot be used: {error}") from error
    fids = stored.reshape(*stored.shape[:4], -1).astype(np.complex64, copy=False)
    # in place: a set of 10^5 voxels is half a gigabyte; a file that was mapped into memory is not written to
    fids = np.conjugate(fids, out=fids if fids.flags.writeable else None)
    return Stored(Path(path), np.asarray(fids), acquisition, affine, frames)


def _frame_axis(path, tags, lengths) -> str | None:
    """Tag and length of the axis of repeats, "DIM_MEAS (12)"; None where there is none.

    DIM_MEAS are repeats of the whole sequence, as of a dynamic MRSI, DIM_DYN transients: both are quantified frame by
    frame. All other axes hold parts of one measurement that no estimator here could combine.
    """
    found = [(tag, n) for tag, n in zip(tags, lengths, strict=False) if n > 1]
    if not found:
        return None
    named = ", ".join(f"{tag or 'untagged'} ({n})" for tag, n in found)
    if len(found) == 1 and found[0][0] in ("DIM_DYN", "DIM_MEAS"):
        return named
    if "DIM_COIL" in dict(found):
        raise InputError(f"{path} holds single coils ({named}): combine them first, with a tool for NIfTI-MRS.")
    what = "more than one axis of repeats" if len(found) > 1 else "an axis that is no time course"
    raise InputError(f"{path} has {what} ({named}): bring it to one FID per voxel, or to one axis of repeats, first.")


def _dwell_time(mrs) -> float:
    """Dwell time in s. NIfTI-1 keeps float32: its shortest decimal was meant (0.0002, not 0.00019999)."""
    stored = mrs.dwelltime
    return float(str(stored)) if isinstance(stored, np.float32) else float(stored)


def assumed_model(path, acquisition: Acquisition) -> SignalModel:
    """`default_2h_model`; its `InputError` names the file."""
    try:
        return default_2h_model(acquisition)
    except InputError as error:
        raise InputError(f"{path} cannot be used without a signal model: {error}") from error


def check_model(model: SignalModel, acquisition: Acquisition, what="The data") -> None:
    """Raise `InputError` naming the difference where data were not acquired as `model` says.

    The number of samples and the nucleus must be equal, the dwell time within 1e-4, the frequency within 1 %,
    the dead time within 5 us.
    """
    compared = {
        "nucleus": ("nucleus", None),
        "number of samples": ("n_samples", None),
        "dwell time in s": ("dwell_time_s", 1e-4),
        "frequency in MHz": ("spectrometer_frequency_mhz", 0.01),
    }
    wrong = []
    for name, (field, tolerance) in compared.items():
        theirs, ours = getattr(acquisition, field), getattr(model.acquisition, field)
        if not (theirs == ours or (tolerance and abs(theirs / ours - 1) <= tolerance)):
            wrong.append(f"{name} {theirs} against {ours}")
    theirs, ours = acquisition.dead_time_s, model.acquisition.dead_time_s
    if abs(theirs - ours) > 5e-6:
        wrong.append(f"dead time in s {theirs:g} against {ours:g}")
    if wrong:
        raise InputError(f"{what} and the signal model differ ({'; '.join(wrong)}): give a model of this acquisition.")


def read_mrsi(path, mri=None, mask=None, model: SignalModel | None = None) -> MRSI:
    """MRSI without a time course; takes and raises what `read_series` does, and `InputError` for several frames."""
    stored = open_mrsi(path)
    if stored.frames:
        raise InputError(f"{path} holds several frames ({stored.frames}): read it as a series, or give one frame.")
    return read_series(stored, mri, mask, model)[0]


def read_series(path, mri=None, mask=None, model: SignalModel | None = None) -> Series:
    """MRSI of one or more frames from NIfTI-MRS, with an optional MRI and mask from NIfTI.

    Parameters
    ----------
    path : NIfTI-MRS file, or what `open_mrsi` made of it; a single voxel is a grid of (1, 1, 1). A fifth axis tagged
        DIM_DYN or DIM_MEAS is the time course
    mri : NIfTI image, three dimensions, on any grid that overlaps the MRSI
    mask : NIfTI image, zero outside; on another grid than the MRSI it is brought there by its affine
    model : `SignalModel` the data were acquired under; default `default_2h_model` of the header's acquisition

    Raises
    ------
    InputError : a file that is missing, damaged or not what it should be; coils or other axes that are no time
        course; a model, mask or MRI that does not fit the data
    """
    stored = path if isinstance(path, Stored) else open_mrsi(path)
    path, shape, affine = stored.path, stored.fids.shape[:3], stored.affine
    if model is None:
        model = assumed_model(path, stored.acquisition)
    else:
        check_model(model, stored.acquisition, str(path))
    mask_values, notes = (None, []) if mask is None else nifti.read_mask(mask, shape, affine)
    if stored.frames and stored.frames.startswith("DIM_DYN"):
        said = (
            f"Each of the transients {stored.frames} was quantified as a frame of its own; where they are averages of "
            "one state and no time course, average them first."
        )
        notes = [said, *notes]
    mri_values, mri_affine = (None, None) if mri is None else nifti.read_volume(mri, "MRI")
    if mri is not None and not nifti.overlap(shape, affine, mask_values, mri_values.shape, mri_affine):
        raise InputError(
            f"The MRI {mri} does not overlap the MRSI {path} in space: check that both are of the same "
            "session and their affines are right."
        )
    mri_values = None if mri is None else mri_values.astype(np.float32)
    return Series(stored.fids, model, affine, mask_values, mri_values, mri_affine, tuple(notes))


def zero_filled(fids) -> int:
    """How many time points at the end of FIDs (..., t) hold no measurement: a sudden fall by more than 1e4.

    `fids` may be an iterable of such arrays.
    """
    chunks = [fids] if isinstance(fids, np.ndarray) else fids
    level = np.max([np.abs(np.nan_to_num(c.reshape(-1, c.shape[-1]))).max(0) for c in chunks], axis=0)
    n = len(level)
    # the largest of what follows each point, against the median of the ten points before it
    tail = np.maximum.accumulate(level[::-1])[::-1]
    for i in range(10, n):
        if tail[i] < 1e-4 * np.median(level[i - 10 : i]):
            return n - i
    return 0


def write_mrsi(path, data: MRSI | Series) -> None:
    """Write FIDs and acquisition, not MRI and mask, as NIfTI-MRS (complex64, NIfTI-2); frames as DIM_MEAS."""
    from nifti_mrs.create_nmrs import gen_nifti_mrs

    path = Path(path)
    nifti.check_suffix(path)
    acquisition = data.model.acquisition
    mrs = gen_nifti_mrs(
        np.asarray(data.fids),
        acquisition.dwell_time_s,
        acquisition.spectrometer_frequency_mhz,
        nucleus=acquisition.nucleus,
        affine=np.asarray(data.affine, float),
        dim_tags=["DIM_MEAS", None, None] if isinstance(data, Series) else [None, None, None],
    )
    with staged(path.parent) as folder:
        mrs.save(folder / path.name)


def write_phantom(folder, phantom, snr: float, seed: int = 0) -> None:
    """One measurement of a `simulate.phantoms.Phantom` with its truth: dmi, mri, mask and truth_<metabolite>."""
    with staged(folder) as work:
        write_mrsi(work / "dmi.nii.gz", phantom.measure(snr, seed))
        nifti.write_image(work / "mri.nii.gz", phantom.mri, phantom.mri_affine, "simulated MRI")
        nifti.write_image(work / "mask.nii.gz", phantom.mask, phantom.affine, "mask")
        nifti.write_maps(work, "truth", phantom.concentrations, phantom.affine)
