"""Find the files that travel with the package: weights, claims, spin systems."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def _roots() -> tuple[Path, ...]:
    """Folders that may hold the data: that of a checkout, known by its ``pyproject.toml``, before that of a wheel."""
    installed, checkout = _PACKAGE / "_data", _PACKAGE.parent
    return (checkout / "data", installed) if (checkout / "pyproject.toml").is_file() else (installed,)


def data_path(*parts: str) -> Path:
    """Path of a file or folder of ``data/``, such as ``data_path("weights", "dmi_3t.safetensors")``.

    The same in a checkout and in an installation. Raises `FileNotFoundError` where no such file is shipped, or the path
    leaves the data folder.
    """
    roots = _roots()
    for root in roots:
        path = root.joinpath(*parts)
        if path.exists() and path.resolve().is_relative_to(root.resolve()):
            return path
    wanted = "/".join(str(part) for part in parts) or "data"
    raise FileNotFoundError(
        f"{wanted} is not among the data shipped with precise_lib (looked in {', '.join(map(str, roots))})"
    )


def notebook_path(name: str) -> Path:
    """Path of a notebook that the command line runs; raises `FileNotFoundError` where it is not shipped."""
    path = _PACKAGE.parent / "notebooks" / name
    return path if len(_roots()) > 1 and path.is_file() else data_path("notebooks", name)
