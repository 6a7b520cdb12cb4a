"""From files to concentration maps, errors and flags, and how they came about: the work of ``precise quantify``."""

from __future__ import annotations

import time

import numpy as np

from precise_lib import NOTICE
from precise_lib.errors import InputError
from precise_lib.evaluate.closed_form import ErrorMaps
from precise_lib.io import atomic
from precise_lib.quantify import assumed, lesions, measurement, provenance, repetition, result, taught
from precise_lib.quantify.errors import number
from precise_lib.quantify.estimated import Estimated, estimated
from precise_lib.quantify.estimates import Smoothing
from precise_lib.quantify.measurement import Measurement
from precise_lib.quantify.request import Request, checked
from precise_lib.quantify.scan import Scan


def quantify(
    dmi,
    out,
    mri=None,
    mask=None,
    estimator=None,
    lam=None,
    model=None,
    errors=None,
    repeats=100,
    seed=0,
    omega_max=None,
    own=None,
    calibrate="auto",
    overwrite=True,
    **scan,
) -> dict:
    """Quantify a NIfTI-MRS file; write maps, ``summary.json`` (whose content is returned) and ``result.nc`` into `out`.

    The maps are ``conc_<metabolite>.nii.gz``, ``sd_<metabolite>.nii.gz`` and, where there is a prior, the absolute
    ``bias_<metabolite>.nii.gz``, all in mM, with the ends ``low_`` and ``high_`` of 90 % intervals where the estimator
    states them, and maps of its own as ``map_<name>.nii.gz``; ``flag_<reason>.nii.gz`` is 1 where something speaks
    against them, see `flags`. Maps of a dynamic set have a fourth axis, the frames, under one set of settings.

    Parameters
    ----------
    dmi, mri, mask : paths, see `io.read_series`; without a mask one is proposed, written and used for what voxels tell
        together, see `proposed`; "none" as a mask counts every voxel
    out : folder; files of these names are replaced, all together at the end
    estimator : registered name, or that of `estimate.load`; default ``sve`` without an MRI; with one ``adaptive``, or
        ``precise`` where `lam` or `omega_max` is given
    lam : lambda of Eq. 4, default 0.01, or "auto": chosen from the data for each metabolite
    model : see `measurement.resolve_model`
    errors : "closed" (from the noise level, the bound and the linear map of the prior), "montecarlo" (as in the paper:
        the whole chain, `repeats` times) or "none"; default closed where the estimator offers what it needs, else none
    omega_max : cap of Eq. 5, default `prior.OMEGA_MAX`; gray levels (0 to 1) that differ by more than
        1 / sqrt(omega_max) count as an edge
    own : further options of the estimator by name, for example {"tau": 2} of ``adaptive``
    calibrate : "auto" (where the residual of all voxels together is no noise, the data set teaches its signal model),
        "off", or the ``calibrated.yaml`` of an earlier run; see `taught`
    overwrite : replace the maps of an earlier run in `out`, all of them; False refuses
    scan : how the data were taken, see `scan.Scan`

    Raises `InputError` for anything wrong with files or options; then nothing is written.
    """
    started = time.perf_counter()
    request = checked(estimator, mri, lam, errors, repeats, seed, omega_max, own)
    taken, dead_time = Scan.or_auto(**scan)
    if not overwrite:
        result.check_free(out)
    with atomic.staged(out, instead_of=result.OURS) as folder:
        data = taught.teach(measurement.read(dmi, mri, mask, model, request, taken), str(calibrate), dead_time)
        request, read = data.request, time.perf_counter()
        given = {"dmi": dmi, "mri": mri, "mask": mask, "out": out}
        found, done = estimated(request, data), time.perf_counter()
        settings = provenance.settings(given, request, model, taken, dead_time, calibrate)
        summary = judged_and_written(folder, request, data, found, settings) | provenance.cost(started, read, done)
        result.write_summary(folder, summary)
    return summary


