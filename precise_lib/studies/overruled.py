"""The adaptive prior on objects whose MRI is wrong in a place: error, lesions kept, intervals, what it flags.

All from one data set each, settings included. `new_case` builds objects that the prior was not designed on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import xarray as xr
from scipy import ndimage

from precise_lib import __version__
from precise_lib.estimate import stein
from precise_lib.estimate.adaptive import Settings, adaptive
from precise_lib.estimate.coupling import Neighbors
from precise_lib.estimate.intervals import DRAWS, intervals
from precise_lib.estimate.overruled import islands
from precise_lib.estimate.single_voxels import SingleVoxels
from precise_lib.estimate.tuned import Adaptive
from precise_lib.signal.mrsi import MRSI, Series
from precise_lib.simulate.random_object import random_object
from precise_lib.studies.peers import REGIONS, Case

BORDER = 1.0  # difference of neighbors in units of its noise that makes a border
SETTINGS = ("lam", "tau", "neighbors", "mri", "gray")


def new_case(seed: int, snr: float = 12.0) -> Case:
    """A random object; its lesions stand out from what lies one or two voxels off."""
    phantom, block = random_object(seed), np.ones((3, 3, 3))
    near = ndimage.binary_dilation(np.any(list(phantom.tumors.values()), 0), block)
    around = ndimage.binary_dilation(near, block) & ~near & phantom.mask
    return Case(phantom, snr, phantom.tumors["shown"], phantom.tumors["hidden"], around)


def study(case: Case, n_repeats: int, seed: int = 0, progress: Callable = iter, **options):
    """The adaptive prior over fresh noise.

    Parameters
    ----------
    options : of `estimate.tuned.Adaptive`

    Returns
    -------
    Dataset over `repeat`: `rmse` and `rmse_single` (metabolite) over the object in mM; `kept` and `kept_single`
    (metabolite, tumor), share of the true contrast that is left; `covered` (metabolite, region), share of voxels whose
    90 % interval holds the truth, over the object, both tumors and the voxels at borders of metabolism; `islands`,
    their number, and `found`, whether one lies for the most part in the hidden tumor; the settings `lam`, `tau`,
    `neighbors`, `gray`, and whether they take the MRI, `mri_used`. Where `case.hiding` is given, what concerns the
    hidden tumor comes from that MRI.
    """
    estimator, rows = Adaptive(weights=case.weights, **options), []
    for repeat in progress(range(n_repeats)):
        row = {}
        for hiding in (False, True)[: 1 + (case.hiding is not None)]:
            data = case.measure(np.random.default_rng([seed, repeat]), case.hiding if hiding else None)
            found = _one(case, data, estimator)
            if hiding:
                for name in ("kept", "kept_single", "covered"):
                    sites = {"tumor": REGIONS[2]} if name != "covered" else {"region": REGIONS[2]}
                    row[name].loc[sites] = found[name].sel(sites)
                found = {name: found[name] for name in ("islands", "found")}
            row.update(found)
        rows.append(xr.Dataset(row))
    out = xr.concat(rows, "repeat")
    out.attrs = {"snr": case.snr, "seed": seed, "units": "mM", "package_version": __version__}
    return out


def single_voxels(data: MRSI, estimator: Adaptive) -> tuple[SingleVoxels, Neighbors, np.ndarray]:
    """What the prior works on: single voxels of one frame, their neighbors, and where (x, y, z) the usable ones lie."""
    voxels = SingleVoxels.of(Series.of(data), estimator.single_voxel(data.model))
    inside = np.zeros(data.grid_shape, bool)
    inside[data.usable] = voxels.usable
    return voxels, estimator.couple(voxels), inside


def _one(case: Case, data: MRSI, estimator: Adaptive) -> dict:
    """What `study` collects of one data set."""
    voxels, neighbors, inside = single_voxels(data, estimator)
    field, tuned = estimator.field(voxels, neighbors)
    low, high = intervals(field, neighbors, voxels.noise(DRAWS, seed=1)).bounds()
    truth = case.truth[voxels.others][:, inside].T
    regions = {name: where[inside] for name, where in case.regions.items()}
    ratios, variance = (x[voxels.usable] for x in (voxels.ratios, voxels.variance))
    held = (low <= truth) & (truth <= high)
    border = _border(truth, variance, neighbors.pairs) & regions[REGIONS[0]]
    flagged = islands(field, neighbors)
    none = np.full(len(voxels.names), np.nan)
    covered = [held[where].mean(0) if where.any() else none for where in (*regions.values(), border)]
    coords = {"metabolite": voxels.names, "tumor": list(REGIONS[1:]), "region": [*REGIONS, "border"]}

    def array(values, *dims):
        return xr.DataArray(values, {d: coords[d] for d in dims}, dims)

    out = {"covered": array(np.stack(covered, -1), "metabolite", "region")}
    for name, maps in (("", field.maps), ("_single", ratios)):
        full = np.where(inside, case.truth, np.nan)
        for k, place in enumerate(voxels.others):
            full[place][inside] = maps[:, k]
        out[f"kept{name}"] = array(case.contrast(full)[voxels.others], "metabolite", "tumor")
        error = (maps - truth)[regions[REGIONS[0]]]
        out[f"rmse{name}"] = array(np.sqrt((error**2).mean(0)), "metabolite")
    out["islands"] = xr.DataArray(float(len(flagged)))
    hidden = regions[REGIONS[2]]
    out["found"] = xr.DataArray(float(any(hidden[x.voxels].mean() > 0.5 for x in flagged)))
    chosen = {name: xr.DataArray(float(getattr(tuned.settings, name))) for name in SETTINGS}
    return out | {"mri_used" if name == "mri" else name: value for name, value in chosen.items()}  # `mri` is a label


def _border(truth, variance, pairs) -> np.ndarray:
    """(V,) voxels with a neighbor whose truth differs by more than the noise of one of the ratios."""
    u, v = pairs.T
    apart = np.abs(truth[u] - truth[v]) / np.sqrt(variance[u] + variance[v])
    border = np.zeros(len(truth), bool)
    border[pairs[(apart > BORDER).any(1)]] = True
    return border


class Oracle(stein.Tuner):
    """The search for settings by the true error, in units of the noise, instead of the estimated one."""

    def __init__(self, ratios, variance, neighbors, truth):
        super().__init__(ratios, variance, neighbors, np.empty((0, *ratios.shape)))
        self.truth = truth

    def loss(self, maps) -> float:
        return float(((maps - self.truth) ** 2 / self.variance).mean())

    def risk(self, s) -> float:
        if s not in self.tried:
            self.tried[s] = self.loss(self.problem(s).solve(s.lam, s.tau)[0][:, 0])
        return self.tried[s]


def choices(case: Case, n_repeats: int, seed: int = 0, fixed: Settings | None = None) -> xr.Dataset:
    """Settings of the adaptive prior by the true error ("oracle"), and by Stein: "least" risk, and the "kept" ones.

    Returns
    -------
    Dataset over `repeat` and `rule`: `rmse` in units of the noise, `lam`, `tau`, `neighbors`. The rule "fixed" has the
    settings given, by default those of the first data set's oracle.
    """
    rows = []
    for repeat in range(n_repeats):
        data = case.measure(np.random.default_rng([seed, repeat]))
        method = Adaptive(weights=case.weights)
        voxels, neighbors, inside = single_voxels(data, method)
        ratios, variance = (x[voxels.usable] for x in (voxels.ratios, voxels.variance))
        tuned = stein.tune(ratios, variance, neighbors, voxels.noise(stein.PROBES))
        oracle = Oracle(ratios, variance, neighbors, case.truth[voxels.others][:, inside].T)
        starts = (oracle.start(), tuned.least, replace(tuned.least, mri=not tuned.least.mri))
        best = min((oracle.least(start) for start in starts), key=oracle.risk)
        fixed = fixed or best
        picks = {"oracle": best, "least": tuned.least, "kept": tuned.settings, "fixed": fixed}
        loss = [oracle.loss(adaptive(ratios, variance, neighbors, s).maps) for s in picks.values()]
        values = {name: ("rule", [float(getattr(s, name)) for s in picks.values()]) for name in SETTINGS}
        rows.append(xr.Dataset(values | {"rmse": ("rule", np.sqrt(loss))}, {"rule": list(picks)}))
    return xr.concat(rows, "repeat").assign_attrs(fixed=fixed)
