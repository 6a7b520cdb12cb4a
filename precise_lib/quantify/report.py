"""What `notebooks/your_data.ipynb` shows: one quantified data set, read back from its files. Nothing is estimated."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import xarray as xr

from precise_lib.errors import InputError, printable
from precise_lib.io import nifti, nifti_mrs
from precise_lib.quantify import measurement, proposed, result
from precise_lib.quantify.result import KINDS
from precise_lib.quantify.scan import Scan
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import MRSI, Series, unmask

SIMULATED = "simulated rings"
EXAMPLE_SNR = 12.0
HARMLESS = " .,;()%/'?-°"  # in Markdown, within a line


def plain(text) -> str:
    """Text from outside as Markdown of one line that shows it letter by letter: no HTML, no link, no formula."""
    return "".join(c if c.isalnum() or c in HARMLESS else f"&#{ord(c)};" for c in printable(text))


def code(name) -> str:
    """A name from outside in Markdown, as code."""
    return f"<code>{plain(name)}</code>"


@dataclass(frozen=True)
class Source:
    """Files of one data set, the folder for its maps, and whether it is the simulated example."""

    dmi: Path
    mri: Path | None
    mask: Path | None  # or `proposed.NONE`
    out: Path
    simulated: bool

    def sentence(self) -> str:
        """What was given, in Markdown; the first thing a report says."""
        if self.simulated:
            return (
                "**Simulated data.** What follows is no measurement: it is the ring phantom, water SNR "
                f"{EXAMPLE_SNR:g}, one draw of noise."
            )
        mri = f"MRI {code(self.mri.name)}" if self.mri else "no MRI"
        mask = f"mask {code(self.mask.name)}" if self.mask and str(self.mask) != proposed.NONE else "no mask"
        return f"**Data from files**: {code(self.dmi.name)}, {mri}, {mask}."


def source(dmi, mri=None, mask=None, out=None) -> Source:
    """The files to quantify; the maps go into `out`, by default the run's folder in a sweep, else ``_build/your_data``.

    For a `dmi` of `SIMULATED` the ring phantom is written into `out` first, with its MRI and mask; then raises
    `InputError` where others are given.
    """
    own = os.environ.get("PRECISE_RUN_FOLDER")
    folder = Path(out) if out is not None else Path(own, "maps") if own else Path("_build", "your_data")
    if str(dmi) != SIMULATED:
        return Source(Path(dmi), *(None if p is None else Path(p) for p in (mri, mask)), folder, False)
    if mri is not None or mask is not None:
        raise InputError(f"'{SIMULATED}' brings its own MRI and mask: give neither, or a file as the DMI.")
    from precise_lib.simulate.phantoms import rings

    example = folder / "simulated_rings"
    nifti_mrs.write_phantom(example, rings(), EXAMPLE_SNR, seed=0)
    return Source(*(example / f"{name}.nii.gz" for name in ("dmi", "mri", "mask")), folder, True)


@dataclass(frozen=True)
class Report:
    """A measurement with what was estimated from it: `result` is that of `quantify.result`, with a frame axis."""

    source: Source
    summary: dict
    series: Series
    result: xr.Dataset

    @cached_property
    def frame(self) -> int:
        """The one frame shown: the last that holds data, in which the label has arrived."""
        return int(np.flatnonzero(self.series.usable.any((1, 2, 3)))[-1])

    @cached_property
    def data(self) -> MRSI:
        """The frame shown."""
        return self.series[self.frame]

    @cached_property
    def courses(self) -> dict[str, dict[str, np.ndarray]]:
        """Kind ("conc", "sd", "bias", "low", "high") -> metabolite -> (x, y, z, frame) in mM, without the reference."""
        return {
            kind: {m: self.result[v].sel(metabolite=m).values for m in self.metabolites if v in self.result}
            for kind, v in KINDS.items()
        }

    @property
    def maps(self) -> dict[str, dict[str, np.ndarray]]:
        """Kind -> metabolite -> (x, y, z) of the frame shown."""
        return {kind: {m: v[..., self.frame] for m, v in maps.items()} for kind, maps in self.courses.items()}

    @property
    def flags(self) -> dict[str, np.ndarray]:
        """Reason -> (x, y, z) of the frame shown, not zero where a voxel is flagged; only reasons that occur."""
        named = {reason: self.result["flags"].sel(reason=reason) for reason in self.summary["flags"]}
        return {reason: values.values[..., self.frame] for reason, values in named.items() if values.any()}

    @property
    def opened(self) -> np.ndarray | None:
        """Share (x, y, z) of the coupling by the MRI that the data took away; None where nothing adapted to them."""
        return self._own("opened")

    @property
    def unfollowed(self) -> np.ndarray | None:
        """Share (x, y, z) of the edges of the MRI at a voxel that no metabolite follows; None where nothing says so."""
        return self._own("unfollowed")

    def _own(self, name: str) -> np.ndarray | None:
        """Map (x, y, z) of an estimator that adapts to the data."""
        return self.result[name].values[..., self.frame] if name in self.result else None

    @property
    def model(self) -> SignalModel:
        return self.data.model

    @property
    def metabolites(self) -> list[str]:
        """Names without the reference, whose concentration is known."""
        return [name for name in self.model.names if name != self.model.reference]

    @property
    def n_measured(self) -> int:
        """Time points before a zero-filled end."""
        return int(self.result.attrs["n_measured"])

    @property
    def sigma(self) -> float:
        """Noise SD of a time sample."""
        return float(self.result.attrs["noise_sd"])

    def fitted(self, variable: str) -> np.ndarray:
        """A variable of the fit in each usable voxel of the frame shown, (V,) or, for "amplitude", (V, M)."""
        values = self.result[variable].isel(frame=self.frame).transpose("x", "y", "z", ...).values
        return values[self.data.usable]

    @property
    def snr(self) -> np.ndarray:
        """SNR of the reference line of each usable voxel (V,): fitted peak height over the SD of spectral noise."""
        return self.fitted("snr")

    def on_grid(self, values) -> np.ndarray:
        """Values (V,) of the usable voxels as (x, y, z), NaN elsewhere."""
        return unmask(self.data.usable, values)

    @property
    def slices(self) -> list[int]:
        """Third index of the slice with most signal, then of the middle of the object where that is another one."""
        strength = np.nansum(self.on_grid(self.snr), (0, 1))
        inside = np.flatnonzero(self.data.usable.any((0, 1)))
        return list(dict.fromkeys([int(strength.argmax()), int(inside[len(inside) // 2])]))

    def voxels(self) -> dict[str, int]:
        """Index among the usable voxels of the best, the median and the worst SNR; fewer where there are fewer."""
        order, last = np.argsort(self.snr)[::-1], len(self.snr) - 1
        places = {last: "worst", last // 2: "median", 0: "best"} if last > 1 else {last: "worst", 0: "best"}
        places = places if last else {0: "the voxel"}
        return {places[i]: int(order[i]) for i in sorted(places)}

    def values(self) -> dict[str, float]:
        """Numbers for the table of a sweep."""
        out = {"voxels": self.summary["counts"]["estimated"], "median SNR": float(np.median(self.snr))}
        for kind, title in (("conc", "median"), ("sd", "median SD"), ("bias", "median bias")):
            out |= {f"{name} {title} (mM)": float(np.nanmedian(v)) for name, v in self.maps[kind].items()}
        return {name: round(value, 6) for name, value in out.items()}


def read(where: Source, summary: dict | None = None) -> Report:
    """What `quantify` wrote for `where`, with the measurement itself.

    `summary` is what `quantify` returned: `InputError` where the files have meanwhile become those of another run.
    """
    found = result.read(where.out)
    if summary is not None and found.attrs["summary"] != result.summary_text(summary):
        raise InputError(f"Another process has replaced the maps in {where.out}: give each run a folder of its own.")
    summary = json.loads(found.attrs["summary"])
    model = SignalModel.from_dict(summary["signal_model"])
    (scan, _), trained = Scan.or_auto(**summary["settings"]["scan"]), summary["weights"] is not None
    stored = scan.overruled(nifti_mrs.open_mrsi(where.dmi))
    dead_time_s = model.acquisition.dead_time_s  # which the data may have taught
    stored = replace(stored, acquisition=replace(stored.acquisition, dead_time_s=dead_time_s))
    series, _, _ = measurement.series_of(stored, where.mri, where.mask, model, trained, scan)
    counted = np.isfinite(found["snr"].values)  # a reference may lack some voxels
    counted = counted.any(-1) if counted.ndim > 3 else counted
    if summary["mask"]:  # files hold every voxel; a report is on the object
        inside = nifti.read_map(Path(where.out) / summary["mask"]["file"])[0] > 0
        counted, found = counted & inside, _within(found, inside)
    series = replace(series, mask=counted if series.mask is None else series.mask & counted)
    return Report(where, summary, series, found if "frame" in found.dims else found.expand_dims(frame=1, axis=-1))


def _within(found: xr.Dataset, inside) -> xr.Dataset:
    """A result without its values and flags outside of (x, y, z) bool."""
    place = xr.DataArray(inside, dims=("x", "y", "z"))
    return found.assign({n: v.where(place, np.nan if v.dtype.kind == "f" else 0) for n, v in found.data_vars.items()})
