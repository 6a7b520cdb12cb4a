"""What an estimator makes of one data set: maps and flags, by what the estimator offers."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from precise_lib import estimate
from precise_lib.errors import InputError
from precise_lib.estimate.noise_model import Noise
from precise_lib.estimate.registry import Adapted, single_voxel
from precise_lib.quantify import estimates
from precise_lib.quantify.errors import ErrorModel, choose_settings
from precise_lib.quantify.estimates import Estimates, Smoothing
from precise_lib.quantify.flags import Flag
from precise_lib.quantify.measurement import Measurement
from precise_lib.quantify.request import Request


@dataclass(frozen=True)
class Estimated:
    """Maps in mM with the estimator, the error model behind them, and the setting of the prior for each metabolite.

    `adapted` is all that an estimator says which adapts to the data set.
    """

    method: object
    errors: ErrorModel
    maps: xr.DataArray
    flags: list[Flag]
    said: list[str]  # of the flags, worth a warning
    settings: np.ndarray | None = None
    choice: dict | None = None
    adapted: Adapted | None = None


def estimated(request: Request, data: Measurement) -> Estimated:
    """By what the estimator offers: a map or amplitudes of all voxel-frames at once, else one frame after the other."""
    series, model = data.series, data.series.model
    method = estimate.make(request.estimator, **request.options(data.network))
    single = single_voxel(method, model)
    # a taught line that is hardly there may seem to last forever: what is free of signal the model file tells
    noise, free = None, series if data.taught is None else replace(series, model=data.taught.given)
    with suppress(InputError):  # who asks for errors or flags is told
        noise = Noise.of(free, data.zero_filled)
    known = estimates.estimate(series, single, data.zero_filled, noise)
    flags, said, sound = flagged(known, method)
    sound = sound & data.inside
    smoothing = Smoothing.of(method.smoother, series, sound) if hasattr(method, "smoother") else None
    errors, settings, choice, adapted = ErrorModel(known, smoothing, sound, data.reference), None, None, None
    failed = int((~known.fit.converged).sum()) if hasattr(single, "fit") else 0
    if request.lam == "auto" and smoothing:
        settings, choice = choose_settings(errors, method.values)
    elif smoothing:
        settings = np.full(len(model.names), float(getattr(method, getattr(method, "parameter", ""), 0.0)))
    if hasattr(method, "adapted"):
        adapted = errors.adapted(method, request.way == "closed")
        own = [Flag(reason, hits, sentence) for reason, (hits, sentence) in adapted.flags.items()]
        flags, said = flags + own, said + [flag.sentence for flag in own if flag.worth_saying]
        values = adapted.concentrations
    elif smoothing or single is method:
        values = errors.concentrations(settings)
    elif data.reference is not None:
        raise InputError(
            f"'{request.estimator}' knows the water of each frame alone: give another reference to fit, sve or precise."
        )
    else:
        mixed = sound if "neighbors" in request.uses else None
        values, lost = zip(*(known.of_frame(method, i, mixed) for i in range(len(series))), strict=True)
        failed, values = sum(lost), np.concatenate(values)
    maps = series.to_maps(data.scale.factor * values, request.estimator).assign_attrs(not_converged=failed)
    return Estimated(method, errors, maps, flags, said, settings, choice, adapted)


def flagged(known: Estimates, method) -> tuple[list[Flag], list[str], np.ndarray]:
    """Flags, the sentences that are worth a warning, and the voxel-frames (N,) that tell about others."""
    try:
        flags = known.flags(method)
    except InputError as problem:
        return [], [f"Nothing was checked: {problem}"], known.sound([])
    said = {flag.reason: flag.sentence for flag in flags if flag.worth_saying}
    mirrored = known.mirrored() if {"residual", "negative"} & set(said) else None
    return flags, [*said.values(), *([mirrored] if mirrored else ())], known.sound(flags)
