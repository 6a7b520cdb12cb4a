"""``precise simulate``: measurements with a known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Write simulated measurements with their truth.")


@app.callback()
def simulate():
    """Keeps `rings` a subcommand while it is the only phantom."""


@app.command()
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
