"""Proton MRSI at 3 T: a signal model with lipids, baseline and lineshape.

Semi-LASER at TE 35 ms. NAA, creatine, choline, myo-inositol and Glx (glutamate and glutamine 3 : 1) are simulated
with their couplings by `spins`; transitions closer than 2 Hz, a third of the line width, are merged. Amplitudes are in
units of creatine's, whose CH3 line has weight one: SNR is the height of that line. The macromolecules of `brain` make
the baseline; amplitude one is their normal amount beside 8 mM of creatine. A lipid line of amplitude one is as large as
creatine's CH3. Weaker metabolites are left out, of the truth as well.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from precise_lib.proton import spins
from precise_lib.proton.brain import MM_LINES, MM_MM
from precise_lib.signal.model import Acquisition, Resonance, SignalModel

CREATINE_MM = 8.0
T2STAR_S = 0.06  # 5.3 Hz
TE_S = 0.035
MERGE_HZ = 2.0
WEAKEST = 0.01  # of the strongest line of a metabolite
PARTS = {"NAA": {"NAA": 1.0}, "tCr": {"tCr": 1.0}, "tCho": {"tCho": 1.0}, "mI": {"mI": 1.0}}
PARTS |= {"Glx": {"Glu": 0.75, "Gln": 0.25}}
MAIN_PPM = {"NAA": 2.01, "tCr": 3.03, "tCho": 3.21, "mI": 3.56, "Glx": 2.35}
# CH3, CH2 and allylic CH2 of scalp fat: ppm, Gaussian width in Hz; ours
LIPIDS = {"Lip09": (0.9, 18.0), "Lip13": (1.3, 22.0), "Lip20": (2.05, 25.0)}


def merged_lines(parts: dict[str, float], acquisition: Acquisition) -> list:
    """Lines of a mixture of metabolites as `Resonance.lines`, in units of three protons per molecule."""
    systems, mhz = spins.load_systems(), acquisition.spectrometer_frequency_mhz
    found = [
        (hz, share * weight / 3)
        for name, share in parts.items()
        for moiety in systems[name]
        for hz, weight in [spins.transitions(moiety, mhz, TE_S, carrier_ppm=0.0)]
    ]
    hz, weight = (np.concatenate(values) for values in zip(*found, strict=True))
    order = np.argsort(hz)
    hz, weight = hz[order], weight[order]
    lines, start = [], 0
    while start < len(hz):
        here = slice(start, np.searchsorted(hz, hz[start] + MERGE_HZ))
        lines.append((np.average(hz[here], weights=np.abs(weight[here])) / mhz, weight[here].sum()))
        start = here.stop
    least = WEAKEST * max(abs(w) for _, w in lines)
    return [(round(p, 4), round(w.real, 4), round(w.imag, 4), 0.0) for p, w in lines if abs(w) >= least]


@lru_cache
def mrsi_3t(terms: bool = True) -> SignalModel:
    """The signal model; without `terms`, metabolites under Lorentzian lines and nothing else."""
    acquisition = Acquisition(384, 1 / 1250, 123.25, "1H")  # what echo-planar MRSI samples
    resonances = [
        Resonance(name, MAIN_PPM[name], T2STAR_S, lines=merged_lines(parts, acquisition))
        for name, parts in PARTS.items()
    ]
    if terms:
        scale = MM_MM / (3 * CREATINE_MM)
        baseline = [(ppm, round(scale * area, 4), 0.0, width) for ppm, area, width in MM_LINES]
        resonances.append(Resonance("MM", 0.9, T2STAR_S, "baseline", baseline))
        for name, (ppm, width) in LIPIDS.items():
            resonances.append(Resonance(name, ppm, T2STAR_S, "lipid", [(ppm, 1.0, 0.0, width)]))
    lineshape = "voigt" if terms else "lorentzian"
    return SignalModel(acquisition, resonances, 4.65, "tCr", CREATINE_MM, lineshape)


def without(model: SignalModel, *roles: str, lineshape: str | None = None) -> SignalModel:
    """The model less the resonances of some roles, with another lineshape if asked for: what each term costs."""
    kept = tuple(r for r in model.resonances if r.role not in roles)
    return replace(model, resonances=kept, lineshape=lineshape or model.lineshape)
