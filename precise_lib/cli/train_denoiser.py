"""``precise train-denoiser`` and ``precise train-quantifier``: networks for simulated 1H spectra."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from precise_lib.cli import train

Config = Annotated[Path, typer.Option(help="YAML training settings, or the card of other weights.")]
Out = Annotated[Path, typer.Option(help="Folder for weights, card and checkpoint.")]
Name = Annotated[str, typer.Option(help="Name of the weights.")]
Epochs = Annotated[int | None, typer.Option(help="Instead of those of the settings.", min=1)]
Device = Annotated[str, typer.Option(help="Device of torch, for example cpu or cuda.")]


def train_denoiser(config: Config, out: Out, name: Name = "unet", epochs: Epochs = None, device: Device = "cpu"):
    """Train a denoising network for the simulated 1H spectra of the second paper.

    Run the same command again after an interruption to go on where it stopped. An example: precise train-denoiser
    --config data/training/denoise/unet1d_small.yaml --out my_weights
    """
    values = _checked(config, name, device)
    from precise_lib.proton import training
    from precise_lib.proton.denoised import certify

    settings = training.DenoiseConfig.from_dict(values if epochs is None else values | {"epochs": epochs})
    weights = _train(training.train, certify, settings, out, name, device)
    typer.echo(f"Wrote {weights} and its card with the denoising scores")


def train_quantifier(
    config: Config, out: Out, name: Name = "quantifier", epochs: Epochs = None, device: Device = "cpu"
):
    """Train a network that quantifies the simulated 1H spectra of the second paper.

    Run the same command again after an interruption to go on where it stopped. An example: precise train-quantifier
    --config data/training/quantify/inception_small.yaml --out my_weights
    """
    values = _checked(config, name, device)
    from precise_lib.proton import quantifier_training
    from precise_lib.proton.quantification import certify

    settings = quantifier_training.QuantifyConfig.from_dict(values if epochs is None else values | {"epochs": epochs})
    weights = _train(quantifier_training.train, certify, settings, out, name, device)
    typer.echo(f"Wrote {weights} and its card with slopes and errors")


def _checked(config: Path, name: str, device: str) -> dict:
    """The settings, once name and device are known to do."""
    train.check_name(name)
    train.check_device(device)
    return train.read_yaml(config)


def _train(run, certify, settings, out: Path, name: str, device: str) -> Path:
    """Weights trained by `run`, their card completed by `certify`."""
    from precise_lib.io import atomic

    with atomic.staged(out):  # an unwritable folder is refused now, not after the training
        pass
    with train.interruption():
        weights = run(settings, out, name=name, device=device)
        certify(weights)
    return weights
