"""Single-voxel results of a data set, and the prior on its frames: what the errors and flags start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from precise_lib.estimate import choose
from precise_lib.estimate.fit import Fit, FitResult
from precise_lib.estimate.smoother import Smoother
from precise_lib.evaluate.closed_form import distortions
from precise_lib.quantify import flags
from precise_lib.signal.mrsi import Series


@dataclass(frozen=True)
class Estimates:
    """What each voxel says by itself. Arrays run over the N voxel-frames of a `Series`.

    `amplitudes` (N, M) are by `single` and stand in for the truth; `fit` and its `residual` are of the same FIDs, of
    which the last `zero_filled` time points hold no measurement.
    """

    series: Series
    single: object
    amplitudes: np.ndarray
    fit: FitResult
    residual: flags.Residual
    zero_filled: int = 0

    @property
    def distortions(self) -> dict:
        return distortions(self.fit)


def estimate(series: Series, single, zero_filled: int = 0) -> Estimates:
    """Fit and amplitudes of every voxel-frame: the one walk over all FIDs, in chunks."""
    model, fits, rests, found = series.model, [], [], []
    fits_itself, whole = hasattr(single, "fit"), getattr(single, "whole", False)
    fitter = single if fits_itself else Fit()
    for fids in series.chunks():
        fits.append(fitter.fit(fids, model))
        rests.append(flags.residual(fids, fits[-1], model, zero_filled))
        if not fits_itself and not whole:
            found.append(single.amplitudes(fids, model))
    if whole:
        frames = (Series.of(series[i]) for i in range(len(series)) if series.usable[i].any())
        found = [single.amplitudes(np.concatenate(list(frame.chunks())), model) for frame in frames]
    fit, rest = (
        type(parts[0])(*(np.concatenate([getattr(x, f.name) for x in parts]) for f in fields(parts[0])))
        for parts in (fits, rests)
    )
    amplitudes = fit.amplitudes if fits_itself else np.concatenate(found)
    return Estimates(series, single, amplitudes, fit, rest, zero_filled)


@dataclass(frozen=True)
class Smoothing:
    """The prior on every frame; frames with the same usable voxels share a `Smoother`, the largest set first."""

    series: Series
    groups: list[tuple[Smoother, list[int]]]

    @classmethod
    def of(cls, smoother: Callable, series: Series) -> Smoothing:
        """By what an estimator offers as ``smoother``: `MRSI` -> `Smoother`."""
        groups = {}
        for i, usable in enumerate(series.usable):
            if usable.any():
                groups.setdefault(usable.tobytes(), []).append(i)
        ordered = sorted(groups.values(), key=lambda frames: (-series.usable[frames[0]].sum(), frames[0]))
        return cls(series, [(smoother(series[frames[0]]), frames) for frames in ordered])

    @property
    def iterated(self) -> bool:
        """Whether a set of this size was solved by iteration instead of a factorization."""
        return any(not getattr(m, "direct", True) for smoother, _ in self.groups for m in smoother.made.values())

    def of_frames(self, frames, values) -> np.ndarray:
        """Values (N, ...) of frames with the same voxels, as (frames, V, ...)."""
        return np.stack([values[self.series.parts[i]] for i in frames])

    def collect(self, of_group: Callable) -> np.ndarray:
        """Join what `of_group(smoother, frames)` -> (frames, V, ...) gives to (N, ...)."""
        found = {}
        for smoother, frames in self.groups:
            found.update(zip(frames, of_group(smoother, frames), strict=True))
        return np.concatenate([found[i] for i in sorted(found)])

    def concentrations(self, amplitudes, settings) -> np.ndarray:
        """Concentrations (N, M) in mM from single-voxel amplitudes, a setting (lambda) for each metabolite."""
        model = self.series.model
        water = model.index(model.reference)

        def smooth(smoother, frames):
            maps = smoother.at(settings)
            return [choose.ratios(maps, s, water) for s in self.of_frames(frames, amplitudes)]

        return model.reference_concentration_mm * self.collect(smooth)
