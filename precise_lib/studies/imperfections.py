"""What breaks a map: each imperfection of a scanner or of tissue, with the ideal signal model and with the right one.

Where no model is the right one, the right way is that of the tool, told what the scanner knows (`scanner`).

Every case has the same noise as the ideal data of its seed, so that a bias beyond that of the ideal data is known far
better than the mean of noisy voxels: 576 voxels of SNR 12 tell a weak metabolite to one percent, the difference to
about a tenth of that.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from precise_lib import __version__, show
from precise_lib.estimate.fit import Fit
from precise_lib.estimate.noise_model import Noise
from precise_lib.quantify import estimates
from precise_lib.quantify.calibrate import Calibration
from precise_lib.quantify.errors import ErrorModel
from precise_lib.quantify.taught import Taught, of_series, taught
from precise_lib.signal.model import SignalModel, spectrum
from precise_lib.signal.mrsi import MRSI, Series
from precise_lib.signal.presets import dmi_11t7
from precise_lib.simulate.imperfections import IMPERFECTIONS, Measured, simulate, unchanged
from precise_lib.studies import scanner

IDEAL, TAUGHT, RIGHT = "ideal model", "taught by the data", "right model"
WAYS = (IDEAL, TAUGHT, RIGHT)
TISSUE = np.array([1.0, 0.25, 0.35, 0.20])  # water, Glc, Glx, Lac
COLORS = {IDEAL: "#AA4499", TAUGHT: "#DDAA33", RIGHT: "0.35"}  # none is an estimator's
LIMITS = {RIGHT: 1.0, TAUGHT: 1.5}  # % of bias, as claim B9 has them


def cases() -> list[tuple[str, float]]:
    """Every imperfection with each of its sizes, the ideal data first."""
    return [("ideal", 0.0), *((name, size) for name, entry in IMPERFECTIONS.items() for size in entry.sizes)]


def label(name: str, size: float) -> str:
    """A case in words."""
    return name if name == "ideal" else f"{name} {size:g} {IMPERFECTIONS[name].unit}"


def measured(name: str, size: float, model: SignalModel, snr: float, seed: int, grid=(12, 12, 4)) -> Measured:
    """Data of one tissue whose frequency varies by 6 Hz over the grid; the same noise for every case of a seed."""
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in grid), indexing="ij")
    shift = 6 * (0.6 * x + 0.4 * np.cos(2.5 * y))
    found = [] if name == "ideal" else [(name, size)]
    return simulate(found, model, np.broadcast_to(TISSUE, (*grid, 4)), snr, [seed, 11], shift, phase_rad=0.4)


def series(name: str, size: float, snr: float, seed: int, grid=(12, 12, 4)) -> Series:
    """`measured`, as data of the ideal model at 11.74 T."""
    model = dmi_11t7()
    return Series.of(MRSI(measured(name, size, model, snr, seed, grid).fids, model))


def quantified(fids, model: SignalModel, learned: Taught | None = None):
    """Concentrations and SD (V, M) in mM of FIDs (x, y, z, t) by the fit, and the share of voxels with a residual flag.

    As ``precise quantify --estimator fit``, whose SD has what the uncertainty of a taught model adds.
    """
    series = Series.of(MRSI(fids, model))
    known = estimates.estimate(series, Fit(), 0, Noise.of(series))
    errors = ErrorModel(known)
    maps = errors.closed_form()
    maps = maps if learned is None else learned.on_errors(maps, errors)
    flagged = next(flag for flag in known.flags(Fit()) if flag.reason == "residual").hits.mean()
    return model.concentrations(known.amplitudes), maps.sd, float(flagged)


def one_case(name: str, size: float, model: SignalModel, snr: float, seed: int, grid=(12, 12, 4)) -> dict:
    """Error over the truth and its SD (V, K) by each way that there is; what was flagged, and what was said."""
    data, k = measured(name, size, model, snr, seed, grid), [1, 2, 3]
    truth = 10 * TISSUE[k]

    def relative(values, sd):
        return (values[:, k] - truth) / truth, sd[:, k] / truth

    calibration = of_series(Series.of(MRSI(data.fids, model)))
    learned = taught(calibration, "the pooled residual is no noise")
    out = {"changed": bool(learned.terms), "reason": "" if calibration.reason is None else calibration.reason.says}
    out["p"] = min(calibration.before.p, calibration.score_p)
    ways = {IDEAL: (model, None), TAUGHT: (learned.model, learned), RIGHT: (data.right, None)}
    for way, (of, learnt) in ways.items():
        if way == TAUGHT and not learned.terms:
            out[way] = out[IDEAL]
            continue
        if way == RIGHT and name not in scanner.TOOL and of == model:  # the noise alone differs
            out[way] = out[IDEAL]
        elif way == RIGHT and name in scanner.TOOL:
            ideal = MRSI(measured("ideal", 0.0, model, snr, seed, grid).fids, model)
            out[way] = relative(*scanner.quantified(name, size, ideal, MRSI(data.fids, model), snr, seed))
        else:
            values, sd, flagged = quantified(data.fids, of, learnt)
            out.setdefault("flagged", flagged)
            out[way] = relative(values, sd)
    return out


def study(snrs=(12, 30), n_sets: int = 2, seed: int = 0, which=None, grid=(12, 12, 4), progress: Callable = iter):
    """Bias (%) beyond that of ideal data and coverage of 95 % intervals, dims (case, snr, way, metabolite).

    Also (case, snr): the share of voxels with a residual flag, how often the data set taught its model, the least p of
    the pooled tests, and the reason named (of the first set). `which`: names of imperfections, all by default.
    """
    model = dmi_11t7()
    listed = [case for case in cases() if which is None or case[0] in ("ideal", *which)]
    names, shape = model.names[1:], (len(listed), len(snrs), len(WAYS), 3)
    bias, se, coverage = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    flagged, changed, p = (np.zeros(shape[:2]) for _ in range(3))
    reasons = np.full(shape[:2], "", object)
    ideal = {}
    for i, (name, size) in enumerate(progress(listed)):
        for j, snr in enumerate(snrs):
            found = [one_case(name, size, model, snr, seed + s, grid) for s in range(n_sets)]
            ideal.setdefault(snr, found)
            for w, way in enumerate(WAYS):
                own = np.array([f[way][0].mean(0) for f in found])
                beyond = 100 * (own if name == "ideal" else own - [f[IDEAL][0].mean(0) for f in ideal[snr]])
                bias[i, j, w], se[i, j, w] = beyond.mean(0), beyond.std(0, ddof=1) / np.sqrt(n_sets)
                coverage[i, j, w] = np.mean([(np.abs(f[way][0] / f[way][1]) < 1.959964).mean(0) for f in found], 0)
            flagged[i, j], changed[i, j] = (np.mean([f[key] for f in found]) for key in ("flagged", "changed"))
            p[i, j], reasons[i, j] = max(f["p"] for f in found), found[0]["reason"]
    dims = ("case", "snr", "way", "metabolite")
    out = xr.Dataset(
        {"bias": (dims, bias), "bias_se": (dims, se), "coverage": (dims, coverage), "flagged": (dims[:2], flagged)},
        {"case": [label(*case) for case in listed], "snr": list(snrs), "way": list(WAYS), "metabolite": names},
        {"n_sets": n_sets, "seed": seed, "package_version": __version__, "signal_model": model.hash},
    )
    out = out.assign(taught=(dims[:2], changed), p=(dims[:2], p), reason=(dims[:2], reasons.astype(str)))
    return out.assign_coords(imperfection=("case", [name for name, _ in listed]))


def seen(result: xr.Dataset, i: int, snr) -> str:
    """Whether a data set of a case was seen to leave the ideal model, in words."""
    row = result.isel(case=i).sel(snr=snr)
    if float(row["taught"]) == 1:
        return "taught"
    return f"named: {row['reason'].item()}" if row["reason"].item() else ("seen" if float(row["p"]) < 1e-3 else "no")


def table(result: xr.Dataset, snr) -> show.Markdown:
    """Largest bias (%) and lowest coverage (%) over the metabolites of each case by each way, and `seen`."""
    lines = []
    for i, case in enumerate(result["case"].values):
        cells = []
        for way in WAYS:
            row = result.isel(case=i).sel(snr=snr, way=way)
            worst = int(np.abs(row["bias"].values).argmax())
            cells.append(f"{float(row['bias'][worst]):+.1f} %, {100 * float(row['coverage'].min()):.0f} %")
        lines.append([case, *cells, seen(result, i, snr)])
    return show.table(["imperfection", *(f"{way}: bias, coverage" for way in WAYS), "seen"], lines)


def residual_figure(learned: Calibration, model: SignalModel) -> Figure:
    """What fits leave of all voxels together over its noise, with the ideal model and with the one that was taught."""
    from matplotlib import pyplot as plt

    fig, axes = plt.subplots(1, 2, figsize=(9, 3), sharex=True, sharey=True)
    titles = {"ideal model": learned.before, "model that the data taught": learned.after}
    for ax, (title, pooled) in zip(axes, titles.items(), strict=True):
        noise = pooled.sigma * np.sqrt(len(pooled.residual))
        ax.plot(show.ppm_axis(model), spectrum(pooled.residual).real / noise, color="0.2", lw=1)
        ax.axhspan(-2, 2, color="0.92", zorder=0)
        ax.set(xlim=(7, -1), xlabel="ppm", title=f"{title}, mean of {pooled.voxels} voxels")
    axes[0].set_ylabel("residual / SD of its noise")
    return fig


def figure(result: xr.Dataset, snr) -> Figure:
    """Largest bias over the metabolites of each case by each way, and the bounds of the claim."""
    from matplotlib import pyplot as plt

    rows = result.sel(snr=snr)
    fig, ax = plt.subplots(figsize=(7.5, 0.26 * len(rows["case"]) + 1.2))
    places = np.arange(len(rows["case"]))[::-1]
    for way, shape in zip(WAYS, "sDo", strict=True):
        worst = np.maximum(np.abs(rows["bias"].sel(way=way)).max("metabolite"), 0.05)
        ax.plot(worst, places, shape, color=COLORS[way], label=way, ls="none", mfc="none" if way == RIGHT else None)
    for way, limit in LIMITS.items():
        ax.axvline(limit, color=COLORS[way], lw=0.8, ls=":")
    ax.set(xscale="log", xlabel="largest bias of Glc, Glx and Lac (%)", xlim=(0.04, 200), yticks=places)
    ax.set_yticklabels(rows["case"].values, fontsize=8)
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncol=3, fontsize=8)
    return fig


def summary(result: xr.Dataset) -> dict[str, float | bool]:
    """The parts of claim B9, from `study`: bias in %, coverage as a share, over the cases that each part is about."""
    entries = [IMPERFECTIONS.get(name) for name in result["imperfection"].values]
    signal = np.array([e is not None and (e.signal is not unchanged or e.weights is not None) for e in entries])
    learned = np.array([e is not None and (e.taught or e.name == "second line") for e in entries])
    left = np.array([e is not None and e.name in ("lipid", "hump", "offset") for e in entries])
    out = {}
    for way, part, rows in ((RIGHT, "right model", signal), (TAUGHT, "taught by the data", learned)):
        found = result.isel(case=rows).sel(way=way)
        coverage = found["coverage"].mean("metabolite")
        out[f"{part}, largest bias in %"] = float(np.abs(found["bias"]).max())
        out[f"{part}, lowest coverage"], out[f"{part}, highest coverage"] = float(coverage.min()), float(coverage.max())
    out["ideal data unchanged"] = bool((result["taught"][0] == 0).all() and (result["p"][0] >= 1e-3).all())
    out["what is not mended is flagged with its reason"] = bool((result["reason"][left] != "").all())
    out["ideal model, largest bias in %"] = float(np.abs(result["bias"].sel(way=IDEAL)).max())
    return out
