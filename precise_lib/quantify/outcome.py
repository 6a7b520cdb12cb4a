"""Error maps and flags on disk, and what ``summary.json`` says of them."""

from __future__ import annotations

import time

import numpy as np

from precise_lib.errors import InputError
from precise_lib.evaluate import closed_form
from precise_lib.io import nifti
from precise_lib.quantify.errors import Uncertainty, number


def summarize(maps: closed_form.ErrorMaps, names: list[str], skip: int) -> dict:
    """Medians of the error maps in mM for the summary, and how much of the bias map noise alone would show."""

    def named(values):
        with np.errstate(invalid="ignore"):
            return {n: number(v) for k, (n, v) in enumerate(zip(names, values, strict=True)) if k != skip}

    out = {"median_sd_mm": named(np.nanmedian(maps.sd, 0))}
    if maps.bias is not None:
        out["median_bias_mm"] = named(np.nanmedian(np.abs(maps.bias), 0))
    if maps.bias_noise is not None:
        square = np.nanmean(maps.bias**2 - maps.bias_noise**2, 0)
        out["median_bias_of_noise_alone_mm"] = named(0.6745 * np.nanmedian(maps.bias_noise, 0))
        out["rms_bias_without_noise_mm"] = named(np.sqrt(np.maximum(square, 0)))
        out["rms_sd_mm"] = named(np.sqrt(np.nanmean(maps.sd**2, 0)))
    return out


def check(method: str | None, repeats: int) -> None:
    """Raise `InputError` for a way to estimate errors that does not exist, or too few repetitions."""
    if method not in (None, "closed", "montecarlo", "none"):
        raise InputError(f"There is no way '{method}' to estimate errors: choose closed, montecarlo or none.")
    if repeats < 2:
        raise InputError(f"The number of repeats is {repeats}: an SD needs at least 2.")


def write_errors(folder, way: str, unsure: Uncertainty, method, prior: bool, lams, repeats: int, seed: int) -> dict:
    """Write SD and bias maps; returns what the summary says of them."""
    if way == "none":
        return {"method": "none", "how": "not asked for"}
    started, series = time.perf_counter(), unsure.series
    model = series.model
    if way == "closed":
        maps = unsure.closed_form(lams)
        how = "SD to first order from the Cramer-Rao bound at the estimated noise and line width"
        how += "" if unsure.network is None else ", times what the network is above it"
        how += ", through the linear map of the prior; bias = |PRECISE - SVE|, noise of SVE included" if prior else ""
        if unsure.iterated:
            how += "; Eq. 4 was solved by conjugate gradients, to ten digits"
        if maps.probing_error:
            how += (
                "; the rows of the map were probed, at a relative error of the SD of "
                f"{100 * maps.probing_error:.1g} % on rows computed in full"
            )
    else:
        maps = unsure.montecarlo(method, repeats, seed, lams, prior)
        first = "the fit" if unsure.network is None else "SVE"
        how = f"SD of {repeats} repetitions of the whole chain on the FIDs that {first} describes, with new noise"
        how += f"; bias = |their mean - {first}|, noise of {first} included" if prior else ""
    files = []
    pairs = [("sd", maps.sd)] + ([("bias", np.abs(maps.bias))] if maps.bias is not None else [])
    for prefix, values in pairs:
        files += nifti.write_maps(folder, prefix, series.to_maps(values, prefix), series.affine)
    return {
        "method": {"closed": "closed form", "montecarlo": "monte carlo"}[way],
        "how": how,
        "noise_sd": float(f"{unsure.sigma:.6g}"),
        "noise_samples": "late, or outside the signal subspace; one level for all voxels and frames",
        "sd_relative_error_of_probing": number(maps.probing_error),
        "repeats": repeats if way == "montecarlo" else None,
        "seed": seed if way == "montecarlo" else None,
        "single_voxel_sd_over_bound": None
        if way != "closed"
        else {m: number(e) for m, e in zip(model.names, unsure.excess.round(4).tolist(), strict=True)},
        **summarize(maps, model.names, model.index(model.reference)),
        "files": [path.name for path in files],
        "seconds": round(time.perf_counter() - started, 3),
    }


def write_flags(folder, unsure: Uncertainty, estimator: str) -> tuple[dict, list[str]]:
    """Write ``flag_<reason>.nii.gz`` (uint8, 1 where something speaks against the estimate).

    Returns what the summary says of them, and the sentences that are worth a warning.
    """
    try:
        found = unsure.flags(estimator)
    except InputError as problem:
        return {}, [f"Nothing was checked: {problem}"]
    out = {}
    for flag in found:
        name = nifti.map_file("flag", flag.reason)
        nifti.write_image(folder / name, unsure.series.on_grid(flag.hits, False), unsure.series.affine, flag.reason)
        count = int(flag.hits.sum())
        out[flag.reason] = {"voxels": count, **flag.about, "sentence": flag.sentence if count else None, "file": name}
    return out, [flag.sentence for flag in found if flag.worth_saying]
