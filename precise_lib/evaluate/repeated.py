"""One voxel measured again and again: the estimates of several methods on the same noise, and what they come to.

The error of an efficient estimator with that noise is kept beside them, so that SD and bias are known more closely than
repeats alone allow (`efficiency.controlled`), of amplitudes and of ratios to water alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from precise_lib.evaluate.efficiency import BATCH, controlled, efficient_map
from precise_lib.signal import information
from precise_lib.signal.model import SignalModel
from precise_lib.signal.noise import snr_to_sigma


@dataclass(frozen=True)
class Repeated:
    """Estimates of one voxel.

    Attributes
    ----------
    model, amplitudes : signal model and true amplitudes (M,)
    snrs : of water, (S,)
    estimates : name of a method -> amplitudes (S, n, M)
    errors : those of an efficient estimator with the same noise, to first order, (S, n, M)
    covariance : of these, (S, M, M)
    """

    model: SignalModel
    amplitudes: np.ndarray
    snrs: np.ndarray
    estimates: dict[str, np.ndarray]
    errors: np.ndarray
    covariance: np.ndarray

    def summary(self, ratio: bool = False) -> xr.Dataset:
        """Precision and bias, dims (estimator, snr, metabolite): `sd`, `sd_over_crlb`, `bias`, `bias_percent` and the
        standard errors `..._se` of all but `sd`; `crlb` (snr, metabolite) and `truth` (metabolite).

        With `ratio` of amplitudes over that of water, which is then left out.
        """
        water, names = self.model.index(self.model.reference), list(self.model.names)
        truth, linear = self.amplitudes, np.eye(len(names))
        if ratio:  # to first order
            truth = truth / truth[water]
            linear = np.delete((linear - np.outer(truth, linear[water])) / self.amplitudes[water], water, 0)
            truth, names = np.delete(truth, water), np.delete(names, water).tolist()
        errors = self.errors @ linear.T
        bound = np.sqrt(np.einsum("km,smn,kn->sk", linear, self.covariance, linear))
        found = []
        for values in self.estimates.values():
            own = np.delete(values / values[..., [water]], water, -1) if ratio else values
            found.append(controlled(own - truth - errors, errors, bound[:, None], axis=1))
        dims = ("estimator", "snr", "metabolite")
        arrays = {key: (dims, np.stack([f[key] for f in found])) for key in found[0]}
        arrays |= {"crlb": (dims[1:], bound), "truth": (dims[2:], truth)}
        data = xr.Dataset(arrays, {"estimator": list(self.estimates), "snr": self.snrs, "metabolite": names})
        data["sd"] = data["sd_over_crlb"] * data["crlb"]
        for end in ("", "_se"):
            data[f"bias_percent{end}"] = 100 * data[f"bias{end}"] / data["truth"]
        return data


def repeated(
    methods: Mapping[str, Callable], model: SignalModel, amplitudes, snrs, n_repeats: int = 1000, seed: int = 0
) -> Repeated:
    """Measure one voxel of true amplitudes (M,) `n_repeats` times at every SNR of water, each time of another phase.

    Methods are by name, callables (fids (V, t), model) -> amplitudes (V, M); any estimator's `.amplitudes`.
    """
    amplitudes, snrs = np.asarray(amplitudes, float), np.asarray(snrs, float)
    m, clean = len(amplitudes), model.fids(amplitudes)
    estimates = {name: np.empty((len(snrs), n_repeats, m)) for name in methods}
    errors, covariance = np.empty((len(snrs), n_repeats, m)), []
    for level, sigma in enumerate(snr_to_sigma(model, snrs, amplitudes[model.index(model.reference)])):
        rng = np.random.default_rng([seed, level])
        to_error = efficient_map(model, amplitudes[None], sigma)[0]
        covariance.append(information.covariance(model, amplitudes[None], sigma)[0, :m, :m])
        for start in range(0, n_repeats, BATCH):
            part = slice(start, min(start + BATCH, n_repeats))
            shape = (part.stop - start, 2 * len(clean))
            noise = rng.standard_normal(shape, np.float32).view(np.complex64) * np.float32(sigma)
            errors[level, part] = (noise @ to_error).real
            # noise has no phase of its own, so the voxel may be turned as a whole
            phase = np.exp(1j * rng.uniform(-np.pi, np.pi, (shape[0], 1))).astype(np.complex64)
            fids = (clean.astype(np.complex64) + noise) * phase
            for name, method in methods.items():
                estimates[name][level, part] = method(fids, model)
    return Repeated(model, amplitudes, snrs, estimates, errors, np.stack(covariance))
