"""Find the files that travel with the package: weights, claims, spin systems."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def _roots() -> tuple[Path, ...]:
    """Folders that may hold the data: the checkout's ``data/`` first, the copy inside a wheel second.

    An editable install may leave an old copy beside the installed metadata, so the checkout wins; and a
    folder called ``data`` that merely lies beside an installed package is not ours, so a checkout is
    recognized by its ``pyproject.toml``.
    """
    checkout = _PACKAGE.parent
    installed = _PACKAGE / "_data"
    return (checkout / "data", installed) if (checkout / "pyproject.toml").is_file() else (installed,)


def data_path(*parts: str) -> Path:
    """Path of a file or folder of ``data/``, in a checkout and in an installation alike.

    Parameters
    ----------
    *parts
        The path below ``data/``, for example ``data_path("weights", "dmi_3t.safetensors")``. Without
        parts, the data folder itself.

    Returns
    -------
    Path
        An existing file or folder.

    Raises
    ------
    FileNotFoundError
        If no such file is shipped, or the path leaves the data folder.
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
    """Path of a notebook that the command line runs, in a checkout and in an installation alike.

    Raises `FileNotFoundError` where it is not shipped.
    """
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file():
        path = checkout / "notebooks" / name
        if path.is_file():
            return path
    return data_path("notebooks", name)
