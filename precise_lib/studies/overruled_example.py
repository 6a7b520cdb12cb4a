"""One data set of the rings under the adaptive prior: its maps over τ, and which lesions theory expects to stay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

from precise_lib import show
from precise_lib.estimate.adaptive import adaptive
from precise_lib.estimate.single_voxels import SingleVoxels
from precise_lib.estimate.tuned import Adaptive
from precise_lib.signal.mrsi import Series
from precise_lib.studies import peer_cases

SNR, STEP_MM = 12.0, 2.0  # of the data set; true lactate of a tumor above that of its ring


class Example:
    """The noise of `seed`, solved at each of `taus` with λ as the data set chose it."""

    def __init__(self, seed: int, taus: Iterable[float]):
        self.taus, case = list(taus), peer_cases.rings_case(SNR)
        data, prior = case.measure(seed), Adaptive(weights=case.weights)
        self.voxels = SingleVoxels.of(Series.of(data), prior.single_voxel(data.model))
        self.neighbors = prior.couple(self.voxels)
        self.field, self.tuned = prior.field(self.voxels, self.neighbors)
        self.truth, lac = case.truth[self.voxels.others][:, case.mask].T, self.voxels.names.index("Lac")
        self.fields = {tau: self._at(tau) for tau in self.taus}
        maps = {tau: field.maps for tau, field in self.fields.items()}
        site, ring = case.hidden[case.mask], case.reference[case.mask]
        self.lactate = {tau: m[:, lac] for tau, m in maps.items()}
        self.errors = [float(np.sqrt(((m - self.truth) ** 2).mean())) for m in maps.values()]
        self.kept = [100 * (m[site].mean() - m[ring].mean()) / STEP_MM for m in self.lactate.values()]

    def _at(self, tau: float):
        settings = replace(self.tuned.settings, tau=tau, share=())
        return adaptive(self.voxels.ratios, self.voxels.variance, self.neighbors, settings)

    @property
    def nearest(self) -> float:
        """The one of `taus` that is nearest to the τ which the data set chose."""
        return min(self.taus, key=lambda tau: abs(np.log(tau / self.tuned.settings.tau)))

    def page(self, tau: float):
        """Lactate, how much of each voxel's coupling is cut, and where τ stands."""
        fig, axes = plt.subplots(1, 4, figsize=(11, 2.7), width_ratios=[1, 1, 1.1, 1.1])
        maps = [(self.lactate[tau], "Lac (mM)", 3.5), (self.fields[tau].opened_share, "coupling cut", 1)]
        for ax, (values, title, top) in zip(axes, maps, strict=False):
            on_grid = self.voxels.series.on_grid(values)[..., 0]
            fig.colorbar(show.show_map(ax, on_grid, vmin=0, vmax=top), ax=ax, shrink=0.8)
            ax.set_title(title, fontsize=9)
        for ax, y, label in zip(
            axes[2:], (self.errors, self.kept), ("RMSE (mM)", "hidden tumor kept (%)"), strict=True
        ):
            ax.plot(self.taus, y, color=show.color("adaptive"))
            ax.plot(tau, y[self.taus.index(tau)], "o", ms=9, color=show.color("precise"))
            ax.set(xscale="log", xlabel="τ", ylabel=label, ylim=(0, None))
        return fig

    def chosen(self) -> show.Markdown:
        """Table: the settings that the data set chose, and its error as estimated and as it is."""
        s, true = self.tuned.settings, (((self.field.maps - self.truth) ** 2) / self.voxels.variance).mean()
        rows = [["λ", f"{s.lam:.3g}"], ["τ", f"{s.tau:g}"], ["neighbors", s.neighbors]]
        by = f"the MRI and distance, h = {s.gray:g}" if s.mri else "distance alone"
        rows += [["found by", by], ["settings tried", len(self.tuned.tried)]]
        rows += [["squared error over that of single voxels, estimated", f"{self.tuned.risk:.3f}"]]
        return show.table(["this data set chose", ""], [*rows, ["the true one", f"{float(true):.3f}"]])

    def balance(self, size: int) -> float:
        """Gain of cutting out a hidden tumor, `size` voxels a side, over the price at the settings of the data set."""
        case, settings = peer_cases.rings_case(SNR, size), self.tuned.settings
        inside, couplings = case.hidden[case.mask], settings.couplings(self.neighbors)
        step = np.ptp(case.truth[self.voxels.others][:, case.hidden | case.reference], 1)
        across = inside[couplings.pairs].sum(1) == 1
        price = settings.lam * settings.tau**2 * couplings.weight[across].sum()
        return float((step**2 / self.voxels.variance[inside]).sum() / price)
