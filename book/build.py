"""Execute the notebooks and build the site: what ``make book`` runs.

Everything goes to ``OUT/_build``: ``cache/`` (executed notebooks, reused while nothing they depend on
changes), ``records/`` (what they measured), ``runs.json`` (time and memory), ``src/`` (the staged sources),
``html/`` (the site) and, at paper scale, ``claims.json`` (the results).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import citation
import keys
import status
import yaml

from precise_lib.errors import reason
from precise_lib.io.atomic import write_text
from precise_lib.run.notebooks import THREADS, execute

if TYPE_CHECKING:
    import nbformat

ROOT = Path(__file__).resolve().parent.parent
CELL_TIMEOUT_S = 1800
NOT_STAGED = shutil.ignore_patterns("__pycache__", "*.py", "vendor/README.md", ".ipynb_checkpoints")


class BuildError(RuntimeError):
    """The book cannot be built; the message says which notebook, cell or page is the reason."""


def load_scale(scale: str, folder: Path) -> dict[str, dict]:
    """Parameters of a named scale, ``{notebook stem: {name: value}}``; none for "paper"."""
    if scale == "paper":  # the notebooks' own defaults
        return {}
    path = folder / "parameters" / f"{scale}.yaml"
    if not path.is_file():
        raise BuildError(f"There is no scale {scale!r}: {path} does not exist.")
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def execute_one(notebook: Path, parameters: dict, scale: str, folder: Path, threads: int) -> dict:
    """Execute one notebook into ``folder``; time, peak memory and any error.

    Meant for a process of its own: the peak memory is that of the largest process that it started (the kernel).
    """
    (folder / "records").mkdir(parents=True)
    started = time.perf_counter()
    environment = {
        "PRECISE_RECORDS": str(folder / "records"),
        "PRECISE_NOTEBOOK": notebook.stem,
        "PRECISE_SCALE": scale,
    } | dict.fromkeys(THREADS, str(threads))
    recorder, output = keys.recorder(folder.resolve()), folder / "notebook.ipynb"
    error = None
    try:
        failure = execute(
            notebook, output, parameters, environment, notebook.parent, CELL_TIMEOUT_S, recorder, os.getppid()
        )
        if failure:
            error = f"{notebook.name}: {failure.cell} failed: {failure.name}: {failure.message}"
    except Exception as problem:  # a worker hands back a plain message, whatever went wrong
        error = f"{notebook.name}: no cell (it did not start) failed: {reason(problem)}"
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "peak_memory_mib": round(peak),
        "error": error,
    }


def _kept_run(done: Path) -> dict | None:
    """What is known of an earlier run; None where there was none or its file is damaged."""
    try:
        return json.loads((done / "run.json").read_text())
    except (OSError, ValueError):
        return None


def execute_all(notebooks: list[Path], scale: str, build: Path, jobs: int = 2) -> dict[str, dict]:
    """Execute notebooks side by side, or reuse what is unchanged; one entry per stem, also in ``runs.json``.

    A notebook that fails does not stop the others: its entry has an ``error`` that names the cell.
    """
    if not notebooks:
        raise BuildError("There are no notebooks to execute.")
    settings = load_scale(scale, notebooks[0].parent)
    if unknown := set(settings) - {notebook.stem for notebook in notebooks}:
        raise BuildError(f"The scale has parameters for {sorted(unknown)}, which are not among the notebooks.")
    jobs = max(1, min(jobs, len(notebooks)))
    threads = max(1, (os.cpu_count() or 1) // jobs)
    files, package = keys.always(ROOT), keys.package_files(ROOT)
    runs, waiting = {}, {}
    (build / "cache").mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        for notebook in keys.longest_first(notebooks, build / "runs.json", ROOT / "book" / "seconds.json"):
            parameters = settings.get(notebook.stem, {})
            key = keys.notebook_key(notebook, {"scale": scale, **parameters}, files)
            done = build / "cache" / notebook.stem / key
            before = _kept_run(done)
            if before and keys.unchanged(before, package):
                runs[notebook.stem] = before | {"reused": True}
                print(f"  {notebook.stem}: unchanged, reused", flush=True)
                continue
            shutil.rmtree(done.parent, ignore_errors=True)
            future = pool.submit(execute_one, notebook, parameters, scale, done, threads)
            waiting[notebook.stem] = (future, done, {"key": key, "parameters": parameters})
        for stem, (future, done, about) in waiting.items():
            runs[stem] = future.result() | about
            state = runs[stem]["error"] or f"{runs[stem]['seconds']} s, {runs[stem]['peak_memory_mib']} MiB"
            print(f"  {stem}: {state}", flush=True)
            if not runs[stem]["error"]:
                runs[stem]["loaded"] = keys.loaded(done, package, ROOT)
                write_text(done / "run.json", json.dumps(runs[stem], indent=1))
            runs[stem] |= {"reused": False}
    runs = {notebook.stem: runs[notebook.stem] for notebook in notebooks}
    for run in runs.values():
        run.pop("loaded", None)  # of use in the cache only
    report = {"scale": scale, **status.machine(), "jobs": jobs, "threads_each": threads, "notebooks": runs}
    write_text(build / "runs.json", json.dumps(report, indent=1))
    return runs


def collect_records(runs: dict[str, dict], build: Path) -> Path:
    """Lay the records of all notebooks, fresh and reused, into an empty ``records/``; that folder."""
    records = build / "records"
    shutil.rmtree(records, ignore_errors=True)
    records.mkdir(parents=True)
    for stem, run in runs.items():
        for path in sorted((build / "cache" / stem / run["key"] / "records").iterdir()):
            if (records / path.name).exists():
                raise BuildError(f"{stem} recorded {path.name}, which another notebook has recorded too.")
            shutil.copy2(path, records)
    return records


def publishable(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without what papermill added: its parameters cell, its metadata (paths, times)."""
    cells = [c for c in notebook.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    for owner in [notebook, *cells]:
        owner.metadata.pop("papermill", None)
        owner.metadata.pop("execution", None)
    notebook.cells = cells
    return notebook


def stage(runs: dict[str, dict], build: Path, root: Path = ROOT) -> Path:
    """Gather configuration, prose and executed notebooks in an empty ``src/``; that folder."""
    import nbformat  # here and not above: every worker would import it, for a second and more

    source = build / "src"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(root / "book", source / "book", ignore=NOT_STAGED)
    (source / "book/_static/vendor/README.md").unlink(missing_ok=True)
    shutil.copy2(root / "_toc.yml", source)
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8")) or {}
    config = citation.configure(config, citation.read(root))
    (source / "_config.yml").write_text(yaml.safe_dump(config, allow_unicode=True, sort_keys=False), encoding="utf-8")
    (source / "notebooks").mkdir()
    for stem, run in runs.items():
        page = publishable(nbformat.read(build / "cache" / stem / run["key"] / "notebook.ipynb", as_version=4))
        nbformat.write(page, source / "notebooks" / f"{stem}.ipynb")
    return source


def build_site(source: Path, out: Path) -> Path:
    """Build the staged sources, always from nothing: an incremental build would hide old warnings.

    Raises
    ------
    BuildError
        If Sphinx warns of anything: a missing reference, picture, link or citation.
    """
    for name in ("html", ".doctrees", ".jupyter_cache"):
        shutil.rmtree(out / "_build" / name, ignore_errors=True)
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    command = [jupyter_book, "build", source, "--path-output", out, "-W", "-n", "--keep-going", "--quiet"]
    if subprocess.run(command).returncode:
        raise BuildError("The site has warnings or errors: see above. _build/html may be incomplete.")
    return out / "_build" / "html"


def publish(runs: dict[str, dict], out: Path, root: Path = ROOT) -> Path:
    """Records, written pages and site from executed notebooks; the folder of the site."""
    import verdict

    from precise_lib.evaluate.claims import load_claims, read_records, write_scoreboard

    records = collect_records(runs, out / "_build")
    source = stage(runs, out / "_build", root)
    pages = source / "book"
    write_scoreboard(records, pages / "scoreboard.md")
    (pages / "verdict.md").write_text(verdict.summary(load_claims(), read_records(records)), encoding="utf-8")
    report = json.loads((out / "_build" / "runs.json").read_text(encoding="utf-8"))
    (pages / "status.md").write_text(status.page(report, root), encoding="utf-8")
    return build_site(source, out)


def build_book(scale: str = "paper", out: Path = ROOT, jobs: int = 2, root: Path = ROOT) -> Path:
    """The whole book; the folder of the site.

    Raises
    ------
    BuildError
        If a notebook fails (all of them are tried first) or the site has a warning.
    """
    print(f"Notebooks at {scale} scale, {jobs} at a time", flush=True)
    runs = execute_all(sorted((root / "notebooks").glob("*.ipynb")), scale, out / "_build", jobs)
    if errors := [run["error"] for run in runs.values() if run["error"]]:
        raise BuildError("\n".join(errors))
    site = publish(runs, out, root)
    if scale == "paper":
        from precise_lib.evaluate.claims import write_results

        write_results(out / "_build" / "records", out / "_build" / "claims.json")
    return site


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="paper", help="paper, or a name in notebooks/parameters (smoke)")
    parser.add_argument("--out", type=Path, default=ROOT, help="folder that gets _build/html (default: here)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="notebooks at a time")
    options = parser.parse_args()
    try:
        print(f"The book is at {build_book(options.scale, options.out.resolve(), options.jobs) / 'index.html'}")
    except BuildError as problem:
        sys.exit(f"\nThe book was not built.\n{problem}")


if __name__ == "__main__":
    main()