def judged_and_written(folder, request: Request, data: Measurement, found: Estimated, settings: dict) -> dict:
    """Errors, what is left of lesions, and flags; writes them with the maps and returns the summary."""
    series, model, maps = data.series, data.series.model, found.maps
    usable = np.moveaxis(series.usable, 0, 3) if len(series) > 1 else series.usable[0]
    counts = data.counts | {
        "without_result": int((~np.isfinite(maps.values).all(0) & usable).sum()),
        "not_converged": int(maps.attrs["not_converged"]),
    }
    error_maps, how, warnings = judged(request, data, found)
    risk = lesions_left(request, found)
    flags = found.flags
    dataset = result.assemble(maps, found.errors, error_maps, flags, found.adapted)
    files = result.write(folder, dataset, series.affine)
    if data.taught is not None:
        data.taught.write(folder)
    if data.proposed is not None:
        data.proposed.write(folder, series.affine)
    left = [risk["sentence"]] if risk else list(found.adapted.notes if found.adapted else ())
    warnings = [*data.warnings, *warnings, *left, *found.said]
    warnings += measurement.remarks(data, counts, request.estimator, settings["mri"], request.lam)
    return {
        "notice": NOTICE,
        "versions": provenance.versions(),
        "settings": settings,
        "signal_model": model.to_dict(),
        "signal_model_hash": model.hash,
        "weights": None if data.network is None else {"name": data.network.name, "sha256": data.network.hash},
        "counts": counts,
        "mask": data.proposed and data.proposed.about,
        "acquisition": assumed.about(data, settings["scan"], found.errors.estimates.amplitudes),
        "units": maps.attrs["units"],
        "files": files["conc"],
        "calibration": data.taught and data.taught.about,
        "lambda_choice": found.choice,
        "adapted": found.adapted and {**found.adapted.settings, "sentence": found.adapted.about, "files": files["map"]},
        "errors": how
        | ({} if error_maps is None else {"files": [n for kind in ("sd", "bias", "low", "high") for n in files[kind]]}),
        "false_negative": risk,
        "flags": {flag.reason: flag.about_file(name) for flag, name in zip(flags, files["flag"], strict=True)},
        "frames": len(series),
        "warnings": warnings,
    }


def judged(request: Request, data: Measurement, found: Estimated) -> tuple[ErrorMaps | None, dict, list[str]]:
    """Errors of the maps, what the summary says of them, and warnings."""
    started, errors, biased = time.perf_counter(), found.errors, "neighbors" in request.uses
    maps, closed, repeated = None, request.way == "closed", request.way == "montecarlo"
    try:
        if closed and found.adapted:
            maps = errors.of_adapted(found.adapted)
        elif closed:
            maps = errors.closed_form(found.settings)
        elif repeated:
            maps = repetition.repeated(errors, found.method, request.repeats, request.seed, found.settings, biased)
        warnings = errors.warnings() if maps is not None or found.choice else []
        if maps is not None:
            usable = errors.series.usable if len(errors.series) > 1 else errors.series.usable[0]
            values = np.moveaxis(found.maps.values, 0, -1)
            values = np.moveaxis(values, 3, 0)[usable] if len(errors.series) > 1 else values[usable]
            maps = maps if data.taught is None else data.taught.on_errors(maps, errors, found.settings)
            maps = data.scale.on_errors(maps, values)
    except InputError as problem:
        if request.forced:
            raise
        how = {"method": "none", "how": f"not estimated: {problem}"}
        return None, how, [f"No errors were estimated: {problem}"]
    if maps is None:
        return None, {"method": "none", "how": "not asked for"}, warnings
    model = errors.model
    excess = np.median(errors.excess[data.inside], 0).round(4).tolist() if closed else ()
    how = {
        "method": "monte carlo" if repeated else "the estimator's own" if found.adapted else "closed form",
        "how": result.explained(
            maps,
            errors,
            request.estimator,
            request.repeats if repeated else None,
            found.adapted.how if found.adapted else "",
        ),
        "noise_sd": float(f"{errors.noise.level:.6g}"),
        "noise_samples": "late, or outside the signal subspace; median over voxels and frames",
        "sd_relative_error_of_probing": number(maps.probing_error),
        "repeats": request.repeats if repeated else None,
        "seed": request.seed if repeated else None,
        "single_voxel_sd_over_bound": {n: number(e) for n, e in zip(model.names, excess, strict=True)}
        if closed
        else None,
        **result.medians(maps, model.names, model.divisor, data.inside),
        "seconds": round(time.perf_counter() - started, 3),
    }
    return maps, how, warnings


def lesions_left(request: Request, found: Estimated) -> dict | None:
    """What is left of lesions that the MRI does not show, see `lesions.false_negative`; water of one frame."""
    errors, settings, model = found.errors, found.settings, found.errors.model
    smoothing = errors.smoothing
    if smoothing is None and hasattr(found.method, "approaches"):
        smoothing = Smoothing.of(found.method.approaches, errors.series, errors.sound)
        settings = np.full(len(model.names), found.method.lam)
    if smoothing is None or "mri" not in request.uses:
        return None
    smoother, frames = smoothing.groups[0]
    w = model.index(model.reference)
    water = smoothing.of_frames(frames[:1], errors.estimates.amplitudes)[0, :, w]
    named = {n: float(x) for k, (n, x) in enumerate(zip(model.names, settings, strict=True)) if k != w}
    return lesions.false_negative(smoother, water, named)
