"""Noise, covariance, SD and bias of the maps of one data set, and its lambda, all estimated from the data.

The covariance of an estimator is the bound times what its SD is above it on simulated FIDs like these.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from precise_lib.errors import InputError
from precise_lib.estimate import choose, noise, smoother
from precise_lib.estimate.registry import Adapted
from precise_lib.estimate.single_voxels import SingleVoxels
from precise_lib.evaluate import closed_form
from precise_lib.evaluate.closed_form import ErrorMaps
from precise_lib.quantify import flags
from precise_lib.quantify.estimates import Estimates, Smoothing
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import MRSI, Series

NEIGHBORS_FROM = 20_000  # voxels that tell how noise correlates
SHARE = 0.5  # of the SD that the bias may take where lambda is limited by bias


@dataclass(frozen=True)
class ErrorModel:
    """Noise and covariance of single-voxel amplitudes, and what a prior makes of them. Arrays run over voxel-frames."""

    estimates: Estimates
    smoothing: Smoothing | None = None

    @property
    def series(self) -> Series:
        return self.estimates.series

    @property
    def model(self) -> SignalModel:
        return self.series.model

    @cached_property
    def sigma(self) -> float:
        """Noise SD of a time sample, one for the data set."""
        return noise.noise_sd(self.series.sample(), self.model, self.estimates.zero_filled)

    @property
    def sigma_or_residual(self) -> float:
        """The noise SD; where a FID is too short to tell, what the fit leaves."""
        try:
            return float(self.sigma)
        except InputError:
            return float(np.median(self.estimates.fit.sigma))

    @cached_property
    def excess(self) -> np.ndarray:
        """SD of the single-voxel estimate over the bound, (M,)."""
        known, single, model = self.estimates, self.estimates.single, self.model
        if getattr(single, "efficient", False):
            return np.ones(len(model.names))
        return closed_form.excess_over_bound(
            lambda fids: single.amplitudes(fids, model), model, known.amplitudes, self.sigma, **known.distortions
        )

    @cached_property
    def covariance(self) -> np.ndarray:
        known = self.estimates
        bound = closed_form.sve_covariance(self.model, known.amplitudes, self.sigma, known.fit.broadening_hz)
        return bound * self.excess * self.excess[:, None]

    @property
    def single_voxels(self) -> SingleVoxels:
        """What an estimator gets that adapts to the data set."""
        known = self.estimates
        given = known.series, known.amplitudes, self.covariance, self.sigma, known.fit.phase_rad, known.zero_filled
        return SingleVoxels(*given)

    def closed_form(self, settings=None) -> ErrorMaps:
        """Errors of the single-voxel estimate, or of the prior with a setting (lambda) for each metabolite."""
        amplitudes, smoothing = self.estimates.amplitudes, self.smoothing
        if settings is None:
            return closed_form.closed_form(self.model, amplitudes, self.covariance)
        probed = []

        def maps(smoother, frames):
            parts = (smoothing.of_frames(frames, x) for x in (amplitudes, self.covariance))
            found = closed_form.closed_form(self.model, *parts, smoother.at(settings), smoother.lattice)
            probed.append(found.probing_error)
            return np.stack([found.sd, found.bias, found.bias_noise], -1)

        return ErrorMaps(*np.moveaxis(smoothing.collect(maps), -1, 0), max(probed))

    def of_adapted(self, found: Adapted) -> ErrorMaps:
        """Errors as the estimator states them, and how far its maps are from the single-voxel results."""
        if found.sd is None:
            raise InputError("the estimator states none")
        moved = found.concentrations - self.model.concentrations(self.estimates.amplitudes)
        return ErrorMaps(found.sd, moved, found.moved)

    def repeated(self, method, n_repeats: int, seed: int, settings=None, biased: bool = True) -> ErrorMaps:
        """Errors of the whole chain by repetition: `method` is any callable `MRSI` -> maps, `settings` replace it."""
        known, found = self.estimates, []
        smoothers = {} if settings is None else {i: s for s, frames in self.smoothing.groups for i in frames}
        for i, part in enumerate(self.series.parts):
            if part.start == part.stop:
                continue
            clean = self.model.fids(known.amplitudes[part], **{name: x[part] for name, x in known.distortions.items()})
            maps = smoothers[i].at(settings) if smoothers else None
            chain = self._chain(self.series[i], method, maps)
            moments = closed_form.repeated(clean, self.sigma, chain, n_repeats, seed + i)
            found.append((moments.sd, moments.mean - self.model.concentrations(known.amplitudes[part])))
        sd, bias = (np.concatenate(x) for x in zip(*found, strict=True))
        return ErrorMaps(sd, bias) if biased else ErrorMaps(sd)

    def _chain(self, frame: MRSI, method, maps):
        """FIDs (V, t) of one frame -> its concentrations (V, M)."""
        model, single, usable = self.model, self.estimates.single, frame.usable
        fids = np.zeros_like(frame.fids)

        def chain(noisy):
            noisy[:, noisy.shape[1] - self.estimates.zero_filled :] = 0
            if maps is not None:
                ratio = choose.ratios(maps, single.amplitudes(noisy, model), model.index(model.reference))
                return ratio * model.reference_concentration_mm
            fids[usable] = noisy
            return np.moveaxis(method(frame.replace(fids=fids)).values, 0, -1)[usable]

        return chain

    def flags(self, method) -> list[flags.Flag]:
        """Flags by the limits that an estimator states, or by those of its single-voxel results."""
        known, model = self.estimates, self.model
        if not self.sigma > 0:
            raise InputError("The samples free of signal hold no noise: flags need its level.")
        free = flags.free_samples(model, len(self.series.sample()), known.zero_filled)
        found = [flags.residual_flag(known.residual, model, self.sigma, free, known.zero_filled)]
        for stating in (method, known.single):
            if hasattr(stating, "limits"):
                return found + flags.limit_flags(model, stating.limits(model), known.amplitudes, known.fit, self.sigma)
        return found + flags.fit_flags(model, known.fit, self.sigma)

    def warnings(self) -> list[str]:
        """What speaks against the noise model, in sentences."""
        notes, correlation = [], self._correlation()
        if correlation > 0.1:
            notes.append(
                f"The noise of neighboring voxels correlates ({correlation:.2f}), as after spatial filtering or zero "
                "filling: errors and lambda count voxels as independent, so SD maps of the prior are too small."
            )
        n, filled = self.model.acquisition.n_samples, self.estimates.zero_filled
        residual = float(np.median(self.estimates.fit.sigma)) * np.sqrt(n / max(n - filled, 1))
        ratio = residual / self.sigma if self.sigma > 0 else np.inf
        if not 0.8 < ratio < 1.25:
            notes.append(
                f"What a model fit leaves is {ratio:.2f} times the noise of the late samples: the signal "
                "model misses something, or the FIDs were filtered; errors may be off by as much."
            )
        return notes

    def _correlation(self) -> float:
        """Of the noise of neighbors, in the middle slices of the first frame: as many as hold enough voxels."""
        frame = next(i for i, usable in enumerate(self.series.usable) if usable.any())
        usable = self.series.usable[frame].copy()
        order = np.argsort(np.abs(np.arange(usable.shape[2]) - (usable.shape[2] - 1) / 2), kind="stable")
        enough = int(np.searchsorted(np.cumsum(usable.sum((0, 1))[order]), NEIGHBORS_FROM)) + 1
        usable[:, :, order[enough:]] = False
        fids = self.series[frame].fids[usable]
        return noise.noise_correlation(fids, self.model, usable, self.estimates.zero_filled)


def number(value) -> float | None:
    """Four digits; None for what JSON cannot hold."""
    return float(f"{value:.4g}") if np.isfinite(value) else None


def choose_settings(errors: ErrorModel, values=None) -> tuple[np.ndarray, dict]:
    """Settings (M,) by Stein's estimate, and what goes into the summary: every rule's choice.

    `values` are those to try, ascending from zero; default `choose.GRID`. One setting for all frames: the estimates of
    risk of those that share the largest set of voxels are averaged.
    """
    smoothing, model = errors.smoothing, errors.model
    prior, frames = smoothing.groups[0]
    amplitudes = smoothing.of_frames(frames, errors.estimates.amplitudes)
    single = closed_form.closed_form(model, amplitudes, smoothing.of_frames(frames, errors.covariance))
    water, sd = model.index(model.reference), single.sd / model.reference_concentration_mm
    sparse = smoother.lattices(prior.usable, sums_only=True)
    curves = choose.curves(prior.make, amplitudes, water, sd, values, lattice=sparse).over_realizations()
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
