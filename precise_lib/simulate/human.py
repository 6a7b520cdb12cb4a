"""A human head: MNI152 anatomy, the metabolism of a DMI study, a heterogeneous tumor and a resection cavity.

The MNI152 template averages 152 heads: its cortex is blurrier than in one person. What is neither gray nor white matter
in the brain mask counts as CSF; skull, scalp and point spread are left out. Metabolism and lesions are assumed, the
latter after the patient whom the authors of PRECISE-DMI name as a limit of their work.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from precise_lib.errors import InputError
from precise_lib.signal.mrsi import to_maps
from precise_lib.signal.presets import dmi_4t, dmi_7t
from precise_lib.simulate.anatomy import average, dmi_grid, positions, templates
from precise_lib.simulate.phantoms import METABOLITES, Phantom, own_model

TISSUES = ("gray", "white", "CSF", "rim", "core", "non-enhancing", "cavity")
LESIONS = TISSUES[3:]
# Field (T) -> signal model and voxel size (mm). 1 mL is feasible at 7 T, and the sensitivity of a human coil goes with
# B0^1.65 (de Graaf 2020, PMC7141779): 4 T needs about three times the volume.
FIELDS = {7: (dmi_7t, 10.0), 4: (dmi_4t, 15.0)}

# water, Glc, Glx, Lac in mM of tissue, two hours after 2H glucose by mouth; water 10 mM everywhere, as in the paper.
CONCENTRATIONS_MM = {
    # Whole brain at 3 T after 120 min: Glx 3.2 +- 0.4, Glc 3.0 +- 0.7 mM (doi 10.1186/s41747-024-00426-4). Lac
    # was 1.6 mM, with the lipids of the scalp at its frequency: ours is lower. Glx of gray over white matter: 1.2 by 2H
    # at 7 T, 1.5 by 1H at 3 T (PMC10153308), in voxels that mix both; ours is 1.36. Less Glc in white matter: ours.
    "gray": (10.0, 2.4, 3.8, 0.6),
    "white": (10.0, 1.8, 2.8, 0.5),
    # CSF exchanges glucose slowly and makes no Glx; ours.
    "CSF": (10.0, 0.6, 0.1, 0.2),
    # Glioblastoma at 7 T: Glx labeled 0.41 times, Lac 4.6 times as fast as in healthy brain ("Absolute quantification
    # of brain deuterium metabolic imaging in healthy volunteers and glioblastoma patients at 7T", Cambridge).
    "rim": (10.0, 2.0, 1.4, 2.5),
    # Necrosis: little metabolism, lactate diffuses in; ours.
    "core": (10.0, 1.0, 0.3, 1.2),
    "non-enhancing": (10.0, 2.0, 1.4, 2.5),
    "cavity": (10.0, 0.0, 0.0, 0.0),
}
# T1-weighted gray levels after contrast agent, the brightest (rim) at 1; a template of 1 (white matter 0.87) is dimmed
# to 1 / 1.3, so that the rim is 1.5 times as bright as white matter. CSF is 0.21 there. Ours.
TEMPLATE_SCALE = 1 / 1.3
LESION_GRAY = {"rim": 1.0, "core": 0.30, "cavity": 0.20}

# Ellipsoids in MNI coordinates (mm): center, semi-axes; later ones replace earlier ones. Ours: a right parietal tumor
# of 44 mm with a wall of about 11 mm, its posterior non-enhancing part, and the cavity before it.
SHAPES = (
    ("non-enhancing", (30.0, -58.0, 32.0), (15.0, 18.0, 15.0)),
    ("rim", (33.0, -30.0, 30.0), (22.0, 22.0, 22.0)),
    ("core", (33.0, -30.0, 30.0), (11.0, 11.0, 11.0)),
    ("cavity", (36.0, 6.0, 36.0), (15.0, 15.0, 15.0)),
)
# B0 left by the shim, ppm: center (mm), height and width (SD, mm) of the air-filled frontal and sphenoid sinuses and of
# both ear canals. Ours: 0.25 ppm at the sinus, of the order seen in shimmed heads.
B0_SOURCES_PPM = (
    ((0.0, 58.0, -22.0), 0.28, 22.0),
    ((62.0, -22.0, -34.0), 0.20, 16.0),
    ((-62.0, -22.0, -34.0), 0.20, 16.0),
)
B1_RISE = 0.5  # how much more a receive array hears of the surface of the head than of its center; ours
MASK_SHARE = 0.5  # a DMI voxel with less brain than this is left out


def _inside(places, center, semi_axes) -> np.ndarray:
    """Share of each 2 mm voxel inside an ellipsoid: 0 or 1, but for a border of one voxel."""
    radius = np.sqrt(sum(((p - c) / a) ** 2 for p, c, a in zip(places, center, semi_axes, strict=True)))
    return np.clip(0.5 + (1 - radius) * min(semi_axes) / 2.0, 0, 1)


def anatomy(lesions: bool = True, non_enhancing_in_mri: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fractions (7, X, Y, Z) of `TISSUES`, MRI (X, Y, Z) in [0, 1] and affine (4, 4), in MNI152 space at 2 mm;
    fractions sum to one in the brain, and outside they are zero and the MRI is NaN.
    """
    t1, gray, white, brain, affine = templates()
    fractions = np.zeros((len(TISSUES), *t1.shape))
    fractions[:3] = gray, white, np.clip(1 - gray - white, 0, 1)
    fractions *= brain
    mri = np.where(brain, np.clip(t1 * TEMPLATE_SCALE, 0, 1), np.nan)
    if lesions:
        places = positions(t1.shape, affine)
        for name, center, semi_axes in SHAPES:
            share = _inside(places, center, semi_axes) * brain
            fractions *= 1 - share
            fractions[TISSUES.index(name)] += share
            level = LESION_GRAY.get(name, LESION_GRAY["rim"] if non_enhancing_in_mri else None)
            if level is not None:
                mri = mri * (1 - share) + level * share
    return fractions, mri, affine


