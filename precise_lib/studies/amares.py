"""pyAMARES as an independent peer of the fit: another program, another optimizer, the same lines.

Optional, since it pins an older pandas: ``pip install precise-lib[amares]``. It is a yardstick for speed and
agreement and not in the registry.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import tempfile
from pathlib import Path

import numpy as np

from precise_lib.errors import InputError
from precise_lib.signal.model import SignalModel


def available() -> bool:
    """Whether pyAMARES is installed here."""
    return importlib.util.find_spec("pyAMARES") is not None


@contextlib.contextmanager
def _quiet():
    """No log below a warning: a fit writes a dozen lines."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)


def prior_knowledge(model: SignalModel, amplitude: float, slack_ppm: float = 0.4) -> str:
    """The model's lines as the table that pyAMARES reads: free widths, one phase, shifts within `slack_ppm`."""
    names, water = model.names, model.reference
    ppm = np.array([r.ppm for r in model.resonances]) - model.resonances[model.index(water)].ppm
    width = 1 / (np.pi * model.t2star_s)
    n = len(names)
    rows = [
        ["Index", *names],
        ["Initial Values", *[""] * n],
        ["amplitude", *[f"{amplitude / 3:g}"] * n],
        ["chemicalshift", *(f"{p:g}" for p in ppm)],
        ["linewidth", *(f"{w:g}" for w in width)],
        ["phase", *("0" if name == water else water for name in names)],
        ["g", *["0"] * n],
        ["Bounds", *[""] * n],
        ["amplitude", *['"(0, "'] * n],
        ["chemicalshift", *(f'"({p - slack_ppm:g},{p + slack_ppm:g})"' for p in ppm)],
        ["linewidth", *['"(1,100)"'] * n],
        ["phase", *['"(-180,180)"'] * n],
        ["g", *['"(0,1)"'] * n],
    ]
    return "\n".join(",".join(row) for row in rows) + "\n"


def amplitudes(fids, model: SignalModel) -> np.ndarray:
    """Amplitudes (V, M) of FIDs (V, t), one pyAMARES fit each, Lorentzian lines with free widths.

    Raises
    ------
    InputError : pyAMARES is not installed
    """
    if not available():
        raise InputError("pyAMARES is not installed; 'pip install precise-lib[amares]' in an environment of its own.")
    import pyAMARES

    acquisition = model.acquisition
    results = []
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()), _quiet():
        table = Path(folder, "lines.csv")
        for fid in np.asarray(fids, complex):
            table.write_text(prior_knowledge(model, float(np.abs(fid[0]))), encoding="utf-8")
            settings = {"MHz": acquisition.spectrometer_frequency_mhz, "sw": acquisition.bandwidth_hz, "deadtime": 0.0}
            settings |= {"priorknowledgefile": str(table), "preview": False, "normalize_fid": False, "g_global": 0.0}
            start = pyAMARES.initialize_FID(fid=fid.copy(), **settings)
            fit = pyAMARES.fitAMARES(
                fid_parameters=start, fitting_parameters=start.initialParams, method="leastsq", ifplot=False
            )
            results.append(fit.result_multiplets["amplitude"].to_numpy())
    return np.array(results)
