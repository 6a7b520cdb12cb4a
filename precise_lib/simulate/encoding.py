r"""Phase encoding of a fine object in k-space, its point spread function, and the noise that comes with it.

PRECISE-DMI measures only the inscribed ellipsoid of k-space, about pi/6 = 52 %, whose point spread function is `jinc`:
1.59 voxels wide at half maximum, against 1.21 for a full cube. The variance of a voxel is pi/6 of a full cube's at
equal noise in each encoding, and the noise of two voxels correlates by ``PSF(d) / PSF(0)``. A linear field gradient of
g Hz per voxel acts like one more encoding: it does not broaden lines, but ends the FID at 1 / 2g. Curvature, and spread
within an object point, broaden them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from precise_lib.errors import InputError
from precise_lib.signal.model import SignalModel

SAMPLINGS = ("sphere", "cube")
LARGEST = 6000  # voxels of a dense correlation matrix
TIMES = 32  # time points that are encoded together: bounds the memory at about 200 MB for 100,000 object points


@dataclass(frozen=True)
class Encoding:
    """Phase encoding along x, y, z; sampling "sphere" (the paper's), or "cube", every position of the matrix.

    Raises `InputError` for another sampling, a matrix or field of view that is not positive.

    >>> encoding = Encoding((11, 11, 11), (27.5, 27.5, 27.5))
    >>> encoding.n_encodings, round(encoding.filled, 2), encoding.voxel_ul
    (739, 0.56, 15.625)
    """

    matrix: tuple[int, int, int]
    field_of_view_mm: tuple[float, float, float]
    sampling: str = "sphere"

    def __post_init__(self):
        if len(self.matrix) != 3 or any(int(n) != n or n < 1 for n in self.matrix):
            raise InputError(f"The matrix is {self.matrix}; it must be three whole numbers of voxels.")
        if len(self.field_of_view_mm) != 3 or not all(np.isfinite(f) and f > 0 for f in self.field_of_view_mm):
            raise InputError(f"The field of view is {self.field_of_view_mm}; it must be three positive lengths in mm.")
        if self.sampling not in SAMPLINGS:
            raise InputError(f"There is no k-space sampling '{self.sampling}', only {', '.join(SAMPLINGS)}.")

    @property
    def voxel_mm(self) -> np.ndarray:
        return np.array(self.field_of_view_mm) / self.matrix

    @property
    def voxel_ul(self) -> float:
        """Nominal voxel volume, uL (mm^3)."""
        return float(np.prod(self.voxel_mm))

    @property
    def affine(self) -> np.ndarray:
        """Voxel indices to mm; the middle of the field of view is the origin."""
        return grid_affine(self.matrix, self.field_of_view_mm)

    @cached_property
    def orders(self) -> list[np.ndarray]:
        """Phase-encoding steps along each axis, 1 / field of view."""
        return [np.arange(n) - n // 2 for n in self.matrix]

    @cached_property
    def sampled(self) -> np.ndarray:
        """(kx, ky, kz) bool: positions that are measured, without the surface of the ellipsoid, whose highest step has
        no partner in an even matrix: so the PSF stays real.
        """
        if self.sampling == "cube":
            return np.ones(self.matrix, bool)
        k = np.meshgrid(*(o / (n / 2) for o, n in zip(self.orders, self.matrix, strict=True)), indexing="ij")
        return sum(x**2 for x in k) < 1 - 1e-9

    @property
    def n_encodings(self) -> int:
        return int(self.sampled.sum())

    @property
    def filled(self) -> float:
        """Share of the positions that are measured: the noise variance of a voxel relative to a full cube's."""
        return self.n_encodings / int(np.prod(self.matrix))

    @cached_property
    def _to_image(self) -> list[np.ndarray]:
        """Per axis (voxel, step): inverse Fourier transform to the voxel centers."""
        return [
            np.exp(2j * np.pi * np.outer((np.arange(n) + 0.5) / n - 0.5, o))
            for n, o in zip(self.matrix, self.orders, strict=True)
        ]

    def encode(self, fine: np.ndarray) -> np.ndarray:
        """What a fine object (X, Y, Z, ...) looks like on the DMI grid (x, y, z, ...), complex; a uniform one keeps its
        value.

        The object's points are boxes that fill the field of view, at least two per DMI voxel along each axis.
        """
        to_k = []
        for n, order in zip(fine.shape[:3], self.orders, strict=True):
            phases = np.exp(-2j * np.pi * np.outer(order, (np.arange(n) + 0.5) / n - 0.5))
            to_k.append(phases * np.sinc(order / n)[:, None] / n)  # the transform of a box, not of a point
        return self._image(_along_axes(to_k, fine))

    def _image(self, k_space: np.ndarray) -> np.ndarray:
        k_space = k_space * self.sampled.reshape(*self.matrix, *[1] * (k_space.ndim - 3))
        return _along_axes(self._to_image, k_space)

    def noise(self, rng: np.random.Generator, n_samples: int, box=(slice(None),) * 3) -> np.ndarray:
        """White noise of the encodings as an image sees it, (x, y, z, n_samples) complex64, SD 1 per real channel.

        `box` are the voxels that are wanted, three slices; the draws do not depend on it.
        """
        k_space = np.zeros((*self.matrix, n_samples), np.complex64)
        drawn = rng.standard_normal((self.n_encodings, 2 * n_samples), dtype=np.float32).view(np.complex64)
        k_space[self.sampled] = drawn / np.float32(np.sqrt(self.n_encodings))
        return _along_axes([matrix[part] for matrix, part in zip(self._to_image, box, strict=True)], k_space)

    def psf(self, offsets_mm) -> np.ndarray:
        """Point spread function at offsets (..., 3) from its peak; it sums to one over the voxels of the DMI grid."""
        k = np.argwhere(self.sampled) - np.array([n // 2 for n in self.matrix])
        phase = np.asarray(offsets_mm, float) / self.field_of_view_mm @ k.T
        return np.exp(2j * np.pi * phase).sum(-1).real / np.prod(self.matrix)

    def correlation(self, offsets_mm) -> np.ndarray:
        """Correlation of the noise of two points at a distance (..., 3)."""
        return self.psf(offsets_mm) / self.filled

    def correlation_matrix(self, mask: np.ndarray) -> np.ndarray:
        """Correlation (V, V) of the noise of the voxels of a mask; `InputError` for another grid or too many voxels."""
        if mask.shape != tuple(self.matrix):
            raise InputError(f"The mask has shape {mask.shape}, the encoded matrix {tuple(self.matrix)}.")
        voxels = np.argwhere(mask)
        if len(voxels) > LARGEST:
            raise InputError(f"{len(voxels)} voxels are too many for a dense correlation matrix; {LARGEST} at most.")
        # one value for each distance on the grid, looked up for all pairs
        steps = np.stack(np.meshgrid(*(np.arange(n) for n in self.matrix), indexing="ij"), -1)
        table = self.correlation(steps * self.voxel_mm)
        return table[tuple(np.moveaxis(np.abs(voxels[:, None] - voxels[None]), -1, 0))]

    def width_voxels(self, axis: int = 0) -> float:
        """Full width at half maximum of the point spread function along an axis, in voxels."""
        steps = np.linspace(0, 2, 4001)
        along = self.sampled.sum(tuple(i for i in range(3) if i != axis))
        fall = np.cos(2 * np.pi * np.outer(steps / self.matrix[axis], self.orders[axis])) @ along / self.n_encodings
        first = int(np.argmax(fall < 0.5))
        return float(2 * np.interp(0.5, fall[first - 1 : first + 1][::-1], steps[first - 1 : first + 1][::-1]))


@dataclass(frozen=True)
class EncodedNoise:
    """Noise for a part of an encoded grid: what `Phantom.measure` adds. `box` are three slices, None for all."""

    encoding: Encoding
    box: tuple | None = None

    def __call__(self, rng: np.random.Generator, n_samples: int) -> np.ndarray:
        """(x, y, z, n_samples) complex64, SD 1 per real channel."""
        return self.encoding.noise(rng, n_samples, self.box or (slice(None),) * 3)

    def crop(self, box) -> EncodedNoise:
        """The noise of a box (three slices) of this one."""
        own = self.box or tuple(slice(0, n) for n in self.encoding.matrix)
        return EncodedNoise(
            self.encoding, tuple(slice(a.start + b.start, a.start + b.stop) for a, b in zip(own, box, strict=True))
        )


def jinc(r_voxels) -> np.ndarray:
    """The analytic point spread function of a ball of k-space, one at its peak; `r_voxels` is in voxels."""
    x = np.pi * np.asarray(r_voxels, float)
    near = np.abs(x) < 1e-3
    safe = np.where(near, 1.0, x)
    return np.where(near, 1 - x**2 / 10, 3 * (np.sin(safe) - safe * np.cos(safe)) / safe**3)


def grid_affine(matrix, field_of_view_mm) -> np.ndarray:
    """Affine (mm) of a grid that is centered on the origin."""
    step = np.array(field_of_view_mm, float) / matrix
    affine = np.diag([*step, 1.0])
    affine[:3, 3] = -np.array(field_of_view_mm) / 2 + step / 2
    return affine


def encode_fids(encoding: Encoding, model: SignalModel, amplitudes, b0_hz, broadening_hz) -> np.ndarray:
    """Noiseless FIDs of a fine object on the DMI grid, (x, y, z, t) complex64; dephasing comes out of the sum.

    `amplitudes` (X, Y, Z, M) hold the sensitivity; `b0_hz`, `broadening_hz` (X, Y, Z) are the shift, and the width from
    what varies within an object point.
    """
    inside = (amplitudes != 0).any(-1)
    a = amplitudes[inside].astype(np.complex64)
    rate = (2j * np.pi * b0_hz[inside] - np.pi * broadening_hz[inside])[:, None]
    basis, time_s = model.basis().astype(np.complex64), model.acquisition.time_s
    out = np.empty((*encoding.matrix, len(time_s)), np.complex64)
    fine = np.zeros((*inside.shape, TIMES), np.complex64)
    # within a batch the envelope is that of its first point times one and the same table
    table = np.exp(rate * (time_s[:TIMES] - time_s[0])).astype(np.complex64)
    for start in range(0, len(time_s), TIMES):
        n = min(TIMES, len(time_s) - start)
        envelope = np.exp(rate * time_s[start]).astype(np.complex64) * table[:, :n]
        fine[inside, :n] = (a @ basis[start : start + n].T) * envelope
        out[..., start : start + n] = encoding.encode(fine[..., :n])
    return out


def _along_axes(matrices, values: np.ndarray) -> np.ndarray:
    """Apply one matrix (out, in) along each of the first three axes; the precision of `values` is kept."""
    single = values.dtype in (np.complex64, np.float32)
    x, y, z = (m.astype(np.complex64 if single else complex) for m in matrices)
    rest = values.shape[3:]
    values = x @ np.ascontiguousarray(values).reshape(values.shape[0], -1)
    values = y @ values.reshape(len(x), y.shape[1], -1)
    values = z @ values.reshape(len(x) * len(y), z.shape[1], -1)
    return values.reshape(len(x), len(y), len(z), *rest)
