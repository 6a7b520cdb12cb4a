"""The likeliest reason why a pooled residual is no noise: a library of what each imperfection leaves of a fit.

Each imperfection of the signal (`simulate.imperfections`) is put on the mean voxel, without noise, and fitted with the
signal model at hand: what the fit leaves is its shape. The pooled residual is explained by the shapes of each reason
in turn, as many as pay for themselves (log of the number of samples each: BIC); the reason that explains most is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from precise_lib.estimate.fit import FitResult, fit_fids
from precise_lib.quantify.pooled import Pooled, turned_back
from precise_lib.signal.model import SignalModel
from precise_lib.simulate import imperfections

SURE = 0.5  # share of the signal in the residual that a reason has to explain to be named


@dataclass(frozen=True)
class Reason:
    """An imperfection by `name`, in words, and what share of the residual's signal it explains.

    `gain` is twice the log likelihood that it brings, less what its shapes cost; `line`: the resonance with a second
    line.
    """

    name: str
    says: str
    share: float
    gain: float
    line: int | None = None

    @property
    def taught(self) -> bool:
        """Whether a data set can teach it to its signal model (`calibrate`)."""
        return self.line is not None or imperfections.IMPERFECTIONS[self.name].taught


@dataclass(frozen=True)
class Change:
    """One change of the mean voxel: the model it follows, and amplitudes of what only that model has."""

    name: str
    says: str
    model: SignalModel
    extra: np.ndarray
    line: int | None = None


def changes(model: SignalModel) -> Iterator[Change]:
    """Every imperfection of the signal by each of its sizes; what concerns single lines, of one line at a time."""
    others = [k for k in range(len(model.names)) if k != model.index(model.reference)]
    for name, entry in imperfections.IMPERFECTIONS.items():
        for size in entry.sizes if entry.signal is not imperfections.unchanged else ():
            right = entry.signal(model, size)
            extra = entry.extra(model, size) if entry.extra else np.zeros(0)
            if name == "second line":
                for place, k in enumerate(others):
                    says = entry.reason.replace("a metabolite", model.names[k])
                    yield Change(name, says, imperfections.second_line(model, size, place), extra, k)
                    yield Change(name, says, imperfections.second_line(model, -size, place), extra, k)
            elif entry.per_line:
                for k in range(len(model.names)):
                    lines = (*model.resonances[:k], right.resonances[k], *model.resonances[k + 1 :])
                    yield Change(name, entry.reason, replace(model, resonances=lines), extra)
            else:
                yield Change(name, entry.reason, right, extra)


def library(model: SignalModel, amplitudes, broadening_hz: float) -> list[tuple[Change, np.ndarray]]:
    """Changes with their shapes (t,): what the fit of a voxel with amplitudes (M,) leaves of each."""
    water, every = amplitudes[model.index(model.reference)], list(changes(model))
    fids = [c.model.fids(np.concatenate([amplitudes, water * c.extra]), 0.0, broadening_hz) for c in every]
    shapes = turned_back(np.array(fids), fit_fids(fids, model, n_jobs=1), model)
    return list(zip(every, shapes, strict=True))


def explained(residual, shapes, sigma: float, price: float) -> float:
    """What shapes (n, t) gain on a residual (t,) of noise SD `sigma`, one by one while each pays its `price`."""
    rest, free, gain = residual.astype(complex), shapes.astype(complex), 0.0
    for _ in range(len(shapes)):
        size = (np.abs(free) ** 2).sum(-1)
        seen = (free.conj() @ rest).real
        power = np.where(size > 1e-6 * size.max(), seen**2 / np.maximum(size, 1e-300), 0) / sigma**2
        best = int(power.argmax())
        if power[best] <= price:
            break
        gain += power[best] - price
        unit = free[best] / np.sqrt(size[best])
        rest = rest - (unit.conj() @ rest).real * unit
        free = free - (free @ unit.conj()).real[:, None] * unit
    return float(gain)


def reasons(pooled: Pooled, model: SignalModel, fit: FitResult) -> list[Reason]:
    """What explains the pooled residual of fits, the likeliest first."""
    n, known = len(pooled.residual), library(model, fit.amplitudes.mean(0), float(np.median(fit.broadening_hz)))
    signal = max(float((np.abs(pooled.residual) ** 2).sum()) / pooled.sigma**2 - 2 * n, 1e-9)
    found = []
    for says in dict.fromkeys(change.says for change, _ in known):
        group = [(change, shape) for change, shape in known if change.says == says]
        gain = explained(pooled.residual, np.array([shape for _, shape in group]), pooled.sigma, np.log(2 * n))
        found.append(Reason(group[0][0].name, says, min(gain / signal, 1.0), gain, group[0][0].line))
    return sorted(found, key=lambda r: -r.gain)


def likeliest(pooled: Pooled, model: SignalModel, fit: FitResult) -> Reason | None:
    """The reason that explains most of a pooled residual; None where none explains enough."""
    if pooled.offset:
        entry = imperfections.IMPERFECTIONS["offset"]
        return Reason(entry.name, entry.reason, 1.0, np.inf)
    first = reasons(pooled, model, fit)[0]
    return first if first.gain > 0 and first.share >= SURE else None
