"""The ring phantom of PRECISE-DMI, Fig. 3: three rings with their own metabolite levels, and four tumor sites.

The sites lie in the middle ring and set MRI against metabolism. For an MRI reader A, seen by neither, is a true
negative; B, in the DMI alone, a false negative; C, in both, a true positive; and D, in the MRI alone, a false positive.
The paper prints no concentrations beyond water (10 mM everywhere, about ten times lactate) and no MRI levels; those
below are ours: a tumor has half the Glx and three times the Lac of its ring.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from precise_lib.errors import InputError
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import MRSI, to_maps
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.signal.presets import dmi_11t7
from precise_lib.simulate.encoding import grid_affine

METABOLITES = ("water", "Glc", "Glx", "Lac")
# mM per compartment: 0 outside, 1 to 3 the rings from outside in
RING_MM = np.array([[0, 0, 0, 0], [10, 2.0, 2.0, 1.0], [10, 3.0, 4.0, 1.0], [10, 2.5, 3.0, 1.0]], float)
TUMOR_MM = np.array([10, 2.0, 2.0, 3.0])
RING_GRAY = np.array([0.0, 0.5, 0.2, 0.7])
TUMOR_GRAY = 1.0
RADII = (0.48, 0.42, 0.16)  # outer radius of compartments 1 to 3, in fields of view
TUMOR_RADIUS = 0.29  # distance of the tumor centers from the middle, in fields of view
SITES = {"A": (-1, -1), "B": (-1, 1), "C": (1, 1), "D": (1, -1)}
IN_MRI, IN_DMI = ("C", "D"), ("B", "C")


@dataclass(frozen=True)
class Phantom:
    """Truth and anatomy.

    `concentrations` (metabolite, x, y, z) are in mM, NaN outside the object, `blurred` the same after the point spread
    function alone; `compartments` (x, y, z) int, 0 outside, 1 to 3 the rings; `tumors` masks (x, y, z) by site. `mri`
    (X, Y, Z) has gray levels in [0, 1] and its own affine (mm); `affine` is that of the DMI grid. `measure` applies a
    frequency shift `b0_hz` and a factor `b1` on the signal (x, y, z) unless given others. A phantom encoded with these
    fields (`simulate.encoding`) has noiseless FIDs `clean` (x, y, z, t), and `noise` makes of (generator, n_samples)
    noise of SD 1 per real channel (x, y, z, t) that neighbors share; None: white.
    """

    concentrations: xr.DataArray
    compartments: np.ndarray
    tumors: dict[str, np.ndarray]
    mri: np.ndarray
    mri_affine: np.ndarray
    affine: np.ndarray
    model: SignalModel
    b0_hz: np.ndarray | None = None
    b1: np.ndarray | None = None
    clean: np.ndarray | None = None
    noise: Callable | None = None
    blurred: xr.DataArray | None = None

    @property
    def mask(self) -> np.ndarray:
        return self.compartments > 0

    @property
    def amplitudes(self) -> np.ndarray:
        """(x, y, z, M), water = 1, zero outside the object."""
        water_mm = self.model.reference_concentration_mm
        return np.nan_to_num(np.moveaxis(self.concentrations.values, 0, -1)) / water_mm

    def crop(self, region) -> Phantom:
        """The bounding box of `region` (x, y, z) bool, with that alone in the mask; the MRI stays whole."""
        box = [np.flatnonzero(region.any(tuple(j for j in range(3) if j != i))) for i in range(3)]
        box = [slice(b[0], b[-1] + 1) for b in box]
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [b.start for b in box]

        def maps(values):
            return None if values is None else values.where(region).isel(dict(zip("xyz", box, strict=True)))

        def part(values):
            return None if values is None else values[tuple(box)]

        own = {name: maps(getattr(self, name)) for name in ("concentrations", "blurred")}
        own |= {name: part(getattr(self, name)) for name in ("b0_hz", "b1", "clean")}
        own["noise"] = None if self.noise is None else self.noise.crop(tuple(box))
        own["tumors"] = {site: part(mask) for site, mask in self.tumors.items()}
        return replace(self, compartments=part(np.where(region, self.compartments, 0)), affine=affine, **own)

    def measure(self, snr, seed=None, b0_hz=None, b1=None, phase_rad=0.0, broadening_hz=None) -> MRSI:
        """One noisy measurement.

        `snr` is of water as the paper defines it, undistorted and at a sensitivity of one, inf for no noise; `seed` an
        int or `numpy.random.Generator`; `b0_hz` a frequency shift (x, y, z) whose gradient also broadens the lines
        unless `broadening_hz` is given; `b1` a factor on the signal (x, y, z). Raises `InputError` for an SNR that is
        not positive, or other fields than those the phantom was encoded with.
        """
        if not snr > 0:
            raise InputError(f"SNR is {snr}; it must be positive (inf for no noise).")
        fids = self.noiseless(b0_hz, b1, phase_rad, broadening_hz)
        sigma, rng = snr_to_sigma(self.model, snr), np.random.default_rng(seed)
        if self.noise is None:
            fids = add_noise(fids, sigma, rng)
        elif sigma > 0:
            fids = fids + np.float32(sigma) * self.noise(rng, fids.shape[-1])
        return MRSI(fids, self.model, self.affine, self.mask, self.mri, self.mri_affine)

    def noiseless(self, b0_hz=None, b1=None, phase_rad=0.0, broadening_hz=None) -> np.ndarray:
        """FIDs (x, y, z, t) without noise; arguments as of `measure`."""
        if self.clean is not None:
            if any(x is not None for x in (b0_hz, b1, broadening_hz)):
                raise InputError("This phantom was encoded with its own fields; build it with others instead.")
            return self.clean * np.exp(1j * np.asarray(phase_rad, np.float32))[..., None].astype(np.complex64)
        b0_hz, b1 = (self.b0_hz if b0_hz is None else b0_hz), (self.b1 if b1 is None else b1)
        amplitudes = self.amplitudes if b1 is None else self.amplitudes * np.asarray(b1)[..., None]
        shift = 0.0 if b0_hz is None else b0_hz
        if broadening_hz is None:
            broadening_hz = 0.0 if b0_hz is None else gradient_broadening(b0_hz)
        return self.model.fids(amplitudes, shift, broadening_hz, phase_rad)


def _compartments(matrix: int) -> np.ndarray:
    position = (np.arange(matrix) + 0.5) / matrix - 0.5
    radius = np.hypot(position[:, None], position[None, :])
    return sum((radius < r).astype(int) for r in RADII)[..., None]


def _tumor_masks(matrix: int, size: int, dmi_matrix: int) -> dict[str, np.ndarray]:
    """Squares of size x size DMI voxels on the grid lines of the DMI, drawn on a finer or equal grid."""
    masks, fine = {}, matrix // dmi_matrix
    reach = TUMOR_RADIUS * dmi_matrix / np.sqrt(2)
    for site, (sx, sy) in SITES.items():
        starts = [round(dmi_matrix / 2 + s * reach - size / 2) * fine for s in (sx, sy)]
        mask = np.zeros((matrix, matrix, 1), bool)
        mask[starts[0] : starts[0] + size * fine, starts[1] : starts[1] + size * fine] = True
        masks[site] = mask
    return masks


def own_model(model: SignalModel, what: str) -> SignalModel:
    """The model, where it is of the metabolites of the phantoms; else `InputError`."""
    if tuple(model.names) != METABOLITES:
        raise InputError(f"The {what} holds {', '.join(METABOLITES)}, not {', '.join(model.names)}.")
    return model


def rings(tumor_size=2, matrix=32, mri_matrix=160, field_of_view_mm=160.0, model=None) -> Phantom:
    """The phantom of Fig. 3, of water, Glc, Glx and Lac.

    `tumor_size` is the side of each tumor in DMI voxels, 1 to 6 for the default matrix; the in-plane matrix of the MRI
    is a multiple of that of the DMI; the model is `dmi_11t7` by default. Raises `InputError` for sizes that do not fit,
    or other resonances.
    """
    model = own_model(dmi_11t7() if model is None else model, "ring phantom")
    if mri_matrix % matrix:
        raise InputError(f"The MRI matrix ({mri_matrix}) must be a multiple of the DMI matrix ({matrix}).")
    if not 1 <= tumor_size <= 6 * matrix / 32:
        raise InputError(f"A tumor of {tumor_size} voxels does not fit the middle ring (1 to {6 * matrix // 32}).")
    compartments = _compartments(matrix)
    concentrations = RING_MM[compartments]
    tumors = _tumor_masks(matrix, tumor_size, matrix)
    for site in IN_DMI:
        concentrations[tumors[site]] = TUMOR_MM
    concentrations[compartments == 0] = np.nan
    mri = RING_GRAY[_compartments(mri_matrix)]
    fine = _tumor_masks(mri_matrix, tumor_size, matrix)
    for site in IN_MRI:
        mri[fine[site]] = TUMOR_GRAY
    field = (field_of_view_mm, field_of_view_mm, field_of_view_mm / matrix)
    affines = [grid_affine((n, n, 1), field) for n in (mri_matrix, matrix)]
    return Phantom(to_maps(concentrations, METABOLITES, "truth"), compartments, tumors, mri, *affines, model)


def b0_map(shape=(32, 32, 1), peak_hz: float = 15.0, center=(0.72, 0.66), width: float = 0.22) -> np.ndarray:
    """A smooth in-plane B0 map (x, y, z), about -5 to `peak_hz` Hz as in shimmed brains at 2H frequencies: a gentle
    slope, and one strong distortion whose `center` and `width` are fractions of the grid.
    """
    axes = [(np.arange(n) + 0.5) / n for n in shape[:2]]
    x, y = np.meshgrid(*axes, indexing="ij")
    bump = np.exp(-((x - center[0]) ** 2 + (y - center[1]) ** 2) / (2 * width**2))
    plane = peak_hz * bump + 0.3 * peak_hz * (0.5 - x)
    return np.repeat(plane[..., None], shape[2], axis=2)


def gradient_broadening(b0_hz: np.ndarray) -> np.ndarray:
    """Extra linewidth (Hz) from the spread of B0 over a voxel: the norm of its differences along x, y, z."""
    gradients = [np.gradient(b0_hz, axis=i) for i in range(b0_hz.ndim) if b0_hz.shape[i] > 1]
    return np.sqrt(sum(g**2 for g in gradients)) if gradients else np.zeros_like(b0_hz)


def b1_map(shape=(32, 32, 1), depth: float = 0.9) -> np.ndarray:
    """Sensitivity (x, y, z), 1 at the surface y = 0, falling exponentially with `depth` in units of the grid."""
    y = (np.arange(shape[1]) + 0.5) / shape[1]
    return np.broadcast_to(np.exp(-y / depth)[None, :, None], shape).copy()
