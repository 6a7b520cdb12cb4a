"""MRSI as NIfTI-MRS, in and out; whatever is wrong with a file ends here as `InputError`.

NIfTI-MRS stores the conjugate of the FID that has high ppm at positive frequency under a plain FFT; reading and writing
conjugate, so everything in this package sees that FID.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np

from precise_lib.errors import InputError, reason
from precise_lib.io import header, nifti
from precise_lib.io.atomic import staged
from precise_lib.signal import plausible
from precise_lib.signal.model import SignalModel, turned
from precise_lib.signal.mrsi import MRSI, Series
from precise_lib.signal.parts import Acquisition
from precise_lib.signal.presets import default_2h_model

REPEATS = ("DIM_COIL", "DIM_DYN", "DIM_MEAS")  # axes of a file after time, in the order of `Stored.fids`


@dataclass(frozen=True)
class Stored:
    """What a NIfTI-MRS file holds: FIDs (x, y, z, t, coil, transient, frame) complex64, acquisition, affine, header."""

    path: Path
    fids: np.ndarray
    acquisition: Acquisition
    affine: np.ndarray
    header: header.Header

    @property
    def coils(self) -> int:
        return self.fids.shape[4]

    @property
    def transients(self) -> int:
        return self.fids.shape[5]

    @property
    def named(self) -> str:
        """The repeats with their numbers: "DIM_COIL (4), DIM_MEAS (12)"."""
        return ", ".join(f"{tag} ({n})" for tag, n in zip(REPEATS, self.fids.shape[4:], strict=True) if n > 1)


def open_mrsi(path) -> Stored:
    """Read a NIfTI-MRS file; raises `InputError` as `read_series`."""
    image, stored = nifti.load(path, "MRSI (NIfTI-MRS)")
    _check_image(path, image, stored)
    affine = nifti.affine_of(image, path, "MRSI")
    frequency_mhz, nucleus, tags, dwell_time_s, text = _extension(path, image)
    try:
        facts = header.parse(text)
        acquisition = Acquisition(stored.shape[3], dwell_time_s, frequency_mhz, header.nucleus(nucleus))
        acquisition = facts.complete(acquisition)
        plausible.check_acquisition(acquisition)
    except InputError as error:
        raise InputError(f"The header of {path} cannot be used: {error}") from error
    fids = stored.astype(np.complex64, copy=False)
    # in place: a set of 10^5 voxels is half a gigabyte; a file that was mapped into memory is not written to
    fids = np.asarray(np.conjugate(fids, out=fids if fids.flags.writeable else None))
    return Stored(Path(path), _with_repeats(path, fids, tags), acquisition, affine, facts)


def _check_image(path, image, stored) -> None:
    """Raise `InputError` where an image holds no FIDs."""
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


def _extension(path, image) -> tuple:
    """Frequency in MHz, nucleus, tags of the axes after time, dwell time in s and the header extension itself."""
    from nifti_mrs.nifti_mrs import NIFTI_MRS

    try:
        mrs = NIFTI_MRS(image)
        nucleus, frequency = mrs.nucleus, [float(f) for f in mrs.spectrometer_frequency]
        tags, dwell_time_s, text = mrs.dim_tags, _dwell_time(mrs), mrs.hdr_ext.to_json()
    except Exception as error:  # the reader and its validator raise anything on a header that is not as they expect
        raise InputError(f"{path} is not valid NIfTI-MRS ({reason(error)}): convert the data again.") from error
    if len(nucleus) != 1 or len(frequency) != 1:
        raise InputError(f"{path} holds the nuclei {', '.join(map(str, nucleus))}: give data of one nucleus.")
    if not isinstance(nucleus[0], str):
        raise InputError(f"{path} is not valid NIfTI-MRS (its nucleus is {nucleus[0]}): convert the data again.")
    return frequency[0], nucleus[0], tags, dwell_time_s, text


def _with_repeats(path, fids, tags) -> np.ndarray:
    """FIDs (x, y, z, t, ...) of a file with an axis for each of `REPEATS`; `InputError` for any other axis.

    DIM_MEAS are repeats of the whole sequence, as of a dynamic MRSI, DIM_DYN transients of one.
    """
    found = [(tag, n) for tag, n in zip(tags, fids.shape[4:], strict=False) if n > 1]
    kinds = [tag for tag, _ in found]
    if len(set(kinds)) < len(kinds) or not set(kinds) <= set(REPEATS):
        named = ", ".join(f"{tag or 'untagged'} ({n})" for tag, n in found)
        what = "more than one axis of repeats" if len(found) > 1 else "an axis that is no time course"
        raise InputError(f"{path} has {what} ({named}): bring it to one FID per voxel, or to one axis of repeats.")
    fids = fids.reshape(*fids.shape[:4], *(n for _, n in found))
    fids = fids.transpose(0, 1, 2, 3, *(4 + kinds.index(tag) for tag in REPEATS if tag in kinds))
    return fids.reshape(*fids.shape[:4], *(dict(found).get(tag, 1) for tag in REPEATS))


def _dwell_time(mrs) -> float:
    """Dwell time in s. NIfTI-1 keeps float32: its shortest decimal was meant (0.0002, not 0.00019999)."""
    stored = mrs.dwelltime
    return float(str(stored)) if isinstance(stored, np.float32) else float(stored)


def assumed_model(path, acquisition: Acquisition, carrier_ppm: float | None = None) -> SignalModel:
    """`default_2h_model` with the carrier of the data, where that is known; its `InputError` names the file."""
    try:
        model = default_2h_model(acquisition)
        return model if carrier_ppm is None else replace(model, carrier_ppm=carrier_ppm)
    except InputError as error:
        raise InputError(f"{path} cannot be used without a signal model: {error}") from error


def check_model(model: SignalModel, acquisition: Acquisition, what="The data") -> None:
    """Raise `InputError` naming the `Acquisition.differences` where data were not acquired as `model` says."""
    if wrong := acquisition.differences(model.acquisition):
        raise InputError(f"{what} and the signal model differ ({'; '.join(wrong)}): give a model of this acquisition.")


def read_mrsi(path, mri=None, mask=None, model: SignalModel | None = None) -> MRSI:
    """MRSI without a time course; takes and raises what `read_series` does, and `InputError` for several frames."""
    stored = open_mrsi(path)
    if max(stored.fids.shape[4:]) > 1:
        raise InputError(f"{path} holds several frames ({stored.named}): read it as a series, or give one frame.")
    return read_series(stored, mri, mask, model)[0]


def read_series(path, mri=None, mask=None, model: SignalModel | None = None) -> Series:
    """MRSI of one or more frames from NIfTI-MRS, with an optional MRI and mask from NIfTI.

    Parameters
    ----------
    path : NIfTI-MRS file, or what `open_mrsi` made of it; a single voxel is a grid of (1, 1, 1). An axis tagged
        DIM_DYN or DIM_MEAS is the time course
    mri : NIfTI image, three dimensions, on any grid that overlaps the MRSI
    mask : NIfTI image, zero outside; on another grid than the MRSI it is brought there by its affine
    model : `SignalModel` the data were acquired under; default `default_2h_model` of the header's acquisition. FIDs
        that were received at another carrier than the model's, by the header, are turned to that

    Raises
    ------
    InputError : a file that is missing, damaged or not what it should be; coils or other axes that are no time
        course; a model, mask or MRI that does not fit the data
    """
    stored = path if isinstance(path, Stored) else open_mrsi(path)
    path, shape, affine = stored.path, stored.fids.shape[:3], stored.affine
    if stored.coils > 1:
        raise InputError(f"{path} holds single coils ({stored.named}): combine them first, as 'precise quantify' does.")
    if min(stored.fids.shape[5:]) > 1:
        raise InputError(
            f"{path} has more than one axis of repeats ({stored.named}): average the transients, as 'precise quantify "
            "--average' does."
        )
    if model is None:
        model = assumed_model(path, stored.acquisition, stored.header.carrier_ppm)
    else:
        check_model(model, stored.acquisition, str(path))
    mask_values, notes = (None, []) if mask is None else nifti.read_mask(mask, shape, affine)
    if stored.transients > 1:
        said = (
            f"Each of the transients {stored.named} was quantified as a frame of its own; where they are averages of "
            "one state and no time course, average them with --average."
        )
        notes = [said, *notes]
    mri_values, mri_affine = (None, None) if mri is None else nifti.read_volume(mri, "MRI")
    if mri is not None and not nifti.overlap(shape, affine, mask_values, mri_values.shape, mri_affine):
        raise InputError(
            f"The MRI {mri} does not overlap the MRSI {path} in space: check that both are of the same "
            "session and their affines are right."
        )
    if mri is not None and nifti.without_position(mri):
        notes = [*notes, f"The MRI {mri} says nothing of its position; its first voxel was taken for the origin."]
    mri_values = None if mri is None else mri_values.astype(np.float32)
    fids = turned(stored.fids.reshape(*stored.fids.shape[:4], -1), stored.header.carrier_ppm, model)
    return Series(fids, model, affine, mask_values, mri_values, mri_affine, tuple(notes))


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
    known = {"SpecFreqChemShift": data.model.carrier_ppm, "AcquisitionStartTime": acquisition.dead_time_s or None}
    known |= {"RepetitionTime": acquisition.repetition_time_s, "ExcitationFlipAngle": acquisition.flip_angle_deg}
    for key, value in known.items():
        if value is not None:
            mrs.add_hdr_field(key, float(value))
    with staged(path.parent) as folder:
        mrs.save(folder / path.name)


def write_phantom(folder, phantom, snr: float, seed: int = 0) -> None:
    """One measurement of a `simulate.phantoms.Phantom` with its truth: dmi, mri, mask and truth_<metabolite>."""
    with staged(folder, last="dmi.nii.gz") as work:  # no data, whose truth is that of others
        write_mrsi(work / "dmi.nii.gz", phantom.measure(snr, seed))
        nifti.write_image(work / "mri.nii.gz", phantom.mri, phantom.mri_affine, "simulated MRI")
        nifti.write_image(work / "mask.nii.gz", phantom.mask, phantom.affine, "mask")
        nifti.write_maps(work, "truth", phantom.concentrations, phantom.affine)
