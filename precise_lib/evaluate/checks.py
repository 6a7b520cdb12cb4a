"""The checks of `conformance`, by name: each says in its docstring what it asks, and in one sentence what is wrong.

A check takes a `Subject`, returns what it measured, if anything, and raises `Violation`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
import xarray as xr
from scipy.stats import chi2

from precise_lib import estimate
from precise_lib.errors import InputError
from precise_lib.evaluate import crlb
from precise_lib.signal.mrsi import MRSI
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.signal.presets import dmi_11t7
from precise_lib.simulate.phantoms import rings

# amplitudes, water = 1: the innermost ring of the phantom, and its tumors
CONTENTS = np.array([[1.0, 0.25, 0.3, 0.1], [1.0, 0.2, 0.2, 0.3]])
RISK = 1e-4  # of a chance failure of the check against the bound
REACH = 3  # voxels to an edge; the exact minimizer forgets one by a factor of 5.7 a voxel
NOISIEST = 3.0  # SD over the bound; Fourier integration, the noisiest in use, is below 2 here


@dataclass
class Subject:
    """The estimator under test by its registered name, options of its factory, and the data that several checks share.

    `tolerance` is the largest error of a concentration without noise in mM, `rounding` the largest change by what must
    not matter (0.002, or 0.03 with a network in its single precision); `quick` looks for bias in a quarter of the
    phantom.
    """

    name: str
    options: dict = field(default_factory=dict)
    tolerance: float = 0.05
    rounding: float | None = None
    quick: bool = False

    def __post_init__(self):
        self.uses = estimate.uses(self.name)
        if self.rounding is None:
            self.rounding = 0.03 if "network" in self.uses else 2e-3

    def make(self) -> Callable:
        return estimate.make(self.name, **self.options)

    def run(self, **changes) -> xr.DataArray:
        """Maps of the data with some fields exchanged, by a new estimator."""
        return self.make()(self.data.replace(**changes))

    @cached_property
    def data(self) -> MRSI:
        """A piece of the phantom around tumor C, more voxels one way than the other."""
        phantom = rings()
        mask = np.zeros_like(phantom.mask)
        mask[19:27, 20:27] = True
        return phantom.measure(25, seed=0).replace(mask=mask & phantom.mask)

    @cached_property
    def maps(self) -> xr.DataArray:
        return self.run()

    def far(self, maps, mask=...) -> float:
        """Largest distance of maps, in a mask, from those of the data as is; infinite where voxels came or went."""
        a, b = np.asarray(maps)[:, mask], self.maps.values[:, mask]
        same = a.shape == b.shape and np.array_equal(np.isnan(a), np.isnan(b))
        return float(np.nanmax(np.abs(a - b), initial=0)) if same else np.inf


class Violation(AssertionError):
    """What an estimator does and must not do, in one sentence."""


def require(holds, sentence: str) -> None:
    """Raise `Violation` unless `holds`."""
    if not holds:
        raise Violation(sentence)


def common_form(s: Subject) -> None:
    """Maps (metabolite, x, y, z) in mM under the estimator's name: finite in the mask, NaN outside, water as given."""
    maps, names = s.maps, s.data.model.names
    require(isinstance(maps, xr.DataArray), f"It returns a {type(maps).__name__}, not an xarray.DataArray.")
    require(maps.dims == ("metabolite", "x", "y", "z"), f"Its maps have the dimensions {maps.dims}.")
    require(maps.shape == (len(names), *s.data.grid_shape), f"Its maps have the shape {maps.shape}.")
    require(maps["metabolite"].values.tolist() == names, f"Its maps are not those of {', '.join(names)}.")
    require(maps.attrs.get("units") == "mM", "Its maps do not say units='mM'.")
    own = s.make().name
    require(maps.name == own, f"Its maps are called {maps.name!r} and itself {own!r}.")
    require(":" in s.name or own == s.name, f"It is registered as {s.name!r} and calls itself {own!r}.")
    require(np.isfinite(maps.values[:, s.data.mask]).all(), "Voxels inside the mask have no value.")
    require(np.isnan(maps.values[:, ~s.data.mask]).all(), "Voxels outside the mask are not NaN.")
    water = maps.sel(metabolite=s.data.model.reference).values[s.data.mask]
    level = s.data.model.reference_concentration_mm
    require(np.allclose(water, level), f"Water, the reference, is not {level:g} mM everywhere.")


