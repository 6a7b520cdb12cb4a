"""Which water a concentration refers to: that of its own frame, of one frame, or of a measurement of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from precise_lib.errors import InputError
from precise_lib.estimate.fit import fit_fids
from precise_lib.evaluate.closed_form import sve_covariance
from precise_lib.io import nifti, nifti_mrs
from precise_lib.quantify import combined
from precise_lib.signal import align
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import Series
from precise_lib.signal.parts import Acquisition


@dataclass(frozen=True)
class Reference:
    """Water in the place of that of each voxel-frame.

    Either `frame` of the series itself, or `amplitude` and `variance` (x, y, z) of another measurement, NaN where it
    has none, taken under `acquisition`. `shown` is the column that holds each frame's own water, to map that too.
    """

    frame: int | None = None
    amplitude: np.ndarray | None = None
    variance: np.ndarray | None = None
    acquisition: Acquisition | None = None
    shown: int | None = None

    def inside(self, series: Series) -> np.ndarray:
        """Voxels (x, y, z) bool that have a reference."""
        return (
            series.usable[self.frame] if self.amplitude is None else np.isfinite(self.amplitude) & (self.amplitude > 0)
        )

    def _everywhere(self, series: Series, own, other) -> np.ndarray:
        """Values (N,) of each voxel-frame's reference, from those of all frames `own` (N,) or `other` (x, y, z)."""
        if self.amplitude is None:
            other = np.full(series.grid_shape, np.nan)
            other[series.usable[self.frame]] = own[series.parts[self.frame]]
        return np.concatenate([other[usable] for usable in series.usable])

    def _columns(self, model: SignalModel) -> np.ndarray:
        columns = np.arange(len(model.names))
        if self.shown is not None:
            columns[self.shown] = model.index(model.reference)
        return columns

    def amplitudes(self, series: Series, amplitudes) -> np.ndarray:
        """Amplitudes (N, M) with the reference in the column of water."""
        w, out = series.model.index(series.model.reference), amplitudes[:, self._columns(series.model)]
        out[:, w] = self._everywhere(series, amplitudes[:, w], self.amplitude)
        return out

    def covariance(self, series: Series, covariance) -> np.ndarray:
        """Covariance (N, M, M) of `amplitudes`: measurements apart share no noise, those of the frame itself do."""
        w, columns = series.model.index(series.model.reference), self._columns(series.model)
        apart = np.ones(len(covariance), bool)
        if self.amplitude is None:
            apart[series.parts[self.frame]] = False
        out = covariance[:, columns][:, :, columns]
        out[apart, w], out[apart, :, w] = 0, 0
        out[:, w, w] = self._everywhere(series, covariance[:, w, w], self.variance)
        return out


def of_file(path, series: Series, weights=None) -> Reference:
    """The water of a NIfTI-MRS file on the grid of a series, by a fit of the same lines under its own acquisition.

    Its coils are combined by the `weights` (x, y, z, c) of those of the series, so that both have one unit. Transients
    are aligned and averaged, frames averaged. `InputError` for another grid, other coils, another nucleus or field.
    """
    stored = nifti_mrs.open_mrsi(path)
    if not align.same_grid(series.grid_shape, series.affine, stored.fids.shape[:3], stored.affine):
        raise InputError(
            f"The water {path} is on another grid ({stored.fids.shape[:3]}) than the data ({series.grid_shape}): give "
            "one that was taken in the same place."
        )
    coils = 1 if weights is None else weights.shape[-1]
    if stored.coils != coils:
        raise InputError(
            f"The water {path} holds {stored.coils} coil(s) and the data {coils}, so their amplitudes have no common "
            "unit: give both with single coils, or both as the scanner combined them."
        )
    stored = stored if weights is None else combined.by_weights(stored, weights)
    a, model = stored.acquisition, series.model
    ours = model.acquisition
    if a.nucleus != ours.nucleus or abs(a.spectrometer_frequency_mhz / ours.spectrometer_frequency_mhz - 1) > 0.01:
        raise InputError(
            f"The water {path} is of {a.nucleus} at {a.spectrometer_frequency_mhz:g} MHz, the data of {ours.nucleus} "
            f"at {ours.spectrometer_frequency_mhz:g} MHz: give water of the same nucleus and field."
        )
    model = replace(model, acquisition=a)
    if stored.transients > 1:
        stored, _ = combined.averaged(stored, model)
    fids = nifti_mrs.read_series(stored, model=model).fids.mean(-1)
    where = np.isfinite(fids).all(-1) & np.abs(fids).any(-1)
    amplitude, variance = np.full(where.shape, np.nan), np.full(where.shape, np.nan)
    if where.any():
        w, fit = model.index(model.reference), fit_fids(fids[where], model)
        amplitude[where] = fit.amplitudes[:, w]
        variance[where] = sve_covariance(model, fit.amplitudes, fit.sigma, **fit.nuisance(model))[:, w, w]
    return Reference(amplitude=amplitude, variance=variance, acquisition=a)


def is_map(path) -> bool:
    """Whether a file is a map of concentrations, real numbers, and no measurement."""
    _, values = nifti.load(path, "water")
    return not np.iscomplexobj(values)


def on_grid(path, what: str, limits, meaning: str, series: Series) -> np.ndarray:
    """A map on the grid of a series, (x, y, z), NaN where it has no positive value.

    Raises `InputError` where its values lie outside `limits`, which says that they have no such `meaning`.
    """
    values, affine = nifti.read_volume(path, what)
    voxels = np.argwhere(np.ones(series.grid_shape, bool))
    mean, share = align.sampled(values.astype(float), affine, series.affine, voxels)
    found = np.where((share > 0.5) & (mean > 0), mean, np.nan).reshape(series.grid_shape)
    inside = found[series.usable.any(0) & np.isfinite(found)]
    low, high = (inside.min(), inside.max()) if len(inside) else (np.nan, np.nan)
    if not limits[0] <= low <= high <= limits[1]:
        raise InputError(f"The {what} {path} holds {low:.3g} to {high:.3g} over the voxels: give {meaning}.")
    return found
