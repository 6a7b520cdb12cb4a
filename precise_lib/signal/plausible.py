"""Whether an acquisition and a signal model can be meant: one judge for every file, header, card and command.

A number in other units passes every check of its kind and ends in memory that no computer has, or in maps of aliased
lines. Each refusal names the value and the likeliest slip.
"""

from __future__ import annotations

import numpy as np

from precise_lib.errors import InputError
from precise_lib.signal.model import MHZ_PER_T, Acquisition, SignalModel

FREQUENCY_MHZ = (0.1, 2000.0)
FIELD_T = (0.005, 30.0)  # of the nuclei whose ratio is known
DWELL_S = (1e-6, 0.02)
LATEST_S = 0.1  # of a dead time: no line of living tissue is left
REPETITION_S = (1e-3, 100.0)
T2STAR_S = (1e-4, 1.0)
T1_S = (1e-3, 100.0)
DEAD_T2STAR = 3.0  # dead time in units of the longest T2* after which nothing is left to see: 5 %
SAME = 0.9975  # correlation of two lines that no data can tell apart: one width, 5 % of it apart
UNITS = {1e9: "ns", 1e6: "us", 1e3: "ms"}


def check_acquisition(a: Acquisition) -> None:
    """Raise `InputError` for numbers that no scanner has; the message names the likely slip."""
    mhz, dwell = a.spectrometer_frequency_mhz, a.dwell_time_s
    if not _within(mhz, FREQUENCY_MHZ):
        slip = _first(mhz, {1e-6: "Hz", 1e-3: "kHz", 1e3: "GHz"}, FREQUENCY_MHZ)
        raise InputError(f"The frequency is {mhz:g} MHz; {slip} between {FREQUENCY_MHZ[0]:g} and {FREQUENCY_MHZ[1]:g}.")
    if a.nucleus in MHZ_PER_T and not _within(a.field_t, FIELD_T):
        others = [n for n, ratio in MHZ_PER_T.items() if 0.2 <= mhz / ratio <= 25]
        slip = f" (perhaps it is that of {others[0]})" if others else ""
        raise InputError(
            f"The frequency {mhz:g} MHz of {a.nucleus} belongs to a field of {a.field_t:.3g} T{slip}: check nucleus and "
            "frequency."
        )
    if not _within(dwell, DWELL_S):
        slip = _first(dwell, {1 / factor: unit for factor, unit in UNITS.items()} | {1e6: "Ms"}, DWELL_S)
        if _within(1 / dwell, DWELL_S) and dwell > 100:
            slip += f" (or it is the bandwidth in Hz, of {1 / dwell:.3g} s)"
        raise InputError(f"The dwell time is {dwell:g} s; {slip} between {DWELL_S[0]:g} and {DWELL_S[1]:g}.")
    if not 0 <= a.dead_time_s <= LATEST_S:
        slip = _first(a.dead_time_s, {1 / f: unit for f, unit in UNITS.items()}, (0, 0.02))
        raise InputError(f"The dead time is {a.dead_time_s:g} s; {slip} between 0 and {LATEST_S:g}.")
    if a.repetition_time_s is not None and not _within(a.repetition_time_s, REPETITION_S):
        slip = _first(a.repetition_time_s, {1e-3: "ms", 1e-6: "us"}, (0.01, 30))
        limits = f"between {REPETITION_S[0]:g} and {REPETITION_S[1]:g}"
        raise InputError(f"The repetition time is {a.repetition_time_s:g} s; {slip} {limits}.")
    if a.flip_angle_deg is not None and not 0 < a.flip_angle_deg <= 180:
        raise InputError(f"The flip angle is {a.flip_angle_deg:g}; give it in degrees, above 0 and up to 180.")


def check_model(model: SignalModel) -> None:
    """Raise `InputError` for a model whose lines cannot be meant or told apart, or whose acquisition cannot be meant."""
    check_acquisition(model.acquisition)
    if not model.resonances:
        raise InputError("The signal model has no resonance: name at least one line.")
    for r in model.resonances:
        if not _within(r.t2star_s, T2STAR_S):
            slip = _first(r.t2star_s, {1e-3: "ms", 1e-6: "us"}, (1e-3, 1.0))
            raise InputError(f"T2* of {r.name} is {r.t2star_s:g} s; {slip} between {T2STAR_S[0]:g} and {T2STAR_S[1]:g}.")
        if r.t1_s is not None and not _within(r.t1_s, T1_S):
            slip = _first(r.t1_s, {1e-3: "ms"}, T1_S)
            raise InputError(f"T1 of {r.name} is {r.t1_s:g} s; {slip} between {T1_S[0]:g} and {T1_S[1]:g}.")
        if r.nuclei is not None and r.nuclei > 100:
            raise InputError(f"{r.name} has {r.nuclei:g} nuclei per molecule; give those that make its line, at most 100.")
    if not model.reference_concentration_mm > 0 or not np.isfinite(model.reference_concentration_mm):
        raise InputError(f"The reference concentration is {model.reference_concentration_mm:g} mM; it must be positive.")
    _check_places(model)
    late, longest = model.acquisition.dead_time_s, float(model.t2star_s.max())
    if late > DEAD_T2STAR * longest:
        raise InputError(
            f"The dead time of {1e3 * late:g} ms is more than {DEAD_T2STAR:g} times the longest T2* ({1e3 * longest:g} "
            "ms): no signal is left; check both, they are in s."
        )
    basis = model.basis()
    gram = np.abs((basis.conj().T @ basis).real)
    size = np.sqrt(np.diag(gram))
    same = np.triu(gram / (size[:, None] * size), 1) > SAME
    if same.any():
        first, second = (model.names[i] for i in np.argwhere(same)[0])
        raise InputError(
            f"The lines {first} and {second} lie at one place and are as wide: no data can tell them apart; keep one."
        )


def _check_places(model: SignalModel) -> None:
    """Raise `InputError` for a line or own width beyond the bandwidth."""
    half, mhz = model.acquisition.bandwidth_hz / 2, model.acquisition.spectrometer_frequency_mhz
    for r in model.resonances:
        for ppm in [line[0] for line in r.lines] or [r.ppm]:
            hz = (ppm - model.carrier_ppm) * mhz
            if not abs(hz) < half:
                raise InputError(
                    f"{r.name} at {ppm:g} ppm is {hz:.4g} Hz from the carrier ({model.carrier_ppm:g} ppm), beyond the "
                    f"bandwidth of +-{half:.4g} Hz: check its ppm and carrier_ppm."
                )
        for field in ("shift_sd_hz", "width_sd_hz"):
            if getattr(r, field) > half / 4:
                raise InputError(f"{field} of {r.name} is {getattr(r, field):g} Hz, as much as the bandwidth: check it.")


def _within(value: float, limits: tuple[float, float]) -> bool:
    return bool(limits[0] <= value <= limits[1])


def _first(value: float, units: dict[float, str], limits: tuple[float, float]) -> str:
    """Which unit a value was probably given in, and what to give instead: the beginning of a sentence."""
    for factor, unit in units.items():
        if value > 0 and _within(value * factor, limits):
            return f"it was probably given in {unit} (then it is {value * factor:.4g}): give a number"
    return "give a number"
