"""Settings of a training of networks on simulated 1H brain spectra, as YAML and cards have them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from torch import nn

from precise_lib.errors import InputError, check_number, filled, settings_in
from precise_lib.proton import quantifiers, unets

LOSSES = {"mse": nn.functional.mse_loss, "huber": nn.functional.huber_loss}
RANGES = ("snr", "shim_hz", "mm", "maximum_mm", "snr_of")  # of `brain.draw`


@dataclass(frozen=True)
class DenoiseConfig:
    """Everything a training depends on; the defaults are the paper's 1D-UNet."""

    network: unets.UNet1dConfig | unets.UNet2dConfig = field(default_factory=unets.UNet1dConfig)
    data: dict = field(default_factory=dict)  # ranges of `brain.draw` that differ from its own
    data_seed: int = 1000  # of the training spectra; the validation set has the next one
    n_train: int = 18_000  # spectra
    n_validation: int = 1000
    loss: str = "mse"  # or "huber", between scaled outputs
    batch_size: int = 50
    learning_rate: float = 2e-4
    schedule: str = "constant"  # or "one_cycle" over all epochs, see `estimate.training.learning_rate`
    epochs: int = 200  # at most
    patience: int = 10  # epochs without gain on the validation set
    seed: int = 0  # of the first weights, the order of the spectra and dropout
    checkpoint_every: int = 100  # iterations
    kinds, task = unets.KINDS, "denoising"

    def __post_init__(self):
        if self.loss not in LOSSES or self.schedule not in ("constant", "one_cycle"):
            given = f"The loss is '{self.loss}' and the schedule '{self.schedule}'"
            raise InputError(f"{given}; they can be mse or huber, and constant or one_cycle.")
        counts = ("n_train", "n_validation", "batch_size", "epochs", "patience", "checkpoint_every")
        if wrong := [n for n in counts if getattr(self, n) < 1]:
            raise InputError(f"Training needs whole positive numbers for {', '.join(wrong)}.")
        if self.batch_size < 2:
            raise InputError("A batch needs at least two spectra to be normalized by.")
        check_number("The learning rate", self.learning_rate)
        if set(self.data) - set(RANGES):
            raise InputError(f"The settings of the data can be ranges of {', '.join(RANGES)}, each with its values.")
        object.__setattr__(self, "data", json.loads(json.dumps(self.data)))  # tuples or lists: the same settings

    @classmethod
    def from_dict(cls, values: dict) -> DenoiseConfig:
        """From plain values (YAML, JSON) or a whole card; raises `InputError` when they are not readable."""
        values = settings_in(values, "The training configuration")
        if "network" in values:
            values["network"] = unets.config_from_dict(values["network"], cls.kinds, cls.task)
        return filled(cls, values, "The training configuration")

    def to_dict(self) -> dict:
        """Plain values, as JSON has them; None is left out, so that what was stored before it came still fits."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        return json.loads(json.dumps(values | {"network": self.network.to_dict()}))

    def build(self) -> unets.SpectrumNetwork:
        """The network, its weights drawn from torch's global generator."""
        return self.network.build()

    @property
    def batches_per_epoch(self) -> int:
        return -(-self.n_train // self.batch_size)

    @property
    def iterations(self) -> int:
        """Of all epochs."""
        return self.epochs * self.batches_per_epoch


@dataclass(frozen=True)
class QuantifyConfig(DenoiseConfig):
    """As `DenoiseConfig`, for networks of `quantifiers.KINDS`; the loss is that of all 17 outputs."""

    network: quantifiers.InceptionConfig | quantifiers.ShallowCnnConfig = field(
        default_factory=quantifiers.InceptionConfig
    )
    denoiser: str | None = None  # name or path of a U-Net that the spectra pass first, in training and in use
    kinds, task = quantifiers.KINDS, "quantification"
