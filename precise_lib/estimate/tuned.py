"""The adaptive prior as an estimator that chooses its own settings: `adaptive`, `stein`, `intervals`,
`overruled`, `unfollowed`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from precise_lib.errors import InputError, check_number
from precise_lib.estimate import stein, unfollowed
from precise_lib.estimate.adaptive import Field, Settings, adaptive
from precise_lib.estimate.coupling import Neighbors
from precise_lib.estimate.intervals import DRAWS, REPEATS, WIDTH, intervals
from precise_lib.estimate.overruled import islands
from precise_lib.estimate.precise import single_voxel_of
from precise_lib.estimate.prior import prepare_mri
from precise_lib.estimate.registry import Adapted
from precise_lib.estimate.single_voxels import SingleVoxels
from precise_lib.estimate.stein import Tuned, tune
from precise_lib.estimate.tuned_about import about, notes, overruled_flag, sentence, unfollowed_flag, unfollowed_note
from precise_lib.estimate.weights import SveModel
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import MRSI, Series

AUTO = "auto"


def _whole(value) -> int:
    if float(value) != int(float(value)):
        raise ValueError
    return int(float(value))


def _yes_or_no(value) -> bool:
    named = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if str(value).lower() not in named:
        raise ValueError
    return named[str(value).lower()]


OPTIONS = {
    "lam": (float, "a number or auto"),
    "tau": (float, "a number or auto"),
    "neighbors": (_whole, "a whole number or auto"),
    "mri": (_yes_or_no, "yes, no or auto"),
    "frames": (float, "a number or auto"),
    "gray": (float, "a number or auto"),
    "slack": (float, "a number"),
    "tolerance": (float, "a number"),
}
NEVER_AUTO = "slack", "tolerance"


@dataclass(frozen=True)
class Adaptive:
    """Single-voxel ratios under a prior that the data may overrule; callable `MRSI` -> DataArray in mM.

    A setting that is "auto" is chosen from the data; see `Settings` for what they mean. The maps' attributes say which
    base and settings they were made with.
    """

    weights: str | SveModel | None = None  # trained network, see `sve.resolve`
    base: str | Callable | None = None  # single-voxel estimator; None: the first network that fits, or the fit
    lam: float | str = AUTO
    tau: float | str = AUTO
    neighbors: int | str = AUTO
    mri: bool | str = AUTO  # False: neighbors by distance alone
    frames: float | str = AUTO
    gray: float | str = AUTO  # difference in gray level that counts as much as a voxel of distance
    slack: float = stein.SLACK  # share of the least error that keeping small lesions may cost
    tolerance: float = unfollowed.TOLERANCE  # percent: a smaller step across an edge of the MRI is none
    name: ClassVar[str] = "adaptive"

    def __post_init__(self):
        for name, (kind, what) in OPTIONS.items():
            value = getattr(self, name)
            if value == AUTO and name not in NEVER_AUTO:
                continue
            try:
                object.__setattr__(self, name, kind(value))
            except (TypeError, ValueError):
                raise InputError(f"{name} is {value!r}: give {what}.") from None
        given = {name: value for name, value in self.fixed.items() if name != "mri"}
        Settings(**{"lam": 1.0, "tau": 1.0, "neighbors": 1} | given)
        if given.get("neighbors", 1) < 1:
            raise InputError(f"The number of neighbors is {self.neighbors}; it must be one or more.")
        check_number("slack", self.slack, zero=True)
        unfollowed.check_tolerance(self.tolerance)

    @property
    def fixed(self) -> dict:
        """Settings that are given."""
        named = {name: getattr(self, name) for name in OPTIONS if name not in NEVER_AUTO}
        return {name: value for name, value in named.items() if value != AUTO}

    def single_voxel(self, model: SignalModel):
        """The estimator of each voxel on its own that the prior works on."""
        return single_voxel_of(self.base, self.weights, model)

    def couple(self, voxels: SingleVoxels) -> Neighbors:
        """Neighbors among the voxel-frames that count."""
        series = voxels.series
        usable = np.zeros_like(series.usable)
        usable[series.usable] = voxels.usable
        found = Neighbors.of_frames(prepare_mri(series[0], usable.any(0)), usable, series.affine)
        if self.fixed.get("neighbors", 0) > found.most:
            raise InputError(f"neighbors is {self.neighbors}: a voxel of this grid touches {found.most}.")
        return found

    def field(self, voxels: SingleVoxels, neighbors: Neighbors) -> tuple[Field, Tuned | None]:
        """Maps of the usable voxel-frames over `SingleVoxels.course`, and how the settings were found.

        None where no voxel has a neighbor.
        """
        ratios = voxels.ratios[voxels.usable] - voxels.course(neighbors.following)
        variance = voxels.variance[voxels.usable]
        if not len(neighbors.pairs) + len(neighbors.following):
            return adaptive(ratios, variance, neighbors, Settings(0.0, 1.0, 1)), None
        tuned = tune(ratios, variance, neighbors, voxels.noise(stein.PROBES), self.slack, self.fixed)
        return adaptive(ratios, variance, neighbors, tuned.settings), tuned

    def adapted(self, voxels: SingleVoxels, errors: bool = True) -> Adapted:
        """Maps, settings, errors, where the MRI was overruled and where nothing follows it; see `registry`."""
        if not voxels.usable.any():
            said = "No voxel has positive water and a known level of noise: the maps are those of single voxels."
            return Adapted(voxels.series.model.concentrations(voxels.amplitudes), notes=(said,))
        neighbors = self.couple(voxels)
        field, tuned = self.field(voxels, neighbors)
        model, usable = voxels.series.model, voxels.usable
        where = np.ix_(usable, voxels.others)

        def everywhere(values, single):
            out = np.array(single)
            out[where] = values
            return out

        single = model.concentrations(voxels.amplitudes)
        maps = {"concentrations": everywhere(field.maps + voxels.course(neighbors.following), single)}
        if errors:
            found = intervals(field, neighbors, voxels.noise(DRAWS, seed=1))
            alone = np.zeros_like(single)
            alone[:, voxels.others] = np.sqrt(voxels.variance)
            maps["sd"], maps["moved"] = everywhere(found.sd, alone), everywhere(found.moved, 0 * single)
            maps["how"] = f"SD of noise and prior together, by {REPEATS} repetitions of the prior at its settings"
            maps["width"] = WIDTH
        if tuned is None:
            return Adapted(**maps, notes=("No voxel has a neighbor: the maps are those of single voxels.",))
        settings = about(voxels, tuned, sorted(self.fixed))
        noise = voxels.noise(unfollowed.draws(neighbors.n_voxels), seed=2)
        edges = unfollowed.edges(voxels.ratios[usable], neighbors, noise, self.tolerance)
        opened, level = np.full((2, len(usable)), np.nan)
        opened[usable], level[usable] = field.opened_share, edges.share
        return Adapted(
            **maps,
            maps={
                "opened": (opened, "share of the coupling by the MRI that the data took away"),
                "unfollowed": (level, "share of a voxel's MRI edges that no metabolite follows, where it can be told"),
            },
            flags={
                "overruled": overruled_flag(voxels, islands(field, neighbors)),
                "unfollowed": unfollowed_flag(level, self.tolerance),
            },
            settings=settings,
            about=sentence(settings),
            notes=notes(voxels, tuned.settings, neighbors) + unfollowed_note(edges),
        )

    def __call__(self, data: MRSI):
        base, series = self.single_voxel(data.model), Series.of(data)
        if data.mri is None:
            prepare_mri(data)  # says what is missing
        found = self.adapted(SingleVoxels.of(series, base), errors=False)
        settings = {f"setting_{name}": str(value) for name, value in found.settings.items()}
        return series.to_maps(found.concentrations, self.name).assign_attrs(base=base.name, **settings)
