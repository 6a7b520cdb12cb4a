"""Objects that no method was designed on: every seed another anatomy, other levels, other lesions.

Smooth random fields are cut into four tissues; levels vary smoothly inside each, which the MRI does not show. One
lesion stands in the MRI and in the metabolism, another one in the metabolism alone. The MRI is noisy and shaded, with
gray levels drawn apart from the metabolism.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy import ndimage

from precise_lib.signal.model import SignalModel
from precise_lib.signal.presets import dmi_11t7
from precise_lib.simulate.encoding import grid_affine
from precise_lib.simulate.phantoms import METABOLITES, Phantom

FINE = 4  # object points of the MRI along each side of a DMI voxel
SMOOTH = 4.0  # voxels, SD of the fields that tissues are cut from
VARIATION = 0.15  # SD of the levels inside a tissue, relative
NOISE, SHADING = 0.05, 0.15  # of the MRI, relative to its range
LOW = np.array([1.5, 1.5, 0.5])  # Glc, Glx, Lac of tissues, mM
HIGH = np.array([3.0, 4.5, 1.2])
LESION = np.array([0.8, 0.45, 3.2])  # Glc, Glx, Lac over those of the tissue around


def _field(rng, shape, smooth) -> np.ndarray:
    """Smooth random field of mean 0 and SD 1."""
    values = ndimage.gaussian_filter(rng.standard_normal(shape), smooth, mode="wrap")
    return (values - values.mean()) / values.std()


def _mean(values) -> np.ndarray:
    """Values (X, Y, Z, ...) of the fine grid, averaged over each voxel of the DMI."""
    pairs = (size for n in values.shape[:3] for size in (n // FINE, FINE))
    return values.reshape(*pairs, *values.shape[3:]).mean((1, 3, 5))


def random_object(seed: int, matrix=(20, 20, 8), voxel_mm: float = 8.0, model: SignalModel | None = None) -> Phantom:
    """An object of random tissues in an ellipsoid.

    Parameters
    ----------
    seed : the same seed gives the same object
    matrix, voxel_mm : of the DMI
    model : default `dmi_11t7`; water, Glc, Glx and Lac

    Returns
    -------
    Phantom with the tumors "shown" and "hidden", radii of 1.5 to 2.5 voxels; compartments 1 to 4 are the tissues
    """
    rng, shape = np.random.default_rng(seed), tuple(matrix)
    model = dmi_11t7() if model is None else model
    fine = tuple(n * FINE for n in shape)
    places = np.stack(np.meshgrid(*[(np.arange(n) + 0.5) / FINE for n in fine], indexing="ij"), -1)  # in voxels
    inside = ((((places / shape) - 0.5) / 0.48) ** 2).sum(-1) < 1
    first, second = (_field(rng, fine, SMOOTH * FINE) for _ in range(2))
    tissue = 1 + (first > rng.normal(0, 0.3)) + 2 * (second > rng.normal(0, 0.3))
    levels = rng.uniform(LOW, HIGH, (4, 3))[tissue - 1]
    grays = rng.permutation([0.2, 0.4, 0.6, 0.8])[tissue - 1]
    variation = np.stack([_field(rng, fine, 2 * FINE) for _ in range(3)], -1)
    levels = levels * np.clip(1 + VARIATION * variation, 0.5, 1.5)
    tumors, taken = {}, ~inside
    for name in ("shown", "hidden"):
        radius = rng.uniform(1.5, 2.5)
        room = ndimage.distance_transform_edt(~taken) / FINE
        room = room > min(radius + 1, 0.9 * room.max())  # where there is no room it touches a border or the other one
        center = places[tuple(rng.choice(np.argwhere(room)))]
        tumors[name] = ((places - center) ** 2).sum(-1) < radius**2
        taken = taken | tumors[name]
        levels = np.where(tumors[name][..., None], levels * LESION, levels)
    grays = np.where(tumors["shown"], 1.0, grays)
    grays = (grays + NOISE * rng.standard_normal(fine)) * (1 + SHADING * _field(rng, fine, 8 * FINE)) * inside

    share = _mean(inside.astype(float))
    mask = share >= 0.5
    amounts = _mean(levels * inside[..., None]) / np.where(mask, share, np.nan)[..., None]
    mm = np.concatenate([np.where(mask, 10.0, np.nan)[..., None], amounts], -1)
    compartment = np.stack([_mean((tissue == i) & inside) for i in range(1, 5)]).argmax(0) + 1
    maps = xr.DataArray(
        np.moveaxis(mm, -1, 0),
        dims=("metabolite", "x", "y", "z"),
        coords={"metabolite": list(METABOLITES)},
        name="truth",
        attrs={"units": "mM"},
    )
    size = [n * voxel_mm for n in shape]
    return Phantom(
        maps,
        np.where(mask, compartment, 0),
        {name: mask & (_mean(where.astype(float)) >= 0.5) for name, where in tumors.items()},
        grays,
        grid_affine(fine, size),
        grid_affine(shape, size),
        model,
    )
