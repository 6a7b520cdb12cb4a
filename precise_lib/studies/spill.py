"""Where the MRI prior takes an error that lipids made: the exact minimizer of Eq. 4 is linear, so errors pass it alone.

The error of SVE is its estimate of noiseless FIDs with lipids less that without; `ExactSolver` maps it.
"""

from __future__ import annotations

import numpy as np

from precise_lib.estimate.prior import OMEGA_MAX, ExactSolver, edge_weights, prepare_mri
from precise_lib.signal.mrsi import MRSI
from precise_lib.simulate.phantoms import Phantom


def by_depth(values, depth_mm, mask, width_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """RMS of a map over shells of a mask: middle of each shell (mm from the surface), and RMS; maps (x, y, z)."""
    shell = (np.asarray(depth_mm)[mask] / width_mm).astype(int)
    rms = np.sqrt(np.bincount(shell, np.asarray(values)[mask] ** 2) / np.bincount(shell))
    return width_mm * (np.arange(len(rms)) + 0.5), rms


def lipid_error(network, assumed, phantom: Phantom, clear: Phantom, regions, lam: float, name: str = "NAA") -> dict:
    """RMS errors of one amplitude, in units of the reference, by lipids and without noise.

    `assumed` is the `SignalModel` that the network was trained on; `phantom` and `clear` are `proton.mrsi.head` with
    and without lipids, `regions` of that head. Returns "SVE" and "PRECISE", each at the "rim" and "inside", and what
    comes to the rim from voxels beyond the brain if these were estimated along, with the MRI and with a constant image
    in its place.
    """
    column = assumed.index(name)

    def solver(mask, mri=None):
        image = phantom.mri if mri is None else mri
        data = MRSI(np.ones_like(phantom.clean), phantom.model, phantom.affine, mask, image, phantom.mri_affine)
        return ExactSolver(edge_weights(prepare_mri(data), OMEGA_MAX), lam)

    def rms(values, mask, region):
        grid = np.full(mask.shape, np.nan)
        grid[mask] = values
        return float(np.sqrt(np.mean(grid[regions[region]] ** 2)))

    brain, head = phantom.mask, regions["head"] | phantom.mask
    sve = network.amplitudes(phantom.clean[brain], assumed) - network.amplitudes(clear.clean[brain], assumed)
    outside = np.zeros((*head.shape, len(assumed.names)))
    outside[head & ~brain] = network.amplitudes(phantom.clean[head & ~brain], assumed)
    sve, outside = sve[:, column], outside[head][:, column]
    precise = solver(brain)(sve[:, None])[:, 0]
    result = {f"{label}, {region}": rms(values, brain, region) for label, values in (("SVE", sve), ("PRECISE", precise))
              for region in ("rim", "inside")}  # fmt: skip
    flat = np.zeros_like(phantom.mri)
    for label, image in (("with the MRI", None), ("with a constant image", flat)):
        result[f"from beyond, {label}"] = rms(solver(head, image)(outside[:, None])[:, 0], head, "rim")
    return result


def under(estimator, model):
    """The estimator under a misspecified model of the same acquisition; resonances that this one lacks become NaN."""
    return lambda data: estimator(data.replace(model=model)).reindex(metabolite=data.model.names)