def input_untouched(s: Subject) -> None:
    """The data that it is given are the same afterwards."""
    own = {k: getattr(s.data, k).copy() for k in ("fids", "mask", "mri", "affine")}
    given = {k: v.copy() for k, v in own.items()}
    s.run(**given)
    changed = [k for k, v in own.items() if not np.array_equal(v, given[k])]
    require(not changed, f"It changes {', '.join(changed)} of its input.")


def deterministic(s: Subject) -> None:
    """The same data give the same maps: again, after other data, and whatever random numbers were drawn before."""
    estimator, other = s.make(), s.data.replace(fids=s.data.fids[::-1, ::-1].copy(), mask=s.data.mask[::-1, ::-1])
    states = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        np.random.seed(12345)  # noqa: NPY002
        torch.manual_seed(12345)
        estimator(other)
        far = s.far(estimator(s.data))
    finally:
        np.random.set_state(states[0])  # noqa: NPY002
        torch.set_rng_state(states[1])
    require(far == 0, f"The same data gave other maps, by {far:.2g} mM: it draws without a seed or keeps a memory.")


def unusable_voxels(s: Subject) -> None:
    """Zero and not finite FIDs become NaN, and everything else is as if they had been outside the mask."""
    fids, mask = s.data.fids.copy(), s.data.mask.copy()
    inside = np.argwhere(mask)
    for i, (sample, value) in zip((3, 10, 20), ((..., 0), (7, np.nan), (0, complex(0, np.inf))), strict=True):
        fids[(*inside[i], sample)] = value
        mask[tuple(inside[i])] = False
    maps, without = s.run(fids=fids).values, s.run(mask=mask).values
    require(np.isnan(maps[:, ~mask]).all(), "A voxel without a usable FID has a value.")
    require(np.isfinite(maps[:, mask]).all(), "A voxel with a usable FID lost its value to one without.")
    require(np.array_equal(maps, without, equal_nan=True), "Voxels without a usable FID change the others.")


def no_usable_voxel(s: Subject) -> str:
    """Data without a usable voxel give NaN, or an `InputError`."""
    try:
        maps = s.run(fids=np.zeros_like(s.data.fids))
    except InputError:
        return "says so"
    require(np.isnan(maps).all(), "There was nothing to measure, and it gave a value.")
    return "NaN"


def scale(s: Subject) -> str:
    """The unit of the FIDs does not matter."""
    far = max(s.far(s.run(fids=(s.data.fids * f).astype(np.complex64))) for f in (1e-9, 3e5))
    require(far <= s.rounding, f"FIDs in another unit move the maps by {far:.2g} mM.")
    return f"{far:.1g} mM"


def phase(s: Subject) -> str:
    """The phase of each voxel does not matter."""
    turns = np.exp(1j * np.random.default_rng(0).uniform(-np.pi, np.pi, s.data.grid_shape))[..., None]
    far = s.far(s.run(fids=(s.data.fids * turns).astype(np.complex64)))
    require(far <= s.rounding, f"Other phases move the maps by {far:.2g} mM.")
    return f"{far:.1g} mM"


def without_mri(s: Subject) -> str:
    """Without an MRI it does the same, or an `InputError` says that it needs one; `uses` says which."""
    try:
        far = s.far(s.run(mri=None, mri_affine=None))
    except InputError as error:
        require("needs an MRI" in str(error), f"Without an MRI it says: {error}")
        require("mri" in s.uses, "It needs an MRI and does not say so in 'uses'.")
        return "says that it needs one"
    require("mri" in s.uses or far == 0, f"It looks at the MRI ({far:.2g} mM) and does not say so in 'uses'.")
    return "does not need it"


