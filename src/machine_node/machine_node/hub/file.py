"""One file of the record: HDF5, one writer, read by others while it is written (SWMR).

Each stream has two datasets. `rows` grows by whole compressed chunks, so that nothing compressed is ever written twice.
`tail` has the length of one chunk, is not compressed and lies where it lies: it takes the rows that do not fill a chunk
yet, at every flush. A row of the tail counts when `row` and `row_again` agree (it was not cut by the death of the
writer, and is not being written now) and it is not among `rows` already. `rows` are flushed before the tail is reused;
who reads the tail first and then `rows` misses nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from machine_node.hub.rows import Stream
from machine_node.hub.superblock import clear_flags

FORMAT = "industriverse-telemetry"
VERSION = 1
LIBRARY = ("v110", "v110")  # the oldest format with SWMR
AGAIN = "row_again"
H5_ERRORS = (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError)  # what h5py raises of bad files

_GIVEN_UP: list[object] = []  # kept from the garbage collector, which would close them


def tail_dtype(stream: Stream) -> np.dtype:
    """A row, and its number once more at the end."""
    return np.dtype([*((column.name, column.type) for column in stream.all_columns), (AGAIN, "<u8")])


class RecordFile:
    """A file that is being written. Every method may raise one of H5_ERRORS; the file is then to be given up.

    Args:
        path: of the file.
        streams: path in the file -> stream; the same from the file's making to its end.
        fresh: make a new file; else continue one, also one whose writer was killed.
    """

    def __init__(
        self, path: Path, streams: Mapping[str, Stream], fresh: bool, attributes: Mapping[str, object]
    ) -> None:
        self._streams = dict(streams)
        if not fresh:
            clear_flags(path)
        self._file = h5py.File(path, "w" if fresh else "r+", libver=LIBRARY, locking=False)
        try:
            if fresh:
                self._file.attrs.update({"format": FORMAT, "version": VERSION, **attributes})
                for name, stream in streams.items():
                    _create(self._file, name, stream)
            else:
                self._check()
            self._rows = {name: self._file[f"{name}/rows"] for name in streams}
            self._tails = {name: self._file[f"{name}/tail"] for name in streams}
            self._open_rows = {name: self._take_up(name) for name in streams}  # those in the tail
            self._file.swmr_mode = True
            for name, rows in self._open_rows.items():
                if len(rows):  # a slot that was cut is closed up
                    self._write_tail(name, 0)
        except BaseException:
            self.close()
            raise

    def _check(self) -> None:
        attributes = self._file.attrs
        if (attributes["format"], int(attributes["version"])) != (FORMAT, VERSION):
            raise ValueError(f"format {attributes['format']!r} version {attributes['version']!r}")
        found = {f"{group}/{name}" for group in self._file for name in self._file[group]}
        if found != set(self._streams):
            raise ValueError("the file has other machines or streams")
        for name, stream in self._streams.items():
            if self._file[f"{name}/rows"].dtype != stream.dtype:
                raise ValueError(f"{name} has other columns")

    def _take_up(self, name: str) -> np.ndarray:
        """What the tail holds; chunks that were announced and never written are taken back."""
        rows, stream = self._rows[name], self._streams[name]
        whole = rows.shape[0] // stream.chunk_rows * stream.chunk_rows
        while whole and not np.all(rows[whole - stream.chunk_rows : whole]["row"]):
            whole -= stream.chunk_rows
        if whole != rows.shape[0]:
            rows.resize((whole,))
        last = int(rows[whole - 1]["row"]) if whole else 0
        return valid_tail(self._tails[name][()], last)[list(stream.dtype.names or ())].astype(stream.dtype)

    def last_row(self, name: str) -> int:
        """Number of the last row of a stream; 0 = it has none."""
        open_rows = self._open_rows[name]
        if len(open_rows):
            return int(open_rows["row"][-1])
        rows = self._rows[name]
        return int(rows[rows.shape[0] - 1]["row"]) if rows.shape[0] else 0

    def write(self, batch: Mapping[str, np.ndarray]) -> None:
        """Append rows to streams. When it returns, the death of this process loses none of them."""
        changed: dict[str, int] = {}  # first slot of the tail to write
        appended = False
        for name, new in batch.items():
            size = self._streams[name].chunk_rows
            before = self._open_rows[name]
            rows = np.concatenate([before, new])
            whole = len(rows) // size * size
            if whole:
                dataset = self._rows[name]
                at = dataset.shape[0]
                dataset.resize((at + whole,))
                dataset[at : at + whole] = rows[:whole]
                appended = True
            self._open_rows[name] = rows[whole:]
            changed[name] = 0 if whole else len(before)
        if appended:
            self._file.flush()
        for name, first in changed.items():
            self._write_tail(name, first)
        self._file.flush()

    def _write_tail(self, name: str, first: int) -> None:
        rows = self._open_rows[name]
        if first == len(rows):
            return
        slots = np.empty(len(rows) - first, tail_dtype(self._streams[name]))
        for column in rows.dtype.names or ():
            slots[column] = rows[column][first:]
        slots[AGAIN] = slots["row"]
        self._tails[name][first : len(rows)] = slots

    @property
    def size_bytes(self) -> int:
        """On disk; holes do not count."""
        return os.fstat(self._file.id.get_vfd_handle()).st_blocks * 512

    @property
    def created_s(self) -> float:
        """Wall time at which it was made."""
        return float(self._file.attrs["created_s"])

    def close(self) -> None:
        """Close after `write` has returned; a file that `write` failed on is given up instead."""
        self._file.close()

    def give_up(self) -> None:
        """After an error of writing: HDF5 crashes when it is made to close or flush such a file, so it stays open.

        What was written before stays readable, as after `kill -9`.
        """
        _GIVEN_UP.append((self._file, self._rows, self._tails))


def valid_tail(tail: np.ndarray, last: int) -> np.ndarray:
    """The rows of a tail that count, in order; `last`: number of the last of `rows`."""
    kept = tail[(tail["row"] > last) & (tail["row"] == tail[AGAIN])]
    return kept[np.argsort(kept["row"], kind="stable")]


def _create(file: h5py.File, name: str, stream: Stream) -> None:
    group = file.create_group(name)
    rows = group.create_dataset(
        "rows",
        shape=(0,),
        maxshape=(None,),
        chunks=(stream.chunk_rows,),
        dtype=stream.dtype,
        compression="gzip",
        compression_opts=1,
        shuffle=True,
    )
    for column in stream.all_columns:
        rows.attrs[f"{column.name}.units"] = column.unit
        rows.attrs[f"{column.name}.description"] = column.text
    _create_tail(group, stream)


def _create_tail(group: h5py.Group, stream: Stream) -> None:
    """Contiguous and allocated at once: its place never changes, so nothing but its rows is written later."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)  # holes read as zeros, and row 0 does not exist
    kind = h5py.h5t.py_create(tail_dtype(stream), logical=True)
    h5py.h5d.create(group.id, b"tail", kind, h5py.h5s.create_simple((stream.chunk_rows,)), properties)
