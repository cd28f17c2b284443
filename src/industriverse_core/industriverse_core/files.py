"""The named border to the file system: bounded reads with clear errors, and writes that are whole or absent."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from industriverse_core.errors import ErrorCode, InputError

PROGRAM_ENDINGS = (".gcode", ".gco", ".g", ".ngc", ".nc", ".tap", ".arrow")  # of files that load_program reads


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """The file's bytes. Raises InputError as `opened` does."""
    with opened(path, max_bytes) as file:
        return file.read()


@contextmanager
def opened(path: Path, max_bytes: int) -> Iterator[BinaryIO]:
    """A regular file, open for reading, that is neither empty nor above the limit.

    Raises InputError: FILE_NOT_FOUND, FILE_IS_DIRECTORY, FILE_EMPTY, FILE_TOO_LARGE or FILE_UNREADABLE; the last
    also for an error of the file system while it is being read.
    """
    try:
        _check_file(path, max_bytes)
        with path.open("rb", buffering=0) as file:
            yield cast("BinaryIO", file)
    except OSError as error:
        raise _unreadable(path, error) from error


def _check_file(path: Path, max_bytes: int) -> None:
    try:
        if path.is_dir():
            raise InputError(ErrorCode.FILE_IS_DIRECTORY, f"{path}: is a directory.", "Name one file in it.")
        if not path.exists():
            raise InputError(ErrorCode.FILE_NOT_FOUND, f"{path}: no such file.", "Check the path.")
        if not path.is_file():
            raise InputError(ErrorCode.FILE_UNREADABLE, f"{path}: not a regular file.", "Name a regular file.")
        size = path.stat().st_size
    except ValueError as error:  # a NUL in the path
        raise _unreadable(path, error) from error
    if size > max_bytes:
        raise InputError(
            ErrorCode.FILE_TOO_LARGE,
            f"{path}: {size / 1e6:.0f} MB, at most {max_bytes / 1e6:.0f} MB are read.",
            "Split the program.",
        )
    if not size:
        raise InputError(ErrorCode.FILE_EMPTY, f"{path}: the file is empty.", "Export it again.")


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(
        ErrorCode.FILE_UNREADABLE, f"{path}: cannot be read ({reason}).", "Check the file and its permissions."
    )


def replace_file(path: Path, data: Any, mode: int = 0o644) -> None:
    """Write a bytes-like object so that readers see the old file or the new one, never a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
