r"""Posterior mean of the amplitudes under a training prior: what a network trained with squared error converges to.

Everything unknown is uniform. Given shift, broadening and phase the amplitudes are Gaussian, cut off by their box, with
mean ``G^-1 Re(exp(-i phi) h)`` and covariance ``sigma^2 G^-1`` (as in the fit). So those three are drawn around the
maximum-likelihood fit (its covariance, inflated, mixed with the prior), the amplitudes one after the other from their
cut-off conditional normals (the GHK simulator), and each draw is weighted (self-normalized importance sampling,
scrambled Sobol points turned at random for every FID).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from precise_lib.errors import InputError
from precise_lib.estimate import truncated_normal
from precise_lib.estimate.fit import fit_fids
from precise_lib.signal.information import covariance
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import MRSI
from precise_lib.signal.noise import snr_to_sigma

CHUNK = 256  # FIDs together: bounds the memory at about 100 MB
BLOCK = 32  # samples of a FID summed by one matrix product


@dataclass(frozen=True)
class TrainingPrior:
    """Uniform ranges of everything unknown, the phase on the circle; `InputError` for an empty one.

    `relative`: amplitudes in units of a reference of unknown scale (its own range must be (1, 1)). The result is the
    best among estimators equivariant to the scale of the FID, such as a network with the matched front end.
    """

    amplitudes: np.ndarray  # (M, 2) lowest and highest
    shift_hz: tuple[float, float]
    broadening_hz: tuple[float, float]
    relative: bool = False
    lowest_snr: float = 4.0  # of the reference; bounds an unknown scale from below
    noise: str = "log_snr"  # or "uniform_sigma": its distribution, in units of the reference, up to that SNR

    def __post_init__(self):
        object.__setattr__(self, "amplitudes", np.asarray(self.amplitudes, float))
        low, high = np.array([*self.amplitudes, self.shift_hz, self.broadening_hz], float).T
        empty = low >= high
        if empty.sum() > int(self.relative) or (low > high).any():
            raise InputError("Every range of the prior needs a lower end below its upper end.")

    @classmethod
    def of(cls, config) -> TrainingPrior:
        """The prior of a `TrainConfig`."""
        c, relative = config, config.network.front == "matched"
        return cls(c.ranges(), c.shift_range_hz, c.broadening_range_hz, relative, c.snr_range[0], c.noise)


@dataclass(frozen=True)
class Posterior:
    """Mean and sd (V, M) of the amplitudes, and the effective number of draws (V,)."""

    mean: np.ndarray
    sd: np.ndarray
    effective: np.ndarray


class _Tables:
    """Everything that depends on the broadening alone, on a grid to interpolate in."""

    def __init__(self, model: SignalModel, prior: TrainingPrior, order, size: int = 1500):
        t, basis = model.acquisition.time_s, model.basis()[:, order]
        m = len(order)
        self.low, high = prior.broadening_hz
        self.step = (high - self.low) / (size - 1)
        grid = self.low + self.step * np.arange(size)
        products = (basis.conj()[:, :, None] * basis[:, None, :]).real.reshape(len(t), m * m)
        gram = (np.exp(-2 * np.pi * grid[:, None] * t) @ products).reshape(size, m, m)
        self.inverse = np.linalg.inv(gram)
        self.root = np.linalg.cholesky(self.inverse)
        self.logdet = np.linalg.slogdet(gram)[1]

    def at(self, broadening):
        """Inverse Gram matrix, its Cholesky factor and the log determinant of the Gram matrix."""
        position = np.clip((broadening - self.low) / self.step, 0, len(self.logdet) - 1.000001)
        i, f = position.astype(int), position % 1
        return (
            (1 - w) * table[i] + w * table[i + 1]
            for table in (self.inverse, self.root, self.logdet)
            for w in [f.reshape(f.shape + (1,) * (table.ndim - 1))]
        )


def _correlations(x, basis, acquisition, shift, broadening):
    """E^H x for every draw, (V, S, M), from FIDs (V, t): powers of one number, block by block."""
    m, blocks = basis.shape[1], -(-x.shape[1] // BLOCK)
    y = np.zeros((len(x), blocks * BLOCK, m), np.complex64)
    y[:, : x.shape[1]] = x[:, :, None] * basis.conj()
    y = y.reshape(len(x), blocks, BLOCK, m).transpose(0, 2, 1, 3).reshape(len(x), BLOCK, blocks * m)
    decay = -(2j * np.pi * shift + np.pi * broadening)[..., None]
    rate = decay * acquisition.dwell_time_s
    inner = np.exp(rate * np.arange(BLOCK)).astype(np.complex64) @ y
    outer = np.exp(rate * BLOCK * np.arange(blocks) + decay * acquisition.dead_time_s).astype(np.complex64)
    return np.einsum("vsb,vsbm->vsm", outer, inner.reshape(*shift.shape, blocks, m))


def _propose(points, center, covariance, prior):
    """Draws (V, S, 3) of shift, broadening, phase, and the log density they were drawn with (V, S)."""
    ranges = np.array([prior.shift_hz, prior.broadening_hz, (-np.pi, np.pi)])
    width = ranges[:, 1] - ranges[:, 0]
    spread = np.sqrt(np.einsum("vaa->va", covariance))
    shrink = np.minimum(1, 0.5 * width / spread)
    root = 1.3 * np.linalg.cholesky(covariance * shrink[:, :, None] * shrink[:, None, :])
    n_wide = points.shape[1] // 8
    normal = np.einsum("vab,vsb->vsa", root, ndtri(points[:, n_wide:, :3]))
    draws = np.concatenate([ranges[:, 0] + width * points[:, :n_wide, :3], center[:, None] + normal], 1)
    away = draws - center[:, None]
    away[..., 2] = (away[..., 2] + np.pi) % (2 * np.pi) - np.pi
    z = np.linalg.solve(root, away.swapaxes(1, 2))
    log_normal = -0.5 * (z**2).sum(1) - np.log(np.einsum("vaa->va", root)).sum(1)[:, None] - 1.5 * np.log(2 * np.pi)
    share = n_wide / points.shape[1]
    inside = ((draws[..., :2] >= ranges[:2, 0]) & (draws[..., :2] <= ranges[:2, 1])).all(-1)
    with np.errstate(divide="ignore"):
        density = np.logaddexp(np.log1p(-share) + log_normal, np.log(share / width.prod()))
    return draws, np.where(inside, density, np.inf)


def posterior(
    fids, model: SignalModel, sigma, prior: TrainingPrior, n_samples: int = 256, seed: int = 0, fit=None
) -> Posterior:
    """Posterior mean and SD of the amplitudes of FIDs (V, t); `InputError` for a prior of another number of lines.

    `sigma` is the noise SD per real channel, a number or (V,), None for the residual of the `fit` (made where not
    given). By `n_samples` draws per FID, a power of two, the mean errs by about ``sd / sqrt(effective)``.
    """
    fids, m, water = np.atleast_2d(fids), len(model.names), model.index(model.reference)
    if prior.amplitudes.shape != (m, 2):
        raise InputError(f"The prior has amplitude ranges for {len(prior.amplitudes)} lines, the model has {m}.")
    fit = fit_fids(fids, model) if fit is None else fit
    sigma = np.broadcast_to(np.asarray(fit.sigma if sigma is None else sigma, float), len(fids))
    order = [water, *(k for k in range(m) if k != water)]
    tables, sobol = _Tables(model, prior, order), qmc.Sobol(3 + m, seed=seed).random(n_samples)
    rng = np.random.default_rng(seed)
    mean, sd, effective = np.zeros((len(fids), m)), np.zeros((len(fids), m)), np.zeros(len(fids))
    for start in range(0, len(fids), CHUNK):
        v = slice(start, start + CHUNK)
        points = np.clip((sobol + rng.random((len(fids[v]), 1, 3 + m))) % 1, 1e-12, 1 - 1e-12)
        center = np.stack([fit.shift_hz[v], fit.broadening_hz[v], fit.phase_rad[v]], 1)
        if not prior.relative:  # the fit turns water positive; here the sign that suits the prior counts
            a, (low, high) = fit.amplitudes[v], prior.amplitudes.T
            outside = [((s * a - np.clip(s * a, low, high)) ** 2).sum(1) for s in (1, -1)]
            center[:, 2] += np.pi * (outside[1] < outside[0])
        center[:, :2] = np.clip(center[:, :2], *np.array([prior.shift_hz, prior.broadening_hz]).T)
        spread = covariance(model, fit.amplitudes[v], sigma[v], *center.T)[:, m:, m:]
        draws, log_density = _propose(points, center, spread, prior)
        amplitudes, log_weight = _amplitudes(fids[v], model, sigma[v], prior, tables, order, draws, points[..., 3:])
        log_weight -= log_density
        weight = np.exp(log_weight - log_weight.max(1, keepdims=True))
        weight /= weight.sum(1, keepdims=True)
        average = np.einsum("vs,vsm->vm", weight, amplitudes)
        mean[v, order] = average
        sd[v, order] = np.sqrt(np.einsum("vs,vsm->vm", weight, (amplitudes - average[:, None]) ** 2))
        effective[v] = 1 / (weight**2).sum(1)
    return Posterior(mean, sd, effective)


@dataclass(frozen=True)
class PosteriorMean:
    """The posterior mean as an estimator; callable `MRSI` -> DataArray (metabolite, x, y, z) in mM."""

    prior: TrainingPrior
    n_samples: int = 128
    seed: int = 0
    name: str = "posterior mean"

    def amplitudes(self, fids: np.ndarray, model: SignalModel) -> np.ndarray:
        """Amplitudes (V, M) of FIDs (V, t)."""
        return posterior(fids, model, None, self.prior, self.n_samples, self.seed).mean

    def __call__(self, data: MRSI):
        return data.map_usable(lambda fids: self.amplitudes(fids, data.model), self.name)


def _amplitudes(x, model, sigma, prior, tables, order, draws, u):
    """Amplitudes (V, S, M), the reference first, and the log of prior times likelihood over their density."""
    m, (shift, broadening, phase) = len(order), np.moveaxis(draws, -1, 0)
    h = _correlations(x, model.basis()[:, order], model.acquisition, shift, broadening)
    h = (h * np.exp(-1j * phase)[..., None]).real
    inverse, root, logdet = tables.at(broadening)
    mu = np.einsum("vsab,vsb->vsa", inverse, h)
    root = root * sigma[:, None, None, None]
    log_weight = 0.5 * (h * mu).sum(-1) / sigma[:, None] ** 2 - 0.5 * logdet
    ranges, steps, values = prior.amplitudes[order], np.zeros_like(mu), np.zeros_like(mu)
    for k in range(m):
        middle = mu[..., k] + np.einsum("vsj,vsj->vs", root[..., k, :k], steps[..., :k])
        low, high = ranges[k]
        if prior.relative:
            floor = prior.lowest_snr * sigma[:, None] / snr_to_sigma(model, 1.0)
            low, high = (floor, np.inf) if k == 0 else (low * values[..., 0], high * values[..., 0])
        scale = root[..., k, k]
        steps[..., k], log_mass = truncated_normal.quantile(u[..., k], (low - middle) / scale, (high - middle) / scale)
        values[..., k] = middle + scale * steps[..., k]
        log_weight = log_weight + log_mass
    if prior.relative:
        # scale without preference (1 / scale), uniform ratios (1 / scale^(M - 1)), noise uniform in units of the scale
        # (1 / scale, where it is), and squared error in units of the scale (1 / scale^2)
        log_weight -= (m + 2 + (prior.noise == "uniform_sigma")) * np.log(values[..., 0])
    return values, log_weight
