"""The commands that are killed, small, and what a process of theirs does; imported once, by the server of the forks."""

import json
import os
import shutil
import signal
import tempfile
import traceback
from functools import partial
from pathlib import Path

import nbformat
import numpy as np
import xarray as xr

from precise_lib.errors import InputError
from precise_lib.estimate import catalog
from precise_lib.estimate.training import SveTrainer
from precise_lib.evaluate import accuracy
from precise_lib.io import nifti_mrs
from precise_lib.quantify import quantify, train_like
from precise_lib.run import notebooks, sweep
from precise_lib.signal.mrsi import MRSI
from precise_lib.signal.presets import dmi_11t7
from tests.helpers import minute_config

REFUSED, FAILED = 2, 3


class Train:
    """``train --like``, without the measurement of line widths."""

    def __init__(self, folder):
        self.config = minute_config(iterations=12)

    def run(self, out):
        os.environ["PRECISE_MODELS"] = str(out)
        quick = partial(accuracy.accuracy, snrs=(12.0,), n_repeats=20)
        train_like.certify = partial(accuracy.certify, measure=quick)
        train_like.train_into_folder(self.config, "small", progress=False)

    def left(self, out):
        """The weights, and the card without its times."""
        name = self.config.signal_model.hash
        card = json.loads((out / f"{name}.json").read_text())
        for time in ("wall_time_s", "stored"):
            del card[time]
        return (out / f"{name}.safetensors").read_bytes(), card

    def check(self, out):
        """In between there is no network, or the whole one."""
        os.environ["PRECISE_MODELS"] = str(out)
        assert all(entry.card.accuracy for entry in catalog.trained() if entry.problem is None)


class Quantify:
    """``quantify`` over the results of another file."""

    def __init__(self, folder):
        model, rng = dmi_11t7(), np.random.default_rng(0)
        self.files = [folder / "old.nii.gz", folder / "new.nii.gz"]
        for path, scale in zip(self.files, (1.0, 2.0), strict=True):
            fids = model.fids([1.0, 0.3 * scale, 0.6, 0.1]) + rng.normal(0, 0.05, (3, 2, 1, 512))
            nifti_mrs.write_mrsi(path, MRSI(fids, model, np.diag([5.0, 5, 5, 1])))
        self.maps = {}
        for path in self.files:
            quantify(path, folder / path.stem, estimator="fit")
            self.maps[str(path)] = self.read(folder / path.stem)
        self.old = folder / "old.nii"

    def run(self, out):
        quantify(self.files[1], out, estimator="fit")

    def read(self, out):
        return {path.name: path.read_bytes() for path in sorted(out.glob("*.nii.gz"))}

    def before(self, out):
        shutil.copytree(self.old, out)

    def left(self, out):
        with xr.open_dataset(out / "result.nc") as stored:
            values = {name: stored[name].values.tobytes() for name in stored}
        return self.read(out), values

    def check(self, out):
        """With a summary, all maps are of the file that it names."""
        if (out / "summary.json").is_file():
            used = json.loads((out / "summary.json").read_text())["settings"]["dmi"]
            assert self.read(out) == self.maps[used]


class Sweep:
    """``sweep`` of two rows, by an executor that starts no kernel."""

    def __init__(self, folder):
        cell = nbformat.v4.new_code_cell("a = 1", metadata={"tags": ["parameters"]})
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / "n.ipynb")
        (folder / "t.csv").write_text("a\n1\n2\n")
        self.files = folder / "n.ipynb", folder / "t.csv"

    def run(self, out):
        def execute(notebook, output, parameters, environment, *_):
            shutil.copy(notebook, output)
            os.environ["PRECISE_SWEEP_VALUES"] = environment["PRECISE_SWEEP_VALUES"]
            sweep.collect(twice=2 * parameters["a"])

        notebooks.execute, notebooks.parameters_of = execute, lambda _: {"a": 1}
        runs = sweep.sweep(*self.files, out, progress=False)
        assert [run.state[0] for run in runs] == ["finished", "finished"]

    def left(self, out):
        done = [json.loads(path.read_text()) | {"seconds": 0} for path in sorted(out.glob("runs/*/run.json"))]
        return (out / "table.csv").read_bytes(), done

    def check(self, out):
        for path in out.glob("runs/*/run.json"):
            done = json.loads(path.read_text())
            assert done["values"] == {"twice": 2 * done["parameters"]["a"]}
            assert path.with_name("notebook.ipynb").is_file()


def guarded(call, *arguments):
    """What the command line would leave with."""
    try:
        call(*arguments)
    except InputError:
        os._exit(REFUSED)
    except BaseException:
        traceback.print_exc()
        os._exit(FAILED)
    os._exit(0)


def killed_at(run, out, number, count):
    """SIGKILL at the rename of this number; the file `count` holds how many there were."""
    real, calls = os.replace, 0

    def replace(source, target):
        nonlocal calls
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        calls += 1
        count.write_text(str(calls))
        real(source, target)

    os.replace = replace
    run(out)
    if number >= 0:  # after the last
        os.kill(os.getpid(), signal.SIGKILL)


if os.environ.get("PRECISE_WARM_UP"):  # what torch, LAPACK and imports inside functions do once, before the forks
    SveTrainer(minute_config())
    with tempfile.TemporaryDirectory() as scratch:
        Quantify(Path(scratch))
