"""The one object that every estimator takes: FIDs on a grid, their signal model, and what the MRI adds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import xarray as xr

from precise_lib.errors import InputError
from precise_lib.simulate.signal import SignalModel


@dataclass(frozen=True)
class MRSI:
    """FIDs of every voxel, with optional anatomy.

    Parameters
    ----------
    fids : (x, y, z, t) complex64
    model : the `SignalModel` the FIDs were acquired under
    affine : (4, 4), voxel indices of `fids` to mm
    mask : (x, y, z) bool or None; voxels outside are not estimated
    mri, mri_affine : 3-D magnitude image on its own grid, and its affine; both or neither

    Raises
    ------
    InputError : shapes that do not fit together
    """

    fids: np.ndarray
    model: SignalModel
    affine: np.ndarray = field(default_factory=lambda: np.eye(4))
    mask: np.ndarray | None = None
    mri: np.ndarray | None = None
    mri_affine: np.ndarray | None = None

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
    def grid_shape(self) -> tuple[int, int, int]:
        return self.fids.shape[:3]

    @property
    def usable(self) -> np.ndarray:
        """(x, y, z) bool: inside the mask, with a finite FID that is not zero throughout."""
        good = np.isfinite(self.fids).all(-1) & (self.fids != 0).any(-1)
        return good if self.mask is None else good & self.mask

    def replace(self, **changes) -> MRSI:
        """A copy with some fields exchanged."""
        return replace(self, **changes)

    def map_usable(self, estimate, name: str) -> xr.DataArray:
        """Maps from a per-voxel estimator.

        Parameters
        ----------
        estimate : callable, (V, t) complex64 -> (V, M) amplitudes
        name : name of the result

        Returns
        -------
        DataArray (metabolite, x, y, z) in mM, NaN where `usable` is False.
        """
        amplitudes = np.full((*self.grid_shape, len(self.model.names)), np.nan)
        usable = self.usable
        if usable.any():
            amplitudes[usable] = estimate(self.fids[usable])
        return self.to_maps(self.model.concentrations(amplitudes), name)

    def to_maps(self, values, name: str, units: str = "mM") -> xr.DataArray:
        """Values (x, y, z, M) as a DataArray (metabolite, x, y, z)."""
        return xr.DataArray(
            np.moveaxis(np.asarray(values, float), -1, 0),
            dims=("metabolite", "x", "y", "z"),
            coords={"metabolite": self.model.names},
            name=name,
            attrs={"units": units},
        )