def declared_neighbors(s: Subject) -> str:
    """A voxel's result depends on its own FID alone, unless `uses` says "neighbors"."""
    if "neighbors" in s.uses:
        return "declared"
    half = s.data.mask & (np.indices(s.data.grid_shape)[0] % 2 == 0)
    far = s.far(s.run(mask=half), half)
    require(far <= s.rounding, f"Without their neighbors voxels change by {far:.2g} mM: 'uses' must say 'neighbors'.")
    return f"{far:.1g} mM"


def unbiased_away_from_edges(s: Subject) -> str:
    """At an SNR of 2000 it tells the truth where DMI and MRI are of one kind for three voxels around."""
    phantom = rings()
    data = phantom.measure(2000, seed=0, phase_rad=0.7)
    kind = phantom.compartments + 10 * sum(i * m for i, m in enumerate(phantom.tumors.values(), 1))
    padded = np.pad(kind[..., 0], REACH, constant_values=-1)
    around = np.lib.stride_tricks.sliding_window_view(padded, (2 * REACH + 1,) * 2)
    deep = phantom.mask & (around == kind[..., 0, None, None]).all((-2, -1))[..., None]
    mask = phantom.mask.copy()
    if s.quick:
        mask[:, :16] = mask[:16] = False
    error = s.make()(data.replace(mask=mask)).values - phantom.concentrations.values
    far = np.abs(error[:, deep & mask]).max()
    require(far <= s.tolerance, f"Far from any edge and with hardly any noise it is wrong by {far:.2g} mM.")
    return f"{far:.1g} mM"


def _alike(contents, snr: float, shape, seed: int = 0) -> MRSI:
    """Voxels of one kind under random phases, with an MRI of one gray level."""
    model, rng = dmi_11t7(), np.random.default_rng(seed)
    clean = model.fids(contents, phase_rad=rng.uniform(-np.pi, np.pi, shape))
    fids = add_noise(clean, snr_to_sigma(model, snr), rng).astype(np.complex64)
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    return MRSI(fids, model, affine, None, np.ones(shape), affine)


def homogeneous_object(s: Subject) -> str:
    """Voxels all alike: it tells their content, whatever that is, and a prior moves nothing."""
    far = 0.0
    for contents in CONTENTS:
        maps = s.make()(_alike(contents, 2000, (4, 4, 4)))
        far = max(far, np.abs(maps.values.reshape(len(contents), -1) - 10 * contents[:, None]).max())
    require(far <= s.tolerance, f"In an object without any structure it is wrong by {far:.2g} mM.")
    return f"{far:.1g} mM"


def precision(s: Subject) -> str:
    """SD over the Cramer-Rao bound at an SNR of 20: no less than one unless neighbors help, and no more than three."""
    shape, snr = (20, 20, 1), 20.0
    data, n = _alike(CONTENTS[0], snr, shape), int(np.prod(shape))
    maps = s.make()(data)
    bound = 10 * crlb.ratio_sd(data.model, CONTENTS[0], snr_to_sigma(data.model, snr))
    others = [k for k, name in enumerate(data.model.names) if name != data.model.reference]
    ratio = np.array([maps.values[k].std(ddof=1) / bound[k] for k in others])
    low, high = np.sqrt(chi2.ppf([RISK / len(others), 1 - RISK / len(others)], n - 1) / (n - 1))
    text = f"{ratio.min():.2f} to {ratio.max():.2f}"
    possible = "neighbors" in s.uses or ratio.min() > low
    require(possible, f"Its SD is {text} times the bound: impossible for a single voxel.")
    require(ratio.max() < NOISIEST * high, f"Its SD is {text} times the bound.")
    return f"{text} × bound"
