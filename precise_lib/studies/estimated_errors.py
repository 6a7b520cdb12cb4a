"""Errors estimated from one measurement of the ring phantom, against the real ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from precise_lib import show
from precise_lib.estimate.choose import ratios
from precise_lib.estimate.fit import fit_fids
from precise_lib.estimate.noise import noise_sd
from precise_lib.estimate.prior import ExactSolver, edge_weights, prepare_mri
from precise_lib.estimate.single_voxels import SingleVoxels
from precise_lib.estimate.tuned import Adaptive
from precise_lib.estimate.weights import load_weights
from precise_lib.evaluate import closed_form as errors
from precise_lib.signal.mrsi import Series, unmask
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.simulate.phantoms import rings


class Rings:
    """The phantom, a network and PRECISE at each λ; values (V, M) are those of the voxels of the object, in mM."""

    def __init__(self, weights, lams: Sequence[float], seed: int):
        self.phantom, self.network, self.weights, self.lams, self.seed = (
            rings(),
            load_weights(weights),
            weights,
            lams,
            seed,
        )
        self.model, self.mask = self.phantom.model, self.phantom.mask
        self.water, self.mm = self.model.index(self.model.reference), self.model.reference_concentration_mm
        self.truth = self.phantom.amplitudes[self.mask]
        coupling = edge_weights(prepare_mri(self.phantom.measure(np.inf)))
        self.solvers = [ExactSolver(coupling, lam) for lam in lams]

    def smoothed(self, amplitudes) -> np.ndarray:
        """Concentrations (lambda, V, M) that PRECISE makes of single-voxel amplitudes (V, M)."""
        n = len(self.model.names)
        return self.mm * np.stack([ratios([s] * n, amplitudes, self.water) for s in self.solvers])

    def chain(self, fids) -> np.ndarray:
        """FIDs (V, t) to concentrations (lambda, V, M)."""
        return self.smoothed(self.network.amplitudes(fids))

    def bias_at(self, amplitudes) -> np.ndarray:
        """Bias (lambda, V, M) that PRECISE has where these amplitudes are the truth."""
        return self.smoothed(amplitudes) - self.model.concentrations(amplitudes)

    def real(self, snr: float, n_repeats: int) -> dict[str, np.ndarray]:
        """SD and bias (lambda, V, M) over repeated measurements."""
        sigma = snr_to_sigma(self.model, snr)
        moments = errors.repeated(self.model.fids(self.truth), sigma, self.chain, n_repeats, self.seed)
        return {"SD": moments.sd, "bias": moments.mean - self.model.concentrations(self.truth)}

    def measured(self, snr: float, number: int):
        """One noisy measurement."""
        return self.phantom.measure(snr, np.random.default_rng([self.seed, 1, number]))

    def describe(self, snr: float, number: int) -> tuple:
        """Of one noisy measurement: SVE amplitudes, what the fit says of the lines, the estimated noise."""
        fids = self.measured(snr, number).fids[self.mask]
        return (
            self.network.amplitudes(fids),
            fit_fids(fids, self.model).nuisance(self.model),
            noise_sd(fids, self.model),
        )

    def repeated(self, sve, distorted: Mapping, noise: float, n_repeats: int) -> dict[str, np.ndarray]:
        """The paper's way: noise added again and again to the FIDs that SVE describes."""
        fids = self.model.fids(sve, **distorted)
        found = errors.repeated(fids, noise, self.chain, n_repeats, self.seed + 1)
        return {"SD": found.sd, "bias": found.mean - self.model.concentrations(sve)}

    def excess(self, sve, distorted: Mapping, noise: float, n_draws: int = 20_000) -> np.ndarray:
        """SD of the network over the bound, (M,), at the amplitudes and the noise of one measurement."""
        return errors.excess_over_bound(self.network.amplitudes, self.model, sve, noise, n_draws, **distorted)

    def closed_form(self, sve, distorted: Mapping, noise: float, excess=None) -> list:
        """`ErrorMaps` of every λ; SVE's covariance is the bound times what the network is above it (`excess`)."""
        excess = self.excess(sve, distorted, noise) if excess is None else excess
        bound = errors.sve_covariance(self.model, sve, noise, distorted["broadening_hz"])
        covariance = bound * excess * excess[:, None]
        return [errors.closed_form(self.model, sve, covariance, solver) for solver in self.solvers]

    def grid(self, values, name: str) -> np.ndarray:
        """Map (x, y) of a metabolite of values (V, M), NaN outside the object."""
        return unmask(self.mask, values[:, self.model.index(name)])[..., 0]

    def stand_ins(self, snr: float, n_data_sets: int) -> tuple[dict[str, np.ndarray], list]:
        """Bias (data set, lambda, V, M) with SVE, PRECISE at the middle λ or the adaptive prior in the place of the
        truth, and what the adaptive prior states of each data set.
        """
        adaptive, out, stated = Adaptive(self.weights), {"SVE": [], "PRECISE": [], "adaptive": []}, []
        for number in range(n_data_sets):
            voxels = SingleVoxels.of(Series.of(self.measured(snr, number)), adaptive.single_voxel(self.model))
            stated.append(adaptive.adapted(voxels))
            sve, middle = voxels.amplitudes, self.solvers[len(self.lams) // 2]
            adapted = sve[:, [self.water]] * stated[-1].concentrations / self.mm
            for name, amplitudes in zip(out, (sve, middle(sve), adapted), strict=True):
                out[name].append(self.bias_at(amplitudes))
        return {name: np.array(values) for name, values in out.items()}, stated

    def over_snr(self, snrs: Iterable[float], n_data_sets: int, names: Sequence[str]) -> tuple[dict, dict]:
        """By metabolite: correlation (snr, data set, lambda) of the closed form's bias map with the real one; and its
        mean square over the real one at the middle λ, as it is and with the noise taken out (snr, data set, 2).
        """
        exact, middle = self.bias_at(self.truth), len(self.lams) // 2
        r, size = {name: [] for name in names}, {name: [] for name in names}
        for snr in snrs:
            described = [self.describe(snr, i) for i in range(n_data_sets)]
            excess = self.excess(*described[0])  # hardly another one in the next data set of that SNR
            found = [self.closed_form(*one, excess) for one in described]
            for name, k in ((name, self.model.index(name)) for name in names):
                pairs = [[(f.bias[:, k], b[:, k]) for f, b in zip(one, exact, strict=True)] for one in found]
                r[name].append([[agreement(*np.abs(pair))[0] for pair in one] for one in pairs])
                squares = [
                    (m.bias[:, k] ** 2, m.bias[:, k] ** 2 - m.bias_noise[:, k] ** 2) for m in (o[middle] for o in found)
                ]
                size[name].append(np.mean(squares, -1) / (exact[middle][:, k] ** 2).mean())
        return tuple({name: np.array(v) for name, v in table.items()} for table in (r, size))


def agreement(estimate, reality) -> tuple[float, float]:
    """Correlation and slope of the least-squares line of the estimate over the real error."""
    r = np.corrcoef(reality, estimate)[0, 1]
    return r, r * estimate.std() / reality.std()


def figure(case: Rings, real: Mapping, ways: Mapping[str, Mapping], corrected, name: str):
    """SD and signed bias, real and estimated, by λ; last the size of the bias with the noise taken out."""
    rows = {"SD, real": real["SD"]} | {f"SD, {way}": v["SD"] for way, v in ways.items()}
    rows |= {"bias, real": real["bias"]} | {f"bias, {way}": v["bias"] for way, v in ways.items()}
    rows["|bias|, noise out"] = corrected
    maps = {title: [case.grid(v, name) for v in values] for title, values in rows.items()}
    top = {kind: np.nanpercentile(np.abs(maps[f"{kind}, real"]), 99) for kind in ("SD", "bias")}
    limits = {title: (0, top["SD" if title[0] == "S" else "bias"]) for title in rows}
    limits |= {title: (-top["bias"], top["bias"]) for title in rows if title.startswith("bias")}
    cmaps = {title: {"S": "magma", "b": "RdBu_r", "|": "cividis"}[title[0]] for title in rows}
    return show.map_rows(maps, [f"λ = {lam:g}" for lam in case.lams], limits=limits, cmaps=cmaps)


def scatter(case: Rings, real: Mapping, ways: Mapping[str, Mapping], names: Sequence[str]):
    """Estimated over real error of each voxel at the middle λ."""
    middle = len(case.lams) // 2
    fig, axes = plt.subplots(2, len(names), figsize=(8.5, 7))
    for row, kind in zip(axes, ("SD", "bias"), strict=True):
        for ax, name in zip(row, names, strict=True):
            x = np.abs(real[kind][middle, :, case.model.index(name)])
            for (way, found), marker, shade in zip(ways.items(), ("o", "."), ("0.6", "#AA4499"), strict=True):
                y = np.abs(found[kind][middle, :, case.model.index(name)])
                ax.plot(x, y, marker, color=shade, ms=3, alpha=0.6, label=way)
            ax.axline((0, 0), slope=1, color="black", lw=0.8)
            title = f"{kind} of {name}, λ = {case.lams[middle]:g}"
            ax.set(title=title, xlabel="real (mM)", ylabel="estimated (mM)")
    axes[0, 0].legend()
    return fig


def trust_figure(snrs, lams, r: Mapping[str, np.ndarray], size: Mapping[str, np.ndarray]):
    """`Rings.over_snr`: correlation of the bias map, and its mean square over the real one."""
    fig, axes = plt.subplots(1, 3, figsize=(12, 3.6))
    for ax, (name, values) in zip(axes, r.items(), strict=False):
        for i, (lam, shade) in enumerate(zip(lams, ("0.65", "0.4", "0"), strict=False)):
            own = values[..., i]
            ax.plot(snrs, own.mean(1), "o-", color=shade, label=f"λ = {lam:g}")
            ax.fill_between(snrs, own.min(1), own.max(1), color=shade, alpha=0.2, lw=0)
        ax.axhline(0.8, color="0.6", lw=0.8)
        ax.set(title=f"{name}: r of the bias map", xlabel="SNR of water", ylim=(0, 1))
    axes[0].legend()
    for (name, values), shade in zip(size.items(), ("#6699CC", "#AA4499"), strict=True):
        for j, label in enumerate(("raw", "noise out")):
            look = {"color": shade, "marker": "o", "ls": ":" if j == 0 else "-", "label": f"{name}, {label}"}
            axes[2].errorbar(snrs, values[..., j].mean(1), values[..., j].std(1), **look)
    axes[2].axhline(1, color="black", lw=0.8)
    axes[2].set(title="mean squared bias, estimated / real", xlabel="SNR of water", yscale="log")
    axes[2].legend(fontsize=8)
    return fig
