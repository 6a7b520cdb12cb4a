"""What a report says in words and tables, as Markdown: settings, results, warnings, files."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from precise_lib import show
from precise_lib.io import nifti
from precise_lib.quantify import result
from precise_lib.quantify.report import Report, code, plain
from precise_lib.quantify.result import FILE
from precise_lib.signal.parts import DEUTERIUM_MHZ_PER_T


def about(report: Report) -> str:
    """Header, grid and settings as a Markdown table."""
    a, axes = report.model.acquisition, "".join(nib.aff2axcodes(report.data.affine))
    grid = f"{' x '.join(map(str, report.data.grid_shape))} voxels of {_sizes(report.data.affine)} mm"
    field = f" ({a.spectrometer_frequency_mhz / DEUTERIUM_MHZ_PER_T:.2f} T)" if a.nucleus == "2H" else ""
    settings, weights, counts = (report.summary[k] for k in ("settings", "weights", "counts"))
    rows = {
        "nucleus, frequency": f"{a.nucleus}, {a.spectrometer_frequency_mhz:.4g} MHz{field}",
        "FID": f"{a.n_samples} points at {1e6 * a.dwell_time_s:.4g} µs: {a.bandwidth_hz:.4g} Hz"
        + (f", the last {a.n_samples - report.n_measured} zero-filled" if report.n_measured < a.n_samples else ""),
        "grid": f"{grid}, axes {axes}",
        "frames": f"{len(report.series)}; pictures and numbers of one frame are of the last",
        "MRI": "none" if report.data.mri is None else _about_mri(report),
        "voxels quantified": f"{counts['estimated']} of {counts['voxels']}",
        "signal model": ", ".join(f"{r.name} {r.ppm:g} ppm" for r in report.model.resonances),
        "estimator": settings["estimator"] + ("" if weights is None else f", network {weights['name']}"),
        "lambda": "none" if settings["lambda"] is None else str(settings["lambda"]),
    }
    if report.summary["adapted"]:
        rows["prior"] = report.summary["adapted"]["sentence"]
    scan = report.summary["acquisition"]
    rows |= {f"header: {key}": text for key, text in scan["header"].items()}
    rows |= {f"given: {key}": str(value) for key, value in scan["given"].items()}
    rows |= {f"assumed: {each['what']}": each["sentence"] for each in scan["assumed"]}
    if len(report.series) == 1:
        del rows["frames"]
    return show.table(["", ""], ([plain(name), plain(text)] for name, text in rows.items()))


def _about_mri(report: Report) -> str:
    ours, theirs = (a[:3, :3] / np.linalg.norm(a[:3, :3], axis=0) for a in (report.data.affine, report.data.mri_affine))
    cosine = np.abs(ours.T @ theirs).max(1).min()  # between the slice normals, whichever way the axes run
    grid = f"{' x '.join(map(str, report.data.mri.shape))} of {_sizes(report.data.mri_affine)} mm"
    return f"{grid}, turned by {np.degrees(np.arccos(min(cosine, 1.0))):.0f}° against the grid"


def results(report: Report) -> str:
    """Median concentration with its spread over voxels and the median SD and bias, as a Markdown table."""
    kinds = [kind for kind in ("sd", "bias") if report.maps[kind]]
    titles, errors = {"sd": "SD of a voxel (median)", "bias": "bias (median)"}, report.summary["errors"]
    noise_alone = errors.get("median_bias_of_noise_alone_mm", {})
    head = ["metabolite", "median", "middle half of the voxels", *(titles[kind] for kind in kinds)]
    head += ["bias that noise alone would show"] if noise_alone else []
    rows, digits = [], ".2f" if report.model.reference else ".3g"  # the data's own units may be of any size
    for name in report.metabolites:
        low, middle, high = np.nanpercentile(report.maps["conc"][name], [25, 50, 75])
        others = [
            f"{np.nanmedian(report.maps[kind][name]):{digits}}" if name in report.maps[kind] else "" for kind in kinds
        ]
        others += [f"{noise_alone[name]:.2f}"] if noise_alone else []
        rows.append([plain(name), f"{middle:{digits}}", f"{low:{digits}} to {high:{digits}}", *others])
    which = "the voxels of the proposed mask" if report.summary["mask"] else "the voxels quantified"
    which = which if len(report.series) == 1 else f"{which} in the last frame"
    how = plain(f"All in {report.summary['units']}, over {which}. Errors: {errors['how']}.")
    return f"{how}\n\n{show.table(head, rows)}"


def warnings(report: Report) -> str:
    """Every sentence of caution in the summary, as a Markdown list."""
    return "\n".join(f"- {plain(text)}" for text in report.summary["warnings"]) or "Nothing to warn of was found."


def files(report: Report) -> str:
    """What was written, as a Markdown table."""
    rows = []
    for name in result.files(report.summary):
        said = nifti.description_of(nib.load(report.source.out / name))
        rows.append([code(name), plain(said)])
    rows.append(["<code>summary.json</code>", "versions, settings, counts, warnings, timings"])
    rows.append([f"<code>{FILE}</code>", "all of it for Python: maps, errors, flags, fit (xarray)"])
    return show.table(["file", "what"], rows)


def _sizes(affine) -> str:
    """Edge lengths of a voxel in mm, to a hundredth."""
    return " x ".join(f"{size:.2f}".rstrip("0").rstrip(".") for size in np.linalg.norm(affine[:3, :3], axis=0))
