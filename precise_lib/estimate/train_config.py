"""The settings of a training: recipes, from and to plain values, and what would fail only once it runs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from precise_lib.errors import InputError, checked, filled, printable, reason, settings_in
from precise_lib.estimate.network import NetworkConfig
from precise_lib.signal import plausible
from precise_lib.signal.model import SignalModel
from precise_lib.signal.presets import dmi_11t7

_RANGES = ("shift_range_hz", "broadening_range_hz", "gaussian_range_hz", "offset_range_hz", "snr_range")
OFFSET_HZ = 20.0  # of lipids, as far as a fit lets them move
_CHOICES = {
    "noise": ("uniform_sigma", "log_snr"),
    "loss": ("mse", "bound", "efficient"),
    "schedule": ("constant", "one_cycle"),
    "optimizer": ("adam", "muon"),
}
MOST_SAMPLES = 4096  # of FIDs that a network is trained on: 2 GB
LARGEST_BATCH = 1e8  # numbers
WORST_CONDITION = 1e8  # of the Gram matrix of the lines: beyond, amplitudes in single precision have no meaning
SHARED = 4  # draws of amplitudes, phase and noise for each draw of shift and broadening ("efficient" only)


@dataclass(frozen=True)
class _Pair:
    range: tuple[float, float]


@dataclass(frozen=True)
class TrainConfig:
    """Everything a training depends on.

    Parameters
    ----------
    amplitude_range : name -> (low, high) in units of water; ``default`` for names not listed
    shift_range_hz, broadening_range_hz : uniform ranges of Eq. 2's B0 effects
    gaussian_range_hz, offset_range_hz : of Gaussian width and offset of the lipids, for models that have them
    noise : "uniform_sigma" (sigma ~ U(0, sigma_max), as in the paper) or "log_snr" (log-uniform SNR)
    snr_range : lowest and highest SNR; the lowest sets sigma_max
    loss : "mse" (Eq. 3), "bound" (over the variance the noise allows) or "efficient" (so, `Sampler.draw_efficient`)
    loss_floor : amplitude error, in units of water, below which "bound" and "efficient" ask for no more
    schedule, average : learning rate "constant" or "one_cycle"; exponential averaging of the weights
    optimizer : "adam", or "muon" for the FC layers and Adam for the rest, see `SveTrainer`
    refine_iterations, refine_learning_rate, refine_amplitude_range : of a second cycle, where there is one
    """

    signal_model: SignalModel = field(default_factory=dmi_11t7)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    amplitude_range: dict = field(default_factory=lambda: {"water": (1.0, 1.0), "default": (-0.3, 1.2)})
    shift_range_hz: tuple[float, float] = (-22.0, 22.0)
    broadening_range_hz: tuple[float, float] = (-5.8, 17.0)
    noise: str = "log_snr"
    snr_range: tuple[float, float] = (4.0, 150.0)
    noiseless_share: float = 0.1
    loss: str = "efficient"
    loss_floor: float = 0.002
    batch_size: int = 1024
    iterations: int = 40_000
    learning_rate: float = 2e-3
    schedule: str = "one_cycle"
    average: bool = True
    optimizer: str = "adam"
    seed: int = 0
    checkpoint_every: int = 1000
    gaussian_range_hz: tuple[float, float] = (0.0, 0.0)
    offset_range_hz: tuple[float, float] = (0.0, 0.0)
    refine_iterations: int = 0
    refine_learning_rate: float = 5e-4
    refine_amplitude_range: dict = field(default_factory=dict)

    @classmethod
    def papers_recipe(cls, **changes) -> TrainConfig:
        """The paper's recipe: MSE, Adam at 1e-3, 128 x 25,000, 20 % noiseless, amplitudes from [0, 2]."""
        settings = {
            "network": NetworkConfig(front="fid"),
            "amplitude_range": {"default": (0.0, 2.0)},
            "shift_range_hz": (-20.0, 20.0),
            "broadening_range_hz": (-5.3, 15.9),
            "noise": "uniform_sigma",
            "snr_range": (5.0, 1e3),  # only the lower end counts here
            "noiseless_share": 0.2,
            "loss": "mse",
            "batch_size": 128,
            "iterations": 25_000,
            "learning_rate": 1e-3,
            "schedule": "constant",
            "average": False,
        }
        return cls(**(settings | changes))

    @classmethod
    def papers_cnn(cls, **changes) -> TrainConfig:
        """The paper's CNN and its data with our loss, target, optimizer, schedule and noise levels."""
        settings = {
            "network": NetworkConfig(front="cnn", channels=(16, 32, 64, 128, 128), one_phase=True),
            "optimizer": "muon",
            "amplitude_range": {"default": (0.0, 2.0)},
            "snr_range": (4.0, 60.0),
            "noiseless_share": 0.2,
            "loss_floor": 0.01,
            "batch_size": 128,
            "iterations": 20_000,
            "refine_iterations": 5000,
            "refine_amplitude_range": {"water": (0.5, 1.5), "default": (0.0, 0.8)},  # twice the most of lesions, 0.4
        }
        return cls(**(settings | changes))

    @classmethod
    def for_model(cls, model: SignalModel, **changes) -> TrainConfig:
        """Our recipe for any signal model: shifts of 0.29 ppm and at least 8 Hz, line widths from .64 to 2.07 times."""
        shift = round(max(8.0, 0.287 * model.acquisition.spectrometer_frequency_mhz), 1)
        width = 1 / (np.pi * float(model.t2star_s.max()))
        widest = max(17.0, 1.07 * width)  # Hz; magnets differ less in their shim than in their lines
        broadening = (round(-0.364 * width, 1), round(widest, 1))
        more = {"shift_range_hz": (-shift, shift), "broadening_range_hz": broadening}
        more |= {"amplitude_range": {model.reference or "none": (1.0, 1.0), "default": (-0.3, 1.2)}}
        more |= {"gaussian_range_hz": (0.0, round(widest, 1))} if model.lineshape == "voigt" else {}
        more |= {"offset_range_hz": (-OFFSET_HZ, OFFSET_HZ)} if model.of_role("lipid").any() else {}
        return replace(cls(model), **(more | changes))

    @classmethod
    def from_dict(cls, values: dict) -> TrainConfig:
        """From plain values or a whole card, else `InputError`.

        `recipe` names the settings to start from: "paper" (`papers_recipe`), "cnn" (`papers_cnn`) or "best" (ours).
        """
        what, recipes = "The training configuration", {"best": cls, "paper": cls.papers_recipe, "cnn": cls.papers_cnn}
        values = settings_in(values, what)
        recipe = str(values.pop("recipe", "best"))
        if recipe not in recipes:
            raise InputError(f"{what} has unknown recipe '{printable(recipe)}'.")
        values = checked(cls, values, what)
        if "signal_model" in values:
            values["signal_model"] = SignalModel.from_dict(values["signal_model"])
        if "network" in values:
            values["network"] = filled(NetworkConfig, values["network"], "The network of the training configuration")
        for key in {"amplitude_range", "refine_amplitude_range"} & set(values):
            given = values[key].items()
            pairs = {n: filled(_Pair, {"range": pair}, f"The amplitude of {printable(n)}") for n, pair in given}
            values[key] = {n: pair.range for n, pair in pairs.items()}
        config = recipes[recipe](**values)
        try:
            _check(config)
        except ValueError as error:
            raise InputError(f"{what} cannot be used: {reason(error)}.") from error
        return config

    def to_dict(self) -> dict:
        """Plain values; ranges of terms that the signal model lacks are left out."""
        values = json.loads(json.dumps(asdict(self))) | {"signal_model": self.signal_model.to_dict()}
        unused = {"gaussian_hz", "offset_hz"} - set(self.signal_model.common)
        return {name: value for name, value in values.items() if name.replace("_range", "") not in unused}

    def ranges(self) -> np.ndarray:
        """Amplitude ranges, (M, 2)."""
        default = self.amplitude_range.get("default", (-0.3, 1.2))
        return np.array([self.amplitude_range.get(n, default) for n in self.signal_model.names], float)


