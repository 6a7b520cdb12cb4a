"""The one object that every estimator takes, FIDs on a grid with their signal model and MRI; and a `Series` of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import xarray as xr

from precise_lib.errors import InputError
from precise_lib.signal.model import SignalModel

# Magnitudes of a FID's largest sample that single precision can square and sum; beyond them is zero, or not finite.
SMALLEST, LARGEST = 1e-15, 1e15


def unmask(mask: np.ndarray, values) -> np.ndarray:
    """Values (..., V) of the voxels of a mask (x, y, z) as maps (..., x, y, z), NaN outside."""
    values = np.asarray(values, float)
    out = np.full((*values.shape[:-1], *mask.shape), np.nan)
    out[..., mask] = values
    return out


def to_maps(values, names, name: str, units: str = "mM") -> xr.DataArray:
    """Values (x, y, z, M) or (x, y, z, frame, M) as a DataArray with the metabolites first."""
    values = np.moveaxis(np.asarray(values, float), -1, 0)
    dims = ("metabolite", "x", "y", "z", "frame")[: values.ndim]
    return xr.DataArray(values, dims=dims, coords={"metabolite": list(names)}, name=name, attrs={"units": units})


@dataclass(frozen=True)
class _OnGrid:
    """What `MRSI` and `Series` share."""

    fids: np.ndarray
    model: SignalModel
    affine: np.ndarray = field(default_factory=lambda: np.eye(4))
    mask: np.ndarray | None = None
    mri: np.ndarray | None = None
    mri_affine: np.ndarray | None = None

    @property
    def grid_shape(self) -> tuple[int, int, int]:
        return self.fids.shape[:3]


@dataclass(frozen=True)
class MRSI(_OnGrid):
    """FIDs (x, y, z, t) complex64 of every voxel, acquired under `model`, with optional anatomy.

    `affine` (4, 4) takes voxel indices to mm; voxels outside the `mask` (x, y, z) are not estimated; `mri` is a 3-D
    magnitude image on its own grid with its affine, both or neither. Raises `InputError` for shapes that do not fit.
    """

    def __post_init__(self):
        fids = np.asarray(self.fids)
        if fids.ndim != 4 or not np.iscomplexobj(fids):
            raise InputError(f"FIDs must be complex with axes (x, y, z, t), not {fids.dtype} {fids.shape}.")
        if fids.shape[-1] != self.model.acquisition.n_samples:
            expected = self.model.acquisition.n_samples
            raise InputError(f"The FIDs have {fids.shape[-1]} time points, the signal model {expected}.")
        object.__setattr__(self, "fids", fids.astype(np.complex64, copy=False))
        if self.mask is not None:
            mask = np.asarray(self.mask, bool)
            if mask.shape != self.grid_shape:
                raise InputError(f"The mask has shape {mask.shape}, the MRSI grid {self.grid_shape}.")
            object.__setattr__(self, "mask", mask)
        if (self.mri is None) != (self.mri_affine is None):
            raise InputError("An MRI and its affine come together; one of them is missing.")

    @property
    def usable(self) -> np.ndarray:
        """(x, y, z) bool: inside the mask, with a finite FID that is not zero throughout (`SMALLEST`, `LARGEST`)."""
        good = (self.largest >= SMALLEST) & (self.largest <= LARGEST)
        return good if self.mask is None else good & self.mask

    @cached_property
    def largest(self) -> np.ndarray:
        """Magnitude of each FID's largest sample (x, y, z), NaN or infinite where one is not finite."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.stack([np.abs(plane).max(-1) for plane in self.fids])  # by planes: no second copy of the data

    def replace(self, **changes) -> MRSI:
        """A copy with some fields exchanged."""
        return replace(self, **changes)

    def map_usable(self, estimate, name: str) -> xr.DataArray:
        """Maps (metabolite, x, y, z) in mM, NaN where not `usable`, from (V, t) complex64 -> (V, M) amplitudes."""
        amplitudes = np.full((*self.grid_shape, len(self.model.names)), np.nan)
        usable = self.usable
        if usable.any():
            amplitudes[usable] = estimate(self.fids[usable])
        return self.to_maps(self.model.concentrations(amplitudes), name)

    def to_maps(self, values, name: str, units: str | None = None) -> xr.DataArray:
        """Values (x, y, z, M) as a DataArray (metabolite, x, y, z), by default in units of the model's reference."""
        return to_maps(values, self.model.names, name, units or self.model.units)


@dataclass(frozen=True)
class Series(_OnGrid):
    """Frames of one measurement, one after another on the same grid; a set without a time course is a series of one.

    Its N "voxel-frames" are the usable voxels of the first frame in the order of the grid, then those of the second,
    and so on. Arguments and errors are those of `MRSI`, but for `fids` (x, y, z, t, f), and `notes`: what reading it
    brought up, in sentences.
    """

    notes: tuple[str, ...] = ()

    def __post_init__(self):
        if np.ndim(self.fids) != 5 or not self.fids.shape[-1]:
            raise InputError(f"A series of FIDs has axes (x, y, z, t, frame), not {np.shape(self.fids)}.")
        object.__setattr__(self, "mask", self[0].mask)

    @classmethod
    def of(cls, data: MRSI) -> Series:
        """The series of one frame."""
        return cls(data.fids[..., None], data.model, data.affine, data.mask, data.mri, data.mri_affine)

    def __len__(self) -> int:
        return self.fids.shape[-1]

    def __getitem__(self, frame: int) -> MRSI:
        return MRSI(self.fids[..., frame], self.model, self.affine, self.mask, self.mri, self.mri_affine)

    @cached_property
    def usable(self) -> np.ndarray:
        """(f, x, y, z) bool, see `MRSI.usable`."""
        return np.stack([self[i].usable for i in range(len(self))])

    @cached_property
    def parts(self) -> list[slice]:
        """Where the voxels of each frame are among the voxel-frames."""
        ends = np.cumsum(self.usable.sum((1, 2, 3)))
        return [slice(int(b - n), int(b)) for b, n in zip(ends, np.diff(ends, prepend=0), strict=True)]

    def chunks(self, size: int = 8192) -> Iterator[np.ndarray]:
        """FIDs (n, t) of the voxel-frames in order, at most `size` of one frame at a time: memory stays bounded."""
        for frame, usable in enumerate(self.usable):
            cells = np.argwhere(usable)
            for i in range(0, len(cells), size):
                yield np.ascontiguousarray(self.fids[..., frame][tuple(cells[i : i + size].T)], dtype=np.complex64)

    def sample(self, n: int = 4096) -> np.ndarray:
        """FIDs of up to about `n` voxel-frames, evenly spread."""
        places = np.argwhere(self.usable)
        f, x, y, z = places[:: -(-len(places) // n)].T
        return np.moveaxis(self.fids, 3, -1)[x, y, z, f]

    def on_grid(self, values, fill=np.nan) -> np.ndarray:
        """Values (N, ...) of the voxel-frames as (x, y, z, f, ...), `fill` elsewhere; no frame axis for one frame."""
        values = np.asarray(values)
        out = np.full((*self.usable.shape, *values.shape[1:]), fill, values.dtype)
        out[self.usable] = values
        return np.moveaxis(out, 0, 3) if len(self) > 1 else out[0]

    def to_maps(self, values, name: str, units: str | None = None) -> xr.DataArray:
        """Values (N, M) of the voxel-frames as a DataArray (metabolite, x, y, z) or (metabolite, x, y, z, frame)."""
        return to_maps(self.on_grid(np.asarray(values, float)), self.model.names, name, units or self.model.units)
