"""``precise train``: a network for any acquisition, by our recipe or by settings of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from precise_lib.errors import InputError


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
