"""What a trained network can do, measured against the bound and written on its card."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from precise_lib.errors import InputError
from precise_lib.estimate.card import Card, Trained
from precise_lib.estimate.training import train
from precise_lib.estimate.weights import SveModel, load_weights
from precise_lib.evaluate import crlb
from precise_lib.evaluate.montecarlo import amplitude_study

# of water, for a typical voxel; other metabolites count as the smallest
TYPICAL = {"water": 1.0, "Glc": 0.25, "Glx": 0.3, "Lac": 0.1}
# of creatine, near the skull
TYPICAL_1H = {"NAA": 1.5, "tCr": 1.0, "tCho": 0.22, "mI": 0.75, "Glx": 1.3, "MM": 1.0}
TYPICAL_1H |= {"Lip09": 0.6, "Lip13": 2.0, "Lip20": 0.3}
SNRS = (5.0, 8.0, 12.0, 20.0, 35.0)


def typical_amplitudes(names) -> np.ndarray:
    """Amplitudes (M,) of a typical voxel in units of water, or of creatine where that is one of the names."""
    typical = TYPICAL_1H if "tCr" in names else TYPICAL
    return np.array([typical.get(name, min(typical.values())) for name in names])


def accuracy(network: SveModel, snrs=SNRS, n_repeats: int = 10_000, seed: int = 1) -> dict:
    """SD / CRLB and bias (% of the amplitude) of each line of a typical voxel, over SNR; random phase.

    Gaussian width and offset of the lipids are in the middle of their training range.
    """
    model, config = network.signal_model, network.card.config
    nuisance = {name: float(np.mean(getattr(config, f"{name[:-3]}_range_hz"))) for name in model.common[3:]}
    amplitudes = typical_amplitudes(model.names)
    study = amplitude_study({"sve": network.amplitudes}, model, amplitudes, snrs, n_repeats, seed, **nuisance)
    study = study.isel(estimator=0)
    ratio = study["sd"].values / crlb.numeric(model, amplitudes, study["sigma"].values, **nuisance)
    bias = (100 * study["bias"] / amplitudes).values
    return {
        "snr": list(snrs),
        "amplitudes": dict(zip(model.names, amplitudes.tolist(), strict=True)),
        "sd_over_crlb": dict(zip(model.names, ratio.T.round(4).tolist(), strict=True)),
        "bias_percent": dict(zip(model.names, bias.T.round(3).tolist(), strict=True)),
        "n_repeats": n_repeats,
    }


def certify(
    path, load: Callable[[Path], Trained] = load_weights, measure: Callable[[Trained], dict] = accuracy, **fields
) -> Card:
    """Complete the card of trained weights by its accuracy and `fields` such as ``default=True``; returns it.

    `load` makes a trained network of the path, `measure` the accuracy of such a network as plain values.
    """
    network = load(Path(path))
    card = replace(network.card, accuracy=measure(network), **fields)
    card.write(Path(path))
    return card


def train_and_certify(config, folder, name: str, run: Callable = train, certify: Callable = certify, **options) -> bool:
    """Have weights of `name` with a complete card in a folder; whether anything was left to do.

    Resumes where an earlier call ended, be it in the training (`run`, with `options`) or before the accuracy was on the
    card. Raises `InputError` as `run` does, and where the weights there are of other settings.
    """
    weights = Path(folder) / f"{name}.safetensors"
    card = finished(weights, type(config))
    if card is None:
        run(config, folder, name=name, **options)
    elif card.config.to_dict() != config.to_dict():
        raise InputError(f"{weights} is a network of other settings: use another folder or name, or remove it.")
    elif card.accuracy:
        return False
    certify(weights)
    return True


def finished(weights: Path, config_class) -> Card | None:
    """The card of weights whose training has ended, certified or not; None where there are none or they are damaged."""
    try:
        card = Card.read(weights, config_class)
        return card if card.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest() else None
    except (InputError, OSError):
        return None
