"""The paper's solver of Eq. 4: Adam on the fully connected layers of the network, neighborhood by neighborhood."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse

from precise_lib.errors import check_number
from precise_lib.estimate.weights import SveModel

LEARNING_RATE = 1e-3
VOXELS_PER_STEP = 16
KEPT = 1000  # rows of voxels: 20 MB of a slice, 100 MB of a volume


def neighborhoods(weights: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Neighbor indices and Eq. 5 weights, both (V, <= 26), padded by the voxel itself with weight zero (Fig. 2B)."""
    weights = weights.tocsr()
    counts = np.diff(weights.indptr)
    width = int(counts.max(initial=0))
    index = np.tile(np.arange(weights.shape[0])[:, None], (1, width))
    omega = np.zeros((weights.shape[0], width))
    filled = np.arange(width) < counts[:, None]
    index[filled], omega[filled] = weights.indices, weights.data
    return index, omega


class _Rows:
    """Gradient of Eq. 4 over rows of voxels, in their outputs (B, M): ``matrix @ output - pull`` is linear in them.

    Which voxels a row and its neighbors are is kept for the next pass that cuts the rows at the same places.
    """

    def __init__(self, weights: sparse.csr_matrix, lam: float, anchor: torch.Tensor):
        self.index, self.omega = neighborhoods(weights)
        self.lam, self.anchor, self.kept = lam, anchor, {}

    def __call__(self, first: int, last: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Voxels (B,) of the rows `first` to `last` and their neighbors, matrix (B, B), pull (B, M)."""
        if (first, last) in self.kept:
            return self.kept[first, last]
        row = slice(first, last)
        every = np.column_stack([np.arange(first, last), self.index[row]])
        voxels, where = np.unique(every, return_inverse=True)
        where, center = where.reshape(every.shape), np.zeros(len(voxels))
        center[where[:, 0]] = 1
        coupled = np.zeros((len(voxels), len(voxels)))
        coupled[where[:, :1], where[:, 1:]] = self.omega[row]
        both = coupled + coupled.T
        matrix = (np.diag(center) + self.lam * (np.diag(both.sum(0)) - both)) * (2 / VOXELS_PER_STEP)
        pull = torch.tensor(center[:, None] * (2 / VOXELS_PER_STEP)).float() * self.anchor[voxels]
        found = torch.as_tensor(voxels), torch.tensor(matrix).float(), pull
        if len(self.kept) < KEPT:
            self.kept[first, last] = found
        return found


def _into_gradients(head: torch.nn.Sequential, features, unit, matrix, pull):
    """The gradient of `_Rows` in the parameters of two FC layers with a PReLU between, into their `grad`.

    By hand: at some fifty voxels a step, automatic differentiation would take as long as the arithmetic.
    """
    first, bend, last = head
    before = torch.addmm(first.bias, features, first.weight.T)
    slope = torch.where(before > 0, 1.0, bend.weight)
    hidden = before * slope
    output = torch.addmm(last.bias, hidden, last.weight.T) * unit
    back = torch.addmm(pull, matrix, output, beta=-1) * unit
    last.weight.grad, last.bias.grad = back.T @ hidden, back.sum(0)
    back = back @ last.weight
    bend.weight.grad = (back * before.clamp(max=0)).sum(0)
    back *= slope
    first.weight.grad, first.bias.grad = back.T @ features, back.sum(0)


@torch.no_grad()
def finetune(network: SveModel, fids, weights, lam, epochs=60, seed=0) -> np.ndarray:
    """Amplitudes (V, M) of FIDs (V, t) by fine-tuning a copy of the fully connected layers on Eq. 4 (Fig. 2B).

    `weights` (V, V) are those of Eq. 5. Each Adam step takes the neighborhoods of `VOXELS_PER_STEP` voxels in a row,
    which overlap (half the work of single voxels, as close to the minimum). Each of the `epochs` passes draws cuts and
    order of the rows anew, by `seed`; the rate falls to zero along a cosine.
    """
    check_number("lambda", lam, zero=True)
    features, unit = network.features(fids)
    head = network.new_head()
    anchor = head(features) * unit
    if lam == 0 or weights.nnz == 0 or epochs == 0:
        return anchor.double().numpy()
    # Eq. 4 in units of the typical amplitude, so that the learning rate means the same for every data set
    scale = anchor.abs().mean()
    rows, unit_here = _Rows(weights, lam, anchor / scale), unit / scale
    optimizer = torch.optim.Adam(head.parameters(), lr=LEARNING_RATE, fused=True)
    n, size = len(features), VOXELS_PER_STEP
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        start = int(torch.randint(size, (1,), generator=generator))
        cuts = sorted({0, *range(start, n, size), n})
        for step, which in enumerate(torch.randperm(len(cuts) - 1, generator=generator).tolist()):
            done = (epoch + step / (len(cuts) - 1)) / epochs
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * done))
            voxels, matrix, pull = rows(cuts[which], cuts[which + 1])
            _into_gradients(head, features[voxels], unit_here[voxels], matrix, pull)
            optimizer.step()
    return (head(features) * unit).double().numpy()
