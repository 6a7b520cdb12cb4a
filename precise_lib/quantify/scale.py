"""From ratios of amplitudes to mM of molecules: saturation by T1, nuclei per molecule, the concentration of water.

A ratio to water becomes ``c_k = (a_k / a_w) c_w (S_w n_w) / (S_k n_k)``, S the steady state of `saturation`, n the
nuclei per molecule. T1 is known to some percent only: that goes into the SD, the same in every voxel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from precise_lib.errors import InputError
from precise_lib.evaluate.closed_form import ErrorMaps
from precise_lib.signal.model import SignalModel
from precise_lib.signal.parts import Acquisition, saturation, sensitivity

# s, 2H, rat brain at 11.7 T: De Feyter et al., Science Advances 4 (2018) eaat7314. Quadrupolar relaxation of small
# molecules hardly depends on the field; tissues differ: human liver and kidney at 7 T have Glc 60 and 85 ms, water 218
# and 324 ms (Bader et al. 2026). Hence the SD.
T1_2H_S = {"water": 0.320, "Glc": 0.064, "Glx": 0.146, "Glu": 0.146, "Gln": 0.146, "Lac": 0.297}
T1_SHARE = 0.15  # SD of a T1 from elsewhere, over T1
T1_LIMITS_S = (1e-3, 60.0)
ANGLE_ERROR = 0.2  # of a nominal flip angle, what an assumption is judged by


@dataclass(frozen=True)
class Lines:
    """T1 (s), its SD and the nuclei per molecule, each (M,); T1 is NaN where nobody knows."""

    t1_s: np.ndarray
    t1_sd_s: np.ndarray
    nuclei: np.ndarray
    assumed: tuple[str, ...]  # names whose T1 is from the literature


def lines(model: SignalModel, t1: str | None, nuclei: str | None) -> Lines:
    """From options ("Glc=0.064+-0.01,Lac=0.3", "Glc=2"), else the signal model, else for 2H the literature."""
    given, counts = _named(t1, model, "T1", T1_LIMITS_S), _named(nuclei, model, "nuclei per molecule", (0.01, 100))
    rows, assumed = [], []
    for r in model.resonances:
        value, sd = given.get(r.name, (r.t1_s, r.t1_sd_s))
        if value is None and model.acquisition.nucleus == "2H" and r.name in T1_2H_S:
            value = T1_2H_S[r.name]
            assumed.append(r.name)
        value = np.nan if value is None else value
        number = counts.get(r.name, (r.nuclei, None))[0]
        rows.append((value, T1_SHARE * value if sd is None else sd, number or 1.0))
    return Lines(*np.array(rows, float).T, tuple(assumed))


def _named(text: str | None, model: SignalModel, what: str, limits) -> dict[str, tuple[float, float | None]]:
    """Values and SDs (or None) by name from "name=value+-sd,..."."""
    found, names = {}, {name.lower(): name for name in model.names}
    for item in (text or "").split(",") if text else []:
        parts = re.fullmatch(r"\s*([^=]+?)\s*=\s*([0-9.eE+-]+?)\s*(?:\+-\s*([0-9.eE-]+))?\s*", item)
        try:
            name, value, sd = parts[1], float(parts[2]), None if parts[3] is None else float(parts[3])
        except (TypeError, ValueError):
            raise InputError(f"The {what} '{text}' is not readable: write name=value, as in Glc=0.064+-0.01.") from None
        if name.lower() not in names:
            raise InputError(
                f"The {what} name '{name}', which the signal model lacks: it has {', '.join(model.names)}."
            )
        if not (limits[0] <= value <= limits[1] and (sd is None or sd >= 0)):
            raise InputError(f"The {what} of {name} is {value:g}: give a number from {limits[0]:g} to {limits[1]:g}.")
        found[names[name.lower()]] = value, sd
    return found


@dataclass(frozen=True)
class Scale:
    """Factors (N, M) or (1, M) on concentrations that count every line as relaxed, and their relative SD."""

    factor: np.ndarray
    relative_sd: np.ndarray

    def on_errors(self, found: ErrorMaps, values) -> ErrorMaps:
        """Error maps (N, M) of concentrations `values` that are scaled already."""
        sd = np.hypot(self.factor * found.sd, np.abs(values) * self.relative_sd)
        bias, noise = (None if x is None else self.factor * x for x in (found.bias, found.bias_noise))
        return replace(found, sd=sd, bias=bias, bias_noise=noise)


def scale(model: SignalModel, known: Lines, own: Acquisition, other: Acquisition | None, b1=None, mm=None) -> Scale:
    """The `Scale` of data taken under `own` that refer to water taken under `other` (None: the same).

    `b1` (N,): actual over nominal flip angle; `mm` (N,): concentration of water, in place of the model's. Lines are
    taken as relaxed where TR or angle are not known, and a metabolite where its T1 is not.
    """
    w, m = model.index(model.reference), len(model.names)
    b1 = np.ones(1) if b1 is None else np.asarray(b1)

    def steady(acquisition, function, neutral):
        if acquisition.repetition_time_s is None or acquisition.flip_angle_deg is None:
            return np.full((len(b1), m), neutral)
        angle = acquisition.flip_angle_deg * b1[:, None]
        with np.errstate(invalid="ignore"):
            return np.nan_to_num(function(known.t1_s, acquisition.repetition_time_s, angle), nan=neutral)

    other = own if other is None else other
    signal, water = steady(own, saturation, 1.0), steady(other, saturation, 1.0)[:, [w]]
    slope, of_water = steady(own, sensitivity, 0.0), steady(other, sensitivity, 0.0)[:, [w]]
    if model.reference is None:  # each line over what it would be if it were relaxed
        spread = np.nan_to_num(slope * known.t1_sd_s / known.t1_s)
        return Scale(1 / signal / known.nuclei, np.broadcast_to(np.abs(spread), signal.shape))
    unknown = np.isnan(known.t1_s) | np.isnan(known.t1_s[w])
    share = np.where(unknown, 0.0, known.t1_sd_s / np.where(unknown, 1, known.t1_s))
    factor = np.where(unknown, 1.0, water / signal) * known.nuclei[w] / known.nuclei
    spread = np.hypot(slope * share, of_water * share[w]) * ~unknown
    spread[:, w] = np.abs(slope[:, w] - of_water[:, 0]) * share[w]
    if mm is not None:
        factor = factor * (np.asarray(mm) / model.reference_concentration_mm)[:, None]
    return Scale(factor, np.broadcast_to(spread, factor.shape))
