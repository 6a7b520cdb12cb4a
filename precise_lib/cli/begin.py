"""What to begin with: ``precise simulate`` writes measurements with a known truth, ``precise model`` signal models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from precise_lib.errors import InputError

simulate = typer.Typer(no_args_is_help=True, help="Write simulated measurements with their truth.")
model = typer.Typer(no_args_is_help=True, help="Signal models as files: lines, their places, widths and priors.")


@simulate.callback()
@model.callback()
def _keep():
    """A command of its own stays a subcommand while it is the only one."""


@simulate.command()
def rings(
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    snr: Annotated[float, typer.Option(help="Water peak over noise in the spectrum; inf for no noise.")] = 12.0,
    seed: Annotated[int, typer.Option(help="Seed of the noise.", min=0)] = 0,
    tumor_size: Annotated[int, typer.Option(help="Side of each tumor in voxels.")] = 2,
):
    """The ring phantom of PRECISE-DMI, Fig. 3: FIDs, MRI, mask and true concentrations."""
    from precise_lib.io import nifti_mrs
    from precise_lib.simulate import phantoms

    nifti_mrs.write_phantom(out, phantoms.rings(tumor_size), snr, seed)
    typer.echo(f"Wrote dmi, mri, mask and truth_<metabolite> (.nii.gz) to {out}")


@model.command()
def init(
    out: Annotated[Path, typer.Option(help="YAML file to write.")],
    nucleus: Annotated[str, typer.Option(help="2H, 1H, 31P or 129Xe.")] = "2H",
):
    """Write a commented signal model to edit, for --model of 'precise quantify' and 'precise train --like'."""
    from precise_lib.io import lines
    from precise_lib.io.atomic import write_text

    said = lines.template(nucleus)
    if os.path.lexists(out):  # of os, which says False of a name that is too long
        raise InputError(f"{out} is there already: name another file, or remove it.")
    write_text(out, said)
    typer.echo(f"Wrote {out}: edit it, then 'precise quantify DMI.nii.gz --estimator fit --model {out} --out maps'")
