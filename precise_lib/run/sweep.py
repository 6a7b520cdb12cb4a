"""Run a notebook over a table of parameters, side by side, and gather what it measured: ``precise sweep``.

Every row is one run in ``OUT/runs/<key>``, finished when its ``run.json`` is there, which arrives last and whole: an
interrupted sweep resumes where it stopped. The key is a hash of the notebook, the parameters and the version of this
package; after a change to anything else (its code under the same version, a data file), sweep into another folder.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

from precise_lib import __version__
from precise_lib.errors import InputError, reason
from precise_lib.io.atomic import clean, scratch, staged, write_text
from precise_lib.io.text import read_json
from precise_lib.run import notebooks, tables

CELL_TIMEOUT_S = 24 * 3600
WORKERS_TIMEOUT_S = 24 * 3600


@dataclass(frozen=True)
class Run:
    """One row of the table: its notebook, parameters and the folder that keeps its result."""

    notebook: Path
    parameters: dict
    folder: Path

    @property
    def refused(self) -> str:
        """Why this row cannot be run; empty where it can."""
        return next((v.reason for v in self.parameters.values() if isinstance(v, tables.Refused)), "")

    @property
    def finished(self) -> dict | None:
        """Content of ``run.json``: parameters, what was recorded, time and version; None before the end."""
        done = None if self.refused else _read(self.folder / "run.json", "records", "values")
        return done if done and isinstance(done["values"], dict) and _are_records(done["records"]) else None

    @property
    def state(self) -> tuple[str, str]:
        """("finished", ""), ("failed", the reason) or ("not run", "")."""
        if self.finished:
            return "finished", ""
        failed = {"error": self.refused} if self.refused else _read(self.folder / "failed.json", "error")
        return ("failed", str(failed["error"])) if failed else ("not run", "")


def _read(path: Path, *needed: str) -> dict | None:
    try:
        content = read_json(path)
        return content if isinstance(content, dict) and all(name in content for name in needed) else None
    except (OSError, ValueError):  # not there, or damaged: run again
        return None


def _are_records(content) -> bool:
    """Whether this is what `evaluate.claims.record` wrote, as far as a table needs it."""
    needed = {"id", "part", "value", "spread", "holds"}
    return isinstance(content, list) and all(isinstance(r, dict) and needed <= r.keys() for r in content)


def run_key(notebook: Path, parameters: dict) -> str:
    """Sixteen hexadecimal digits for a notebook's content, its parameters and the version of this package."""
    content = hashlib.sha256(notebook.read_bytes()).hexdigest()
    text = json.dumps([content, parameters, __version__], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def collect(**values) -> None:
    """Called in a notebook: give the table of a sweep a column for each value (number or text); else nothing happens.

    Claims need not be repeated here: `evaluate.claims.record` is gathered too.
    """
    if path := os.environ.get("PRECISE_SWEEP_VALUES"):
        kept = (_read(Path(path)) or {}) | {k: v.item() if hasattr(v, "item") else v for k, v in values.items()}
        write_text(path, json.dumps(kept))


def execute(run: Run, threads: int | None = None, working_folder: str | None = None, owner: int | None = None) -> None:
    """Do one run and keep its result, or why it failed; it ends with `owner`, the sweep where on this computer."""
    started = time.time()
    run.folder.mkdir(parents=True, exist_ok=True)
    with scratch(run.folder) as attempt:
        records, values, executed = attempt / "records", attempt / "values.json", attempt / "nb.ipynb"
        environment = {
            "PRECISE_RECORDS": str(records),
            "PRECISE_SWEEP_VALUES": str(values),
            "PRECISE_NOTEBOOK": "".join(c if c.isalnum() or c in "-_" else "_" for c in run.notebook.stem),
            "PRECISE_SCALE": "sweep",
            "PRECISE_RUN_FOLDER": str(run.folder),
        } | (dict.fromkeys(notebooks.THREADS, str(threads)) if threads else {})
        owner = None if owner == os.getpid() else owner
        try:
            problem = notebooks.execute(
                run.notebook, executed, run.parameters, environment, working_folder, CELL_TIMEOUT_S, "", owner
            )
            made = sorted(records.glob("[!.]*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))
            found = [json.loads(path.read_text(encoding="utf-8")) for path in made]
        except Exception as error:  # whatever else a run may raise is that run's
            problem = error if isinstance(error, InputError) else reason(error)
        about = {"parameters": run.parameters, "version": __version__, "seconds": round(time.time() - started, 1)}
        if not problem:
            about |= {"records": found, "values": _read(values) or {}}
        if executed.is_file():
            os.replace(executed, run.folder / f"{'failed' if problem else 'notebook'}.ipynb")
    if problem:
        write_text(run.folder / "failed.json", json.dumps(about | {"error": str(problem)}, indent=1))
        return
    for old in run.folder.glob("failed.*"):
        old.unlink(missing_ok=True)
    write_text(run.folder / "run.json", json.dumps(about, indent=1))


def measured(run: Run) -> dict:
    """What a finished run recorded, {column: value}: claims with their spread, then what it gave to `collect`."""
    done, columns = run.finished, {}
    for record in done["records"] if done else []:
        name = f"{record['id']} {record['part'] or ''}".strip()
        columns[name] = record["holds"] if record["value"] is None else record["value"]
        if record["spread"] is not None:
            columns[f"{name} spread"] = record["spread"]
    return columns | (done["values"] if done else {})


def write_table(path: Path, runs: list[Run], parameters: list[str]) -> None:
    """One line per row of the sweep: number, parameters, state, what was measured, its notebook."""
    results = [measured(run) for run in runs]
    columns = list(dict.fromkeys(name for result in results for name in result))
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    # a value may have the name of a parameter
    names = [f"{name} (measured)" if name in parameters else name for name in columns]
    table.writerow(["run", *parameters, "state", *names, "error", "notebook"])
    for number, (run, result) in enumerate(zip(runs, results, strict=True), 1):
        state, error = run.state
        name = {"finished": "notebook.ipynb", "failed": "failed.ipynb"}.get(state)
        where = f"runs/{run.folder.name}/{name}" if name and (run.folder / name).is_file() else ""
        own = [_cell(run.parameters.get(name, "")) for name in parameters]
        table.writerow([number, *own, state, *[_cell(result.get(name, "")) for name in columns], error, where])
    write_text(path, buffer.getvalue().encode("utf-8", "replace").decode())


def _cell(content):
    if isinstance(content, tables.Refused):
        return ""
    return json.dumps(content) if isinstance(content, list | dict | bool) or content is None else content


@contextmanager
def _cluster(address: str):
    """Dask as the backend of joblib, with the scheduler at `address`."""
    notebooks.require("distributed", extra="cluster")
    from distributed import Client

    try:
        client = Client(address, timeout=15)
    except (OSError, ValueError, TimeoutError, TypeError) as error:
        raise InputError(f"No Dask scheduler answers at {address}: start one, or give its address.") from error
    # a queue may take its time to start the first worker
    with client, parallel_config(backend="dask", wait_for_workers_timeout=WORKERS_TIMEOUT_S):
        yield


class _Watched(Parallel):
    """`joblib.Parallel` that moves a progress bar, on any backend."""

    bar: tqdm

    def print_progress(self):
        self.bar.n = self.n_completed_tasks
        self.bar.refresh()


def sweep(notebook, table, out, jobs: int | None = None, scheduler: str | None = None, progress: bool = True):
    """Run what is not finished yet, then write ``OUT/table.csv``; returns a `Run` per row of the table.

    `notebook` has a cell tagged ``parameters`` (or is ``your_data``); `table` as of `tables.read`; `jobs` run at a time
    on this computer, default 1, each with its share of the cores; `scheduler` is the address of a Dask scheduler, which
    then decides how many run at a time: its workers need this package and this file system. A failed run, also one of a
    value that no notebook can get, does not stop the others; the next call tries it again.

    Raises `InputError` where notebook, table, folder or scheduler cannot be used, before anything runs, and
    `KeyboardInterrupt` after writing the table of what is finished; the same call resumes from there.
    """
    if jobs is not None and (scheduler or jobs < 1):
        raise InputError("--jobs is a positive number of runs on this computer; a scheduler needs none.")
    notebook, out = notebooks.find(notebook), Path(out).absolute()
    rows = tables.read(table, notebooks.parameters_of(notebook))
    with staged(out), staged(out / "runs"):  # an unwritable folder is refused now
        pass
    runs = [Run(notebook, row, out / "runs" / run_key(notebook, row)) for row in rows]
    for run in runs:
        clean(run.folder)
    # equal rows are one run
    waiting = list({run.folder: run for run in runs if not (run.finished or run.refused)}.values())
    threads = None if scheduler else max(1, (os.cpu_count() or 1) // min(jobs or 1, len(waiting) or 1))
    owner = None if scheduler else os.getpid()
    with _cluster(scheduler) if scheduler else nullcontext():
        # one run a task: joblib would send several quick ones together
        workers = _Watched(n_jobs=None if scheduler else jobs or 1, batch_size=1)
        try:
            with tqdm(total=len(waiting), unit="run", disable=not progress) as workers.bar:
                workers(delayed(execute)(run, threads, os.getcwd(), owner) for run in waiting)
        finally:
            write_table(out / "table.csv", runs, list(dict.fromkeys(name for row in rows for name in row)))
    return runs
