"""NIfTI images on disk: MRI and mask that come with an MRSI, each on a grid of its own, and maps."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import xarray as xr
from nibabel.arrayproxy import ArrayProxy
from nibabel.openers import ImageOpener

from precise_lib.errors import InputError
from precise_lib.io.atomic import staged
from precise_lib.signal import align

SMALLEST_VOXEL_MM, LARGEST_VOXEL_MM = 1e-4, 1e5  # sides; the standard stores 10 m for data without a position
FARTHEST_MM = 1e7
LONGEST_NIFTI1_AXIS = 32_767
ROUNDING = 1e-3  # of a whole number that went through an interpolation


def load(path, what: str):
    """A nibabel image and its data; `what` names the file in messages."""
    path = Path(path)
    if os.path.isdir(path):  # of os, which says False of a name that is too long
        raise InputError(f"{path} is a folder: give the file of the {what}.")
    if not os.path.isfile(path):
        raise InputError(f"There is no file {path}: check the name of the {what}.")
    try:
        image, size = nib.load(path), _size(path)
        proxy = getattr(image, "dataobj", None)
        if isinstance(proxy, ArrayProxy):
            if proxy.file_like != str(path):  # header and numbers in a file each
                size = _size(proxy.file_like)
            # before memory is set aside: a damaged header may claim any number of voxels
            claimed = proxy.offset + math.prod(proxy.shape) * proxy.dtype.itemsize
            if claimed > size:
                raise ValueError(f"its header speaks of {claimed} bytes and it holds {size}")
            if not math.prod(proxy.shape):
                raise ValueError(f"it holds no voxel: its shape is {proxy.shape}")
            return image, np.asanyarray(proxy)
    except Exception as error:  # nibabel and the parsers behind it raise anything on a damaged file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{path} is not readable as the {what}; it may be cut off, damaged or not NIfTI ({reason})."
        ) from error
    raise InputError(f"{path} is no image: give the {what} as NIfTI.")


def _size(path) -> int:
    """Bytes of a file, unpacked. A packed one is read to its checksum, so that no damage passes for data."""
    if Path(path).suffix.lower() not in ImageOpener.compress_ext_map:
        return os.path.getsize(path)
    size = 0
    with ImageOpener(path) as stream:
        while chunk := stream.read(1 << 20):
            size += len(chunk)
    return size


def affine_of(image, path, what: str) -> np.ndarray:
    """Affine (4, 4) of an image; raises `InputError` where it cannot place voxels."""
    affine = np.array(image.affine, float)
    largest = np.abs(affine).max()
    sides = np.linalg.svd(affine[:3, :3], compute_uv=False) if largest <= FARTHEST_MM else np.zeros(1)
    if not np.isfinite(largest) or (largest <= FARTHEST_MM and sides.min() <= 1e-9 * sides.max()):
        raise InputError(
            f"The affine of the {what} {path} is not invertible, so it has no position in space: convert it again."
        )
    if largest > FARTHEST_MM or sides.min() < SMALLEST_VOXEL_MM or sides.max() > LARGEST_VOXEL_MM:
        raise InputError(
            f"The affine of the {what} {path} holds lengths up to {largest:.3g} mm and voxels down to "
            f"{sides.min():.3g} mm: convert it again."
        )
    return affine


def read_volume(path, what: str) -> tuple[np.ndarray, np.ndarray]:
    """A real 3-D image and its affine; trailing axes of length one are dropped."""
    image, values = load(path, what)
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 3 or not (np.issubdtype(values.dtype, np.number) and np.isrealobj(values)):
        raise InputError(f"The {what} {path} is {values.dtype} {values.shape}: one real 3-D image is needed.")
    return values, affine_of(image, path, what)


def without_position(path) -> bool:
    """Whether an image says nothing of where it lies: both codes zero, or an affine of ones."""
    image = nib.load(path)
    codes = [int(image.header[name]) for name in ("qform_code", "sform_code") if name in image.header]
    return (len(codes) == 2 and not any(codes)) or np.array_equal(image.affine, np.eye(4))


def read_mask(path, shape, affine) -> tuple[np.ndarray, list[str]]:
    """Mask on the grid of the MRSI (`shape`, `affine`), and a note where it had to be brought there.

    Raises `InputError` where no voxel of the MRSI is left.
    """
    values, mask_affine = read_volume(path, "mask")
    mask, notes = inside(values)
    if not mask.any():
        raise InputError(f"The mask {path} is empty: no voxel is left to quantify.")
    if align.same_grid(shape, affine, mask.shape, mask_affine):
        return mask, notes
    moved = align.mask_on_grid(mask, mask_affine, shape, affine)
    if moved is None:
        raise InputError(f"The mask {path} does not overlap the MRSI in space: check that their affines are right.")
    if not moved.any():
        raise InputError(f"The mask {path} holds no voxel of the MRSI by half or more: give a larger one.")
    note = (
        f"The mask {mask.shape} is on another grid than the MRSI {tuple(shape)}; through both affines it holds "
        f"{int(moved.sum())} voxels by half or more."
    )
    return moved, [*notes, note]


def inside(values) -> tuple[np.ndarray, list[str]]:
    """Which voxels a mask holds, and a note where its values are not one number and zero.

    Whole numbers are labels: those above zero are inside. Others, such as probabilities or what is left of an
    interpolation, are inside from half the largest value.
    """
    values = np.nan_to_num(np.asarray(values, float), posinf=0.0, neginf=0.0)
    labels = np.abs(values - np.round(values)).max(initial=0) < ROUNDING
    threshold = 0.5 if labels else 0.5 * values.max()
    mask = values >= max(threshold, np.finfo(float).tiny)
    found = np.unique(values)
    if found[0] >= 0 and (found > 0).sum() <= 1:
        return mask, []
    kind = "labels" if labels else "values"
    span, count = f"{kind} from {found[0]:.3g} to {found[-1]:.3g}", int(mask.sum())
    return mask, [f"The mask holds {span}: its {count} voxels from {threshold:.3g} on count as inside."]


def overlap(shape, affine, mask, mri_shape, mri_affine) -> bool:
    """Whether a voxel center of the MRSI lies in the MRI, or the center of the MRI in the MRSI."""

    def inside(points, size):
        return ((points >= -0.5) & (points <= np.array(size)[:, None] - 0.5)).all(0)

    voxels = np.argwhere(np.ones(shape, bool) if mask is None else mask).T
    to_mri = np.linalg.inv(mri_affine) @ affine
    if inside(to_mri[:3, :3] @ voxels + to_mri[:3, 3:], mri_shape).any():
        return True
    middle = np.r_[(np.array(mri_shape) - 1) / 2, 1.0]
    return bool(inside((np.linalg.inv(to_mri) @ middle)[:3, None], shape).all())


def check_suffix(path: Path) -> None:
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError(f"{path} is no name for a NIfTI file: it must end in .nii.gz or .nii.")


def write_image(path, values, affine, description: str = "") -> None:
    """Write a 3-D or 4-D array as NIfTI: float32, or uint8 for booleans; `description` is cut at 79 characters."""
    path = Path(path)
    check_suffix(path)
    values = np.asarray(values)
    kind = nib.Nifti2Image if max(values.shape) > LONGEST_NIFTI1_AXIS else nib.Nifti1Image
    image = kind(values.astype(np.uint8 if values.dtype == bool else np.float32), affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = description.encode("ascii", "replace")[:79]
    with staged(path.parent) as folder:
        nib.save(image, folder / path.name)


def map_file(prefix: str, metabolite: str) -> str:
    """File name of one map: ``conc_Glc.nii.gz``; characters that file systems dislike become ``_``."""
    return f"{prefix}_{re.sub(r'[^A-Za-z0-9.+-]', '_', metabolite)}.nii.gz"


def description_of(image) -> str:
    """What the header says an image is; empty where it says nothing."""
    return bytes(image.header["descrip"]).rstrip(b"\0").decode("ascii", "replace") if "descrip" in image.header else ""


def write_maps(folder, prefix: str, maps: xr.DataArray, affine) -> list[Path]:
    """Write maps (metabolite, x, y, z[, frame]) as one float32 NIfTI each, all or none; the paths.

    The header's description says what the map is and its units.
    """
    folder, units = Path(folder), maps.attrs.get("units", "")
    names = [map_file(prefix, str(m)) for m in maps["metabolite"].values]
    if len({n.lower() for n in names}) < len(names):
        raise InputError(f"The metabolite names give equal file names: {', '.join(names)}.")
    with staged(folder) as work:
        for metabolite, name in zip(maps["metabolite"].values, names, strict=True):
            values = maps.sel(metabolite=metabolite).transpose("x", "y", "z", "frame", missing_dims="ignore").values
            write_image(work / name, values, affine, f"{metabolite} {prefix} [{units}]")
    return [folder / name for name in names]


def read_map(path) -> tuple[np.ndarray, np.ndarray, str]:
    """One map: values (x, y, z[, frame]) float32, affine (4, 4), and the units from the header's description."""
    image, values = load(path, "map")
    units = re.search(r"\[(.*)\]$", description_of(image))
    return values, np.array(image.affine, float), units.group(1) if units else ""
