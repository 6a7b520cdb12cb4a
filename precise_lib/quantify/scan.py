"""How the data were taken, where the header does not say it, and what concentrations refer to."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np

from precise_lib.errors import InputError
from precise_lib.io.nifti_mrs import Stored
from precise_lib.quantify import reference
from precise_lib.quantify.reference import Reference
from precise_lib.quantify.scale import Lines, scale
from precise_lib.signal.mrsi import Series
from precise_lib.signal.parts import Acquisition
from precise_lib.signal.plausible import plausible


@dataclass(frozen=True)
class Scan:
    """How the data were taken, where the header does not say it or is to be overruled.

    Parameters
    ----------
    dead_time_s, repetition_time_s, flip_angle_deg : None as the header says
    reference_frame, water : what concentrations refer to instead of the water of each frame: that of one frame, or a
        file: NIfTI-MRS of water, or a map of its concentration in mM
    b1 : map of the actual over the nominal flip angle
    t1, deuterons : T1 in s and nuclei per molecule by name, see `scale.lines`
    average : whether transients (DIM_DYN) are aligned and averaged
    noise : NIfTI-MRS of the same coils without signal
    """

    dead_time_s: float | None = None
    repetition_time_s: float | None = None
    flip_angle_deg: float | None = None
    reference_frame: int | None = None
    water: str | None = None
    b1: str | None = None
    t1: str | None = None
    deuterons: str | None = None
    average: bool = False
    noise: str | None = None

    def __post_init__(self):
        if self.reference_frame is not None and self.water is not None:
            raise InputError("Two references were given (a frame, and a file of water): give one of them.")
        for field in ("water", "b1", "noise"):
            if getattr(self, field) is not None:
                object.__setattr__(self, field, str(getattr(self, field)))
        names = {"dead_time_s": "dead time", "repetition_time_s": "repetition time", "flip_angle_deg": "flip angle"}
        for field, what in names.items():
            value = getattr(self, field)
            if value is not None:
                object.__setattr__(self, field, plausible(what, _number(value)))

    @classmethod
    def or_auto(cls, dead_time_s=None, **fields) -> tuple[Scan, bool]:
        """A scan from its fields, and whether its dead time is "auto": not given, but to be estimated."""
        auto = dead_time_s == "auto"
        return cls(None if auto else dead_time_s, **fields), auto

    @property
    def set(self) -> dict:
        """The fields that were given."""
        return {name: value for name, value in asdict(self).items() if value not in (None, False)}

    def overruled(self, stored: Stored) -> Stored:
        """A file's content with the acquisition as it is here."""
        times = ("dead_time_s", "repetition_time_s", "flip_angle_deg")
        known = {name: value for name, value in self.set.items() if name in times}
        return replace(stored, acquisition=replace(stored.acquisition, **known))

    def referred(self, series: Series, acquisition: Acquisition, known: Lines, weights=None):
        """The series where there is a reference, the `Reference` (or None), the `Scale` and sentences.

        `weights` (x, y, z, c) are those by which the coils of the series were combined.
        """
        other, mm, b1, said = None, None, None, []
        if series.model.reference is None and (self.reference_frame is not None or self.water is not None):
            raise InputError("The signal model has no reference, so no water can be one: name it in the model.")
        if self.reference_frame is not None:
            if not 0 <= self.reference_frame < len(series):
                raise InputError(
                    f"The reference frame is {self.reference_frame}: the data have the frames 0 to {len(series) - 1}."
                )
            other = Reference(frame=int(self.reference_frame))
        elif self.water is not None and reference.is_map(self.water):
            mm = reference.on_grid(self.water, "map of water", (0.01, 2e5), "concentrations in mM", series)
        elif self.water is not None:
            other = reference.of_file(self.water, series, weights)
        b1 = self.b1 and reference.on_grid(
            self.b1, "B1 map", (0.05, 3.0), "the actual over the nominal flip angle", series
        )
        with_value = np.ones(series.grid_shape, bool) if other is None else other.inside(series)
        for values in (mm, b1):
            with_value &= True if values is None else np.isfinite(values)
        lost = int((series.usable & ~with_value).any(0).sum())
        if lost:
            series = replace(series, mask=with_value if series.mask is None else series.mask & with_value)
            said.append(f"{lost} voxel(s) have no value in the reference or the B1 map; they are NaN.")
            if not series.usable.any():
                raise InputError(
                    "No voxel has a value in the reference and the B1 map: check that they lie on the data."
                )
        each = (None if x is None else np.concatenate([x[usable] for usable in series.usable]) for x in (b1, mm))
        other_acquisition = None if other is None else other.acquisition
        return series, other, scale(series.model, known, acquisition, other_acquisition, *each), said


def _number(value):
    """A number from the text of an option; the text itself where it is none."""
    try:
        return float(value)
    except ValueError:
        return value
