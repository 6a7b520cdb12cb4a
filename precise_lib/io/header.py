"""What a NIfTI-MRS header says of the measurement where it changes a number, judged before anything is computed.

The standard (0.11) gives chemical shifts in ppm, times in s, angles in degrees. `EchoTime` runs from the excitation to
the start of a FID or the center of an echo, `AcquisitionStartTime` from there to the first sample: of a FID sequence
both add up to the dead time, after a spin echo only the second one counts.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace

import numpy as np

from precise_lib.errors import InputError
from precise_lib.signal.parts import Acquisition
from precise_lib.signal.plausible import plausible

SHORTEST_ECHO_S = 3e-3  # no spin echo of an imaging sequence is shorter: below it is the delay of a FID sequence
ASSUMED_CARRIER_PPM = 4.7  # for a file that knows an offset from it but not where it is


@dataclass(frozen=True)
class Header:
    """Facts of a header, None where it is silent; `read` maps its keys to what was made of them, in words.

    `carrier_ppm` is the chemical shift at zero frequency.
    """

    carrier_ppm: float | None = None
    dead_time_s: float | None = None
    repetition_time_s: float | None = None
    flip_angle_deg: float | None = None
    water_suppressed: bool = False
    read: dict[str, str] = field(default_factory=dict)

    def complete(self, acquisition: Acquisition) -> Acquisition:
        """An acquisition with the times and the angle that are known here."""
        known = {name: getattr(self, name) for name in ("dead_time_s", "repetition_time_s", "flip_angle_deg")}
        return replace(acquisition, **{name: value for name, value in known.items() if value is not None})


def parse(text: str) -> Header:
    """The `Header` of a header extension (JSON); raises `InputError` for values that cannot be, or k-space data."""
    keys = json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < 300 else float(digits))  # inf
    if any(np.ravel(keys.get("kSpace", False))):
        raise InputError("the data are still in k-space (kSpace is true): reconstruct them in space first.")
    read = {}

    def number(key: str, what: str, remedy: str) -> float | None:
        return None if key not in keys else plausible(what, keys[key], f"key {key} of the header; {remedy}")

    repetition = number("RepetitionTime", "repetition time", "--tr sets another")
    angle = number("ExcitationFlipAngle", "flip angle", "--flip-angle sets another")
    if repetition is not None:
        read["RepetitionTime"] = f"repetition time {repetition:g} s"
    if angle is not None:
        read["ExcitationFlipAngle"] = f"flip angle {angle:g} degrees"
    dead = _dead_time(keys, read)
    carrier = _carrier(keys, read)
    suppressed = keys.get("WaterSuppressed") is True
    if suppressed:
        read["WaterSuppressed"] = "water was suppressed, so it is no reference"
    applied = [step for step in keys.get("ProcessingApplied", ()) if isinstance(step, dict)]
    if applied:
        read["ProcessingApplied"] = ", ".join(str(step.get("Method", "unnamed")) for step in applied)
    return Header(carrier, dead, repetition, angle, suppressed, read)


def _dead_time(keys: dict, read: dict) -> float | None:
    """From the excitation (or the center of the echo) to the first sample, s."""
    start, echo = keys.get("AcquisitionStartTime"), keys.get("EchoTime")
    is_delay = isinstance(echo, int | float) and echo < SHORTEST_ECHO_S
    if echo is not None and not is_delay:
        read["EchoTime"] = f"a spin echo at {1e3 * echo:g} ms: no delay, and lines of a short T2 are weaker by it"
    if start is None and not is_delay:
        return None
    total = (start or 0) + (echo if is_delay else 0)
    dead = plausible("dead time", total, "keys AcquisitionStartTime and EchoTime of the header; --dead-time sets it")
    if is_delay:
        read["EchoTime"] = f"{1e3 * echo:g} ms: the delay of a sequence without an echo"
    if start is not None:
        read["AcquisitionStartTime"] = f"{1e3 * start:g} ms"
    return dead


def _carrier(keys: dict, read: dict) -> float | None:
    """Chemical shift at the receiver's frequency, ppm. `TxOffset` places the pulse alone and moves no line."""
    center, offset = keys.get("SpecFreqChemShift"), keys.get("RxOffset")
    if keys.get("TxOffset"):
        read["TxOffset"] = f"the pulse was {keys['TxOffset']:g} ppm from the spectrometer frequency: it moves no line"
    if center is None and not offset:
        return None
    total = (ASSUMED_CARRIER_PPM if center is None else center) + (offset or 0)
    carrier = plausible("carrier", total, "keys SpecFreqChemShift and RxOffset of the header")
    read["SpecFreqChemShift" if center is not None else "RxOffset"] = f"the receiver was at {carrier:.4g} ppm"
    return carrier


def nucleus(name: str) -> str:
    """A nucleus, mass first: 2H for "D", "2h" or "H2".

    >>> [nucleus(name) for name in ("D", "2h", "H2", "129XE", "31P")]
    ['2H', '2H', '2H', '129Xe', '31P']
    """
    text = name.strip()
    if text.upper() in ("D", "DEUTERIUM"):
        return "2H"
    parts = re.fullmatch(r"([0-9]+)([A-Za-z]{1,2})|([A-Za-z]{1,2})-?([0-9]+)", text)
    if parts is None:
        return name
    return (parts[1] or parts[4]) + (parts[2] or parts[3]).capitalize()
