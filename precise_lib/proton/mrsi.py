"""Proton MRSI at 3 T: a signal model with lipids, baseline and lineshape, and a head whose fat leaks into the brain.

Model: semi-LASER at TE 35 ms. NAA, creatine, choline, myo-inositol and Glx (glutamate and glutamine 3 : 1) are
simulated with their couplings by `spins`; transitions closer than 2 Hz, a third of the line width, are merged.
Amplitudes are in units of creatine's, whose CH3 line has weight one: SNR is the height of that line. The macromolecules
of `brain` make the baseline; amplitude one is their normal amount beside 8 mM of creatine. A lipid line of amplitude
one is as large as creatine's CH3. Weaker metabolites are left out, of the truth as well.

Head: a slice of MNI152 anatomy. Brain, tumor and MRI are in 2 mm; skull and scalp, which MNI152 lacks, are drawn around
the brain at a constant distance. Only the scalp's lipids go through the point spread function of the encoded k-space
(`encoding`): they reach the brain with both signs, and fall from the rim inwards. Their largest amplitude in the brain
is set, since it depends on the suppression. Creatine is 8 mM everywhere, so concentrations are ratios to creatine.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import xarray as xr
from scipy.ndimage import distance_transform_edt

from precise_lib.errors import InputError
from precise_lib.proton import spins
from precise_lib.proton.brain import MM_LINES, MM_MM
from precise_lib.signal.model import SignalModel
from precise_lib.signal.parts import Acquisition, Resonance
from precise_lib.simulate.anatomy import average, positions, templates
from precise_lib.simulate.encoding import EncodedNoise, Encoding, grid_affine
from precise_lib.simulate.human import TEMPLATE_SCALE
from precise_lib.simulate.phantoms import Phantom

CREATINE_MM = 8.0
T2STAR_S = 0.06  # 5.3 Hz
TE_S = 0.035
MERGE_HZ = 2.0
WEAKEST = 0.01  # of the strongest line of a metabolite
PARTS = {"NAA": {"NAA": 1.0}, "tCr": {"tCr": 1.0}, "tCho": {"tCho": 1.0}, "mI": {"mI": 1.0}}
PARTS |= {"Glx": {"Glu": 0.75, "Gln": 0.25}}
MAIN_PPM = {"NAA": 2.01, "tCr": 3.03, "tCho": 3.21, "mI": 3.56, "Glx": 2.35}
# CH3, CH2 and allylic CH2 of scalp fat: ppm, Gaussian width in Hz; ours
LIPIDS = {"Lip09": (0.9, 18.0), "Lip13": (1.3, 22.0), "Lip20": (2.05, 25.0)}


def merged_lines(parts: dict[str, float], acquisition: Acquisition) -> list:
    """Lines of a mixture of metabolites as `Resonance.lines`, in units of three protons per molecule."""
    systems, mhz = spins.load_systems(), acquisition.spectrometer_frequency_mhz
    found = [
        (hz, share * weight / 3)
        for name, share in parts.items()
        for moiety in systems[name]
        for hz, weight in [spins.transitions(moiety, mhz, TE_S, carrier_ppm=0.0)]
    ]
    hz, weight = (np.concatenate(values) for values in zip(*found, strict=True))
    order = np.argsort(hz)
    hz, weight = hz[order], weight[order]
    lines, start = [], 0
    while start < len(hz):
        here = slice(start, np.searchsorted(hz, hz[start] + MERGE_HZ))
        lines.append((np.average(hz[here], weights=np.abs(weight[here])) / mhz, weight[here].sum()))
        start = here.stop
    least = WEAKEST * max(abs(w) for _, w in lines)
    return [(round(p, 4), round(w.real, 4), round(w.imag, 4), 0.0) for p, w in lines if abs(w) >= least]


@lru_cache
def mrsi_3t(terms: bool = True) -> SignalModel:
    """The signal model; without `terms`, metabolites under Lorentzian lines and nothing else."""
    acquisition = Acquisition(384, 1 / 1250, 123.25, "1H")  # what echo-planar MRSI samples
    resonances = [
        Resonance(name, MAIN_PPM[name], T2STAR_S, lines=merged_lines(parts, acquisition))
        for name, parts in PARTS.items()
    ]
    if terms:
        scale = MM_MM / (3 * CREATINE_MM)
        baseline = [(ppm, round(scale * area, 4), 0.0, width) for ppm, area, width in MM_LINES]
        resonances.append(Resonance("MM", 0.9, T2STAR_S, "baseline", baseline))
        for name, (ppm, width) in LIPIDS.items():
            resonances.append(Resonance(name, ppm, T2STAR_S, "lipid", [(ppm, 1.0, 0.0, width)]))
    lineshape = "voigt" if terms else "lorentzian"
    return SignalModel(acquisition, resonances, 4.65, "tCr", CREATINE_MM, lineshape)


def without(model: SignalModel, *roles: str, lineshape: str | None = None) -> SignalModel:
    """The model less the resonances of some roles, with another lineshape if asked for: what each term costs."""
    kept = tuple(r for r in model.resonances if r.role not in roles)
    return replace(model, resonances=kept, lineshape=lineshape or model.lineshape)


FIELD_OF_VIEW_MM = (224.0, 224.0, 10.0)
CENTER_MM = (0.0, -18.0, 24.0)  # MNI152, above the ventricles' middle
SKULL_MM, SCALP_MM = (0.0, 8.0), (8.0, 13.0)  # from the brain's surface
# mM in gray matter, white matter and tumor; MM of 8 is the normal amount. Ours, of the order of the literature at 3 T
LEVELS_MM = {
    "NAA": (10.5, 12.0, 4.0),
    "tCr": (8.0, 8.0, 8.0),
    "tCho": (1.5, 2.3, 4.5),
    "mI": (6.0, 5.5, 5.0),
    "Glx": (13.0, 9.0, 6.0),
    "MM": (8.0, 6.4, 6.4),
}
LIPID_RATIOS = {"Lip09": 0.3, "Lip13": 1.0, "Lip20": 0.15}
TUMOR_MM, TUMOR_RADIUS_MM, TUMOR_GRAY = (34.0, -50.0), 14.0, 0.35
SCALP_GRAY, SKULL_GRAY = 1.0, 0.05
RIM_MM = 14.0  # two voxels from the brain's surface inwards


def head(largest_lipid: float = 8.0, matrix: int = 32) -> tuple[Phantom, dict[str, np.ndarray]]:
    """The phantom of (matrix, matrix, 1) voxels and masks (x, y, z) of its regions.

    `largest_lipid` is the largest amplitude of the 1.3 ppm lipid in a brain voxel, in units of creatine; 0 for none.
    Raises `InputError` for one below zero, or a matrix that is too small.

    The mask of the phantom is the brain; `clean` FIDs go beyond it. B0, Gaussian width and lipid offset vary smoothly.
    Regions: "rim" (brain within `RIM_MM` of its surface), "inside" (the other brain), "tumor", "scalp" (voxels that are
    at least a third fat, outside the mask), and "head", all within the scalp; and "depth_mm", the distance of brain
    voxels from the surface.
    """
    if not (np.isfinite(largest_lipid) and largest_lipid >= 0) or matrix < 16:
        given = f"A head of {matrix} voxels with lipids of {largest_lipid}"
        raise InputError(f"{given}: give at least 16, and zero or more.")
    mri, grid, brain, scalp, inner, fractions, to_surface = _anatomy()
    shape, coarse = (matrix, matrix, 1), _affine(matrix)
    share, fat, whole, *parts = average(np.stack([brain, scalp, inner, *fractions]).astype(float), grid, shape, coarse)
    parts, depth = np.array(parts), average(to_surface, grid, shape, coarse)
    filled = parts.sum(0)
    mask = (share > 0.5) & (filled > 0.5)
    model = mrsi_3t()
    encoding = Encoding(shape, FIELD_OF_VIEW_MM)
    leak = encoding.encode(scalp[..., None].astype(complex))[..., 0].real
    leak *= largest_lipid / np.abs(leak[mask]).max()
    amplitudes = np.zeros((*shape, len(model.names)))
    for name, levels in LEVELS_MM.items():
        amplitudes[..., model.index(name)] = np.einsum("t,txyz->xyz", levels, parts) / model.reference_concentration_mm
    for name in LIPIDS:
        amplitudes[..., model.index(name)] = LIPID_RATIOS[name] * leak

    x, y, _ = positions(shape, coarse)
    front = np.exp(-((x / 40) ** 2) - ((y - 60) / 45) ** 2)  # above the sinus: off resonance, and broad
    lateral = x / np.hypot(x, y - CENTER_MM[1]).clip(1)
    fields = {"shift_hz": 8.0 * front - 1.0, "gaussian_hz": 3.0 + 3.0 * front, "offset_hz": 5.0 * lateral - 1.0}
    fields = {name: np.broadcast_to(value, shape) for name, value in fields.items()}
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = amplitudes / np.where(mask, filled, np.nan)[..., None] * model.reference_concentration_mm
    maps = xr.DataArray(
        np.moveaxis(ratio, -1, 0), dims=("metabolite", "x", "y", "z"), coords={"metabolite": model.names},
        name="truth", attrs={"units": "mM"},
    )  # fmt: skip
    regions = {"rim": mask & (depth <= RIM_MM), "inside": mask & (depth > RIM_MM)}
    regions |= {"tumor": mask & (parts[2] > 0.5 * filled), "scalp": ~mask & (fat >= 1 / 3), "head": whole > 0.5}
    regions["depth_mm"] = np.where(mask, depth, np.nan)
    phantom = Phantom(
        maps, np.where(mask, 1 + parts.argmax(0), 0), {"tumor": regions["tumor"]}, mri, grid, coarse, model,
        b0_hz=fields["shift_hz"], b1=np.where(mask, filled, 0.0),
        clean=model.fids(amplitudes, **fields).astype(np.complex64), noise=EncodedNoise(encoding),
    )  # fmt: skip
    return phantom, regions


def _anatomy():
    """The head in voxels of 2 mm (112, 112, 1): MRI, affine, masks of brain, scalp and all within the scalp, shares of
    the tissues gray, white and tumor (3, x, y, z), and the distance of brain voxels from the surface in mm.
    """
    fine, grid = (112, 112, 1), _affine(112)
    t1, gray, white, brain, affine = templates()
    inside, t1, *tissue = average(np.stack([brain, t1, gray * brain, white * brain]), affine, fine, grid)
    brain = inside > 0.5
    to_surface = distance_transform_edt(brain[..., 0], sampling=2.0)[..., None]
    distance = distance_transform_edt(~brain[..., 0], sampling=2.0)[..., None]
    scalp = (distance > SCALP_MM[0]) & (distance <= SCALP_MM[1])
    x, y, _ = positions(fine, grid)
    tumor = (np.hypot(x - TUMOR_MM[0], y - TUMOR_MM[1]) < TUMOR_RADIUS_MM) & brain
    fractions = np.stack([*(np.where(tumor, 0, part) for part in tissue), tumor])
    mri = np.where(brain, np.clip(t1 * TEMPLATE_SCALE, 0, 1), np.where(scalp, SCALP_GRAY, 0.0))
    mri[tumor], mri[(distance > 0) & (distance <= SKULL_MM[1])] = TUMOR_GRAY, SKULL_GRAY
    return mri, grid, brain, scalp, distance <= SCALP_MM[1], fractions, to_surface


def _affine(matrix: int) -> np.ndarray:
    affine = grid_affine((matrix, matrix, 1), FIELD_OF_VIEW_MM)
    affine[:3, 3] += CENTER_MM
    return affine
