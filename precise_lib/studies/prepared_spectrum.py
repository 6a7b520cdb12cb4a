"""A measured 1H spectrum of a human brain, as recorded and prepared for networks that know one grid of shifts."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np

from precise_lib.io import measurements, nifti_mrs
from precise_lib.proton import brain, figures, in_vivo, preprocess
from precise_lib.proton.brain import spectra_of
from precise_lib.signal.parts import Acquisition

NAME = "in_vivo_1h_3t_press35"
TAIL = 600  # samples at the end that hold noise alone


@dataclass(frozen=True)
class Prepared:
    """FIDs (t,) as `measured` under `scanner`, of its `water` reference and of macromolecules `mm`; the `fid` without
    eddy currents and residual water on the `grid` of the training. SD of a channel of a sample: `sigma`, `noise`.
    """

    scanner: Acquisition
    measured: np.ndarray
    water: np.ndarray
    mm: np.ndarray
    mm_acquisition: Acquisition
    sigma: float
    grid: Acquisition
    fid: np.ndarray
    noise: float


def prepared(water_rank: int, seed: int) -> Prepared:
    """The measurement that travels with this project; `water_rank` is that of the search for residual water."""
    names = [NAME, f"{NAME}_water", "mm_consensus_3t"]
    files = [nifti_mrs.open_mrsi(measurements.fetch(name)) for name in names]
    measured, water, mm = (f.fids.squeeze().astype(complex) for f in files)
    scanner, sigma = files[0].acquisition, float(np.std(measured[-TAIL:].view(float)))
    dry = preprocess.remove_band(preprocess.eddy_current_corrected(measured, water), scanner, rank=water_rank, skip=1)
    grid = in_vivo.on_training_grid(scanner)
    fid = preprocess.resample(dry, scanner, grid, sigma, seed)
    noise = sigma * np.sqrt(scanner.dwell_time_s / grid.dwell_time_s)
    return Prepared(scanner, measured, water, mm, files[2].acquisition, sigma, grid, fid, noise)


def figure(own: Prepared, fitted_ppm):
    """As recorded, cut at a twentieth of the height of the water line, and prepared, in the range that is fitted."""
    fig, axes = plt.subplots(1, 2, figsize=(11, 3))
    raw, low, high = spectra_of(own.measured, slice(None)), *fitted_ppm
    cases = {
        "as recorded": (brain.ppm_axis(own.scanner), raw, (6, -1)),
        "prepared": (brain.ppm_axis(own.grid), spectra_of(own.fid, slice(None)), (high, low)),
    }
    for ax, (title, (ppm, values, window)) in zip(axes, cases.items(), strict=True):
        figures.plot_ppm(ax, ppm, {title: values}, window).lines[0].set_color("black")
        ax.set(title=title, xlabel="chemical shift (ppm)")
    axes[0].set_ylim(np.array([-1, 1]) * 0.05 * np.abs(raw).max())
    return fig
