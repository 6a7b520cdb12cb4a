"""The page on precision: maps and spectra at several SNRs (Fig. 4 of PRECISE-DMI), the prior where nothing changes from
voxel to voxel (Fig. 5), and the fields of Fig. 6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import xarray as xr

from precise_lib import show
from precise_lib.estimate import choose
from precise_lib.estimate.precise import Precise
from precise_lib.evaluate.efficiency import efficiency
from precise_lib.evaluate.repeated import Repeated
from precise_lib.signal.model import SignalModel, spectrum
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.simulate.phantoms import Phantom, b0_map, b1_map, gradient_broadening

SHOWN = ("Glx", "Lac")
# one steep distortion on a gentle slope: height in Hz, center and SD in fields of view
B0 = {"peak_hz": 18.0, "center": (0.5, 0.78), "width": 0.055}
B1_DEPTH = 0.9  # fields of view over which the sensitivity falls to 1/e


def example_maps(estimators: Mapping[str, Callable], phantom: Phantom, snrs: Iterable[float], seed: int):
    """Figure of one measurement of Glx and Lac at each SNR by every estimator, on one scale with the truth."""
    measured = [phantom.measure(snr, seed) for snr in snrs]
    rows = {}
    for metabolite in SHOWN:
        truth = phantom.concentrations.sel(metabolite=metabolite).values[..., 0]
        for name, estimator in estimators.items():
            maps = [estimator(data).sel(metabolite=metabolite).values[..., 0] for data in measured]
            rows[f"{metabolite}, {name}"] = [truth, *maps]
    limits = {title: (0, 1.5 * np.nanmax(maps[0])) for title, maps in rows.items()}
    return show.map_rows(rows, ["truth", *(f"SNR {snr:g}" for snr in snrs)], limits=limits)


def sd_maps(studies: Mapping[float, xr.Dataset]):
    """Figure of the SD of Glx and Lac: `phantom_study` by SNR, one scale for each metabolite."""
    rows, limits = {}, {}
    for metabolite in SHOWN:
        sd = [study["sd"].sel(metabolite=metabolite)[..., 0] for study in studies.values()]
        own = {f"{metabolite}, {n}": [s.sel(estimator=n).values for s in sd] for n in sd[0].estimator.values}
        rows |= own
        limits |= dict.fromkeys(own, (0, np.nanpercentile(next(iter(own.values()))[-1], 95)))
    columns = [f"SNR {snr:g}" for snr in studies]
    return show.map_rows(rows, columns, limits=limits, cmaps=dict.fromkeys(rows, "magma"))


def spectral_bands(network, model: SignalModel, amplitudes, snr: float, n: int, seed: int, **nuisance) -> dict:
    """Mean and SD of `n` noisy spectra of one voxel: measured ("fourier"), rebuilt from a network's amplitudes ("sve"),
    and the undistorted "truth"; of amplitudes (M,), as `show.plot_spectra` takes them.
    """
    clean = np.broadcast_to(model.fids(amplitudes, **nuisance), (n, model.acquisition.n_samples))
    noisy = add_noise(clean, snr_to_sigma(model, snr), np.random.default_rng(seed))
    spectra = {"fourier": spectrum(noisy), "sve": spectrum(model.fids(network.amplitudes(noisy)))}
    bands = {name: (s.mean(0), s.real.std(0)) for name, s in spectra.items()}
    return bands | {"truth": spectrum(model.fids(amplitudes))}


def fields(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """B0 in Hz, the extra width in Hz that its gradient adds, and sensitivity, each (x, y, z) on the grid of `mask`."""
    b0 = b0_map(mask.shape, **B0)
    return b0, gradient_broadening(b0), b1_map(mask.shape, B1_DEPTH)


def under_prior(phantom: Phantom, voxel: Repeated, name: str, lam: float, n_repeats: int, seed: int) -> xr.Dataset:
    """SD and bias (snr, metabolite) of ratios to water by PRECISE, in the 4 x 4 voxels at the center of a phantom that
    is the same everywhere.

    Its voxels differ by their noise alone, so the single-voxel estimates that the prior works on are drawn from those
    by method `name` of the one `voxel`.
    """
    disk, rng, model = phantom.measure(np.inf), np.random.default_rng(seed), phantom.model
    smoother, water = Precise(lam=lam).smoother(disk).at([lam] * len(model.names)), model.divisor
    where = np.argwhere(phantom.mask)[:, :2]
    inner = (np.abs(where + 0.5 - np.array(phantom.mask.shape[:2]) / 2) < 2).all(1)
    truth, found = voxel.amplitudes / voxel.amplitudes[water], []
    for pool in voxel.estimates[name]:
        drawn = pool[rng.integers(0, len(pool), (n_repeats, len(where)))]
        maps = np.stack([choose.ratios(smoother, amplitudes, water)[inner] for amplitudes in drawn])
        found.append((maps.std(0, ddof=1), maps.mean(0) - truth))
    sd, bias = (np.stack(v) for v in zip(*found, strict=True))
    arrays = {"sd": np.sqrt((sd**2).mean(1)), "bias": bias.mean(1)}
    coords = {"snr": voxel.snrs, "metabolite": list(model.names)}
    return xr.Dataset({key: (("snr", "metabolite"), values) for key, values in arrays.items()}, coords)


def by_kind(method: Callable, model: SignalModel, amplitudes, sigma: float, n_repeats: int, seed: int) -> xr.Dataset:
    """`efficiency` of voxels (V, M) of which many are alike: each kind is measured once."""
    kinds, which = np.unique(np.round(amplitudes, 12), axis=0, return_inverse=True)
    return efficiency(method, model, kinds, sigma, n_repeats, seed).isel(voxel=which.ravel())


def extremes(
    method: Callable,
    model: SignalModel,
    amplitudes,
    study: xr.Dataset,
    sigma: float,
    n_repeats: int,
    seed: int,
    n_candidates: int = 10,
    **nuisance,
) -> dict[str, tuple[float, float, str]]:
    """The lowest and the highest SD over CRLB among voxels (V, M), with its standard error and its line.

    The extreme of many values lies too far out by chance. So those that a `study` (`efficiency`) found furthest out are
    measured again with noise of their own, and the extreme of these is the answer.
    """
    ratio = study["sd_over_crlb"].values
    order, found = np.argsort(ratio, None), {}
    for end, flat in (("lowest", order[:n_candidates]), ("highest", order[-n_candidates:])):
        voxels, lines = np.unravel_index(flat, ratio.shape)
        own = {name: values[voxels] for name, values in nuisance.items()}
        again = efficiency(method, model, amplitudes[voxels], sigma, n_repeats, seed, **own)
        rows = np.arange(len(flat))
        values, errors = (again[f"sd_over_crlb{s}"].values[rows, lines] for s in ("", "_se"))
        at = values.argmin() if end == "lowest" else values.argmax()
        found[end] = float(values[at]), float(errors[at]), model.names[lines[at]]
    return found
