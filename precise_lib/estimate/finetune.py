"""The paper's solver of Eq. 4: Adam on the fully connected layers of the network, neighborhood by neighborhood."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse

from precise_lib.errors import check_number
from precise_lib.estimate.weights import SveModel

LEARNING_RATE = 1e-3
VOXELS_PER_STEP = 16


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


def finetune(network: SveModel, fids, weights, lam, epochs=60, seed=0) -> np.ndarray:
    """Amplitudes (V, M) of FIDs (V, t) by fine-tuning a copy of the fully connected layers on Eq. 4 (Fig. 2B).

    `weights` (V, V) are those of Eq. 5. Each Adam step takes the neighborhoods of `VOXELS_PER_STEP` voxels in a row,
    which overlap (half the work of single voxels, as close to the minimum). Each of the `epochs` passes draws cuts and
    order of the rows anew, by `seed`; the rate falls to zero along a cosine.
    """
    check_number("lambda", lam, zero=True)
    features, unit = network.features(fids)
    head = network.new_head()
    with torch.no_grad():
        anchor = head(features) * unit
    if lam == 0 or weights.nnz == 0 or epochs == 0:
        return anchor.double().numpy()
    # Eq. 4 in units of the typical amplitude, so that the learning rate means the same for every data set
    scale = anchor.abs().mean()
    index, omega = (torch.as_tensor(v) for v in neighborhoods(weights))
    omega = omega.float()
    optimizer = torch.optim.Adam(head.parameters(), lr=LEARNING_RATE, fused=True)
    n, size = len(features), VOXELS_PER_STEP
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        start = int(torch.randint(size, (1,), generator=generator))
        rows = [row for row in torch.arange(n).tensor_split(tuple(range(start, n, size))) if len(row)]
        for step, which in enumerate(torch.randperm(len(rows), generator=generator).tolist()):
            done = (epoch + step / len(rows)) / epochs
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * done))
            center = rows[which]
            batch, where = torch.unique(torch.cat([center[:, None], index[center]], 1), return_inverse=True)
            output = head(features[batch]) * unit[batch] / scale
            mine, others = output[where[:, 0]], output[where[:, 1:]]
            fidelity = ((mine - anchor[center] / scale) ** 2).sum()
            smooth = (omega[center][..., None] * (mine[:, None] - others) ** 2).sum()
            optimizer.zero_grad()
            ((fidelity + lam * smooth) / size).backward()
            optimizer.step()
    with torch.no_grad():
        return (head(features) * unit).double().numpy()
