"""Reading the record, also while it is written and after its writer was killed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from industriverse_core.errors import ErrorCode, InputError
from machine_node.hub.buffer import LIVE_NAME, is_recording, record_files
from machine_node.hub.file import AGAIN, FORMAT, H5_ERRORS, VERSION, valid_tail
from machine_node.hub.superblock import ClearedView, has_flags

MOST_ROWS = 2_000_000  # of one stream in memory


@dataclass(frozen=True, slots=True, eq=False)
class StreamInfo:
    """One stream of a record: column -> unit and column -> description."""

    machine: str
    stream: str
    units: Mapping[str, str]
    descriptions: Mapping[str, str]

    @property
    def name(self) -> str:
        """Its path in the file."""
        return f"{self.machine}/{self.stream}"


class RecordReader:
    """One file of a record, open for reading. Raises InputError: FILE_NOT_FOUND, FILE_IS_DIRECTORY, RECORD_BROKEN."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise InputError(ErrorCode.FILE_NOT_FOUND, f"{path}: no such file.", "Check the path.")
        if path.is_dir():
            raise InputError(ErrorCode.FILE_IS_DIRECTORY, f"{path}: is a directory.", "Name one file in it.")
        self.path = path
        self.inode = path.stat().st_ino
        try:
            self._file = _open(path)
        except H5_ERRORS as error:
            raise _broken(path, error) from error
        try:
            attributes = self._file.attrs
            if attributes.get("format") != FORMAT or int(attributes.get("version", 0)) != VERSION:
                raise ValueError(f"format {attributes.get('format')!r} version {attributes.get('version')!r}")
            self.streams = tuple(self._info(group, name) for group in self._file for name in self._file[group])
        except H5_ERRORS as error:
            self._file.close()
            raise _broken(path, error) from error

    def __enter__(self) -> RecordReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _info(self, group: str, name: str) -> StreamInfo:
        rows = self._file[f"{group}/{name}/rows"]
        columns = rows.dtype.names
        return StreamInfo(
            group,
            name,
            {column: str(rows.attrs[f"{column}.units"]) for column in columns},
            {column: str(rows.attrs[f"{column}.description"]) for column in columns},
        )

    def rows(self, name: str, since_s: float = -np.inf, after_row: int = 0, most: int = MOST_ROWS) -> np.ndarray:
        """Rows of a stream, in order: received (ROS time) since `since_s`, numbered above `after_row`, the last `most`.

        Returns a structured array. Raises InputError (RECORD_BROKEN).
        """
        try:
            tail = self._refreshed(f"{name}/tail")[()]  # before `rows`: see file.py
            dataset = self._refreshed(f"{name}/rows")
            parts = self._back_to(dataset, since_s, after_row, most)
        except H5_ERRORS as error:
            raise _broken(self.path, error) from error
        last = int(parts[-1]["row"][-1]) if parts else 0
        open_rows = valid_tail(tail, last)
        columns = [column for column in tail.dtype.names if column != AGAIN]
        rows = np.concatenate([*parts, open_rows[columns].astype(dataset.dtype)])
        return rows[(rows["row"] > after_row) & (rows["received_s"] >= since_s)][-most:]

    def _refreshed(self, name: str) -> Any:
        dataset = self._file[name]
        dataset.refresh()
        return dataset

    def _back_to(self, dataset: Any, since_s: float, after_row: int, most: int) -> list[np.ndarray]:
        """Whole chunks from the end back to the first row that is wanted. Rows 0 were announced and never written."""
        size, end = dataset.chunks[0], dataset.shape[0]
        parts: list[np.ndarray] = []
        count = 0
        step = size
        while end > 0 and count < most:
            begin = max(0, end - step)
            part = dataset[begin:end]
            part = part[part["row"] > 0]
            end = begin
            step = min(step * 2, 64 * size)
            if not len(part):
                continue
            parts.insert(0, part)
            count += len(part)
            if part["received_s"][0] < since_s or part["row"][0] <= after_row:
                break
        return parts

    def last(self, name: str) -> np.ndarray:
        """The last row, as an array of length 1, or 0 when there is none."""
        return self.rows(name, most=1)


