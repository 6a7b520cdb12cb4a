"""Training of the denoising U-Nets on simulated 1H brain spectra, resumable to the bit.

A fixed set of spectra, each with its one noise, is gone through epoch after epoch, as in "Miracle or mirage?"; the
weights of the epoch with the least loss on a validation set are kept, and training ends when that loss has not fallen
for `patience` epochs. The paper gives its split as 80/10/10 % and as 18000/1000/1000 of 20000: ours is the second, and
the last thousand is drawn from another seed by whoever tests. It gives the 2D loss as Huber and as MSE: both are
there. It repeats each training five times and keeps the best: give other seeds for that.

The spectra stay in memory: 20000 take 330 MB for the 1D net and 1.3 GB for the 2D net, whose spectrograms are made
batch by batch.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
import torch
from torch import nn

from precise_lib.errors import InputError
from precise_lib.estimate import checkpoints
from precise_lib.estimate.training import learning_rate
from precise_lib.proton import brain, unets

LOSSES = {"mse": nn.functional.mse_loss, "huber": nn.functional.huber_loss}
VALIDATION_BATCH = 128
RANGES = ("snr", "shim_hz", "mm", "maximum_mm", "snr_of")  # of `brain1h.draw`


@dataclass(frozen=True)
class DenoiseConfig:
    """Everything a training depends on; the defaults are the paper's 1D-UNet.

    Parameters
    ----------
    network : `denoise.UNet1dConfig` or `denoise.UNet2dConfig`
    data : ranges of `brain1h.draw` that differ from its own
    data_seed : of the training spectra; the validation set has the next one
    n_train, n_validation : spectra of either set
    loss : "mse" or "huber", between scaled channels
    schedule : "constant" or "one_cycle" over all epochs, see `training.learning_rate`
    epochs, patience : at most so many, and so many without gain on the validation set
    seed : of the first weights, the order of the spectra and dropout
    checkpoint_every : iterations
    """

    network: unets.UNet1dConfig | unets.UNet2dConfig = field(default_factory=unets.UNet1dConfig)
    data: dict = field(default_factory=dict)
    data_seed: int = 1000
    n_train: int = 18_000
    n_validation: int = 1000
    loss: str = "mse"
    batch_size: int = 50
    learning_rate: float = 2e-4
    schedule: str = "constant"
    epochs: int = 200
    patience: int = 10
    seed: int = 0
    checkpoint_every: int = 100

    def __post_init__(self):
        if self.loss not in LOSSES or self.schedule not in ("constant", "one_cycle"):
            raise InputError(
                f"The loss is '{self.loss}' and the schedule '{self.schedule}'; they can be mse or huber, and "
                "constant or one_cycle."
            )
        counts = ("n_train", "n_validation", "batch_size", "epochs", "patience", "checkpoint_every")
        if wrong := [n for n in counts if not isinstance(getattr(self, n), int) or getattr(self, n) < 1]:
            raise InputError(f"Training needs whole positive numbers for {', '.join(wrong)}.")
        if self.batch_size < 2:
            raise InputError("A batch needs at least two spectra to be normalized by.")
        if not (isinstance(self.learning_rate, float | int) and self.learning_rate > 0):
            raise InputError(f"The learning rate is {self.learning_rate}; it must be a positive number.")
        if not isinstance(self.data, dict) or set(self.data) - set(RANGES):
            raise InputError(f"The settings of the data can be ranges of {', '.join(RANGES)}, each with its values.")
        object.__setattr__(self, "data", json.loads(json.dumps(self.data)))  # tuples or lists: the same settings

    @classmethod
    def paper_2d(cls, **changes) -> DenoiseConfig:
        """The paper's settings of the 2D-UNet."""
        settings = {"network": unets.UNet2dConfig(), "loss": "huber", "batch_size": 128, "epochs": 30, "patience": 3}
        return cls(**(settings | changes))

    @classmethod
    def from_dict(cls, values: dict) -> DenoiseConfig:
        """From plain values (YAML, JSON) or a whole card; raises `InputError` when they are not readable."""
        values = values.get("config", values)
        if not isinstance(values, dict):
            raise InputError("The training configuration must be a mapping of settings.")
        if unknown := set(values) - {f.name for f in fields(cls)}:
            raise InputError(f"The training configuration has unknown settings {', '.join(sorted(map(str, unknown)))}.")
        if "network" in values:
            values = values | {"network": cls.read_network(values["network"])}
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise InputError(f"The training configuration is not readable: {error}.") from error

    @staticmethod
    def read_network(values: dict):
        """Configuration of the network from plain values."""
        return unets.config_from_dict(values)

    def to_dict(self) -> dict:
        """Plain values, as JSON has them."""
        values = asdict(self) | {"network": unets.config_to_dict(self.network)}
        return json.loads(json.dumps(values))

    @property
    def batches_per_epoch(self) -> int:
        return -(-self.n_train // self.batch_size)

    @property
    def iterations(self) -> int:
        """Of all epochs."""
        return self.epochs * self.batches_per_epoch


def spectra(config: DenoiseConfig, n: int, seed: int, network) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy and clean spectra (n, n_points) complex64 of the points that `network` takes."""
    noisy, clean = (torch.empty(n, network.n_points, dtype=torch.complex64) for _ in range(2))
    done = 0
    for data in brain.batches(n, seed, 200, **config.data):
        for out, fids in ((noisy, data.noisy), (clean, data.clean)):
            part = np.fft.fft(fids.values.astype(complex))[:, network.points]
            out[done : done + len(part)] = torch.from_numpy(part.astype(np.complex64))
        done += data.sizes["spectrum"]
    return noisy, clean


class Trainer:
    """State of one training: network, best weights so far, optimizer, and the place in the data.

    A trainer for another task has its own `build`, `draw` and `loss` and shares the rest.
    """

    def __init__(self, config: DenoiseConfig, device="cpu"):
        self.config, self.device = config, device
        with torch.random.fork_rng():  # layers draw their start from torch's global generator: lend it a seed
            torch.manual_seed(config.seed)
            self.network = self.build(config.network).to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate)
        self.train_set = self.draw(config.n_train, config.data_seed)
        self.validation_set = self.draw(config.n_validation, config.data_seed + 1)
        self.best = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.iteration, self.wall_time_s, self.summed = 0, 0.0, 0.0
        self.history: list[tuple[int, float, float]] = []  # epoch, loss of training and of validation

    @staticmethod
    def build(network):
        """The network of its configuration, from torch's global generator."""
        return unets.build(network)

    def draw(self, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets of n spectra of the data set `seed`, a row each."""
        return spectra(self.config, n, seed, self.network)

    @property
    def finished(self) -> bool:
        """All epochs done, or no gain for too long."""
        losses = [row[2] for row in self.history]
        waited = len(losses) - 1 - int(np.argmin(losses)) if losses else 0
        return self.iteration >= self.config.iterations or waited >= self.config.patience

    def loss(self, noisy, clean) -> torch.Tensor:
        """Loss of a batch of inputs and targets, here complex spectra, in units of the noisy input's RMS."""
        noisy, clean = noisy.to(self.device), clean.to(self.device)
        with torch.no_grad():
            seen, target = self.network.represent(noisy), self.network.represent(clean)
            scale = self.network.scale(seen)
        return LOSSES[self.config.loss](self.network.layers(seen / scale), target / scale)

    def batch(self) -> torch.Tensor:
        """Numbers of the spectra of this iteration: the order of an epoch depends on seed and epoch alone."""
        epoch, k = divmod(self.iteration, self.config.batches_per_epoch)
        order = np.random.default_rng((self.config.seed, epoch)).permutation(self.config.n_train)
        chosen = order[k * self.config.batch_size : (k + 1) * self.config.batch_size]
        return torch.from_numpy(chosen if len(chosen) > 1 else order[-2:])  # one alone has no batch statistics

    def step(self):
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, self.iteration)
        rows = self.batch()
        with torch.random.fork_rng():  # dropout of an iteration depends on seed and iteration alone
            torch.manual_seed(1_000_003 * self.config.seed + self.iteration)
            loss = self.loss(*(s[rows] for s in self.train_set))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.iteration += 1
        self.summed += float(loss.detach())
        epoch, rest = divmod(self.iteration, self.config.batches_per_epoch)
        if rest == 0:
            self._end_epoch(epoch)

    def _end_epoch(self, epoch: int):
        validation = self.validate()
        if not self.history or validation < min(row[2] for row in self.history):
            self.best = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.history.append((epoch, self.summed / self.config.batches_per_epoch, validation))
        self.summed = 0.0

    def validate(self) -> float:
        """Mean loss over the validation set."""
        self.network.eval()
        parts = [s.split(VALIDATION_BATCH) for s in self.validation_set]
        with torch.no_grad():
            total = sum(float(self.loss(n, c)) * len(n) for n, c in zip(*parts, strict=True))
        return total / self.config.n_validation

    def save(self, path: Path):
        """Checkpoint, written whole or not at all."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()} | checkpoints.optimizer_tensors(self.optimizer)
        tensors["history"] = torch.tensor(self.history, dtype=torch.float64).reshape(-1, 3)
        tensors["progress"] = torch.tensor([self.iteration, self.wall_time_s, self.summed], dtype=torch.float64)
        checkpoints.save(path, tensors, self.config.to_dict())

    def load(self, path: Path):
        """Continue from a checkpoint; raises `InputError` when it is damaged or belongs to other settings."""
        tensors = checkpoints.load(path, self.config.to_dict(), self.device)
        self.network.load_state_dict(checkpoints.below(tensors, "network."))
        self.best = checkpoints.below(tensors, "best.")
        checkpoints.restore_optimizer(self.optimizer, tensors)
        self.history = [(int(e), train, validation) for e, train, validation in tensors["history"].tolist()]
        iteration, self.wall_time_s, self.summed = tensors["progress"].tolist()
        self.iteration = int(iteration)


def train(
    config, out_dir, name="unet", resume=True, progress=True, device="cpu", stop_after=None, trainer_class=Trainer
):
    """Train and write ``<name>.safetensors`` with its card ``<name>.json``; parameters as in `training.train`.

    `trainer_class` is the `Trainer` of the task that `config` is for.

    Returns
    -------
    Path of the weights, or None when stopped early.

    Raises
    ------
    InputError : the checkpoint in `out_dir` is damaged or belongs to other settings
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    checkpoint = out_dir / f"{name}.checkpoint.safetensors"
    trainer = trainer_class(config, device)
    if resume and checkpoint.exists():
        trainer.load(checkpoint)

    def losses():
        return f"validation {trainer.history[-1][2]:.4g}" if trainer.history else ""

    every = config.checkpoint_every
    checkpoints.run(trainer, checkpoint, config.iterations, every, stop_after, progress, losses)
    if not trainer.finished:
        return None
    trainer.network.load_state_dict(trainer.best)
    path = out_dir / f"{name}.safetensors"
    card = {"config": config.to_dict(), "wall_time_s": round(trainer.wall_time_s, 1), "epochs": len(trainer.history)}
    card["loss_history"] = [list(row) for row in trainer.history]
    checkpoints.write_weights(path, trainer.network, card)
    checkpoint.unlink(missing_ok=True)
    return path