def tissue_fractions(voxel_mm: float = 10.0, lesions: bool = True) -> xr.DataArray:
    """Share of each DMI voxel's volume that each tissue fills, (tissue, x, y, z); the sum is the share of brain."""
    shape, grid = dmi_grid(voxel_mm)
    fine, _, affine = anatomy(lesions)
    shares, dims = average(fine, affine, shape, grid), ("tissue", "x", "y", "z")
    return xr.DataArray(shares, {"tissue": list(TISSUES)}, dims, "fractions", {"voxel_mm": float(voxel_mm)})


def _fields(affine, brain, shape, grid, model) -> np.ndarray:
    """B0 (Hz, median 0 over the brain) and sensitivity (mean 1 over the brain), (2, x, y, z) on the DMI grid."""
    places = positions(brain.shape, affine)
    ppm = sum(
        height * np.exp(-sum((p - c) ** 2 for p, c in zip(places, center, strict=True)) / (2 * width**2))
        for center, height, width in B0_SOURCES_PPM
    )
    # squared distance from the middle of the head, 1 at the surface of an ellipsoid of its size
    middle, semi_axes = (0.0, -18.0, 6.0), (72.0, 90.0, 78.0)
    radius2 = sum(((p - m) / a) ** 2 for p, m, a in zip(places, middle, semi_axes, strict=True))
    b1 = 1 + B1_RISE * np.minimum(radius2, 1.5)
    hz = (ppm - np.median(ppm[brain])) * model.acquisition.spectrometer_frequency_mhz
    return average(np.stack([hz, b1 / b1[brain].mean()]), affine, shape, grid)


def human(
    field_t=7, voxel_mm=None, lesions=True, non_enhancing_in_mri=False, inhomogeneous=True, model=None
) -> Phantom:
    """Human brain on a DMI grid at `field_t` 7 or 4, which sets signal model and voxel size (10 and 15 mm where None).

    Concentrations are mM of brain tissue: the skull's share of a border voxel is missing signal (in `b1`), not missing
    metabolism. `compartments` are 1 + the index in `TISSUES` of the tissue that fills most of a voxel; `tumors` the
    voxels at least half lesion, one mask for each of `LESIONS`. Without `lesions` it is the healthy brain;
    `non_enhancing_in_mri` paints the non-enhancing part as bright as the rim: an MRI that shows all of the tumor. If
    not `inhomogeneous` there is neither the B0 of sinus and ear canals nor the sensitivity of a receive array. `model`
    is any 2H signal model of water, Glc, Glx and Lac instead of that of the field.

    Raises `InputError` for another field, a voxel size out of range, other resonances, or where nilearn is not
    installed.
    """
    if field_t not in FIELDS:
        raise InputError(f"There is no human phantom at {field_t} T; choose {' or '.join(map(str, FIELDS))}.")
    default_model, default_mm = FIELDS[field_t]
    model = own_model(default_model() if model is None else model, "human phantom")
    shape, grid = dmi_grid(default_mm if voxel_mm is None else voxel_mm)
    fine, mri, affine = anatomy(lesions, non_enhancing_in_mri)
    fractions = average(fine, affine, shape, grid)
    share = fractions.sum(0)
    mask = share >= MASK_SHARE
    levels = np.array([CONCENTRATIONS_MM[name] for name in TISSUES])
    mean = np.einsum("tm,txyz->xyzm", levels, fractions) / np.where(mask, share, np.nan)[..., None]
    b0, b1 = _fields(affine, fine.sum(0) > 0, shape, grid, model) if inhomogeneous else (None, 1.0)
    tumors = {name: mask & (fractions[TISSUES.index(name)] >= 0.5 * share) for name in LESIONS}
    truth, compartments = to_maps(mean, METABOLITES, "truth"), np.where(mask, 1 + fractions.argmax(0), 0)
    return Phantom(truth, compartments, tumors, mri, affine, grid, model, b0, np.where(mask, share * b1, 0.0))


def regions(phantom: Phantom, healthy: Phantom) -> dict[str, np.ndarray]:
    """Masks (x, y, z): the brain, tissues where no lesion reaches, lesions; phantoms with and without, on one grid."""
    with np.errstate(invalid="ignore"):
        changed = (phantom.concentrations != healthy.concentrations).any("metabolite").values
    untouched = phantom.mask & ~changed
    masks = {"whole brain": phantom.mask, "healthy": untouched}
    masks |= {name: untouched & (phantom.compartments == 1 + i) for i, name in enumerate(TISSUES[:3])}
    return {name: mask for name, mask in (masks | phantom.tumors).items() if mask.any()}
