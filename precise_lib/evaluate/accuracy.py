"""What a trained network can do, measured against the bound and written on its card."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from precise_lib.estimate.sve import SveModel, load_weights
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

    Gaussian width and offset of the lipids, where the model has them, are in the middle of their training range.
    """
    model, ranges = network.signal_model, network.card["config"]
    nuisance = {name: float(np.mean(ranges[f"{name[:-3]}_range_hz"])) for name in model.common[3:]}
    amplitudes = typical_amplitudes(model.names)
    study = amplitude_study({"sve": network.amplitudes}, model, amplitudes, snrs, n_repeats, seed, **nuisance)
    study = study.isel(estimator=0)
    ratio = study["sd"].values / crlb.numeric(model, amplitudes, study["sigma"].values, **nuisance)
    return {
        "snr": list(snrs),
        "amplitudes": dict(zip(model.names, amplitudes.tolist(), strict=True)),
        "sd_over_crlb": dict(zip(model.names, ratio.T.round(4).tolist(), strict=True)),
        "bias_percent": dict(
            zip(model.names, (100 * study["bias"] / amplitudes).values.T.round(3).tolist(), strict=True)
        ),
        "n_repeats": n_repeats,
    }


def certify(path, **fields) -> dict:
    """Complete the card of trained weights: accuracy, SHA-256, and `fields` such as ``default=True``; returns it."""
    path = Path(path)
    card_path = path.with_suffix(".json")
    card = json.loads(card_path.read_text())
    card.pop("sha256", None)
    card |= {"accuracy": accuracy(load_weights(path))} | fields
    card["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    whole = card_path.with_suffix(".tmp")  # an interruption leaves the old card, never half a one
    whole.write_text(json.dumps(card, indent=1) + "\n")
    os.replace(whole, card_path)
    return card
