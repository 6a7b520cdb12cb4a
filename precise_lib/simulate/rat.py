r"""A simulated rat head for the in vivo part of PRECISE-DMI (Figs 9 and 10); the paper's animals are not public.

Axes: x left to right, y ventral to dorsal, z posterior to anterior, along B0. The surface coil lies at positive y.

The paper's: 11.74 T, 5 kHz, fields of view and matrices, spherical encoding, the shape of the coil (20 x 15 mm), a
contrast-enhanced T1-weighted MRI of 110^3. Ours, since the paper prints pictures and no numbers: anatomy (ellipsoids),
concentrations, gray levels, B0, sensitivity. Left out: T1 saturation, a factor for each metabolite; noise of the MRI.
"""

from __future__ import annotations

from collections import namedtuple
from functools import lru_cache

import numpy as np

from precise_lib.errors import InputError
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import to_maps
from precise_lib.signal.presets import dmi_rat
from precise_lib.simulate.encoding import EncodedNoise, Encoding, encode_fids, grid_affine
from precise_lib.simulate.phantoms import METABOLITES, Phantom, gradient_broadening, own_model

MRI_MATRIX = 110
FINE_MM = 0.5  # size of the object points, at least twice as fine as any DMI of the paper

# One sensitivity for all acquisitions. The anchor is ours: water of the dorsal cortex, next to the coil, has an SNR
# of 15 in Fig. 9's 2 uL and eight averages. At half the depth of the brain that makes 7 in Fig. 9 and 20 to 40 in
# Fig. 10: the range, about 5 to 35, that the paper's simulations call typical of in vivo data.
ANCHOR_SNR, ANCHOR_UL, ANCHOR_AVERAGES = 15.0, 2.0, 8


def snr_of(voxel_ul: float, averages: float) -> float:
    """SNR of undistorted water at the best place of the coil, for spherical encoding; `Phantom.measure` takes it.

    Signal goes with the nominal volume of a voxel, noise with one over the root of the averages, four minutes each in
    the paper (32 min for eight of 22x11x22, 16 min for four of 11x11x11).

    >>> snr_of(2.0, 8), round(snr_of(15.625, 1), 1)
    (15.0, 41.4)
    """
    if not (voxel_ul > 0 and averages > 0):
        raise InputError(f"A voxel of {voxel_ul} uL and {averages} averages have no SNR; both must be positive.")
    return ANCHOR_SNR * (voxel_ul / ANCHOR_UL) * float(np.sqrt(averages / ANCHOR_AVERAGES))


# name, concentrations (mM; water, Glc, Glx, Lac) and gray level of the MRI
Tissue = namedtuple("Tissue", "name mm gray")
# the number of a tissue is its place here; 0 is air, skull and whatever lies beyond the scalp
TISSUES = (
    Tissue("outside", (0, 0, 0, 0), 0.0),
    Tissue("scalp", (10, 3.0, 0.3, 0.4), 0.55),
    Tissue("deep brain", (10, 2.2, 2.6, 0.7), 0.50),
    Tissue("cortex", (10, 2.5, 4.0, 0.8), 0.40),
    Tissue("striatum", (10, 2.4, 3.4, 0.8), 0.42),
    Tissue("ventricle", (10, 3.0, 0.3, 0.8), 0.20),
    Tissue("olfactory bulb", (10, 2.2, 3.2, 0.8), 0.44),
    Tissue("cerebellum", (10, 2.2, 2.8, 0.7), 0.47),
    Tissue("tumor", (10, 2.2, 1.2, 3.5), 1.0),
)
NUMBER = {tissue.name: i for i, tissue in enumerate(TISSUES)}
FIRST_OF_BRAIN = NUMBER["deep brain"]

# centers and semi-axes in mm
CEREBRUM = ((0, 0, 0), (7.2, 5.0, 7.2))
BULBS = ((-1.3, 0.2, 7.8), (1.6, 1.9, 2.7)), ((1.3, 0.2, 7.8), (1.6, 1.9, 2.7))
CEREBELLUM = ((0, -0.2, -7.2), (5.6, 4.3, 3.4))
STRIATA = ((-3.2, 0.2, 2.2), (1.8, 2.2, 2.6)), ((3.2, 0.2, 2.2), (1.8, 2.2, 2.6))
VENTRICLES = ((-1.5, 1.3, 0.5), (0.7, 1.2, 2.6)), ((1.5, 1.3, 0.5), (0.7, 1.2, 2.6))
TUMOR = ((3.2, 0.6, 2.0), (2.6, 2.4, 2.7))
CORTEX_DEPTH = 0.26  # share of the cerebrum's radius
SKULL, SCALP = 1.1, 1.3  # brain and skull, and head, relative to the brain

