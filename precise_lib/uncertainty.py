"""How sure the concentration maps of one data set are, and which lambda it asks for: what `quantify` adds to the maps.

Everything is estimated from the data themselves: the noise from samples free of signal, line widths from a fit, the
covariance of SVE from the bound times what the network is above it on simulated FIDs like these.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from precise_lib import io
from precise_lib.errors import InputError
from precise_lib.estimate import choose_lambda, linear_map
from precise_lib.estimate.edge_preserving import edge_weights, prepare_mri
from precise_lib.estimate.fitting import fit_fids
from precise_lib.evaluate import errors, noise
from precise_lib.mrsi import MRSI

SHARE = 0.5  # of the SD that the bias may take where lambda is limited by bias


@dataclass(frozen=True)
class Uncertainty:
    """Noise, SVE and errors of one data set.

    Parameters
    ----------
    data : measurement
    network : `SveModel`, or None: a fit then gives the amplitudes
    zero_filled : time points at the end without measurement
    """

    data: MRSI
    network: object | None = None
    zero_filled: int = 0

    @cached_property
    def fids(self) -> np.ndarray:
        return self.data.fids[self.data.usable]

    @cached_property
    def fit(self):
        return fit_fids(self.fids, self.data.model)

    @cached_property
    def sigma(self) -> float:
        """Noise SD of a time sample, one for the data set."""
        return noise.noise_sd(self.fids, self.data.model, self.zero_filled)

    @cached_property
    def amplitudes(self) -> np.ndarray:
        """(V, M) by SVE, or by the fit: the stand-in for the truth."""
        return self.fit.amplitudes if self.network is None else self.network.amplitudes(self.fids)

    @cached_property
    def excess(self) -> np.ndarray:
        """SD of the single-voxel estimate over the bound, (M,); a fit counts as efficient."""
        if self.network is None:
            return np.ones(len(self.data.model.names))
        return errors.excess_over_bound(
            self.network.amplitudes, self.data.model, self.amplitudes, self.sigma, **errors.distortions(self.fit)
        )

    @cached_property
    def covariance(self) -> np.ndarray:
        bound = errors.sve_covariance(self.data.model, self.amplitudes, self.sigma, self.fit.broadening_hz)
        return bound * self.excess * self.excess[:, None]

    @cached_property
    def weights(self):
        """Eq. 5."""
        return edge_weights(prepare_mri(self.data))

    @cached_property
    def lattice(self):
        return linear_map.lattices(self.data.usable)

    def choose_lambda(self) -> tuple[np.ndarray, dict]:
        """Lambda (M,) by Stein's estimate, and what goes into the summary: every rule's choice."""
        model = self.data.model
        single = errors.closed_form(model, self.amplitudes, self.covariance)
        water, sd = model.index(model.reference), single.sd / model.reference_concentration_mm
        sparse = linear_map.lattices(self.data.usable, sums_only=True)
        curves = choose_lambda.curves(self.weights, self.amplitudes, water, sd, lattice=sparse)
        chosen = {method: curves.choose(method, SHARE) for method in choose_lambda.METHODS}

        def named(values):
            pairs = enumerate(zip(model.names, values, strict=True))
            return {name: _number(value) for k, (name, value) in pairs if k != water}

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
        """Concentrations (V, M) in mM by the exact minimizer, a lambda for each metabolite."""
        model = self.data.model
        made = choose_lambda.solvers(self.weights, lams)
        return model.reference_concentration_mm * choose_lambda.ratios(
            made, self.amplitudes, model.index(model.reference)
        )

    def closed_form(self, lams=None) -> errors.ErrorMaps:
        """Errors of SVE or the fit (no lambda), or of the exact minimizer with a lambda for each metabolite."""
        made = None if lams is None else choose_lambda.solvers(self.weights, lams)
        return errors.closed_form(self.data.model, self.amplitudes, self.covariance, made, self.lattice)

    def montecarlo(self, estimator, n_repeats: int, seed: int, lams=None, prior=True) -> errors.ErrorMaps:
        """Errors of the whole chain by repetition: `estimator` is any callable `MRSI` -> maps, `lams` replaces it."""
        model, usable = self.data.model, self.data.usable
        if lams is not None:
            made, water = choose_lambda.solvers(self.weights, lams), model.index(model.reference)
        fids = np.zeros_like(self.data.fids)

        def chain(noisy):
            noisy[:, noisy.shape[1] - self.zero_filled :] = 0
            if lams is not None:
                ratio = choose_lambda.ratios(made, self.network.amplitudes(noisy), water)
                return ratio * model.reference_concentration_mm
            fids[usable] = noisy
            return np.moveaxis(estimator(self.data.replace(fids=fids)).values, 0, -1)[usable]

        clean = model.fids(self.amplitudes, **errors.distortions(self.fit))
        moments = errors.repeated(clean, self.sigma, chain, n_repeats, seed)
        if not prior:
            return errors.ErrorMaps(moments.sd)
        return errors.ErrorMaps(moments.sd, moments.mean - model.concentrations(self.amplitudes))

    def warnings(self) -> list[str]:
        """What speaks against the noise model, in sentences."""
        notes, correlation = [], noise.noise_correlation(self.fids, self.data.model, self.data.usable, self.zero_filled)
        if correlation > 0.1:
            notes.append(
                f"The noise of neighboring voxels correlates ({correlation:.2f}), as after spatial filtering or zero "
                "filling: errors and lambda count voxels as independent, so SD maps of the prior are too small."
            )
        n = self.data.model.acquisition.n_samples
        residual = float(np.median(self.fit.sigma)) * np.sqrt(n / max(n - self.zero_filled, 1))
        ratio = residual / self.sigma if self.sigma > 0 else np.inf
        if not 0.8 < ratio < 1.25:
            notes.append(
                f"What a model fit leaves is {ratio:.2f} times the noise of the late samples: the signal "
                "model misses something, or the FIDs were filtered; errors may be off by as much."
            )
        return notes


def summarize(maps: errors.ErrorMaps, names: list[str], skip: int) -> dict:
    """Medians of the error maps in mM for the summary, and how much of the bias map noise alone would show."""

    def named(values):
        with np.errstate(invalid="ignore"):
            return {n: _number(v) for k, (n, v) in enumerate(zip(names, values, strict=True)) if k != skip}

    out = {"median_sd_mm": named(np.nanmedian(maps.sd, 0))}
    if maps.bias is not None:
        out["median_bias_mm"] = named(np.nanmedian(np.abs(maps.bias), 0))
    if maps.bias_noise is not None:
        square = np.nanmean(maps.bias**2 - maps.bias_noise**2, 0)
        out["median_bias_of_noise_alone_mm"] = named(0.6745 * np.nanmedian(maps.bias_noise, 0))
        out["rms_bias_without_noise_mm"] = named(np.sqrt(np.maximum(square, 0)))
        out["rms_sd_mm"] = named(np.sqrt(np.nanmean(maps.sd**2, 0)))
    return out


def _number(value) -> float | None:
    return float(f"{value:.4g}") if np.isfinite(value) else None


def check(method: str | None, repeats: int) -> None:
    """Raise `InputError` for a way to estimate errors that does not exist, or too few repetitions."""
    if method not in (None, "closed", "montecarlo", "none"):
        raise InputError(f"There is no way '{method}' to estimate errors: choose closed, montecarlo or none.")
    if repeats < 2:
        raise InputError(f"{repeats} repetition(s) have no SD: give at least 2.")


def on_grid(values: np.ndarray, data: MRSI) -> np.ndarray:
    """Values (V, M) of the usable voxels as (x, y, z, M), NaN elsewhere."""
    out = np.full((*data.grid_shape, values.shape[1]), np.nan)
    out[data.usable] = values
    return out


def write(folder, way: str, unsure: Uncertainty, method, prior: bool, lams, repeats: int, seed: int) -> dict:
    """Write SD and bias maps; returns what the summary says of them."""
    if way == "none":
        return {"method": "none", "how": "not asked for"}
    started, data = time.perf_counter(), unsure.data
    model = data.model
    if way == "closed":
        maps = unsure.closed_form(lams)
        how = "SD to first order from the Cramer-Rao bound at the estimated noise and line width"
        how += "" if unsure.network is None else ", times what the network is above it"
        how += ", through the linear map of the prior; bias = |PRECISE - SVE|, noise of SVE included" if prior else ""
    else:
        maps = unsure.montecarlo(method, repeats, seed, lams, prior)
        first = "the fit" if unsure.network is None else "SVE"
        how = f"SD of {repeats} repetitions of the whole chain on the FIDs that {first} describes, with new noise"
        how += f"; bias = |their mean - {first}|, noise of {first} included" if prior else ""
    files = []
    pairs = [("sd", maps.sd)] + ([("bias", np.abs(maps.bias))] if maps.bias is not None else [])
    for prefix, values in pairs:
        files += io.write_maps(folder, prefix, data.to_maps(on_grid(values, data), prefix), data.affine)
    return {
        "method": {"closed": "closed form", "montecarlo": "monte carlo"}[way],
        "how": how,
        "noise_sd": float(f"{unsure.sigma:.6g}"),
        "noise_samples": "late, or outside the signal subspace; one level for all voxels",
        "repeats": repeats if way == "montecarlo" else None,
        "seed": seed if way == "montecarlo" else None,
        "single_voxel_sd_over_bound": None
        if way != "closed"
        else dict(zip(model.names, unsure.excess.round(4).tolist(), strict=True)),
        **summarize(maps, model.names, model.index(model.reference)),
        "files": [path.name for path in files],
        "seconds": round(time.perf_counter() - started, 3),
    }
