"""``precise train-denoiser``: a U-Net that denoises simulated 1H spectra."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from precise_lib.cli import train


def train_denoiser(
    config: Annotated[Path, typer.Option(help="YAML training settings, or the card of other weights.")],
    out: Annotated[Path, typer.Option(help="Folder for weights, card and checkpoint.")],
    name: Annotated[str, typer.Option(help="Name of the weights.")] = "unet",
    epochs: Annotated[int | None, typer.Option(help="Instead of those of the settings.", min=1)] = None,
    device: Annotated[str, typer.Option(help="Device of torch, for example cpu or cuda.")] = "cpu",
):
    """Train a denoising network for the simulated 1H spectra of the second paper.

    Run the same command again after an interruption to go on where it stopped. An example: precise train-denoiser
    --config data/training/denoise/unet1d_small.yaml --out my_weights
    """
    train.check_name(name)
    train.check_device(device)
    values = train.read_yaml(config)
    from precise_lib import io
    from precise_lib.estimate import denoise_training
    from precise_lib.evaluate.denoising import certify

    settings = denoise_training.DenoiseConfig.from_dict(values if epochs is None else values | {"epochs": epochs})
    with io.staged(out):  # an unwritable folder is refused now, not after the training
        pass
    with train.interruption():
        weights = denoise_training.train(settings, out, name=name, device=device)
        certify(weights)
    typer.echo(f"Wrote {weights} and its card with the denoising scores")
