"""What the header said, what was given besides, and what had to be assumed, with its worth in percent of each map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from precise_lib.estimate.fit import fit_fids
from precise_lib.quantify.measurement import Measurement
from precise_lib.quantify.scale import ANGLE_ERROR, T1_SHARE, scale
from precise_lib.signal.model import SignalModel

UNKNOWN_DEAD_TIME_S = 5e-4  # of phase-encoded imaging: .3 to 1 ms


def about(data: Measurement, given: dict, amplitudes) -> dict:
    """The part of the summary on the acquisition: ``header``, ``given`` and ``assumed``.

    Each assumption has ``what``, ``sentence`` and ``worth_percent`` by metabolite: how far the concentrations of a
    voxel with the median of `amplitudes` (N, M) would move if the assumption were wrong by what the sentence says.
    """
    header, model = data.stored.header, data.series.model
    listed = []
    if header.dead_time_s is None and "dead_time_s" not in given and not model.acquisition.dead_time_s:
        listed.append(_dead_time(model, np.median(amplitudes, 0)))
    if header.carrier_ppm is None:
        said = f"the receiver was at {model.carrier_ppm:g} ppm; the fit finds the shift, so nothing moves while it does"
        listed.append(_entry("carrier", said, {}))
    listed += _saturation(data, given) + _reference(data, given)
    return {"header": header.read, "given": given, "assumed": listed}


def _reference(data: Measurement, given: dict) -> list[dict]:
    """The concentration of water, whose water it is, and what a molecule carries."""
    model, listed = data.series.model, []
    if model.reference is None:
        said = "amplitudes are those of the data, in their own units, for the signal model has no reference"
        return [_entry("reference", said, {})]
    mm, name, ones = model.reference_concentration_mm, model.reference, dict.fromkeys(_others(data.series.model), 1.0)
    if "water" not in given or data.reference is not None:
        said = f"{name} is {mm:g} mM where it is the reference; for each percent of it the maps move"
        listed.append(_entry("reference", said, ones))
    if data.reference is None and "water" not in given:
        said = f"{name} of each frame is the reference; were half of it more {name} from the label, the maps would move"
        listed.append(_entry("labeled water", said, dict.fromkeys(ones, 100 * (1 / 1.5 - 1))))
    if (data.lines.nuclei == 1).all() and model.acquisition.nucleus == "2H":
        said = "each molecule carries one deuteron; [6,6'-2H2]glucose carries two, which would move"
        listed.append(_entry("deuterons", said, {n: -50 for n in ones if n == "Glc"}))
    return listed


def _saturation(data: Measurement, given: dict) -> list[dict]:
    """What T1 does, or would do at the usual TR and angle where they are not known."""
    model, acquisition, listed = data.series.model, data.stored.acquisition, []
    known = acquisition.repetition_time_s is not None and acquisition.flip_angle_deg is not None

    def moved(old, new):
        ratio = scale(model, data.lines, new, None).factor[0] / scale(model, data.lines, old, None).factor[0]
        pairs = zip(model.names, 100 * (ratio - 1), data.lines.t1_s, strict=True)
        return {n: x for n, x, t1 in pairs if n != model.reference and np.isfinite(t1)}

    if not known:
        usual = replace(acquisition, repetition_time_s=0.4, flip_angle_deg=60.0)
        said = "all lines are relaxed, for TR or flip angle are not known; at 0.4 s and 60 degrees the maps would move"
        return [_entry("saturation", said, moved(acquisition, usual))] if moved(acquisition, usual) else []
    if data.lines.assumed:
        pairs = {n: t1 for n, t1 in zip(model.names, data.lines.t1_s, strict=True) if n in data.lines.assumed}
        said = "T1 of " + ", ".join(f"{n} {1e3 * t1:.0f} ms" for n, t1 in pairs.items())
        relaxed = replace(acquisition, repetition_time_s=None)
        said += f" (rat brain, De Feyter 2018, +-{100 * T1_SHARE:g} %, in the SD); the correction moved the maps"
        listed.append(_entry("T1", said, moved(relaxed, acquisition)))
    if "b1" not in given:
        angle = acquisition.flip_angle_deg * (1 - ANGLE_ERROR)
        said = (
            f"the flip angle is {acquisition.flip_angle_deg:g} degrees everywhere; at {angle:.3g} the maps would move"
        )
        listed.append(_entry("flip angle", said, moved(acquisition, replace(acquisition, flip_angle_deg=angle))))
    return listed


def _others(model: SignalModel) -> list[str]:
    return [name for name in model.names if name != model.reference]


def _entry(what: str, sentence: str, worth: dict, where: str = "") -> dict:
    worth = {name: round(float(x), 1) for name, x in worth.items()}
    spoken = ", ".join(f"{name} {x:+.0f} %" for name, x in worth.items())
    spoken = f": {spoken}{f' {where}' if where else ''}" if worth else ""
    return {"what": what, "sentence": f"{sentence}{spoken}", "worth_percent": worth}


def _dead_time(model: SignalModel, amplitudes) -> dict:
    """By the fit of a clean FID that starts later than the model thinks."""
    acquisition = model.acquisition
    later = replace(model, acquisition=replace(acquisition, dead_time_s=acquisition.dead_time_s + UNKNOWN_DEAD_TIME_S))
    fit = fit_fids(later.fids(amplitudes[None]), model)
    with np.errstate(divide="ignore", invalid="ignore"):
        moved = 100 * (model.concentrations(fit.amplitudes[0]) / model.concentrations(amplitudes) - 1)
    pairs = zip(model.names, moved, strict=True)
    worth = {name: x for name, x in pairs if name != model.reference and np.isfinite(x)}
    said = f"the first sample is at the excitation; {1e3 * UNKNOWN_DEAD_TIME_S:g} ms later would move the maps"
    return _entry("dead time", said, worth)
