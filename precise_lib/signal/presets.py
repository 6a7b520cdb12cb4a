"""Chemical shifts of deuterated metabolites, and signal models from a list of their names."""

from __future__ import annotations

import math
import re

from precise_lib.errors import InputError

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

    Known names may be written in any case and may be given another shift.

    Raises
    ------
    InputError : an unknown name without a shift, a shift that is no number, or a name given twice

    Example
    -------
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
