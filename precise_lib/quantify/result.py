"""The result of one data set as one Dataset, written beside NIfTI maps and a summary.

Over (x, y, z[, frame]): ``concentration``, ``sd``, ``bias`` (absolute) in mM and ``amplitude`` of the fit for each
`metabolite`, and the ends ``low`` and ``high`` of intervals where an estimator states them; ``flags`` for each
`reason`, 1 where it holds; ``snr`` of the reference, ``shift_hz``, ``broadening_hz``, ``phase_rad``; maps of an
estimator's own have the attribute ``description``. Attributes: ``noise_sd``, ``n_measured``, and ``summary``, the text
of ``summary.json``.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path

import netCDF4
import numpy as np
import xarray as xr

from precise_lib.errors import InputError, reason
from precise_lib.estimate.registry import Adapted
from precise_lib.evaluate.closed_form import ErrorMaps
from precise_lib.io import nifti
from precise_lib.quantify import proposed
from precise_lib.quantify.errors import ErrorModel, number
from precise_lib.quantify.flags import Flag
from precise_lib.signal.noise import water_snr

FILE = "result.nc"
# prefix of the NIfTI maps -> variable
KINDS = {"conc": "concentration", "sd": "sd", "bias": "bias", "low": "low", "high": "high"}
OURS = (
    *(f"{kind}_*.nii.gz" for kind in (*KINDS, "flag", "map")),
    FILE,
    proposed.FILE,
    "summary.json",
)  # what a run may leave


def check_free(folder) -> None:
    """Raise `InputError` where a folder holds the maps of an earlier run."""
    left = sorted({path.name for pattern in OURS for path in Path(folder).glob(pattern)})
    if left:
        raise InputError(
            f"{folder} holds the maps of an earlier run ({left[0]} and {len(left) - 1} more files): give another "
            "folder, or --overwrite, which removes them."
        )


def assemble(
    maps: xr.DataArray,
    errors: ErrorModel,
    found: ErrorMaps | None,
    flags: list[Flag],
    adapted: Adapted | None = None,
) -> xr.Dataset:
    """The result without its summary, from maps (metabolite, x, y, z[, frame]) in mM and errors `found` (N, M)."""
    series, known, model = errors.series, errors.estimates, errors.model
    n = model.acquisition.n_samples - known.zero_filled
    dims, sigma = maps.dims[1:], errors.sigma_or_residual
    out = xr.Dataset({"concentration": maps, "amplitude": series.to_maps(known.fit.amplitudes, "amplitude")})
    if found is not None:
        out["sd"] = series.to_maps(found.sd, "sd")
        if found.bias is not None:
            out["bias"] = series.to_maps(np.abs(found.bias), "bias")
    if found is not None and adapted and adapted.sd is not None and adapted.width is not None:
        half = series.to_maps(adapted.width * found.sd, "half")
        out["low"], out["high"] = (x.assign_attrs(maps.attrs) for x in (maps - half, maps + half))
    own = adapted.maps if adapted else {}
    for name, (values, description) in own.items():
        out[name] = dims, series.on_grid(values), {"description": description}
    with np.errstate(divide="ignore", invalid="ignore"):
        snr = water_snr(model, known.fit.amplitudes, sigma, known.fit.broadening_hz)
        snr = snr * np.sqrt(model.acquisition.n_samples / n)
    for name, values in {"snr": snr, **known.distortions}.items():
        out[name] = dims, series.on_grid(values)
    if flags:
        hits = np.stack([series.on_grid(flag.hits, False) for flag in flags])
        out = out.assign(flags=(("reason", *dims), hits.astype(np.uint8)))
        out = out.assign_coords(reason=[flag.reason for flag in flags])
    return out.assign_attrs(units=maps.attrs["units"], noise_sd=float(np.median(sigma)), n_measured=n)


def write(folder, result: xr.Dataset, affine) -> dict[str, list[str]]:
    """Write ``result.nc`` and NIfTI maps, ``<prefix>_<metabolite>``, ``flag_<reason>`` and ``map_<name>``; names by
    prefix."""
    files = {kind: [] for kind in (*KINDS, "flag", "map")}
    for prefix, variable in KINDS.items():
        if variable in result:
            files[prefix] = [p.name for p in nifti.write_maps(folder, prefix, result[variable], affine)]
    for about in result["reason"].values if "flags" in result else ():
        name = nifti.map_file("flag", str(about))
        nifti.write_image(Path(folder) / name, result["flags"].sel(reason=about).values > 0, affine, str(about))
        files["flag"].append(name)
    for own in (x for x in result.data_vars.values() if "description" in x.attrs):
        name = nifti.map_file("map", own.name)
        nifti.write_image(Path(folder) / name, own.values, affine, own.attrs["description"])
        files["map"].append(name)
    packed = {name: {"zlib": True} for name in result.data_vars}
    packed |= {name: {"zlib": True, "dtype": "float32"} for name in KINDS.values() if name in result}
    with _disk():
        result.to_netcdf(Path(folder) / FILE, engine="netcdf4", encoding=packed)
    return files


def summary_text(summary: dict) -> str:
    """The text of a summary in the files; a number that JSON does not have, such as an infinite setting, as text."""
    return json.dumps(_spelled(summary), indent=2, allow_nan=False) + "\n"


def _spelled(part):
    if isinstance(part, dict):
        return {key: _spelled(value) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [_spelled(value) for value in part]
    return str(part) if isinstance(part, float) and not np.isfinite(part) else part


def write_summary(folder, summary: dict) -> None:
    """Write ``summary.json``, and the same text into ``result.nc``."""
    (Path(folder) / "summary.json").write_text(summary_text(summary))
    with _disk(), netCDF4.Dataset(Path(folder) / FILE, "a") as stored:
        stored.summary = summary_text(summary)


@contextmanager
def _disk():
    """netCDF says neither that the disk is full nor what names it takes."""
    try:
        yield
    except RuntimeError as error:
        raise InputError(f"{FILE} could not be written, as on a full disk ({reason(error)}): make room.") from error
    except UnicodeEncodeError as error:
        raise InputError(f"{FILE} cannot be in a folder whose name is not UTF-8: give another folder.") from error


def read(folder) -> xr.Dataset:
    """What `write` and `write_summary` wrote; `InputError` where ``summary.json``, the last, is missing or another."""
    try:
        said = (Path(folder) / "summary.json").read_text()
        with xr.open_dataset(Path(folder) / FILE, engine="netcdf4") as stored:
            found = stored.load()
    except Exception as error:  # the libraries behind netCDF raise anything on a damaged file
        raise InputError(f"The results in {folder} are not complete ({reason(error)}): quantify again.") from error
    if found.attrs.get("summary") != said:
        raise InputError(f"{FILE} and summary.json in {folder} are not of one run: quantify again.")
    return found


def files(summary: dict) -> list[str]:
    """Names of all NIfTI maps of a run, sorted."""
    own = [summary["mask"]["file"]] if summary["mask"] else ()
    parts = (summary["files"], summary["errors"].get("files", ()), (summary["adapted"] or {}).get("files", ()), own)
    return sorted([*(name for part in parts for name in part), *(f["file"] for f in summary["flags"].values())])


def medians(maps: ErrorMaps, names: list[str], skip: int | None, inside) -> dict:
    """Medians of the error maps in mM over rows `inside`, and how much of the bias map noise alone would show."""
    sd, bias, noise = (None if x is None else x[inside] for x in (maps.sd, maps.bias, maps.bias_noise))

    def named(values):
        return {n: number(v) for k, (n, v) in enumerate(zip(names, values, strict=True)) if k != skip}

    with np.errstate(invalid="ignore"):
        out = {"median_sd_mm": named(np.nanmedian(sd, 0))}
        if bias is not None:
            out["median_bias_mm"] = named(np.nanmedian(np.abs(bias), 0))
        if noise is not None:
            square = np.nanmean(bias**2 - noise**2, 0)
            out["median_bias_of_noise_alone_mm"] = named(0.6745 * np.nanmedian(noise, 0))
            out["rms_bias_without_noise_mm"] = named(np.sqrt(np.maximum(square, 0)))
            out["rms_sd_mm"] = named(np.sqrt(np.nanmean(sd**2, 0)))
    return out


def explained(maps: ErrorMaps, errors: ErrorModel, name: str, repeats: int | None, stated: str = "") -> str:
    """How the errors came about, in a sentence; `repeats` is None for the closed form, or what is `stated` for it."""
    single = errors.estimates.single
    mean = "their mean" if repeats else f"'{name}'"
    moved = "" if maps.bias is None else f"; bias = |{mean} - '{single.name}'|, noise of '{single.name}' included"
    if repeats:
        said = f"SD of {repeats} repetitions of the whole chain on the FIDs that '{single.name}' describes"
        return f"{said}, with new noise{moved}"
    if stated:
        return stated + moved
    said = "SD to first order from the Cramer-Rao bound at the estimated noise and line width"
    said += "" if getattr(single, "efficient", False) else f", times what '{single.name}' is above it"
    said += f", through the linear map of the prior{moved}" if moved else ""
    if errors.smoothing and errors.smoothing.iterated:
        said += "; Eq. 4 was solved by conjugate gradients, to ten digits"
    if maps.probing_error:
        said += (
            "; the rows of the map were probed, at a relative error of the SD of "
            f"{100 * maps.probing_error:.1g} % on rows computed in full"
        )
    return said
