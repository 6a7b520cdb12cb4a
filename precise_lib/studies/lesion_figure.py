"""What a prior costs, in one picture: contrast of a lesion kept against error, by whether the MRI shows it."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from precise_lib import show
from precise_lib.studies.overruled_figures import HIDDEN, SHOWN, kept, rmse
from precise_lib.studies.overruled_runs import of
from precise_lib.studies.peer_settings import total_rmse

BLIND, PAPER = "fit-tv", "precise, cap 1000"  # total variation without MRI; the paper's prior at the cap of least error
GOOD = "#DDF1E4"  # ground of the corner where one wants to be


def over_settings(peers: xr.Dataset, peer: str, tumor: str, metabolite: str = "Lac") -> np.ndarray:
    """Error in percent of that of single voxels and contrast kept in percent, (2, settings), from none to strong.

    The first point is the single voxel itself, the last the setting after that of least error.
    """
    given = np.isfinite(peers["value"].values) & (peers["peer"].values == peer)
    line = peers["setting"].values[given][np.argsort(peers["value"].values[given])]
    single, errors = float(total_rmse(peers).sel(setting="sve")), total_rmse(peers).sel(setting=line).values
    contrast = peers["contrast"].sel(setting=line, metabolite=metabolite, region=tumor).values
    points = 100 * np.array([[1, *errors / single], [1, *contrast]])
    return points[:, : int(points[0].argmin()) + 2]


def plot_lesions(name: str, peers: xr.Dataset, table: xr.Dataset):
    """Lactate contrast kept against error on object `name`: the paper's prior, blind smoothing, the adaptive prior.

    Each line is one method over its strength. `peers` and `table` are as
    :func:`~precise_lib.studies.peer_cases.load` and :func:`~precise_lib.studies.overruled_runs.load` return them.
    """
    fig, ax = plt.subplots(figsize=(4.8, 4.4))
    ax.axvspan(0, 50, ymin=80 / 118, color=GOOD, lw=0)
    ax.text(1, 117, "best: little error,\nmost of the tumor", va="top", color="#00664B", weight="bold")
    red, gray = "#B84F00", "#666666"  # of the estimators, darker: letters of these colors are read on white
    shown, hidden, blind = ((PAPER, SHOWN, red, "--"), (PAPER, HIDDEN, red, "-"), (BLIND, HIDDEN, gray, "-"))
    notes = (  # line, text, shift of the text from the point of least error, its side that stands there
        (shown, "PRECISE,\ntumor in the MRI: {:.0f} %", (15, 13), "left"),
        (hidden, "PRECISE, tumor\nnot in the MRI: {:.0f} %", (3, -12), "left"),
        (blind, "smoothing without\nthe MRI: {:.0f} %", (-2, -8), "right"),
    )
    for (peer, tumor, color, style), text, (right, up), side in notes:
        x, y = over_settings(peers, peer, tumor)
        ax.plot(x, y, style, color=color, lw=2.5)
        best = int(x.argmin())
        ax.plot(x[best], y[best], "o", color=color, ms=9)
        ax.text(x[best] + right, y[best] + up, text.format(y[best]), color=color, ha=side)
    ax.plot(100, 100, "s", color="black", ms=9)
    line = {"arrowstyle": "-", "color": gray}
    ax.annotate("single voxels", (100, 98), (105, 52), ha="right", arrowprops=line)
    run = of(table, name)
    error, share = 100 * rmse(run) / rmse(run, "rmse_single"), 100 * kept(run)[0]
    ax.plot(error, share, show.marker("adaptive"), color=show.color("adaptive"), ms=18)
    words = f"adaptive prior,\ntumor not in\nthe MRI: {share:.0f} %"
    ax.text(error - 3, share, words, ha="right", va="center", weight="bold")
    ax.set(xlim=(0, 106), ylim=(0, 118), xlabel="error of the map (% of that of single voxels)")
    ax.set(ylabel="contrast of the tumor kept (%)", yticks=range(0, 101, 20))
    return fig
