"""What an executed notebook depends on, so that it runs again when that changed and only then.

Every notebook depends on itself, its parameters, the data, the lock and Python's version. Of the package it depends on
the modules that it loaded: its kernel writes them down when it ends, whatever was imported where and by which name. If
none of them has changed, the same ones would be loaded again and do the same. Where that argument fails, because the
kernel started another Python, or left no list, the notebook depends on the whole package.
"""

import hashlib
import json
import platform
from pathlib import Path

PACKAGE = "precise_lib"
LIST = "modules.json"

# Runs in the kernel, as part of its configuration. Modules that multiprocessing and loky load when they start a process
# betray one that no audit event tells of.
RECORDER = """
import atexit as _atexit, json as _json, os as _os, sys as _sys

_others = []

def _watch(event, values):
    if event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn"):
        said = " ".join(str(value) for value in values[:2]).lower()
        if event in ("os.system", "os.fork") or any(word in said for word in ("python", "precise", "sh", "jupyter")):
            _others.append(event)

def _write(path=PATH, package=PACKAGE):
    started = [n for n in _sys.modules if n.rpartition(".")[2].startswith("popen_")]
    files = [getattr(m, "__file__", None) for n, m in list(_sys.modules.items()) if n.split(".")[0] == package]
    with open(path, "w") as file:
        _json.dump({"files": [f for f in files if f], "others": _others + started}, file)

_sys.addaudithook(_watch)
_atexit.register(_write)
"""


def recorder(folder: Path) -> str:
    """Code for the configuration of a kernel that leaves its list of modules in `folder`."""
    return f"PATH, PACKAGE = {str(folder / LIST)!r}, {PACKAGE!r}\n{RECORDER}"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def package_files(root: Path) -> dict[str, str]:
    """Path below `root` -> hash of every file of the package."""
    files = [p for p in (root / PACKAGE).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    return {p.relative_to(root).as_posix(): digest(p) for p in sorted(files)}


def always(root: Path) -> list[Path]:
    """Files that every notebook depends on: data, environment, what is no code in the package."""
    kept = root / "data" / "results" / "claims.json"  # what notebooks measured: they do not read it
    data = [p for p in (root / "data").rglob("*") if p.suffix != ".md" and p != kept and ".checkpoint" not in p.name]
    other = [p for p in (root / PACKAGE).rglob("*") if p.suffix != ".py" and "__pycache__" not in p.parts]
    return sorted(p for p in [*data, root / "requirements.lock", *other] if p.is_file())


def notebook_key(notebook: Path, parameters: dict, files: list[Path]) -> str:
    """Hash of a notebook, its parameters and `files`; what it loads from the package is not known before it runs."""
    total = hashlib.sha256(json.dumps([platform.python_version(), parameters], sort_keys=True).encode())
    for path in [notebook, *files]:
        total.update(path.name.encode() + b"\0" + digest(path).encode())
    return total.hexdigest()[:16]


def loaded(folder: Path, package: dict[str, str], root: Path) -> dict[str, str]:
    """The part of `package` (see `package_files`) that the kernel of a run loaded; all of it where that is not sure.

    `package` is that of before the run: a file that somebody changed meanwhile then counts as changed.
    """
    try:
        content = json.loads((folder / LIST).read_text(encoding="utf-8"))
        paths = {Path(file).resolve().relative_to(root.resolve()).as_posix() for file in content["files"]}
        sure = not content["others"] and paths <= package.keys()
    except (OSError, ValueError, KeyError):
        return package
    return {path: package[path] for path in sorted(paths)} if sure else package


def unchanged(run: dict, package: dict[str, str]) -> bool:
    """Whether all that a run loaded is as it was."""
    return "loaded" in run and all(package.get(path) == value for path, value in run["loaded"].items())


def longest_first(notebooks: list[Path], *reports: Path) -> list[Path]:
    """Notebooks by the time they took, the longest and the unknown first: two workers then end at about the same time.

    `reports` are ``runs.json`` files or the like; the first that knows a notebook tells its time.
    """
    seconds = {}
    for report in reports:
        try:
            runs = json.loads(report.read_text(encoding="utf-8"))["notebooks"]
            seconds = {stem: float(run["seconds"]) for stem, run in runs.items()} | seconds
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return sorted(notebooks, key=lambda path: -seconds.get(path.stem, float("inf")))
