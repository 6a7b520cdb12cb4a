"""One measured voxel, fitted under three sets of constraints and held against the fit of an independent program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from precise_lib import show
from precise_lib.estimate.fit import FitResult, fit_fids
from precise_lib.evaluate import crlb
from precise_lib.io import measurements, nifti_mrs
from precise_lib.signal.model import SignalModel, spectrum
from precise_lib.signal.noise import zero_filled
from precise_lib.signal.parts import Resonance
from precise_lib.signal.presets import dmi_3t

REFERENCE = {"Glc": (0.289, 0.14), "Glx": (0.461, 0.20)}  # pyAMARES 0.3.28: ratio to water, relative CRLB
OFFSETS_PPM = (0.0, -0.96, -2.48, -3.64)  # from water, as the reference fit found
WIDTHS_HZ = (10.8, 8.6, 15.2, 23.2)  # full width at half maximum, of the same
LOOKS = {"Fourier": "fourier", "network": "sve", "fit, nominal": "fit"}  # methods of the page in the book's colors


def read() -> tuple[SignalModel, np.ndarray, int]:
    """Signal model, FID (first sample of magnitude one; only ratios matter) and number of samples not zero-filled."""
    voxel = nifti_mrs.read_mrsi(measurements.fetch("in_vivo_2h_3t_voxel"), model=dmi_3t())
    fid = voxel.fids[0, 0, 0].astype(complex)
    return voxel.model, fid / np.abs(fid[0]), len(fid) - zero_filled(voxel.fids)


def constraints(model: SignalModel, n_samples: int) -> dict[str, SignalModel]:
    """The model of the samples that were measured: with literature shifts and one width; with the shifts of the
    reference fit; and with its widths.
    """
    model = replace(model, acquisition=replace(model.acquisition, n_samples=n_samples))

    def with_lines(widths_hz):
        lines = zip(model.names, OFFSETS_PPM, widths_hz, strict=True)
        return replace(model, resonances=tuple(Resonance(n, 4.7 + o, 1 / (np.pi * w)) for n, o, w in lines))

    by_shift = {"reference shifts": with_lines([10.6] * 4)}
    return {"nominal": model} | by_shift | {"reference shifts and widths": with_lines(WIDTHS_HZ)}


@dataclass(frozen=True)
class Constrained:
    """The fit of one FID under a signal model."""

    model: SignalModel
    fit: FitResult

    @classmethod
    def of(cls, fid, model: SignalModel) -> Constrained:
        return cls(model, fit_fids(fid[None], model))

    @property
    def nuisance(self) -> dict[str, float]:
        return {k: float(getattr(self.fit, k)[0]) for k in ("shift_hz", "broadening_hz", "phase_rad")}

    @property
    def fid(self) -> np.ndarray:
        return self.model.fids(self.fit.amplitudes[0], **self.nuisance)

    def ratios(self, sigma: float) -> tuple[np.ndarray, np.ndarray]:
        """Amplitudes over water, and their CRLB at this noise."""
        amplitudes = self.fit.amplitudes[0]
        return amplitudes / amplitudes[0], crlb.ratio_sd(self.model, amplitudes, sigma, **self.nuisance)


def fits_figure(fid, fits: Mapping[str, Constrained], sigma: float, points: int = 4096):
    """Measured and fitted spectra, zero-filled for display, over the residual in units of the noise."""

    def drawn(fid):
        return spectrum(np.pad(fid, (0, points - len(fid))))

    fig, axes = plt.subplots(2, 3, figsize=(12, 4.8), sharex=True, sharey="row", height_ratios=[3, 1.3])
    for (top, bottom), (name, found) in zip(axes.T, fits.items(), strict=True):
        fine = replace(found.model, acquisition=replace(found.model.acquisition, n_samples=points))
        turn = np.exp(-1j * found.nuisance["phase_rad"])
        shown = {"measured": drawn(fid * turn), "fit": drawn(found.fid * turn)}
        show.plot_spectra(top, fine, shown, (7.5, -1.5))
        rest = (shown["measured"] - shown["fit"]).real / (sigma * np.sqrt(len(fid)))
        bottom.plot(show.ppm_axis(fine), rest, color="0.3", lw=0.9)
        bottom.axhspan(-2, 2, color="0.92", zorder=0)
        bottom.set(xlabel="chemical shift (ppm)", ylim=(-6, 6))
        top.set_xlabel("")
        top.set_title(name, y=1.1)
    axes[1, 0].set_ylabel("residual / noise SD")
    return fig


def quality(study: xr.Dataset) -> dict[str, tuple[xr.DataArray, xr.DataArray, tuple[float, float]]]:
    """Of `coverage.repeat_until`: title -> value, its standard error, and the range that theory asks for."""
    ratio, sd = study["sd"] / study["crlb"], study["sd"]
    return {
        "SD / CRLB": (ratio, study["sd_error"] * ratio, (0.95, 1.05)),
        "bias / SD": (study["bias"] / sd, study["bias_se"] / sd, (-0.1, 0.1)),
        "coverage (%)": (100 * study["coverage"], 100 * study["coverage_se"], (93, 97)),
    }


def quality_table(study: xr.Dataset) -> show.Markdown:
    """Table of `quality` by method and metabolite."""
    panels = quality(study)
    rows = []
    for name in study["estimator"].values:
        for metabolite in study["metabolite"].values:
            at = {"estimator": name, "metabolite": metabolite}
            own = [(float(value.sel(at)), float(error.sel(at))) for value, error, _ in panels.values()]
            (ratio, ratio_se), (bias, bias_se), (held, held_se) = own
            cells = (f"{ratio:.3f} ± {ratio_se:.3f}", f"{bias:+.3f} ± {bias_se:.3f}", f"{held:.1f} ± {held_se:.1f}")
            rows.append([name, metabolite, *cells])
    return show.table(["method", "", *panels], rows)


def quality_figure(study: xr.Dataset):
    """`quality` of the methods by metabolite, with two standard errors and what theory asks for in gray."""
    fig, axes = plt.subplots(1, 3, figsize=(11, 3))
    for ax, (label, (value, error, band)) in zip(axes, quality(study).items(), strict=True):
        ax.axhspan(*band, color="0.9", zorder=0)
        for i, (name, kind) in enumerate(LOOKS.items()):
            look = {"fmt": show.marker(kind), "color": show.color(kind), "label": name, "capsize": 3}
            x = np.arange(value.sizes["metabolite"]) + 0.15 * (i - 1)
            ax.errorbar(x, value.sel(estimator=name), 2 * error.sel(estimator=name), **look)
        ax.set(xticks=range(3), xticklabels=study["metabolite"].values, ylabel=label)
    axes[0].legend(fontsize=8)
    return fig


def agreement_figure(points: Mapping[str, tuple], names):
    """Ratios (M,) of each method with one SD, beside the reference fit with one and two of its bounds."""
    fig, axes = plt.subplots(1, 2, figsize=(10, 2.9), sharey=True)
    for ax, (name, (value, relative)) in zip(axes, REFERENCE.items(), strict=True):
        k = list(names).index(name)
        for width, shade in ((2, "0.93"), (1, "0.85")):
            ax.axvspan(value * (1 - width * relative), value * (1 + width * relative), color=shade, zorder=0)
        ax.axvline(value, color="0.5", lw=1)
        for y, (label, (ratio, error)) in enumerate(points.items()):
            look = LOOKS.get(label, "fit")
            ax.errorbar(ratio[k], -y, xerr=error[k], fmt=show.marker(look), capsize=3, color=show.color(look))
        ax.set(xlabel=f"{name} / water", yticks=[-y for y in range(len(points))], yticklabels=points)
    return fig


def distance(points: Mapping[str, tuple], names) -> dict[str, float]:
    """Method -> largest distance of its ratios from those of the reference fit, in bounds of that fit."""
    at = {m: list(names).index(m) for m in REFERENCE}
    off = {n: [abs(ratio[at[m]] - v) / (v * r) for m, (v, r) in REFERENCE.items()] for n, (ratio, _) in points.items()}
    return {name: max(values) for name, values in off.items()}
