"""Run a notebook with other parameters: papermill in a process of its own, so that runs cannot disturb each other.

Parameters are data: they reach the notebook as literals, whatever they hold. A run gets an environment of its own
(where records go, how many threads), ends with its parent, and says which cell failed and why.
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

from precise_lib.errors import InputError
from precise_lib.io.shipped import notebook_path

START_TIMEOUT_S = 120
ADDED = {"injected-parameters", "papermill-error-cell-tag"}  # cells that papermill puts in


@dataclass(frozen=True)
class Failure:
    """Where a notebook stopped: the cell (its number as committed and first line), the error's name and message."""

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
    if path.is_file():
        return path.resolve()
    if path.name == str(name):
        with suppress(FileNotFoundError):
            return notebook_path(f"{name}.ipynb")
    raise InputError(f"There is no notebook {name}: check its name.")


def parameters_of(notebook) -> dict[str, object]:
    """Parameters of a notebook and their defaults (None where a default is no literal).

    Raises
    ------
    InputError : not readable, or it has no cell tagged ``parameters``
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
        raise InputError(f"{notebook} is not readable as a notebook: {_first_line(error)}.") from error
    if not any("parameters" in cell.metadata.get("tags", []) for cell in cells):
        raise InputError(f"{notebook} has no cell tagged 'parameters': add the tag to the cell that sets them.")
    return {name: _literal(about["default"]) for name, about in found.items()}


def _literal(source: str):
    try:
        return ast.literal_eval(source)
    except (ValueError, SyntaxError):
        return None


def _first_line(error) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def execute(notebook, output, parameters: dict, environment=None, folder=None, cell_timeout_s=None) -> Failure | None:
    """Run a notebook with `parameters` into the file `output`; None, or what went wrong.

    Parameters
    ----------
    notebook : its file; `output` gets the executed copy, up to the cell that failed
    parameters : name -> None, bool, int, float, str, or lists and dicts of these
    environment : environment variables on top of this process's own
    folder : working directory of the notebook; default the current one
    cell_timeout_s : longest time that one cell may take; default no limit
    """
    require("papermill", "ipykernel", extra="sweep")
    output = Path(output).absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".run-", dir=output.parent, ignore_cleanup_errors=True) as own:
        source, target, values = (Path(own, name) for name in ("in.ipynb", "out.ipynb", "parameters.yaml"))
        source.write_bytes(Path(notebook).read_bytes())
        values.write_text(yaml.safe_dump(parameters, allow_unicode=True), encoding="utf-8")
        # neither the user's Jupyter settings nor a stray kernel
        settings = {f"JUPYTER_{n}_DIR": str(Path(own, n.lower())) for n in ("CONFIG", "DATA", "RUNTIME")}
        # plain names of files: papermill would fill in what stands in braces
        command = [sys.executable, "-m", "papermill", source.name, target.name, "--parameters_file", values.name]
        command += ["--kernel", "python3", "--language", "python", "--cwd", folder or os.getcwd()]
        command += ["--no-progress-bar", "--log-level", "ERROR", "--start-timeout", START_TIMEOUT_S]
        if cell_timeout_s is not None:
            command += ["--execution-timeout", cell_timeout_s]
        profile = Path(own, "ipython", "profile_default", "ipython_kernel_config.py")
        profile.parent.mkdir(parents=True)
        profile.write_text("c.IPKernelApp.log_level = 40  # no warning that a local kernel speaks plain TCP\n")
        settings |= {"IPYTHONDIR": str(profile.parent.parent)} | (environment or {})
        code, complaint = _run([str(part) for part in command], os.environ | settings, own)
        failure = None
        if code:
            failure = failure_of(target) or Failure("the start", "papermill", complaint)
        if target.is_file():
            os.replace(target, output)
    return failure


def _run(command: list[str], environment: dict, folder: str) -> tuple[int, str]:
    """Exit code and last line on stderr of a process that ends when this one is interrupted."""
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, env=environment, cwd=folder, text=True, **quiet)
    try:
        _, text = process.communicate()
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
