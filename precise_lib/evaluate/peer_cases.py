"""Where peers are compared: the ring phantom, the rat and the human brain, and the stored results of all three.

    python -m precise_lib.evaluate.peer_cases --out data/results

makes them again, a file for each case.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr
from scipy import ndimage

from precise_lib.errors import InputError
from precise_lib.evaluate.peer_settings import curves
from precise_lib.evaluate.peers import Case

RING_SNR, HUMAN_SNR = 12.0, 12.0


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
        raise InputError(f"No results in {folder}: run 'python -m precise_lib.evaluate.peer_cases --out {folder}'.")
    return found


def main(arguments=None) -> None:
    """Command line: run the cases and store ``peers_<case>.nc``."""
    from tqdm.auto import tqdm

    from precise_lib import io
    from precise_lib.estimate import sve

    program = "python -m precise_lib.evaluate.peer_cases"
    parser = argparse.ArgumentParser(prog=program, description=__doc__.splitlines()[0])
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
        table.attrs["command"] = f"{program} --cases {name} --out data/results"
        with io.staged(options.out) as folder:
            table.to_netcdf(folder / f"peers_{name}.nc")
        if table.attrs["left_out"]:
            print(f"{name}: left out {table.attrs['left_out']}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except InputError as problem:
        sys.exit(str(problem))
