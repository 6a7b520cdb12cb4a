"""Coils and transients of a file to one FID per voxel and frame, before anything is estimated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from precise_lib.errors import InputError
from precise_lib.estimate import noise, transients
from precise_lib.io import nifti_mrs
from precise_lib.io.nifti_mrs import Stored
from precise_lib.signal import coils
from precise_lib.signal.model import SignalModel, turned
from precise_lib.signal.noise import zero_filled


def combined(stored: Stored, model: SignalModel, average: bool, noise_scan=None):
    """A file (`Stored`) with its coils combined and, with `average`, its transients too; sentences on what was done;
    and the weights (x, y, z, c) of the coils, None where there was one.

    The noise of the coils is that of a `noise_scan` (a NIfTI-MRS file of the same coils), else of the samples in which
    no line of the model is left. Raises `InputError` where neither tells it, or there is nothing to average.
    """
    said, weights = [], None
    if noise_scan is not None and stored.coils == 1:
        raise InputError(f"A noise scan was given ({noise_scan}), and {stored.path} holds no single coils to weigh.")
    if average and stored.transients == 1:
        raise InputError(f"{stored.path} holds no transients (DIM_DYN) to average.")
    if stored.coils > 1:
        try:
            covariance = coils.noise_covariance(_noise(stored, model, noise_scan))
        except InputError as problem:
            raise InputError(
                f"The coils of {stored.path} cannot be combined ({str(problem).rstrip('.')}): give a noise scan with "
                "--noise."
            ) from problem
        said.append(
            f"{stored.coils} coils were combined by whitened SVD, noise {'scan' if noise_scan else 'of the FIDs'}."
        )
        weights = coils.weights(stored.fids, covariance)
        stored = by_weights(stored, weights)
    if average:
        n = stored.transients
        stored, drift = averaged(stored, model)
        hz, degrees = np.ptp(drift.shift_hz, 0).max(), np.degrees(np.ptp(drift.phase_rad, 0).max())
        said.append(
            f"{n} transients were aligned and averaged; their frequencies lay within {hz:.1f} Hz, "
            f"their phases within {degrees:.0f} degrees."
        )
    return stored, said, weights


def averaged(stored: Stored, model: SignalModel) -> tuple[Stored, transients.Drift]:
    """A file of one coil with its transients aligned and averaged, and how they had drifted."""
    fids, drift = transients.averaged(turned(stored.fids[..., 0, :, :], stored.header.carrier_ppm, model), model)
    facts = replace(stored.header, carrier_ppm=None)  # turned already
    return replace(stored, fids=fids[..., None, None, :], header=facts), drift


def by_weights(stored: Stored, weights: np.ndarray) -> Stored:
    """A file with its coils combined by weights (x, y, z, c)."""
    return replace(stored, fids=coils.combined(stored.fids, weights)[..., None, :, :])


def _noise(stored: Stored, model: SignalModel, noise_scan) -> np.ndarray:
    """Samples (n, c) of the coils without signal."""
    if noise_scan is not None:
        scan = nifti_mrs.open_mrsi(noise_scan)
        if scan.coils != stored.coils:
            raise InputError(f"the noise scan {noise_scan} holds {scan.coils} coils, the data {stored.coils}.")
        return np.moveaxis(scan.fids, 4, -1).reshape(-1, scan.coils)
    fids = np.moveaxis(stored.fids, 3, -1)  # (x, y, z, c, d, f, t)
    filled = zero_filled(fids.reshape(-1, fids.shape[-1]))
    space = noise.free_space(model, fids.shape[-1] - filled)
    free = noise.free_samples(fids.reshape(-1, fids.shape[-1]), space)
    return np.moveaxis(free.reshape(*fids.shape[:-1], -1), 3, -1).reshape(-1, stored.coils)
