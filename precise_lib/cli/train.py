"""``precise train``, ``train-denoiser``, ``train-quantifier``: new networks. ``precise models``: which there are."""

from __future__ import annotations

import re
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from precise_lib.errors import InputError, settings_in

METABOLITES = "water,Glc,Glx,Lac"
SNR = 12.0  # of the accuracy that is printed; the card has more

Like = Annotated[
    Path | None,
    typer.Option(
        help="Data as NIfTI-MRS: train for their acquisition and keep the network in the user's model folder, "
        "where 'precise quantify' finds it."
    ),
]
Metabolites = Annotated[
    str | None, typer.Option(help=f"With --like: names, or name:ppm, with commas between; default {METABOLITES}.")
]
T2star = Annotated[
    float | None, typer.Option(help="With --like: T2* of the lines in seconds; default: measured in the data.")
]
Model = Annotated[
    Path | None,
    typer.Option(
        help="With --like: a YAML signal model instead of --metabolites and --t2star, see 'precise model init'."
    ),
]
FieldCheck = Annotated[
    bool,
    typer.Option(
        "--field-check",
        help="With --like: say what field, line widths and frequency shifts the data have and what the training "
        "would cover, and stop.",
    ),
]
Iterations = Annotated[
    int | None, typer.Option(help="Fewer are quicker and less accurate; default: about 15 minutes.", min=1)
]
Config = Annotated[
    Path | None, typer.Option(help="YAML training settings instead of --like; default: our recipe at 11.7 T.")
]
Out = Annotated[Path | None, typer.Option(help="Folder for weights, card and checkpoint, instead of the model folder.")]
Name = Annotated[
    str | None, typer.Option(help="Name of the weights; default: sve with --out, else the hash of the model.")
]
Device = Annotated[str, typer.Option(help="Device of torch, for example cpu or cuda.")]
# of networks for simulated 1H spectra
Settings = Annotated[Path, typer.Option("--config", help="YAML training settings, or the card of other weights.")]
Folder = Annotated[Path, typer.Option("--out", help="Folder for weights, card and checkpoint.")]
NetworkName = Annotated[str, typer.Option("--name", help="Name of the weights.")]
Epochs = Annotated[int | None, typer.Option(help="Instead of those of the settings.", min=1)]


def train(
    like: Like = None,
    metabolites: Metabolites = None,
    t2star: T2star = None,
    model: Model = None,
    field_check: FieldCheck = False,
    iterations: Iterations = None,
    config: Config = None,
    out: Out = None,
    name: Name = None,
    device: Device = "cpu",
):
    """Train a network; run the same command again after an interruption to resume it.

    An example: precise train --like dmi.nii.gz --metabolites water,Glc,Glx,Lac,acetate,alanine:1.48
    """
    if like is None:
        if metabolites is not None or t2star is not None or model is not None or field_check:
            raise InputError(
                "--metabolites, --t2star, --model and --field-check belong to --like: name a data file by it."
            )
        if out is None:
            raise InputError("There is nowhere to write to: give --out, or a data file by --like.")
    elif config is not None:
        raise InputError("--like and --config both say what to train for: give one of them.")
    if name is not None:
        check_name(name)
    check_device(device)
    if like is None:
        settings = _read_settings(config, iterations)
    else:
        from precise_lib.quantify import train_like

        if model is not None and (metabolites is not None or t2star is not None):
            raise InputError("--model says what --metabolites and --t2star do: give one or the others.")
        wanted = METABOLITES if metabolites is None else metabolites
        settings, said = train_like.plan(like, wanted, t2star, iterations, field_check, model)
        if out is None and not field_check:
            train_like.check_storable(settings, name)
        for sentence in said:
            typer.echo(sentence, err=sentence.startswith("Note:"))
        if field_check:
            return
    if out is None:
        _train_into_folder(settings, name, device, like)
    else:
        from precise_lib.estimate import training
        from precise_lib.evaluate import accuracy

        train_into(
            out, settings, name or "sve", device, training.train, accuracy.certify, "the accuracy against the bound"
        )


def train_into(out: Path, settings, name: str, device: str, run, certify, measured: str):
    """Weights trained by `run` in a folder, with `measured` put on their card by `certify`."""
    from precise_lib.evaluate.accuracy import train_and_certify
    from precise_lib.io.atomic import alone

    with interruption(), alone(out / f".{name}.lock", f"Another process trains '{name}' in {out}: wait for it."):
        new = train_and_certify(settings, out, name, run, certify, device=device)
    weights = out / f"{name}.safetensors"
    typer.echo(f"{'Wrote' if new else 'There are already'} {weights} and its card with {measured}")


