"""Training of the SVE network on new random FIDs in every iteration (Eqs 2 and 3 of PRECISE-DMI).

By our recipe, `TrainConfig()`, the paper's, `TrainConfig.papers_recipe()`, or that of its CNN,
`TrainConfig.papers_cnn()`; the theory page says why ours differs.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from precise_lib.errors import InputError, reason
from precise_lib.estimate import card
from precise_lib.estimate.network import Network
from precise_lib.estimate.sampling import Sampler, signal_families
from precise_lib.estimate.trainer import Trainer, one_cycle

REFINE_SEED = 1_000_003  # over the seed of a training, for the FIDs of its second cycle


class SveTrainer(Trainer):
    """The SVE network on random FIDs; it keeps an exponential average of the weights where the settings say so.

    With the optimizer "muon" the matrices of the FC layers move along the orthogonal part of their momentum (Jordan
    2024), at steps as large as Adam's: directions with small gradients are learned as fast as the others.

    A second, shorter cycle (`refine_iterations`) starts from the weights kept of the first, with amplitudes from
    `refine_amplitude_range`: of those of the whole range few are like the ones that are measured.
    """

    @property
    def total(self):
        return self.config.iterations + self.config.refine_iterations

    @property
    def refining(self) -> int:
        """Iterations of the second cycle so far."""
        return max(0, self.iteration - self.config.iterations)

    def rate(self):
        c = self.config
        if self.iteration < c.iterations:
            return super().rate()
        return c.refine_learning_rate * one_cycle((self.refining + 0.5) / c.refine_iterations)

    def step(self):
        if self.iteration == self.config.iterations:
            self.network.load_state_dict(self.kept)
            self.optimizers = self.optimize()
            self.generator.manual_seed(self.config.seed + REFINE_SEED)
            self.sampler = self.refined_sampler()
        super().step()

    def refined_sampler(self) -> Sampler:
        return Sampler(replace(self.config, amplitude_range=self.config.refine_amplitude_range), self.device)

    def _restore(self, tensors):
        super()._restore(tensors)
        if self.refining:
            self.sampler = self.refined_sampler()

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
        done = self.refining or self.iteration
        decay = min(0.999, done / (done + 10)) if self.config.average else 0.0
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
