"""``precise train-denoiser`` and ``precise train-quantifier``: networks for simulated 1H spectra."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from precise_lib.cli import train

Config = Annotated[Path, typer.Option(help="YAML training settings, or the card of other weights.")]
Out = Annotated[Path, typer.Option(help="Folder for weights, card and checkpoint.")]
Name = Annotated[str, typer.Option(help="Name of the weights.")]
Epochs = Annotated[int | None, typer.Option(help="Instead of those of the settings.", min=1)]


def train_denoiser(config: Config, out: Out, name: Name = "unet", epochs: Epochs = None, device: train.Device = "cpu"):
    """Train a denoising network for the simulated 1H spectra of the second paper.

    Run the same command again after an interruption to resume it. An example: precise train-denoiser
    --config data/training/denoise/unet1d_small.yaml --out my_weights
    """
    _train("denoising scores", config, out, name, epochs, device)


def train_quantifier(
    config: Config, out: Out, name: Name = "quantifier", epochs: Epochs = None, device: train.Device = "cpu"
):
    """Train a network that quantifies the simulated 1H spectra of the second paper.

    Run the same command again after an interruption to resume it. An example: precise train-quantifier
    --config data/training/quantify/inception_small.yaml --out my_weights
    """
    _train("slopes and errors", config, out, name, epochs, device)


def _train(what: str, config: Path, out: Path, name: str, epochs: int | None, device: str):
    """Train and certify; `what` goes on the card."""
    train.check_name(name)
    train.check_device(device)
    values = train.read_yaml(config)
    from precise_lib.evaluate.accuracy import certify
    from precise_lib.proton import quantification, scores, training, weights

    kinds = {
        "denoising scores": (weights.Denoiser, scores.accuracy),
        "slopes and errors": (weights.Quantifier, quantification.accuracy),
    }
    network, measure = kinds[what]
    settings = network.config_class.from_dict(values if epochs is None else values | {"epochs": epochs})
    certified = partial(certify, load=network.load, measure=measure)
    path = train.train_into(out, settings, name, device, training.train, certified)
    typer.echo(f"Wrote {path} and its card with {what}")
