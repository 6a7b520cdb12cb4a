"""What several test files share: a small trained network, random FIDs, and how wide chance may spread a result."""

import json
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy.stats import chi2, norm
from typer.testing import CliRunner

from precise_lib import cli
from precise_lib.estimate import catalog
from precise_lib.estimate.network import NetworkConfig
from precise_lib.estimate.train_config import TrainConfig
from precise_lib.estimate.training import train
from precise_lib.estimate.weights import SveModel, load_weights
from precise_lib.signal.model import SignalModel
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.signal.parts import Acquisition
from precise_lib.signal.presets import dmi_11t7

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SHOWN = """() => [...document.querySelectorAll('.jupyter-widgets img, .jupyter-widgets canvas')]
  .filter((e) => e.checkVisibility()).map((e) => e.src || e.toDataURL())"""
AMPLITUDES = np.array([1.0, 0.25, 0.3, 0.1])  # water, Glc, Glx, Lac of the innermost ring, water = 1
SHIPPED = "dmi_11t7"


def tiny_config(**changes) -> TrainConfig:
    """Our recipe, a few seconds long: enough for every property that does not need precision."""
    settings = {
        "network": NetworkConfig(bank=64, hidden=48),
        "batch_size": 256,
        "iterations": 200,
        "checkpoint_every": 100,
    }
    return TrainConfig(**(settings | changes))


def minute_config(**changes) -> TrainConfig:
    """As small as a training can be: two lines, 64 samples."""
    model = SignalModel(Acquisition(64, 1.6e-3, 76.7), dmi_11t7().resonances[:2])
    settings = {
        "signal_model": model,
        "network": NetworkConfig(bank=16, hidden=8, rank=16, aligned_rank=8),
        "batch_size": 32,
        "iterations": 24,
        "checkpoint_every": 5,
    }
    return TrainConfig(**(settings | changes))


def minute_papers(**changes) -> TrainConfig:
    config = minute_config()
    network = NetworkConfig(front="fid", channels=(4, 8), hidden=8)
    settings = {"signal_model": config.signal_model, "network": network, "iterations": 24, "batch_size": 32}
    return TrainConfig.papers_recipe(**(settings | {"checkpoint_every": 5} | changes))


def minute_cnn(**changes) -> TrainConfig:
    config = minute_config()
    network = NetworkConfig(front="cnn", channels=(4, 8), hidden=8, one_phase=True)
    settings = {"signal_model": config.signal_model, "network": network, "iterations": 10, "batch_size": 32}
    return TrainConfig.papers_cnn(**(settings | {"refine_iterations": 14, "checkpoint_every": 5} | changes))


RECIPES = {"matched": minute_config, "paper": minute_papers, "cnn": minute_cnn}


@lru_cache
def tiny_network() -> SveModel:
    """A matched network for `dmi_11t7`, trained once per test session."""
    with tempfile.TemporaryDirectory() as folder:
        return load_weights(train(tiny_config(), folder, name="tiny", progress=False))


def has_shipped_weights() -> bool:
    try:
        return SHIPPED in {entry.path.stem for entry in catalog.shipped()}
    except FileNotFoundError:
        return False


def has_certified_weights() -> bool:
    """Whether the shipped weights are final: their card carries their accuracy."""
    return has_shipped_weights() and bool(load_weights(SHIPPED).card.accuracy)


def noisy_fids(model: SignalModel | None = None, snr=20.0, n=64, seed=0, amplitudes=AMPLITUDES, max_shift_hz=0.0):
    """FIDs (n, t) complex64 under random phase and shift, and the noise SD of one real channel."""
    model = dmi_11t7() if model is None else model
    rng = np.random.default_rng(seed)
    sigma = snr_to_sigma(model, snr)
    shift = rng.uniform(-max_shift_hz, max_shift_hz, n)
    clean = model.fids(np.tile(amplitudes, (n, 1)), shift, 0.0, rng.uniform(-np.pi, np.pi, n))
    return add_noise(clean, sigma, rng).astype(np.complex64), float(sigma)


def sd_bounds(n: int, tests: int = 1, risk: float = 1e-4) -> tuple[float, float]:
    """Where the SD of n normal draws, over the true SD, lies in all of `tests` tests but for a chance of `risk`."""
    tail = risk / tests / 2
    return tuple(np.sqrt(chi2.ppf([tail, 1 - tail], n - 1) / (n - 1)))


def mean_bound(n: int, tests: int = 1, risk: float = 1e-4) -> float:
    """The same for the distance of a mean from the truth, in units of one draw's SD."""
    return norm.isf(risk / tests / 2) / np.sqrt(n)


TINY_TRAINING = {"n_train": 60, "n_validation": 20, "batch_size": 16, "epochs": 2, "checkpoint_every": 3}
TINY_TRAINING |= {"learning_rate": 5e-3}


def untrained(config, seed=0) -> torch.nn.Module:
    """The network on spectra of a configuration, as it starts."""
    torch.manual_seed(seed)
    return config.build().eval()


def complex_noise(*shape, seed=0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def trained_by_command(command: str, config, folder) -> Path:
    """Weights of one epoch that the command line trained."""
    settings, weights = folder / "settings.json", folder / "out" / "mine.safetensors"
    settings.write_text(json.dumps(config.to_dict()))
    arguments = [command, "--config", str(settings), "--out", str(weights.parent), "--name", "mine", "--epochs", "1"]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    return weights


def share_of_first_loss(trainer) -> float:
    """Least validation loss of a whole training, over that before its first step."""
    first = trainer.validate()
    while not trainer.finished:
        trainer.step()
    return min(row[2] for row in trainer.history) / first


def trained_in_parts(train, config, folder) -> tuple[Path, dict]:
    """Weights and card of a training that was stopped after 2, 6 and 7 steps: the bytes are those of one in one go."""
    whole = train(config, folder / "whole", progress=False)
    for stop in (2, 6, 7):
        torch.rand(1)  # whatever somebody else draws in between
        assert train(config, folder / "parts", progress=False, stop_after=stop) is None
    parts = train(config, folder / "parts", progress=False)
    assert parts.read_bytes() == whole.read_bytes()
    cards = [json.loads(p.with_suffix(".json").read_text()) for p in (whole, parts)]
    assert cards[0]["loss_history"] == cards[1]["loss_history"]
    return parts, cards[1]
