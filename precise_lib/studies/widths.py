"""How much layer widths, which PRECISE-DMI does not print, and choices of our recipe matter: short trainings.

``precise widths FOLDER`` trains what FOLDER does not hold yet and writes ``data/results/layer_widths.json``, which the
page on training shows. About 90 minutes on one core.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from precise_lib import __version__, show
from precise_lib.estimate.card import Card
from precise_lib.estimate.network import NetworkConfig
from precise_lib.estimate.train_config import TrainConfig
from precise_lib.estimate.training import train
from precise_lib.estimate.weights import load_weights
from precise_lib.evaluate.accuracy import accuracy
from precise_lib.io.atomic import write_text
from precise_lib.io.shipped import data_path

FILE = ("results", "layer_widths.json")
FULL = {"ours": 40_000, "paper's recipe": 25_000}  # iterations of the shipped weights


def ours(width: int) -> TrainConfig:
    """Our recipe, shortened, with `width` filters and as many hidden units; the shipped network has 256."""
    return TrainConfig(network=NetworkConfig(bank=width, hidden=width), iterations=6000)


def papers(factor: float) -> TrainConfig:
    """The paper's recipe, shortened, with every layer `factor` times as wide as in the shipped baseline."""
    base = NetworkConfig(front="fid")
    channels = tuple(max(2, round(factor * c)) for c in base.channels)
    network = NetworkConfig(front="fid", channels=channels, hidden=round(factor * base.hidden))
    return TrainConfig.papers_recipe(network=network, iterations=5000)


def cnn(**changes) -> TrainConfig:
    """The recipe of the CNN, shortened, without some of its choices."""
    return TrainConfig.papers_cnn(**({"iterations": 1000, "refine_iterations": 0} | changes))


any_phase = replace(TrainConfig.papers_cnn().network, one_phase=False)
CHOICES = {
    "CNN": cnn(),
    "CNN, Adam": cnn(optimizer="adam"),
    "CNN, Adam, any phase": cnn(optimizer="adam", network=any_phase),
}
STUDY = {f"ours {w}": ours(w) for w in (32, 64, 128, 256, 512)} | {f"paper {f:g}": papers(f) for f in (0.5, 1.0, 2.0)}
STUDY |= CHOICES


def measure(name: str, config: TrainConfig, folder: Path, n_repeats: int = 10_000) -> dict:
    """Train one network, or load it from `folder`, and measure it."""
    stem = name.replace(", ", "_").replace(" ", "_")
    path = folder / f"{stem}.safetensors"
    if not path.exists() or load_weights(path).card.config != config:
        train(config, folder, name=stem)
    network = load_weights(path)
    about = {"config": network.card.config.to_dict()["network"], "iterations": config.iterations}
    about |= {"batch_size": config.batch_size}
    about |= {name: getattr(network.card, name) for name in ("parameters", "wall_time_s", "machine")}
    return about | {"accuracy": accuracy(network, n_repeats=n_repeats)}


def read() -> dict:
    """The stored study: name -> iterations, parameters, wall time and accuracy."""
    return json.loads(data_path(*FILE).read_text(encoding="utf-8"))["networks"]


def store(folder) -> Path:
    """Train or load every network of `STUDY` and write their accuracy to ``data/results``; the file."""
    about = {
        "made_by": "precise widths FOLDER",
        "package_version": __version__,
        "seed": TrainConfig().seed,
        "shipped_iterations": FULL,
        "networks": {name: measure(name, config, Path(folder)) for name, config in STUDY.items()},
    }
    out = data_path("claims.yaml").parent.joinpath(*FILE)
    write_text(out, json.dumps(about, indent=1) + "\n")
    return out


def above_bound(measured: dict) -> tuple[float, float]:
    """SD / CRLB over SNR 8 to 35 of an accuracy as on a card: mean and largest over the lines."""
    values = np.array(list(measured["sd_over_crlb"].values()))[:, np.array(measured["snr"]) >= 8]
    return float(values.mean()), float(values.max())


def choices(study: dict, shipped: Card) -> show.Markdown:
    """Table of short trainings of the CNN without some choices of its recipe, and the shipped one: all lines."""
    rows = [[*_described(config), *above_bound(study[name]["accuracy"])] for name, config in CHOICES.items()]
    rows += [[*_described(shipped.config), *above_bound(shipped.accuracy)]]
    head = ["steps of the CNN", "phase of a FID", "FC layers by", "SD / CRLB, mean", "largest"]
    return show.table(head, rows)


def _described(config: TrainConfig) -> list[str]:
    phase = "taken out" if config.network.one_phase else "any"
    return [f"{config.iterations:,} × {config.batch_size}", phase, config.optimizer.capitalize()]


def figure(study: dict):
    """SD / CRLB over the number of parameters, both recipes; squares mark the shipped widths."""
    fig, ax = plt.subplots(figsize=(6.5, 3.2))
    for name, start, shipped in (("matched network", "ours", "ours 256"), ("paper's recipe", "paper", "paper 1")):
        chosen = [r for n, r in study.items() if n.startswith(start)]
        parameters, look = [r["parameters"] for r in chosen], {"color": show.color(name)}
        mean, largest = zip(*(above_bound(r["accuracy"]) for r in chosen), strict=True)
        ax.plot(parameters, mean, "o-", label=f"{name}, {chosen[0]['iterations']} iterations: mean", **look)
        ax.plot(parameters, largest, "o:", label="largest", **look)
        ax.plot(study[shipped]["parameters"], above_bound(study[shipped]["accuracy"])[0], "s", ms=9, **look)
    ax.axhspan(0.95, 1.05, color="0.92", zorder=0)
    ax.set(xscale="log", xlabel="trained parameters", ylabel="SD / CRLB")
    ax.legend(fontsize=8)
    return fig
