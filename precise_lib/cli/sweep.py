"""``precise sweep``: a notebook over a table of parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def sweep(
    notebook: Annotated[
        Path, typer.Argument(help="Notebook with a cell tagged 'parameters', or your_data: the report.")
    ],
    table: Annotated[Path, typer.Argument(help="CSV or YAML: a column is a parameter, a row is a run.")],
    out: Annotated[Path, typer.Option(help="Folder for table.csv and runs/; the same folder again resumes.")],
    jobs: Annotated[int | None, typer.Option(help="Runs at a time on this computer; default 1.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler to run on instead.")] = None,
):
    """Run a notebook once per row, keep what is finished, and gather what was measured in one table.

    Exit code 0: every run finished; 1: some failed (named on stderr, tried again by the next call); 2: the input cannot
    be used; 130: interrupted (the same command resumes).
    """
    from precise_lib.run.sweep import sweep as run

    try:
        runs = run(notebook, table, out, jobs, scheduler)
    except KeyboardInterrupt:
        typer.echo(f"Interrupted; finished runs are in {out}, and the same command resumes from there.", err=True)
        raise typer.Exit(130) from None
    states = enumerate((run.state for run in runs), 1)
    failed = [(number, reason) for number, (state, reason) in states if state != "finished"]
    for number, reason in failed:
        typer.echo(f"Run {number} failed: {reason}", err=True)
    typer.echo(f"{len(runs) - len(failed)} of {len(runs)} runs finished; wrote {out / 'table.csv'}")
    if failed:
        raise typer.Exit(1)
