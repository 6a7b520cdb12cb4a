"""Claim B1, recorded from the trial of `mirage`, and what its figure of all methods shows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from precise_lib.evaluate import claims
from precise_lib.evaluate.records import Record
from precise_lib.studies import mirage
from precise_lib.studies.contrasts import HIDDEN, SHOWN
from precise_lib.studies.mirage import LOW, NARROW, SNR, WIDE, WORDS, Prior, Voxels

MEANS = {WIDE: "posterior mean, paper's range", NARROW: "posterior mean, narrow range"}  # network -> what it approaches


def misses(measured: Mapping[str, xr.Dataset], predicted: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Measured minus predicted slope where it is largest, of the posterior means and of SVE."""
    pairs = {mean: network for network, mean in MEANS.items()} | {"SVE": "SVE"}
    found = {label: measured[label].slope.values - predicted[network] for label, network in pairs.items()}
    return {label: float(v.flat[np.abs(v).argmax()]) for label, v in found.items()}


def panels(low: Mapping[str, xr.Dataset], prior: Prior, snr: float) -> dict[str, dict[str, tuple[float, float]]]:
    """By method, and there by metabolite or contrast: noise and contrast kept at low SNR."""
    own = {s: low[s] for s in low if s not in MEANS.values() and s != "1H fit"}
    found = {
        s: {
            str(m): (float(t.noise_kept.sel(metabolite=m)), float(t.slope.sel(metabolite=m)))
            for m in t.metabolite.values
        }
        for s, t in own.items()
    }
    sizes = sorted({size for size, _ in prior.lines})
    found["PRECISE, side in voxels"] = {
        f"{view} {size}": (prior.noise_kept(size), float(prior.lines[size, snr][view].slope[0]))
        for view in (SHOWN, HIDDEN)
        for size in (sizes[0], sizes[-1])
    }
    return found


def records(
    trial: Voxels, missed: Mapping[str, float], prior: Prior, words: Mapping, low: Mapping[str, xr.Dataset],
    low_snr: float, settings: Mapping,
) -> list[Record]:  # fmt: skip
    """Every part of B1; `low_snr` is that of the phantoms, `words` the verdicts by method at low and at high SNR."""
    kept, first = [], min(size for size, _ in prior.lines)

    def keep(part, value, half=None, note=None, figure="fig-mirage-slopes", **more):
        terms = {"spread_meaning": None if half is None else "95 % CI", "parameters": dict(settings), "figure": figure}
        kept.append(claims.record("B1", value, half, part=part, note=note, **terms, **more))

    for part, label, bounds in (
        ("SVE at SNR 12 to 40", "SVE", (12, SNR[1])),
        ("SVE at SNR 5 to 10", "SVE", LOW),
        ("paper's recipe", WIDE, LOW),
        ("training range", NARROW, LOW),
    ):
        line = trial.line(label, bounds)
        for name in mirage.TISSUE_MM:
            one = line.sel(metabolite=name)
            keep(f"{part}, {name}", float(one.slope), float(one.slope_high - one.slope))
    worst = max((missed[mean] for mean in MEANS.values()), key=abs)
    keep("posterior mean minus prediction", worst, note="largest over SNR, metabolites and two ranges")
    gap, where = prior.gap()
    keep("PRECISE minus closed form", gap, note=f"largest: {where}", figure="fig-mirage-contrast")
    lines = {view: prior.lines[first, low_snr][view].isel(metabolite=0) for view in WORDS}
    for part, view in (("not shown by the MRI", HIDDEN), ("shown by the MRI", SHOWN)):
        half = float(lines[view].slope_high - lines[view].slope)
        keep(part, float(lines[view].slope), half, f"{first} voxel", "fig-mirage-contrast")
    gain = {view: float(line.slope) / prior.noise_kept(first) for view, line in lines.items()}
    about = f"of one hidden voxel; {gain[SHOWN]:.2f} of one that the MRI shows (noise RMS over the map), "
    about += f"{float(low['SVE'].gain.mean()):.2f} by SVE, {float(low[NARROW].gain.mean()):.2f} by the narrow range"
    keep("contrast to noise", gain[HIDDEN], note=about, figure="fig-mirage-diagonal", unit="contrast / noise")
    said = {"SVE": {w for each in words["SVE"] for w in each.values()}, NARROW: set(words[NARROW][0].values())}
    said["hidden"] = {prior.word(HIDDEN, first, low_snr)}
    expected = said == {"SVE": {"faithful"}, NARROW: {"mirage"}, "hidden": {"mirage"}}
    told = "; ".join(f"{label}: {', '.join(sorted(found))}" for label, found in said.items())
    keep("verdict", told, figure="fig-mirage-diagonal", holds=expected)
    return kept
