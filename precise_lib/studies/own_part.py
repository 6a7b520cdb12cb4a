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
from precise_lib.evaluate.efficiency import efficiency
from precise_lib.io.shipped import data_path
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.signal.presets import dmi_11t7
from precise_lib.studies.posterior import TrainingPrior, posterior

LOOKS = {"fit": "fit", "our network": "sve", "paper's recipe": "paper's recipe", "posterior mean": "posterior mean"}


def study_network(name: str) -> SveModel:
    """A network that was trained for this study."""
    return load_weights(data_path("weights", "studies", f"{name}.safetensors"))


def over_snr(method: Callable, snrs: Sequence[float], n_repeats: int, n_phases: int, seed: int) -> xr.Dataset:
    """Bias, SD and RMSE (snr, metabolite) of a typical voxel, any phase; `efficiency` takes out what is only chance."""
    model, levels = dmi_11t7(), []
    truth = xr.DataArray(typical_amplitudes(model.names), dims="metabolite")
    voxels = np.tile(truth, (n_phases, 1))
    phases = np.linspace(-np.pi, np.pi, n_phases, endpoint=False)
    for snr in snrs:
        sigma = float(snr_to_sigma(model, snr))
        each = efficiency(method, model, voxels, sigma, n_repeats // n_phases, seed, phase_rad=phases)
        level = each[["bias", "crlb"]].mean("voxel")
        level["bias_se"] = np.sqrt((each["bias_se"] ** 2).mean("voxel") / n_phases)
        spread = (each["bias"] / each["crlb"]).var("voxel")  # between phases
        level["sd_over_crlb"] = np.sqrt((each["sd_over_crlb"] ** 2).mean("voxel") + spread)
        level["rmse_over_crlb"] = np.hypot(level["sd_over_crlb"], level["bias"] / level["crlb"])
        level["bias_percent"] = 100 * level["bias"] / truth
        level["bias_percent_se"] = 100 * level["bias_se"] / truth
        levels.append(level)
    return xr.concat(levels, xr.IndexVariable("snr", snrs))


def expected_bias(amplitude: float, sd: float, low: float = 0.0) -> float:
    """Mean of the bias of a Gaussian estimate whose prior is cut off at `low`, over the noise of the estimate."""

    def bias(estimate):
        z = (estimate - low) / sd
        return estimate - amplitude + sd * np.exp(norm.logpdf(z) - norm.logcdf(z))

    return quad(lambda z: norm.pdf(z) * bias(amplitude + sd * z), -8, 8)[0]


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


def snr_figure(curves: Mapping[str, xr.Dataset], theory: np.ndarray):
    """Bias, SD and RMSE of lactate over SNR; `theory` is the bias (snr,) that a formula gives."""
    fig, axes = plt.subplots(1, 3, figsize=(12, 3.4))
    keys = {"bias_percent": "bias of Lac (%)", "sd_over_crlb": "SD / CRLB of Lac"}
    keys |= {"rmse_over_crlb": "RMSE / CRLB of Lac"}
    for ax, (key, label) in zip(axes, keys.items(), strict=True):
        for name, result in curves.items():
            look = {"color": show.color(LOOKS[name]), "marker": show.marker(LOOKS[name])}
            ax.plot(result.snr, result[key].sel(metabolite="Lac"), label=name, **look)
        ax.set(xlabel="SNR of water", ylabel=label)
        plain_axis(ax, [5, 10, 20, 35])
    axes[0].plot(result.snr, theory, "k--", label="theory")
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


def noiseless_figure(clean: Mapping[str, xr.Dataset]):
    """Bias of each line at high SNR, mean over the SNRs, of each training and of the posterior mean."""
    fig, ax = plt.subplots(figsize=(9, 3.2))
    for i, ((part, result), shade) in enumerate(
        zip(clean.items(), ("0.2", "0.6", "#AA4499", "#DDCC77", "#6699CC"), strict=True)
    ):
        x = np.arange(result.sizes["metabolite"])
        label = part if "our" in part or part == "posterior mean" else f"paper's recipe, {part}"
        ax.bar(x + 0.16 * (i - 2), result["bias_percent"].mean("snr"), 0.15, color=shade, label=label)
    ax.axhspan(-1, 1, color="0.92", zorder=0)
    ax.axhline(0, color="black", lw=0.8)
    ax.set(xticks=x, xticklabels=result.metabolite.values, ylabel="bias (%)")
    ax.legend(fontsize=8)
    return fig
