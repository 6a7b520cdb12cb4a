"""How networks quantify single 1H spectra, and what no estimate that knows the training ranges can be better than.

At best, a network trained for the least mean squared error gives the mean of what is drawn, given the spectrum and the
ranges: its slope and RMSE follow without any network. `least_error` computes, for the very spectra that are quantified,
the best linear estimate, which knows mean and variance of what is drawn, and the posterior mean, which knows the ranges
and has the lowest expected RMSE of all. Both take the spectrum to first order in the parameters around the truth, and
know the noise and the phase, but not the common scale, like a network that relates everything to water.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from precise_lib.errors import InputError
from precise_lib.estimate import truncated_normal
from precise_lib.evaluate import regression
from precise_lib.proton import brain
from precise_lib.proton.brain import MAXIMUM_MM, METABOLITES, WATER_MM, WINDOW, BasisSet, spectra_of
from precise_lib.proton.denoised import linearized
from precise_lib.proton.fit import SpectrumFit, fit_spectra
from precise_lib.proton.spectrum_model import SpectrumModel
from precise_lib.proton.weights import Quantifier
from precise_lib.signal.information import inverse

MM_RANGE, SHIM_RANGE_HZ = (0.67, 1.33), (2.0, 5.0)


def to_water(fit: SpectrumFit, basis: BasisSet) -> np.ndarray:
    """Concentrations (V, 16) in mM of a fit: ratios to its water reference, as the networks give them."""
    water = fit.amplitudes[:, [basis.index("water")]]
    return fit.amplitudes[:, [basis.index(name) for name in METABOLITES]] / water * WATER_MM


def related(basis: BasisSet, data: xr.Dataset, points: slice) -> tuple[np.ndarray, np.ndarray]:
    """Precision matrices (V, M + 4, M + 4) and gradients (V, M + 4) as of `linearized`, of everything but the common
    scale of the spectra, which is unknown: water is known in its place.
    """
    model, amplitudes = SpectrumModel(basis, points), brain.true_amplitudes(data)
    scale = np.concatenate([amplitudes, np.zeros((len(amplitudes), 4))], axis=1)  # a relative change of all amplitudes
    fisher, gradient = (np.concatenate(parts) for parts in zip(*linearized(model, data), strict=True))
    by_scale = np.einsum("vij,vj->vi", fisher, scale)
    own = np.einsum("vi,vi->v", by_scale, scale)[:, None]
    along = np.einsum("vi,vi->v", gradient, scale)[:, None] / own
    return fisher - by_scale[:, :, None] * (by_scale / own)[:, None], gradient - by_scale * along


def problem(basis: BasisSet, data: xr.Dataset, points: slice) -> tuple[np.ndarray, np.ndarray]:
    """Precision matrices (V, 18, 18) of the 18 parameters that are drawn, 16 concentrations, MM, squared shim, and
    their unbounded estimate (V, 18); shift, phase and Lorentzian width are known to be none.
    """
    m = len(basis.names)
    drawn = [*(basis.index(name) for name in METABOLITES), basis.index("MM"), m + 2]
    truth = np.column_stack([data.concentration, data.mm, data.shim_hz**2])
    precision, gradient = related(basis, data, points)
    precision = precision[:, drawn][:, :, drawn]
    return precision, truth + np.linalg.solve(precision, gradient[:, drawn, None])[..., 0]


def crlb_to_water(basis: BasisSet, data: xr.Dataset, points: slice) -> np.ndarray:
    """Cramer-Rao bound (V, 16) in mM on concentrations related to water, with everything else unknown."""
    known = basis.index("water")
    unknown = [k for k in range(len(basis.names) + 4) if k != known]
    precision = related(basis, data, points)[0][:, unknown][:, :, unknown]
    bound = np.sqrt(np.einsum("vii->vi", inverse(precision)))
    return bound[:, [unknown.index(basis.index(name)) for name in METABOLITES]]


def ranges() -> np.ndarray:
    """Low and high ends (2, 18) of what `brain.draw` draws: concentrations in mM, MM, squared shim in Hz^2."""
    return np.array([*((0.0, top) for top in MAXIMUM_MM.values()), MM_RANGE, np.square(SHIM_RANGE_HZ)]).T


def least_error(basis: BasisSet, data: xr.Dataset, points: slice, n_sweeps: int = 800, seed: int = 0) -> xr.Dataset:
    """Estimates of least error for spectra of `brain.draw`, drawn with its own ranges; see the module's text.

    Returns (spectrum, metabolite) in mM: `linear`, `posterior_mean`, and `unbounded`, which knows no range. The Gibbs
    sampler of the posterior mean has `n_sweeps` that count and a fifth as many before them. Raises `InputError` for
    data with other ranges, or no sweeps.
    """
    low, high = ranges()
    truth = np.column_stack([data.concentration, data.mm, data.shim_hz**2])
    if n_sweeps < 1 or (truth < low - 1e-9).any() or (truth > high + 1e-9).any():
        known = "spectra drawn with the ranges of brain.draw and one sweep or more"
        raise InputError(f"Least errors are known for {known}.")
    precision, unbounded = problem(basis, data, points)
    middle, variance = (low + high) / 2, (high - low) ** 2 / 12
    shift = np.einsum("vij,vj->vi", precision, unbounded - middle)
    linear = middle + np.linalg.solve(precision + np.diag(1 / variance), shift[..., None])[..., 0]
    mean = _gibbs(precision, unbounded, low, high, n_sweeps, np.random.default_rng(seed))
    columns = {"linear": linear, "posterior_mean": mean, "unbounded": unbounded}
    columns = {k: (("spectrum", "metabolite"), v[:, : len(METABOLITES)], {"units": "mM"}) for k, v in columns.items()}
    return xr.Dataset(columns, {"metabolite": list(METABOLITES), "spectrum": data.spectrum.values})


def helped(basis: BasisSet, data: xr.Dataset, points: slice) -> xr.DataArray:
    """How much the range of one metabolite helps another (metabolite, by): SD with that range known over SD with none,
    at most 1, median; to first order, with normal distributions in place of the ranges.
    """
    precision = problem(basis, data, points)[0]
    covariance = np.linalg.inv(precision)
    low, high = ranges()
    variance, n = (high - low) ** 2 / 12, len(METABOLITES)
    own = np.einsum("vii->vi", covariance)
    # knowing one parameter to within its range is a measurement of it: the update of rank one
    less = covariance**2 / (own + variance)[:, None, :]
    share = np.median(np.sqrt(1 - less / own[:, :, None]), axis=0)[:n, :n]
    return xr.DataArray(share, {"metabolite": list(METABOLITES), "by": list(METABOLITES)}, dims=("metabolite", "by"))


def _gibbs(precision, center, low, high, n_sweeps, rng) -> np.ndarray:
    """Mean (V, K) of normal distributions around `center` cut off to a box; one parameter is drawn after the other."""
    spread = 1 / np.sqrt(np.einsum("vii->vi", precision))
    now = np.clip(center, low + 1e-6 * (high - low), high - 1e-6 * (high - low))
    pull, total = np.einsum("vij,vj->vi", precision, center - now), np.zeros_like(now)
    before = max(1, n_sweeps // 5)
    for sweep in range(before + n_sweeps):
        for j in range(now.shape[1]):
            s = spread[:, j]
            middle = now[:, j] + pull[:, j] * s**2
            u = rng.uniform(1e-12, 1 - 1e-12, len(now))
            new = middle + s * truncated_normal.quantile(u, (low[j] - middle) / s, (high[j] - middle) / s)[0]
            pull -= precision[:, :, j] * (new - now[:, j])[:, None]
            now[:, j] = new
        if sweep >= before:
            total += now
    return total / n_sweeps


def compared(data: xr.Dataset, networks: Mapping[str, Quantifier], n_sweeps: int = 800) -> xr.Dataset:
    """Concentrations from fits, from networks and from the estimate of least error, all related to water.

    Data are as `brain.draw` gives them with its own ranges. Fits and `least_error` see the 1024 points of the 1D
    networks; a network sees what it was made for. Returns `truth` (spectrum, metabolite) and `estimate` (source,
    spectrum, metabolite), mM; sources are "fit", "fit, not negative", the labels, "best linear" and "posterior mean".
    Raises `InputError` for other ranges, or a label that is that of another source.
    """
    basis, spectra = brain.brain_basis(), spectra_of(data.noisy.values, WINDOW)
    best = least_error(basis, data, WINDOW, n_sweeps)
    own = {"best linear": best.linear.values, "posterior mean": best.posterior_mean.values}
    free = fit_spectra(spectra, basis, WINDOW)
    bounded = fit_spectra(spectra, basis, WINDOW, non_negative=True, near=free)
    own |= {"fit": to_water(free, basis), "fit, not negative": to_water(bounded, basis)}
    if taken := set(own) & set(networks):
        raise InputError(f"There is a source '{min(taken)}' already; give the network another label.")
    found = {label: network.quantify(data.noisy.values) for label, network in networks.items()}
    sources = ["fit", "fit, not negative", *found, "best linear", "posterior mean"]
    each = ("source", "spectrum", "metabolite")
    variables = {
        "truth": (each[1:], data.concentration.values, {"units": "mM"}),
        "estimate": (each, np.stack([(own | found)[s] for s in sources]), {"units": "mM"}),
    }
    coords = {"source": sources, "metabolite": list(METABOLITES), "snr": ("spectrum", data.snr.values)}
    return xr.Dataset(variables, coords)


def accuracy(network: Quantifier, n_spectra: int = 600, seed: int = 2000) -> dict:
    """Slope and RMSE (mM) of each metabolite on spectra drawn as in the training, as plain values for the card."""
    estimates, truths = [], []
    for data in brain.batches(n_spectra, seed, 100, **network.card.config.data):
        estimates.append(network.quantify_spectra(spectra_of(data.noisy.values, network.points)))
        truths.append(data.concentration.values)
    truth, estimate = np.concatenate(truths), np.concatenate(estimates)
    found = np.isfinite(estimate).all(1)  # a network that hardly trained may see no water
    table = {"n_spectra": n_spectra, "without_water": int((~found).sum()), "seed": seed}
    if found.sum() > 2:
        line = regression.line(truth[found], estimate[found], METABOLITES, n_draws=2)
        values = {name: np.round(line[name].values, 4).tolist() for name in ("slope", "rmse")}
        table |= {name: dict(zip(METABOLITES, row, strict=True)) for name, row in values.items()}
    return table
