"""Files and folders that arrive whole or not at all: the one writer."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from precise_lib.errors import InputError


@contextmanager
def staged(folder) -> Iterator[Path]:
    """A temporary folder whose files move into `folder` when the block ends, and vanish when it fails.

    Each file arrives by one rename, replacing what had its name; other files in `folder` are not touched.
    Entering raises `InputError` where `folder` cannot be written, before anything has been computed.
    """
    folder = Path(folder)
    home = folder
    while not home.exists() and home != home.parent:
        home = home.parent
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, not a folder: give another folder to write to.")
    try:
        work = Path(tempfile.mkdtemp(prefix=".precise-", dir=home))
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be written ({error.strerror}): give another one.") from error
    try:
        yield work
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(work.iterdir()):
                os.replace(path, folder / path.name)
        except OSError as error:
            raise InputError(f"The results could not be moved to {folder} ({error.strerror}).") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
