"""What ``precise quantify`` reads: the files of one data set, with the signal model or network that serves them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from precise_lib import estimate
from precise_lib.errors import InputError
from precise_lib.estimate import catalog
from precise_lib.estimate.prior import about_mri
from precise_lib.io import nifti_mrs
from precise_lib.io.lines import read_signal_model
from precise_lib.io.nifti_mrs import Stored
from precise_lib.quantify import combined, proposed, reference
from precise_lib.quantify.proposed import Proposed
from precise_lib.quantify.reference import Reference
from precise_lib.quantify.request import Request
from precise_lib.quantify.scale import Lines, Scale, lines
from precise_lib.quantify.scan import Scan
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import LARGEST, SMALLEST, Series
from precise_lib.signal.noise import zero_filled
from precise_lib.signal.parts import Acquisition


@dataclass(frozen=True)
class Measurement:
    """What was read, with the network (`SveModel`) or None, voxels counted and sentences of caution.

    `request` is the one asked for, with the estimator that can serve; `stored` the file as it was read.
    """

    request: Request
    stored: Stored
    series: Series
    network: object | None
    zero_filled: int
    counts: dict
    warnings: list[str]
    reference: Reference | None = None
    lines: Lines | None = None
    scale: Scale | None = None
    taught: object | None = None  # `taught.Taught`: the signal model is one that the data set taught
    proposed: Proposed | None = None  # mask, where none was given

    @property
    def inside(self) -> np.ndarray:
        """(N,) bool: voxel-frames that tell of the data set together."""
        found = self.proposed
        return np.ones(int(self.series.usable.sum()), bool) if found is None else found.of(self.series)

    @property
    def pooled(self) -> Series:
        """The series of those voxels."""
        series, found = self.series, self.proposed
        if found is None:
            return series
        return replace(series, mask=found.inside if series.mask is None else series.mask & found.inside)


def read(dmi, mri, mask, model: str | None, request: Request, scan: Scan | None = None) -> Measurement:
    """Read a NIfTI-MRS file with its MRI and mask; raises `InputError`, also where no voxel can be quantified."""
    scan = scan or Scan()
    stored = scan.overruled(nifti_mrs.open_mrsi(dmi))
    request, warnings = possible(request, stored, model)
    resolved = resolve_model(model, request.estimator, stored.acquisition, dmi, stored.header.carrier_ppm)
    signal_model, network, said = resolved
    no_water = stored.header.water_suppressed and (scan.water is None or reference.is_map(scan.water))
    if no_water and signal_model.reference is not None:
        raise InputError(
            f"The water of {dmi} was suppressed (key WaterSuppressed of the header), so it is no reference for "
            "concentrations: give a measurement of the water with --water."
        )
    carrier = stored.header.carrier_ppm
    if network is None and carrier not in (None, signal_model.carrier_ppm):
        said.append(
            f"The signal model has its carrier at {signal_model.carrier_ppm:g} ppm, the header at {carrier:g} ppm: "
            "that of the signal model was taken."
        )
    series, done, weights = series_of(stored, mri, mask, signal_model, network is not None, scan)
    said += done
    counts = count_voxels(series)
    if not counts["estimated"]:
        raise InputError(
            f"No voxel of {dmi} can be quantified ({counts['masked_out']} are outside the mask, "
            f"{counts['not_finite']} not finite and {counts['zero']} zero throughout): check file and mask."
        )
    filled = zero_filled(series.chunks())
    suggestion = proposed.proposed(series, filled) if mask is None else None
    known = lines(signal_model, scan.t1, scan.deuterons)
    series, other, factor, more = scan.referred(series, stored.acquisition, known, weights)
    said = [*warnings, *said, *series.notes, *(suggestion.said if suggestion else ()), *more]
    found = request, stored, series, network, filled, counts, said, other, known, factor
    return Measurement(*found, proposed=suggestion)


def series_of(stored: Stored, mri, mask, model: SignalModel, trained: bool, scan: Scan):
    """The `Series` of a file with coils and transients combined, what was done, and the weights of the coils (or None).

    A model not `trained` has the carrier of the data. A `mask` of `proposed.NONE` is none."""
    if not trained:
        stored = replace(stored, header=replace(stored.header, carrier_ppm=None))
    nifti_mrs.check_model(model, stored.acquisition, str(stored.path))
    stored, said, weights = combined.combined(stored, model, scan.average, scan.noise)
    return nifti_mrs.read_series(stored, mri, None if str(mask) == proposed.NONE else mask, model), said, weights


def possible(request: Request, stored: Stored, model: str | None) -> tuple[Request, list[str]]:
    """The request, by the fit where nobody asked for a network and none fits; and a sentence that says so."""
    acquisition, of_lines = stored.acquisition, is_signal_model(model)
    known = not of_lines and (model is not None or catalog.fitting(acquisition))
    if request.asked or request.estimator != "sve" or known:
        return request, []
    if not of_lines:
        nifti_mrs.assumed_model(stored.path, acquisition)
    why = "A signal model was given" if of_lines else why_none_fits(acquisition)
    said = (
        f"{why}: the model fit ('fit') was used, which needs no training "
        f"('precise train --like {shlex.quote(str(stored.path))}' makes a network)."
    )
    return replace(request, estimator="fit"), [said]


def is_signal_model(choice: str | None) -> bool:
    """Whether ``--model`` names a file of lines, and no network."""
    return choice is not None and Path(choice).suffix.lower() in (".yaml", ".yml", ".json")


def resolve_model(choice: str | None, estimator: str, acquisition: Acquisition, dmi="FILE", carrier_ppm=None):
    """Signal model, network (or None) and warnings for ``--model`` and an estimator; `dmi` is the file, for messages.

    `carrier_ppm` is that of the header: a network keeps its own.

    `choice` is the name or hash of weights (`estimate.catalog`), a .safetensors file, a YAML or JSON signal model
    (for estimators that can do without a network), or None: the first weights that fit the acquisition, or the default
    2H model.
    """
    uses = estimate.uses(estimator)
    is_file = is_signal_model(choice)
    if is_file and "network" in uses and "base" not in uses:
        raise InputError(
            f"The estimator '{estimator}' needs trained weights, and {choice} is a signal model: "
            f"train them with 'precise train --like {shlex.quote(str(dmi))}', or use the estimator 'fit'."
        )
    notes = []
    if "network" in uses and choice is None:
        nifti_mrs.assumed_model(dmi, acquisition)  # another nucleus is a matter of the data, not of a missing network
    if "base" in uses and (is_file or (choice is None and not catalog.fitting(acquisition))):
        why = "A signal model was given" if is_file else why_none_fits(acquisition)
        notes.append(
            f"{why}: '{estimator}' works on the model fit of each voxel, which needs no training "
            f"('precise train --like {shlex.quote(str(dmi))}' makes a network)."
        )
    elif not is_file and ("network" in uses or choice is not None):
        from precise_lib.estimate import weights

        network = weights.load_weights(weights.find_weights(acquisition, dmi) if choice is None else choice)
        others = [entry.name for entry in catalog.fitting(acquisition)[1:]] if choice is None else []
        said = f"The network '{network.name}' was used; --model names another: {', '.join(others)}."
        return network.signal_model, network, [said] if others else []
    if is_file:
        return read_signal_model(choice, acquisition, carrier_ppm), None, notes
    model = nifti_mrs.assumed_model(dmi, acquisition, carrier_ppm)
    lines = ", ".join(f"{r.name} {r.ppm} ppm" for r in model.resonances)
    said = f"No signal model was given: {lines} with T2* {1e3 * model.t2star_s[0]:.0f} ms were assumed."
    return model, None, [*notes, said]


def why_none_fits(acquisition: Acquisition) -> str:
    """In words: why the model fit has to serve."""
    if acquisition.dead_time_s and catalog.fitting(replace(acquisition, dead_time_s=0.0)):
        return f"No network was trained for a dead time of {1e3 * acquisition.dead_time_s:.3g} ms"
    return "No network fits this acquisition"


def count_voxels(series: Series) -> dict:
    """How many voxels all frames have, and why some are not estimated."""
    largest = np.stack([series[i].largest for i in range(len(series))])
    finite, zero = largest <= LARGEST, largest < SMALLEST
    inside = np.ones(finite.shape, bool) if series.mask is None else np.broadcast_to(series.mask, finite.shape)
    return {
        "voxels": int(inside.size),
        "masked_out": int((~inside).sum()),
        "not_finite": int((inside & ~finite).sum()),
        "zero": int((inside & zero).sum()),
        "estimated": int(series.usable.sum()),
    }


def remarks(data: Measurement, counts: dict, estimator: str, mri, lam) -> list[str]:
    """What the user should know of the voxels and options, in sentences."""
    notes, uses = [], estimate.uses(estimator)
    if counts["not_finite"]:
        notes.append(
            f"{counts['not_finite']} voxel(s) hold values that are not finite or above {LARGEST:g}; they are NaN."
        )
    if counts["zero"]:
        notes.append(f"{counts['zero']} voxel(s) are zero at every time point (below {SMALLEST:g}); they are NaN.")
    if counts["without_result"]:
        reference = data.series.model.reference
        notes.append(f"In {counts['without_result']} voxel(s) {reference} is not positive; they are NaN in the maps.")
    if data.zero_filled:
        n = data.series.model.acquisition.n_samples
        notes.append(
            f"The last {data.zero_filled} of {n} time points are zero-filled; they do not count for the noise level."
        )
    if mri is not None and "mri" in uses:
        series = data.pooled
        notes += about_mri(series[int(series.usable.any((1, 2, 3)).argmax())])
    if mri is not None and "mri" not in uses:
        notes.append(f"The estimator '{estimator}' does not use the MRI.")
    if lam is not None and lam != "auto" and "lambda" not in uses:
        notes.append(f"The estimator '{estimator}' does not use lambda.")
    return notes
