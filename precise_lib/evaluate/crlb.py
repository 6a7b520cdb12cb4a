"""Cramer-Rao lower bounds on amplitudes: Eq. 6 of PRECISE-DMI and the numeric Fisher matrix.

Unknown are M real amplitudes, those of baseline and lipids included, and what is common to all lines
(`SignalModel.common`): shift, broadening, phase, and maybe a Gaussian width and the offset of the lipids.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from precise_lib.errors import InputError
from precise_lib.signal.information import covariance, jacobian
from precise_lib.signal.model import SignalModel


def eq6(model: SignalModel, amplitudes, sigma, broadening_hz=0.0) -> np.ndarray:
    """Closed bound (..., M) of Eq. 6: ``sqrt(2 dt / T) sigma R_k``, ``R_k^2 = 1 + A_k^2 / sum_j A_j^2``.

    Holds for dt << T << n_samples dt and lines that do not overlap; `sigma` is the SD of one channel of one time
    sample. Raises `ValueError` where the lines have different T2*.
    """
    t2 = model.t2star_s
    if not np.allclose(t2, t2[0]):
        raise ValueError("Eq. 6 needs one T2* common to all lines; use `numeric`.")
    a = np.asarray(amplitudes, float)
    t_eff = 1 / (1 / t2[0] + np.pi * np.asarray(broadening_hz, float))[..., None]
    late = model.acquisition.dead_time_s / t_eff
    r = np.exp(late) * np.sqrt(1 + (1 + 2 * late) ** 2 * a**2 / (a**2).sum(-1, keepdims=True))
    return np.sqrt(2 * model.acquisition.dwell_time_s / t_eff) * np.asarray(sigma, float)[..., None] * r


def numeric(model: SignalModel, amplitudes, sigma, **nuisance) -> np.ndarray:
    """Bound (..., M) on the SD of each amplitude from the full Fisher matrix; nuisance as in `covariance`."""
    m = len(model.names)
    return np.sqrt(np.einsum("...aa->...a", covariance(model, amplitudes, sigma, **nuisance))[..., :m])


def ratio_sd(model: SignalModel, amplitudes, sigma, **nuisance) -> np.ndarray:
    """Bound (..., M) on the SD of amplitude / reference amplitude, to first order in the noise."""
    amplitudes = np.asarray(amplitudes, float)
    m, w = len(model.names), model.index(model.reference)
    cov = covariance(model, amplitudes, sigma, **nuisance)[..., :m, :m]
    water = amplitudes[..., w, None]
    ratio = amplitudes / water
    gradient = np.zeros((*amplitudes.shape, m)) + np.eye(m)
    gradient[..., :, w] -= ratio
    return np.sqrt(np.einsum("...ka,...ab,...kb->...k", gradient, cov, gradient)) / np.abs(water)


def misspecified_bias(model: SignalModel, assumed: SignalModel, amplitudes, **nuisance) -> np.ndarray:
    """Bias (..., K) of an efficient estimator under a misspecified model, to first order in what that model lacks.

    The signal ``n`` that the `assumed` model lacks, whose resonances are among those of `model`, is projected on the
    slopes of the parameters that it has: ``F^-1 Re(J^H n)`` with its Jacobian and Fisher matrix at the true amplitudes
    (..., M) and nuisance under `model`.
    """
    amplitudes = np.asarray(amplitudes, float)
    own = amplitudes[..., [model.index(name) for name in assumed.names]]
    shared = {name: value for name, value in nuisance.items() if name in assumed.common}
    missed = model.fids(amplitudes, **nuisance) - assumed.fids(own, **shared)
    slopes, inverse = jacobian(assumed, own, **shared), covariance(assumed, own, 1.0, **shared)
    projected = np.einsum("...at,...t->...a", slopes.conj(), missed).real
    return np.einsum("...ab,...b->...a", inverse, projected)[..., : len(assumed.names)]


def overlap_cost(model: SignalModel, amplitudes, linewidths_hz, apart: float = 4.0) -> np.ndarray:
    """Bound on amplitude / reference over the same bound with the lines `apart` times as far apart: (W, M), NaN for the
    reference, of amplitudes (M,) at full widths (W,) common to all lines; `InputError` where they would leave the
    bandwidth.
    """
    hz = np.abs(model.frequencies_hz).max() * apart
    if hz > model.acquisition.bandwidth_hz / 2:
        reach = f"Lines {apart:g} times as far apart reach {hz:.0f} Hz"
        raise InputError(f"{reach}, beyond the bandwidth; take a smaller factor.")
    out = []
    for width in np.atleast_1d(linewidths_hz):
        wide = tuple(replace(r, t2star_s=1 / (np.pi * float(width))) for r in model.resonances)
        near = replace(model, resonances=wide)
        mhz = apart * model.acquisition.spectrometer_frequency_mhz
        far = replace(near, acquisition=replace(model.acquisition, spectrometer_frequency_mhz=mhz))
        close, separate = (ratio_sd(m, amplitudes, 1.0) for m in (near, far))
        out.append(np.where(separate > 0, close / np.where(separate > 0, separate, 1), np.nan))
    return np.array(out)
