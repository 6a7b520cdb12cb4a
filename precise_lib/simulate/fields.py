"""Field maps: a B0 shift with the broadening its gradient causes, and a B1 (sensitivity) profile."""

from __future__ import annotations

import numpy as np


def b0_map(shape=(32, 32, 1), peak_hz: float = 15.0, center=(0.72, 0.66), width: float = 0.22) -> np.ndarray:
    """A smooth in-plane B0 map (x, y, z), about -5 to `peak_hz` Hz as in shimmed brains at 2H frequencies.

    A gentle slope, and one strong distortion whose `center` and `width` are fractions of the grid.
    """
    axes = [(np.arange(n) + 0.5) / n for n in shape[:2]]
    x, y = np.meshgrid(*axes, indexing="ij")
    bump = np.exp(-((x - center[0]) ** 2 + (y - center[1]) ** 2) / (2 * width**2))
    plane = peak_hz * bump + 0.3 * peak_hz * (0.5 - x)
    return np.repeat(plane[..., None], shape[2], axis=2)


def gradient_broadening(b0_hz: np.ndarray) -> np.ndarray:
    """Extra linewidth (Hz) from the spread of B0 over a voxel: the norm of its differences along x, y, z."""
    gradients = [np.gradient(b0_hz, axis=i) for i in range(b0_hz.ndim) if b0_hz.shape[i] > 1]
    return np.sqrt(sum(g**2 for g in gradients)) if gradients else np.zeros_like(b0_hz)


def b1_map(shape=(32, 32, 1), depth: float = 0.9) -> np.ndarray:
    """Sensitivity (x, y, z), 1 at the surface y = 0, falling exponentially with `depth` in units of the grid."""
    y = (np.arange(shape[1]) + 0.5) / shape[1]
    return np.broadcast_to(np.exp(-y / depth)[None, :, None], shape).copy()
