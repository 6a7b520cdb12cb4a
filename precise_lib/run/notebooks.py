"""The one executor of notebooks: papermill in a process of its own, which ends with its parent.

Parameters are data: they reach the notebook as literals. No Python file of the folder where a run is started runs.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from precise_lib.errors import InputError, reason
from precise_lib.io.atomic import scratch
from precise_lib.io.shipped import notebook_path

START_TIMEOUT_S = 120
STARTS = 3  # of a kernel that dies before it answers, as one does whose port another took in the meantime
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
ADDED = {"injected-parameters", "papermill-error-cell-tag"}  # cells that papermill puts in


@dataclass(frozen=True)
class Failure:
    """Where a notebook stopped: cell (its number as committed and first line), name and message of the error."""

    cell: str
    name: str
    message: str

    def __str__(self):
        first = (self.message.strip() or "no message").splitlines()[0]
        return f"{self.cell} failed: {self.name}: {first}"


def require(*modules: str, extra: str) -> None:
    """Raise `InputError` naming the extra of this package that brings modules which are missing."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"This needs {' and '.join(missing)}: install them with pip install 'precise-lib[{extra}]'.")


def find(name) -> Path:
    """A notebook by its path, or one that comes with the package by its name (``your_data``); else `InputError`."""
    path = Path(name)
    if os.path.isfile(path):  # of os, which says False of a name that is too long
        return path.resolve()
    if path.name == str(name):
        with suppress(FileNotFoundError):
            return notebook_path(f"{name}.ipynb")
    raise InputError(f"There is no notebook {name}: check its name.")


