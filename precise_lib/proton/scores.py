"""Scores of denoised spectra and of what is quantified from them, as in "Miracle or mirage?".

A denoising score compares what is left of the noise with what there was; 1 is no denoising, 0 is perfect. Of estimates,
changes of slope and RMSE are scored (`evaluate.regression` has the lines), and where their values pile up.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.special import digamma
from scipy.stats import chi2

from precise_lib.errors import InputError
from precise_lib.evaluate.montecarlo import bootstrap_interval
from precise_lib.evaluate.regression import checked, slope, table
from precise_lib.proton import brain
from precise_lib.proton.brain import BasisSet, spectra_of
from precise_lib.proton.denoised import linearized
from precise_lib.proton.spectrum_model import SpectrumModel
from precise_lib.proton.weights import Denoiser

METABOLITES_PPM = (0.0, 4.5)
LOW_SNR, HIGH_SNR = (5.0, 10.0), (30.0, 40.0)
VERSIONS = {"DS": None, "DS 0-4.5 ppm": None, "DSw": "abs", "DSw, squared": "square"}  # names of `WEIGHTS`
WEIGHTS = {None: np.ones_like, "abs": np.abs, "square": np.square}


def _channels(spectra) -> np.ndarray:
    """Real and imaginary channels of (..., n), concatenated: (..., 2 n)."""
    return np.concatenate([np.real(spectra), np.imag(spectra)], axis=-1).astype(float)


def denoising_score(denoised, truth, noisy, weights=None, inside=None) -> np.ndarray:
    """DS (...): ``sqrt(sum w (DN - GT)^2 / sum w N^2)`` over real and imaginary channels of spectra (..., n), N = noisy
    - GT.

    `weights` are None (DS), "abs" (w = abs GT, the paper's DSw) or "square" (w = GT^2, the authors' code); `inside`
    (n,) bool are the points that count, 0 to 4.5 ppm for the paper's second score. Raises `InputError` for arrays that
    do not match, unknown weights, or a spectrum without noise.
    """
    denoised, truth, noisy = (np.asarray(s) for s in (denoised, truth, noisy))
    if not denoised.shape == truth.shape == noisy.shape:
        raise InputError(f"Spectra to score differ in shape: {denoised.shape}, {truth.shape} and {noisy.shape}.")
    if weights not in WEIGHTS:
        raise InputError(f"There are no weights '{weights}', only None, 'abs' and 'square'.")
    if inside is not None:
        denoised, truth, noisy = (s[..., np.asarray(inside)] for s in (denoised, truth, noisy))
    w = WEIGHTS[weights](_channels(truth))
    noise = (w * _channels(noisy - truth) ** 2).sum(-1)
    if not (noise > 0).all():
        raise InputError("A spectrum has no noise where its score is taken; leave noiseless spectra out.")
    return np.sqrt((w * _channels(denoised - truth) ** 2).sum(-1) / noise)


def slope_error(truth, sd) -> np.ndarray:
    """Standard error (M,) of the slope that unbiased estimates of SD `sd` (spectra, metabolites) will have."""
    t = np.asarray(truth, float) - np.mean(truth, axis=0)
    return np.sqrt((t**2 * np.asarray(sd, float) ** 2).sum(0)) / (t**2).sum(0)


def _compared(name, statistic, truth, before, after, names, n_draws, seed) -> xr.Dataset:
    """A statistic (M,) of triples (n, 3, M) and the ends of its interval, the triples drawn together."""
    triples = np.stack(checked(truth, before, after), axis=1)
    values = (statistic(triples), *bootstrap_interval(statistic, triples, n_draws, seed))
    ends = (name, f"{name}_low", f"{name}_high")
    return table(dict(zip(ends, values, strict=True)), names)


def slope_change(truth, before, after, names=None, n_draws: int = 400, seed: int = 0) -> xr.Dataset:
    """`change` of slope, after minus before (metabolite), its ends `change_low`, `change_high` (95 %, bootstrap)."""

    def change(draws):
        truth, before, after = np.moveaxis(draws, 1, 0)
        return slope(truth, after) - slope(truth, before)

    return _compared("change", change, truth, before, after, names, n_draws, seed)


def rmse_ratio(truth, before, after, names=None, n_draws: int = 400, seed: int = 0) -> xr.Dataset:
    """`ratio` of RMSE, after over before, by metabolite, its ends `ratio_low`, `ratio_high` (95 %, bootstrap)."""

    def ratio(draws):
        squared = ((draws[:, 1:] - draws[:, :1]) ** 2).sum(0)
        return np.sqrt(squared[1] / squared[0])

    return _compared("ratio", ratio, truth, before, after, names, n_draws, seed)


def overestimates(before, after, maximum, n_draws: int = 400, seed: int = 0) -> tuple[float, float, float]:
    """How many estimates (V, M) lie above the largest true concentration (M,), after over before, all together: the
    ratio and the ends of its 95 % interval by a paired bootstrap over the spectra. Raises `InputError` where none lay
    above before.
    """
    counts = np.stack([(np.asarray(e) > np.asarray(maximum)).sum(-1) for e in (before, after)], axis=1)
    if not counts[:, 0].any():
        raise InputError("No estimate lies above the largest concentration before; take more or noisier spectra.")

    def ratio(draws):
        n_before, n_after = draws.sum(0)
        return n_after / max(n_before, 1)

    return (float(ratio(counts)), *(float(v) for v in bootstrap_interval(ratio, counts, n_draws, seed)))


def marginals(estimate, maximum, names=None) -> xr.Dataset:
    """Shares of the estimates, for a truth drawn from 0 to `maximum` (M,), by metabolite: in the `middle_third` (1/3
    for the truth), `above_maximum` and `not_above_zero` (0).
    """
    estimate, maximum = np.asarray(estimate, float), np.asarray(maximum, float)
    shares = {
        "middle_third": (estimate > maximum / 3) & (estimate < 2 * maximum / 3),
        "above_maximum": estimate > maximum,
        "not_above_zero": estimate <= 0,
    }
    return table({k: v.mean(0) for k, v in shares.items()}, names)


def autocorrelation(residual, lags: int = 20) -> np.ndarray:
    """Autocorrelation (V, lags) of complex residuals (V, n) at lags 1 to `lags`, over their power."""
    residual = np.asarray(residual)
    if not 1 <= lags < residual.shape[-1]:
        asked = f"{lags} lags of {residual.shape[-1]} points were asked for"
        raise InputError(f"{asked}; fewer than the points can be had.")
    power = (np.abs(residual) ** 2).sum(-1)
    products = [(residual[..., k:] * residual[..., :-k].conj()).sum(-1) for k in range(1, lags + 1)]
    return np.stack(products, -1) / power[..., None]


def ljung_box(residual, lags: int = 20) -> np.ndarray:
    """p-values (V,) of the hypothesis that complex residuals (V, n) are white (Ljung and Box, for complex noise): ``Q =
    2 n (n + 2) sum_k |r_k|^2 / (n - k)`` is chi-square with ``2 lags`` degrees of freedom.
    """
    n = np.shape(residual)[-1]
    r2 = np.abs(autocorrelation(residual, lags)) ** 2
    q = 2 * n * (n + 2) * (r2 / (n - np.arange(1, lags + 1))).sum(-1)
    return chi2.sf(q, 2 * lags)


def flatness(residual) -> float:
    """How evenly the power of residual spectra (V, n) is spread over their n points: 1 for white noise, else less;
    geometric over arithmetic mean of the power averaged over the V spectra, over what white noise gives:
    ``exp(digamma(V)) / V``.
    """
    residual = np.atleast_2d(residual)
    power, n_spectra = (np.abs(residual) ** 2).mean(0), len(residual)
    return float(np.exp(np.log(power).mean()) / power.mean() * n_spectra / np.exp(digamma(n_spectra)))


def score_table(denoised, clean, noisy, snr, points: slice) -> xr.Dataset:
    """Scores of spectra (V, n), `points` of the plain FFT: one variable per version, dimension `spectrum`."""
    ppm = brain.brain_basis().ppm[points]
    inside = (ppm >= METABOLITES_PPM[0]) & (ppm <= METABOLITES_PPM[1])
    columns = {
        name: ("spectrum", denoising_score(denoised, clean, noisy, weights, inside if "ppm" in name else None))
        for name, weights in VERSIONS.items()
    }
    return xr.Dataset(columns, {"snr": ("spectrum", np.asarray(snr, float))})


def medians(table: xr.Dataset, snr=LOW_SNR) -> dict[str, float]:
    """Median of each version over the spectra with an SNR inside (low, high); NaN where there are none."""
    chosen = table.isel(spectrum=np.flatnonzero((table.snr >= snr[0]) & (table.snr <= snr[1])))
    return {name: float(np.median(v)) if v.size else float("nan") for name, v in chosen.data_vars.items()}


def best_linear(basis: BasisSet, data: xr.Dataset, points: slice) -> tuple[np.ndarray, np.ndarray]:
    """What the best denoiser would do that knows the ranges of `brain.draw`: its DS (V,), and the share (V, 16) of the
    variation of each metabolite that it keeps.

    To first order in the parameters the spectrum is linear in them, and the best linear estimate has the covariance
    ``(F + P)^-1``: F the Fisher matrix of the data, P the inverse variances of what is drawn (16 concentrations, MM,
    squared shim); water, shift, phase and Lorentzian width are known. From it ``DS^2 = tr(F (F + P)^-1) / 2 n``, and a
    parameter keeps the share ``1 - P_k ((F + P)^-1)_kk`` of its variation: the slope of its estimate on the truth.
    """
    model, m = SpectrumModel(basis, points), len(basis.names)
    shim = np.random.default_rng(0).uniform(2, 5, 100_000)
    variances = [top**2 / 12 for top in brain.MAXIMUM_MM.values()] + [0.66**2 / 12, np.var(shim**2)]
    known = [basis.index("water"), m, m + 1, m + 3]
    drawn = np.setdiff1d(np.arange(m + 4), known)
    prior, ds, kept = np.diag(1 / np.array(variances)), [], []
    for fisher, _ in linearized(model, data):
        fisher = fisher[:, drawn[:, None], drawn]
        covariance = np.linalg.inv(fisher + prior)
        ds.append(np.sqrt(np.einsum("vij,vji->v", fisher, covariance) / (2 * model.n_points)))
        kept.append(1 - np.einsum("vii->vi", covariance) * np.diag(prior))
    return np.concatenate(ds), np.concatenate(kept)[:, : len(brain.METABOLITES)]


def best_possible(basis: BasisSet, data: xr.Dataset, points: slice) -> xr.Dataset:
    """Dataset of the `DS` (spectrum,) of `best_linear` and of its `slope` (metabolite,), the mean over the spectra."""
    ds, kept = best_linear(basis, data, points)
    variables = {"DS": ("spectrum", ds), "slope": ("metabolite", kept.mean(0))}
    return xr.Dataset(variables, {"metabolite": list(brain.METABOLITES)})


def accuracy(denoiser: Denoiser, n_spectra: int = 400, seed: int = 2000) -> dict:
    """Median scores at low and high SNR on spectra drawn as those of the training, as plain values for the card."""
    tables = []
    for data in brain.batches(n_spectra, seed, 100, **denoiser.card.config.data):
        noisy, clean = (spectra_of(s.values, denoiser.points) for s in (data.noisy, data.clean))
        denoised = denoiser.denoise_spectra(noisy)
        tables.append(score_table(denoised, clean, noisy, data.snr.values, denoiser.points))
    table = xr.concat(tables, "spectrum")
    scores = {f"SNR {low:g}-{high:g}": medians(table, (low, high)) for low, high in (LOW_SNR, HIGH_SNR)}
    rounded = {k: {name: round(v, 4) for name, v in row.items()} for k, row in scores.items()}
    return rounded | {"n_spectra": n_spectra, "seed": seed}
