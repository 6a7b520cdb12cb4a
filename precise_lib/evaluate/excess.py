"""How far each voxel's single-voxel SD is above the bound: by its own SNR and line width, from sound voxels alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from precise_lib.evaluate.closed_form import excess_over_bound
from precise_lib.signal.model import SignalModel
from precise_lib.signal.noise import snr_to_sigma, water_snr

OCTAVE = 1.0  # of the SNR between nodes; within less it counts as one
WIDTH = 0.5  # of a line, between nodes of the broadening
MOST = 8, 3  # nodes in SNR and in broadening
N_DRAWS, FEWEST_DRAWS = 20_000, 3_000


def nodes(values, spacing: float, most: int) -> np.ndarray:
    """Where something is measured that depends on values: their ends but for 1 %, and between; one for a narrow range.

    Example
    -------
    >>> nodes([0.0, 0.4], 1.0, 8).tolist(), nodes([0.0, 3.0], 1.0, 8).round(2).tolist()
    ([0.2], [0.03, 1.01, 1.99, 2.97])
    """
    low, middle, high = np.quantile(values, [0.01, 0.5, 0.99])
    steps = int(min(np.ceil((high - low) / spacing), most - 1))
    return np.array([middle]) if high - low < spacing else np.linspace(low, high, steps + 1)


def excess_of_voxels(
    amplitudes_of: Callable, model: SignalModel, amplitudes, sigma, sound, seed: int = 0, **distorted
) -> np.ndarray:
    """SD of an estimator over the bound, (V, M), at each voxel's own SNR and broadening.

    Measured by `closed_form.excess_over_bound` on FIDs like those of the `sound` voxels (V,) bool, at nodes that span
    what these have, and interpolated; other voxels count as the nearest of these. Where all are alike, it is one value.

    Parameters
    ----------
    amplitudes_of : (V, t) -> (V, M)
    amplitudes : (V, M); sigma : (V,) noise SD of a real channel
    distorted : shift_hz, broadening_hz, phase_rad and so on of the voxels
    """
    amplitudes, sigma = np.asarray(amplitudes, float), np.broadcast_to(np.asarray(sigma, float), len(amplitudes))
    sound = np.asarray(sound, bool) & (amplitudes[:, model.index(model.reference)] > 0)
    sound = sound if sound.any() else np.ones(len(amplitudes), bool)
    known = {name: np.broadcast_to(x, len(amplitudes)) for name, x in distorted.items()}
    place = np.log2(np.clip(water_snr(model, amplitudes, sigma), 1e-3, 1e9))  # no noise: no end
    broad = known.get("broadening_hz", np.zeros(len(amplitudes)))
    snrs = nodes(place[sound], OCTAVE, MOST[0])
    widths = nodes(broad[sound], WIDTH / (np.pi * model.t2star_s.min()), MOST[1])
    table = np.empty((len(snrs), len(widths), amplitudes.shape[1]))
    draws = max(N_DRAWS // (len(snrs) * len(widths)), FEWEST_DRAWS)
    like = {name: x[sound] for name, x in known.items()}
    unit = amplitudes[sound] / amplitudes[sound][:, [model.index(model.reference)]]
    for i, snr in enumerate(snrs):
        for j, width in enumerate(widths):
            level, own = snr_to_sigma(model, 2.0**snr), like
            a, level = (unit, np.full(len(unit), level)) if len(snrs) > 1 else (amplitudes[sound], sigma[sound])
            if len(widths) > 1:
                own = like | {"broadening_hz": np.full(len(unit), width)}
            table[i, j] = excess_over_bound(amplitudes_of, model, a, level, draws, seed, **own)
    return _interpolated(np.log(table), snrs, widths, place, broad)


def _interpolated(table, snrs, widths, place, broad) -> np.ndarray:
    """Bilinear, the ends held: exp of a table (S, W, M) at places (V,), (V, M)."""

    def weights(at, x):
        return (
            np.stack([np.interp(x, at, unit) for unit in np.eye(len(at))], -1) if len(at) > 1 else np.ones((len(x), 1))
        )

    return np.exp(np.einsum("vs,vw,swm->vm", weights(snrs, place), weights(widths, broad), table))