def _train_into_folder(settings, name: str | None, device: str, like: Path):
    from precise_lib.estimate import catalog
    from precise_lib.quantify import train_like

    with interruption():
        entry, new = train_like.train_into_folder(settings, name, device)
    done = "Stored" if new else "There is already"
    typer.echo(f"{done} the network '{entry.name}' in {catalog.folder()}; at SNR {SNR:g}, SD over the bound is")
    ratios = entry.efficiency(SNR)
    typer.echo(", ".join(f"{metabolite} {ratio:.2f}" for metabolite, ratio in ratios.items()))
    if max(ratios.values(), default=1.0) > 1.2:
        typer.echo("Note: More --iterations would bring the SD nearer to the bound.", err=True)
    first = catalog.fitting(settings.signal_model.acquisition)[0] == entry
    typer.echo(f"Use it by: precise quantify {like} --out maps{'' if first else f' --model {entry.name}'}")


def train_denoiser(
    config: Settings, out: Folder, name: NetworkName = "unet", epochs: Epochs = None, device: Device = "cpu"
):
    """Train a denoising network for the simulated 1H spectra of the second paper.

    Run the same command again after an interruption to resume it. An example: precise train-denoiser
    --config data/training/denoise/unet1d_small.yaml --out my_weights
    """
    _train("denoising scores", config, out, name, epochs, device)


def train_quantifier(
    config: Settings, out: Folder, name: NetworkName = "quantifier", epochs: Epochs = None, device: Device = "cpu"
):
    """Train a network that quantifies the simulated 1H spectra of the second paper.

    Run the same command again after an interruption to resume it. An example: precise train-quantifier
    --config data/training/quantify/inception_small.yaml --out my_weights
    """
    _train("slopes and errors", config, out, name, epochs, device)


def _train(what: str, config: Path, out: Path, name: str, epochs: int | None, device: str):
    """Train and certify; `what` goes on the card."""
    check_name(name)
    check_device(device)
    values = read_yaml(config)
    from precise_lib.evaluate.accuracy import certify
    from precise_lib.proton import quantification, scores, training, weights

    denoiser, quantifier = (weights.Denoiser, scores.accuracy), (weights.Quantifier, quantification.accuracy)
    network, measure = denoiser if what == "denoising scores" else quantifier
    settings = network.config_class.from_dict(values if epochs is None else values | {"epochs": epochs})
    certified = partial(certify, load=network.load, measure=measure)
    train_into(out, settings, name, device, training.train, certified, what)


def models():
    """List the networks of the package and of your model folder, in the order in which they are chosen.

    Without --model, 'precise quantify' takes the first default one (*) that was trained for the acquisition of the
    data.
    """
    from precise_lib.estimate import catalog

    typer.echo(catalog.table(SNR))
    with suppress(InputError):  # no home folder
        typer.echo(f"Your model folder: {catalog.folder()} (PRECISE_MODELS names another)")


@contextmanager
def interruption():
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("Interrupted: the same command resumes from the last checkpoint.", err=True)
        raise typer.Exit(130) from None


def check_device(name: str) -> None:
    """Raise `InputError` unless torch can compute there."""
    import torch

    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"--device is '{name}', which this computer does not have: use cpu.") from error


def check_name(name: str) -> None:
    """Raise `InputError` unless files can have this name everywhere."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise InputError(f"--name is '{name}': use letters, digits and _.- only.")


def read_yaml(config: Path) -> dict:
    """Settings of a training from a YAML or JSON file, or from a card, which holds more than the settings."""
    from precise_lib.io import text

    what = "The training configuration"
    return settings_in(text.read_yaml(config, what), f"{what} {config}")


def _read_settings(config: Path | None, iterations: int | None):
    """`TrainConfig` from a YAML or JSON file."""
    from precise_lib.estimate.train_config import TrainConfig

    values = {} if config is None else read_yaml(config)
    values |= {} if iterations is None else {"iterations": iterations}
    try:
        return TrainConfig.from_dict(values)
    except InputError as error:
        raise error if config is None else InputError(f"{config}: {error}") from error
