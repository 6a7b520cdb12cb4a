"""Commands on the results of the book, for its readers and maintainers, and checks of a method of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from precise_lib.errors import InputError

PANEL = "For maintainers and for a method of your own"
ESTIMATOR = "registered name, package.module:factory or file.py:factory (its code is run)"


def conformance(
    name: Annotated[str, typer.Argument(help=f"Estimator: {ESTIMATOR}.")],
    tolerance: Annotated[float, typer.Option(help="Largest error without noise in mM.")] = 0.05,
):
    """Check what every estimator must do: units, phase, order, what it declares, bias and precision.

    Exit code 1: a check failed.
    """
    from precise_lib.evaluate.conformance import check

    table = check(name, tolerance)
    typer.echo(table)
    if not table.passed:
        raise typer.Exit(1)


def bench(estimator: Annotated[str | None, typer.Option(help=f"Also this one: {ESTIMATOR}.")] = None):
    """Print precision against the bound, and ratios of times measured in one run on this machine."""
    from precise_lib.studies import bench

    bench.run(estimator)


def scoreboard():
    """Print every claim with its verdict and what the last full-size run measured."""
    from precise_lib.studies import results

    typer.echo(results.table(results.read_results()))


def results(
    new: Annotated[Path, typer.Argument(help="claims.json of the new run.")],
    kept: Annotated[Path, typer.Argument(help="claims.json that is kept.")],
    accept: Annotated[bool, typer.Option("--accept", help="Replace KEPT whatever moved.")] = False,
):
    """Compare the results of a full-size run with those that are kept, and replace these if nothing moved.

    Exit code 1: something moved beyond its spread, and KEPT is as it was.
    """
    from precise_lib.studies.results import replace

    first = not kept.exists()
    said, replaced = replace(new, kept, accept)
    if first:
        typer.echo(f"The first results: {kept}")
        return
    typer.echo("Against the kept results, beyond their spread:" if said else "Nothing moved beyond its spread.")
    for difference in said:
        typer.echo(f"{'!' if difference.decide else ' '} {difference.text}")
    if not replaced:
        typer.echo(
            f"\n{kept} is as it was. Find out why the lines marked ! moved; if that is right, keep the new "
            "results with 'make paper ACCEPT=yes' (nothing runs again)."
        )
        raise typer.Exit(1)
    typer.echo(f"Kept: {kept}")


def peers(
    out: Annotated[Path | None, typer.Option(help="Folder for peers_<case>.nc.")] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="NEW KEPT", help="Instead: say what differs between two folders."),
    ] = None,
    case: Annotated[list[str] | None, typer.Option(help="rings, rat, human (default), snr, new.")] = None,
    repeats: Annotated[int | None, typer.Option(help="Noise realizations; default those of each case.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise.", min=0)] = 0,
):
    """Compare all estimators over all their settings, and store the results.

    Exit code 1: with --compare, something differs.
    """
    from precise_lib.studies import peer_cases, peer_sweeps

    if bool(compare) == bool(out):
        raise InputError("Give either --out or --compare.")
    if compare:
        found = peer_cases.compare(*compare)
        typer.echo("\n".join(f"{name}, {text}" for name, said in found.items() for text in said) or "Nothing moved.")
        if any(found.values()):
            raise typer.Exit(1)
        return
    for name in case or peer_cases.CASES:
        swept = name in peer_sweeps.SWEEPS
        left_out = peer_sweeps.store(name, out, repeats) if swept else peer_cases.store(name, out, repeats, seed)
        if left_out:
            typer.echo(f"{name}: left out {left_out}", err=True)


def overruled(
    folder: Annotated[Path, typer.Argument(help="Keeps each run; what it holds is not made again.")],
    repeats: Annotated[int | None, typer.Option(help="Noise realizations of a run, at most.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise.", min=0)] = 0,
):
    """Try the adaptive prior over objects, SNR, lesions and MRIs, and store what it did."""
    from precise_lib.studies.overruled_runs import store

    typer.echo(f"Wrote {store(folder, repeats, seed)}")


def imperfections(
    snr: Annotated[list[float] | None, typer.Option(help="SNR of water; default 12 and 30.", min=1)] = None,
    which: Annotated[list[str] | None, typer.Option(help="Imperfection by name; default all.")] = None,
    sets: Annotated[int, typer.Option(help="Data sets of each imperfection.", min=2)] = 2,
    size: Annotated[int, typer.Option(help="Voxels along x and y; there are four slices.", min=2)] = 12,
    seed: Annotated[int, typer.Option(help="Seed of the noise.", min=0)] = 0,
):
    """Print what each imperfection of real scans does to a map: bias and coverage, and whether the tool saw it."""
    from tqdm import tqdm

    from precise_lib.simulate.imperfections import IMPERFECTIONS
    from precise_lib.studies.imperfections import study, table

    if unknown := sorted(set(which or ()) - set(IMPERFECTIONS)):
        raise InputError(f"There is no imperfection '{unknown[0]}': there are {', '.join(IMPERFECTIONS)}.")
    levels = snr or [12.0, 30.0]
    found = study(levels, sets, seed, which, (size, size, 4), tqdm)
    for level in levels:
        typer.echo(f"\nSNR {level:g}: largest bias of Glc, Glx and Lac, and lowest coverage of 95 % intervals\n")
        typer.echo(table(found, level))


def widths(folder: Annotated[Path, typer.Argument(help="Keeps the networks; what it holds is not trained again.")]):
    """Train networks of several widths for a short time, and store how far each is from the bound."""
    from precise_lib.studies.widths import store

    typer.echo(f"Wrote {store(folder)}")


def trainings(
    folder: Annotated[Path, typer.Argument(help="Keeps the executed pages; what it holds is not run again.")],
):
    """Run the pages that judge claims by the CNN with its other trainings, and store what they come to."""
    from precise_lib.studies.trainings import store

    typer.echo(f"Wrote {store(folder)}")
