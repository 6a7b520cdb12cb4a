"""``precise scoreboard``: the claims of the papers and what came of them."""

import typer


def scoreboard():
    """Print every claim with its verdict and what the last full-size run measured."""
    from precise_lib.studies import results

    typer.echo(results.table(results.read_results()))
