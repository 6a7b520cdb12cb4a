"""What of a network's error is its prior's and what is its own: a typical voxel over SNR, and the training range."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from scipy.integrate import quad
from scipy.stats import norm

from precise_lib import show
from precise_lib.estimate.fit import fit_fids
from precise_lib.estimate.weights import SveModel, load_weights
from precise_lib.evaluate.accuracy import typical_amplitudes
from precise_lib.evaluate.repeated import repeated
from precise_lib.io.shipped import data_path
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.signal.presets import dmi_11t7
from precise_lib.studies.posterior import TrainingPrior, posterior

# by largest training amplitude (of water), by squared error on our front end
RANGES = {0.5: "mse_1x", 1.0: "mse_2x", 2.0: "mse_4x"}
# without noiseless FIDs, else as the other of the pair
NOISY = {"recipe as printed": "paper_noisy", "squared error, matched front end": "mse_2x_noisy"}


def study_network(name: str) -> SveModel:
    """A network that was trained for this study."""
    return load_weights(data_path("weights", "studies", f"{name}.safetensors"))


def over_snr(methods: Mapping[str, Callable], snrs: Sequence[float], n_repeats: int, seed: int) -> xr.Dataset:
    """What `Repeated.summary` says of a typical voxel, and `rmse_over_crlb`; estimators by name, on the same noise."""
    model = dmi_11t7()
    own = {name: method.amplitudes for name, method in methods.items()}
    found = repeated(own, model, typical_amplitudes(model.names), snrs, n_repeats, seed).summary()
    return found.assign(rmse_over_crlb=np.hypot(found["sd_over_crlb"], found["bias"] / found["crlb"]))


def expected_bias(amplitude: float, sd: float, low: float = 0.0) -> float:
    """Mean of the bias of a Gaussian estimate whose prior is cut off at `low`, over the noise of the estimate."""

    def bias(estimate):
        z = (estimate - low) / sd
        return estimate - amplitude + sd * np.exp(norm.logpdf(z) - norm.logcdf(z))

    return quad(lambda z: norm.pdf(z) * bias(amplitude + sd * z), -8, 8)[0]


def expected_percent(found: xr.Dataset) -> np.ndarray:
    """`expected_bias` of lactate at the SNRs of `over_snr`, in percent."""
    lac = found.sel(metabolite="Lac")
    truth = float(lac["truth"])
    return np.array([100 * expected_bias(truth, bound) / truth for bound in lac["crlb"].values])


def _draw(prior: TrainingPrior, sigma: float, n: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """FIDs (n, t) of a prior and their amplitudes (n, M)."""
    low, high = prior.amplitudes.T
    truth = low + (high - low) * rng.random((n, len(low)))
    shift, broad = rng.uniform(*prior.shift_hz, n), rng.uniform(*prior.broadening_hz, n)
    clean = dmi_11t7().fids(truth, shift, broad, rng.uniform(-np.pi, np.pi, n))
    return add_noise(clean, sigma, rng).astype(np.complex64), truth


def own_error(network: SveModel, snr: float, n_drawn: int, n_samples: int, seed: int) -> dict[str, float]:
    """Metabolites pooled, over FIDs of the training distribution: `distance` of the network from the posterior mean
    over the latter's RMSE, `product`, how orthogonal the two are in standard errors, and the slopes of lactate over
    the truth, `slope` and `slope_best`.
    """
    prior, model, rng = TrainingPrior.of(network.card.config), dmi_11t7(), np.random.default_rng(seed)
    sigma = float(snr_to_sigma(model, snr))
    fids, truth = _draw(prior, sigma, n_drawn, rng)
    best = posterior(fids, model, sigma, prior, n_samples, seed, fit_fids(fids, model)).mean[:, 1:]
    if not prior.relative:  # its unit is the median water of a data set: as many FIDs of water 1 keep it at one
        unit = model.fids(np.array([[1.0, 0, 0, 0]] * (n_drawn + 1))).astype(np.complex64)
        fids = np.concatenate([fids, unit])
    estimate = network.amplitudes(fids)[:n_drawn, 1:]
    error, distance = best - truth[:, 1:], estimate - best
    product = (error * distance).sum(1)
    slopes = (np.polyfit(truth[:, 3], e[:, 2], 1)[0] for e in (estimate, best))
    found = {"distance": np.sqrt((distance**2).sum() / (error**2).sum())}
    found |= {"product": product.mean() / product.std() * np.sqrt(n_drawn)}
    return found | dict(zip(("slope", "slope_best"), slopes, strict=True))


def plain_axis(ax, ticks: Iterable[float]):
    """A logarithmic axis with plain numbers at the ticks."""
    ax.set(xscale="log", xticks=list(ticks))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("")


def snr_figure(found: xr.Dataset):
    """Bias, SD and RMSE of lactate over SNR by every estimator, and the bias that a formula expects."""
    fig, axes = plt.subplots(1, 3, figsize=(12, 3.4))
    keys = {"bias_percent": "bias of Lac (%)", "sd_over_crlb": "SD / CRLB of Lac"}
    keys |= {"rmse_over_crlb": "RMSE / CRLB of Lac"}
    for ax, (key, label) in zip(axes, keys.items(), strict=True):
        for name in found.estimator.values:
            look = {"color": show.color(name), "marker": show.marker(name)}
            ax.plot(found.snr, found[key].sel(estimator=name, metabolite="Lac"), label=name, **look)
        ax.set(xlabel="SNR of water", ylabel=label)
        plain_axis(ax, [5, 10, 20, 35])
    axes[0].plot(found.snr, expected_percent(found), "k--", label="theory")
    axes[0].legend(fontsize=8)
    return fig


def range_figure(ranges: Mapping[float, Mapping[str, xr.Dataset]], snrs: Sequence[float]):
    """Bias of Lac and Glx and RMSE of Lac over the largest training amplitude, of networks and posterior means."""
    fig, axes = plt.subplots(1, 3, figsize=(12, 3.2))
    panels = {("bias_percent", m): f"bias of {m} (%)" for m in ("Lac", "Glx")}
    panels |= {("rmse_over_crlb", "Lac"): "RMSE / CRLB of Lac"}
    for ax, ((key, metabolite), label) in zip(axes, panels.items(), strict=True):
        for snr, shade in zip(snrs, ("0.1", "0.6"), strict=False):
            for kind, dashes in (("network", "o-"), ("posterior mean", "o--")):
                at = [r[kind][key].sel(snr=snr, metabolite=metabolite) for r in ranges.values()]
                ax.plot(list(ranges), at, dashes, color=shade, label=f"{kind}, SNR {snr:g}")
        ax.set(xlabel="largest training amplitude (of water)", ylabel=label)
        plain_axis(ax, ranges)
    axes[1].legend(fontsize=8)
    return fig


def noiseless_figure(found: xr.Dataset):
    """Bias of each line at high SNR, mean over the SNRs, of each training and of the posterior mean."""
    fig, ax = plt.subplots(figsize=(9, 3.2))
    shades, names = ("#882255", "0.2", "0.6", "#AA4499", "#DDCC77", "#6699CC"), found.estimator.values
    x = np.arange(found.sizes["metabolite"])
    for i, (name, shade) in enumerate(zip(names, shades, strict=True)):
        bias = found["bias_percent"].sel(estimator=name).mean("snr")
        ax.bar(x + 0.14 * (i - (len(names) - 1) / 2), bias, 0.13, color=shade, label=name)
    ax.axhspan(-1, 1, color="0.92", zorder=0)
    ax.axhline(0, color="black", lw=0.8)
    ax.set(xticks=x, xticklabels=found.metabolite.values, ylabel="bias (%)")
    ax.legend(fontsize=8)
    return fig
