"""Curves of the simulated rat: point spread function, spectra by averages, and what a prior keeps for its gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from precise_lib import show
from precise_lib.signal.model import spectrum
from precise_lib.simulate.encoding import Encoding, jinc
from precise_lib.studies.animal import Animal

FARTHEST, DRAWS = 4, 500  # voxels along x, and draws that correlations are counted from
CAP_COLORS = ("0.45", "#AA4499")


def counted_correlation(encoding: Encoding, seed: int) -> np.ndarray:
    """Correlation (FARTHEST + 1,) of the noise of voxels 0, 1, ... apart along x, counted."""
    noise, n = encoding.noise(np.random.default_rng(seed), DRAWS), encoding.matrix[0]
    return np.array([(noise[: n - d].conj() * noise[d:]).real.mean() / 2 for d in range(FARTHEST + 1)])


def point_spread_figure(sphere: Encoding, cube: Encoding, counted: np.ndarray):
    """Point spread functions along x over their peak, and the correlations of noise as counted."""
    steps = np.linspace(0, FARTHEST, 200)
    offsets = np.stack([steps * sphere.voxel_mm[0], 0 * steps, 0 * steps], -1)
    fig, ax = plt.subplots(figsize=(6.5, 3.2))
    ax.plot(steps, sphere.correlation(offsets), color="0")
    ax.plot(steps, jinc(steps), ":", color="#AA4499", lw=2.5)
    ax.plot(steps, cube.correlation(offsets), color="0.6")
    ax.plot(range(len(counted)), counted, "o", color="0")
    near, far = (np.interp(x, steps, sphere.correlation(offsets)) for x in (0.62, 1.0))
    ax.text(0.7, near, "sphere (line); ball, analytic (dotted)", color="#AA4499")
    ax.text(1.1, far + 0.02, "noise, counted (dots)", color="0")
    ax.text(0.36, 0.02, "cube", color="0.4", ha="center")
    ax.set(xlabel="distance along x (voxels)", ylabel="relative to the peak")
    return fig


def averages_figure(animal: Animal, averages: Sequence[int], seed: int):
    """Spectrum of the tumor voxel with the most lactate at each number of averages; the noise differs in size alone."""
    lac = np.nan_to_num(animal.phantom.concentrations.values[animal.lac])
    voxel = np.unravel_index(np.argmax(animal.phantom.tumors["tumor"] * lac), animal.mask.shape)
    fig, axes = plt.subplots(1, len(averages), figsize=(11, 2.6), sharey=True)
    for ax, na in zip(axes, averages, strict=True):
        measured = spectrum(animal.phantom.measure(animal.snr(na), seed).fids[voxel])
        show.plot_spectra(ax, animal.model, {"noisy": measured})
        ax.set_title(f"NA {na}, {4 * na} min", fontsize=9, pad=16)
    return fig


def cap_figure(curves: Mapping[tuple, np.ndarray], lams, marked):
    """Gain over λ at the first cap, and the contrast left over the gain for every cap and MRI (`animal.cap_curves`)."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4))
    caps = list(dict.fromkeys(cap for cap, _ in curves))
    ours, beside = curves[caps[0], "shown"], {"textcoords": "offset points", "fontsize": 9}
    for k, (name, line, shade, side) in enumerate(
        (("independent noise", "o--", "0.6", "right"), ("shared noise", "o-", "0.1", "left"))
    ):
        left.plot(lams, ours[:, k], line, color=shade)
        at = (lams[-2], ours[-2, k])
        left.annotate(name, at, (-8, 6) if k == 0 else (8, -10), color=shade, ha=side, **beside)
    left.set(xscale="log", yscale="log", xlabel="λ", ylabel="SD of SVE / SD of PRECISE")
    left.set_yticks([1, 2, 4, 8], ["1", "2", "4", "8"])
    left.minorticks_off()
    for lam in marked:
        left.axvline(lam, color="0.7", lw=0.8)
    for (cap, name), values in curves.items():
        shade = CAP_COLORS[caps.index(cap)]
        right.plot(values[:, 1], values[:, 2], "o-" if name == "shown" else "o:", color=shade)
        if name == "erased":  # solid and dotted lines of one cap share a label
            right.annotate(f"ω_max {cap:g}", values[values[:, 1] < 7][-1, 1:], (8, -8), color=shade, **beside)
    right.set(xlabel="gain in SD, shared noise", ylabel="Lac contrast left", ylim=(0, 1.05), xlim=(0.8, 12))
    return fig
