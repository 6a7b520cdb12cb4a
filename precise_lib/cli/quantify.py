"""``precise quantify`` and ``precise report``: files to concentration maps and their errors, and a page on them."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import Annotated

import typer

from precise_lib.errors import printable

Mri = Annotated[Path | None, typer.Option(help="MRI as NIfTI, on any grid that covers the MRSI.")]
Mask = Annotated[
    Path | None,
    typer.Option(
        help="Mask as NIfTI; on another grid it is brought to the MRSI. Without one it is proposed by the SNR of "
        "water, and used for what voxels tell together; 'none' counts every voxel."
    ),
]

# what is to be done
Estimator = Annotated[
    str | None,
    typer.Option(
        help="fourier, fit, sve, precise, adaptive, or another registered one; default adaptive with an MRI (precise "
        "where --lam or --omega-max is given), else sve. Your own as package.module:factory or file.py:factory, whose "
        "code is run."
    ),
]
Lam = Annotated[
    str | None,
    typer.Option(help="Weight of the MRI prior (lambda of Eq. 4), default 0.01; 0 gives sve, auto chooses it."),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="Weights by name or hash ('precise models' lists them) or as a .safetensors file; "
        "for fourier and fit also a YAML signal model."
    ),
]
Errors = Annotated[
    str | None,
    typer.Option(
        help="How sd_ and bias_ maps are made: closed (default where the estimator allows it), montecarlo or none."
    ),
]
Repeats = Annotated[int, typer.Option(help="Repetitions of --errors montecarlo.")]
Seed = Annotated[int, typer.Option(help="Seed of --errors montecarlo.", min=0)]
OmegaMax = Annotated[
    float | None,
    typer.Option(
        help="Cap of the edge weights of Eq. 5, default 5.5: steps of more than 1/sqrt(cap) of the MRI's gray "
        "range count as edges. Raise it, and lower lambda, where the anatomy has little contrast."
    ),
]
Own = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Another option of the estimator, any number of times: tau, neighbors, mri, frames and gray of adaptive, "
        "each chosen from the data where it is not given; slack and tolerance, see the page on the adaptive prior.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Remove the maps of an earlier run in the folder first.")]

# how the data were taken, see `quantify.scan.Scan`
DeadTime = Annotated[
    str | None,
    typer.Option(
        help="Time from the excitation to the first sample, s; default as the header says; 'auto' estimates it."
    ),
]
RepetitionTime = Annotated[str | None, typer.Option(help="Repetition time, s; default as the header says.")]
FlipAngle = Annotated[str | None, typer.Option(help="Flip angle, degrees; default as the header says.")]
ReferenceFrame = Annotated[
    int | None, typer.Option(help="Refer to the water of this frame (0 is the first), not to that of each frame.")
]
Water = Annotated[
    Path | None, typer.Option(help="Refer to this water: NIfTI-MRS on the same grid, or a map of its mM as NIfTI.")
]
B1 = Annotated[Path | None, typer.Option(help="Map of the actual over the nominal flip angle, as NIfTI.")]
T1 = Annotated[str | None, typer.Option(help="T1 in s by name, with SD: 'water=0.32,Glc=0.064+-0.01'.")]
Average = Annotated[
    bool, typer.Option("--average", help="Align the transients (DIM_DYN) in frequency and phase, and average.")
]
NoiseScan = Annotated[Path | None, typer.Option(help="Noise scan of the same coils, as NIfTI-MRS.")]
Deuterons = Annotated[str | None, typer.Option(help="Nuclei per molecule by name: 'Glc=2'; default 1.")]
Calibrate = Annotated[
    str,
    typer.Option(
        help="auto: where the residual of all voxels together is no noise, the data set teaches its signal model "
        "(dead time, frequencies, widths, lineshape); off; or the calibrated.yaml of an earlier run."
    ),
]


def options(
    mri: Mri = None,
    mask: Mask = None,
    estimator: Estimator = None,
    lam: Lam = None,
    model: Model = None,
    errors: Errors = None,
    repeats: Repeats = 100,
    seed: Seed = 0,
    omega_max: OmegaMax = None,
    own: Own = None,
    dead_time: DeadTime = None,
    tr: RepetitionTime = None,
    flip_angle: FlipAngle = None,
    reference_frame: ReferenceFrame = None,
    water: Water = None,
    b1: B1 = None,
    t1: T1 = None,
    overwrite: Overwrite = False,
    average: Average = False,
    noise: NoiseScan = None,
    deuterons: Deuterons = None,
    calibrate: Calibrate = "auto",
) -> dict:
    """Those of `precise_lib.quantify.quantify` by name; an estimator from outside is loaded."""
    if estimator is not None and ":" in estimator:
        from precise_lib import estimate

        estimate.load(estimator)  # code that was asked for by name
    given = {"mri": mri, "mask": mask, "estimator": estimator, "lam": lam, "model": model, "errors": errors}
    given |= {"repeats": repeats, "seed": seed, "omega_max": omega_max, "own": _own(own)}
    given |= {"dead_time_s": dead_time, "repetition_time_s": tr, "flip_angle_deg": flip_angle}
    given |= {"reference_frame": reference_frame, "water": water, "b1": b1, "t1": t1, "deuterons": deuterons}
    return given | {"average": average, "noise": noise, "calibrate": calibrate, "overwrite": overwrite}


def _with_options(command):
    """A command (dmi, out, **options of `quantify.quantify`) as one that takes `options`."""

    @functools.wraps(command)
    def taking(dmi, out, **given):
        return command(dmi, out, **options(**given))

    shared, own = (inspect.signature(f, eval_str=True).parameters for f in (options, command))
    taken = [*list(own.values())[:2], *shared.values()]
    taking.__signature__ = inspect.Signature(taken)
    taking.__annotations__ = {parameter.name: parameter.annotation for parameter in taken}
    return taking


@_with_options
def quantify(
    dmi: Annotated[Path, typer.Argument(help="MRSI as NIfTI-MRS.")],
    out: Annotated[Path, typer.Option(help="Folder to write conc_<metabolite>.nii.gz and summary.json to.")],
    **given,
):
    """Concentration maps in mM by the water reference, with their SD and the bias that the prior brings."""
    from precise_lib import NOTICE
    from precise_lib.quantify import quantify as run

    summary = run(dmi, out, **given)
    for warning in summary["warnings"]:
        typer.echo(f"Note: {printable(warning)}", err=True)
    counts, used = summary["counts"], summary["settings"]["estimator"]
    typer.echo(f"Quantified {counts['estimated']} of {counts['voxels']} voxels with '{used}'; wrote {out}")
    typer.echo(NOTICE)


@_with_options
def report(
    dmi: Annotated[str, typer.Argument(help="MRSI as NIfTI-MRS; 'simulated rings' shows the example of the book.")],
    out: Annotated[Path, typer.Option(help="Folder for report.html, report.ipynb and the maps.")],
    **given,
):
    """Quantify a data set and write a page about it: spectra, SNR, B0, maps with errors, warnings.

    Exit code 2: the input cannot be used; 1: the report itself failed. failed.ipynb then shows how far it came.
    """
    from precise_lib.quantify.page import make

    try:
        page = make(dmi, out, **given)
    except RuntimeError as error:
        typer.echo(f"precise: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"Wrote {page}, report.ipynb and the maps to {out}")


def _own(pairs: list[str] | None) -> dict:
    """NAME=VALUE as a dict; numbers as such."""
    from precise_lib.errors import InputError

    out = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not (equals and name.isidentifier()):
            raise InputError(f"--set {pair}: write NAME=VALUE, for example tau=2.")
        try:
            out[name] = float(value)
        except ValueError:
            out[name] = value
    return out
