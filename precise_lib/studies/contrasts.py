"""Which contrasts the MRI prior keeps: of tissues, of lesions that the MRI shows, of what it does not show.

On the ring phantom the level of each ring, the contrast of the lesions at sites C and D (which the MRI shows), and
blocks of voxels that deviate from their ring unseen by the MRI are random, each uniform over the same width. The
estimate is a linear map H of single-voxel estimates, so the slope of an estimated contrast, seen by a view Q, on the
true one has a closed form, with patterns F of equal variance: ``sum(Q H F * Q F) / sum((Q F)^2)``, for any metabolite
and noise. What varies from voxel to voxel, unseen, keeps ``tr H / V``, at most what the noise keeps, ``sqrt(tr H H^T /
V)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from precise_lib.errors import InputError
from precise_lib.estimate.prior import OMEGA_MAX, ExactSolver, edge_weights
from precise_lib.evaluate.regression import controlled_line
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.simulate.phantoms import Phantom, rings
from precise_lib.studies.regularization import gray_levels

TISSUE, SHOWN, HIDDEN, ALL = "tissue", "shown", "hidden", "all voxels"
SHOWN_SITES = ("C", "D")
RANDOM_WIDTH = 0.5  # of each random part, as a share of the largest concentration


@dataclass(frozen=True)
class Scene:
    """A `phantom` with random contents.

    `patterns` by name (V, K), what varies together: every column over the V voxels of the object has its own random
    height. `views` by name (R, V), how a contrast is read from a map: means of the rings against their mean, lesions
    against their ring, voxels against their ring, and every voxel as it is.
    """

    phantom: Phantom
    patterns: dict[str, np.ndarray]
    views: dict[str, np.ndarray]

    def linear_map(self, lam: float, omega_max: float = OMEGA_MAX, without_edges: bool = False) -> np.ndarray:
        """The exact minimizer of Eq. 4 as a dense matrix (V, V); `without_edges` as if the MRI were uniform."""
        gray = gray_levels(self.phantom)
        solver = ExactSolver(edge_weights(0 * gray if without_edges else gray, omega_max), lam)
        return solver.rows(np.arange(solver.size))

    def slope(self, h, view: str) -> float:
        """Slope of the estimated on the true contrast in closed form, for SVE without bias and the map h (V, V)."""
        patterns, q = np.hstack(list(self.patterns.values())), self.views[view]
        true = q @ patterns
        return float(((q @ h @ patterns) * true).sum() / (true**2).sum())

    @staticmethod
    def noise_kept(h) -> float:
        """SD after the map over SD of SVE, RMS over the voxels, for equal independent noise."""
        return float(np.sqrt((h**2).sum() / len(h)))

    def relative_rmse(self, h, spread, hidden=None) -> np.ndarray:
        """RMSE over all voxels, in units of the SD of SVE, in closed form; `spread` is the SD of each random part over
        that SD, any shape, `hidden` that of the hidden part where it differs.
        """
        spread = np.asarray(spread, float)
        spreads = dict.fromkeys(self.patterns, spread) | ({} if hidden is None else {HIDDEN: np.asarray(hidden)})
        bias = {name: ((h @ f - f) ** 2).sum() / len(h) for name, f in self.patterns.items()}
        return np.sqrt(self.noise_kept(h) ** 2 + sum(bias[name] * spreads[name] ** 2 for name in bias))

    def draw(self, maximum_mm, rng: np.random.Generator) -> np.ndarray:
        """A random truth (V, M) in mM between 0 and `maximum_mm` (M,)."""
        width = RANDOM_WIDTH * np.asarray(maximum_mm, float)
        truth = np.broadcast_to(0.5 * np.asarray(maximum_mm, float), (len(self.views[ALL]), len(width))).copy()
        for pattern in self.patterns.values():
            truth += pattern @ (width * rng.uniform(-0.5, 0.5, (pattern.shape[1], len(width))))
        return truth


def blocks(mask: np.ndarray, size: int) -> np.ndarray:
    """Squares of size x size voxels that tile a slice, cut off by `mask` (x, y, z): (V, K) of zeros and ones."""
    if size < 1:
        raise InputError(f"Blocks of {size} voxels were asked for; one is the least.")
    cells = np.argwhere(mask)
    cells[:, :2] //= size
    number = np.unique(cells, axis=0, return_inverse=True)[1].ravel()
    return (number[:, None] == np.arange(number.max() + 1)).astype(float)


def scene(size: int) -> Scene:
    """Random rings with lesions at sites C and D and hidden blocks, all `size` voxels across (1 to 6)."""
    phantom = rings(size)
    ring = phantom.compartments[phantom.mask]
    lesions = np.stack([phantom.tumors[site][phantom.mask] for site in SHOWN_SITES], 1).astype(float)
    healthy = ~lesions.any(1)
    tissue = (ring[:, None] == np.unique(ring)).astype(float)
    tiles = blocks(phantom.mask, size) * healthy[:, None]
    means = (tissue * healthy[:, None]).T
    means /= means.sum(1, keepdims=True)
    around = (lesions.T @ tissue @ means) / lesions.sum(0)[:, None]  # the ring of each lesion
    views = {
        TISSUE: means - means.mean(0),
        SHOWN: (lesions / lesions.sum(0)).T - around,
        HIDDEN: (np.eye(len(ring)) - tissue @ means)[healthy],
        ALL: np.eye(len(ring)),
    }
    return Scene(phantom, {TISSUE: tissue, SHOWN: lesions, HIDDEN: tiles[:, tiles.any(0)]}, views)


@dataclass(frozen=True)
class Measured:
    """Random phantoms as measured: truth and estimates by name (n, V, M) in mM, and first-order errors alike: what the
    noise at hand does to an efficient ratio to the reference under the map of that name, see
    `regression.controlled_line`.
    """

    truth: np.ndarray
    estimate: dict[str, np.ndarray]
    error: dict[str, np.ndarray]

    def pooled(self, name: str, unit) -> list[np.ndarray]:
        """Truth, estimate and error of one name with the metabolites as further phantoms, (n M', V, 1), each in its own
        `unit` (M,); metabolites whose unit is zero are left out.
        """
        unit = np.asarray(unit, float)
        used = unit > 0
        given = (self.truth, self.estimate[name], self.error[name])
        return [np.moveaxis(x[..., used] / unit[used], -1, 1).reshape(-1, x.shape[1], 1) for x in given]


def measure(
    scene: Scene, estimate: Callable, maps: dict, maximum_mm, snr: float, n_phantoms: int, seed: int = 0
) -> Measured:
    """Random phantoms, each with its own contents and noise; the same for the same seed, whatever the estimator.

    `estimate` makes amplitudes (V, M) of FIDs (V, t), `maps` are by name (V, V), applied to the amplitudes, or None for
    none. `maximum_mm` (M,) is that of `Scene.draw`, `snr` that of the reference, whose concentration is known.
    """
    model, sigma = scene.phantom.model, snr_to_sigma(scene.phantom.model, snr)
    w, mm, basis = model.index(model.reference), model.reference_concentration_mm, model.basis()
    to_amplitudes = np.linalg.solve((basis.conj().T @ basis).real, basis.conj().T).T
    maximum_mm = np.where(np.arange(len(model.names)) == w, 0.0, maximum_mm)
    truths, found, errors = [], {name: [] for name in maps}, {name: [] for name in maps}
    for k in range(n_phantoms):
        rng = np.random.default_rng([seed, k])
        truth = scene.draw(maximum_mm, rng)
        truth[:, w] = mm
        clean = model.fids(truth / mm)
        noisy = add_noise(clean, sigma, rng).astype(np.complex64)
        amplitudes, error = estimate(noisy), ((noisy - clean) @ to_amplitudes).real
        error = mm * error - truth * error[:, [w]]
        truths.append(truth)
        for name, h in maps.items():
            found[name].append(model.concentrations(amplitudes if h is None else h @ amplitudes))
            errors[name].append(error if h is None else h @ error)
    found, errors = ({name: np.array(v) for name, v in each.items()} for each in (found, errors))
    return Measured(np.array(truths), found, errors)


def contrast_lines(scene: Scene, view: str, truth, estimate, error=None, names=None) -> xr.Dataset:
    """`regression.controlled_line` of the contrasts that a view reads from maps (n, V, M), phantoms as groups."""
    q = scene.views[view]
    given = [truth, estimate] + ([] if error is None else [error])
    rows = [(q @ np.asarray(x)).reshape(-1, np.shape(x)[-1]) for x in given]
    return controlled_line(*rows, names=names, together=len(q))
