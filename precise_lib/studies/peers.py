"""Estimators on the same noise over the same phantoms: errors, tumor contrast and time in one dataset.

A `Case` is a phantom under one SNR with two tumors to look at: one that the MRI shows (a true positive) and one that
it does not (a false negative). `study` runs any estimators over a case.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.stats import t as student

from precise_lib import __version__
from precise_lib.errors import InputError
from precise_lib.evaluate.montecarlo import phantom_study
from precise_lib.evaluate.regression import kept
from precise_lib.signal.mrsi import MRSI
from precise_lib.simulate.phantoms import Phantom

REGIONS = ("object", "tumor in the MRI", "tumor not in the MRI")
LEAST_SNR = 5.0  # the paper's range ends there
LEAST_STEP_MM = 0.2  # between tumor and reference: with less there is no contrast to keep


@dataclass(frozen=True)
class Case:
    """Where the estimators are tried: a phantom at an SNR, see `Phantom.measure`.

    Masks (x, y, z): a tumor that the MRI has `shown` and one `hidden` from it, and `reference`, the tissue that tumors
    stand out from. `hiding` is the same object under an MRI that misses `hidden`, where the phantom's own shows it;
    `weights` are those of the networks, see `weights.resolve`; `masked` whether the estimators are given only the
    voxels where errors are counted.
    """

    phantom: Phantom
    snr: float
    shown: np.ndarray
    hidden: np.ndarray
    reference: np.ndarray
    hiding: Phantom | None = None
    weights: str | None = None
    masked: bool = True

    @property
    def truth(self) -> np.ndarray:
        """(M, x, y, z) mM: what the point spread of the encoding leaves, the best that an estimator could say."""
        blurred = self.phantom.blurred
        return (self.phantom.concentrations if blurred is None else blurred).values

    @property
    def regions(self) -> dict[str, np.ndarray]:
        """Where errors are counted. The object is that part whose water has an SNR of at least `LEAST_SNR`.

        Unless `masked` is False all estimators are given this part alone, as a user would mask it. Where there is
        hardly any water the ratio to it is undefined, and a filter of finished maps would spread it.
        """
        b1 = 1.0 if self.phantom.b1 is None else self.phantom.b1
        seen = self.phantom.mask & (self.snr * b1 >= LEAST_SNR)
        return dict(zip(REGIONS, (seen, self.shown & seen, self.hidden & seen), strict=True))

    @property
    def mask(self) -> np.ndarray:
        """(x, y, z) bool, the voxels that the estimators are given."""
        return self.regions[REGIONS[0]] if self.masked else self.phantom.mask

    def measure(self, seed, phantom: Phantom | None = None) -> MRSI:
        """One measurement of the object, or of another phantom of the same shape."""
        return (phantom or self.phantom).measure(self.snr, seed).replace(mask=self.mask)

    def contrast(self, maps: np.ndarray) -> np.ndarray:
        """Tumor minus reference over what it truly is, of maps (M, x, y, z): (M, 2) for `shown` and `hidden`; NaN where
        a tumor truly differs by `LEAST_STEP_MM` or less.
        """
        sites, seen = list(self.regions.values())[1:], self.regions["object"] & self.reference

        def step(values):
            return np.stack([np.nanmean(values[:, s], -1) - np.nanmean(values[:, seen], -1) for s in sites], -1)

        return kept(step(np.asarray(maps)), step(self.truth), least=LEAST_STEP_MM)


class _Recording:
    """An estimator that records the contrast and the seconds of each measurement."""

    def __init__(self, estimator: Callable, case: Case):
        self.estimator, self.case = estimator, case
        self.contrasts, self.seconds = [], []

    def __call__(self, data):
        start = time.process_time()
        maps = self.estimator(data)
        self.seconds.append(time.process_time() - start)
        self.contrasts.append(self.case.contrast(maps.values))
        return maps


def study(
    estimators: Mapping[str, Callable], case: Case, n_repeats: int = 30, seed: int = 0, progress: Callable = iter
) -> xr.Dataset:
    """Errors and contrast of estimators (by label, callables `MRSI` -> DataArray in mM) under the same noise.

    Returns in mM `sd`, `bias`, `rmse` (estimator, metabolite, region): root mean squares over the voxels of a region,
    so that rmse^2 = sd^2 + bias^2; the noise of the mean is taken out of the bias. `contrast` (estimator, metabolite,
    region), the share of a tumor's true contrast that is left, with its 95 % interval `contrast_low`, `contrast_high`
    (Student, over the repeats) and `contrast_sd`, the spread from one measurement to the next. `cpu_seconds`
    (estimator), median of a call over all threads. Voxels without a result of every estimator do not count; `left_out`
    is their share. `quantified` (metabolite) is False for the reference, whose level is given. `progress` wraps the
    iterator over repeats.
    """
    if n_repeats < 2:
        raise InputError(f"n_repeats is {n_repeats}; an SD needs at least two noise realizations.")
    for region, voxels in {**case.regions, "reference": case.reference & case.regions[REGIONS[0]]}.items():
        if not voxels.any():
            raise InputError(f"No voxel of the {region} has an SNR of {LEAST_SNR:g}; give the case more SNR.")
    runs = [_run(estimators, case, case.phantom, n_repeats, seed, progress)] * 2
    if case.hiding is not None:
        # only those that look at the MRI can tell the two phantoms apart
        first = [case.measure(np.random.default_rng([seed, 0]), p) for p in (case.phantom, case.hiding)]
        same = {n: np.array_equal(*(e(data).values for data in first), equal_nan=True) for n, e in estimators.items()}
        moved = {name: e for name, e in estimators.items() if not same[name]}
        other = dict(runs[0]) | (_run(moved, case, case.hiding, n_repeats, seed, progress) if moved else {})
        runs = [runs[0], other]
    tables = {name: _summary(name, runs, case, n_repeats) for name in estimators}
    out = xr.concat(tables.values(), xr.IndexVariable("estimator", list(tables)))
    model = case.phantom.model
    out = out.assign_coords(
        metabolite=model.names,
        region=list(REGIONS),
        quantified=("metabolite", [name != model.reference for name in model.names]),
    )
    out.attrs = {"snr": case.snr, "seed": seed, "n_repeats": n_repeats, "units": "mM"}
    out.attrs |= {"signal_model": model.hash, "package_version": __version__}
    return out


def _run(estimators, case, phantom, n_repeats, seed, progress) -> dict:
    """label -> (mean (M, x, y, z), sd, contrasts (N, M, 2), seconds (N,), finite (x, y, z))."""
    recording = {name: _Recording(e, case) for name, e in estimators.items()}
    maps = phantom_study(recording, phantom, case.snr, n_repeats, seed, case.mask, progress)
    return {
        name: (maps["mean"].values[i], maps["sd"].values[i], np.array(w.contrasts), np.array(w.seconds))
        for i, (name, w) in enumerate(recording.items())
    }


def _summary(name, runs, case: Case, n_repeats: int) -> xr.Dataset:
    """One estimator: the object and the shown tumor from the first run, the hidden one from the second."""
    common = [np.all([np.isfinite(mean).all(0) for mean, *_ in run.values()], 0) for run in runs]
    tables = {key: [] for key in ("sd", "bias", "rmse", "left_out")}
    for which, region in zip((0, 0, 1), case.regions.values(), strict=True):
        mean, sd, *_ = runs[which][name]
        counted = region & common[which]
        variance = (sd[:, counted] ** 2).mean(-1)
        bias2 = np.maximum(((mean - case.truth)[:, counted] ** 2).mean(-1) - variance / n_repeats, 0)
        for key, value in (("sd", variance), ("bias", bias2), ("rmse", variance + bias2)):
            tables[key].append(np.sqrt(value))
        tables["left_out"].append(1 - counted.sum() / max(region.sum(), 1))
    contrasts = np.stack([runs[k][name][2][..., k] for k in (0, 1)], -1)
    level, spread = contrasts.mean(0), contrasts.std(0, ddof=1)
    half = student.ppf(0.975, n_repeats - 1) * spread / np.sqrt(n_repeats)
    empty = np.full((len(level), 1), np.nan)  # the object has errors and no contrast
    data = {key: (("metabolite", "region"), np.stack(tables[key], -1)) for key in ("sd", "bias", "rmse")}
    for key, value in (("", level), ("_low", level - half), ("_high", level + half), ("_sd", spread)):
        data[f"contrast{key}"] = (("metabolite", "region"), np.hstack([empty, value]))
    data["left_out"] = ("region", np.array(tables["left_out"]))
    data["cpu_seconds"] = ((), float(np.median(runs[0][name][3])))
    return xr.Dataset(data)
