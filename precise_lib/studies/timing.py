"""Timing side by side: a clock, a data set of the paper's in vivo size, and a fit as one writes it first."""

from __future__ import annotations

import time

import numpy as np
from scipy.optimize import least_squares

from precise_lib.estimate.fit import fit_fids
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import MRSI
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.signal.presets import dmi_11t7
from precise_lib.studies import amares


def seconds(function, repeats: int = 3) -> float:
    """Median wall time of a call after one warm-up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def noisy_fids(n: int, snr: float = 12.1, seed: int = 0) -> np.ndarray:
    """FIDs (n, t) complex64 of one typical voxel of the phantom study, with its own noise each."""
    model, rng = dmi_11t7(), np.random.default_rng(seed)
    clean = model.fids([[1.0, 0.25, 0.3, 0.1]], 3.0, 2.0)
    return add_noise(np.tile(clean, (n, 1)), snr_to_sigma(model, snr), rng).astype(np.complex64)


def cube(side: int = 11, snr: float = 10.0, seed: int = 1) -> MRSI:
    """A side x side x side set with an MRI of eight blocks: the size of the paper's in vivo data (11 x 11 x 11)."""
    model, rng = dmi_11t7(), np.random.default_rng(seed)
    clean = model.fids(np.tile([1.0, 0.3, 0.4, 0.1], (side, side, side, 1)))
    fids = add_noise(clean, snr_to_sigma(model, snr), rng)
    block = -(-side // 2)
    mri = np.kron(rng.random((2, 2, 2)), np.ones((block, block, block)))[:side, :side, :side]
    return MRSI(fids, model, mri=mri, mri_affine=np.eye(4))


def per_voxel_fit(fids: np.ndarray, model: SignalModel) -> np.ndarray:
    """Amplitudes (V, M), one FID at a time by `scipy.optimize.least_squares` from the nominal start.

    Numeric Jacobian, small shifts only; the yardstick of speed in claim P5.
    """
    m = len(model.names)

    def amplitudes(fid):
        scale = np.abs(fid[0])

        def residual(p):
            difference = model.fids(p[:m] * scale, p[m], p[m + 1], p[m + 2]) - fid
            return np.concatenate([difference.real, difference.imag]) / scale

        start = [0.5, *[0.2] * (m - 1), 0.0, 0.0, np.angle(fid[0])]
        return least_squares(residual, start, x_scale=[0.1] * m + [1, 1, 0.1]).x[:m] * scale

    return np.array([amplitudes(fid) for fid in np.asarray(fids, complex)])


def seconds_per_fid(sve, fids: np.ndarray, model: SignalModel, n_slow: int = 40) -> dict[str, float]:
    """Seconds a FID of SVE and of three fits, one after the other in this process.

    Parameters
    ----------
    sve : callable, (V, t) -> (V, M)
    fids : (V, t), all for SVE and the vectorized fit
    n_slow : as many of them for the fits that take one FID at a time

    Returns
    -------
    dict with "per-voxel fit", "vectorized fit" and "SVE", and "pyAMARES" first where it is installed.
    """
    few = fids[:n_slow]
    times = {"pyAMARES": seconds(lambda: amares.amplitudes(few, model)) / n_slow} if amares.available() else {}
    return times | {
        "per-voxel fit": seconds(lambda: per_voxel_fit(few, model)) / n_slow,
        "vectorized fit": seconds(lambda: fit_fids(fids, model)) / len(fids),
        "SVE": seconds(lambda: sve(fids)) / len(fids),
    }
