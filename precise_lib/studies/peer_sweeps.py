"""Some of the peers on many objects: random ones that nobody had looked at, and the ring phantom over SNR; stored.

``precise peers --case new --case snr --out data/results`` makes ``peers_new.nc`` and ``peers_snr.nc``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import xarray as xr

from precise_lib.errors import InputError
from precise_lib.io import atomic
from precise_lib.studies.overruled import new_case
from precise_lib.studies.peer_cases import rings_case
from precise_lib.studies.peer_settings import PEERS, curves
from precise_lib.studies.peers import Case

SEEDS = (701, 702, 703, 704, 705, 706)  # of the random objects; data/claims.yaml says when they were opened
SNRS = (5.0, 8.0, 12.0, 20.0, 35.0)  # of water
NOISE_SEED = 1


@dataclass(frozen=True)
class Sweep:
    """Cases along one dimension, and the peers (by label) that meet them; `told`: none chooses its own setting."""

    dimension: str
    values: tuple
    case: Callable[[float], Case]
    labels: tuple[str, ...]
    repeats: int
    told: bool = False

    def at(self, value, repeats: int | None = None, labels: Iterable[str] = (), progress=iter) -> xr.Dataset:
        """`peer_settings.curves` at one of the `values`, by default of all peers; without times."""
        tried = [p for p in PEERS if p.label in (labels or self.labels)]
        if self.told:
            tried = [replace(p, shipped=None, others=p.values) for p in tried]
        table = curves(self.case(value), repeats or self.repeats, NOISE_SEED, tried, progress, timed=False)
        return table.drop_vars("cpu_seconds")


SWEEPS = {
    "new": Sweep(
        "object", SEEDS, new_case,
        ("sve", "fit-diffusion", "fit-guided", "fit-nlm", "fit-tv", "fit-dtv", "fit-dtv, eta 0.03", "bowsher",
         "bowsher, k 3", "bowsher, k 4", "precise, cap 1000"), 2, told=True,
    ),
    "snr": Sweep(
        "snr", SNRS, rings_case,
        ("fit", "fit-diffusion", "fit-diffusion, 30 steps", "fit-guided", "fit-guided, 5 voxels", "fit-dtv", "bowsher",
         "adaptive", "precise", "precise, cap 100", "precise, cap 1000"), 4,
    ),
}  # fmt: skip


def store(name: str, folder, repeats: int | None = None) -> str:
    """Write the peers over one of `SWEEPS` into `folder`; what had to be left out, or ""."""
    from tqdm.auto import tqdm

    sweep = SWEEPS[name]
    with atomic.staged(folder) as work:
        tables = [sweep.at(value, repeats, progress=tqdm) for value in sweep.values]
        out = xr.concat(tables, xr.IndexVariable(sweep.dimension, list(sweep.values)), combine_attrs="override")
        out.attrs["command"] = f"precise peers --case {name} --out data/results"
        out.to_netcdf(work / f"peers_{name}.nc")
    return out.attrs["left_out"]


def load(name: str, folder) -> dict[float, xr.Dataset]:
    """The peers that `store` wrote, by the value of the sweep."""
    path = Path(folder) / f"peers_{name}.nc"
    if not path.is_file():
        raise InputError(f"There is no {path}: run 'precise peers --case {name} --out {folder}'.")
    table, dimension = xr.load_dataset(path), SWEEPS[name].dimension
    return {value.item(): table.sel({dimension: value}) for value in table[dimension].values}


def apart(again: xr.Dataset, stored: xr.Dataset) -> float:
    """Largest relative difference of an RMSE that was computed again from the one that is stored."""
    before = stored["rmse"].sel(setting=again["setting"])
    return float(abs(again["rmse"] / before - 1).where(again["quantified"]).max())
