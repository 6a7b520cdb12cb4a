"""Noise, covariance, SD and bias of the maps of one data set, and its lambda, all estimated from the data.

The covariance of an estimator is the bound times what its SD is above it on simulated FIDs like these: each voxel's
own noise, SNR and line width count, and voxels with a flag tell nothing about others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from precise_lib.errors import InputError
from precise_lib.estimate import choose, smoother
from precise_lib.estimate.noise_model import Noise
from precise_lib.estimate.registry import Adapted
from precise_lib.estimate.single_voxels import SingleVoxels
from precise_lib.estimate.smoother import Smoother
from precise_lib.evaluate import closed_form
from precise_lib.evaluate.closed_form import ErrorMaps
from precise_lib.evaluate.excess import excess_of_voxels
from precise_lib.quantify.estimates import Estimates, Smoothing
from precise_lib.quantify.reference import Reference
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import Series

GROUPS = 4  # sets of frames with the same voxels that lambda is chosen from
SHARE = 0.5  # of the SD that the bias may take where lambda is limited by bias


@dataclass(frozen=True)
class ErrorModel:
    """Noise and covariance of single-voxel amplitudes, and what a prior makes of them. Arrays run over voxel-frames.

    `sound` (N,) bool are those that tell about others, see `Estimates.sound`; None for all.
    """

    estimates: Estimates
    smoothing: Smoothing | None = None
    sound: np.ndarray | None = None
    reference: Reference | None = None  # of concentrations; None: the water of each frame

    @property
    def series(self) -> Series:
        return self.estimates.series

    @property
    def model(self) -> SignalModel:
        return self.series.model

    @property
    def noise(self) -> Noise:
        return self.estimates.noise

    @property
    def sigma_or_residual(self) -> np.ndarray:
        """The noise SD (N,); where FIDs are too short to tell, what the fit leaves."""
        try:
            return self.noise.sigma
        except InputError:
            return np.full(len(self.estimates.amplitudes), np.median(self.estimates.fit.sigma))

    @cached_property
    def excess(self) -> np.ndarray:
        """SD of the single-voxel estimate over the bound, (N, M)."""
        known, single, model = self.estimates, self.estimates.single, self.model
        if getattr(single, "efficient", False):
            return np.ones(known.amplitudes.shape)
        sound = np.ones(len(known.amplitudes), bool) if self.sound is None else self.sound
        single_voxel = lambda fids: single.amplitudes(fids, model)  # noqa: E731
        return excess_of_voxels(single_voxel, model, known.amplitudes, self.noise.sigma, sound, **known.distortions)

    @cached_property
    def _covariance(self) -> np.ndarray:
        known, noise, model = self.estimates, self.noise, self.model
        colored = noise if noise.density is not None or noise.zero_filled else None
        bound = closed_form.sve_covariance(model, known.amplitudes, noise.sigma, noise=colored, **known.distortions)
        return bound * self.excess[:, :, None] * self.excess[:, None]

    @cached_property
    def covariance(self) -> np.ndarray:
        """Covariance (N, M, M) of `amplitudes`."""
        return self._referred(self.reference)[1]

    @cached_property
    def amplitudes(self) -> np.ndarray:
        """Single-voxel amplitudes (N, M), with the water that concentrations refer to."""
        own = self.estimates.amplitudes
        return own if self.reference is None else self.reference.amplitudes(self.series, own)

    def _referred(self, reference: Reference | None) -> tuple[np.ndarray, np.ndarray]:
        """Amplitudes and covariance with the water of a reference."""
        own = self.estimates.amplitudes, self._covariance
        if reference is None:
            return own
        return reference.amplitudes(self.series, own[0]), reference.covariance(self.series, own[1])

    def correlate(self, smoother: Smoother, frames: list[int]) -> Callable | None:
        """How the voxels of a group of frames share their noise, as `smoother.leverage_and_variance` takes it."""
        kernel, part = self.noise.kernel, self.series.parts[frames[0]]
        return None if kernel is None else kernel.between(smoother.usable, self.estimates.fit.phase_rad[part])

    def adapted(self, method, errors: bool) -> Adapted:
        """What a method says that adapts to the data set; water is that of each voxel, where it refers to another."""
        known, w = self.estimates, self.model.index(self.model.reference)
        trusted = True if self.sound is None else self.sound
        given = self.series, self.amplitudes, self.covariance, self.noise.sigma, known.fit.phase_rad, known.zero_filled
        found = method.adapted(SingleVoxels(*given, trusted), errors)
        if self._with_water is not None:
            found.concentrations[:, w] = self.concentrations()[:, w]
            if found.sd is not None:
                found.sd[:, w] = self.closed_form().sd[:, w]
        return found

    def closed_form(self, settings=None) -> ErrorMaps:
        """Errors of the single-voxel estimate, or of the prior with a setting (lambda) for each metabolite."""
        found, w = self._closed_form(settings, self.reference), self.model.index(self.model.reference)
        if self._with_water is not None:
            water = self._closed_form(self._as_water(settings), self._with_water)
            for mine, theirs in ((found.sd, water.sd), (found.bias, water.bias), (found.bias_noise, water.bias_noise)):
                if mine is not None:
                    mine[:, w] = theirs[:, self._with_water.shown]
        return found

    def concentrations(self, settings=None) -> np.ndarray:
        """Concentrations (N, M) in mM, single-voxel or by the prior; of water too, where it refers to another."""

        def of(amplitudes, settings):
            alone = settings is None
            return (
                self.model.concentrations(amplitudes) if alone else self.smoothing.concentrations(amplitudes, settings)
            )

        found, other = of(self.amplitudes, settings), self._with_water
        if other is not None:
            own = other.amplitudes(self.series, self.estimates.amplitudes)
            found[:, self.model.index(self.model.reference)] = of(own, self._as_water(settings))[:, other.shown]
        return found

    @property
    def _with_water(self) -> Reference | None:
        """The reference with each frame's own water in the column of a metabolite; None where it is its own."""
        if self.reference is None or len(self.model.names) < 2:
            return None
        return replace(self.reference, shown=0 if self.model.index(self.model.reference) else 1)

    def _as_water(self, settings):
        w = self.model.index(self.model.reference)
        return None if settings is None else np.full(len(settings), settings[w])

    def _closed_form(self, settings, reference: Reference | None) -> ErrorMaps:
        (amplitudes, covariance), smoothing = self._referred(reference), self.smoothing
        if settings is None:
            return closed_form.closed_form(self.model, amplitudes, covariance)
        probed = []

        def maps(smoother, frames):
            parts = (smoothing.of_frames(frames, x) for x in (amplitudes, covariance))
            shared = self.correlate(smoother, frames)
            found = closed_form.closed_form(self.model, *parts, smoother.at(settings), smoother.lattice, shared)
            probed.append(found.probing_error)
            return np.stack([found.sd, found.bias, found.bias_noise], -1)

        return ErrorMaps(*np.moveaxis(smoothing.collect(maps), -1, 0), max(probed))

    def of_adapted(self, found: Adapted) -> ErrorMaps:
        """Errors as the estimator states them, and how far its maps are from the single-voxel results."""
        if found.sd is None:
            raise InputError("the estimator states none")
        return ErrorMaps(found.sd, found.concentrations - self.concentrations(), found.moved)

    def warnings(self) -> list[str]:
        """What the noise is, and what speaks against it, in sentences."""
        notes = self.noise.said(self.model)
        n, filled = self.model.acquisition.n_samples, self.estimates.zero_filled
        with np.errstate(divide="ignore"):
            ratio = float(np.median(self.estimates.fit.sigma / self.noise.sigma)) * np.sqrt(n / max(n - filled, 1))
        if not 0.8 < ratio < 1.25:
            notes.append(
                f"What a model fit leaves is {ratio:.2f} times the noise of the late samples: the signal "
                "model misses something, or the FIDs were filtered; errors may be off by as much."
            )
        return notes


