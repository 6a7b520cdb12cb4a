"""How sure the concentration maps of one data set are, and which lambda it asks for: what `quantify` adds to the maps.

Everything is estimated from the data themselves: the noise from samples free of signal, line widths from a fit, the
covariance of SVE from the bound times what the network is above it on simulated FIDs like these.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property

import numpy as np

from precise_lib.errors import InputError
from precise_lib.estimate import choose, noise, smoother
from precise_lib.estimate.fit import FitResult, fit_fids
from precise_lib.estimate.prior import OMEGA_MAX, edge_weights, prepare_mri
from precise_lib.evaluate import closed_form as errors
from precise_lib.quantify import flags as trust
from precise_lib.quantify import lesions
from precise_lib.signal.mrsi import MRSI, Series

SHARE = 0.5  # of the SD that the bias may take where lambda is limited by bias
NEIGHBORS_FROM = 20_000  # voxels that tell how noise correlates


@dataclass(frozen=True)
class Prior:
    """Eq. 5 on the voxels of one frame; frames with the same usable voxels share it, and every factorization."""

    data: MRSI
    omega_max: float = OMEGA_MAX
    made: dict = field(default_factory=dict)

    @cached_property
    def usable(self) -> np.ndarray:
        return self.data.usable

    @cached_property
    def weights(self):
        return edge_weights(prepare_mri(self.data), self.omega_max)

    @cached_property
    def lattice(self):
        return smoother.lattices(self.usable)

    def solvers(self, lams) -> list:
        """One `ExactSolver` for each lambda."""
        new = [x for x in {float(lam) for lam in lams} if x not in self.made]
        self.made.update(zip(new, choose.solvers(self.weights, new), strict=True))
        return [self.made[float(lam)] for lam in lams]


@dataclass(frozen=True)
class Uncertainty:
    """Noise, SVE and errors of one data set. Arrays run over the voxel-frames of a `Series`, N of them.

    Parameters
    ----------
    series : measurement
    network : `SveModel`, or None: a fit then gives the amplitudes
    zero_filled : time points at the end without measurement
    omega_max : cap of Eq. 5
    """

    series: Series
    network: object | None = None
    zero_filled: int = 0
    omega_max: float = OMEGA_MAX

    @cached_property
    def _pass(self) -> tuple[FitResult, trust.Remainder, np.ndarray | None]:
        """Fit, what it leaves, and amplitudes by the network: the one walk over all FIDs, in chunks."""
        model, fits, rests, found = self.series.model, [], [], []
        # the paper's network knows one scale for a data set, and so wants it whole
        whole = self.network is None or hasattr(self.network.network.front, "dataset_unit")
        for fids in self.series.chunks():
            fits.append(fit_fids(fids, model))
            rests.append(trust.remainder(fids, fits[-1], model, self.zero_filled))
            if not whole:
                found.append(self.network.amplitudes(fids))
        if whole and self.network is not None:
            found = [self.network.amplitudes(np.concatenate(list(frame.chunks()))) for frame in self._frames()]
        fit = FitResult(*(np.concatenate([getattr(x, f.name) for x in fits]) for f in fields(FitResult)))
        return fit, trust.Remainder.join(rests), np.concatenate(found) if found else None

    def _frames(self) -> Iterator[Series]:
        """The frames that hold usable voxels."""
        return (Series.of(self.series[i]) for i in range(len(self.series)) if self.series.usable[i].any())

    @property
    def fit(self) -> FitResult:
        return self._pass[0]

    @property
    def rest(self) -> trust.Remainder:
        return self._pass[1]

    @property
    def amplitudes(self) -> np.ndarray:
        """(N, M) by SVE, or by the fit: the stand-in for the truth."""
        return self.fit.amplitudes if self.network is None else self._pass[2]

    @cached_property
    def sigma(self) -> float:
        """Noise SD of a time sample, one for the data set."""
        return noise.noise_sd(self.series.sample(), self.series.model, self.zero_filled)

    @cached_property
    def excess(self) -> np.ndarray:
        """SD of the single-voxel estimate over the bound, (M,); a fit counts as efficient."""
        if self.network is None:
            return np.ones(len(self.series.model.names))
        return errors.excess_over_bound(
            self.network.amplitudes, self.series.model, self.amplitudes, self.sigma, **errors.distortions(self.fit)
        )

    @cached_property
    def covariance(self) -> np.ndarray:
        bound = errors.sve_covariance(self.series.model, self.amplitudes, self.sigma, self.fit.broadening_hz)
        return bound * self.excess * self.excess[:, None]

    @cached_property
    def priors(self) -> list[tuple[Prior, list[int]]]:
        """Each prior and its frames, that of the most voxels first."""
        groups = {}
        for i, usable in enumerate(self.series.usable):
            if usable.any():
                groups.setdefault(usable.tobytes(), []).append(i)
        groups = sorted(groups.values(), key=lambda frames: (-self.series.usable[frames[0]].sum(), frames[0]))
        return [(Prior(self.series[frames[0]], self.omega_max), frames) for frames in groups]

    @property
    def iterated(self) -> bool:
        """Whether a set of this size was solved by iteration instead of a factorization."""
        return any(not solver.direct for prior, _ in self.priors for solver in prior.made.values())

    def _of(self, frames, values) -> np.ndarray:
        """Values (N, ...) of frames with the same voxels, as (frames, V, ...)."""
        return np.stack([values[self.series.parts[i]] for i in frames])

    def _collect(self, of_prior) -> np.ndarray:
        """Join what `of_prior(prior, frames)` -> (frames, V, ...) gives to (N, ...)."""
        found = {}
        for prior, frames in self.priors:
            found.update(zip(frames, of_prior(prior, frames), strict=True))
        return np.concatenate([found[i] for i in sorted(found)])

    def choose_lambda(self) -> tuple[np.ndarray, dict]:
        """Lambda (M,) by Stein's estimate, and what goes into the summary: every rule's choice.

        One lambda for all frames: the estimates of risk of those that share the largest set of voxels are averaged.
        """
        model, (prior, frames) = self.series.model, self.priors[0]
        amplitudes = self._of(frames, self.amplitudes)
        single = errors.closed_form(model, amplitudes, self._of(frames, self.covariance))
        water, sd = model.index(model.reference), single.sd / model.reference_concentration_mm
        sparse = smoother.lattices(prior.usable, sums_only=True)
        curves = choose.curves(prior.weights, amplitudes, water, sd, lattice=sparse).over_realizations()
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

    def ratios(self, lams) -> np.ndarray:
        """Concentrations (N, M) in mM by the exact minimizer, a lambda for each metabolite."""
        model = self.series.model
        water = model.index(model.reference)

        def smooth(prior, frames):
            made = prior.solvers(lams)
            return [choose.ratios(made, s, water) for s in self._of(frames, self.amplitudes)]

        return model.reference_concentration_mm * self._collect(smooth)

    def closed_form(self, lams=None) -> errors.ErrorMaps:
        """Errors of SVE or the fit (no lambda), or of the exact minimizer with a lambda for each metabolite."""
        model = self.series.model
        if lams is None:
            return errors.closed_form(model, self.amplitudes, self.covariance)
        probed = []

        def maps(prior, frames):
            amplitudes, covariance = self._of(frames, self.amplitudes), self._of(frames, self.covariance)
            found = errors.closed_form(model, amplitudes, covariance, prior.solvers(lams), prior.lattice)
            probed.append(found.probing_error)
            return np.stack([found.sd, found.bias, found.bias_noise], -1)

        return errors.ErrorMaps(*np.moveaxis(self._collect(maps), -1, 0), max(probed))

    def montecarlo(self, estimator, n_repeats: int, seed: int, lams=None, prior=True) -> errors.ErrorMaps:
        """Errors of the whole chain by repetition: `estimator` is any callable `MRSI` -> maps, `lams` replaces it."""
        model, found = self.series.model, []
        clean_of = {"amplitudes": self.amplitudes, **errors.distortions(self.fit)}
        priors = {i: p for p, frames in self.priors for i in frames} if lams is not None else {}
        for i, part in enumerate(self.series.parts):
            if part.start == part.stop:
                continue
            frame = self.series[i]
            made = priors[i].solvers(lams) if lams is not None else None
            clean = model.fids(**{name: x[part] for name, x in clean_of.items()})
            chain = self._chain(frame, estimator, made)
            moments = errors.repeated(clean, self.sigma, chain, n_repeats, seed + i)
            found.append((moments.sd, moments.mean - model.concentrations(self.amplitudes[part])))
        sd, bias = (np.concatenate(x) for x in zip(*found, strict=True))
        return errors.ErrorMaps(sd, bias) if prior else errors.ErrorMaps(sd)

    def _chain(self, frame: MRSI, estimator, solvers):
        """FIDs (V, t) of one frame -> its concentrations (V, M)."""
        model, usable, fids = self.series.model, frame.usable, np.zeros_like(frame.fids)

        def chain(noisy):
            noisy[:, noisy.shape[1] - self.zero_filled :] = 0
            if solvers is not None:
                ratio = choose.ratios(solvers, self.network.amplitudes(noisy), model.index(model.reference))
                return ratio * model.reference_concentration_mm
            fids[usable] = noisy
            return np.moveaxis(estimator(frame.replace(fids=fids)).values, 0, -1)[usable]

        return chain

    def false_negative(self, lams) -> dict:
        """What is left of lesions that the MRI does not show, see `lesions.false_negative`; water of one frame."""
        model, (prior, frames) = self.series.model, self.priors[0]
        w = model.index(model.reference)
        water = self._of(frames[:1], self.amplitudes)[0, :, w]
        named = {n: float(lam) for k, (n, lam) in enumerate(zip(model.names, lams, strict=True)) if k != w}
        return lesions.false_negative(prior.weights, prior.usable, water, named)

    def flags(self, estimator: str) -> list[trust.Flag]:
        """Flags that make sense for an estimator; its network is that of `self`."""
        model = self.series.model
        if not self.sigma > 0:
            raise InputError("The samples free of signal hold no noise: flags need its level.")
        free = trust.free_samples(model, len(self.series.sample()), self.zero_filled)
        found = [trust.residual_flag(self.rest, model, self.sigma, free, self.zero_filled)]
        if self.network is not None:
            return found + trust.network_flags(self.network, self.amplitudes, self.fit, self.sigma)
        if estimator == "fourier":
            return found + trust.fourier_flags(model, self.fit, self.sigma)
        return found + trust.fit_flags(model, self.fit, self.sigma)

    def warnings(self) -> list[str]:
        """What speaks against the noise model, in sentences."""
        notes, correlation = [], self._correlation()
        if correlation > 0.1:
            notes.append(
                f"The noise of neighboring voxels correlates ({correlation:.2f}), as after spatial filtering or zero "
                "filling: errors and lambda count voxels as independent, so SD maps of the prior are too small."
            )
        n = self.series.model.acquisition.n_samples
        residual = float(np.median(self.fit.sigma)) * np.sqrt(n / max(n - self.zero_filled, 1))
        ratio = residual / self.sigma if self.sigma > 0 else np.inf
        if not 0.8 < ratio < 1.25:
            notes.append(
                f"What a model fit leaves is {ratio:.2f} times the noise of the late samples: the signal "
                "model misses something, or the FIDs were filtered; errors may be off by as much."
            )
        return notes

    def _correlation(self) -> float:
        """Of the noise of neighbors, in the middle slices of the first frame: as many as hold enough voxels."""
        frame = next(self._frames())
        usable = frame.usable[0].copy()
        order = np.argsort(np.abs(np.arange(usable.shape[2]) - (usable.shape[2] - 1) / 2), kind="stable")
        enough = int(np.searchsorted(np.cumsum(usable.sum((0, 1))[order]), NEIGHBORS_FROM)) + 1
        usable[:, :, order[enough:]] = False
        return noise.noise_correlation(frame[0].fids[usable], frame.model, usable, self.zero_filled)


def number(value) -> float | None:
    return float(f"{value:.4g}") if np.isfinite(value) else None
