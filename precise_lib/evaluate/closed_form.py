r"""SD and bias of concentration maps without ground truth.

`repeated` is the paper's way: FIDs that SVE describes stand in for the truth, and the whole chain is repeated under
fresh noise. `closed_form` has its limit for the exact minimizer of Eq. 4. With ``H = (I + 2 lambda L)^-1``,
smoothed amplitudes c = H s and independent voxels of covariance S_u, the ratio ``r = c / c_water`` has to first order

    Var r_v = sum_u H_vu^2 (S_u,kk - 2 r_v S_u,kw + r_v^2 S_u,ww) / c_water,v^2,       bias_v = r_v - s_v / s_water,v .

**The bias map carries the noise of SVE**, of SD `ErrorMaps.bias_noise`: its absolute value is far from zero where there
is no bias. `ErrorMaps.corrected_bias` subtracts the noise from the *square*, right on average and over regions;
the root of a single voxel still is a threshold: zero below one SD, a little low above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft

from precise_lib.errors import InputError
from precise_lib.estimate.noise_model import Noise
from precise_lib.estimate.smoother import leverage_and_variance, probing_error
from precise_lib.evaluate.montecarlo import RunningMoments
from precise_lib.signal.information import LineMoments, fisher, inverse, jacobian, prior
from precise_lib.signal.model import SignalModel
from precise_lib.signal.noise import add_noise

CHUNK = 512  # voxels whose Jacobians are in memory together: about 30 MB


@dataclass(frozen=True)
class ErrorMaps:
    """Errors of each voxel and metabolite in mM, (V, M): SD, signed bias (None without a prior), its noise (SD).

    `probing_error` is the relative error of the SD where the linear map was probed, see `smoother.lattices`; else 0.
    """

    sd: np.ndarray
    bias: np.ndarray | None = None
    bias_noise: np.ndarray | None = None
    probing_error: float = 0.0

    @property
    def corrected_bias(self) -> np.ndarray:
        """Absolute bias without the part that noise alone would show on average."""
        return np.sqrt(np.maximum(self.bias**2 - self.bias_noise**2, 0))


def sve_covariance(
    model: SignalModel, amplitudes, sigma, broadening_hz=0.0, noise: Noise | None = None, **nuisance
) -> np.ndarray:
    """Covariance (V, M, M) of unbiased, efficient amplitudes at (V, M): the numeric bound, for noise sigma (V,).

    For `noise` of a color it is that of least squares, which weigh all samples alike:
    ``F^-1 Re(J^H C J) F^-1`` with the covariance C of the samples, zero where they are zero-filled.
    """
    if noise is not None or len(model.common) > 3:
        return _sandwich(model, amplitudes, sigma, noise, broadening_hz=broadening_hz, **nuisance)
    amplitudes = np.asarray(amplitudes, float)
    n, m = amplitudes.shape
    sigma, broadening_hz = (np.broadcast_to(np.asarray(x, float), n) for x in (sigma, broadening_hz))
    moments, out = LineMoments(model), np.empty((n, m, m))
    for i in range(0, n, CHUNK):
        part = slice(i, i + CHUNK)
        information = moments.fisher(moments.gram(broadening_hz[part]), amplitudes[part])
        out[part] = inverse(information)[:, :m, :m] * sigma[part, None, None] ** 2
    return out


def _sandwich(model: SignalModel, amplitudes, sigma, noise: Noise | None, **nuisance) -> np.ndarray:
    """`sve_covariance` by the Jacobian: any signal model, and noise of any color."""
    amplitudes = np.asarray(amplitudes, float)
    n, m = amplitudes.shape
    sigma, samples = np.broadcast_to(np.asarray(sigma, float), n), model.acquisition.n_samples
    nuisance = {name: np.broadcast_to(np.asarray(x, float), n) for name, x in nuisance.items()}
    bins, out = fft.next_fast_len(2 * samples), np.empty((n, m, m))
    for i in range(0, n, CHUNK):
        part = slice(i, i + CHUNK)
        slopes = jacobian(model, amplitudes[part], **{name: x[part] for name, x in nuisance.items()})
        known = prior(model, sigma[part])
        covariance = inverse(fisher(slopes) + known)
        if noise is not None:
            slopes[..., samples - noise.zero_filled :] = 0
            spectra = fft.fft(slopes, bins) * np.sqrt(noise.at(fft.fftfreq(bins)) / bins)
            covariance = covariance @ (fisher(spectra) + known) @ covariance
        out[part] = covariance[:, :m, :m] * sigma[part, None, None] ** 2
    return out


def excess_over_bound(
    amplitudes_of: Callable, model: SignalModel, amplitudes, sigma, n_draws: int = 20_000, seed: int = 0, **distorted
) -> np.ndarray:
    """SD of an estimator over the bound, (M,), on `n_draws` simulated FIDs of up to 1000 of the voxels (V, M) at hand.

    `sve_covariance` is too small by the outer product of this. 20,000 draws tell it to 0.5 %.

    Parameters
    ----------
    amplitudes_of : (V, t) -> (V, M)
    distorted : shift_hz, broadening_hz, phase_rad of the voxels and so on, see `FitResult.nuisance`
    """
    rng = np.random.default_rng(seed)
    n = len(amplitudes)
    voxels = np.tile(rng.permutation(n)[:1000], max(1, 1000 // n))
    a, sigma = np.asarray(amplitudes)[voxels], np.broadcast_to(sigma, n)[voxels]
    distorted = {name: np.broadcast_to(x, n)[voxels] for name, x in distorted.items()}
    cov = sve_covariance(model, a, sigma, **distorted)
    bound, clean = np.sqrt(np.einsum("vkk->vk", cov)), model.fids(a, **distorted)
    moments = RunningMoments()
    for _ in range(-(-n_draws // len(a))):
        error = amplitudes_of(add_noise(clean, sigma, rng).astype(np.complex64)) - a
        moments.add(error / bound)
    return moments.sd


def _ratio_variance(variances, ratio):
    """S_kk - 2 r S_kw + r^2 S_ww for (..., V, M, 3) holding S_kk, S_kw, S_ww; ratio (..., V, M)."""
    return np.maximum(variances[..., 0] - 2 * ratio * variances[..., 1] + ratio**2 * variances[..., 2], 0)


def closed_form(model: SignalModel, amplitudes, covariance, solvers=None, lattice=None, correlate=None) -> ErrorMaps:
    """Errors in mM of SVE, or of the exact minimizer of Eq. 4.

    Parameters
    ----------
    amplitudes : (..., V, M) by SVE (or true ones, for the true errors); leading axes (frames) share the linear map
    covariance : (..., V, M, M) of SVE, see `sve_covariance`
    solvers : a linear map as `ExactSolver`, or one for each metabolite and the water under it; None for SVE itself
    lattice : for many voxels, see `smoother.lattices`
    correlate : R of voxels that share their noise, see `smoother.leverage_and_variance`; then
        ``Var r_v = sum_uu' H_vu R_uu' H_vu' (S_u + S_u') / 2``, S of the direction above; None for independent ones
    """
    s, cov, w = np.asarray(amplitudes, float), np.asarray(covariance, float), model.divisor
    m, own = s.shape[-1], np.zeros((*s.shape, 3))
    own[..., 0] = np.einsum("...kk->...k", cov)
    if w is not None:
        own[..., 1], own[..., 2] = cov[..., w], cov[..., w, w, None]

    def reference(x):
        """(..., V, 1) of amplitudes; ones where there is no reference."""
        return np.ones_like(x[..., :1]) if w is None else x[..., [w]]

    water = reference(s)
    single = model.concentrations(s) / model.reference_concentration_mm
    scale = model.reference_concentration_mm / np.where(water > 0, water, np.nan)
    alone = _ratio_variance(own, single)
    if solvers is None:
        return ErrorMaps(scale * np.sqrt(alone))
    variance, moved, bias, probed = np.empty_like(s), np.empty_like(s), np.empty_like(s), 0.0
    each = solvers if isinstance(solvers, list | tuple) else [solvers] * m

    def voxels_first(x):
        """(..., V, K) as (V, everything else)."""
        return np.moveaxis(x, -2, 0).reshape(x.shape[-2], -1)

    def back(x, shape):
        """Inverse of `voxels_first`."""
        return np.moveaxis(x.reshape(shape[-2], *shape[:-2], shape[-1]), 0, -2)

    for solver in {id(x): x for x in each}.values():
        which = [k for k in range(m) if each[k] is solver]
        smooth = back(solver(voxels_first(s)), s.shape)
        total = np.where(reference(smooth) > 0, reference(smooth), np.nan)
        ratio = smooth[..., which] / total
        mine = own[..., which, :]
        flat = mine.reshape(*mine.shape[:-2], -1)
        values = voxels_first(flat)
        leverage, mixed = leverage_and_variance(solver, values, lattice, correlate=correlate)
        if lattice is not None:
            # the variances alone: covariances may be negative, and have no root
            probed = max(probed, probing_error(solver, values[:, ::3], mixed[:, ::3], correlate=correlate))
        variance[..., which] = _ratio_variance(back(mixed, flat.shape).reshape(mine.shape), ratio) / total**2
        kk, kw, ww = np.moveaxis(mine, -1, 0)
        # of the noise in c, what s has too: its own (and what it shares)
        common = leverage[:, None] * (kk - (ratio + single[..., which]) * kw + ratio * single[..., which] * ww)
        moved[..., which] = variance[..., which] + alone[..., which] / water**2 - 2 * common / (total * water)
        bias[..., which] = ratio - single[..., which]
    mm = model.reference_concentration_mm
    return ErrorMaps(mm * np.sqrt(variance), mm * bias, mm * np.sqrt(np.maximum(moved, 0)), probed)


def sd_of_shared_noise(
    model: SignalModel, amplitudes, covariance, correlation, solver=None, names: Sequence[str] | None = None
) -> np.ndarray:
    """SD (V, M) in mM of SVE, or of the exact minimizer of Eq. 4, where voxels share noise as after spherical encoding;
    of the metabolites `names` (V, len(names)) where some are named.

    Amplitudes (V, M) by SVE or true, `sve_covariance` (V, M, M), correlation R (V, V) as of `Encoding`. To first order,
    as far as neighbors have the same shift and width, with t^2 the variance of `closed_form`, the case R = 1:
    ``Var r_v = sum_uu' H_vu t_u R_uu' t_u' H_vu' / c_water,v^2``.
    """
    s, cov, w = np.asarray(amplitudes, float), np.asarray(covariance, float), model.index(model.reference)
    n, which = len(s), range(s.shape[1]) if names is None else [model.index(name) for name in names]
    h = np.eye(n) if solver is None else solver.rows(np.arange(n))
    c = h @ s
    water = np.where(c[:, w] > 0, c[:, w], np.nan)
    out = np.empty((n, len(which)))
    for i, k in enumerate(which):
        r = c[:, k] / water
        # (V, V): SD of the error of voxel u in the direction that the ratio of voxel v is sensitive to
        square = cov[:, k, k] - 2 * r[:, None] * cov[:, k, w] + r[:, None] ** 2 * cov[:, w, w]
        rows = h * np.sqrt(np.maximum(square, 0))
        out[:, i] = np.sqrt(np.maximum(((rows @ correlation) * rows).sum(1), 0)) / water
    return model.reference_concentration_mm * out


def realizations(
    clean, sigma, chain: Callable, n_repeats: int = 100, seed: int = 0, noise: Callable | None = None
) -> Iterator[np.ndarray]:
    """Results of a chain of estimation, one after the other, over fresh noise.

    Parameters
    ----------
    clean : (V, t) noiseless FIDs; ``model.fids(sve, **distortions)`` to estimate errors, the true ones to know them
    sigma : noise of a time sample, one number or (V,)
    chain : (V, t) complex64 -> any array, for example the maps (V, M) of several lambdas
    noise : generator -> (V, t) complex noise of SD 1 per real channel that voxels share (`simulate.encoding`); or white
    """
    for repeat in range(n_repeats):
        rng = np.random.default_rng([seed, repeat])
        drawn = None if noise is None else np.asarray(sigma)[..., None] * noise(rng)
        noisy = add_noise(clean, sigma, rng) if drawn is None else clean + drawn
        yield np.asarray(chain(noisy.astype(np.complex64)))


def repeated(
    clean, sigma, chain: Callable, n_repeats: int = 100, seed: int = 0, noise: Callable | None = None
) -> RunningMoments:
    """Mean and SD of `realizations` (same arguments), one in memory at a time; `InputError` for fewer than two.

    The SD is uncertain by 1 / sqrt(2 n_repeats) of itself, the bias by SD / sqrt(n_repeats).
    """
    if n_repeats < 2:
        raise InputError(f"{n_repeats} repetition(s) have no SD; give at least 2.")
    moments = RunningMoments()
    for result in realizations(clean, sigma, chain, n_repeats, seed, noise):
        moments.add(result[None])
    return moments
