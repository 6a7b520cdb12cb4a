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

import json
import os
import platform
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from tqdm.auto import tqdm

from precise_lib import __version__
from precise_lib.errors import InputError
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
        tensors = {f"network.{k}": v.detach() for k, v in self.network.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.items()}
        for i, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{k}": torch.as_tensor(v) for k, v in moments.items()}
        tensors["generator"] = self.generator.get_state()
        tensors["history"] = torch.tensor(self.history, dtype=torch.float64).reshape(-1, 2)
        tensors["progress"] = torch.tensor([self.iteration, self.wall_time_s], dtype=torch.float64)
        return {k: v.contiguous().cpu() for k, v in tensors.items()}

    def save(self, path: Path):
        """Checkpoint, written whole or not at all."""
        settings = json.dumps(self.config.to_dict(), sort_keys=True)
        save_file(self.state(), path.with_suffix(".tmp"), metadata={"config": settings})
        os.replace(path.with_suffix(".tmp"), path)

    def load(self, path: Path):
        """Continue from a checkpoint; raises `InputError` when it is damaged or belongs to other settings."""
        try:
            with safe_open(path, "pt") as file:
                stored = json.loads(file.metadata()["config"])
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"The checkpoint {path} is damaged: remove it to train from the start.") from error
        if stored != self.config.to_dict():
            raise InputError(f"{path} is the checkpoint of other settings; use another folder or remove it.")
        tensors = load_file(path, device=str(self.device))
        self.network.load_state_dict(_below(tensors, "network."))
        self.averaged = _below(tensors, "averaged.")
        state = self.optimizer.state_dict()
        for key, value in _below(tensors, "adam.").items():
            i, name = key.split(".", 1)
            state["state"].setdefault(int(i), {})[name] = value
        self.optimizer.load_state_dict(state)
        self.generator.set_state(tensors["generator"].cpu())
        self.history = [(int(i), loss) for i, loss in tensors["history"].tolist()]
        self.iteration, self.wall_time_s = int(tensors["progress"][0]), float(tensors["progress"][1])

    def final_network(self) -> Network:
        """The network with the weights to ship."""
        if self.config.average:
            self.network.load_state_dict(self.averaged, strict=False)
        return self.network.eval()


def _below(tensors: dict, prefix: str) -> dict:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def machine() -> str:
    """One line on the hardware and software that trained: no names, no paths."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{cores} CPU cores ({platform.machine()}, {torch.get_num_threads()} threads){gpu}, torch {torch.__version__}"
    )


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
    already, started = trainer.wall_time_s, time.perf_counter()
    end = config.iterations if stop_after is None else min(stop_after, config.iterations)
    bar = tqdm(total=config.iterations, initial=trainer.iteration, disable=not progress, unit="it", mininterval=1)
    with bar:
        while trainer.iteration < end:
            trainer.step()
            bar.update()
            if trainer.iteration % config.checkpoint_every == 0 or trainer.iteration == end:
                trainer.wall_time_s = already + time.perf_counter() - started
                trainer.save(checkpoint)
                bar.set_postfix(loss=f"{np.mean([v for _, v in trainer.history[-10:]]):.4g}")
    if trainer.iteration < config.iterations:
        return None
    path = out_dir / f"{name}.safetensors"
    tensors = {k: v.detach().contiguous().cpu() for k, v in trainer.final_network().state_dict().items()}
    save_file(tensors, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").chmod(0o644)  # safetensors writes private files
    os.replace(path.with_suffix(".tmp"), path)
    card = {
        "name": name,
        "package_version": __version__,
        "signal_model": config.signal_model.to_dict(),
        "signal_model_hash": config.signal_model.hash,
        "config": config.to_dict(),
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "wall_time_s": round(trainer.wall_time_s, 1),
        "machine": machine(),
        "loss_history": trainer.history[:: max(1, len(trainer.history) // 300)],
    }
    path.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n")
    checkpoint.unlink(missing_ok=True)
    return path


def shorter(config: TrainConfig, iterations: int, **changes) -> TrainConfig:
    """The same training with fewer iterations, for a look or a test."""
    return replace(config, iterations=iterations, **changes)
