"""Where peers are compared: the ring phantom, the rat and the human brain, and the stored results of all three.
``precise peers --out data/results`` makes them again, a file for each case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr
from scipy import ndimage

from precise_lib.errors import InputError
from precise_lib.estimate import weights
from precise_lib.io import atomic
from precise_lib.studies.peer_settings import curves, total_rmse
from precise_lib.studies.peers import Case

RING_SNR, HUMAN_SNR = 12.0, 12.0


def rings_case(snr: float = RING_SNR, tumor_size: int = 2) -> Case:
    """The ring phantom: tumor C in MRI and DMI, tumor B in the DMI only; independent noise, one frequency."""
    from precise_lib.simulate.phantoms import rings

    phantom = rings(tumor_size)
    sites = phantom.tumors
    ring = (phantom.compartments == 2) & ~np.any(list(sites.values()), 0)
    return Case(phantom, snr, sites["C"], sites["B"], ring)


def rat_case() -> Case:
    """The rat of Fig. 9 (22x11x22 voxels of 2 uL, eight averages): B0, surface coil, point spread, shared noise."""
    from precise_lib.simulate.rat import rat, snr_of

    phantom, tumor = rat(), rat().tumors["tumor"]
    around = ndimage.binary_dilation(tumor, np.ones((3, 3, 3)))
    hiding = rat(tumor_in_mri=False)
    return Case(phantom, snr_of(2.0, 8), tumor, tumor, phantom.mask & ~around, hiding, weights="dmi_11t7_rat")


def human_case(snr: float = HUMAN_SNR) -> Case:
    """The human brain at 7 T: an enhancing rim that the MRI shows, and the part of the tumor that does not enhance."""
    from precise_lib.simulate.human import human

    phantom = human(7)
    lesion = np.any(list(phantom.tumors.values()), 0)
    healthy = np.isin(phantom.compartments, (1, 2)) & ~ndimage.binary_dilation(lesion, np.ones((3, 3, 3)))
    return Case(phantom, snr, phantom.tumors["rim"], phantom.tumors["non-enhancing"], healthy, weights="dmi_7t")


MRIS = {  # what is done to the MRI
    "as simulated": "nothing",
    "noise": "noise with an SD of 10 % of the range in each DMI voxel",
    "shading": "sensitivity that falls from 1.2 to 0.8 across the object",
    "shift": "half a DMI voxel to the side",
    "pure noise": "nothing but noise",
    "none": "a constant",
}


def with_mri(case: Case, kind: str, seed: int = 0) -> Case:
    """The case under another MRI, one of `MRIS`."""

    def changed(phantom):
        rng, mri, affine = np.random.default_rng(seed), phantom.mri, phantom.mri_affine
        sides = [np.linalg.norm(a[:3, :3], axis=0) for a in (phantom.affine, affine)]
        if kind == "noise":
            level = 0.1 * np.sqrt(np.prod([max(1, n) for n in sides[0] / sides[1]]))  # a mean over the voxel is left
            mri = mri + level * (np.nanmax(mri) - np.nanmin(mri)) * rng.standard_normal(mri.shape)
        elif kind == "shading":
            mri = mri * np.linspace(1.2, 0.8, len(mri))[:, None, None]
        elif kind == "shift":
            affine = affine.copy()
            affine[:3, 3] += phantom.affine[:3, 0] / 2
        elif kind == "pure noise":
            mri = rng.standard_normal(mri.shape)
        elif kind == "none":
            mri = np.zeros(mri.shape)
        elif kind != "as simulated":
            raise InputError(f"There is no MRI '{kind}': give {', '.join(MRIS)}.")
        return replace(phantom, mri=mri, mri_affine=affine)

    return replace(case, phantom=changed(case.phantom), hiding=case.hiding and changed(case.hiding))


def without_lesion(name: str, snr: float = RING_SNR) -> Case:
    """Rings, rat or human whose metabolism follows the MRI: the hidden tumor is gone, or the MRI shows it."""
    if name == "rings":
        case = rings_case(snr)
        phantom, ring = case.phantom, int(case.phantom.compartments[case.hidden][0])
        healthy = phantom.concentrations.values[:, (phantom.compartments == ring) & case.reference][:, :1]
        values = phantom.concentrations.copy()
        values.values[:, case.hidden] = healthy
        return replace(case, phantom=replace(phantom, concentrations=values))
    if name == "rat":
        return replace(rat_case(), hiding=None)
    from precise_lib.simulate.human import human

    return replace(human_case(snr), phantom=human(7, non_enhancing_in_mri=True))


CASES: dict[str, tuple[Callable[[], Case], int]] = {  # and how many noise realizations
    "rings": (rings_case, 30),
    "rat": (rat_case, 12),
    "human": (human_case, 20),
}


def load(folder) -> dict[str, xr.Dataset]:
    """Results of `store` by case, in the order of `CASES`; those that are not there are left out."""
    paths = {name: Path(folder) / f"peers_{name}.nc" for name in CASES}
    found = {name: xr.load_dataset(path) for name, path in paths.items() if path.is_file()}
    if not found:
        raise InputError(f"No results in {folder}: run 'precise peers --out {folder}'.")
    return found


def differences(new: xr.Dataset, kept: xr.Dataset) -> list[str]:
    """Sentences on settings whose results lie apart by more than chance, or that came or went.

    The contrast of a tumor is compared by its 95 % intervals, which must overlap; the RMSE over the object, a mean of
    hundreds of voxels, within 5 %.
    """
    before, after = ([str(v) for v in t["setting"].values] for t in (kept, new))
    said = [f"{s}: new" for s in after if s not in before] + [f"{s}: gone" for s in before if s not in after]
    both = [s for s in after if s in before]
    a, b = (t.sel(setting=both) for t in (kept, new))
    old, now = total_rmse(a).values, total_rmse(b).values
    apart = (a["contrast_high"] < b["contrast_low"]) | (b["contrast_high"] < a["contrast_low"])
    apart = apart.any(("metabolite", "region"))
    for setting, was, is_, contrast in zip(both, old, now, apart.values, strict=True):
        if abs(is_ - was) > 0.05 * was:
            said.append(f"{setting}: RMSE {was:.3g} -> {is_:.3g} mM")
        elif contrast:
            said.append(f"{setting}: the intervals of a contrast do not overlap")
    return said


def compare(new, kept) -> dict[str, list[str]]:
    """`differences` of all cases of two folders, by case; `InputError` where a folder has none."""
    before, after = load(kept), load(new)
    return {name: differences(table, before[name]) for name, table in after.items() if name in before}


def store(name: str, folder, repeats: int | None = None, seed: int = 0) -> str:
    """Run one case and write ``peers_<name>.nc`` into `folder`; what had to be left out, or ""."""
    from tqdm.auto import tqdm

    if name not in CASES:
        raise InputError(f"There is no case '{name}': give {', '.join(CASES)}.")
    build, usual = CASES[name]
    with atomic.staged(folder) as work:
        case = build()
        table = curves(case, repeats or usual, seed, progress=tqdm)
        if "precise" in table["peer"].values:
            table.attrs["weights_sha256"] = weights.resolve(case.weights, case.phantom.model).hash
        table.attrs["command"] = f"precise peers --case {name} --out data/results"
        table.to_netcdf(work / f"peers_{name}.nc")
    return table.attrs["left_out"]
