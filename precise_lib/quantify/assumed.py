"""What the header said, what was given besides, and what had to be assumed, with its worth in percent of each map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from precise_lib.estimate.fit import fit_fids
from precise_lib.quantify.measurement import Measurement
from precise_lib.signal.model import SignalModel

UNKNOWN_DEAD_TIME_S = 5e-4  # of phase-encoded imaging: .3 to 1 ms


def about(data: Measurement, given: dict, amplitudes) -> dict:
    """The part of the summary on the acquisition: ``header``, ``given`` and ``assumed``.

    Each assumption has ``what``, ``sentence`` and ``worth_percent`` by metabolite: how far the concentrations of a
    voxel with the median of `amplitudes` (N, M) would move if the assumption were wrong by what the sentence says.
    """
    header, model = data.stored.header, data.series.model
    listed = []
    if header.dead_time_s is None and "dead_time_s" not in given:
        listed.append(_dead_time(model, np.median(amplitudes, 0)))
    if header.carrier_ppm is None:
        said = f"the receiver was at {model.carrier_ppm:g} ppm; the fit finds the shift, so nothing moves while it does"
        listed.append(_entry("carrier", said, {}))
    said = f"{model.reference} is {model.reference_concentration_mm:g} mM; all maps are proportional to it"
    listed.append(_entry("reference", said, dict.fromkeys(_others(model), 1.0), "for each percent of it"))
    return {"header": header.read, "given": given, "assumed": listed}


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
