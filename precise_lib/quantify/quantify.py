"""From files to concentration maps and a summary of how they came about: the work of ``precise quantify``."""

from __future__ import annotations

import json
import platform
import sys
import time
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import numpy as np

from precise_lib import NOTICE, __version__, estimate
from precise_lib.errors import InputError, reason
from precise_lib.estimate import catalog
from precise_lib.estimate.prior import OMEGA_MAX
from precise_lib.io import atomic, nifti, nifti_mrs, text
from precise_lib.quantify import errors as uncertainty
from precise_lib.quantify import outcome
from precise_lib.signal.model import Acquisition, SignalModel
from precise_lib.signal.mrsi import LARGEST, SMALLEST, Series
from precise_lib.signal.presets import default_2h_model

CLOSED_FORM = ("fit", "sve", "precise")  # estimators whose errors need no repetition


def read_signal_model(path, acquisition: Acquisition) -> SignalModel:
    """A `SignalModel` from a YAML or JSON file; without ``acquisition`` it takes that of the data.

    Example of a file::

        carrier_ppm: 4.7
        resonances:
          - {name: water, ppm: 4.7, t2star_s: 0.03}
          - {name: Glc, ppm: 3.7, t2star_s: 0.03}

    Raises
    ------
    InputError : not readable, a missing or unknown field, or a value that is no number
    """
    values = text.read_yaml(path, "The signal model")
    if not isinstance(values, dict):
        raise InputError(f"The signal model {path} must be a mapping with 'resonances'.")
    try:
        model = SignalModel.from_dict({"acquisition": asdict(acquisition), **values})
        if not np.isfinite(model.basis()).all() or not model.reference_concentration_mm > 0:
            raise ValueError("a number is out of range")
    except (InputError, TypeError, ValueError) as error:
        raise InputError(f"The signal model {path} cannot be used: {reason(error)}.") from error
    return model


def resolve_model(choice: str | None, estimator: str, acquisition: Acquisition, dmi="FILE"):
    """Signal model, network (or None) and warnings for ``--model`` and an estimator.

    `choice` is the name or hash of weights (`estimate.catalog`), a .safetensors file, a YAML or JSON signal model
    (for estimators without a network), or None: the first weights that fit the acquisition, or the default 2H model.
    `dmi` is the data file, for messages.
    """
    is_file = choice is not None and Path(choice).suffix.lower() in (".yaml", ".yml", ".json")
    if "network" in estimate.uses(estimator) or (choice is not None and not is_file):
        if is_file:
            raise InputError(
                f"The estimator '{estimator}' needs trained weights, and {choice} is a signal model: "
                f"train them with 'precise train --like {dmi}', or use the estimator 'fit'."
            )
        if choice is None:
            _default_model(dmi, acquisition)  # another nucleus is a matter of the data, not of a missing network
        from precise_lib.estimate.weights import find_weights, load_weights

        network = load_weights(find_weights(acquisition, dmi) if choice is None else choice)
        others = [entry.name for entry in catalog.fitting(acquisition)[1:]] if choice is None else []
        notes = [f"The network '{network.name}' was used; --model names another: {', '.join(others)}."]
        return network.signal_model, network, notes if others else []
    if is_file:
        return read_signal_model(choice, acquisition), None, []
    model = _default_model(dmi, acquisition)
    lines = ", ".join(f"{r.name} {r.ppm} ppm" for r in model.resonances)
    t2_ms = 1e3 * model.t2star_s[0]
    return model, None, [f"No signal model was given: {lines} with T2* {t2_ms:.0f} ms were assumed."]


