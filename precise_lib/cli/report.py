"""``precise report``: a page on one data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    dmi: Annotated[str, typer.Argument(help="MRSI as NIfTI-MRS; 'simulated rings' shows the example of the book.")],
    out: Annotated[Path, typer.Option(help="Folder for report.html, report.ipynb and the maps.")],
    mri: Annotated[Path | None, typer.Option(help="MRI as NIfTI, on any grid that covers the MRSI.")] = None,
    mask: Annotated[Path | None, typer.Option(help="Mask as NIfTI on the grid of the MRSI.")] = None,
    lam: Annotated[str | None, typer.Option(help="Weight of the MRI prior, as for 'precise quantify'.")] = None,
    model: Annotated[str | None, typer.Option(help="Weights or signal model, as for 'precise quantify'.")] = None,
    estimator: Annotated[str | None, typer.Option(help="Estimator, as for 'precise quantify'.")] = None,
):
    """Quantify a data set and write a page about it: spectra, SNR, B0, maps with errors, warnings.

    Exit code 2: the input cannot be used; 1: the report itself failed. failed.ipynb then shows how far it came.
    """
    from precise_lib import estimate
    from precise_lib.quantify.page import make

    if estimator is not None and ":" in estimator:
        estimate.load(estimator)
    try:
        page = make(dmi, out, mri, mask, lam, model, estimator)
    except RuntimeError as error:
        typer.echo(f"precise: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"Wrote {page}, report.ipynb and the maps to {out}")