def number(value) -> float | None:
    """Four digits; None for what JSON cannot hold."""
    return float(f"{value:.4g}") if np.isfinite(value) else None


def choose_settings(errors: ErrorModel, values=None) -> tuple[np.ndarray, dict]:
    """Settings (M,) by Stein's estimate, and what goes into the summary: every rule's choice.

    `values` are those to try, ascending from zero; default `choose.GRID`. One setting for all frames: the estimates of
    risk are averaged over frames, those of the `GROUPS` largest sets that share their voxels.
    """
    smoothing, model, found = errors.smoothing, errors.model, []
    water, unit = model.divisor, model.reference_concentration_mm
    largest = sorted(smoothing.groups, key=lambda group: -len(group[1]) * group[0].within.sum())[:GROUPS]
    for prior, frames in largest:
        amplitudes = smoothing.of_frames(frames, errors.amplitudes)
        single = closed_form.closed_form(model, amplitudes, smoothing.of_frames(frames, errors.covariance))
        sd = np.where(prior.within[:, None], single.sd / unit, np.nan)  # what has no neighbors has no say
        sparse, shared = smoother.lattices(prior.usable, sums_only=True), errors.correlate(prior, frames)
        found.append(choose.curves(prior.make, amplitudes, water, sd, values, sparse, correlate=shared))
    curves = choose.Curves.together(found).over_realizations()
    chosen = {method: curves.choose(method, SHARE) for method in choose.METHODS}

    def named(values):
        pairs = enumerate(zip(model.names, values, strict=True))
        return {name: number(value) for k, (name, value) in pairs if k != water}

    about = {
        "method": "stein",
        "how": "least value of Stein's unbiased risk estimate of each metabolite over water, errors in units of "
        "each voxel's own noise; water takes the lambda of the metabolite it divides",
        "chosen": named(chosen["stein"]),
        "limits": [float(curves.lams[1]), float(curves.lams[-1])],
        "other_rules": {
            "cross-validation": named(chosen["cross-validation"]),
            f"largest lambda with RMS bias below {SHARE:g} of RMS SD": named(chosen["bias"]),
        },
    }
    return chosen["stein"], about
