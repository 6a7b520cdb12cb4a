"""The registry's estimators over their own settings, so that none is judged by a bad one, and the cases of the book.

Every peer has one parameter that trades noise against contrast. `PEERS` lists the values tried; the whole curve is
shown. `oracle` marks on it the setting of least error, which is known only to those who know the truth: it says how
good a peer could be, the shipped setting how good it is.

    python -m precise_lib.evaluate.peer_settings --out data/results

makes the stored results of the book, a file for each case.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr
from scipy import ndimage

from precise_lib import estimate
from precise_lib.errors import InputError
from precise_lib.evaluate.peers import Case, study

RING_SNR, HUMAN_SNR = 12.0, 12.0


@dataclass(frozen=True)
class Peer:
    """A registered estimator and the parameter that trades its noise against contrast.

    `shipped` is the value that it has without being told (None: this line is not the shipped one), `others` are the
    values tried besides.
    """

    label: str
    name: str
    parameter: str | None = None
    shipped: float | str | None = None
    others: tuple = ()
    options: dict = field(default_factory=dict)

    @property
    def values(self) -> tuple:
        """Every value tried; (None,) for an estimator without a parameter."""
        return tuple(v for v in (self.shipped, *self.others) if v is not None) or (None,)

    def make(self, value=None, weights=None, base: Callable | None = None) -> Callable:
        """The estimator at one setting; filters of a fit work on `base` where one is given."""
        options, uses = dict(self.options), estimate.uses(self.name)
        if "network" in uses:
            options["weights"] = weights
        if value is not None:
            options[self.parameter] = value
        if base is not None and self.name.startswith(f"{base.name}-"):
            options["base"] = base
        return base if base is not None and self.name == base.name else estimate.make(self.name, **options)


PEERS = (
    Peer("fit", "fit"),
    Peer("sve", "sve"),
    Peer("svd-fit", "svd-fit", "rank", "gavish-donoho", (1, 2, 4, 10, 20, 40)),
    Peer("mppca-fit", "mppca-fit", "size", 5, (3, 4)),
    Peer("fit-diffusion", "fit-diffusion", "threshold", 0.1, (0.01, 0.02, 0.05, 0.15, 0.2, 0.3, 0.5)),
    Peer("fit-guided", "fit-guided", "eps", 0.01, (1e-4, 1e-3, 3e-3, 0.03, 0.1, 1.0)),
    Peer("fit-guided, 5 voxels", "fit-guided", "eps", None, (1e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 1.0), {"radius": 2}),
    Peer("precise", "precise", "lam", 0.01, (0.001, 0.002, 0.004, 0.02, 0.04, 0.1, 0.2)),
    # Under the shipped cap of 5.5 an MRI edge weaker than 1 / sqrt(5.5) = 0.43 of the range of gray is none.
    Peer("precise, cap 100", "precise", "lam", None, (1e-4, 3e-4, 1e-3, 2e-3, 4e-3, 0.01), {"omega_max": 100.0}),
)


class Shared:
    """An estimator that works once for all who ask about the same data: the filters of one fit share it."""

    def __init__(self, estimator: Callable):
        self.estimator, self.name = estimator, estimator.name
        self._last = (None, None)

    def __call__(self, data) -> xr.DataArray:
        if self._last[0] is not data:
            self._last = (data, self.estimator(data))
        return self._last[1]


def curves(case: Case, n_repeats: int, seed: int = 0, peers: Iterable[Peer] = PEERS, progress=iter) -> xr.Dataset:
    """`study` over every setting of every peer.

    Returns
    -------
    Dataset as of `study`, dimension `setting`, with `peer`, `value` (NaN for a rule of its own or no parameter),
    `parameter` and `shipped` for each, and `cpu_seconds` of the shipped settings alone, median of five calls, each with
    its own fit. A network that does not exist for the case is left out and named in the attribute `left_out`.
    """
    shared, made, missing = Shared(estimate.make("fit")), [], []
    data = case.phantom.measure(case.snr, np.random.default_rng([seed, 0]))
    for peer in peers:
        try:
            lines = [(peer, value, peer.make(value, case.weights, shared)) for value in peer.values]
            if "network" in estimate.uses(peer.name):
                lines[0][2](data)
        except InputError as error:
            missing.append(f"{peer.label}: {error}")
        else:
            made += lines
    labels = [peer.label if value is None else f"{peer.label}, {peer.parameter} {value}" for peer, value, _ in made]
    estimators = {label: estimator for label, (*_, estimator) in zip(labels, made, strict=True)}
    out = study(estimators, case, n_repeats, seed, progress).rename(estimator="setting")
    shipped = [value == peer.shipped for peer, value, _ in made]
    out["cpu_seconds"] = (
        "setting",
        [
            _seconds(peer.make(value, case.weights), data) if own else np.nan
            for (peer, value, _), own in zip(made, shipped, strict=True)
        ],
    )
    out = out.assign_coords(
        peer=("setting", [peer.label for peer, *_ in made]),
        parameter=("setting", [peer.parameter or "" for peer, *_ in made]),
        value=("setting", [value if isinstance(value, int | float) else np.nan for _, value, _ in made]),
        shipped=("setting", shipped),
    )
    out.attrs["left_out"] = "; ".join(missing)
    return out


def _seconds(estimator: Callable, data, calls: int = 5) -> float:
    """Median CPU time of a call: what other jobs on the machine take does not count."""
    taken = []
    for _ in range(calls):
        start = time.process_time()
        estimator(data)
        taken.append(time.process_time() - start)
    return float(np.median(taken))


def total_rmse(table: xr.Dataset, region: str = "object") -> xr.DataArray:
    """RMSE over all metabolites but the reference, which is right by definition: root of the mean square, mM."""
    errors = table["rmse"].sel(region=region)
    return np.sqrt(
        (errors.where(errors.max([d for d in errors.dims if d != "metabolite"]) > 1e-6) ** 2).mean("metabolite")
    )


def oracle(table: xr.Dataset) -> dict[str, str]:
    """peer -> setting of least `total_rmse` over the object, the two kinds of windows of a filter taken as one."""
    errors, best = total_rmse(table), {}
    for setting, peer in zip(table["setting"].values, table["peer"].values, strict=True):
        name = peer.split(",")[0]
        if name not in best or errors.sel(setting=setting) < errors.sel(setting=best[name]):
            best[name] = setting
    return best


# the cases of the book


def rings_case(snr: float = RING_SNR, tumor_size: int = 2) -> Case:
    """The ring phantom: tumor C in MRI and DMI, tumor B in the DMI only; independent noise, one frequency."""
    from precise_lib.simulate.phantoms import rings

    phantom = rings(tumor_size)
    sites = phantom.tumors
    ring = (phantom.compartments == 2) & ~np.any(list(sites.values()), 0)
    return Case(phantom, snr, sites["C"], sites["B"], ring)


def rat_case() -> Case:
    """The rat of Fig. 9 (22x11x22 voxels of 2 uL, eight averages): B0, surface coil, point spread, shared noise."""
    from precise_lib.simulate.rat import rat, snr_of

    phantom, tumor = rat(), rat().tumors["tumor"]
    around = ndimage.binary_dilation(tumor, np.ones((3, 3, 3)))
    hiding = rat(tumor_in_mri=False)
    return Case(phantom, snr_of(2.0, 8), tumor, tumor, phantom.mask & ~around, hiding, weights="dmi_11t7_rat")


def human_case(snr: float = HUMAN_SNR) -> Case:
    """The human brain at 7 T: an enhancing rim that the MRI shows, and the part of the tumor that does not enhance."""
    from precise_lib.simulate.human import human

    phantom = human(7)
    lesion = np.any(list(phantom.tumors.values()), 0)
    healthy = np.isin(phantom.compartments, (1, 2)) & ~ndimage.binary_dilation(lesion, np.ones((3, 3, 3)))
    return Case(phantom, snr, phantom.tumors["rim"], phantom.tumors["non-enhancing"], healthy, weights="dmi_7t")


CASES: dict[str, tuple[Callable[[], Case], int]] = {  # and how many noise realizations
    "rings": (rings_case, 30),
    "rat": (rat_case, 12),
    "human": (human_case, 20),
}


def load(folder) -> dict[str, xr.Dataset]:
    """Stored results of `main` by case, in the order of `CASES`; those that are not there are left out."""
    paths = {name: Path(folder) / f"peers_{name}.nc" for name in CASES}
    found = {name: xr.load_dataset(path) for name, path in paths.items() if path.is_file()}
    if not found:
        raise InputError(f"There are no results in {folder}: run 'python -m precise_lib.evaluate.peer_settings'.")
    return found


def main(arguments=None) -> None:
    """Command line: run the cases and store ``peers_<case>.nc``."""
    from tqdm.auto import tqdm

    from precise_lib import io
    from precise_lib.estimate import sve

    parser = argparse.ArgumentParser(prog="python -m precise_lib.evaluate.peer_settings", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for peers_<case>.nc")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--repeats", type=int, help="noise realizations; default as in `CASES`")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    for name in options.cases:
        build, repeats = CASES[name]
        case = build()
        table = curves(case, options.repeats or repeats, options.seed, progress=tqdm)
        if "precise" in table["peer"].values:
            table.attrs["weights_sha256"] = sve.resolve(case.weights, case.phantom.model).hash
        table.attrs["command"] = f"python -m precise_lib.evaluate.peer_settings --cases {name} --out data/results"
        table["shipped"] = table["shipped"].astype("int8")
        with io.staged(options.out) as folder:
            table.to_netcdf(folder / f"peers_{name}.nc")
        if table.attrs["left_out"]:
            print(f"{name}: left out {table.attrs['left_out']}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except InputError as problem:
        sys.exit(str(problem))
