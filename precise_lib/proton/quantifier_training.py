"""Training of the networks that quantify simulated 1H brain spectra; everything but the target is `denoise_training`'s.

The paper retrains both networks on its own noisy spectra; their settings come from an earlier study of the group, which
is not reproduced here: those of the 1D-UNet are the default. The loss is the mean squared error of all 17 outputs, so a
network that reaches its least value gives the mean of what is known from data and training ranges: it is drawn to the
middle of the range the more, the less the data say.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from precise_lib.proton import brain, quantifiers, training
from precise_lib.proton.training import LOSSES, DenoiseConfig


@dataclass(frozen=True)
class QuantifyConfig(DenoiseConfig):
    """Everything a training depends on; settings other than the network are those of `DenoiseConfig`.

    Parameters
    ----------
    network : `quantifiers.InceptionConfig` or `quantifiers.ShallowCnnConfig`
    """

    network: quantifiers.InceptionConfig | quantifiers.ShallowCnnConfig = field(
        default_factory=quantifiers.InceptionConfig
    )

    @staticmethod
    def read_network(values: dict):
        return quantifiers.config_from_dict(values)


def spectra(config: QuantifyConfig, n: int, seed: int, network) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy spectra (n, n_points) complex64 of the points that `network` takes, and true concentrations (n, 16), mM."""
    noisy = torch.empty(n, network.n_points, dtype=torch.complex64)
    truth, done = torch.empty(n, len(brain.METABOLITES)), 0
    for data in brain.batches(n, seed, 200, **config.data):
        here = slice(done, done + data.sizes["spectrum"])
        part = np.fft.fft(data.noisy.values.astype(complex))[:, network.points]
        noisy[here] = torch.from_numpy(part.astype(np.complex64))
        truth[here] = torch.from_numpy(data.concentration.values.astype(np.float32))
        done = here.stop
    return noisy, truth


class QuantifyTrainer(training.Trainer):
    """State of one training of a quantification network."""

    @staticmethod
    def build(network):
        return quantifiers.build(network)

    def draw(self, n: int, seed: int):
        return spectra(self.config, n, seed, self.network)

    def loss(self, noisy, truth) -> torch.Tensor:
        """Loss of a batch of complex spectra and their concentrations, between scaled outputs."""
        noisy, truth = noisy.to(self.device), truth.to(self.device)
        with torch.no_grad():
            seen = self.network.represent(noisy)
            scale = self.network.scale(seen)
            target = self.network.targets(truth, scale)
        return LOSSES[self.config.loss](self.network.layers(seen / scale), target)


def train(config: QuantifyConfig, out_dir, name="quantifier", **options):
    """Train and write weights with their card; parameters and errors as in `denoise_training.train`."""
    return training.train(config, out_dir, name, trainer_class=QuantifyTrainer, **options)
