"""Whether an acquisition and a signal model can be meant: one judge for every file, header, card and command.

A number in other units passes every check of its kind and ends in memory that no computer has, or in maps of aliased
lines. Each refusal names the value and the likeliest slip.
"""

from __future__ import annotations

import numpy as np

from precise_lib.errors import InputError
from precise_lib.signal.model import SignalModel
from precise_lib.signal.parts import MHZ_PER_T, Acquisition

# least and largest value, unit, and other units with their size, in one of which the number may have been meant
SECONDS = {"ms": 1e-3, "us": 1e-6, "ns": 1e-9}
LIMITS = {
    "frequency": (0.1, 2000.0, "MHz", {"Hz": 1e-6, "kHz": 1e-3, "GHz": 1e3}),
    "dwell time": (1e-6, 0.02, "s", SECONDS),
    "dead time": (0.0, 0.02, "s", SECONDS),
    "repetition time": (1e-3, 60.0, "s", SECONDS),
    "flip angle": (0.1, 180.0, "degrees", {}),
    "carrier": (-1000.0, 1000.0, "ppm", {}),
    "T2*": (1e-4, 1.0, "s", SECONDS),
    "T1": (1e-3, 100.0, "s", SECONDS),
    "nuclei per molecule": (0.0, 100.0, "", {}),
}
FIELD_T = (0.005, 30.0)
DEAD_T2STAR = 3.0  # dead time in units of the longest T2* after which nothing is left to see: 5 %
SAME = 0.9975  # correlation of two lines that no data can tell apart: one width, 5 % of it apart


def plausible(what: str, value, remedy: str = "", of: str = "") -> float:
    """A number within `LIMITS`; raises `InputError` for any other, with `remedy` ("--tr sets it") as the way out."""
    low, high, unit, others = LIMITS[what]
    number = float(value) if isinstance(value, int | float | np.number) and not isinstance(value, bool) else np.nan
    if not low <= number <= high:
        meant = [
            f"{other} (that would be {number * size:.4g} {unit})"
            for other, size in others.items()
            if low < number * size <= high
        ]
        slip = f"; it was probably given in {meant[0]}" if meant else ""
        raise InputError(
            f"The {what}{of} is {value} {unit}".rstrip()
            + f", outside {low:g} to {high:g} {unit}".rstrip()
            + f"{slip}: give it in {unit or 'whole numbers'}"
            + (f" ({remedy})." if remedy else ".")
        )
    return number


def check_acquisition(a: Acquisition) -> None:
    """Raise `InputError` for numbers that no scanner has; the message names the likely slip."""
    mhz = plausible("frequency", a.spectrometer_frequency_mhz)
    if a.nucleus in MHZ_PER_T and not FIELD_T[0] <= a.field_t <= FIELD_T[1]:
        others = [n for n, ratio in MHZ_PER_T.items() if 0.2 <= mhz / ratio <= 25]
        slip = f" (perhaps it is that of {others[0]})" if others else ""
        raise InputError(
            f"The frequency {mhz:g} MHz of {a.nucleus} belongs to a field of {a.field_t:.3g} T{slip}: check both."
        )
    bandwidth = f"it may be the bandwidth in Hz, of {1 / a.dwell_time_s:.3g} s" if a.dwell_time_s > 100 else ""
    plausible("dwell time", a.dwell_time_s, bandwidth)
    plausible("dead time", a.dead_time_s)
    if a.repetition_time_s is not None:
        plausible("repetition time", a.repetition_time_s)
    if a.flip_angle_deg is not None:
        plausible("flip angle", a.flip_angle_deg)


def check_model(model: SignalModel) -> None:
    """Raise `InputError` for a model or acquisition that cannot be meant, or lines that no data can tell apart."""
    check_acquisition(model.acquisition)
    if not model.resonances:
        raise InputError("The signal model has no resonance: name at least one line.")
    for r in model.resonances:
        plausible("T2*", r.t2star_s, of=f" of {r.name}")
        for what, value in {"T1": r.t1_s, "nuclei per molecule": r.nuclei}.items():
            if value is not None:
                plausible(what, value, of=f" of {r.name}")
    if not model.reference_concentration_mm > 0 or not np.isfinite(model.reference_concentration_mm):
        raise InputError(
            f"The reference concentration is {model.reference_concentration_mm:g} mM; it must be positive."
        )
    _check_places(model)
    late, longest = model.acquisition.dead_time_s, float(model.lifetime_s.max())
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
                raise InputError(
                    f"{field} of {r.name} is {getattr(r, field):g} Hz, as much as the bandwidth: check it."
                )