def _check(config: TrainConfig):
    """Raise `ValueError` for a setting that would only fail once the training runs, or fill the memory."""
    smallest = {"batch_size": SHARED, "iterations": 1, "checkpoint_every": 1, "seed": 0, "refine_iterations": 0}
    for name, least in smallest.items():
        value = getattr(config, name)
        if value < least:
            raise ValueError(f"{name} is {value}; it must be at least {least}")
    for name, choices in _CHOICES.items():
        if getattr(config, name) not in choices:
            raise ValueError(f"{name} is {getattr(config, name)!r}; it must be one of {', '.join(choices)}")
    for name in ("learning_rate", "refine_learning_rate", "loss_floor"):
        if not 0 < getattr(config, name) < np.inf:
            raise ValueError(f"{name} is {getattr(config, name)}; it must be a positive number")
    if not 0 <= config.noiseless_share <= 1:
        raise ValueError(f"noiseless_share is {config.noiseless_share}; it must be from 0 to 1")
    ranges = [*config.ranges(), *replace(config, amplitude_range=config.refine_amplitude_range).ranges()]
    low, high = np.array([*(getattr(config, name) for name in _RANGES), *ranges], float).T
    if not (np.isfinite([low, high]).all() and (low <= high).all() and config.snr_range[0] > 0):
        raise ValueError("a range does not go from a lower to a higher number")
    plausible.check_model(config.signal_model)
    if config.signal_model.reference is None:
        raise ValueError("a network needs a reference, the line that it measures the others by")
    n, lines = config.signal_model.acquisition.n_samples, len(config.signal_model.names)
    if n > MOST_SAMPLES or config.batch_size * n * lines > LARGEST_BATCH:
        raise ValueError(f"{config.batch_size} FIDs of {n} points and {lines} lines at a time fill the memory")
    size = config.network
    if size.front == "matched" and max(size.rank, size.aligned_rank) > n:
        raise ValueError(f"the ranks of the network, {size.rank} and {size.aligned_rank}, are above the {n} points")
    basis = config.signal_model.basis()
    if not np.isfinite(basis).all():
        raise ValueError("a number of the signal model is out of range")
    if not np.linalg.cond(basis.conj().T @ basis) < WORST_CONDITION:
        raise ValueError("lines of the signal model are at one place, or more than the data can tell apart")
