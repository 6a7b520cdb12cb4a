"""Training of networks on simulated 1H brain spectra: U-Nets that denoise them, networks that quantify them.

A fixed set of spectra, each with its one noise, is gone through epoch after epoch, as in "Miracle or mirage?"; the
weights of the epoch with the least loss on a validation set are kept. The paper gives its split as 80/10/10 % and as
18000/1000/1000 of 20000: ours is the second, the last thousand of another seed. It gives the 2D loss as Huber and as
MSE: both are there. It keeps the best of five trainings: give other seeds for that. Networks that quantify are trained
by the settings of the 1D-UNet: the earlier study that has their own is not reproduced here.

The spectra stay in memory: 20000 take 330 MB for the 1D net and 1.3 GB for the 2D net.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from precise_lib.estimate import trainer, training
from precise_lib.proton import brain, weights
from precise_lib.proton.train_config import LOSSES, DenoiseConfig

VALIDATION_BATCH = 128


def examples(config: DenoiseConfig, n: int, seed: int, network) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy spectra (n, n_points) complex64 of the points that `network` takes, and what it is to learn of each."""
    first = weights.first_denoiser(config)
    noisy, truth, done = torch.empty(n, network.n_points, dtype=torch.complex64), None, 0
    for data in brain.batches(n, seed, 200, **config.data):
        here, own = slice(done, done + data.sizes["spectrum"]), network.truth(data)
        truth = torch.empty(n, own.shape[1], dtype=own.dtype) if truth is None else truth
        seen = network.spectra(data.noisy.values)
        noisy[here] = torch.from_numpy(first.denoise_spectra(seen.numpy())) if first else seen
        truth[here], done = own, here.stop
    return noisy, truth


class Trainer(trainer.Trainer):
    """A network on a fixed set of spectra; it keeps the weights of the best epoch."""

    def build(self):
        return self.config.build()

    def prepare(self):
        config = self.config
        self.train_set = examples(config, config.n_train, config.data_seed, self.network)
        self.validation_set = examples(config, config.n_validation, config.data_seed + 1, self.network)

    @property
    def epochs(self) -> int:
        return len(self.history)

    @property
    def finished(self) -> bool:
        """All epochs done, or no gain for too long."""
        losses = [row[2] for row in self.history]
        waited = len(losses) - 1 - int(np.argmin(losses)) if losses else 0
        return super().finished or waited >= self.config.patience

    def loss_of(self, noisy, truth) -> torch.Tensor:
        """Loss of a batch of complex spectra and what is to be learned of them, in units of the noisy input's RMS."""
        noisy, truth = noisy.to(self.device), truth.to(self.device)
        with torch.no_grad():
            seen = self.network.represent(noisy)
            scale = self.network.scale(seen)
            target = self.network.targets(truth, scale)
        return LOSSES[self.config.loss](self.network.layers(seen / scale), target)

    def batch(self) -> torch.Tensor:
        """Numbers of the spectra of this iteration: the order of an epoch depends on seed and epoch alone."""
        epoch, k = divmod(self.iteration, self.config.batches_per_epoch)
        order = np.random.default_rng((self.config.seed, epoch)).permutation(self.config.n_train)
        chosen = order[k * self.config.batch_size : (k + 1) * self.config.batch_size]
        return torch.from_numpy(chosen if len(chosen) > 1 else order[-2:])  # one alone has no batch statistics

    def loss(self):
        self.network.train()
        rows = self.batch()
        with torch.random.fork_rng():  # dropout of an iteration depends on seed and iteration alone
            torch.manual_seed(1_000_003 * self.config.seed + self.iteration)
            return self.loss_of(*(s[rows] for s in self.train_set))

    def keep(self, loss):
        self.summed += float(loss)
        epoch, rest = divmod(self.iteration, self.config.batches_per_epoch)
        if rest:
            return
        validation = self.validate()
        if not self.history or validation < min(row[2] for row in self.history):
            self.kept = self.copied()
        self.history.append((epoch, self.summed / self.config.batches_per_epoch, validation))
        self.summed = 0.0

    def validate(self) -> float:
        """Mean loss over the validation set."""
        self.network.eval()
        parts = [s.split(VALIDATION_BATCH) for s in self.validation_set]
        with torch.no_grad():
            total = sum(float(self.loss_of(*part)) * len(part[0]) for part in zip(*parts, strict=True))
        return total / self.config.n_validation


def train(config: DenoiseConfig, out_dir, name="network", **options) -> Path | None:
    """Train and write weights with their card; options and errors as in `estimate.training.train`."""
    return training.train(config, out_dir, name, trainer=Trainer, **options)
