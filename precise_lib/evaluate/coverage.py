"""Errors of one measured FID by repetition: its fit stands in for the truth, under fresh noise of the measured level.

It repeats until the SD of every estimate is known well enough. The standard error of an SD is
``SD sqrt((k - 1) / 4 n)``, with the kurtosis k of the draws (3 for normal errors, more where a fit may go astray).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import xarray as xr
from scipy.stats import norm

from precise_lib import __version__
from precise_lib.errors import InputError, check_number
from precise_lib.evaluate import crlb
from precise_lib.signal.model import SignalModel
from precise_lib.signal.noise import add_noise

LEVEL = 0.95  # of the intervals whose coverage is counted
CHUNK = 256  # FIDs whose Jacobians are in memory together


def sd_standard_error(values: np.ndarray) -> np.ndarray:
    """Standard error of the SD of draws (n, ...), relative to that SD."""
    centered = values - values.mean(0)
    kurtosis = (centered**4).mean(0) / np.maximum((centered**2).mean(0) ** 2, np.finfo(float).tiny)
    return np.sqrt(np.maximum(kurtosis - 1, 0) / (4 * len(values)))


def _half_widths(model: SignalModel, amplitudes, sigma: float, broadening_hz: float) -> np.ndarray:
    """Half width (n, M) of the interval that each estimate would state for itself: its own bound."""
    parts = [
        crlb.ratio_sd(model, part, sigma, broadening_hz=broadening_hz)
        for part in np.array_split(amplitudes, len(amplitudes) // CHUNK + 1)
    ]
    return norm.isf((1 - LEVEL) / 2) * np.concatenate(parts)


def repeat_until(
    methods: Mapping[str, Callable], model: SignalModel, amplitudes, sigma: float, largest_error: float = 0.02,
    n_measured: int | None = None, batch: int = 1000, most: int = 100_000, seed: int = 0,
    widened: Mapping[str, np.ndarray] = {}, **nuisance: float,
) -> xr.Dataset:  # fmt: skip
    """SD, bias and coverage of amplitude / reference amplitude, dims (estimator, metabolite) without the reference.

    `sd` with its relative standard error `sd_error`, `bias` with `bias_se`, `coverage`, the share of realizations whose
    interval (estimate +- 1.96 times the CRLB at that estimate) holds the truth, with `coverage_se`; `crlb` and `truth`
    (metabolite). Attribute `reached` is 0 where `most` came before `largest_error`. Raises `InputError` for an error or
    a number of realizations that is not positive.

    Parameters
    ----------
    methods : name -> callable (fids (V, t), model) -> amplitudes (V, M)
    amplitudes : (M,) of the FID that stands in for the truth; nuisance : its shift_hz, broadening_hz, phase_rad
    sigma : measured noise SD of the real part of a sample
    largest_error : stop when the SD of every estimate is known to this share of itself (one standard error)
    n_measured : samples that hold a measurement; later ones are zero-filled and carry no noise
    batch, most : realizations that are drawn together, and at most in all
    widened : name -> (M,) factors on the stated interval of an estimator that stays above the bound
        (`closed_form.excess_over_bound`)
    """
    check_number("largest_error", largest_error)
    if batch < 2 or most < batch:
        raise InputError(f"batch is {batch} and most is {most}; draw at least two at once, and no more than most.")
    amplitudes = np.asarray(amplitudes, float)
    n_samples = model.acquisition.n_samples if n_measured is None else n_measured
    seen = replace(model, acquisition=replace(model.acquisition, n_samples=n_samples))  # what bounds the errors
    water = model.index(model.reference)
    others = [k for k in range(len(amplitudes)) if k != water]
    truth = (amplitudes / amplitudes[water])[others]
    clean, rng = model.fids(amplitudes, **nuisance), np.random.default_rng(seed)
    ratios, held = ({name: [] for name in methods} for _ in range(2))
    total, reached = 0, False
    while not reached and total + batch <= most:
        noisy = add_noise(np.tile(clean, (batch, 1)), sigma, rng)
        noisy[:, n_samples:] = 0
        for name, method in methods.items():
            a = method(noisy.astype(np.complex64), model)
            half = _half_widths(seen, a, sigma, nuisance.get("broadening_hz", 0.0)) * widened.get(name, 1.0)
            ratios[name].append((a / a[:, [water]])[:, others])
            held[name].append(np.abs(ratios[name][-1] - truth) <= half[:, others])
        total += batch
        reached = max(sd_standard_error(np.concatenate(r)).max() for r in ratios.values()) <= largest_error
    draws, inside = (np.stack([np.concatenate(r) for r in each.values()], 1) for each in (ratios, held))
    coordinates = {"estimator": list(methods), "metabolite": [model.names[k] for k in others]}
    dataset = _summary(draws, inside, truth, coordinates)
    dataset["truth"] = ("metabolite", truth)
    dataset["crlb"] = ("metabolite", crlb.ratio_sd(seen, amplitudes, sigma, **nuisance)[others])
    dataset.attrs = {
        "n_repeats": total, "reached": int(reached), "sigma": float(sigma), "seed": seed, "level": LEVEL,
        "signal_model": model.hash, "package_version": __version__,
    }  # fmt: skip
    return dataset


def _summary(draws, held, truth, coordinates) -> xr.Dataset:
    """What draws (n, estimator, metabolite) say: SD, bias and coverage, each with its standard error."""
    n, sd, coverage = len(draws), draws.std(0, ddof=1), held.mean(0)
    values = {
        "sd": sd,
        "sd_error": sd_standard_error(draws),
        "bias": draws.mean(0) - truth,
        "bias_se": sd / np.sqrt(n),
        "coverage": coverage,
        "coverage_se": np.sqrt(coverage * (1 - coverage) / n),
    }
    return xr.Dataset({name: (("estimator", "metabolite"), value) for name, value in values.items()}, coordinates)
