"""``precise model``: signal models as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from precise_lib.errors import InputError

app = typer.Typer(no_args_is_help=True, help="Signal models as files: lines, their places, widths and priors.")


@app.callback()
def model():
    """Keeps `init` a subcommand while it is the only one."""


@app.command()
def init(
    out: Annotated[Path, typer.Option(help="YAML file to write.")],
    nucleus: Annotated[str, typer.Option(help="2H, 1H, 31P or 129Xe.")] = "2H",
):
    """Write a commented signal model to edit, for --model of 'precise quantify' and 'precise train --like'."""
    from precise_lib.io import lines
    from precise_lib.io.atomic import write_text

    said = lines.template(nucleus)
    if out.exists():
        raise InputError(f"{out} is there already: name another file, or remove it.")
    write_text(out, said)
    typer.echo(f"Wrote {out}: edit it, then 'precise quantify DMI.nii.gz --estimator fit --model {out} --out maps'")