COIL_CENTER_MM, COIL_SEMI_AXES_MM = (0.0, 9.0, 0.0), (7.5, 10.0)  # 15 mm across, 20 mm along the animal
FLIP_AT_CENTER_DEG = 60.0


def _radius(points, ellipsoid, scale=1.0):
    """Distance from the center of an ellipsoid in units of its surface."""
    center, axes = (np.array(v, float) for v in ellipsoid)
    return np.sqrt((((points - center) / (scale * axes)) ** 2).sum(-1))


def _points(matrix, field_of_view_mm) -> np.ndarray:
    """Coordinates in mm (X, Y, Z, 3) of a grid centered on the origin."""
    axes = [((np.arange(n) + 0.5) / n - 0.5) * f for n, f in zip(matrix, field_of_view_mm, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1)


def tissues(points, tumor: bool = True) -> np.ndarray:
    """Number of the tissue in `TISSUES` at points (..., 3) in mm."""
    out = np.zeros(points.shape[:-1], np.int8)
    brain = (CEREBRUM, *BULBS, CEREBELLUM)
    out[np.any([_radius(points, e, SCALP) < 1 for e in brain], 0)] = NUMBER["scalp"]
    out[np.any([_radius(points, e, SKULL) < 1 for e in brain], 0)] = NUMBER["outside"]
    out[_radius(points, CEREBELLUM) < 1] = NUMBER["cerebellum"]
    for bulb in BULBS:
        out[_radius(points, bulb) < 1] = NUMBER["olfactory bulb"]
    cerebrum = _radius(points, CEREBRUM)
    out[cerebrum < 1] = NUMBER["deep brain"]
    out[(cerebrum < 1) & (cerebrum > 1 - CORTEX_DEPTH) & (points[..., 1] > -1.5)] = NUMBER["cortex"]
    inner = [("striatum", e) for e in STRIATA] + [("ventricle", e) for e in VENTRICLES] + [("tumor", TUMOR)] * tumor
    for kind, ellipsoid in inner:
        out[_radius(points, ellipsoid) < 1] = NUMBER[kind]
    return out


def b0(points) -> np.ndarray:
    """Frequency shift (Hz) at points (..., 3) in mm of a shimmed brain: air in front of the olfactory bulbs and in the
    ears bends the field by up to about 0.3 ppm, 20 Hz of deuterium.
    """
    x, y, z = np.moveaxis(points, -1, 0)
    nose = 24.0 * np.exp(-(x**2 + (y + 1.5) ** 2 + (z - 11) ** 2) / (2 * 3.2**2))
    ears = sum(np.exp(-((x - side) ** 2 + (y + 4) ** 2 + (z + 3) ** 2) / (2 * 2.8**2)) for side in (-8, 8))
    return nose - 16.0 * ears + 0.25 * z + 0.3 * y


def b1(points) -> np.ndarray:
    """Signal of the surface coil at points (..., 3) in mm, one at the brightest place of the brain's midline: the field
    across B0 of an elliptic loop (Biot-Savart) times the sine of its flip angle, 60 degrees at the center.
    """
    field, center = _loop_field(points), _loop_field(np.zeros((1, 3)))

    def signal(strength):
        return strength * np.sin(np.radians(np.minimum(FLIP_AT_CENTER_DEG * strength / center, 180)))

    midline = np.zeros((101, 3))
    midline[:, 1] = np.linspace(-CEREBRUM[1][1], CEREBRUM[1][1], 101)
    return signal(field) / signal(_loop_field(midline)).max()


def _loop_field(points, n: int = 64) -> np.ndarray:
    """Magnitude across B0 (the z axis) of the field of the coil, in arbitrary units, (...)."""
    angle = 2 * np.pi * np.arange(n) / n
    (a, b), center = COIL_SEMI_AXES_MM, np.array(COIL_CENTER_MM)
    wire = center + np.stack([a * np.cos(angle), np.zeros(n), b * np.sin(angle)], -1)
    element = np.stack([-a * np.sin(angle), np.zeros(n), b * np.cos(angle)], -1)
    total = np.zeros(points.shape)
    for position, direction in zip(wire, element, strict=True):
        r = points - position
        total += np.cross(direction, r) / np.maximum((r**2).sum(-1), 1.0)[..., None] ** 1.5  # the wire is 1 mm thick
    return np.hypot(total[..., 0], total[..., 1])


def _block_mean(fine, matrix) -> np.ndarray:
    """Average over the object points of every DMI voxel, (x, y, z, ...)."""
    per = [n // m for n, m in zip(fine.shape, matrix, strict=False)]
    shape = [s for m, p in zip(matrix, per, strict=True) for s in (m, p)]
    return fine.reshape(*shape, *fine.shape[3:]).mean((1, 3, 5))


@lru_cache(maxsize=4)
def _object(matrix, field_of_view_mm, model: SignalModel) -> dict:
    """Everything of the phantom that the MRI does not change, as arguments of `Phantom`."""
    per = [max(2, round(f / n / FINE_MM)) for f, n in zip(field_of_view_mm, matrix, strict=True)]
    points = _points([n * p for n, p in zip(matrix, per, strict=True)], field_of_view_mm)
    kind = tissues(points)
    mm = np.array([t.mm for t in TISSUES])[kind]
    brain = kind >= FIRST_OF_BRAIN
    share = _block_mean(brain.astype(float), matrix)
    inside = share >= 0.5
    counts = np.stack([_block_mean((kind == i).astype(float), matrix) for i in range(FIRST_OF_BRAIN, len(TISSUES))])
    compartments = np.where(inside, 1 + counts.argmax(0), 0)
    # the truth of a voxel is that of its brain: what scalp it holds is an error of the measurement
    water_of_brain = _block_mean(mm * brain[..., None], matrix) / np.where(share > 0, share, 1)[..., None]
    truth = np.where(inside[..., None], water_of_brain, np.nan)
    tumor = inside & (counts[NUMBER["tumor"] - FIRST_OF_BRAIN] >= 0.5)
    amplitudes = mm / model.reference_concentration_mm * b1(points)[..., None]
    shift = b0(points)
    encoding = Encoding(matrix, field_of_view_mm)
    image = encoding.encode(amplitudes).real
    ratio = np.where(inside[..., None], image / image[..., :1], np.nan) * model.reference_concentration_mm
    own = {"compartments": compartments, "tumors": {"tumor": tumor}, "affine": encoding.affine, "model": model}
    own |= {"b0_hz": _block_mean(shift, matrix), "b1": _block_mean(amplitudes[..., 0], matrix)}
    own["clean"] = encode_fids(encoding, model, amplitudes, shift, gradient_broadening(shift))
    own["noise"], own["blurred"] = EncodedNoise(encoding), to_maps(ratio, METABOLITES, "blurred truth")
    return own | {"concentrations": to_maps(truth, METABOLITES, "truth")}


def rat(matrix=(22, 11, 22), tumor_in_mri=True, model=None, field_of_view_mm=(22.0, 22.0, 22.0)) -> Phantom:
    """The rat of Fig. 9; ``rat((11, 11, 11), field_of_view_mm=(27.5,) * 3)`` is that of Fig. 10.

    Its mask holds the voxels that are at least half brain, `compartments` 1 to 7 the tissues in the order of `TISSUES`
    from the deep brain on, `tumors` the one tumor; no estimator of single voxels can come closer than `blurred`. Matrix
    and field of view are of the DMI, along x, y, z; the MRI has 110^3 over the same field of view, without the tumor
    (of the animal) unless `tumor_in_mri`. The model is of water, Glc, Glx and Lac, `dmi_rat` by default. Raises
    `InputError` for another set of metabolites, or sizes that make no sense.
    """
    model = own_model(dmi_rat() if model is None else model, "rat")
    matrix, field_of_view_mm = tuple(int(n) for n in matrix), tuple(float(f) for f in field_of_view_mm)
    Encoding(matrix, field_of_view_mm)  # raises for sizes that make no sense
    points = _points([MRI_MATRIX] * 3, field_of_view_mm)
    mri = np.array([t.gray for t in TISSUES])[tissues(points, tumor_in_mri)]
    affine = grid_affine([MRI_MATRIX] * 3, field_of_view_mm)
    return Phantom(mri=mri, mri_affine=affine, **_object(matrix, field_of_view_mm, model))
