"""Single-voxel results of a data set, and the prior on its frames: what the errors and flags start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from scipy import sparse

from precise_lib.errors import InputError
from precise_lib.estimate import choose
from precise_lib.estimate.fit import Fit, FitResult
from precise_lib.estimate.noise_model import Noise
from precise_lib.estimate.smoother import DenseMap, Smoother
from precise_lib.quantify import flags, residuals
from precise_lib.signal.mrsi import Series

# What makes a voxel no neighbor of others: it says that its estimate is not of what the signal model describes.
APART = ("residual", "fit", "snr", "offset", "broadening", "bright")
SAMPLED = 64  # FIDs that tell whether spectra are mirrored


@dataclass(frozen=True)
class Estimates:
    """What each voxel says by itself. Arrays run over the N voxel-frames of a `Series`.

    `amplitudes` (N, M) are by `single` and stand in for the truth; `fit` and its `residual` are of the same FIDs, of
    which the last `zero_filled` time points hold no measurement. `known` is their noise, where it was estimated before.
    """

    series: Series
    single: object
    amplitudes: np.ndarray
    fit: FitResult
    residual: residuals.Residual
    zero_filled: int = 0
    known: Noise | None = None

    @property
    def distortions(self) -> dict:
        """What the fit finds besides amplitudes, (N,) each: what SVE leaves out when it describes a FID."""
        return self.fit.nuisance(self.series.model)

    @cached_property
    def noise(self) -> Noise:
        """Of these FIDs; `InputError` where too few of their samples are free of signal."""
        return Noise.of(self.series, self.zero_filled) if self.known is None else self.known

    def flags(self, method) -> list[flags.Flag]:
        """Flags by the limits that an estimator states, or by those of its single-voxel results."""
        noise, model, fit = self.noise, self.series.model, self.fit
        if not (noise.sigma > 0).all():
            raise InputError("The samples free of signal hold no noise: flags need its level.")
        test = noise.sigma, noise.known, self.zero_filled, noise.efficiency
        found = [flags.residual_flag(self.residual, model, *test)]
        stating = next((x for x in (method, self.single) if hasattr(x, "limits")), None)
        if stating is None:
            found += flags.fit_flags(model, fit, noise.sigma)
        else:
            found += flags.limit_flags(model, stating.limits(model), self.amplitudes, fit, noise.sigma)
        found.append(flags.negative_flag(model, fit, noise.sigma, noise if noise.density is not None else None))
        if hasattr(method, "amplitudes") and not getattr(method, "unbiased", True):
            found.append(flags.overlap_flag(model, method, fit, noise.sigma))
        if model.divisor is not None and any(hasattr(method, name) for name in ("smoother", "adapted", "approaches")):
            lost = next(flag.hits for flag in found if flag.reason == "snr")
            found.append(flags.bright_flag(self.series, fit.amplitudes, noise.sigma, lost))
        return found

    def sound(self, found: list[flags.Flag]) -> np.ndarray:
        """Voxel-frames (N,) bool that tell about others: those without a flag of `APART`.

        Where most of them leave more than noise it is the signal model that is wrong, not the voxel: that counts not.
        """
        hits = {flag.reason: flag.hits for flag in found if flag.reason in APART}
        others = [x for reason, x in hits.items() if reason != "residual"]
        bad = np.any(others, axis=0) if others else np.zeros(len(self.amplitudes), bool)
        residual = hits.get("residual", np.zeros(len(bad), bool))
        common = residual[~bad].mean() > 0.5 if (~bad).any() else True
        return ~bad if common else ~(bad | residual)

    def of_frame(self, method, frame: int, sound: np.ndarray | None = None, fids=None) -> tuple[np.ndarray, int]:
        """Concentrations (V, M) of a frame by an estimator, and how many of its fits did not converge.

        Where it mixes voxels it is given `sound` ones (N,) alone, and the others keep their single-voxel values. `fids`
        (x, y, z, t) in place of those measured.
        """
        data, usable, model = self.series[frame], self.series.usable[frame], self.series.model
        data = data if fids is None else data.replace(fids=fids, mask=usable)
        good = np.ones(usable.sum(), bool) if sound is None else sound[self.series.parts[frame]]
        if good.all():
            maps = method(data)
            return np.moveaxis(maps.values, 0, -1)[usable], maps.attrs.get("not_converged", 0)
        out, failed, mask = np.empty((len(good), len(model.names))), 0, np.zeros(usable.shape, bool)
        out[~good] = model.concentrations(self.single.amplitudes(data.fids[usable][~good], model))
        if good.any():
            mask[usable] = good
            maps = method(data.replace(mask=mask))
            out[good], failed = np.moveaxis(maps.values, 0, -1)[mask], maps.attrs.get("not_converged", 0)
        return out, failed

    def mirrored(self) -> str | None:
        """A sentence where the spectra seem to be mirrored, see `flags.mirrored`."""
        places = np.argwhere(self.series.usable)
        step = -(-len(places) // SAMPLED)
        part = slice(None, None, step)
        fit = type(self.fit)(*(getattr(self.fit, f.name)[part] for f in fields(self.fit)))
        return flags.mirrored(self.series.sample(SAMPLED), self.series.model, fit, self.noise.sigma[part])


def estimate(series: Series, single, zero_filled: int = 0, noise: Noise | None = None) -> Estimates:
    """Fit and amplitudes of every voxel-frame: the one walk over all FIDs, in chunks. `noise`, where it is known."""
    model, fits, rests, found = series.model, [], [], []
    fits_itself, whole = hasattr(single, "fit"), getattr(single, "whole", False)
    fitter = single if fits_itself else Fit()
    for fids in series.chunks():
        fits.append(fitter.fit(fids, model))
        rests.append(residuals.residual(fids, fits[-1], model, zero_filled, noise))
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
    return Estimates(series, single, amplitudes, fit, rest, zero_filled, noise)


@dataclass(frozen=True)
class Smoothing:
    """The prior on every frame; frames with the same voxels share a `Smoother`, the largest set first."""

    series: Series
    groups: list[tuple[Smoother, list[int]]]

    @classmethod
    def of(cls, smoother: Callable, series: Series, sound: np.ndarray | None = None) -> Smoothing:
        """By what an estimator offers as ``smoother``: `MRSI` -> `Smoother`; of voxel-frames (N,) that are `sound`.

        The others keep their single-voxel values, and are no neighbors.
        """
        inside, groups = series.usable.copy(), {}
        if sound is not None:
            inside[inside] = sound
        for i, usable in enumerate(series.usable):
            if usable.any():
                groups.setdefault(usable.tobytes() + inside[i].tobytes(), []).append(i)
        ordered = sorted(groups.values(), key=lambda frames: (-inside[frames[0]].sum(), frames[0]))

        def made(frame):
            usable, within = series.usable[frame], inside[frame]
            if not within.any():
                return Smoother(usable, lambda _: DenseMap(sparse.eye(int(usable.sum()), format="csr")), inside=within)
            if (usable == within).all():
                return smoother(series[frame])
            return smoother(series[frame].replace(mask=within)).among(usable)

        return cls(series, [(made(frames[0]), frames) for frames in ordered])

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
        water = model.divisor

        def smooth(smoother, frames):
            maps = smoother.at(settings)
            return [choose.ratios(maps, s, water) for s in self.of_frames(frames, amplitudes)]

        return model.reference_concentration_mm * self.collect(smooth)
