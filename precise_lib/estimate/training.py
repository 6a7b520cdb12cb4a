"""Training of the SVE network: new random FIDs in every iteration (Eqs 2 and 3 of PRECISE-DMI), resumable to the bit.

`TrainConfig()` holds our recipe, `TrainConfig.plain()` the paper's, by the same code. Ours differs where theory gives a
reason:

* the loss of a FID is divided by the variance that the noise allows (plus a floor): plain MSE is spent on the
  noisiest FIDs;
* the target is not the truth but what an efficient estimator would find in the same noise
  (`Sampler.draw_efficient`): the part of the error that nobody can avoid no longer hides the part that training can;
* metabolite amplitudes are drawn from below zero up: a network trained with MSE converges to the posterior mean, and
  a prior that ends at zero pushes small metabolites up as soon as the noise reaches them;
* the matched front end (`precise_lib.estimate.network`);
* a one-cycle learning rate and an exponential average of the weights, which take the noise of the last steps away.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from precise_lib.estimate import checkpoints
from precise_lib.estimate.network import Network
from precise_lib.estimate.sampling import Sampler, TrainConfig, amplitude_variance_scale, signal_families


def learning_rate(config: TrainConfig, iteration: int) -> float:
    """Constant, or warm-up over 5 % and a cosine to a thousandth."""
    if config.schedule == "constant":
        return config.learning_rate
    progress = (iteration + 0.5) / config.iterations
    return config.learning_rate * (min(1.0, progress / 0.05) * 0.5 * (1 + np.cos(np.pi * progress)) + 1e-3)


class Trainer:
    """State of one training: network, averaged weights, optimizer and random generator."""

    def __init__(self, config: TrainConfig, device="cpu"):
        self.config, self.device = config, device
        matched = config.network.front == "matched"
        families = signal_families(config) if matched else None
        with torch.random.fork_rng():  # layers draw their start from torch's global generator: lend it a seed
            torch.manual_seed(config.seed)
            self.network = Network(config.signal_model, config.network, config.shift_range_hz, families).to(device)
        self.sampler = Sampler(config, device)
        self.generator = torch.Generator(device).manual_seed(config.seed)
        if matched:
            fids, _, sigma = self.sampler.draw(16384, self.generator)
            z = self.network.front.project(fids)
            self.network.front.fit_whitening(self.sampler.noise(z, sigma, self.generator))
        self.parameters = dict(self.network.named_parameters())
        self.averaged = {k: p.detach().clone() for k, p in self.parameters.items()}
        self.optimizer = torch.optim.Adam(self.parameters.values(), lr=config.learning_rate)
        scale = torch.tensor(amplitude_variance_scale(config.signal_model), dtype=torch.float32)
        self.variance_scale = scale.to(device)
        self.iteration, self.wall_time_s, self.history = 0, 0.0, []

    def loss(self) -> torch.Tensor:
        n, project = self.config.batch_size, self.network.front.project
        if self.config.loss == "efficient":
            z, target, sigma = self.sampler.draw_efficient(n, self.generator, project)
        else:
            fids, target, sigma = self.sampler.draw(n, self.generator)
            z = self.sampler.noise(project(fids), sigma, self.generator)
        squared = (self.network(z) - target) ** 2
        if self.config.loss != "mse":
            squared = squared / (self.variance_scale * sigma[:, None] ** 2 + self.config.loss_floor**2)
        return squared.mean()

    def step(self):
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, self.iteration)
        loss = self.loss()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.iteration += 1
        # averages over the last tenth of the way gone: the start is forgotten, the last steps' noise averaged
        decay = min(0.999, self.iteration / (self.iteration + 10)) if self.config.average else 0.0
        with torch.no_grad():
            for name, p in self.parameters.items():
                self.averaged[name].lerp_(p, 1 - decay)
        if self.iteration % 100 == 0 or self.iteration == 1:
            self.history.append((self.iteration, float(loss.detach())))

    def state(self) -> dict[str, torch.Tensor]:
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.items()}
        tensors |= checkpoints.optimizer_tensors(self.optimizer)
        tensors["generator"] = self.generator.get_state()
        tensors["history"] = torch.tensor(self.history, dtype=torch.float64).reshape(-1, 2)
        tensors["progress"] = torch.tensor([self.iteration, self.wall_time_s], dtype=torch.float64)
        return tensors

    @property
    def finished(self) -> bool:
        return self.iteration >= self.config.iterations

    def save(self, path: Path):
        """Checkpoint, written whole or not at all."""
        checkpoints.save(path, self.state(), self.config.to_dict())

    def load(self, path: Path):
        """Continue from a checkpoint; raises `InputError` when it is damaged or belongs to other settings."""
        tensors = checkpoints.load(path, self.config.to_dict(), self.device)
        self.network.load_state_dict(checkpoints.below(tensors, "network."))
        self.averaged = checkpoints.below(tensors, "averaged.")
        checkpoints.restore_optimizer(self.optimizer, tensors)
        self.generator.set_state(tensors["generator"].cpu())
        self.history = [(int(i), loss) for i, loss in tensors["history"].tolist()]
        self.iteration, self.wall_time_s = int(tensors["progress"][0]), float(tensors["progress"][1])

    def final_network(self) -> Network:
        """The network with the weights to ship."""
        if self.config.average:
            self.network.load_state_dict(self.averaged, strict=False)
        return self.network.eval()


def train(config: TrainConfig, out_dir, name="sve", resume=True, progress=True, device="cpu", stop_after=None):
    """Train and write ``<name>.safetensors`` with its card ``<name>.json``.

    Parameters
    ----------
    out_dir : folder, made where missing; an interrupted training left ``<name>.checkpoint.safetensors`` there
    resume : continue from that checkpoint; the result is the same as without the interruption
    stop_after : stop at this iteration with a checkpoint, as an interruption would

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
    trainer = Trainer(config, device)
    if resume and checkpoint.exists():
        trainer.load(checkpoint)

    def losses():
        return f"loss {np.mean([v for _, v in trainer.history[-10:]]):.4g}"

    every = config.checkpoint_every
    checkpoints.run(trainer, checkpoint, config.iterations, every, stop_after, progress, losses)
    if not trainer.finished:
        return None
    path = out_dir / f"{name}.safetensors"
    card = {
        "signal_model": config.signal_model.to_dict(),
        "signal_model_hash": config.signal_model.hash,
        "config": config.to_dict(),
        "wall_time_s": round(trainer.wall_time_s, 1),
        "loss_history": trainer.history[:: max(1, len(trainer.history) // 300)],
    }
    checkpoints.write_weights(path, trainer.final_network(), card)
    checkpoint.unlink(missing_ok=True)
    return path


def shorter(config: TrainConfig, iterations: int, **changes) -> TrainConfig:
    """The same training with fewer iterations, for a look or a test."""
    return replace(config, iterations=iterations, **changes)
