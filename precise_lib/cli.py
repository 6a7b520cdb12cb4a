"""The command line: ``precise simulate rings``, ``precise quantify``, ``precise train``, ``precise scoreboard``.

What is slow to load (torch, nibabel) is imported inside the commands, so help and version come at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from precise_lib import __version__
from precise_lib.errors import InputError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Quantify deuterium metabolic imaging with deep learning and an MRI prior.",
)
simulate_app = typer.Typer(no_args_is_help=True, help="Write simulated measurements with their truth.")
app.add_typer(simulate_app, name="simulate")


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


@simulate_app.callback()
def simulate():
    """Keeps `rings` a subcommand while it is the only phantom."""


@simulate_app.command()
def rings(
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    snr: Annotated[float, typer.Option(help="Water peak over noise in the spectrum; inf for no noise.")] = 12.0,
    seed: Annotated[int, typer.Option(help="Seed of the noise.", min=0)] = 0,
    tumor_size: Annotated[int, typer.Option(help="Side of each tumor in voxels.")] = 2,
):
    """The ring phantom of PRECISE-DMI, Fig. 3: FIDs, MRI, mask and true concentrations."""
    from precise_lib import io
    from precise_lib.simulate import phantoms

    with io.staged(out) as folder:
        phantom = phantoms.rings(tumor_size)
        io.write_mrsi(folder / "dmi.nii.gz", phantom.measure(snr, seed))
        io.write_image(folder / "mri.nii.gz", phantom.mri, phantom.mri_affine, "simulated MRI")
        io.write_image(folder / "mask.nii.gz", phantom.mask, phantom.affine, "mask")
        io.write_maps(folder, "truth", phantom.concentrations, phantom.affine)
    typer.echo(f"Wrote dmi, mri, mask and truth_<metabolite> (.nii.gz) to {out}")


@app.command()
def quantify(
    dmi: Annotated[Path, typer.Argument(help="MRSI as NIfTI-MRS.")],
    out: Annotated[Path, typer.Option(help="Folder to write conc_<metabolite>.nii.gz and summary.json to.")],
    mri: Annotated[Path | None, typer.Option(help="MRI as NIfTI, on any grid that covers the MRSI.")] = None,
    mask: Annotated[Path | None, typer.Option(help="Mask as NIfTI on the grid of the MRSI.")] = None,
    estimator: Annotated[
        str | None,
        typer.Option(help="fourier, fit, sve or precise; default precise with an MRI, sve without."),
    ] = None,
    lam: Annotated[
        str | None,
        typer.Option(help="Weight of the MRI prior (lambda of Eq. 4), default 0.01; 0 gives sve, auto chooses it."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Shipped weights by name, a .safetensors file, or for fourier and fit a YAML signal model."),
    ] = None,
    errors: Annotated[
        str | None,
        typer.Option(
            help="How sd_ and bias_ maps are made: closed (default for fit, sve, precise), montecarlo or none."
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(help="Repetitions of --errors montecarlo.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of --errors montecarlo.", min=0)] = 0,
):
    """Concentration maps in mM by the water reference, with their SD and the bias that the prior brings."""
    from precise_lib.quantify import quantify as run

    summary = run(dmi, out, mri, mask, estimator, lam, model, errors, repeats, seed)
    for warning in summary["warnings"]:
        typer.echo(f"Note: {warning}", err=True)
    counts, used = summary["counts"], summary["settings"]["estimator"]
    typer.echo(f"Quantified {counts['estimated']} of {counts['voxels']} voxels with '{used}'; wrote {out}")


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder for weights, card and checkpoint.")],
    config: Annotated[Path | None, typer.Option(help="YAML training settings; default: our recipe.")] = None,
    name: Annotated[str, typer.Option(help="Name of the weights.")] = "sve",
    device: Annotated[str, typer.Option(help="Device of torch, for example cpu or cuda.")] = "cpu",
):
    """Train the network; run again after an interruption to continue where it stopped."""
    import yaml

    values = {}
    if config is not None:
        try:
            values = yaml.safe_load(config.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"The training configuration {config} is not readable as YAML: {reason}.") from error
        if not isinstance(values, dict):
            raise InputError(f"The training configuration {config} must be a mapping of settings.")
    from precise_lib import io

    # enters and leaves a folder at once: an unwritable one is refused now, not after the training
    with io.staged(out):
        pass
    from precise_lib.estimate import training

    weights = training.train(training.TrainConfig.from_dict(values), out, name=name, device=device)
    from precise_lib.evaluate.accuracy import certify

    certify(weights)
    typer.echo(f"Wrote {weights} and its card with the accuracy against the bound")


@app.command()
def scoreboard():
    """Print every claim with its verdict and what the last full-size run measured."""
    from precise_lib.evaluate import results

    typer.echo(results.table(results.read_results()))


def app_main():
    """Console entry: what is wrong with the input is one sentence on stderr and exit code 2."""
    try:
        app()
    except InputError as error:
        sys.stderr.write(f"precise: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    app_main()
