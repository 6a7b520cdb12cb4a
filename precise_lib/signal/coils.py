r"""Coils of an array to one FID per voxel, by the singular vector of their whitened FIDs.

With sensitivities s and noise covariance C between coils the best weighted sum has the SNR ``sqrt(s^H C^-1 s)``.
Noise is whitened first; its weights then are the strongest eigenvector of ``X^H X``, X (t, coils) the FIDs of a voxel.
What noise they carry costs an SNR of ``(coils - 1) / (2 E)``, E the energy of the whitened FIDs over the noise variance
of a sample; where that is more than a little, the neighbors count too, for sensitivities are smooth.
"""

from __future__ import annotations

import itertools

import numpy as np

from precise_lib.errors import InputError

WORST_LOSS = 0.02  # of SNR by weights from one voxel alone: from there on its neighbors count as much as itself
FEWEST_SAMPLES = 50  # of noise for each coil: a covariance from n samples costs an SNR of coils / (2 n)


def noise_covariance(samples) -> np.ndarray:
    """Noise covariance (c, c) of coils from samples (n, c) without signal; `InputError` where they are too few."""
    samples = np.asarray(samples, np.complex128).reshape(-1, np.shape(samples)[-1])
    samples = samples[np.isfinite(samples).all(1)]
    n, c = samples.shape
    if n < FEWEST_SAMPLES * c:
        raise InputError(f"{n} samples without signal do not tell how the noise of {c} coils correlates.")
    covariance = samples.T @ samples.conj() / n
    values = np.linalg.eigvalsh(covariance)
    if not values[0] > 1e-10 * values[-1]:
        raise InputError("The coils hold no noise of their own, so they cannot be weighed against each other.")
    return covariance


def combined(fids, weights) -> np.ndarray:
    """FIDs (x, y, z, t, ...) of (x, y, z, t, c, ...) by weights (x, y, z, c).

    All that follows the coils (transients, frames) is combined by the same weights, so it stays comparable.
    """
    return np.einsum("xyztc...,xyzc->xyzt...", fids, weights.astype(np.complex64))


def weights(fids, covariance) -> np.ndarray:
    """Weights (x, y, z, c) of the coils, NaN where a FID is not finite.

    Noise of every voxel that they combine has the variance one, 1/2 in each channel.
    """
    fids = np.moveaxis(np.asarray(fids), 4, -1)  # (x, y, z, t, ..., c)
    whitening = np.linalg.inv(np.linalg.cholesky(covariance)).T  # x^T W has a covariance of one
    shape, coils = fids.shape[:3], fids.shape[-1]
    white = fids @ whitening.astype(np.complex64)
    good = np.isfinite(white).all(tuple(range(3, white.ndim)))
    white[~good] = 0
    flat = white.reshape(*shape, -1, coils)
    gram = np.stack([np.swapaxes(plane.conj(), -1, -2) @ plane for plane in flat]).astype(np.complex128)
    energy = np.einsum("xyzcc->xyz", gram).real - flat.shape[3] * coils  # without that of the noise
    loss = (coils - 1) / (2 * np.maximum(energy, 1e-3))
    share = np.clip(loss / WORST_LOSS, 0, 1)[..., None, None]
    _, vectors = np.linalg.eigh(gram + share * _neighbors(gram))
    found = vectors[..., -1]
    # the strongest coil keeps its own phase, so that of neighbors can be compared
    first = found[..., int(np.einsum("xyzcc->c", gram.real).argmax())]
    found = found * np.exp(-1j * np.angle(first))[..., None]
    found[~good] = np.nan
    return found @ whitening.T


def _neighbors(gram) -> np.ndarray:
    """Sum over the voxels around each, (x, y, z, c, c)."""
    out, padded = np.zeros_like(gram), np.pad(gram, [(1, 1)] * 3 + [(0, 0)] * 2)
    for step in itertools.product(range(3), repeat=3):
        if step != (1, 1, 1):
            out += padded[tuple(slice(k, k + n) for k, n in zip(step, gram.shape, strict=False))]
    return out
