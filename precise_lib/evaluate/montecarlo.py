"""Bias and SD of estimators by Monte Carlo, every estimator on the same noise; memory holds running sums alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr
from scipy.stats import chi2

from precise_lib import __version__
from precise_lib.signal.model import SignalModel
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.simulate.phantoms import Phantom


class RunningMoments:
    """Mean and SD of arrays that arrive one batch at a time (pairwise update, stable for small spreads)."""

    def __init__(self):
        self.count, self.mean, self.m2 = 0, 0.0, 0.0

    def add(self, batch: np.ndarray):
        """Take in realizations (n, ...)."""
        n, mean = len(batch), batch.mean(0)
        m2 = ((batch - mean) ** 2).sum(0)
        total, delta = self.count + n, mean - self.mean
        self.m2 = self.m2 + m2 + delta**2 * self.count * n / total
        self.mean = self.mean + delta * n / total
        self.count = total

    @property
    def sd(self) -> np.ndarray:
        return np.sqrt(self.m2 / max(self.count - 1, 1))


def _dataset(moments, truth, coords: dict, dims, **attrs) -> xr.Dataset:
    """Mean, SD, truth and bias (estimator, ...) under the names `dims` of their axes."""
    mean, sd = (np.stack([getattr(m, key) for m in moments]) for key in ("mean", "sd"))
    dims = ("estimator", *dims)
    shape = (len(coords["estimator"]), *np.shape(truth))
    variables = {"mean": (dims, mean.reshape(shape)), "sd": (dims, sd.reshape(shape)), "truth": (dims[1:], truth)}
    dataset = xr.Dataset(variables, coords, attrs | {"package_version": __version__})
    dataset["bias"] = dataset["mean"] - dataset["truth"]
    return dataset


def amplitude_study(
    methods: Mapping[str, Callable],
    model: SignalModel,
    amplitudes,
    snrs,
    n_repeats: int = 1000,
    seed: int = 0,
    batch: int = 4096,
    ratio: bool = False,
    **nuisance,
) -> xr.Dataset:
    """One voxel of true amplitudes (M,) under growing SNR (S,) of its undistorted water line, as the paper defines SNR.

    Methods are by name, callables (fids (V, t), model) -> amplitudes (V, M); any estimator's `.amplitudes`. With
    `ratio` amplitude / water is studied; nuisance is that of every realization, by default a random phase. Returns
    mean, sd, bias (estimator, snr, metabolite), truth (snr, metabolite), sigma (snr).
    """
    amplitudes = np.asarray(amplitudes, float)
    water = model.index(model.reference)
    truth = amplitudes / amplitudes[water] if ratio else amplitudes
    sigmas = snr_to_sigma(model, snrs, amplitudes[water])
    results = {name: [RunningMoments() for _ in sigmas] for name in methods}
    for level, sigma in enumerate(sigmas):
        rng = np.random.default_rng([seed, level])
        for start in range(0, n_repeats, batch):
            n = min(batch, n_repeats - start)
            phase = nuisance.get("phase_rad", rng.uniform(-np.pi, np.pi, n))
            clean = model.fids(amplitudes, **nuisance | {"phase_rad": phase})
            noisy = add_noise(np.broadcast_to(clean, (n, clean.shape[-1])), sigma, rng).astype(np.complex64)
            for name, method in methods.items():
                estimate = method(noisy, model)
                results[name][level].add(estimate / estimate[:, [water]] if ratio else estimate)
    moments = [m for levels in results.values() for m in levels]
    truth = np.broadcast_to(truth, (len(sigmas), len(truth)))
    coords = {"estimator": list(methods), "snr": np.asarray(snrs, float), "metabolite": model.names}
    about = {"signal_model": model.hash, "quantity": "amplitude / water" if ratio else "amplitude"}
    dataset = _dataset(moments, truth, coords, ("snr", "metabolite"), n_repeats=n_repeats, seed=seed, **about)
    return dataset.assign(sigma=("snr", sigmas))


def phantom_study(
    estimators: Mapping[str, Callable],
    phantom: Phantom,
    snr: float,
    n_repeats: int = 100,
    seed: int = 0,
    mask: np.ndarray | None = None,
    progress: Callable = iter,
    **measurement,
) -> xr.Dataset:
    """Maps of mean, sd and bias over a phantom in mM, dims (estimator, metabolite, x, y, z).

    Estimators are by name, callables `MRSI` -> DataArray (metabolite, x, y, z); `snr` is that of water, `measurement`
    are further arguments of `Phantom.measure`; voxels of `mask` (x, y, z) are estimated, by default the phantom's own;
    `progress` wraps the iterator over repeats.
    """
    moments = {name: RunningMoments() for name in estimators}
    for repeat in progress(range(n_repeats)):
        data = phantom.measure(snr, np.random.default_rng([seed, repeat]), **measurement)
        if mask is not None:
            data = data.replace(mask=mask & data.mask)
        for name, estimator in estimators.items():
            moments[name].add(estimator(data).values[None])
    coords = {"estimator": list(moments), "metabolite": phantom.model.names}
    about = {"n_repeats": n_repeats, "snr": snr, "seed": seed, "signal_model": phantom.model.hash, "units": "mM"}
    return _dataset(moments.values(), phantom.concentrations.values, coords, ("metabolite", "x", "y", "z"), **about)


def sd_interval(sd, n_repeats: int, level: float = 0.95):
    """Confidence interval (low, high) of a standard deviation from `n_repeats` normal draws."""
    freedom, tail = n_repeats - 1, (1 - level) / 2
    factors = np.sqrt(freedom / chi2.ppf([1 - tail, tail], freedom))
    return np.asarray(sd) * factors[0], np.asarray(sd) * factors[1]


def bootstrap_interval(statistic: Callable, draws, n_draws: int = 400, seed: int = 0, level: float = 0.95):
    """Confidence interval (low, high) of a number or array that `statistic` makes of realizations (n, ...), by drawing
    among them with replacement; methods compared within it share their noise.
    """
    draws, rng = np.asarray(draws), np.random.default_rng(seed)
    values = np.array([statistic(draws[rng.integers(0, len(draws), len(draws))]) for _ in range(n_draws)])
    return tuple(np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0))


def snr_at_sd(snrs, sd_curve, sd) -> np.ndarray:
    """SNR at which a falling curve of SD over SNR takes the value `sd`; log-log, of slope -1 beyond the measured."""
    x, y = np.log(np.asarray(snrs, float)), np.log(np.asarray(sd_curve, float))
    order = np.argsort(y)
    x, y, target = x[order], y[order], np.log(np.asarray(sd, float))
    beyond = np.where(target < y[0], y[0] - target, 0) + np.where(target > y[-1], y[-1] - target, 0)
    return np.exp(np.interp(target, y, x) + beyond)
