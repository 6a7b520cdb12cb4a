"""Edges of the MRI that metabolism does not follow: how many are found, and what passes that should not.

On random objects whose MRI also shows a ball that no metabolite has. Borders of tissues are there besides, which some
metabolite follows for the most part; levels vary inside all tissues.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import numpy as np
from scipy import ndimage

from precise_lib import show
from precise_lib.estimate import unfollowed
from precise_lib.estimate.tuned import Adaptive
from precise_lib.estimate.unfollowed import TOLERANCE, Edges
from precise_lib.signal.mrsi import unmask
from precise_lib.simulate.phantoms import Phantom
from precise_lib.simulate.random_object import FINE, random_object
from precise_lib.studies.overruled import single_voxels

RADIUS, CONTRAST = 2.5, 0.4  # of the ball: DMI voxels, and its gray level over that of what it covers
SNRS = (12.0, 20.0, 35.0)


def with_ball(phantom: Phantom) -> tuple[Phantom, np.ndarray]:
    """A random object with a ball in its MRI alone, where tumors and surface are farthest, and its voxels (x, y, z)."""
    lesion = ndimage.binary_dilation(np.any(list(phantom.tumors.values()), 0), np.ones((3, 3, 3)))
    room = ndimage.distance_transform_edt(np.pad(phantom.mask & ~lesion, 1))[1:-1, 1:-1, 1:-1]
    center = np.unravel_index(room.argmax(), room.shape)

    def ball(shape, fine):
        axes = [((np.arange(n) + 0.5) / fine - 0.5 - c) ** 2 for n, c in zip(shape, center, strict=True)]
        return sum(np.meshgrid(*axes, indexing="ij")) < RADIUS**2

    inside, mri = ball(phantom.mri.shape, FINE), phantom.mri.copy()
    mri[inside] += CONTRAST if np.median(mri[inside]) < 0.5 else -CONTRAST
    return replace(phantom, mri=mri), ball(phantom.mask.shape, 1)


@dataclass(frozen=True)
class Tried:
    """One data set: its edges (E), `Edges.share` (x, y, z), and what is true of them.

    Attributes
    ----------
    steps : (E,) the largest true step of any metabolite, percent of the mean of both sides
    pieces : (E,) the same of means over the piece of the edge around each pair
    ball : (E,) bool, across the surface of the ball
    """

    snr: float
    edges: Edges
    share: np.ndarray
    steps: np.ndarray
    pieces: np.ndarray
    ball: np.ndarray


def tried(phantom: Phantom, ball, snr: float, seed: int = 0, tolerance: float = TOLERANCE) -> Tried:
    """One measurement of a phantom with a `ball` (x, y, z) bool in its MRI."""
    data = phantom.measure(snr, np.random.default_rng([seed, 0]))
    voxels, neighbors, inside = single_voxels(data, Adaptive())
    noise = voxels.noise(unfollowed.draws(neighbors.n_voxels), seed=2)
    found = unfollowed.edges(voxels.ratios[voxels.usable], neighbors, noise, tolerance)
    truth = phantom.concentrations.values[voxels.others][:, inside].T
    ends = truth[found.pairs]
    along = unfollowed.along(found.pairs, neighbors, unfollowed.contrast_of_edges(neighbors))
    step, mean = ends[:, 0] - ends[:, 1], ends.mean(1)
    steps, pieces = (100 * np.abs(s / m).max(1) for s, m in ((step, mean), (along @ step, along @ mean)))
    return Tried(snr, found, unmask(inside, found.share), steps, pieces, ball[inside][found.pairs].sum(1) == 1)


class Trial:
    """Random objects by their seeds, each measured at every SNR."""

    def __init__(self, seeds: Iterable[int], snrs: Iterable[float] = SNRS):
        self.objects = {seed: with_ball(random_object(seed)) for seed in seeds}
        self.snrs = list(snrs)
        self.runs = {snr: [tried(*one, snr) for one in self.objects.values()] for snr in self.snrs}

    def rates(self, snr: float) -> dict[str, float]:
        """Shares over all objects at one SNR: of edges where the noise is low enough to tell, of those of the ball that
        are found, and of what passes with a step above the tolerance in some metabolite: `pair`, `piece` of an edge,
        and `voxel` (flagged; the mean over its pairs)."""
        runs = self.runs[snr]
        level, told = (np.concatenate([getattr(run.edges, name) for run in runs]) for name in ("level", "told"))
        steps, pieces, ball = (np.concatenate([getattr(r, name) for r in runs]) for name in ("steps", "pieces", "ball"))
        voxels = np.concatenate([_voxels(run) for run in runs])
        return {
            "told": float(told.mean()),
            "ball": float(level[ball].mean()),
            "pair": float(level[steps > TOLERANCE].mean()),
            "piece": float(level[pieces > TOLERANCE].mean()),
            "voxel": float((voxels[:, 0] > 0.5)[voxels[:, 1] > TOLERANCE].mean()),
        }

    def table(self) -> show.Markdown:
        """`rates` at every SNR, in percent."""
        head = ["SNR", "can be told (%)", "ball: found (%)", "pairs that pass (%)", "pieces (%)", "voxels flagged (%)"]
        rows = [[f"{snr:g}", *(f"{100 * value:.1f}" for value in self.rates(snr).values())] for snr in self.snrs]
        return show.table(head, rows)

    def plot(self, seed: int):
        """One object through the middle of its ball: the MRI, and the map at each SNR; the ball is outlined."""
        (phantom, ball), place = self.objects[seed], list(self.objects).index(seed)
        z = int(ball.sum((0, 1)).argmax())
        fig, axes = plt.subplots(1, 1 + len(self.snrs), figsize=(2.4 * (1 + len(self.snrs)), 2.4))
        mri = phantom.mri[:, :, z * FINE + FINE // 2]
        axes[0].imshow(
            mri.T, origin="lower", cmap="gray", extent=(-0.5, ball.shape[0] - 0.5, -0.5, ball.shape[1] - 0.5)
        )
        axes[0].set_title("MRI", fontsize=9)
        for ax, snr in zip(axes[1:], self.snrs, strict=True):
            share = self.runs[snr][place].share[:, :, z]
            drawn = ax.imshow(share.T, origin="lower", cmap="cividis", vmin=0, vmax=1)
            ax.set_title(f"SNR {snr:g}", fontsize=9)
            if np.isnan(share).all():
                ax.text(0.5, 0.3, "nothing can be told", transform=ax.transAxes, ha="center", fontsize=8)
        for ax in axes:
            ax.contour(ball[:, :, z].T.astype(float), [0.5], colors="#D55E00", linewidths=1.2)
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
        fig.colorbar(drawn, ax=list(axes[1:]), shrink=0.8, label="share not followed")
        return fig


def _voxels(run: Tried) -> np.ndarray:
    """Of voxels at edges: share of those that counts as not followed, 0 where unknown, and mean true step, (n, 2)."""
    ends, n = run.edges.pairs.ravel(), run.edges.n_voxels
    count = np.bincount(ends, minlength=n)
    mean = np.bincount(ends, np.repeat(run.steps, 2), n)[count > 0] / count[count > 0]
    return np.stack([np.nan_to_num(run.edges.share[count > 0]), mean], 1)
