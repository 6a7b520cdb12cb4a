"""Fits of simulated 1H spectra against the truth and the Cramer-Rao bound."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from scipy.stats import binom

from precise_lib import show
from precise_lib.evaluate import claims
from precise_lib.evaluate.montecarlo import sd_interval
from precise_lib.evaluate.records import Record
from precise_lib.proton import brain, figures, scores
from precise_lib.proton.brain import LARGEST_MM, METABOLITES, WINDOW
from precise_lib.proton.fit import fit_spectra
from precise_lib.proton.spectrum_model import crlb
from precise_lib.studies import quantified

SOURCES = ("fit", "fit, not negative")


def fitted(data: xr.Dataset) -> xr.Dataset:
    """Spectra of `brain.draw` fitted in the window of the 1D networks, with amplitudes of any sign and not negative.

    Returns `truth` (spectrum, metabolite) and `estimate` (source, spectrum, metabolite) in mM, `converged` (source,
    spectrum), and the Cramer-Rao bounds `bound` of the window and `whole` of the whole spectrum (spectrum, metabolite);
    attribute `spectra_per_s`: how many were fitted in a second, the sign left free.
    """
    basis, n = brain.brain_basis(), len(METABOLITES)
    known = (basis, brain.true_amplitudes(data), data.shim_hz.values, data.sigma.values)
    seen, start = brain.spectra_of(data.noisy.values), time.perf_counter()
    free = fit_spectra(seen, basis, WINDOW)
    seconds = time.perf_counter() - start
    fits = [free, fit_spectra(seen, basis, WINDOW, non_negative=True, near=free)]
    each = ("source", "spectrum", "metabolite")
    variables = {
        "truth": (each[1:], data.concentration.values),
        "estimate": (each, np.stack([f.amplitudes[:, :n] for f in fits])),
        "converged": (each[:2], np.stack([f.converged for f in fits])),
        "bound": (each[1:], crlb(*known, WINDOW)[:, :n]),
        "whole": (each[1:], crlb(*known, slice(None))[:, :n]),
    }
    coords = {"source": list(SOURCES), "metabolite": list(METABOLITES)}
    return xr.Dataset(variables, coords, {"spectra_per_s": len(seen) / seconds})


def over_bound(found: xr.Dataset) -> xr.DataArray:
    """Error of the unbounded fit over the Cramer-Rao bound of its spectrum (spectrum, metabolite)."""
    return (found.estimate.sel(source="fit", drop=True) - found.truth) / found.bound


def predicted_error(found: xr.Dataset) -> xr.DataArray:
    """Standard error (metabolite) that the bound predicts for the slope of the unbounded fit."""
    return LARGEST_MM.copy(data=scores.slope_error(found.truth.values, found.bound.values))


def records(found: xr.Dataset, strong: Sequence[str], reading: str, terms: Mapping) -> list[Record]:
    """Claims M9, and M4 of the `strong` and of all other metabolites, of the unbounded fit under one reading."""
    line, n = quantified.lines(found)["fit"], found.sizes["spectrum"]
    about = {"parameters": {**terms, "spectra": n}, "reading": reading, "figure": "fig-1h-fit"}
    spread, strong = about | {"spread_meaning": "95 % interval"}, list(strong)
    pooled = float(over_bound(found).sel(metabolite=strong).values.std())
    interval = tuple(float(v) for v in sd_interval(pooled, n * len(strong)))
    worst = str(np.abs(line.slope - 1).sel(metabolite=strong).idxmax().values)
    own, distance = line.sel(metabolite=worst), np.abs(line.slope - 1) / predicted_error(found)
    ends, note = (float(own.slope_low), float(own.slope_high)), f"the strong metabolite farthest from 1, {worst}"
    weak = [m for m in METABOLITES if m not in strong]
    outside, allowed = int((distance.sel(metabolite=weak) > 2).sum()), int(binom.isf(0.05, len(weak), 0.0455))
    text = f"{outside} of {len(weak)} beyond two standard errors"
    by_chance = f"chance alone puts more than {allowed} there in fewer than 5 % of studies"
    return [
        claims.record("M9", pooled, interval, **spread),
        claims.record("M4", float(own.slope), ends, part="strong metabolites", note=note, **spread),
        claims.record("M4", text, holds=outside <= allowed, part="weak metabolites", note=by_chance, **about),
    ]


def bound_figure(sd_over_bound: xr.DataArray, n_spectra: int, lines, predicted: xr.DataArray, order: Sequence[str]):
    """Figure of SD over bound (metabolite) with its interval, and of the slopes of both fits beside one, with twice
    their `predicted` standard error; the metabolites in `order`.
    """
    at, places = {"metabolite": list(order)}, np.arange(len(order))
    ratio, twice = sd_over_bound.sel(at).values, 2 * predicted.sel(at).values
    fig, (left, right) = plt.subplots(1, 2, figsize=(11, 3.4))
    low, high = sd_interval(ratio, n_spectra)
    left.errorbar(places, ratio, [ratio - low, high - ratio], fmt="o", color=show.color("fit"))
    slopes = {name: line.slope.sel(at).values for name, line in lines.items()}
    right.errorbar(places - 0.12, slopes["fit"], twice, fmt="o", color=show.color("fit"), label="fit")
    bounded = "fit, not negative"
    right.plot(places + 0.12, slopes[bounded], "s", color=show.color(bounded), label=bounded)
    for ax, label in ((left, "SD / CRLB"), (right, "slope")):
        ax.axhline(1, color="black", lw=0.8)
        ax.set_xticks(places, order, rotation=60)
        ax.set_ylabel(label)
    right.legend(loc="upper left")
    return fig


def truth_figure(found: xr.Dataset, lines, names: Sequence[str]):
    """Figure of estimates over truth, a row per fit and a column per metabolite."""
    fig, axes = plt.subplots(len(lines), len(names), figsize=(3.5 * len(names), 3.4 * len(lines)))
    for row, (label, of_all) in zip(axes, lines.items(), strict=True):
        for ax, name in zip(row, names, strict=True):
            line, estimate = of_all.sel(metabolite=name), found.estimate.sel(source=label, metabolite=name).values
            drawn = float(line.slope), float(line.intercept)
            truth, top = found.truth.sel(metabolite=name).values, float(LARGEST_MM.sel(metabolite=name))
            figures.plot_over_truth(ax, truth, estimate, top, drawn, show.color(label))
            ax.text(0.03, 0.97, f"{name}: slope {line.slope:.2f}", transform=ax.transAxes, va="top", fontsize=9)
        row[0].set_ylabel(f"{label} (mM)")
    return fig
