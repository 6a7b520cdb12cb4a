"""The status page: what this build ran, on what, how long it took, and from which weights."""

import hashlib
import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from precise_lib.run.notebooks import parameters_of

SCIENCE = [
    "precise-lib",
    "numpy",
    "scipy",
    "torch",
    "xarray",
    "nibabel",
    "nifti-mrs",
    "matplotlib",
    "nilearn",
]
SITE = ["papermill", "ipywidgets", "jupyter-book", "sphinx", "myst-nb", "sphinx-book-theme"]

INTRODUCTION = """Written by the build. A notebook is *reused* when it, its parameters, what it loads of the package,
the data and the locked environment are as they were when it ran; its time and memory are those of that run.
Times include the start of a kernel, and whatever else the machine was doing."""


def processor() -> str:
    """Name of this machine's processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def machine() -> dict:
    """What a run time depends on: processor, cores, memory, operating system, Python."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None
    return {
        "processor": processor(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30) if memory else None,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def revision(root: Path) -> str | None:
    """The commit that was built, and whether files differed from it; None outside a checkout."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=, with changes", "--abbrev=12", "--exclude=*"],
            cwd=root,
            capture_output=True,
            text=True,
        )
    except OSError:
        return None
    return done.stdout.strip() or None


def installed(packages=(*SCIENCE, *SITE)) -> dict[str, str]:
    """Versions of the packages that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def seeds(notebook: Path, run: dict) -> str:
    """The seeds among a run's parameters, as ``name = value``."""
    values = parameters_of(notebook) | run["parameters"]
    return ", ".join(f"{name} = {value}" for name, value in values.items() if "seed" in name)


def weights(folder: Path) -> list[list[str]]:
    """Rows of the table of weights: name, SHA-256 of the file, seed of its training, and whether the card agrees."""
    rows = []
    for card_path in sorted(folder.rglob("*.json")):  # a file without a card is a training under way
        path, card = card_path.with_suffix(".safetensors"), json.loads(card_path.read_text(encoding="utf-8"))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        agrees = "as on its card" if digest == card.get("sha256") else "**not as on its card**"
        seed = card.get("config", {}).get("seed", "–")
        rows.append([path.relative_to(folder).with_suffix("").as_posix(), str(seed), f"`{digest}`", agrees])
    return rows


def table(widths: str, header: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a MyST list table."""
    lines = ["```{list-table}", ":header-rows: 1", f":widths: {widths}", ":width: 100%", ""]
    for row in [header, *rows]:
        lines += [f"{'  -' if i else '* -'} {cell}".rstrip() for i, cell in enumerate(row)]
    return [*lines, "```", ""]


def page(report: dict, root: Path) -> str:
    """The page, in MyST Markdown.

    Parameters
    ----------
    report : what ``runs.json`` holds
    root : the checkout
    """
    runs = report["notebooks"]
    notebooks = [
        [
            f"[{stem}](../notebooks/{stem}.ipynb)",
            f"{run['seconds']:.0f}",
            f"{run['peak_memory_mib']}",
            "reused" if run["reused"] else "fresh",
            seeds(root / "notebooks" / f"{stem}.ipynb", run) or "–",
        ]
        for stem, run in sorted(runs.items())
    ]
    total, fresh = sum(r["seconds"] for r in runs.values()), [r for r in runs.values() if not r["reused"]]
    built = revision(root)
    facts = [
        ["Scale", f"{report['scale']} ({{doc}}`how_to_read` says what that means)"],
        ["Processor", f"{report['processor']}, {report['machine']}, {report['cores']} cores"],
        ["Memory", f"{report['memory_gib']} GiB" if report["memory_gib"] else "not known"],
        ["System", f"{report['system']}, Python {report['python']}"],
        ["Side by side", f"{report['jobs']} notebooks, {report['threads_each']} thread(s) each"],
        *([["Source", f"commit {built}"]] if built else []),
    ]
    return "\n".join(
        [
            "# Status of this build",
            "",
            INTRODUCTION,
            "",
            *table("20 80", ["What", "Value"], facts),
            "## Notebooks",
            "",
            f"{len(fresh)} of {len(runs)} notebooks ran for this build, {len(runs) - len(fresh)} are reused; "
            f"{total / 60:.1f} minutes of run time in all.",
            "",
            *table("40 12 14 12 22", ["Notebook", "Time (s)", "Peak memory (MiB)", "Run", "Seeds"], notebooks),
            "## Versions",
            "",
            *table("50 50", ["Package", "Version"], [list(item) for item in installed().items()]),
            "`requirements.lock` holds the rest.",
            "",
            "## Weights",
            "",
            "SHA-256 of the networks that the notebooks load, and the seed of their training.",
            "",
            *table("24 8 50 18", ["Network", "Seed", "SHA-256", "Check"], weights(root / "data" / "weights")),
        ]
    )
