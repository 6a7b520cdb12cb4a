"""The adaptive prior on objects whose MRI is wrong in a place: error, lesions kept, intervals, what it flags.

All from one data set each, settings included. `new_case` builds objects that the prior was not designed on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy import ndimage

from precise_lib import __version__
from precise_lib.estimate import noise, stein, weights
from precise_lib.estimate.adaptive import adaptive
from precise_lib.estimate.coupling import Neighbors
from precise_lib.estimate.fit import fit_fids
from precise_lib.estimate.intervals import REPEATS, intervals
from precise_lib.estimate.overruled import islands
from precise_lib.estimate.prior import prepare_mri
from precise_lib.evaluate.closed_form import sve_covariance
from precise_lib.signal.mrsi import MRSI
from precise_lib.simulate.random_object import random_object
from precise_lib.studies.peers import REGIONS, Case

BORDER = 1.0  # difference of neighbors in units of its noise that makes a border


@dataclass(frozen=True)
class SingleVoxel:
    """What the adaptive prior works on.

    Attributes
    ----------
    ratios, variance : (V, K) mM, of all metabolites but the reference
    free : (V, S) complex signal-free samples of the FIDs
    neighbors : of the usable voxels, with the MRI
    """

    ratios: np.ndarray
    variance: np.ndarray
    free: np.ndarray
    neighbors: Neighbors

    @classmethod
    def of(cls, data: MRSI, amplitudes: Callable) -> SingleVoxel:
        """`amplitudes` takes FIDs (V, t) to amplitudes (V, M); their covariance is that of the bound."""
        model, fids = data.model, data.fids[data.usable]
        s, w = amplitudes(fids), model.index(model.reference)
        sigma = noise.noise_sd(fids, model)
        covariance = sve_covariance(model, s, sigma, fit_fids(fids, model).broadening_hz)
        ratio = s / s[:, [w]]
        own = np.einsum("vkk->vk", covariance) - 2 * ratio * covariance[..., w] + ratio**2 * covariance[:, [w], w]
        keep = np.arange(s.shape[1]) != w
        mm = model.reference_concentration_mm
        variance = (own / s[:, [w]] ** 2)[:, keep] * mm**2
        late = int(np.ceil(noise.DIED * model.t2star_s.max() / model.acquisition.dwell_time_s))
        return cls(ratio[:, keep] * mm, variance, fids[:, late:], Neighbors.of(prepare_mri(data), data.affine))

    def noise(self, count: int, seed: int = 0) -> np.ndarray:
        return stein.probes(self.free, self.variance, count, seed)


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
    model = case.phantom.model
    amplitudes = weights.resolve(case.weights, model).amplitudes
    rows = []
    for repeat in progress(range(n_repeats)):
        row = {}
        for hiding in (False, True)[: 1 + (case.hiding is not None)]:
            data = case.measure(np.random.default_rng([seed, repeat]), case.hiding if hiding else None)
            found = _one(case, data, amplitudes, slack)
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


def _one(case: Case, data: MRSI, amplitudes: Callable, slack: float) -> dict:
    """What `study` collects of one data set."""
    model, usable = data.model, data.usable
    names = [name for name in model.names if name != model.reference]
    which = [model.names.index(name) for name in names]
    single = SingleVoxel.of(data, amplitudes)
    tuned = stein.tune(single.ratios, single.variance, single.neighbors, single.noise(stein.PROBES), slack)
    field = adaptive(single.ratios, single.variance, single.neighbors, tuned.settings)
    low, high = intervals(field, single.neighbors, single.noise(REPEATS, seed=1)).bounds()
    truth = case.truth[which][:, usable].T
    regions = {name: where[usable] for name, where in case.regions.items()}
    held, border = (low <= truth) & (truth <= high), _border(truth, single) & regions[REGIONS[0]]
    flagged = islands(field, single.neighbors)
    covered = np.stack([held[where].mean(0) for where in (*regions.values(), border)], -1)
    coords = {"metabolite": names, "tumor": list(REGIONS[1:]), "region": [*REGIONS, "border"]}

    def array(values, *dims):
        return xr.DataArray(values, {d: coords[d] for d in dims}, dims)

    out = {"covered": array(covered, "metabolite", "region")}
    for name, maps in (("", field.maps), ("_single", single.ratios)):
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


def _border(truth, single: SingleVoxel) -> np.ndarray:
    """(V,) voxels with a neighbor whose truth differs by more than the noise of one of the ratios."""
    u, v = single.neighbors.pairs.T
    apart = np.abs(truth[u] - truth[v]) / np.sqrt(single.variance[u] + single.variance[v])
    border = np.zeros(len(truth), bool)
    border[single.neighbors.pairs[(apart > BORDER).any(1)]] = True
    return border
