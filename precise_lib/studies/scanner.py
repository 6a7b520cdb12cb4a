"""What no signal model can mend, mended by the tool: saturation, labeled water, coils and drift, from file to maps.

The files have the noise of the ideal data of the same seed: combined with the right weights, turned by the right
frequencies, what is left is that noise, so that a bias shows free of chance.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from nifti_mrs.create_nmrs import gen_nifti_mrs

from precise_lib.io import nifti_mrs
from precise_lib.quantify import quantify, result
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import MRSI
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.simulate.imperfections import FLIP_DEG, T1_S, simulate

TRANSIENTS = 16  # of a drift, as `simulate.imperfections` averages them
WATER_SNR = 10.0  # times that of the data: a scan of water alone, from before the label


def _saturated(folder: Path, ideal: MRSI, seen: MRSI, size: float, snr: float, rng) -> tuple[Path, dict]:
    """A header with TR and flip angle, and T1 known exactly."""
    a = replace(ideal.model.acquisition, repetition_time_s=size, flip_angle_deg=FLIP_DEG)
    nifti_mrs.write_mrsi(folder / "dmi.nii", seen.replace(model=replace(ideal.model, acquisition=a)))
    t1 = ",".join(f"{name}={T1_S.get(name, T1_S['Lac'])}+-0" for name in ideal.model.names)
    return folder / "dmi.nii", {"t1": t1}


def _labeled(folder: Path, ideal: MRSI, seen: MRSI, size: float, snr: float, rng) -> tuple[Path, dict]:
    """A scan of the water from before the label."""
    model, alone = ideal.model, np.zeros(len(ideal.model.names))
    alone[model.index(model.reference)] = 1.0
    water = simulate([], model, np.broadcast_to(alone, (*ideal.grid_shape, len(alone))), WATER_SNR * snr, rng)
    nifti_mrs.write_mrsi(folder / "dmi.nii", seen)
    nifti_mrs.write_mrsi(folder / "water.nii", MRSI(water.fids, model))
    return folder / "dmi.nii", {"water": folder / "water.nii"}


def _raw(path: Path, fids, model: SignalModel, tag: str) -> Path:
    """FIDs (x, y, z, t, n) of coils or transients as a file."""
    a, tags = model.acquisition, [tag, None, None]
    mrs = gen_nifti_mrs(
        fids.astype(np.complex64), a.dwell_time_s, a.spectrometer_frequency_mhz, a.nucleus, dim_tags=tags
    )
    mrs.save(path)
    return path


def _coils(folder: Path, ideal: MRSI, seen: MRSI, size: float, snr: float, rng) -> tuple[Path, dict]:
    """Single coils of unlike phases, with white noise of which the best sum is that of the ideal data."""
    n = int(size)
    s = np.exp(1j * rng.uniform(-np.pi, np.pi, n)) / np.sqrt(n)
    unitary, _ = np.linalg.qr(np.column_stack([s, rng.standard_normal((n, n - 1))]))
    unitary[:, 0] = s
    sigma = float(snr_to_sigma(ideal.model, snr))
    more = sigma * rng.standard_normal((*ideal.fids.shape, n - 1, 2)).view(complex)[..., 0]
    each = np.concatenate([ideal.fids[..., None], more], -1) @ unitary.T
    return _raw(folder / "raw.nii", each, ideal.model, "DIM_COIL"), {}


def _drift(folder: Path, ideal: MRSI, seen: MRSI, size: float, snr: float, rng) -> tuple[Path, dict]:
    """Single transients whose frequency drifts by `size` Hz in all, to be aligned."""
    shape, sigma = (*ideal.fids.shape, TRANSIENTS), float(snr_to_sigma(ideal.model, snr)) * np.sqrt(TRANSIENTS)
    more = sigma * rng.standard_normal((*shape, 2)).view(complex)[..., 0]
    steps = np.linspace(-size / 2, size / 2, TRANSIENTS) * ideal.model.acquisition.time_s[:, None]
    each = (ideal.fids[..., None] + more - more.mean(-1, keepdims=True)) * np.exp(2j * np.pi * steps)
    return _raw(folder / "raw.nii", each, ideal.model, "DIM_DYN"), {"average": True}


TOOL: dict[str, Callable] = {"T1": _saturated, "labeled water": _labeled, "coils": _coils, "drift": _drift}


def quantified(name: str, size: float, ideal: MRSI, seen: MRSI, snr: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Concentrations and SD (V, M) in mM by ``precise quantify``, told what a scanner knows of an entry of `TOOL`.

    `ideal` and `seen` are the data without it and with it, of the same noise.
    """
    with tempfile.TemporaryDirectory(prefix="precise-") as own:
        dmi, told = TOOL[name](Path(own), ideal, seen, size, snr, np.random.default_rng([seed, 13]))
        quantify(dmi, Path(own, "out"), mask="none", estimator="fit", calibrate="off", **told)
        found = result.read(Path(own, "out"))
    values = (found[kind].transpose("x", "y", "z", "metabolite").values for kind in ("concentration", "sd"))
    return tuple(x.reshape(-1, x.shape[-1]) for x in values)