class RecordSet:
    """The files of one record as one: rotated ones first, the live one last.

    Args:
        paths: the oldest first.
        on_skipped: told of files put aside that cannot be read; the last file must be readable.
    """

    def __init__(self, paths: list[Path], on_skipped: Callable[[InputError], None] = lambda _: None) -> None:
        self._readers: list[RecordReader] = []
        for path in paths:
            try:
                self._readers.append(RecordReader(path))
            except InputError as error:
                if path == paths[-1]:
                    self.__exit__()
                    raise
                on_skipped(error)
        self._given: dict[str, int] = {}  # stream -> number of the last row that was given

    @staticmethod
    def find(cell_or_file: Path, home: Path, on_skipped: Callable[[InputError], None] = lambda _: None) -> RecordSet:
        """One file, a cell's folder, or a cell below `home` by its name. Raises InputError."""
        return RecordSet(find_record(cell_or_file, home), on_skipped)

    def __enter__(self) -> RecordSet:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._readers:
            reader.__exit__()

    @property
    def paths(self) -> list[Path]:
        """Of the files that are read."""
        return [reader.path for reader in self._readers]

    @property
    def streams(self) -> tuple[StreamInfo, ...]:
        """Of the newest file; older ones may have had others."""
        return self._readers[-1].streams

    def last_received_s(self, streams: list[StreamInfo]) -> float:
        """ROS time of the newest row of these streams; 0 when there is none."""
        lasts = (reader.last(info.name) for info in streams for reader in self._having(info.name)[-2:])
        return max((float(last["received_s"][-1]) for last in lasts if len(last)), default=0.0)

    def rows(self, name: str, since_s: float = -np.inf) -> np.ndarray:
        """Rows of a stream received since then, over all files; what two files have is given once."""
        parts: list[np.ndarray] = []
        held = 0
        for reader in reversed(self._having(name)):
            part = reader.rows(name, since_s, most=MOST_ROWS - held)
            if held:  # rows that were written again, after an error, into the next file
                part = part[part["received_s"] < parts[0]["received_s"][0]]
            if held and not len(part):
                break
            if len(part):
                parts.insert(0, part)
                held += len(part)
            if held >= MOST_ROWS:
                break
        rows = np.concatenate(parts) if parts else part
        if len(rows):
            self._given[name] = int(rows["row"][-1])
        return rows

    def fresh_rows(self, name: str) -> np.ndarray:
        """Rows since the last call, also when the live file was put aside meanwhile."""
        live = self._readers[-1]
        rows = live.rows(name, after_row=self._given.get(name, 0))
        if not len(rows) and _is_another(live):
            self._readers.append(RecordReader(live.path))
            rows = self._readers[-1].rows(name, after_row=self._given.get(name, 0))
        if len(rows):
            self._given[name] = int(rows["row"][-1])
        return rows

    def _having(self, name: str) -> list[RecordReader]:
        return [reader for reader in self._readers if any(info.name == name for info in reader.streams)]


def _open(path: Path) -> h5py.File:
    """HDF5 waits nearly for ever for a writer that died in the middle: SWMR only where one is alive.

    Without HDF5's locks, which would keep the hub from going on with a file that somebody looks at.
    """
    if not has_flags(path):
        return h5py.File(path, "r", locking=False)
    if path.name == LIVE_NAME and is_recording(path.parent):
        return h5py.File(path, "r", libver="latest", swmr=True, locking=False)
    return h5py.File(ClearedView(path), "r")


def _is_another(reader: RecordReader) -> bool:
    """Whether the path now names another file than the one that is open."""
    try:
        return reader.path.stat().st_ino != reader.inode
    except OSError:
        return False


def find_record(cell_or_file: Path, home: Path) -> list[Path]:
    """Files that are meant, the oldest first: one file, a cell's folder, or the name of a cell below `home`.

    Raises InputError (FILE_NOT_FOUND).
    """
    if cell_or_file.is_file():
        return [cell_or_file]
    for folder in (cell_or_file, home / cell_or_file):
        if folder.is_dir() and (files := record_files(folder)):
            return files
    raise InputError(
        ErrorCode.FILE_NOT_FOUND,
        f"{cell_or_file}: neither a file nor a cell with recorded telemetry.",
        f"Name a telemetry_buffer.h5, or a cell in {home}.",
    )


def _broken(path: Path, error: Exception) -> InputError:
    reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
    return InputError(
        ErrorCode.RECORD_BROKEN,
        f"{path}: not a readable telemetry record of version {VERSION} ({reason}).",
        "Name a telemetry_buffer.h5 that the hub has written.",
    )
