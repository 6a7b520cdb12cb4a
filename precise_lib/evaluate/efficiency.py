"""SD over CRLB of many different voxels, each to a fraction of a percent, by a control variate.

The SD of N repeats is known to 1 / sqrt(2 N): 2 % at the paper's N = 1000. But in a simulation the noise is known, and
with it the first-order error of an efficient estimator, ``e = F^-1 Re(J^H noise)``, whose covariance is the CRLB.
Only the difference ``d`` of an estimator's error from ``e`` is counted: ``Var = CRLB^2 + 2 E[d e] + E[d^2] - E[d]^2``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from precise_lib import __version__
from precise_lib.evaluate.montecarlo import RunningMoments
from precise_lib.signal import information
from precise_lib.signal.model import SignalModel

BATCH = 2048  # FIDs together: bounds the memory, and small arrays are not handed back to the system every time


def efficient_map(model: SignalModel, amplitudes, sigma=1.0, **nuisance) -> np.ndarray:
    """``J F^-1`` (V, t, M) complex64 at (V, M): ``Re(noise @ it)`` is an efficient estimator's first-order error.

    The noise SD `sigma` matters where lines have priors.
    """
    covariance = information.covariance(model, amplitudes, sigma, **nuisance) / sigma**2
    jacobian = information.jacobian(model, amplitudes, **nuisance)
    m = np.shape(amplitudes)[-1]
    return (np.swapaxes(jacobian.conj(), -1, -2) @ covariance[..., :m]).astype(np.complex64)


def controlled(difference, error, bound, axis: int = 0) -> dict[str, np.ndarray]:
    """SD over CRLB and bias from errors of estimates along an axis of realizations, with their standard errors.

    `error` is that of an efficient estimator with the same noise, `difference` what the estimates add to it, `bound`
    the CRLB, of one realization; keys are those of `efficiency`.
    """
    n, product = difference.shape[axis], difference * (2 * error + difference)
    bias, bound = difference.mean(axis), np.squeeze(bound, axis)
    ratio = _ratio(product.mean(axis), bias, bound)
    return {
        "sd_over_crlb": ratio,
        "sd_over_crlb_se": product.std(axis, ddof=1) / np.sqrt(n) / (2 * bound**2 * ratio),
        "bias": bias,
        "bias_se": difference.std(axis, ddof=1) / np.sqrt(n),
    }


def _ratio(product, bias, bound):
    """SD over CRLB; a handful of repeats can come out below nothing."""
    return np.sqrt(np.maximum(1 + (product - bias**2) / bound**2, 1e-6))


def efficiency(
    method: Callable, model: SignalModel, amplitudes, sigma: float, n_repeats: int = 1000, seed: int = 0, **nuisance
) -> xr.Dataset:
    """Precision of an estimator in every voxel, dims (voxel, metabolite), for true amplitudes (V, M).

    `method` (any estimator's `.amplitudes`) makes amplitudes (V, M) of fids (V, t) and the model; `sigma` is the noise
    SD per real channel; nuisance (shift_hz, broadening_hz, phase_rad) are numbers or (V,). Returns `mean` and `sd` as
    counted, `crlb`; `sd_over_crlb`, `bias` and standard errors `..._se` by the control variate.
    """
    amplitudes = np.atleast_2d(np.asarray(amplitudes, float))
    (v, m), clean = amplitudes.shape, model.fids(amplitudes, **nuisance)
    covariance = information.covariance(model, amplitudes, sigma, **nuisance)
    to_error = efficient_map(model, amplitudes, sigma, **nuisance)
    to_error = np.broadcast_to(to_error, (v, *to_error.shape[-2:]))
    bound = np.sqrt(np.einsum("...aa->...a", covariance)[..., :m])
    clean = np.broadcast_to(clean, (v, clean.shape[-1])).astype(np.complex64)
    rng, estimates, differences, products = np.random.default_rng(seed), *(RunningMoments() for _ in range(3))
    batch = max(1, BATCH // v)
    for start in range(0, n_repeats, batch):
        n = min(batch, n_repeats - start)
        noise = rng.standard_normal((v, n, 2 * clean.shape[1]), dtype=np.float32).view(np.complex64) * np.float32(sigma)
        estimate = method((clean[:, None] + noise).reshape(v * n, -1), model).reshape(v, n, m)
        error = (noise @ to_error).real
        difference = estimate - amplitudes[:, None] - error
        estimates.add(estimate.swapaxes(0, 1))
        differences.add(difference.swapaxes(0, 1))
        products.add((difference * (2 * error + difference)).swapaxes(0, 1))
    ratio = _ratio(products.mean, differences.mean, bound)
    values = {
        "mean": estimates.mean,
        "sd": estimates.sd,
        "crlb": np.broadcast_to(bound, (v, m)),
        "sd_over_crlb": ratio,
        "sd_over_crlb_se": products.sd / np.sqrt(n_repeats) / (2 * bound**2 * ratio),
        "bias": differences.mean,
        "bias_se": differences.sd / np.sqrt(n_repeats),
    }
    attrs = {"n_repeats": n_repeats, "seed": seed, "signal_model": model.hash, "package_version": __version__}
    arrays = {name: (("voxel", "metabolite"), value) for name, value in values.items()}
    return xr.Dataset(arrays, {"metabolite": model.names}, attrs)
