"""The paper's solver of Eq. 4: Adam on the fully connected layers of the network, neighborhood by neighborhood."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse

from precise_lib.errors import InputError
from precise_lib.estimate.sve import SveModel


def neighborhoods(weights: sparse.csr_matrix, shape_limit: int = 27) -> tuple[np.ndarray, np.ndarray]:
    """Padded 3x3(x3) batches of Fig. 2B: neighbor indices and Eq. 5 weights, both (V, <= 26).

    Column positions beyond a voxel's neighbors hold the voxel itself with weight zero.
    """
    weights = weights.tocsr()
    counts = np.diff(weights.indptr)
    width = min(int(counts.max(initial=0)), shape_limit - 1)
    index = np.tile(np.arange(weights.shape[0])[:, None], (1, width))
    omega = np.zeros((weights.shape[0], width))
    filled = np.arange(width) < counts[:, None]
    index[filled], omega[filled] = weights.indices, weights.data
    return index, omega


def finetune(
    network: SveModel, fids, weights, lam, epochs=60, learning_rate=1e-3, voxels_per_step=16, seed=0
) -> np.ndarray:
    """Amplitudes (V, M) by fine-tuning the fully connected layers on Eq. 4 (Fig. 2B).

    The convolutional features of every voxel are computed once. Each step takes the 3x3(x3) neighborhoods of
    `voxels_per_step` voxels in a row, whose neighborhoods overlap (half the work of voxels drawn one by one, and as
    close to the minimum), and one Adam step on their share of Eq. 4. The cuts between rows and their order are drawn
    anew in each epoch; the rate falls to zero along a cosine so that the result settles.

    Parameters
    ----------
    network : trained SVE network; it is not changed
    fids : (V, t) complex
    weights : (V, V) Eq. 5
    epochs : passes over all voxels; deterministic under `seed`
    """
    if lam < 0:
        raise InputError(f"lambda is {lam}; it must be zero or positive.")
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
    optimizer = torch.optim.Adam(head.parameters(), lr=learning_rate)
    n, size = len(features), voxels_per_step
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        start = int(torch.randint(size, (1,), generator=generator))
        rows = [row for row in torch.arange(n).tensor_split(tuple(range(start, n, size))) if len(row)]
        for step, which in enumerate(torch.randperm(len(rows), generator=generator).tolist()):
            done = (epoch + step / len(rows)) / epochs
            optimizer.param_groups[0]["lr"] = learning_rate * 0.5 * (1 + np.cos(np.pi * done))
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
