"""Files and folders that arrive whole or not at all: the one writer."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

from precise_lib.errors import InputError, reason

try:
    import fcntl
except ImportError:  # Windows: nothing is locked, and what a killed run left is not removed
    fcntl = None

PREFIX = ".precise-unfinished-"
LONGEST_NAME = 255  # bytes
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENAMETOOLONG}  # the disk, or a name that it does not take


def write_text(path, text: str) -> None:
    """A file of UTF-8 text, whole or not at all, see `staged`."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path, content: bytes) -> None:
    """A file, whole or not at all; its folder is made where it is missing. Raises `InputError` as `staged`."""
    path = Path(path)
    with staged(path.parent) as work:
        (work / path.name).write_bytes(content)


@contextmanager
def staged(folder, last: str = "summary.json", instead_of: tuple[str, ...] = ()) -> Iterator[Path]:
    """A temporary folder whose files move into `folder` when the block ends, and vanish when it fails.

    Each file arrives by one rename, replacing what had its name; other files in `folder` are not touched. A file named
    `last` arrives after all others, and an old one of that name leaves before the first: a folder without it is
    incomplete. Files that match the patterns `instead_of` and were not made again are removed: nothing of another run
    is left. Where a rename fails, `folder` is as it was before. Two processes move their files one after the other.

    Raises `InputError` on entering where `folder` cannot be written; later, where the disk is full or a name too long.
    """
    folder = Path(folder)
    try:
        if any(len(os.fsencode(part)) > LONGEST_NAME for part in folder.parts):
            raise OSError(errno.ENAMETOOLONG, "file name too long")
        with suppress(FileNotFoundError):
            folder.stat()
        _check_no_file(folder)
        stack, places = ExitStack(), [p for p in (folder, *folder.absolute().parents) if p.exists()]
        for place in () if folder.name.startswith(PREFIX) else places[1:]:  # where a run began without its folder
            clean(place)
        work = stack.enter_context(scratch(places[0]))
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be written ({reason(error)}): give another one.") from error
    with stack:
        try:
            yield work
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise InputError(f"The results could not be written to {folder} ({reason(error)}).") from error
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with nullcontext() if folder.name.startswith(PREFIX) else _held(folder):  # a `scratch` is held already
                _publish(work, folder, last, instead_of)
        except OSError as error:
            raise InputError(f"The results could not be moved to {folder} ({reason(error)}).") from error


@contextmanager
def scratch(home) -> Iterator[Path]:
    """A folder below `home` that vanishes with the block; what killed processes left there vanishes too."""
    clean(Path(home))
    while True:
        work = Path(tempfile.mkdtemp(prefix=PREFIX, dir=home))
        with _held(work):
            if not work.is_dir():  # another process took it for one that was left
                continue
            try:
                yield work
            finally:
                shutil.rmtree(work, ignore_errors=True)
        return


@contextmanager
def alone(path, sentence: str) -> Iterator[None]:
    """Hold the file `path`, which is for this only, while the block runs.

    Raises `InputError` with `sentence` where another process holds it, or where its folder cannot be written. The file
    vanishes with the block, and with it a folder that was made for it and is empty; a file that a killed process left
    holds nobody up.
    """
    path, made = Path(path), []
    while True:
        try:
            made = made or [folder for folder in path.parents if not folder.exists()]
            _check_no_file(path.parent)
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as error:
            raise InputError(f"The folder {path.parent} cannot be written ({reason(error)}): give another.") from error
        try:
            with suppress(AttributeError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                os.close(handle)
                raise InputError(sentence) from None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                break
        os.close(handle)  # another process had it, and removed it when it was done
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(path)
            for folder in made:
                folder.rmdir()
        os.close(handle)


def _check_no_file(folder: Path) -> None:
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"{folder} is a file, not a folder: give another folder to write to.")


def clean(home: Path) -> None:
    """Remove what killed processes left in a folder."""
    for left in home.glob(f"{PREFIX}*"):
        with _held(left, wait=False) as free:
            if free:
                shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _held(folder: Path, wait: bool = True) -> Iterator[bool]:
    """Lock a folder while the block runs; False where another process holds it or nothing can be locked there."""
    handle, locked = None, False
    with suppress(OSError, AttributeError):
        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        locked = True
    try:
        yield locked
    finally:
        if handle is not None:
            os.close(handle)


def _publish(work: Path, folder: Path, last: str, instead_of: tuple[str, ...]) -> None:
    """Move all files of `work` into `folder`, or none where one move fails; remove what they stand `instead_of`."""
    paths = sorted(work.iterdir(), key=lambda path: (path.name == last, path.name))
    names = {path.name for path in paths}
    stale = sorted({old.name for pattern in instead_of for old in folder.glob(pattern) if old.is_file()} - names)
    kept = work / ".kept"
    kept.mkdir()
    for path in paths:
        if path.is_file():
            path.chmod(0o644)  # several libraries write private files
    for name in [*sorted(names), *stale]:
        with suppress(OSError):  # no such file yet, or a file system without links
            os.link(folder / name, kept / name)
    try:
        if len(paths) > 1 and paths[-1].name == last:
            (folder / last).unlink(missing_ok=True)
        for name in stale:
            (folder / name).unlink()
        for path in paths:
            os.replace(path, folder / path.name)
    except BaseException:
        for name in [*sorted(names), *stale]:
            with suppress(OSError):
                if (kept / name).exists():
                    os.replace(kept / name, folder / name)
                elif not (work / name).exists():
                    (folder / name).unlink()
        raise
