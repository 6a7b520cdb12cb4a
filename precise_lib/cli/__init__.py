"""The command line, one module per command or group of commands, each with an entry in the list below.

What is slow to load (torch, nibabel) is imported inside the commands, so help and version come at once.
"""

from __future__ import annotations

import logging
import re
import sys
import warnings
from contextlib import contextmanager
from typing import Annotated

import typer

from precise_lib import __version__
from precise_lib.cli import begin, maintain, quantify, sweep, train
from precise_lib.errors import InputError, printable

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Quantify deuterium metabolic imaging with deep learning and an MRI prior.",
)
app.add_typer(begin.simulate, name="simulate")
app.add_typer(begin.model, name="model")
for command in (
    quantify.quantify,
    train.train,
    train.train_denoiser,
    train.train_quantifier,
    train.models,
    quantify.report,
    sweep.sweep,
    maintain.scoreboard,
):
    app.command()(command)
for command in (
    maintain.conformance,
    maintain.bench,
    maintain.peers,
    maintain.overruled,
    maintain.imperfections,
    maintain.results,
    maintain.widths,
    maintain.trainings,
):
    app.command(rich_help_panel=maintain.PANEL)(command)


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
    """Console entry: what is wrong with the input or the options is one sentence on stderr and exit code 2."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    try:
        with _quiet():
            code = app(prog_name="precise", standalone_mode=False)
    except InputError as error:
        _leave(str(error))
    except Exception as error:
        # typer carries a click of its own or uses the installed one, so their errors have no common class
        if not hasattr(error, "format_message"):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
            sys.exit(2)
        context = getattr(error, "ctx", None)
        command = "precise" if context is None else context.command_path
        message = re.sub(r"\.? Did you mean (.+)\?", r" (did you mean \1?)", error.format_message())
        _leave(f"{message.rstrip('. ')}; see '{command} --help'.")
    sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def _quiet():
    """What libraries say beside our own sentences is not for the user, unless Python was told so (-W)."""
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _leave(sentence: str):
    sys.stderr.write(f"precise: {printable(sentence)}\n")
    sys.exit(2)
