"""The adaptive prior on objects whose MRI is wrong in a place: error, lesions kept, intervals, what it flags.

All from one data set each, settings included. `new_case` builds objects that the prior was not designed on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from scipy import ndimage

from precise_lib import __version__
from precise_lib.estimate import stein
from precise_lib.estimate.intervals import REPEATS, intervals
from precise_lib.estimate.overruled import islands
from precise_lib.estimate.single_voxels import SingleVoxels
from precise_lib.estimate.tuned import Adaptive
from precise_lib.signal.mrsi import MRSI, Series
from precise_lib.simulate.random_object import random_object
from precise_lib.studies.peers import REGIONS, Case

BORDER = 1.0  # difference of neighbors in units of its noise that makes a border


def new_case(seed: int, snr: float = 12.0) -> Case:
    """A random object; its lesions stand out from what lies one or two voxels off."""
    phantom, block = random_object(seed), np.ones((3, 3, 3))
    near = ndimage.binary_dilation(np.any(list(phantom.tumors.values()), 0), block)
    around = ndimage.binary_dilation(near, block) & ~near & phantom.mask
    return Case(phantom, snr, phantom.tumors["shown"], phantom.tumors["hidden"], around)


def study(case: Case, n_repeats: int, seed: int = 0, slack: float = stein.SLACK, progress: Callable = iter):
    """The adaptive prior over fresh noise.

    Returns
    -------
    Dataset over `repeat`: `rmse` and `rmse_single` (metabolite) over the object in mM; `kept` and `kept_single`
    (metabolite, tumor), share of the true contrast that is left; `covered` (metabolite, region), share of voxels whose
    90 % interval holds the truth, over the object, both tumors and the voxels at borders of metabolism; `islands`,
    their number, and `found`, whether one lies for the most part in the hidden tumor; the settings `lam`, `tau`,
    `neighbors`, `mri`. Where `case.hiding` is given, what concerns the hidden tumor comes from that MRI.
    """
    method = Adaptive(case.weights, slack=slack)
    rows = []
    for repeat in progress(range(n_repeats)):
        row = {}
        for hiding in (False, True)[: 1 + (case.hiding is not None)]:
            data = case.measure(np.random.default_rng([seed, repeat]), case.hiding if hiding else None)
            found = _one(case, data, method)
            if hiding:
                for name in ("kept", "kept_single", "covered"):
                    sites = {"tumor": REGIONS[2]} if name != "covered" else {"region": REGIONS[2]}
                    row[name].loc[sites] = found[name].sel(sites)
                found = {name: found[name] for name in ("islands", "found")}
            row.update(found)
        rows.append(xr.Dataset(row))
    out = xr.concat(rows, "repeat")
    out.attrs = {"snr": case.snr, "seed": seed, "slack": slack, "units": "mM", "package_version": __version__}
    return out


def _one(case: Case, data: MRSI, method: Adaptive) -> dict:
    """What `study` collects of one data set."""
    model, usable = data.model, data.usable
    single = SingleVoxels.of(Series.of(data), method.single_voxel(model))
    usable[usable] = single.usable
    names = [name for name in model.names if name != model.reference]
    which = [model.names.index(name) for name in names]
    neighbors = method.couple(single)
    field, tuned = method.field(single, neighbors)
    low, high = intervals(field, neighbors, single.noise(REPEATS, seed=1)).bounds()
    truth = case.truth[which][:, usable].T
    regions = {name: where[usable] for name, where in case.regions.items()}
    held, border = (low <= truth) & (truth <= high), _border(truth, single, neighbors.pairs) & regions[REGIONS[0]]
    flagged = islands(field, neighbors)
    covered = np.stack([held[where].mean(0) for where in (*regions.values(), border)], -1)
    coords = {"metabolite": names, "tumor": list(REGIONS[1:]), "region": [*REGIONS, "border"]}

    def array(values, *dims):
        return xr.DataArray(values, {d: coords[d] for d in dims}, dims)

    out = {"covered": array(covered, "metabolite", "region")}
    for name, maps in (("", field.maps), ("_single", single.ratios[single.usable])):
        full = np.where(usable, case.truth, np.nan)
        for k, place in enumerate(which):
            full[place][usable] = maps[:, k]
        out[f"kept{name}"] = array(case.contrast(full)[which], "metabolite", "tumor")
        error = (maps - truth)[regions[REGIONS[0]]]
        out[f"rmse{name}"] = array(np.sqrt((error**2).mean(0)), "metabolite")
    out["islands"] = xr.DataArray(len(flagged))
    out["found"] = xr.DataArray(any(regions[REGIONS[2]][x.voxels].mean() > 0.5 for x in flagged))
    s = tuned.settings
    return out | {name: xr.DataArray(getattr(s, name)) for name in ("lam", "tau", "neighbors", "mri")}


def _border(truth, single: SingleVoxels, pairs) -> np.ndarray:
    """(V,) voxels with a neighbor whose truth differs by more than the noise of one of the ratios."""
    variance, (u, v) = single.variance[single.usable], pairs.T
    apart = np.abs(truth[u] - truth[v]) / np.sqrt(variance[u] + variance[v])
    border = np.zeros(len(truth), bool)
    border[pairs[(apart > BORDER).any(1)]] = True
    return border
