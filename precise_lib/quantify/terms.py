"""What of a signal model a data set can teach: quantities common to all voxels, each with a prior."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from precise_lib.signal.model import SignalModel
from precise_lib.signal.parts import Resonance

# SD of the normal prior around the model file, in the unit of the term
SPREAD = {"dead time": 1e-3, "frequency": 5.0, "width": 10.0, "gaussian": 15.0**2, "splitting": 20.0**2}
STEP = {"dead time": 1e-7, "frequency": 1e-3, "width": 1e-3, "gaussian": 0.1, "splitting": 0.1}  # of a difference
UNITS = {"dead time": "s", "frequency": "Hz", "width": "Hz", "gaussian": "Hz^2", "splitting": "Hz^2"}
NARROWEST = 0.2  # of the width of a line that is left of it


@dataclass(frozen=True)
class Term:
    """One quantity of all voxels: `kind` is a key of `SPREAD`; of resonance `line`, or of all where that is None.

    Gaussian widths and the splitting of a line into equal halves count by their squares: the quantities themselves have
    no slope at zero.
    """

    kind: str
    line: int | None = None

    def lowest(self, model: SignalModel) -> float:
        """Of what may be added to the model's own: no dead time is negative."""
        if self.kind == "dead time":
            return -model.acquisition.dead_time_s
        return 0.0 if self.kind in ("gaussian", "splitting") else -np.inf

    def name(self, model: SignalModel) -> str:
        return self.kind if self.line is None else f"{self.kind} of {model.names[self.line]}"


def terms(model: SignalModel, split: int | None = None) -> list[Term]:
    """All terms; frequency and width of the reference are each voxel's own. The resonance `split` may be two lines."""
    own = [k for k in range(len(model.names)) if k != model.index(model.reference)]
    each = [Term(kind, k) for k in own for kind in ("frequency", "width", "gaussian")]
    if split is not None:
        each[each.index(Term("gaussian", split))] = Term("splitting", split)
    return [Term("dead time"), Term("gaussian"), *each]


def rows_of(resonance: Resonance) -> list[tuple]:
    """Lines of a resonance: ppm, real, imaginary, Gaussian width in Hz."""
    return list(resonance.lines or ((resonance.ppm, 1.0, 0.0, 0.0),))


def changed(model: SignalModel, found: list[Term], values) -> SignalModel:
    """The signal model with `values` (G,) added to its terms."""
    acquisition, resonances = model.acquisition, list(model.resonances)
    mhz = acquisition.spectrometer_frequency_mhz
    for term, value in zip(found, np.asarray(values, float), strict=True):
        if value == 0:
            continue
        if term.kind == "dead time":
            acquisition = replace(acquisition, dead_time_s=max(acquisition.dead_time_s + float(value), 0.0))
            continue
        for k in range(len(resonances)) if term.line is None else [term.line]:
            resonances[k] = _one(resonances[k], term.kind, float(value), mhz)
    return replace(model, acquisition=acquisition, resonances=tuple(resonances))


def _one(r: Resonance, kind: str, value: float, mhz: float) -> Resonance:
    """A resonance with one change."""
    if kind == "width":
        return replace(r, t2star_s=float(1 / max(1 / r.t2star_s + np.pi * value, NARROWEST / r.t2star_s)))
    rows = rows_of(r)
    if kind == "frequency":
        rows = [(p + value / mhz, *rest) for p, *rest in rows]
        return replace(r, ppm=float(r.ppm + value / mhz), lines=tuple(rows) if r.lines else ())
    if kind == "gaussian":
        rows = [(p, re, im, float(np.sqrt(max(g**2 + value, 0.0)))) for p, re, im, g in rows]
    else:
        apart = np.sqrt(max(value, 0.0)) / 2 / mhz
        rows = [(float(p + sign * apart), re / 2, im / 2, g) for p, re, im, g in rows for sign in (-1, 1)]
    return replace(r, lines=tuple(rows))


def slopes(given: SignalModel, found: list[Term], values) -> np.ndarray:
    """Derivatives (G, t, M) of the unit FIDs of ``changed(given, found, values)`` by each term."""
    now, out = changed(given, found, values).basis(), []
    for k, term in enumerate(found):
        step = np.array(values, float)
        step[k] += STEP[term.kind]
        out.append((changed(given, found, step).basis() - now) / STEP[term.kind])
    return np.array(out)
