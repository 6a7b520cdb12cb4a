"""What ``precise quantify`` does with what a data set teaches: model, estimator, SD, sentences, and a file to keep."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from precise_lib.errors import InputError, reason
from precise_lib.estimate.noise_model import Noise
from precise_lib.evaluate.closed_form import ErrorMaps
from precise_lib.io import nifti_mrs, text
from precise_lib.quantify import pooled
from precise_lib.quantify.calibrate import Calibration, calibrate
from precise_lib.quantify.errors import ErrorModel, number
from precise_lib.quantify.learn import sensitivity
from precise_lib.quantify.measurement import Measurement
from precise_lib.quantify.terms import UNITS, Term, changed, slopes
from precise_lib.signal import plausible
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import Series

FILE, OFFERED = "calibrated.yaml", "offered.yaml"
SAMPLE = 2 * pooled.MOST  # FIDs among which those are chosen that teach


@dataclass(frozen=True)
class Taught:
    """Terms of a signal model with their `values` (G,) and `covariance` (G, G), and what is said of them.

    Without terms the model `given` stayed as it is; `offered` may be one with a line more.
    """

    given: SignalModel
    model: SignalModel
    terms: tuple[Term, ...]
    values: np.ndarray
    covariance: np.ndarray
    said: list[str]
    about: dict
    offered: SignalModel | None = None

    def on_errors(self, maps: ErrorMaps, errors: ErrorModel, settings=None) -> ErrorMaps:
        """Errors with what the uncertainty of the terms adds to the SD; the summary says how much.

        Each term moves all voxels together: averaging over voxels does not take its part away.
        """
        if not self.terms:
            return maps
        known = errors.estimates
        by_term = slopes(self.given, list(self.terms), self.values)
        values, vectors = np.linalg.eigh(self.covariance / np.outer(*[self._unit] * 2))
        axes = (vectors * np.sqrt(np.maximum(values, 0))) * self._unit[:, None]
        moved = sensitivity(known.fit, self.model, np.einsum("gtm,gh->htm", by_term, axes))

        def concentrations(change):
            changed = replace(known, amplitudes=known.amplitudes + change)
            return replace(errors, estimates=changed).concentrations(None if errors.smoothing is None else settings)

        now = concentrations(0.0)
        part = sum((concentrations(moved[..., h]) - now) ** 2 for h in range(moved.shape[-1]))
        of_each = np.sqrt(np.nanmedian(part, 0))
        self.about["part_in_median_sd_mm"] = {n: number(x) for n, x in zip(self.model.names, of_each, strict=True)}
        return replace(maps, sd=np.sqrt(maps.sd**2 + part))

    @property
    def within_error(self) -> bool:
        """Whether no term differs from nothing by more than its SD."""
        return bool((np.abs(self.values) <= self._unit).all())

    @property
    def _unit(self) -> np.ndarray:
        return np.sqrt(np.diag(self.covariance))

    @property
    def kept(self) -> dict:
        """Content of ``calibrated.yaml``: the model, with what makes its uncertainty, for ``--calibrate FILE``."""
        names = self.given.names
        learned = [
            {"kind": t.kind, "line": None if t.line is None else names[t.line], "value": float(v)}
            for t, v in zip(self.terms, self.values, strict=True)
        ]
        kept = {"given": self.given.to_dict(), "terms": learned, "covariance": self.covariance.tolist()}
        return {"signal_model": self.model.to_dict(), "calibration": kept}

    def write(self, folder) -> None:
        """Keep ``calibrated.yaml`` where there is anything to keep.

        A model that is offered goes into ``offered.yaml``, without the acquisition: for ``--model``.
        """
        if self.offered is not None:
            values = {name: value for name, value in self.offered.to_dict().items() if name != "acquisition"}
            (Path(folder) / OFFERED).write_text(yaml.safe_dump(values, sort_keys=False))
        if self.terms:
            (Path(folder) / FILE).write_text(yaml.safe_dump(self.kept, sort_keys=False))


def teach(data: Measurement, choice: str = "auto", dead_time: bool = False) -> Measurement:
    """The measurement under the model that the data set taught, or that of a file.

    `choice` is auto, off, or the path of a ``calibrated.yaml``; `dead_time`: estimate the dead time whatever the
    residual says. `InputError` for a file that does not fit, or where the dead time cannot be estimated.
    """
    if choice not in ("auto", "off"):
        return _under(data, read(choice, data.series.model))
    found = []
    if dead_time:
        found.append(of_series(data.pooled, data.zero_filled, [Term("dead time")]))
        data = _under(data, taught(found[-1], "asked for"))
    if choice == "auto":
        try:
            found.append(of_series(data.pooled, data.zero_filled))
        except InputError:  # too few voxels, or too little of a FID without signal: there is nothing to learn from
            return data
        if found[-1].terms or found[-1].reason is not None or not found[-1].before.is_noise:
            data = _under(data, taught(found[-1], "the pooled residual is no noise"))
    return data


def of_series(series: Series, zero_filled: int = 0, only: list[Term] | None = None) -> Calibration:
    """What the FIDs of a series teach, see `calibrate.calibrate`; of very many, some that are evenly spread."""
    if series.model.common != ("shift_hz", "broadening_hz", "phase_rad"):
        raise InputError("A data set teaches signal models without lipids and without a Gaussian width of each voxel.")
    noise = Noise.of(series, zero_filled)
    sigma = noise.sigma[:: -(-len(noise.sigma) // SAMPLE)]
    if not (sigma > 0).all():
        raise InputError("The samples free of signal hold no noise: a data set teaches nothing without its level.")
    return calibrate(series.sample(SAMPLE), series.model, replace(noise, sigma=sigma), only)


def _under(data: Measurement, found: Taught) -> Measurement:
    """The measurement under another model; a network, which was made for the lines as given, gives way to the fit.

    Unless every term lies within its standard error: lines and network stay, and the SD has the uncertainty.
    """
    if not found.terms:
        return replace(data, taught=found if data.taught is None else data.taught, warnings=data.warnings + found.said)
    request, said = data.request, list(found.said)
    if data.network is not None and found.within_error and found.given == data.series.model:
        said.append(
            f"All of that lies within its SD, so nothing was changed: the network '{data.network.name}' and its lines "
            "were kept."
        )
        zeros, about = np.zeros(len(found.terms)), found.about | {"changed": False}
        kept = replace(found, model=found.given, values=zeros, about=about)
        return replace(data, taught=kept, warnings=data.warnings + said)
    if data.network is not None:
        if "base" not in request.uses:
            request = replace(request, estimator="fit")
        said.append(
            f"The network '{data.network.name}' was not made for these lines: the model fit of each voxel took its "
            "place, at the bound and without training. '--calibrate off' keeps network and lines, and their bias."
        )
    series = replace(data.series, model=found.model)
    return replace(data, request=request, series=series, network=None, taught=found, warnings=data.warnings + said)


def taught(found: Calibration, why: str) -> Taught:
    """What a calibration says, in sentences and numbers."""
    model, before, after = found.model, found.before, found.after
    about = {
        "changed": bool(found.terms),
        "why": why,
        "voxels": before.voxels,
        "pooled_residual": {"p_before": number(before.p), "p_after": number(after.p), "p_score": number(found.score_p)},
        "strongest_line": {"power": number(before.power), "ppm": round(before.ppm, 2)},
        "likeliest_reason_of_what_is_left": found.reason and found.reason.says,
    }
    left = "no known imperfection explains it" if found.reason is None else f"likeliest reason: {found.reason.says}"
    if not found.terms:
        said = (
            f"The residual of {before.voxels} voxels together is no noise (strongest at {before.ppm:.1f} ppm); {left}. "
            "The maps may be biased by it: a line or baseline more in the signal model (--model) is what would mend it."
        )
        if found.offered is not None:
            more, about["offered"] = found.offered.resonances[-1], OFFERED
            said += (
                f" {OFFERED} has one more ({more.name}, {more.ppm:g} ppm), for which the likelihood of all voxels "
                "asks: give it to --model of fit or precise, with another place and width where you know them."
            )
        return Taught(found.given, model, (), np.zeros(0), np.zeros((0, 0)), [said], about, found.offered)
    sd = np.sqrt(np.diag(found.covariance))
    own = {"dead time": found.given.acquisition.dead_time_s}  # of the others it is the change that tells
    named = [
        {"term": t.name(model), "value": number(v + own.get(t.kind, 0)), "sd": number(s), "unit": UNITS[t.kind]}
        for t, v, s in zip(found.terms, found.values, sd, strict=True)
        if v or not found.values.any()
    ]
    pairs = [(n, x) for n, x in zip(model.names, found.moved, strict=True) if n != model.reference]
    about |= {"terms": named, "maps_moved_by_percent": {n: number(100 * x) for n, x in pairs}, "file": FILE}
    learned = ", ".join(_spoken(entry) for entry in named)
    moved = ", ".join(f"{n} {100 * x:+.0f} %" for n, x in pairs)
    said = f"{before.voxels} voxels together taught the signal model ({why}): {learned}. Maps moved by {moved}"
    said = [f"{said}; the model is in {FILE}."]
    if not after.is_noise:
        said.append(f"What the calibrated model leaves of all voxels together is no noise either; {left}.")
    return Taught(found.given, model, found.terms, found.values, found.covariance, said, about)


def _spoken(entry: dict) -> str:
    """A term with its SD; squares of widths as widths."""
    value, sd, unit = entry["value"], entry["sd"], entry["unit"]
    if unit == "s":
        value, sd, unit = 1e3 * value, 1e3 * sd, "ms"
    if unit == "Hz^2":
        root = np.sqrt(abs(value))
        value, sd, unit = np.copysign(root, value), sd / (2 * root), "Hz"
    return f"{entry['term']} {value:.3g} +- {sd:.1g} {unit}"


def read(path, model: SignalModel) -> Taught:
    """A ``calibrated.yaml`` for data of the signal model's acquisition; `InputError` for any other file."""
    values = text.read_yaml(path, "The calibrated model")
    try:
        kept = values["calibration"]
        given = SignalModel.from_dict(kept["given"])
        lines = [t["line"] for t in kept["terms"]]
        terms = tuple(
            Term(str(t["kind"]), None if n is None else given.index(n))
            for t, n in zip(kept["terms"], lines, strict=True)
        )
        learned, covariance = np.array([float(t["value"]) for t in kept["terms"]]), np.array(kept["covariance"], float)
        if covariance.shape != (len(terms),) * 2 or not all(t.kind in UNITS for t in terms):
            raise ValueError("terms and covariance do not fit together")
        _check_covariance(covariance)
        here = changed(given, list(terms), learned)
        for one in (given, here):
            plausible.check_model(one)
    except (InputError, KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise InputError(f"{path} is no calibrated model of 'precise quantify': {reason(error)}.") from error
    dead_time_s = given.acquisition.dead_time_s
    nifti_mrs.check_model(given, replace(model.acquisition, dead_time_s=dead_time_s), f"The data and {path}")
    about = {"changed": True, "why": "given", "file": str(path)}
    return Taught(given, here, terms, learned, covariance, [f"The signal model is that of {path}."], about)


def _check_covariance(covariance: np.ndarray) -> None:
    """Raise `ValueError` unless this is the covariance of anything."""
    variance = np.diag(covariance)
    if not (np.isfinite(covariance).all() and (variance > 0).all()):
        raise ValueError("a variance is not a positive number")
    correlation = covariance / np.sqrt(np.outer(variance, variance))
    if not np.allclose(correlation, correlation.T) or (np.linalg.eigvalsh(correlation) < -1e-6).any():
        raise ValueError("the covariance is none: it must be symmetric and positive")
