"""Signal models as files: what is known of the lines (prior knowledge), in YAML that a person reads and edits::

    carrier_ppm: 4.7
    reference: water        # null: amplitudes in the data's own units
    resonances:
      - {name: water, ppm: 4.7, t2star_s: 0.020}
      - name: Glc
        t2star_s: 0.020
        lines: [{ppm: 3.71, ratio: 0.5}, {ppm: 3.88, ratio: 0.5}]

A resonance is one amplitude. Its `lines` keep their `ratio` (brought to a sum of one) and their places, by `ppm` or by
`hz` from the resonance's own ppm; `phase_deg` and `gaussian_hz` are zero where not given. All resonances share shift
and width, but for those with `shift_sd_hz` or `width_sd_hz`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np

from precise_lib.errors import InputError, reason
from precise_lib.io import text
from precise_lib.signal import plausible
from precise_lib.signal.model import SignalModel
from precise_lib.signal.parts import Acquisition

LINE = ("ppm", "hz", "ratio", "phase_deg", "gaussian_hz")
TEMPLATES = {  # carrier in ppm, reference, its mM, lines with ppm and T2* in ms: of the presets, or of the literature
    "2H": (4.7, "water", 10, (("water", 4.7, 20), ("Glc", 3.7, 20), ("Glx", 2.4, 20), ("Lac", 1.3, 20))),
    "1H": (4.7, "water", 35880, (("water", 4.65, 30), ("Cho", 3.19, 60), ("Cr", 3.03, 60), ("NAA", 2.01, 60))),
    "31P": (0, None, 10, (("PCr", 0, 30), ("Pi", 4.84, 20), ("gATP", -2.5, 15), ("aATP", -7.56, 15))),
    "129Xe": (0, None, 10, (("gas", 0, 20), ("membrane", 197, 2), ("RBC", 217, 2))),
}
COMMENTS = """\
# Signal model of {nucleus} for precise: edit, delete what is not needed, then
#   precise quantify DMI.nii.gz --estimator fit --model THIS.yaml --out maps
# One resonance is one amplitude. All share one shift, width and phase, which are found in each voxel. Of a resonance:
#   name, t2star_s             needed; T2* in s: the width is 1 / (pi T2*), and what a voxel has beyond it is found
#   ppm                        needed, but with lines that have a ppm each
#   lines                      several lines in fixed proportion, such as
#     [{{ppm: 3.71, ratio: 0.5}}, {{ppm: 3.88, ratio: 0.5}}] or, J-coupled, [{{hz: -8}}, {{hz: 8}}]
#   shift_sd_hz, width_sd_hz   how far, in Hz, its shift or width may be from the others' (SD of a prior)
#   role                       metabolite, baseline (fitted, not of interest) or lipid (moves by up to 20 Hz)
#   t1_s, t1_sd_s, nuclei      for concentrations: T1 with its SD, nuclei per molecule that make the line
"""


def read_signal_model(path, acquisition: Acquisition, carrier_ppm: float | None = None) -> SignalModel:
    """A `SignalModel` from a YAML or JSON file; an acquisition and a carrier that it lacks are those of the data.

    Raises `InputError` where it is not readable, lacks a field or has an unknown one, or cannot be meant.
    """
    values = text.read_yaml(path, "The signal model")
    if not isinstance(values, Mapping):
        raise InputError(f"The signal model {path} must be a mapping with 'resonances'.")
    try:
        own = values.get("acquisition", {})
        if not isinstance(own, Mapping):
            raise InputError(f"The acquisition is {own!r}; it must be a mapping of fields to values.")
        known = {} if carrier_ppm is None else {"carrier_ppm": carrier_ppm}
        values = {**known, **values, "acquisition": asdict(acquisition) | dict(own)}
        if isinstance(values.get("resonances"), list):
            mhz = values["acquisition"]["spectrometer_frequency_mhz"]
            values["resonances"] = [_expanded(r, mhz) for r in values["resonances"]]
        model = SignalModel.from_dict(values)
        plausible.check_model(model)
    except (InputError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"The signal model {path} cannot be used: {reason(error)}.") from error
    return model


def _expanded(resonance, mhz: float):
    """A resonance whose lines are rows of numbers, as `Resonance` takes them."""
    lines = resonance.get("lines") if isinstance(resonance, Mapping) else None
    if not lines or not isinstance(lines, list) or not any(isinstance(line, Mapping) for line in lines):
        return resonance
    name, rows = resonance.get("name"), []
    for line in lines:
        if not isinstance(line, Mapping) or set(line) - set(LINE) or ("ppm" in line) == ("hz" in line):
            raise InputError(f"A line of {name} is {line!r}; it has ppm or hz, and maybe {', '.join(LINE[2:])}.")
        for field, value in line.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
                raise InputError(f"{field} of a line of {name} is {value!r}: give a number.")
        if "hz" in line and "ppm" not in resonance:
            raise InputError(f"A line of {name} is given by hz from the resonance's own ppm: give that too.")
        ppm = line["ppm"] if "ppm" in line else resonance["ppm"] + line["hz"] / mhz
        weight = line.get("ratio", 1.0) * np.exp(1j * np.radians(line.get("phase_deg", 0.0)))
        rows.append((ppm, weight, line.get("gaussian_hz", 0.0)))
    total = sum(abs(weight) for _, weight, _ in rows)
    if not total > 0:
        raise InputError(f"The ratios of the lines of {name} are all zero.")
    rows = [(float(ppm), float((w / total).real), float((w / total).imag), float(g)) for ppm, w, g in rows]
    return {"ppm": max(rows, key=lambda row: np.hypot(*row[1:3]))[0], **resonance, "lines": rows}


def template(nucleus: str) -> str:
    """A commented signal model to edit; `InputError` for a nucleus without one."""
    known = {name.lower(): name for name in TEMPLATES}
    if nucleus.lower() not in known:
        raise InputError(f"There is no example for the nucleus '{nucleus}'; there is one for {', '.join(TEMPLATES)}.")
    nucleus = known[nucleus.lower()]
    carrier, reference, concentration, lines = TEMPLATES[nucleus]
    out = [COMMENTS.format(nucleus=nucleus), f"carrier_ppm: {carrier}  # the shift at the scanner's frequency"]
    out.append(f"reference: {reference or 'null'}  # null: amplitudes in the data's own units")
    out += [f"reference_concentration_mm: {concentration}"] if reference else []
    out.append("lineshape: lorentzian  # voigt: each voxel has an unknown Gaussian width too")
    out.append("resonances:")
    out += [f"  - {{name: {name}, ppm: {ppm}, t2star_s: {t2 / 1000:.3f}}}" for name, ppm, t2 in lines]
    return "\n".join(out) + "\n"
