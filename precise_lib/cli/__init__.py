"""The command line, one module per command or group of commands.

What is slow to load (torch, nibabel) is imported inside the commands, so help and version come at once. A new command
is a function in a module of its own and one entry in the list below.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from precise_lib import __version__
from precise_lib.cli import quantify, scoreboard, simulate, sweep, train
from precise_lib.errors import InputError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Quantify deuterium metabolic imaging with deep learning and an MRI prior.",
)
app.add_typer(simulate.app, name="simulate")
for command in (quantify.quantify, train.train, sweep.sweep, scoreboard.scoreboard):
    app.command()(command)


def _print_version(wanted: bool):
    if wanted:
        typer.echo(f"precise {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave."),
    ] = False,
):
    """Options of `precise` itself."""


def app_main():
    """Console entry: what is wrong with the input is one sentence on stderr and exit code 2."""
    try:
        app()
    except InputError as error:
        sys.stderr.write(f"precise: {error}\n")
        sys.exit(2)