def _default_model(dmi, acquisition: Acquisition) -> SignalModel:
    try:
        return default_2h_model(acquisition)
    except InputError as error:
        raise InputError(f"{dmi} cannot be used without a signal model: {error}") from error


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
) -> dict:
    """Quantify a NIfTI-MRS file; write concentrations, their errors and ``summary.json`` into `out`.

    The maps are ``conc_<metabolite>.nii.gz``, ``sd_<metabolite>.nii.gz`` and, where there is a prior, the absolute
    ``bias_<metabolite>.nii.gz``, all in mM; ``flag_<reason>.nii.gz`` is 1 where something speaks against them, see
    `trust`. Maps of a dynamic set have a fourth axis, the frames; network, noise level and lambda are the same for all.

    Parameters
    ----------
    dmi, mri, mask : paths, see `io.read_series`
    out : folder; files of these names are replaced, all together at the end
    estimator : registered name, or that of `estimate.load`; default ``precise`` with an MRI, ``sve`` without
    lam : lambda of Eq. 4, default 0.01, or "auto": chosen from the data for each metabolite
    model : see `resolve_model`
    errors : "closed" (from the noise level, the bound and the linear map of the prior), "montecarlo" (the whole chain
        repeated, as in the paper) or "none"; default closed for `CLOSED_FORM`, none for the others
    repeats, seed : of "montecarlo"
    omega_max : cap of Eq. 5, default `edge_preserving.OMEGA_MAX`; gray levels (0 to 1) that differ by more than
        1 / sqrt(omega_max) count as an edge

    Returns
    -------
    dict, the content of ``summary.json``

    Raises
    ------
    InputError : anything wrong with files or options; then nothing is written
    """
    started = time.perf_counter()
    estimator = estimator or ("sve" if mri is None else "precise")
    estimate.find(estimator)
    lam = parse_lambda(lam, estimator)
    omega_max = parse_omega_max(omega_max)
    outcome.check(errors, repeats)
    if errors == "closed" and estimator not in CLOSED_FORM:
        raise InputError(f"'{estimator}' has no errors in closed form: choose montecarlo, or none.")
    uses = estimate.uses(estimator)
    if "mri" in uses and mri is None:
        alone = "sve" if "network" in uses else "fit"
        raise InputError(f"The estimator '{estimator}' needs an MRI: give --mri, or use the estimator '{alone}'.")
    with atomic.staged(out) as folder:
        stored = nifti_mrs.open_mrsi(dmi)
        signal_model, network, warnings = resolve_model(model, estimator, stored.acquisition, dmi)
        series = nifti_mrs.read_series(stored, mri, mask, signal_model)
        warnings += series.notes
        counts = count_voxels(series)
        if not counts["estimated"]:
            raise InputError(
                f"No voxel of {dmi} can be quantified ({counts['masked_out']} are outside the mask, "
                f"{counts['not_finite']} not finite and {counts['zero']} zero throughout): check file and mask."
            )
        read = time.perf_counter()
        filled = nifti_mrs.zero_filled(series.chunks())
        unsure = uncertainty.Uncertainty(series, network, filled, omega_max)
        options, chosen, lams = {"weights": network} if "network" in uses else {}, None, None
        if "lambda" in uses:
            options["omega_max"] = omega_max
            if lam != "auto":
                options["lam"] = lam = 0.01 if lam is None else lam
        if lam == "auto":
            lams, chosen = unsure.choose_lambda()
        elif "lambda" in uses:
            lams = np.full(len(signal_model.names), lam)
        method = estimate.make(estimator, **options)
        maps = estimated_maps(estimator, method, unsure, lams)
        estimated = time.perf_counter()
        usable = np.moveaxis(series.usable, 0, 3) if len(series) > 1 else series.usable[0]
        counts["without_result"] = int((~np.isfinite(maps.values).all(0) & usable).sum())
        counts["not_converged"] = int(maps.attrs.get("not_converged", 0))
        files = nifti.write_maps(folder, "conc", maps, series.affine)
        way = errors or ("closed" if estimator in CLOSED_FORM else "none")
        exact = lams if estimator == "precise" else None
        try:
            how = outcome.write_errors(folder, way, unsure, method, "neighbors" in uses, exact, repeats, seed)
            warnings += unsure.warnings() if way != "none" or chosen else []
        except InputError as problem:
            if errors is not None:
                raise
            how = {"method": "none", "how": f"not estimated: {problem}"}
            warnings.append(f"No errors were estimated: {problem}")
        risk = None if lams is None else unsure.false_negative(lams)
        warnings += [] if risk is None else [risk["sentence"]]
        flags, said = outcome.write_flags(folder, unsure, estimator)
        warnings += said + _warnings(series, counts, estimator, mri, lam, filled)
        written = time.perf_counter()
        summary = {
            "notice": NOTICE,
            "versions": versions(),
            "settings": {
                "dmi": str(dmi),
                "mri": None if mri is None else str(mri),
                "mask": None if mask is None else str(mask),
                "out": str(out),
                "estimator": estimator,
                "lambda": lam if "lambda" in uses else None,
                "omega_max": omega_max if "lambda" in uses else None,
                "model": None if model is None else str(model),
            },
            "signal_model": signal_model.to_dict(),
            "signal_model_hash": signal_model.hash,
            "weights": None if network is None else {"name": network.name, "sha256": network.hash},
            "counts": counts,
            "units": maps.attrs.get("units"),
            "files": [path.name for path in files],
            "lambda_choice": chosen,
            "errors": how,
            "false_negative": risk,
            "flags": flags,
            "frames": len(series),
            "warnings": warnings,
            "timings_s": {
                "read": round(read - started, 3),
                "estimate": round(estimated - read, 3),
                "write": round(written - estimated, 3),
                "total": round(written - started, 3),
            },
            "peak_memory_mib": peak_memory_mib(),
        }
        (folder / "summary.json").write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
    return summary