def parameters_of(notebook) -> dict[str, object]:
    """Parameters of a notebook and their defaults; `InputError` where it is not readable or has no cell tagged
    ``parameters``.

    None where a default is no literal; the type `str` for a text without a default (``name: str = None``).
    """
    require("papermill", "ipykernel", extra="sweep")
    import nbformat
    import papermill

    try:
        content = nbformat.read(notebook, as_version=4)
        cells = content.cells
        # papermill wants a language and a name of the file without braces
        content.metadata |= {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
        with tempfile.TemporaryDirectory(prefix="precise-") as own:
            nbformat.write(content, Path(own, "in.ipynb"))
            found = papermill.inspect_notebook(str(Path(own, "in.ipynb")))
    except Exception as error:  # whatever nbformat, JSON or papermill raise on a file that is no notebook
        raise InputError(f"{notebook} is not readable as a notebook: {reason(error)}.") from error
    if not any("parameters" in cell.metadata.get("tags", []) for cell in cells):
        raise InputError(f"{notebook} has no cell tagged 'parameters': add the tag to the cell that sets them.")
    defaults = {name: _literal(about["default"]) for name, about in found.items()}
    texts = [name for name, about in found.items() if about["inferred_type_name"] == "str" and defaults[name] is None]
    return defaults | dict.fromkeys(texts, str)


def _literal(source: str):
    try:
        return ast.literal_eval(source)
    except Exception:  # what is no literal raises by its kind, one that is nested too deeply a MemoryError
        return None


def execute(
    notebook, output, parameters: dict, environment=None, folder=None, cell_timeout_s=None, kernel="", owner=None
) -> Failure | None:
    """Run a notebook with `parameters` into the file `output`, up to a cell that fails; None, or what went wrong.

    Parameters are None, bool, int, float, str, or lists and dicts of these, by name; `environment` has variables on top
    of this process's own; `folder` is the working directory, by default the current one, and not searched for modules;
    `cell_timeout_s` the longest time that one cell may take, by default any; `kernel` code for the kernel's
    configuration; `owner`, where this is a worker process, the number of the one that started it and with which the run
    ends.
    """
    require("papermill", "ipykernel", extra="sweep")
    output = Path(output).absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    with scratch(output.parent) as own:
        source, target, values = (own / name for name in ("in.ipynb", "out.ipynb", "parameters.yaml"))
        source.write_bytes(Path(notebook).read_bytes())
        try:
            values.write_text(yaml.safe_dump(parameters, allow_unicode=True), encoding="utf-8")
        except UnicodeEncodeError as error:
            raise InputError("A notebook takes no text that is not UTF-8: rename the file of that name.") from error
        # plain names of files: papermill would fill in what stands in braces
        command = [sys.executable, "-m", "precise_lib.run.papermill", source.name, target.name]
        command += ["--parameters_file", values.name, "--kernel", "python3", "--language", "python"]
        command += ["--cwd", folder or os.getcwd(), "--no-progress-bar", "--log-level", "ERROR"]
        command += ["--start-timeout", START_TIMEOUT_S]
        command += [] if cell_timeout_s is None else ["--execution-timeout", cell_timeout_s]
        settings = os.environ | _settings(own, kernel) | (environment or {})
        for _ in range(STARTS):
            code, complaint = _run([str(part) for part in command], settings, own, owner)
            failure = (failure_of(target) or Failure("the start", "papermill", complaint)) if code else None
            if not failure or failure.cell != "the start" or "Kernel died" not in complaint:
                break
        if target.is_file():
            os.replace(target, output)
    return failure


def _settings(own: Path, kernel: str) -> dict[str, str]:
    """Environment in which neither the user's Jupyter settings, nor a stray kernel, nor a file in the folder counts."""
    profile = own / "ipython" / "profile_default" / "ipython_kernel_config.py"
    profile.parent.mkdir(parents=True)
    quiet = "c.IPKernelApp.log_level = 50  # neither that it speaks plain TCP nor that it was told to end\n"
    profile.write_text(f"{quiet}c.IPKernelApp.ignore_cwd = True\n{kernel}", encoding="utf-8")
    settings = {f"JUPYTER_{name}_DIR": str(own / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    settings |= {"IPYTHONDIR": str(own / "ipython"), "PYTHONSAFEPATH": "1"}
    if path := os.environ.get("PYTHONPATH"):  # ipykernel drops a first entry that is the working folder
        settings["PYTHONPATH"] = os.pathsep.join([str(own / "nothing"), path])
    return settings


def _run(command: list[str], environment: dict, folder: Path, owner: int | None) -> tuple[int, str]:
    """Exit code and last line on stderr of a process that ends when this one, or its `owner`, does."""
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    environment |= {"PRECISE_PARENT": str(os.getpid())}
    process = subprocess.Popen(command, env=environment, cwd=folder, text=True, **quiet)
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                text = process.communicate(timeout=1)[1]
                break
            if owner is not None and os.getppid() != owner:
                os._exit(1)  # and the process follows, as after any other end of this one
    except BaseException:
        process.terminate()  # papermill then ends its kernel
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        raise
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return process.returncode, lines[-1] if lines else f"it ended with code {process.returncode}"


def failure_of(executed: Path) -> Failure | None:
    """Where a partly executed notebook stopped; None where it did not start."""
    import nbformat

    if not executed.is_file():
        return None
    cells = nbformat.read(executed, as_version=4).cells
    cells = [cell for cell in cells if not ADDED & set(cell.metadata.get("tags", []))]
    runs = [cell.metadata.get("papermill", {}) for cell in cells]
    failed = [n for n, run in enumerate(runs) if run.get("exception") or run.get("status") == "running"]
    # a cell that timed out or took the kernel with it is marked as completed; it is the last that began
    begun = [n for n, run in enumerate(runs) if run.get("start_time") and cells[n].cell_type == "code"]
    if not failed + begun:
        return None
    number = failed[0] if failed else begun[-1]
    cell = cells[number]
    first = next((line.strip() for line in cell.source.splitlines() if line.strip()), "")
    errors = [out for out in cell.get("outputs", []) if out.output_type == "error"]
    name, message = (errors[-1].ename, errors[-1].evalue) if errors else ("kernel", "it timed out or its kernel died")
    return Failure(f"cell {number + 1} ({first!r})", name, message)
