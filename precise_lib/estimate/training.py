"""One trainer for every network: resumable to the bit, with the weights to keep beside those of the last step.

`SveTrainer` trains the SVE network on new random FIDs in every iteration (Eqs 2 and 3 of PRECISE-DMI), by our recipe,
`TrainConfig()`, or the paper's, `TrainConfig.papers_recipe()`; the theory page says why ours differs.
"""

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

from precise_lib.errors import InputError, reason
from precise_lib.estimate import card
from precise_lib.estimate.network import Network
from precise_lib.estimate.sampling import Sampler, signal_families
from precise_lib.io.atomic import staged


def learning_rate(config, iteration: int) -> float:
    """Constant, or warm-up over 5 % and a cosine to a thousandth."""
    if config.schedule == "constant":
        return config.learning_rate
    progress = (iteration + 0.5) / config.iterations
    return config.learning_rate * (min(1.0, progress / 0.05) * 0.5 * (1 + np.cos(np.pi * progress)) + 1e-3)


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
            optimizer.param_groups[0]["lr"] = learning_rate(self.config, self.iteration)
        loss = self.loss()
        self.network.zero_grad()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        self.iteration += 1
        self.keep(loss.detach())

    @property
    def finished(self) -> bool:
        return self.iteration >= self.config.iterations

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
        already, started, total = self.wall_time_s, time.perf_counter(), self.config.iterations
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


class SveTrainer(Trainer):
    """The SVE network on random FIDs; it keeps an exponential average of the weights where the settings say so.

    With the optimizer "muon" the matrices of the FC layers move along the orthogonal part of their momentum (Jordan
    2024), at steps as large as Adam's: directions with small gradients are learned as fast as the others.
    """

    def build(self):
        families = signal_families(self.config) if self.config.network.front == "matched" else None
        return Network.of(self.config, families)

    def optimize(self):
        if self.config.optimizer == "adam":
            return super().optimize()
        parts, rate = list(self.network.parameters()), self.config.learning_rate
        matrices, others = [p for p in parts if p.ndim == 2], [p for p in parts if p.ndim != 2]
        muon = torch.optim.Muon(matrices, lr=rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
        return [torch.optim.Adam(others, lr=rate), muon]

    def prepare(self):
        self.sampler = Sampler(self.config, self.device)
        if self.config.network.front == "matched":
            fids, _, sigma = self.sampler.draw(16384, self.generator)
            z = self.network.front.project(fids)
            self.network.front.fit_whitening(self.sampler.noise(z, sigma, self.generator))
        basis = self.config.signal_model.basis()
        # variance of each amplitude (M,) per unit noise variance when all else is known
        scale = np.diag(np.linalg.inv((basis.conj().T @ basis).real))
        self.variance_scale = torch.tensor(scale, dtype=torch.float32).to(self.device)

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

    def keep(self, loss):
        # averages over the last tenth of the way gone: the start is forgotten, the last steps' noise averaged
        decay = min(0.999, self.iteration / (self.iteration + 10)) if self.config.average else 0.0
        with torch.no_grad():
            for name, p in self.network.named_parameters():
                self.kept[name].lerp_(p, 1 - decay)
        if self.iteration % 100 == 0 or self.iteration == 1:
            self.history.append((self.iteration, float(loss)))


def train(
    config, out_dir, name="sve", resume=True, progress=True, device="cpu", stop_after=None, trainer=SveTrainer
) -> Path | None:
    """Train and write ``<name>.safetensors`` with its card ``<name>.json``.

    Parameters
    ----------
    config : settings that `trainer`, a class, takes
    out_dir : folder, made where missing; an interrupted training left ``<name>.checkpoint.safetensors`` there
    resume : continue from that checkpoint; the result is the same as without the interruption
    stop_after : stop at this iteration with a checkpoint, as an interruption would

    Returns
    -------
    Path of the weights, or None when stopped early.

    Raises
    ------
    InputError : the checkpoint is damaged or belongs to other settings, or these cannot be trained
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    checkpoint = out_dir / f"{name}.checkpoint.safetensors"
    try:
        state = trainer(config, device)
    except InputError:
        raise
    except (ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise InputError(f"A network of these settings cannot be built ({reason(error)}): change them.") from error
    if resume and checkpoint.exists():
        state.load(checkpoint)
    state.run(checkpoint, stop_after, progress)
    if not state.finished:
        return None
    state.network.load_state_dict(state.kept)
    path = out_dir / f"{name}.safetensors"
    made = card.Card(
        name,
        config,
        signal_model_hash=config.signal_model.hash if hasattr(config, "signal_model") else None,
        wall_time_s=round(state.wall_time_s, 1),
        epochs=state.epochs,
        loss_history=[list(row) for row in state.history[:: max(1, len(state.history) // 300)]],
    )
    card.save(path, state.network.eval(), made)
    checkpoint.unlink(missing_ok=True)
    return path
