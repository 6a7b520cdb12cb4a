"""Chemical shifts of deuterated metabolites, lists of their names, and the signal models of the studies."""

from __future__ import annotations

import math
import re

from precise_lib.errors import InputError
from precise_lib.signal.model import SignalModel
from precise_lib.signal.parts import Acquisition, Resonance

# ppm. The first four as PRECISE-DMI prints them (finer values in the field: water 4.67, Glc 3.71-3.88, Lac 1.31);
# the others from the basis sets of DMIWizard (CC0). Tools differ on the reference by up to 0.15 ppm: `name:ppm` where
# the data say otherwise.
SHIFTS_2H_PPM = {
    "water": 4.7,
    "Glc": 3.7,
    "Glx": 2.4,
    "Lac": 1.3,
    "Gln": 2.44,
    "Glu": 2.34,
    "acetate": 1.91,
    "choline": 3.19,
    "betaine": 3.23,
    "BHB": 1.19,
}
LOWEST_PPM, HIGHEST_PPM = -5.0, 15.0  # beyond, a shift is a slip of the keyboard


def parse_metabolites(text: str) -> dict[str, float]:
    """Names and shifts (ppm) from ``water,Glc,Glx,Lac`` or, for what `SHIFTS_2H_PPM` lacks, ``name:ppm``.

    Known names may be written in any case and may be given another shift. Raises `InputError` for an unknown name
    without a shift, a shift that is not a number, or a name given twice.

    >>> parse_metabolites("water, glc, alanine:1.48")
    {'water': 4.7, 'Glc': 3.7, 'alanine': 1.48}
    """
    known = {name.lower(): name for name in SHIFTS_2H_PPM}
    found: dict[str, float] = {}
    for item in text.split(","):
        name, colon, ppm = (part.strip() for part in item.partition(":"))
        name = known.get(name.lower(), name)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name):  # it becomes part of file names
            raise InputError(
                f"The metabolites '{text}' have the name '{name}': use letters, digits and _.+-, with commas between."
            )
        if name.lower() in (other.lower() for other in found):
            raise InputError(f"The metabolites '{text}' name {name} twice: name each line once.")
        if not colon and name not in SHIFTS_2H_PPM:
            raise InputError(
                f"The shift of the metabolite '{name}' is not known: write it as {name}:ppm, or choose from "
                f"{', '.join(SHIFTS_2H_PPM)}."
            )
        try:
            value = float(ppm) if colon else SHIFTS_2H_PPM[name]
        except ValueError:
            value = math.nan
        if not LOWEST_PPM <= value <= HIGHEST_PPM:
            raise InputError(
                f"The shift of the metabolite '{name}' is '{ppm}': give a number between {LOWEST_PPM:g} and "
                f"{HIGHEST_PPM:g} ppm."
            )
        found[name] = value
    return found


# The lines of PRECISE-DMI; T2* is not printed there: 20 ms is the middle of the plausible 15-30 ms.
_2H_LINES = ("water", "Glc", "Glx", "Lac")


def default_2h_model(acquisition: Acquisition, t2star_s: float = 0.020) -> SignalModel:
    """Water, Glc, Glx and Lac for any 2H acquisition; raises `InputError` for another nucleus."""
    if acquisition.nucleus != "2H":
        raise InputError(f"The data are of {acquisition.nucleus}; deuterium (2H) data are needed.")
    return SignalModel(acquisition, tuple(Resonance(n, SHIFTS_2H_PPM[n], t2star_s) for n in _2H_LINES))


def dmi_11t7(t2star_s: float = 0.020) -> SignalModel:
    """The phantom study of PRECISE-DMI: 76.7 MHz, 512 samples, 2.5 kHz."""
    return default_2h_model(Acquisition(512, 1 / 2500, 76.7), t2star_s)


def dmi_rat(t2star_s: float = 0.020) -> SignalModel:
    """The in vivo rat studies of PRECISE-DMI: 76.7 MHz (11.74 T), 5 kHz; 1024 samples are ours (TR is 400 ms)."""
    return default_2h_model(Acquisition(1024, 1 / 5000, 76.7), t2star_s)


def dmi_7t(t2star_s: float = 0.025) -> SignalModel:
    """Human brain at 7 T: 45.75 MHz, 512 samples, 2.5 kHz; lines 13 Hz wide, the closest 46 Hz apart.

    T2* is assumed: below the T2 of 33-37 ms that is measured there.
    """
    return default_2h_model(Acquisition(512, 1 / 2500, 45.75), t2star_s)


def dmi_4t(t2star_s: float = 0.030) -> SignalModel:
    """Human brain at 4 T: 26.14 MHz, 512 samples, 2.5 kHz; lines 11 Hz wide, the closest 26 Hz apart, overlap."""
    return default_2h_model(Acquisition(512, 1 / 2500, 26.14), t2star_s)


def dmi_3t(t2star_s: float = 0.030) -> SignalModel:
    """Human brain at 3 T: 19.613053 MHz, 1400 samples, 5 kHz; lines 10 Hz wide, 20 Hz apart, overlap."""
    return default_2h_model(Acquisition(1400, 1 / 5000, 19.613053), t2star_s)
