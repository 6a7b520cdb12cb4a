"""Fine-tuned networks beside the exact minimizer of Eq. 4 on the same noise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import numpy as np
import xarray as xr

from precise_lib import __version__
from precise_lib.estimate.edge_preserving import ExactSolver, edge_weights, finetune
from precise_lib.estimate.sve import SveModel
from precise_lib.evaluate.regularization import gray_levels, noisy_fids, to_maps
from precise_lib.simulate.phantoms import Phantom


def finetuning_study(
    network: SveModel, phantom: Phantom, snr: float, settings: Iterable[tuple], n_repeats: int = 6, seed: int = 0,
    progress: Callable = iter,
) -> xr.Dataset:  # fmt: skip
    """Fine-tuned networks and the exact minimizer on the same noise.

    Parameters
    ----------
    settings : (omega_max, lam, epochs) of each run
    progress : wraps the iterator over settings

    Returns
    -------
    Dataset with `sve` (repeat, metabolite, x, y, z), `exact` and `tuned` (setting, repeat, metabolite, x, y, z) in mM;
    `distance` (setting, repeat), the distance of the tuned amplitudes from the exact ones over that of SVE; `seconds`
    (setting,) of one fine-tuning. Setting carries omega_max, lam and epochs.
    """
    settings, gray = list(settings), gray_levels(phantom)
    fids = list(noisy_fids(phantom, snr, seed, range(n_repeats)))
    sve = np.stack([network.amplitudes(f) for f in fids])
    exact, tuned, distance, seconds = [], [], [], []
    for omega_max, lam, epochs in progress(settings):
        weights = edge_weights(gray, omega_max)
        solver, start = ExactSolver(weights, lam), time.perf_counter()
        tuned.append([finetune(network, f, weights, lam, epochs, seed=seed) for f in fids])
        seconds.append((time.perf_counter() - start) / n_repeats)
        exact.append([solver(s) for s in sve])
        pairs = zip(tuned[-1], exact[-1], sve, strict=True)
        distance.append([np.linalg.norm(t - e) / np.linalg.norm(s - e) for t, e, s in pairs])
    dims = ("setting", "repeat", "metabolite", "x", "y", "z")
    dataset = xr.Dataset(
        {
            "sve": (dims[1:], to_maps(phantom, sve)),
            "exact": (dims, to_maps(phantom, exact)),
            "tuned": (dims, to_maps(phantom, tuned)),
            "distance": (dims[:2], distance),
            "seconds": (dims[:1], seconds),
        },
        {"metabolite": phantom.model.names},
    )
    for name, column in zip(("omega_max", "lam", "epochs"), zip(*settings, strict=True), strict=True):
        dataset = dataset.assign_coords({name: ("setting", list(column))})
    dataset.attrs = {"snr": snr, "seed": seed, "weights": network.hash, "package_version": __version__}
    return dataset
