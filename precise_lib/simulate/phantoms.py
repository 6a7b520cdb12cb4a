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
from precise_lib.simulate.fields import gradient_broadening

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

    Attributes
    ----------
    concentrations : (metabolite, x, y, z), mM, NaN outside the object
    compartments : (x, y, z) int, 0 outside, 1 to 3 the rings
    tumors : site -> (x, y, z) bool
    mri, mri_affine : (X, Y, Z) gray levels in [0, 1] and their affine (mm); `affine` is that of the DMI grid
    b0_hz, b1 : (x, y, z) frequency shift and factor on the signal that `measure` applies unless given others
    clean : (x, y, z, t) noiseless FIDs of a phantom encoded with these fields (`simulate.encoding`)
    noise : (generator, n_samples) -> (x, y, z, t) noise of SD 1 per real channel that neighbors share; None: white
    blurred : like `concentrations`, after the point spread function alone
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

        return replace(
            self,
            concentrations=maps(self.concentrations),
            blurred=maps(self.blurred),
            b0_hz=part(self.b0_hz),
            b1=part(self.b1),
            clean=part(self.clean),
            noise=None if self.noise is None else self.noise.crop(tuple(box)),
            compartments=np.where(region, self.compartments, 0)[tuple(box)],
            tumors={site: mask[tuple(box)] for site, mask in self.tumors.items()},
            affine=affine,
        )

    def measure(self, snr, seed=None, b0_hz=None, b1=None, phase_rad=0.0, broadening_hz=None) -> MRSI:
        """One noisy measurement.

        Parameters
        ----------
        snr : of water as the paper defines it, undistorted and at a sensitivity of one; inf for no noise
        seed : int or `numpy.random.Generator`
        b0_hz : (x, y, z) frequency shift; its gradient also broadens the lines unless `broadening_hz` is given
        b1 : (x, y, z) factor on the signal

        Raises
        ------
        InputError : an SNR that is not positive, or other fields than those the phantom was encoded with
        """
        if not snr > 0:
            raise InputError(f"SNR is {snr}; it must be positive (inf for no noise).")
        fids = self.noiseless(b0_hz, b1, phase_rad, broadening_hz)
        sigma, rng = snr_to_sigma(self.model, snr), np.random.default_rng(seed)
        if self.noise is None:
            noisy = add_noise(fids, sigma, rng)
        else:
            noisy = fids if sigma == 0 else fids + np.float32(sigma) * self.noise(rng, fids.shape[-1])
        return MRSI(noisy, self.model, self.affine, self.mask, self.mri, self.mri_affine)

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


def rings(
    tumor_size: int = 2,
    matrix: int = 32,
    mri_matrix: int = 160,
    field_of_view_mm: float = 160.0,
    model: SignalModel | None = None,
) -> Phantom:
    """The phantom of Fig. 3.

    Parameters
    ----------
    tumor_size : side of each tumor in DMI voxels, 1 to 6 for the default matrix
    matrix, mri_matrix : in-plane matrix of DMI and MRI; the second a multiple of the first
    model : of water, Glc, Glx and Lac; `dmi_11t7` by default

    Raises
    ------
    InputError : sizes that do not fit, or other resonances
    """
    model = dmi_11t7() if model is None else model
    if tuple(model.names) != METABOLITES:
        raise InputError(f"The ring phantom holds {', '.join(METABOLITES)}, not {', '.join(model.names)}.")
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
    return Phantom(
        to_maps(concentrations, METABOLITES, "truth"),
        compartments,
        tumors,
        mri,
        grid_affine((mri_matrix, mri_matrix, 1), field),
        grid_affine((matrix, matrix, 1), field),
        model,
    )
