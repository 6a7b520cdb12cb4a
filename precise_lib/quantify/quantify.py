"""From files to concentration maps, errors and flags, and how they came about: the work of ``precise quantify``."""

from __future__ import annotations

import platform
import re
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import xarray as xr

from precise_lib import NOTICE, __version__, estimate
from precise_lib.errors import InputError
from precise_lib.estimate.noise_model import Noise
from precise_lib.estimate.registry import Adapted, single_voxel
from precise_lib.evaluate.closed_form import ErrorMaps
from precise_lib.io import atomic
from precise_lib.quantify import assumed, estimates, lesions, measurement, repetition, result, taught
from precise_lib.quantify.errors import ErrorModel, choose_settings, number
from precise_lib.quantify.estimates import Estimates, Smoothing
from precise_lib.quantify.flags import Flag
from precise_lib.quantify.measurement import Measurement, Request
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
    against them, see `flags`. Maps of a dynamic set have a fourth axis, the frames; network, noise level and settings
    are the same for all.

    Parameters
    ----------
    dmi, mri, mask : paths, see `io.read_series`
    out : folder; files of these names are replaced, all together at the end
    estimator : registered name, or that of `estimate.load`; default ``precise`` with an MRI, ``sve`` without
    lam : lambda of Eq. 4, default 0.01, or "auto": chosen from the data for each metabolite
    model : see `measurement.resolve_model`
    errors : "closed" (from the noise level, the bound and the linear map of the prior), "montecarlo" (the whole chain
        repeated, as in the paper) or "none"; default closed where the estimator offers what that needs, else none
    repeats, seed : of "montecarlo"
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
    request = measurement.checked(estimator, mri, lam, errors, repeats, seed, omega_max, own)
    dead_time = scan.get("dead_time_s") == "auto"
    taken = Scan(**scan | ({"dead_time_s": None} if dead_time else {}))
    if not overwrite:
        result.check_free(out)
    with atomic.staged(out, instead_of=result.OURS) as folder:
        data = taught.teach(measurement.read(dmi, mri, mask, model, request, taken), str(calibrate), dead_time)
        request, read = data.request, time.perf_counter()
        given = {"dmi": dmi, "mri": mri, "mask": mask, "out": out}
        settings = {name: None if p is None else str(p) for name, p in given.items()} | {
            "estimator": request.estimator,
            "lambda": request.lam if "lambda" in request.uses or request.lam == "auto" else None,
            "omega_max": request.omega_max if "cap" in request.uses else None,
            "options": request.own,
            "model": None if model is None else str(model),
            "scan": taken.set | ({"dead_time_s": "auto"} if dead_time else {}),
            "calibrate": str(calibrate),
        }
        found = estimated(request, data)
        times = {"read": read - started, "estimate": time.perf_counter() - read}
        summary = judged_and_written(folder, request, data, found, settings)
        times["total"] = time.perf_counter() - started
        times["write"] = times["total"] - times["estimate"] - times["read"]
        summary |= {"timings_s": {k: round(t, 3) for k, t in times.items()}, "peak_memory_mib": peak_memory_mib()}
        result.write_summary(folder, summary)
    return summary


@dataclass(frozen=True)
class Estimated:
    """Maps in mM with the estimator, the error model behind them, and the setting of the prior for each metabolite.

    `adapted` is all that an estimator says which adapts to the data set.
    """

    method: object
    errors: ErrorModel
    maps: xr.DataArray
    flags: list[Flag]
    said: list[str]  # of the flags, worth a warning
    settings: np.ndarray | None = None
    choice: dict | None = None
    adapted: Adapted | None = None


def estimated(request: Request, data: Measurement) -> Estimated:
    """By what the estimator offers: a map or amplitudes of all voxel-frames at once, else one frame after the other."""
    series, model = data.series, data.series.model
    method = estimate.make(request.estimator, **request.options(data.network))
    single = single_voxel(method, model)
    noise = None
    with suppress(InputError):  # who asks for errors or flags is told
        noise = Noise.of(series, data.zero_filled)
    known = estimates.estimate(series, single, data.zero_filled, noise)
    flags, said, sound = flagged(known, method)
    smoothing = Smoothing.of(method.smoother, series, sound) if hasattr(method, "smoother") else None
    errors, settings, choice, adapted = ErrorModel(known, smoothing, sound, data.reference), None, None, None
    failed = int((~known.fit.converged).sum()) if hasattr(single, "fit") else 0
    if request.lam == "auto" and smoothing:
        settings, choice = choose_settings(errors, method.values)
    elif smoothing:
        settings = np.full(len(model.names), float(getattr(method, getattr(method, "parameter", ""), 0.0)))
    if hasattr(method, "adapted"):
        adapted = errors.adapted(method, request.way == "closed")
        own = [Flag(reason, hits, sentence) for reason, (hits, sentence) in adapted.flags.items()]
        flags, said = flags + own, said + [flag.sentence for flag in own if flag.worth_saying]
        values = adapted.concentrations
    elif smoothing or single is method:
        values = errors.concentrations(settings)
    elif data.reference is not None:
        raise InputError(
            f"'{request.estimator}' knows the water of each frame alone: give another reference to fit, sve or precise."
        )
    else:
        mixed = sound if "neighbors" in request.uses else None
        values, lost = zip(*(known.of_frame(method, i, mixed) for i in range(len(series))), strict=True)
        failed, values = sum(lost), np.concatenate(values)
    maps = series.to_maps(data.scale.factor * values, request.estimator).assign_attrs(not_converged=failed)
    return Estimated(method, errors, maps, flags, said, settings, choice, adapted)


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
    left = [risk["sentence"]] if risk else list(found.adapted.notes if found.adapted else ())
    warnings = [*data.warnings, *warnings, *left, *found.said]
    warnings += measurement.remarks(data, counts, request.estimator, settings["mri"], request.lam)
    return {
        "notice": NOTICE,
        "versions": versions(),
        "settings": settings,
        "signal_model": model.to_dict(),
        "signal_model_hash": model.hash,
        "weights": None if data.network is None else {"name": data.network.name, "sha256": data.network.hash},
        "counts": counts,
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
    excess = zip(model.names, np.median(errors.excess, 0).round(4).tolist(), strict=True) if closed else ()
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
        "single_voxel_sd_over_bound": {name: number(e) for name, e in excess} if closed else None,
        **result.medians(maps, model.names, model.divisor),
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


def flagged(known: Estimates, method) -> tuple[list[Flag], list[str], np.ndarray]:
    """Flags, the sentences that are worth a warning, and the voxel-frames (N,) that tell about others."""
    try:
        flags = known.flags(method)
    except InputError as problem:
        return [], [f"Nothing was checked: {problem}"], known.sound([])
    said = {flag.reason: flag.sentence for flag in flags if flag.worth_saying}
    mirrored = known.mirrored() if {"residual", "negative"} & set(said) else None
    return flags, [*said.values(), *filter(None, (mirrored, known.unmasked(flags)))], known.sound(flags)


def peak_memory_mib() -> int | None:
    """Peak memory of this process so far; None where the system does not tell."""
    with suppress(OSError, TypeError):  # of this program alone; `resource` may count the one that started it
        return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) // 1024
    with suppress(ImportError):  # on Windows
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return None


def versions() -> dict:
    """Versions of what the numbers depend on."""
    packages = {name: metadata.version(name) for name in ("numpy", "scipy", "torch")}
    return {"precise_lib": __version__, "python": platform.python_version(), **packages}
