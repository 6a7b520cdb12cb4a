"""A mask for data that come without one: the voxels in which the reference line stands out of the noise.

What voxels tell together (the range of the MRI, lambda, the SD factor of an estimator, the calibration of the signal
model, medians) is taken from them alone; the others are quantified too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from precise_lib.errors import InputError
from precise_lib.estimate.fit import default_max_shift_hz
from precise_lib.estimate.noise_model import Noise
from precise_lib.io import nifti
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import Series
from precise_lib.signal.noise import water_snr

FILE = "proposed_mask.nii.gz"  # a mask.nii.gz in the folder would be the user's
NONE = "none"  # in place of a mask: count every voxel, propose nothing
LEAST_SNR = 3.0  # of the reference; a fit is judged voxel by voxel from 5 on
CHANCE = 1e-3  # that noise alone makes a voxel of the object
CHUNK = 256  # FIDs whose spectra are in memory together


@dataclass(frozen=True)
class Proposed:
    """Voxels `inside` (x, y, z) bool of the `voxels` that can be estimated, and whose line told them."""

    inside: np.ndarray
    voxels: int
    line: str

    def of(self, series: Series) -> np.ndarray:
        """(N,) bool of the voxel-frames of a series."""
        return np.concatenate([self.inside[usable] for usable in series.usable])

    @property
    def left_out(self) -> int:
        return self.voxels - int(self.inside.sum())

    @property
    def said(self) -> list[str]:
        """A sentence where a voxel was left out."""
        if not self.left_out:
            return []
        return [
            f"No mask was given: the {int(self.inside.sum())} of {self.voxels} voxel(s) in which {self.line} stands "
            f"out of the noise (SNR of {LEAST_SNR:g} or more) were proposed as one, {FILE}, and the range of the MRI, "
            "lambda, calibration and SD factor come from them alone; '--mask none' counts every voxel."
        ]

    @property
    def about(self) -> dict:
        """The part of the summary."""
        return {"file": FILE, "voxels": int(self.inside.sum()), "of": self.voxels, "snr_at_least": LEAST_SNR}

    def write(self, folder, affine) -> None:
        nifti.write_image(Path(folder) / FILE, self.inside, affine, f"proposed mask, by the SNR of {self.line}")


def line_snr(fids, model: SignalModel, sigma) -> np.ndarray:
    """SNR (V,) of the reference (or strongest) line of FIDs (V, t) with the noise SD `sigma` (V,).

    The largest output of a filter matched to the line, over the shifts that a fit would search; zero where noise alone
    explains it.
    """
    at = [model.index(model.reference)] if model.reference is not None else np.flatnonzero(model.of_role("metabolite"))
    n, reach = model.acquisition.n_samples, default_max_shift_hz(model)
    near = np.abs(np.fft.fftfreq(2 * n, model.acquisition.dwell_time_s)) <= reach
    amplitudes = np.zeros((len(fids), len(model.names)))
    for k in at:
        line = model.basis()[:, k]
        energy = float((np.abs(line) ** 2).sum())
        seen = np.abs(np.fft.fft(fids * line.conj(), 2 * n)[:, near]).max(-1) / energy
        noise = np.asarray(sigma) * np.sqrt(2 * np.log(near.sum() / CHANCE) / energy)
        amplitudes[:, k] = np.where(seen > noise, seen, 0.0)
    return water_snr(model, amplitudes, sigma)


def proposed(series: Series, zero_filled: int = 0) -> Proposed | None:
    """The mask of a series without one; None where its noise is not known, or no voxel or only one holds signal.

    A voxel counts that has its line in half of the frames or more.
    """
    model = series.model
    try:
        noise = Noise.of(series, zero_filled)
    except InputError:
        return None
    w = 0 if model.reference is None else model.index(model.reference)
    sigma = noise.sigma * np.sqrt(noise.at(model.frequencies_hz * model.acquisition.dwell_time_s)[w])
    if not (sigma > 0).all():
        return None
    ends, found = 0, []
    for fids in series.chunks(CHUNK):
        found.append(line_snr(fids, model, sigma[ends : ends + len(fids)]) >= LEAST_SNR)
        ends += len(fids)
    hits = np.zeros(series.usable.shape, bool)
    hits[series.usable] = np.concatenate(found)
    usable = series.usable.sum(0)
    inside = (hits.sum(0) >= usable / 2) & (usable > 0)
    if inside.sum() < 2:
        return None
    return Proposed(inside, int((usable > 0).sum()), model.reference or "the strongest line")