def parse_lambda(lam, estimator: str):
    """``--lam``: None, a float, or "auto" for the exact minimizer; raises `InputError` for anything else."""
    if lam is None:
        return None
    if lam == "auto":
        if estimator != "precise":
            raise InputError(f"lambda can be chosen for the estimator 'precise' with an MRI, not for '{estimator}'.")
        return lam
    try:
        value = float(lam)
    except ValueError:
        value = np.nan
    if not (np.isfinite(value) and value >= 0):
        raise InputError(f"lambda is {lam}: give zero, a positive number, or auto.")
    return value


def parse_omega_max(omega_max) -> float:
    """``--omega-max``: a positive number; raises `InputError` for anything else."""
    value = OMEGA_MAX if omega_max is None else float(omega_max)
    if not (np.isfinite(value) and value > 0):
        raise InputError(f"The cap of the edge weights (omega_max) is {omega_max}; give a positive number.")
    return value


def estimated_maps(estimator: str, method, unsure: uncertainty.Uncertainty, lams=None):
    """Maps in mM, DataArray (metabolite, x, y, z[, frame]).

    What `unsure` needs in any case is not estimated again: the fit, the network and the exact minimizer see all
    voxel-frames at once. Every other estimator gets one frame after the other.

    Parameters
    ----------
    estimator, method : registered name and what `estimate.make` made of it
    lams : (M,) of the estimator "precise"
    """
    series, model = unsure.series, unsure.series.model
    if estimator == "precise":
        return series.to_maps(unsure.ratios(lams), estimator)
    if estimator in ("fit", "sve"):
        maps = series.to_maps(model.concentrations(unsure.amplitudes), estimator)
        if estimator == "fit":
            maps.attrs["not_converged"] = int((~unsure.fit.converged).sum())
        return maps
    each = [method(series[i]) for i in range(len(series))]
    maps = series.to_maps(
        np.concatenate([np.moveaxis(m.values, 0, -1)[u] for m, u in zip(each, series.usable, strict=True)]), estimator
    )
    return maps.assign_attrs(each[0].attrs, not_converged=sum(m.attrs.get("not_converged", 0) for m in each))


def count_voxels(series: Series) -> dict:
    """How many voxels there are, in all frames, and why some are not estimated."""
    largest = np.stack([series[i].largest for i in range(len(series))])
    finite, zero = largest <= LARGEST, largest < SMALLEST
    inside = np.ones(finite.shape, bool) if series.mask is None else np.broadcast_to(series.mask, finite.shape)
    return {
        "voxels": int(inside.size),
        "masked_out": int((~inside).sum()),
        "not_finite": int((inside & ~finite).sum()),
        "zero": int((inside & zero).sum()),
        "estimated": int(series.usable.sum()),
    }


def peak_memory_mib() -> int | None:
    """Peak memory of this process so far; None where the system does not tell."""
    try:
        # of this program alone; the figure of `resource` may hold that of the process that started it
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) // 1024
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1 << 20 if sys.platform == "darwin" else 1 << 10)


def versions() -> dict:
    """Versions of what the numbers depend on."""
    packages = {name: metadata.version(name) for name in ("numpy", "scipy", "torch")}
    return {"precise_lib": __version__, "python": platform.python_version(), **packages}


def _warnings(series: Series, counts: dict, estimator: str, mri, lam, filled: int) -> list[str]:
    """What the user should know, in sentences."""
    notes = []
    if counts["not_finite"]:
        notes.append(
            f"{counts['not_finite']} voxel(s) hold values that are not finite or above {LARGEST:g}; they are NaN."
        )
    if counts["zero"]:
        notes.append(f"{counts['zero']} voxel(s) are zero at every time point (below {SMALLEST:g}); they are NaN.")
    if counts["without_result"]:
        reference = series.model.reference
        notes.append(f"In {counts['without_result']} voxel(s) {reference} is not positive; they are NaN in the maps.")
    if filled:
        n = series.model.acquisition.n_samples
        notes.append(f"The last {filled} of {n} time points are zero-filled; they do not count for the noise level.")
    if mri is not None and "mri" not in estimate.uses(estimator):
        notes.append(f"The estimator '{estimator}' does not use the MRI.")
    if lam is not None and "lambda" not in estimate.uses(estimator):
        notes.append(f"The estimator '{estimator}' does not use lambda.")
    return notes
