"""One trainer for every network: resumable to the bit, with the weights to keep beside those of the last step."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors
from tqdm.auto import tqdm

from precise_lib.errors import InputError
from precise_lib.io.atomic import staged


def learning_rate(config, iteration: int) -> float:
    """Constant, or warm-up over 5 % and a cosine to a thousandth."""
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * one_cycle((iteration + 0.5) / config.iterations)


def one_cycle(progress: float) -> float:
    """Rate over its peak at a progress from 0 to 1."""
    return min(1.0, progress / 0.05) * 0.5 * (1 + np.cos(np.pi * progress)) + 1e-3


class Trainer:
    """State of one training: network, weights to keep, optimizer, random generator, history.

    A kind of network has four methods of its own: `build` gives the network, from torch's global generator; `prepare`
    makes what the first step needs; `loss` is that of this iteration's batch; `keep`, called with it after the step,
    updates `kept` and `history`.

    Parameters
    ----------
    config : settings; has `seed`, `learning_rate`, `schedule`, `iterations`, `checkpoint_every` and `to_dict`
    """

    epochs: int | None = None  # that were trained, where there are any

    @property
    def total(self) -> int:
        """Iterations of the whole training."""
        return self.config.iterations

    def rate(self) -> float:
        return learning_rate(self.config, self.iteration)

    def __init__(self, config, device="cpu"):
        self.config, self.device = config, device
        with torch.random.fork_rng():  # layers draw their start from torch's global generator: lend it a seed
            torch.manual_seed(config.seed)
            self.network = self.build().to(device)
        self.generator = torch.Generator(device).manual_seed(config.seed)
        self.prepare()
        self.optimizers = self.optimize()
        self.kept = self.copied()
        self.iteration, self.wall_time_s, self.summed = 0, 0.0, 0.0
        self.history: list[tuple] = []  # iteration or epoch, and losses

    def optimize(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(self.network.parameters(), lr=self.config.learning_rate)]

    def copied(self) -> dict[str, torch.Tensor]:
        return {k: v.detach().clone() for k, v in self.network.state_dict().items()}

    def step(self):
        for optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = self.rate()
        loss = self.loss()
        self.network.zero_grad()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        self.iteration += 1
        self.keep(loss.detach())

    @property
    def finished(self) -> bool:
        return self.iteration >= self.total

    def save(self, path: Path):
        """Checkpoint with the settings that it belongs to, written whole or not at all.

        Raises `InputError` where the weights are no longer finite: an earlier checkpoint stays.
        """
        if not all(v.isfinite().all() for v in self.kept.values()):
            raise InputError(
                f"After {self.iteration} iterations the weights are not finite: give a lower learning_rate, or ranges "
                "in which FIDs stay finite."
            )
        moments = {(j, i): own for j, o in enumerate(self.optimizers) for i, own in o.state_dict()["state"].items()}
        state = {
            **{f"network.{k}": v for k, v in self.network.state_dict().items()},
            **{f"kept.{k}": v for k, v in self.kept.items()},
            **{f"moments.{j}.{i}.{k}": torch.as_tensor(v) for (j, i), own in moments.items() for k, v in own.items()},
            "generator": self.generator.get_state(),
            "history": torch.tensor(self.history, dtype=torch.float64),
            "progress": torch.tensor([self.iteration, self.wall_time_s, self.summed], dtype=torch.float64),
        }
        state = {k: v.detach().contiguous().cpu() for k, v in state.items()}
        settings = json.dumps(self.config.to_dict(), sort_keys=True)
        with staged(path.parent) as folder:
            (folder / path.name).write_bytes(save_tensors(state, metadata={"config": settings}))

    def load(self, path: Path):
        """Continue from a checkpoint; raises `InputError` when it is damaged or belongs to other settings."""
        try:
            with safe_open(path, "pt") as file:
                stored = json.loads(file.metadata()["config"])
            if stored != json.loads(json.dumps(self.config.to_dict())):
                raise InputError(f"{path} is the checkpoint of other settings; use another folder or remove it.")
            self._restore(load_file(path, device=str(self.device)))
        except InputError:
            raise
        except (SafetensorError, OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
            raise InputError(f"The checkpoint {path} is damaged: remove it to train from the start.") from error

    def _restore(self, tensors: dict):
        self.network.load_state_dict(_below(tensors, "network."))
        self.kept = _below(tensors, "kept.")
        for j, optimizer in enumerate(self.optimizers):
            state = optimizer.state_dict()
            for key, value in _below(tensors, f"moments.{j}.").items():
                i, name = key.split(".", 1)
                state["state"].setdefault(int(i), {})[name] = value
            optimizer.load_state_dict(state)
        self.generator.set_state(tensors["generator"].cpu())
        self.history = [(int(number), *losses) for number, *losses in tensors["history"].tolist()]
        iteration, self.wall_time_s, self.summed = tensors["progress"].tolist()
        self.iteration = int(iteration)

    def run(self, checkpoint: Path, stop_after: int | None = None, progress: bool = True):
        """Step until finished, or until iteration `stop_after`, with checkpoints."""
        already, started, total = self.wall_time_s, time.perf_counter(), self.total
        end = total if stop_after is None else min(stop_after, total)
        with tqdm(total=total, initial=self.iteration, disable=not progress, unit="it", mininterval=1) as bar:
            while self.iteration < end and not self.finished:
                self.step()
                bar.update()
                if self.iteration % self.config.checkpoint_every == 0 or self.iteration == end or self.finished:
                    self.wall_time_s = already + time.perf_counter() - started
                    self.save(checkpoint)
                    if self.history:
                        bar.set_postfix_str(f"loss {np.mean([row[-1] for row in self.history[-10:]]):.4g}")


def _below(tensors: dict, prefix: str) -> dict:
    """The entries whose name starts with `prefix`, without it."""
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
