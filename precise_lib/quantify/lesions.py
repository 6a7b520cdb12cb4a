"""What lambda leaves of a lesion that the MRI does not show: in closed form, from the linear map H of the data."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def surviving(
    solver, usable, water, size: int, places: int = 64, seed: int = 0, inside: np.ndarray | None = None
) -> np.ndarray | None:
    """Share of the contrast that each of up to `places` lesions keeps which the MRI does not show.

    A lesion is a block of `size` voxels along each axis (one where the grid has one voxel) that lies wholly within
    `inside` (x, y, z), by default `usable`; metabolite / water is raised there by a constant. By the linear map H the
    mean over the block of ``H (w 1_block) / (H w)`` is left of it. None where no such lesion has room. `solver` is the
    `ExactSolver` of the voxels of `usable` (x, y, z), `water` (V,) amplitudes; `places` are drawn at random where there
    are more.
    """
    block = tuple(1 if n == 1 else size for n in usable.shape)
    if any(b > n for b, n in zip(block, usable.shape, strict=True)):
        return None
    inside = usable if inside is None else inside
    corners = np.argwhere(np.lib.stride_tricks.sliding_window_view(inside, block).all((-3, -2, -1)))
    if not len(corners):
        return None
    chosen = np.random.default_rng(seed).permutation(len(corners))[:places]
    index = np.full(usable.shape, -1)
    index[usable] = np.arange(len(water))
    blocks = np.lib.stride_tricks.sliding_window_view(index, block)
    members = [blocks[tuple(corners[i])].ravel() for i in chosen]
    water = np.maximum(np.asarray(water, float), 0)
    lesions = np.zeros((len(water), len(members)))
    for k, voxels in enumerate(members):
        lesions[voxels, k] = water[voxels]
    kept, total = solver(lesions, 1e-6), solver(water[:, None], 1e-6)[:, 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.array([np.mean(kept[voxels, k] / total[voxels]) for k, voxels in enumerate(members)])


def false_negative(smoother, water, lams: dict[str, float], sizes=(1, 2, 4)) -> dict:
    """What the lambda of each metabolite (`lams`) leaves of lesions of some `sizes` (side in voxels), see `surviving`.

    Returns a dict: ``kept`` (metabolite -> size -> median share of the contrast) and the ``sentence`` for it.
    """
    shares = {}
    for lam in sorted(set(lams.values())):
        solver = smoother.at([lam])[0]
        each = {size: surviving(solver, smoother.usable, water, size, inside=smoother.inside) for size in sizes}
        shares[lam] = {size: float(np.nanmedian(x)) for size, x in each.items() if x is not None}
    across = [size for size in sizes if all(size in s for s in shares.values())]
    groups = {lam: [n for n, x in lams.items() if x == lam] for lam in shares}
    said = [
        f"{_listed(f'{100 * shares[lam][size]:.0f} %' for size in across)} at lambda {lam:.3g}"
        + (f" ({_listed(names)})" if len(groups) > 1 else "")
        for lam, names in groups.items()
        if across
    ]
    sentence = (
        f"Of the contrast of a lesion {_listed(map(str, across))} voxel(s) across that the MRI does not show, "
        f"{'; '.join(said)} is left (median over the mask)."
        if across
        else "No lesion of whole voxels fits into the mask; what the prior leaves of one is not known."
    )
    kept = {n: {str(size): round(share, 4) for size, share in shares[lam].items()} for n, lam in lams.items()}
    return {"kept": kept, "sentence": sentence}


def _listed(words: Iterable[str]) -> str:
    words = list(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
