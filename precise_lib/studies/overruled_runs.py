"""The adaptive prior over objects, SNR, lesion size, MRI and slack: what is stored of it, and how it is made again.

``precise overruled FOLDER`` makes ``overruled.nc`` there. Each run of it is kept beside it once it is done, and is not
made again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import xarray as xr

from precise_lib import __version__
from precise_lib.errors import InputError
from precise_lib.estimate.stein import SLACK
from precise_lib.io import atomic
from precise_lib.studies import peer_cases
from precise_lib.studies.overruled import new_case, study
from precise_lib.studies.peer_sweeps import NOISE_SEED, SEEDS
from precise_lib.studies.peers import Case

FILE = "overruled.nc"
SNRS = (5.0, 7.7, 12.0, 20.0, 35.0)
SLACKS = (0.0, SLACK)
RANDOM = "random "  # object of a seed, see `new_case`
FRESH = tuple(range(801, 825))  # seeds of more random objects; data/claims.yaml says when they were opened


@dataclass(frozen=True)
class Run:
    """One object under one MRI; `snr` and `size`, the side of the lesions in voxels, are those of rings (and human).

    The objects are those of `peer_cases`, and "random SEED".
    """

    object: str
    snr: float = 12.0
    size: int = 2
    mri: str = "as simulated"
    slack: float = SLACK
    lesion: bool = True
    repeats: int = 10

    def case(self) -> Case:
        if not self.lesion:
            return peer_cases.without_lesion(self.object, self.snr)
        if self.object.startswith(RANDOM):
            case = new_case(int(self.object.removeprefix(RANDOM)), self.snr)
        elif self.object == "rings":
            case = peer_cases.rings_case(self.snr, self.size)
        else:
            case = peer_cases.rat_case() if self.object == "rat" else peer_cases.human_case(self.snr)
        return peer_cases.with_mri(case, self.mri)

    @property
    def name(self) -> str:
        words = [
            f"{self.object.replace(' ', '-')}_snr{self.snr:g}_size{self.size}",
            self.mri.replace(" ", "-"),
            f"slack{self.slack:g}",
        ]
        return "_".join(words + ["null"] * (not self.lesion))


def runs() -> Iterator[Run]:
    """Everything that is stored: most data sets where a lesion of four voxels or a tissue errs as a whole, so that
    a data set is one observation of its coverage, and each of the random objects is one."""
    yield from (Run("rings", snr, repeats=72) for snr in SNRS)
    yield from (Run(name, repeats=24) for name in ("rat", "human"))
    yield from (Run(f"{RANDOM}{number}", repeats=2) for number in SEEDS)
    yield from (Run(f"{RANDOM}{number}", repeats=1) for number in FRESH)
    yield from (Run("rings", snr, lesion=False, repeats=5) for snr in SNRS)
    yield from (Run(name, lesion=False, repeats=16) for name in ("rat", "human"))
    yield from (Run("rat", mri=kind, repeats=8) for kind in ("pure noise", "none"))
    yield from (Run(name, mri=kind, repeats=2) for kind in ("pure noise", "none") for name in ("rings", "human"))
    yield from (Run(name, mri="shift", repeats=2) for name in peer_cases.CASES)
    yield from (Run(name, slack=0.0, repeats=2) for name in peer_cases.CASES)
    yield from (Run("rings", size=size, repeats=3) for size in (1, 4))
    yield from (Run(name, mri=kind, repeats=2) for kind in ("noise", "shading") for name in peer_cases.CASES)


def one(run: Run, repeats: int | None = None, seed: int = 0, progress=iter) -> xr.Dataset:
    """`study` of a run, each data set labeled with what the run is; random objects have the noise of `peer_sweeps`."""
    n, seed = min(run.repeats, repeats or run.repeats), seed + NOISE_SEED * run.object.startswith(RANDOM)
    table = study(run.case(), n, seed, progress, slack=run.slack)
    labels = {key: value for key, value in asdict(run).items() if key != "repeats"}
    return table.assign_coords({key: ("repeat", [value] * n) for key, value in labels.items()})


def store(folder, repeats: int | None = None, seed: int = 0) -> Path:
    """Make every run that `folder` does not hold, and ``overruled.nc`` of them all; its path."""
    from tqdm.auto import tqdm

    parts = []
    for run in runs():
        path = Path(folder) / "overruled_runs" / f"{run.name}.nc"
        if not path.is_file():
            with atomic.staged(path.parent) as work:  # an unwritable folder is refused before the run
                table = one(run, repeats, seed, lambda x, name=run.name: tqdm(x, desc=name))
                table.to_netcdf(work / path.name)
        parts.append(xr.load_dataset(path).drop_encoding())  # else names are cut to the length of the first
    out = xr.concat(parts, "repeat", combine_attrs="drop")
    out.attrs = {"seed": seed, "units": "mM", "package_version": __version__, "command": "precise overruled FOLDER"}
    with atomic.staged(folder) as work:
        out.to_netcdf(work / FILE, encoding={name: {"zlib": True} for name in out.data_vars})
    return Path(folder) / FILE


def load(folder) -> xr.Dataset:
    """All data sets that `store` wrote, labeled by `Run`."""
    path = Path(folder) / FILE
    if not path.is_file():
        raise InputError(f"There is no {path}: run 'precise overruled {folder}'.")
    return xr.load_dataset(path)


def random_objects(table: xr.Dataset) -> dict[int, xr.Dataset]:
    """The data sets of each random object, by its seed."""
    names = dict.fromkeys(str(name) for name in table["object"].values if str(name).startswith(RANDOM))
    return {int(name.removeprefix(RANDOM)): of(table, name) for name in names}


def of(table: xr.Dataset, object: str, **labels) -> xr.Dataset | None:
    """The data sets of one run, the labels that are not given as usual; None where none are stored."""
    keep = xr.ones_like(table["repeat"], bool)
    for key, value in asdict(Run(object, **labels)).items():
        if key != "repeats":
            keep = (table[key] == value) & keep
    return table.isel(repeat=keep.values) if bool(keep.any()) else None
