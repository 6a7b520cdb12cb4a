"""Denoised 1H spectra beside the truth, their scores, and what remains of the noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from precise_lib import show
from precise_lib.evaluate.montecarlo import bootstrap_interval
from precise_lib.proton import brain, denoised, figures, scores
from precise_lib.proton.brain import WINDOW, spectra_of
from precise_lib.proton.fit import fit_spectra
from precise_lib.proton.weights import Denoiser

FIT = "fit of the true model"
NAA_METHYL_PPM = (1.9, 2.1)


def window_ppm() -> np.ndarray:
    """Chemical shifts (1024,) of the points that are shown."""
    return brain.brain_basis().ppm[WINDOW]


def example(networks: Mapping[str, Denoiser], snr: float, seed: int, number: int) -> dict[str, np.ndarray]:
    """The spectrum of this number at this SNR, (1024,) each: "truth", "noisy", and as each network denoises it."""
    one = brain.draw(1, seed, start=number, snr=(snr, snr))
    spectra = {name: spectra_of(s.values, WINDOW)[0] for name, s in (("truth", one.clean), ("noisy", one.noisy))}
    return spectra | {n: denoised.denoised_spectra(net, one.noisy.values)[0] for n, net in networks.items()}


def examples(cases: Mapping[str, Mapping[str, np.ndarray]], shown_ppm, ppm=None, truth: str = "truth"):
    """Figure of `figures.denoising_examples` with one legend for all of it; `ppm` (1024,) unless that of simulated
    spectra, and `truth` is what stands in for it.
    """
    fig = figures.denoising_examples(window_ppm() if ppm is None else ppm, cases, shown_ppm)
    drawn = {line.get_label(): line for ax in fig.axes for line in ax.lines if not line.get_label().startswith("_")}
    drawn[truth] = drawn.pop("truth")
    drawn["what is wrong" if truth == "truth" else "difference"] = drawn.pop("difference")
    fig.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=len(drawn))
    return fig


def side_by_side(spectra: Mapping[str, np.ndarray], snr: float, shown_ppm):
    """Figure of one `example`: noisy and denoised, each over the truth, on a scale that the noise does not change."""
    ppm, truth = window_ppm(), spectra["truth"]
    top = np.real(truth)[(ppm > min(shown_ppm)) & (ppm < max(shown_ppm))].max()
    fig, axes = plt.subplots(1, len(spectra) - 1, figsize=(11.5, 2.9), sharey=True)
    for ax, label in zip(axes, [name for name in spectra if name != "truth"], strict=True):
        figures.plot_denoised(ax, ppm, label, spectra[label], truth, top, shown_ppm)
        ax.set(title=f"{label}, SNR {snr:g}", ylim=(-1.9 * top, 1.1 * top), xlabel="chemical shift (ppm)")
    return fig


def line_height(spectra: np.ndarray) -> np.ndarray:
    """Height (...) of the methyl line of NAA in spectra (..., 1024)."""
    ppm = window_ppm()
    return np.real(spectra)[..., (ppm > NAA_METHYL_PPM[0]) & (ppm < NAA_METHYL_PPM[1])].max(-1)


@dataclass(frozen=True)
class Denoised:
    """Spectra (V, points) of `brain.draw` by source: true, noisy and denoised; their scores, and the least DS (V,) that
    a linear estimate can have over as many points as a network gives (`scores.best_possible`)."""

    snr: np.ndarray
    sigma: np.ndarray
    clean: dict[str, np.ndarray]
    noisy: dict[str, np.ndarray]
    spectra: dict[str, np.ndarray]
    tables: dict[str, xr.Dataset]
    best: dict[str, np.ndarray]

    def inside(self, bounds) -> np.ndarray:
        """Which spectra (V,) have an SNR from low to high."""
        return (self.snr >= bounds[0]) & (self.snr <= bounds[1])

    def median(self, source: str, version: str, bounds) -> tuple[float, tuple[float, float]]:
        """Median score of a source inside a range of SNR, and its 95 % interval."""
        values = self.tables[source][version].values[self.inside(bounds)]
        return float(np.median(values)), tuple(float(v) for v in bootstrap_interval(np.median, values))

    def least(self, source: str, bounds) -> float:
        """Median DS of the best linear estimate inside a range of SNR."""
        return float(np.median(self.best[source][self.inside(bounds)]))

    def remains(self) -> dict[str, np.ndarray]:
        """What is wrong with the spectra, the "noise" of those of 1024 points first."""
        first = next(s for s, values in self.clean.items() if values.shape[-1] == brain.WINDOW_POINTS)
        rest = {s: values - self.clean[s] for s, values in self.spectra.items()}
        return {"noise": self.noisy[first] - self.clean[first]} | rest


def denoise(data: xr.Dataset, networks: Mapping[str, Denoiser], with_fit: bool = True) -> Denoised:
    """Denoise spectra of `brain.draw` with each network, and by a fit of the true model to the 1024 points."""
    basis, points = brain.brain_basis(), {n: net.points for n, net in networks.items()}
    best = {n: scores.best_possible(basis, data, p).DS.values for n, p in points.items()}
    points |= {FIT: WINDOW} if with_fit else {}
    clean, noisy = ({n: spectra_of(s.values, p) for n, p in points.items()} for s in (data.clean, data.noisy))
    spectra = {n: net.denoise_spectra(noisy[n]) for n, net in networks.items()}
    if with_fit:
        spectra[FIT] = denoised.fitted_spectra(fit_spectra(noisy[FIT], basis, WINDOW), basis, WINDOW)
    snr = data.snr.values
    tables = {n: scores.score_table(s, clean[n], noisy[n], snr, points[n]) for n, s in spectra.items()}
    return Denoised(snr, data.sigma.values, clean, noisy, spectra, tables, best)


def score_figure(found: Denoised, versions: Sequence[str], edges):
    """Figure of scores over SNR, a panel per version; the first also has the least DS over as many points."""
    fig, axes = plt.subplots(1, len(versions), figsize=(11, 3.3), sharey=True)
    for ax, version in zip(axes, versions, strict=True):
        figures.plot_scores(ax, found.snr, {n: t[version].values for n, t in found.tables.items()}, edges)
        ax.set_title(version, fontsize=10, loc="left")
    for (name, values), style in zip(found.best.items(), ("-", ":"), strict=True):
        medians = [np.median(values[(found.snr >= a) & (found.snr < b)]) for a, b in pairwise(edges)]
        label = f"best linear, {found.clean[name].shape[-1]} points"
        axes[0].stairs(medians, edges, color="black", lw=2, ls=style, baseline=None, label=label)
    axes[0].set(ylabel="score (1: no denoising)", ylim=(0, 0.7))
    axes[0].legend(loc="upper left", bbox_to_anchor=(0, 0.95))
    return fig


def residual_figure(found: Denoised, ranges):
    """Figure of the RMS of what remains over that of the noise at each chemical shift, a panel per range of SNR."""
    fig, (axes, strips) = plt.subplots(2, 2, figsize=(11, 4.4), sharex=True, sharey="row", height_ratios=(4, 1))
    ppm, shown = window_ppm(), {n: r[:, WINDOW] for n, r in found.remains().items()}
    mean = np.real(found.clean[FIT]).mean(axis=0)
    for ax, strip, bounds in zip(axes, strips, ranges, strict=True):
        power = {n: (np.abs(r[found.inside(bounds)]) ** 2).mean(axis=0) for n, r in shown.items()}
        for n in found.spectra:
            ax.plot(ppm, np.sqrt(power[n] / power["noise"].mean()), color=show.color(n), lw=1, label=n)
        strip.fill_between(ppm, mean, color="0.7", lw=0)
        ax.axhline(1, color="black", lw=0.8)
        ax.set(xlim=(4.6, -0.5), ylim=(0, None), title=f"SNR {bounds[0]:g} to {bounds[1]:g}")
        strip.set(xlabel="chemical shift (ppm)", yticks=[], ylim=(0, 1.1 * mean[ppm > 0.8].max()))
    axes[0].set_ylabel("what remains / noise (RMS)")
    strips[0].set_ylabel("mean truth")
    axes[0].legend(loc="upper right", bbox_to_anchor=(1, 0.92))
    return fig


def lost_lines(found: Denoised, present: np.ndarray, least: float = 0.8) -> dict[str, float]:
    """Share of the spectra `present` (V,) in which the methyl line of NAA has less than so much of its true height."""
    true = line_height(found.clean[FIT])
    heights = {n: line_height(s[:, WINDOW]) for n, s in found.spectra.items()}
    return {n: float((h < least * true)[present].mean()) for n, h in heights.items()}


def nearer(paper: tuple[float, float], ours: Mapping[str, float]) -> str:
    """Label of the score that is nearer, by ratio, to what the paper says (low, high); "both alike" where they are."""
    values = np.array(list(ours.values()))
    away = np.abs(np.log(values / np.clip(values, *paper)))
    return "both alike" if np.isclose(*away) else list(ours)[int(away.argmin())]
