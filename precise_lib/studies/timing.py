"""Timing side by side: a clock, a data set of the paper's in vivo size, a fit as one writes it first, and pyAMARES.

pyAMARES is an independent peer of the fit, another program with another optimizer on the same lines. It is optional,
since it pins an older pandas (``pip install precise-lib[amares]``), and a yardstick, not in the registry.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import tempfile
import time
from contextlib import ExitStack, redirect_stdout
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from precise_lib.errors import InputError
from precise_lib.estimate.fit import fit_fids
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import MRSI
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.signal.presets import dmi_11t7


def seconds(function, repeats: int = 3) -> float:
    """Median wall time of a call after one warm-up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def noisy_fids(n: int, snr: float = 12.1, seed: int = 0) -> np.ndarray:
    """FIDs (n, t) complex64 of one typical voxel of the phantom study, with its own noise each."""
    model, rng = dmi_11t7(), np.random.default_rng(seed)
    clean = model.fids([[1.0, 0.25, 0.3, 0.1]], 3.0, 2.0)
    return add_noise(np.tile(clean, (n, 1)), snr_to_sigma(model, snr), rng).astype(np.complex64)


def cube(side: int = 11, snr: float = 10.0, seed: int = 1) -> MRSI:
    """A side x side x side set with an MRI of eight blocks: the size of the paper's in vivo data (11 x 11 x 11)."""
    model, rng = dmi_11t7(), np.random.default_rng(seed)
    clean = model.fids(np.tile([1.0, 0.3, 0.4, 0.1], (side, side, side, 1)))
    fids = add_noise(clean, snr_to_sigma(model, snr), rng)
    block = -(-side // 2)
    mri = np.kron(rng.random((2, 2, 2)), np.ones((block, block, block)))[:side, :side, :side]
    return MRSI(fids, model, mri=mri, mri_affine=np.eye(4))


def per_voxel_fit(fids: np.ndarray, model: SignalModel) -> np.ndarray:
    """Amplitudes (V, M), one FID at a time by `scipy.optimize.least_squares` from the nominal start, with a numeric
    Jacobian and for small shifts only; the yardstick of speed in claim P5.
    """
    m = len(model.names)

    def amplitudes(fid):
        scale = np.abs(fid[0])

        def residual(p):
            difference = model.fids(p[:m] * scale, p[m], p[m + 1], p[m + 2]) - fid
            return np.concatenate([difference.real, difference.imag]) / scale

        start = [0.5, *[0.2] * (m - 1), 0.0, 0.0, np.angle(fid[0])]
        return least_squares(residual, start, x_scale=[0.1] * m + [1, 1, 0.1]).x[:m] * scale

    return np.array([amplitudes(fid) for fid in np.asarray(fids, complex)])


def amares_installed() -> bool:
    """Whether pyAMARES is installed here."""
    return importlib.util.find_spec("pyAMARES") is not None


def prior_knowledge(model: SignalModel, amplitude: float, slack_ppm: float = 0.4) -> str:
    """The model's lines as the table that pyAMARES reads: free widths, one phase, shifts within `slack_ppm`."""
    names, water = model.names, model.reference
    ppm = np.array([r.ppm for r in model.resonances]) - model.resonances[model.index(water)].ppm
    width = 1 / (np.pi * model.t2star_s)
    n = len(names)
    start = {"Index": names, "Initial Values": [""] * n, "amplitude": [f"{amplitude / 3:g}"] * n}
    start |= {"chemicalshift": [f"{p:g}" for p in ppm], "linewidth": [f"{w:g}" for w in width]}
    start |= {"phase": ["0" if name == water else water for name in names], "g": ["0"] * n}
    shifts = [f'"({p - slack_ppm:g},{p + slack_ppm:g})"' for p in ppm]
    bounds = {"Bounds": [""] * n, "amplitude": ['"(0, "'] * n, "chemicalshift": shifts}
    bounds |= {"linewidth": ['"(1,100)"'] * n, "phase": ['"(-180,180)"'] * n, "g": ['"(0,1)"'] * n}
    return "".join(",".join([name, *row]) + "\n" for part in (start, bounds) for name, row in part.items())


def amares_amplitudes(fids, model: SignalModel) -> np.ndarray:
    """Amplitudes (V, M) of FIDs (V, t), one pyAMARES fit of free widths each; `InputError` where not installed."""
    if not amares_installed():
        raise InputError("pyAMARES is not installed; 'pip install precise-lib[amares]' in an environment of its own.")
    import pyAMARES

    acquisition, results, before = model.acquisition, [], logging.root.manager.disable
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), ExitStack() as after:
        logging.disable(logging.INFO)  # a fit writes a dozen lines
        after.callback(logging.disable, before)
        table = Path(folder, "lines.csv")
        for fid in np.asarray(fids, complex):
            table.write_text(prior_knowledge(model, float(np.abs(fid[0]))), encoding="utf-8")
            settings = {"MHz": acquisition.spectrometer_frequency_mhz, "sw": acquisition.bandwidth_hz, "deadtime": 0.0}
            settings |= {"priorknowledgefile": str(table), "preview": False, "normalize_fid": False, "g_global": 0.0}
            start = pyAMARES.initialize_FID(fid=fid.copy(), **settings)
            given = {"fid_parameters": start, "fitting_parameters": start.initialParams}
            fit = pyAMARES.fitAMARES(**given, method="leastsq", ifplot=False)
            results.append(fit.result_multiplets["amplitude"].to_numpy())
    return np.array(results)


def seconds_per_fid(sve, fids: np.ndarray, model: SignalModel, n_slow: int = 40) -> dict[str, float]:
    """Seconds a FID of `sve` and of the "vectorized fit", for all `fids` (V, t), and for `n_slow` of them of the
    "per-voxel fit" and, first where it is installed, "pyAMARES"; one after the other in this process.
    """
    few = fids[:n_slow]
    times = {"pyAMARES": seconds(lambda: amares_amplitudes(few, model)) / n_slow} if amares_installed() else {}
    return times | {
        "per-voxel fit": seconds(lambda: per_voxel_fit(few, model)) / n_slow,
        "vectorized fit": seconds(lambda: fit_fids(fids, model)) / len(fids),
        "SVE": seconds(lambda: sve(fids)) / len(fids),
    }
