"""What the adaptive prior did to a data set, in numbers and sentences for a reader."""

from __future__ import annotations

import math

import numpy as np

from precise_lib.estimate.adaptive import Settings
from precise_lib.estimate.coupling import Neighbors
from precise_lib.estimate.overruled import Island
from precise_lib.estimate.single_voxels import SingleVoxels
from precise_lib.estimate.stein import Tuned
from precise_lib.estimate.unfollowed import SURE, Edges

LISTED = 3  # islands that are described one by one


def about(voxels: SingleVoxels, tuned: Tuned, given: list[str]) -> dict:
    """The settings and what they are worth; `given` names those that were not chosen.

    The error over that of single voxels is an upper limit: Stein's estimate and one standard error of it.
    """
    error = max(tuned.risk, 0.0) + math.sqrt(2 / voxels.ratios[voxels.usable].size)
    s, share = tuned.settings, tuned.settings.share or [1.0] * len(voxels.names)
    blind, error = _without_mri(tuned, error), math.sqrt(error)
    return {
        "lambda": {name: float(f"{s.lam * x:.4g}") for name, x in zip(voxels.names, share, strict=True)},
        "tau": s.tau if math.isfinite(s.tau) else "inf",
        "neighbors": int(s.neighbors),
        "by_mri": bool(s.mri),
        "gray": float(s.gray) if s.mri else None,
        "frames": s.frames if len(voxels.series) > 1 else None,
        "given": given,
        "error_over_single_voxel": float(f"{error:.3g}"),
        "error_over_single_voxel_without_mri": None if blind is None else float(f"{blind:.3g}"),
        "settings_tried": len(tuned.tried),
    }


def sentence(found: dict) -> str:
    """What `about` gives, in words."""
    by = "by their distance, not by the MRI"
    if found["by_mri"]:
        like = f" and distance ({100 * found['gray']:.2g} % of the gray levels count like a voxel)"
        by = f"by the MRI{like if found['gray'] else ' alone'}"
    opens = "" if found["tau"] == "inf" else f"; couplings open from a difference of {found['tau']:.3g} times its noise"
    time = "" if found["frames"] is None else f"; frames are coupled {found['frames']:.3g} times as strongly"
    blind = found["error_over_single_voxel_without_mri"]
    worth = "" if blind is None else f" ({blind:.2f} without the MRI)"
    return (
        f"{found['neighbors']} neighbors of each voxel, chosen {by}{opens}{time}; the error is at most about "
        f"{found['error_over_single_voxel']:.2f} of that of single voxels{worth}."
    )


def overruled_flag(voxels: SingleVoxels, islands: list[Island]) -> tuple[np.ndarray, str]:
    """Voxel-frames (N,) bool of islands, and the sentence that describes them."""
    numbers, flag = np.flatnonzero(voxels.usable), np.zeros(len(voxels.usable), bool)
    places, said = np.argwhere(voxels.series.usable), []  # frame, x, y, z
    for island in islands:
        mine = numbers[island.voxels]
        flag[mine] = True
        said.append(_island(island, voxels, mine, places[mine]))
    more = f"; and in {len(said) - LISTED} more places" if len(said) > LISTED else ""
    return flag, f"The data contradict the MRI {'; '.join(said[:LISTED])}{more}." if said else ""


def _island(island: Island, voxels: SingleVoxels, mine, places) -> str:
    """Where an island is, and how it differs from what is around it."""
    error = np.sqrt(1 / (1 / voxels.variance[mine]).sum(0))
    order = np.argsort(-np.abs(island.difference / error))
    clear = [k for k in order if abs(island.difference[k]) > 2 * error[k]] or order[:1].tolist()
    levels = [
        f"{voxels.names[k]} {abs(island.difference[k]):.2g} mM {'higher' if island.difference[k] > 0 else 'lower'}"
        for k in clear
    ]
    middle = ", ".join(str(round(x)) for x in places[:, 1:].mean(0))
    frames = np.unique(places[:, 0])
    when = "" if len(voxels.series) == 1 else f" of frames {frames[0]} to {frames[-1]}"
    cells = len(np.unique(places[:, 1:], axis=0))
    return f"in {cells} voxel(s) around ({middle}){when}: {', '.join(levels)} than their like neighbors"


def unfollowed_flag(share: np.ndarray, tolerance: float) -> tuple[np.ndarray, str]:
    """Voxel-frames (N,) bool most of whose edges no metabolite follows, of the share (N,), and a sentence on them."""
    flag = np.nan_to_num(share) > 0.5
    return flag, (
        f"At {flag.sum()} voxel(s) the MRI shows edges that no metabolite follows: all steps across are within "
        f"{tolerance:g} % of the level (of edges with a larger one at most about {100 * (1 - SURE):.0f} % pass)."
    )


def unfollowed_note(edges: Edges) -> tuple[str, ...]:
    """What noise leaves to be said of edges."""
    if not len(edges.pairs) or edges.told.all():
        return ()
    return (
        f"At {100 * edges.told.mean():.0f} % of the edges of the MRI noise is low enough to tell whether metabolism "
        "follows; at the others a voxel that is not flagged says nothing.",
    )


def notes(voxels: SingleVoxels, settings: Settings, neighbors: Neighbors) -> tuple[str, ...]:
    """Sentences of caution."""
    said = []
    if voxels.white:
        said.append(
            "The FIDs hold too few samples free of signal: settings and intervals count the noise as white and "
            "independent from voxel to voxel."
        )
    if settings.lam > 0 and math.isfinite(settings.tau):
        sd = np.median(np.sqrt(voxels.variance[voxels.usable]), 0)
        least = {size: sd * math.sqrt(settings.step * outside(size, neighbors.dimensions)) for size in (1, 2)}
        each = (
            f"{size} voxel(s) across: " + ", ".join(f"{n} {x:.2g}" for n, x in zip(voxels.names, values, strict=True))
            for size, values in least.items()
        )
        said.append(
            "A lesion that the MRI does not show keeps its contrast from about, in mM of one metabolite alone, "
            f"{'; '.join(each)}."
        )
    return tuple(said)


def outside(size: int, dimensions: int) -> float:
    """Share of the touching neighbors of the voxels of a block, `size` voxels along each axis, that lie outside it."""
    inside = (3 * size - 2) ** dimensions - size**dimensions
    return 1 - inside / (size**dimensions * (3**dimensions - 1))


def _without_mri(tuned: Tuned, error: float) -> float | None:
    """Root of the mean square `error` without the MRI, where both were tried and the MRI was of use.

    Two of Stein's estimates differ by less noise than each of them has.
    """
    with_mri, blind = ([risk for s, risk in tuned.tried.items() if s.mri is mri] for mri in (True, False))
    if not (blind and tuned.settings.mri):
        return None
    return math.sqrt(error + max(min(blind) - min(with_mri), 0.0))
