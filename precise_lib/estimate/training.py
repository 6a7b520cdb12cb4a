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
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tqdm.auto import tqdm

from precise_lib import __version__
from precise_lib.errors import InputError
from precise_lib.estimate.network import Network, NetworkConfig
from precise_lib.simulate.signal import SignalModel, dmi_11t7, snr_to_sigma


@dataclass(frozen=True)
class TrainConfig:
    """Everything a training depends on.

    Parameters
    ----------
    signal_model : the FIDs to learn
    network : layer sizes and front end
    amplitude_range : name -> (low, high) in units of water; ``default`` for names not listed
    shift_range_hz, broadening_range_hz : uniform ranges of Eq. 2's B0 effects
    noise : "uniform_sigma" (sigma ~ U(0, sigma_max), as in the paper) or "log_snr" (log-uniform SNR)
    snr_range : lowest and highest SNR; the lowest sets sigma_max
    noiseless_share : share of FIDs without noise
    loss : "mse" (Eq. 3), "bound" (each squared error over the variance the noise allows) or "efficient" (the same,
        with the estimate of an efficient estimator as target, see `Sampler.draw_efficient`)
    loss_floor : amplitude error, in units of water, below which "bound" and "efficient" ask for no more
    schedule : "constant" or "one_cycle"
    average : exponential averaging of the weights
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
    seed: int = 0
    checkpoint_every: int = 1000

    @classmethod
    def plain(cls, **changes) -> TrainConfig:
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
    def from_dict(cls, values: dict) -> TrainConfig:
        """From plain values (YAML, JSON) or a whole card; `recipe: plain` starts from the paper's settings.

        Raises `InputError` when they are not readable.
        """
        values = dict(values.get("config", values))
        recipe = values.pop("recipe", "best")
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown or recipe not in ("best", "plain"):
            what = f"settings {', '.join(sorted(unknown))}" if unknown else f"recipe '{recipe}'"
            raise InputError(f"The training configuration has unknown {what}.")
        try:
            if "signal_model" in values:
                values["signal_model"] = SignalModel.from_dict(values["signal_model"])
            if "network" in values:
                values["network"] = NetworkConfig(**values["network"])
            for name in ("shift_range_hz", "broadening_range_hz", "snr_range"):
                if name in values:
                    low, high = (float(v) for v in values[name])
                    values[name] = (low, high)
            if "amplitude_range" in values:
                values["amplitude_range"] = {k: tuple(v) for k, v in values["amplitude_range"].items()}
            return cls.plain(**values) if recipe == "plain" else cls(**values)
        except InputError:
            raise
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(f"The training configuration is not readable: {error}.") from error

    def to_dict(self) -> dict:
        return json.loads(json.dumps(asdict(self)))

    def ranges(self) -> np.ndarray:
        """Amplitude ranges, (M, 2)."""
        default = self.amplitude_range.get("default", (-0.3, 1.2))
        return np.array([self.amplitude_range.get(n, default) for n in self.signal_model.names], float)


class Sampler:
    """Random training FIDs, noise, and the error that an efficient estimator must make with that noise."""

    SHARED = 4  # draws of amplitudes, phase and noise for each draw of shift and broadening ("efficient" only)

    def __init__(self, config: TrainConfig, device="cpu"):
        model = config.signal_model
        self.config, self.device = config, device
        self.basis = torch.tensor(model.basis().T, dtype=torch.complex64, device=device)
        self.time = torch.tensor(model.acquisition.time_s, dtype=torch.float32, device=device)
        self.ranges = torch.tensor(config.ranges(), dtype=torch.float32, device=device)
        self.sigma_at_snr_1 = float(snr_to_sigma(model, 1.0))

    def uniform(self, generator, shape, low, high):
        return low + (high - low) * torch.rand(shape, generator=generator, device=self.device)

    def parameters(self, n, groups, generator):
        """Amplitudes (n, M), shift (groups, 1), broadening (groups, 1), phase (n, 1), noise SD (n,)."""
        c = self.config
        amplitudes = self.uniform(generator, (n, len(self.ranges)), *self.ranges.T)
        shift = self.uniform(generator, (groups, 1), *c.shift_range_hz)
        broadening = self.uniform(generator, (groups, 1), *c.broadening_range_hz)
        phase = self.uniform(generator, (n, 1), 0, 2 * torch.pi)
        if c.noise == "uniform_sigma":
            sigma = self.uniform(generator, (n,), 0.0, self.sigma_at_snr_1 / c.snr_range[0])
        else:
            sigma = self.sigma_at_snr_1 * torch.exp(-self.uniform(generator, (n,), *np.log(c.snr_range)))
        noiseless = torch.rand(n, generator=generator, device=self.device) < c.noiseless_share
        return amplitudes, shift, broadening, phase, torch.where(noiseless, 0.0, sigma)

    def envelope(self, shift, broadening, phase=0.0):
        return torch.polar(torch.exp(-torch.pi * broadening * self.time), 2 * torch.pi * shift * self.time + phase)

    def draw(self, n: int, generator: torch.Generator):
        """Noiseless FIDs (n, t) complex64, amplitudes (n, M), noise SD (n,)."""
        amplitudes, shift, broadening, phase, sigma = self.parameters(n, n, generator)
        return (
            (amplitudes.to(torch.complex64) @ self.basis) * self.envelope(shift, broadening, phase),
            amplitudes,
            sigma,
        )

    def white(self, shape, generator):
        """Complex noise of unit SD per real channel."""
        return torch.view_as_complex(torch.randn((*shape, 2), generator=generator, device=self.device))

    def noise(self, like, sigma, generator):
        """Add white noise of SD `sigma` per real channel to complex data (n, K)."""
        return like + sigma[:, None] * self.white(like.shape, generator)

    def draw_efficient(self, n: int, generator: torch.Generator, project):
        """Noisy projected FIDs (n, K), the amplitudes an efficient estimator finds in them (n, M), noise SD (n,).

        To first order in the noise, the maximum-likelihood estimate is the truth plus ``F^-1 Re(J^H noise)`` with the
        Jacobian J and Fisher matrix F at the truth, which a simulation knows. As a target it has the same minimizer
        among unbiased estimators as the truth itself, without the irreducible part of the error: a control variate.
        """
        groups = n // self.SHARED
        n, m = groups * self.SHARED, len(self.ranges)
        amplitudes, shift, broadening, phase, sigma = self.parameters(n, groups, generator)
        lines = self.envelope(shift, broadening)[:, None] * self.basis
        moments = project(torch.cat([lines, self.time * lines], 1).flatten(0, 1))
        moments = moments.view(groups, 2 * m, -1).repeat_interleave(self.SHARED, 0)
        moments = moments * torch.polar(torch.ones_like(phase), phase)[:, None]
        weights = amplitudes.to(torch.complex64)[:, None]
        signal, slope = weights @ moments[:, :m], weights @ moments[:, m:]
        # shift and broadening in units that make the columns comparable to the lines
        scale = 1 / self.time[-1] * len(self.time) / 20
        jacobian = torch.cat([moments[:, :m], 1j * scale * slope, -scale * slope, 1j * signal], 1)
        jacobian = torch.view_as_real(jacobian).flatten(2)
        white = self.white(signal[:, 0].shape, generator)
        fisher = jacobian @ jacobian.mT
        projected = (jacobian @ torch.view_as_real(white).flatten(1)[..., None])[..., 0]
        error = torch.linalg.solve(fisher, projected)[:, :m] * sigma[:, None]
        return signal[:, 0] + sigma[:, None] * white, amplitudes + error, sigma


def signal_families(config: TrainConfig, n: int = 6000) -> tuple[np.ndarray, np.ndarray]:
    """Single lines (n, t) under random broadening, with the shifts of the training range and aligned.

    Aligned is what the search of the front end leaves: an error of the size of its bound at low SNR.
    """
    rng, model = np.random.default_rng(config.seed), config.signal_model
    m = len(model.names)
    amplitudes = np.tile(np.eye(m), (n // m, 1))
    broadening = rng.uniform(*config.broadening_range_hz, len(amplitudes))
    residual = rng.normal(0, 0.15 / (np.pi * model.t2star_s.max()), len(amplitudes))
    shifted = model.fids(amplitudes, rng.uniform(*config.shift_range_hz, len(amplitudes)), broadening)
    return shifted, model.fids(amplitudes, residual, broadening)


def amplitude_variance_scale(model: SignalModel) -> np.ndarray:
    """Variance (M,) of each amplitude per unit noise variance when all else is known: weights of the loss."""
    basis = model.basis()
    return np.diag(np.linalg.inv((basis.conj().T @ basis).real))


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
        """Continue from a checkpoint; raises `InputError` when it belongs to other settings."""
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            stored = json.loads(file.metadata()["config"])
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
    InputError : the checkpoint in `out_dir` belongs to other settings
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
