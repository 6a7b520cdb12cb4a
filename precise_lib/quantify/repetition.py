"""Errors by repetition: the whole chain of an estimator, again and again, on noise like that of one data set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from precise_lib.errors import InputError
from precise_lib.estimate import choose
from precise_lib.evaluate import closed_form
from precise_lib.evaluate.closed_form import ErrorMaps
from precise_lib.quantify.errors import ErrorModel


def repeated(errors: ErrorModel, method, n_repeats: int, seed: int, settings=None, biased: bool = True) -> ErrorMaps:
    """Errors of the whole chain by repetition: `method` is any callable `MRSI` -> maps, `settings` replace it.

    Raises `InputError` where concentrations refer to another water than that of each frame.
    """
    if errors.reference is not None:
        raise InputError("Errors by repetition know the water of each frame alone: choose closed, or none.")
    known, model, found = errors.estimates, errors.model, []
    smoothers = {} if settings is None else {i: s for s, frames in errors.smoothing.groups for i in frames}
    for i, part in enumerate(errors.series.parts):
        if part.start == part.stop:
            continue
        clean = model.fids(known.amplitudes[part], **{name: x[part] for name, x in known.distortions.items()})
        maps = smoothers[i].at(settings) if smoothers else None
        chain, sigma = _chain(errors, i, method, maps, biased), errors.noise.sigma[part]
        moments = closed_form.repeated(clean, sigma, chain, n_repeats, seed + i, _drawn(errors, i))
        found.append((moments.sd, moments.mean - model.concentrations(known.amplitudes[part])))
    sd, bias = (np.concatenate(x) for x in zip(*found, strict=True))
    return ErrorMaps(sd, bias) if biased else ErrorMaps(sd)


def _drawn(errors: ErrorModel, frame: int) -> Callable | None:
    """Noise like that of a frame, see `closed_form.realizations`; None for white noise that nobody shares."""
    noise, usable = errors.noise, errors.series.usable[frame]
    if noise.density is None and noise.kernel is None:
        return None
    return lambda rng: noise.draw(rng, usable, errors.model.acquisition.n_samples)


def _chain(errors: ErrorModel, frame: int, method, maps, mixes: bool) -> Callable:
    """FIDs (V, t) of one frame -> its concentrations (V, M)."""
    model, known, usable = errors.model, errors.estimates, errors.series.usable[frame]
    fids = np.zeros_like(errors.series.fids[..., frame])

    def chain(noisy):
        noisy[:, noisy.shape[1] - known.zero_filled :] = 0
        if maps is not None:
            ratio = choose.ratios(maps, known.single.amplitudes(noisy, model), model.divisor)
            return ratio * model.reference_concentration_mm
        fids[usable] = noisy
        return known.of_frame(method, frame, errors.sound if mixes else None, fids)[0]

    return chain
