"""The record on disk: the live file, its rotation, what happens when the disk is full or the last writer was killed.

Rows are numbered for each stream. Rows that could not be written stay in memory, up to a limit; those given up leave a
gap in the numbers and an event. No I/O error leaves this class: `problem` says what is wrong, and the next flush tries
again.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from industriverse_core.errors import CoreError, ErrorCode, InputError, JobError
from machine_node.hub.file import H5_ERRORS, RecordFile
from machine_node.hub.rows import EVENTS, HUB, TEXT_BYTES, Stream, clipped, layout

LIVE_NAME = "telemetry_buffer.h5"
ROTATED_GLOB = "telemetry_buffer.*Z*.h5"
LOCK_NAME = "telemetry_buffer.lock"
EVENT_ROWS = f"{HUB}/{EVENTS.name}"
RETRY_S = 2.0  # doubled with every failure, up to LONGEST_RETRY_S
LONGEST_RETRY_S = 60.0
LOCK_TRIES, LOCK_WAIT_S = 10, 0.05


@dataclass(frozen=True, slots=True)
class Limits:
    """Of the record: of the live file, of all that were put aside together; `min_free_bytes` is left to others."""

    file_bytes: int = 256 << 20
    file_age_s: float = 24 * 3600.0
    kept_bytes: int = 2 << 30
    min_free_bytes: int = 256 << 20
    pending_rows: int = 100_000


@dataclass(frozen=True, slots=True)
class Now:
    """The three clocks at one moment [s]: ROS, CLOCK_MONOTONIC, the system's."""

    ros_s: float
    steady_s: float
    wall_s: float


def free_bytes(folder: Path) -> int:
    """What is free on the disk of a folder. Raises OSError."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


class TelemetryBuffer:
    """Rows in, files out. One thread at a time.

    Args:
        folder: of the cell.
        machines: their ids; the streams of a file are fixed when it is made.
        limits: see Limits.
        free: how much the disk has left.
    Raises InputError (FILE_UNREADABLE) when the folder cannot be written, JobError (BUSY) when another process records.
    """

    def __init__(
        self,
        folder: Path,
        machines: tuple[str, ...],
        limits: Limits | None = None,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self._folder, self._limits, self._free = folder, limits or Limits(), free
        self._streams: dict[str, Stream] = layout(machines)
        self._lock = _sole_writer(folder)
        self._file: RecordFile | None = None
        self._made_s = 0.0  # wall time
        self._known = False  # the numbers of the rows go on from those of the last file
        self._last = dict.fromkeys(self._streams, 0)  # number of the last row written or given up
        self._pending: dict[str, list[np.ndarray]] = {}
        self._retry_at, self._retry_s = 0.0, RETRY_S
        self.problem: CoreError | None = None
        self.written_rows = self.lost_rows = 0

    @property
    def path(self) -> Path:
        """The live file."""
        return self._folder / LIVE_NAME

    @property
    def pending_rows(self) -> int:
        """Rows in memory."""
        return sum(len(part) for parts in self._pending.values() for part in parts)

    def flush(self, batch: Mapping[str, list[tuple[Any, ...]]], now: Now) -> None:
        """Take rows, without their numbers, and write all that waits. Never raises for what the disk does."""
        for name, rows in batch.items():
            if rows:
                # the number comes when the row is written
                self._add(name, np.array([(0, *row) for row in rows], self._streams[name].dtype))
        self._give_up_oldest(now)
        if now.steady_s < self._retry_at:
            return
        try:
            self._write(now)
        except InputError as error:
            self._trouble(error, now)
        except H5_ERRORS as error:
            self._abandon(error, now)

    def close(self, now: Now) -> None:
        """Write the rest, close the file, let another process record."""
        self.event("stop", now, "the hub ends")
        self.flush({}, now)
        if self._file is not None:
            with suppress(*H5_ERRORS):
                self._file.close()
            self._file = None
        self._lock.close()

    def event(self, kind: str, now: Now, text: str, count: int = 0) -> None:
        """A row of the stream of events."""
        row = (0, now.ros_s, now.ros_s, now.ros_s, now.steady_s, 0.0, kind, count, clipped(text, TEXT_BYTES))
        self._add(EVENT_ROWS, np.array([row], EVENTS.dtype))

    # --- rows that wait ---

    def _add(self, name: str, rows: np.ndarray) -> None:
        self._pending.setdefault(name, []).append(rows)

    def _give_up_oldest(self, now: Now) -> None:
        """Keep memory bounded: the oldest part of the stream with most rows goes first."""
        given_up = 0
        while self.pending_rows > self._limits.pending_rows:
            name = max(self._pending, key=lambda each: sum(map(len, self._pending[each])))
            count = len(self._pending[name].pop(0))
            self._last[name] += count
            given_up += count
        if given_up:
            self.lost_rows += given_up
            self.event("lost", now, "rows given up, because they could not be written for too long", given_up)

    def _numbered(self) -> dict[str, np.ndarray]:
        batch = {}
        for name, parts in self._pending.items():
            if parts:
                rows = np.concatenate(parts)
                rows["row"] = self._last[name] + 1 + np.arange(len(rows))
                batch[name] = rows
        return batch

    # --- the file ---

    def _write(self, now: Now) -> None:
        if self._free(self._folder) < self._limits.min_free_bytes:
            raise InputError(
                ErrorCode.FILE_UNREADABLE,
                f"{self._folder}: the disk is full, less than {self._limits.min_free_bytes >> 20} MiB are free; "
                "telemetry waits in memory.",
                "Make room on it.",
            )
        if self._file is None:
            self._file = self._open(now)
        elif self._is_due(now):
            self._rotate(now, "rotated")
            self._file = self._create(now)
        if self.problem is not None:
            self.event("resumed", now, "rows are written again")
        batch = self._numbered()
        self._file.write(batch)
        self.problem, self._retry_s = None, RETRY_S
        for name, rows in batch.items():
            self._last[name] += len(rows)
            self.written_rows += len(rows)
        self._pending.clear()

    def _is_due(self, now: Now) -> bool:
        assert self._file is not None
        aged = now.wall_s - self._made_s >= self._limits.file_age_s
        return aged or self._file.size_bytes >= self._limits.file_bytes

    def _open(self, now: Now) -> RecordFile:
        """Go on with the file that is there, also after `kill -9`; one that cannot be gone on with is kept aside."""
        if self._known or not self.path.exists():
            return self._create(now)
        try:
            file = RecordFile(self.path, self._streams, False, {})
            found = {name: file.last_row(name) for name in self._streams}
        except H5_ERRORS as error:
            if isinstance(error, OSError) and error.errno is not None and not self._is_readable():
                raise  # the system's refusal (permissions, no space), not a torn file
            self._rotate(now, "torn", str(error))
            return self._create(now)
        self._made_s = file.created_s
        for name, row in found.items():
            self._last[name] += row
        self._known = True
        self.event("continued", now, "the file of before goes on")
        return file

    def _is_readable(self) -> bool:
        return os.access(self.path, os.R_OK | os.W_OK)

    def _create(self, now: Now) -> RecordFile:
        """Made under another name, so that who looks finds a whole file."""
        if self.path.exists():
            self._rotate(now, "torn", "it could not be written any more")
        unfinished = self.path.with_suffix(".new")
        attributes = {"cell": self._folder.name, "created_s": now.wall_s}
        try:
            file = RecordFile(unfinished, self._streams, True, attributes)
        except H5_ERRORS:
            unfinished.unlink(missing_ok=True)
            raise
        os.replace(unfinished, self.path)
        self._made_s, self._known = now.wall_s, True
        self.event("start", now, "a new file")
        return file

    def _rotate(self, now: Now, kind: str, why: str = "") -> None:
        """Put the live file aside, and delete the oldest of those that are too many."""
        if self._file is not None:
            file, self._file = self._file, None
            with suppress(*H5_ERRORS):
                file.close()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now.wall_s)) + f"{now.wall_s % 1.0:.3f}"[1:].replace(".", "")
        aside = self._folder / f"telemetry_buffer.{stamp}Z.h5"
        number = 1
        while aside.exists():
            number += 1
            aside = self._folder / f"telemetry_buffer.{stamp}Z{number}.h5"
        os.replace(self.path, aside)
        self._prune()
        self.event(kind, now, f"{aside.name}: {why or 'put aside'}")

    def _prune(self) -> None:
        """Delete the oldest files put aside. By size, so that many small ones do not drive out a large one."""
        files = rotated_files(self._folder)
        sizes = [path.stat().st_blocks * 512 for path in files]
        while files and sum(sizes) > self._limits.kept_bytes:
            files.pop(0).unlink(missing_ok=True)
            del sizes[0]

    def _abandon(self, error: Exception, now: Now) -> None:
        """After an error of writing, HDF5's own memory of the file is not to be trusted: the rows go into a new one."""
        if self._file is not None:
            self._file.give_up()
            self._file = None
            with suppress(OSError):
                self._rotate(now, "torn", str(error).splitlines()[0])
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0][:160]
        self._trouble(
            InputError(
                ErrorCode.FILE_UNREADABLE,
                f"{self.path}: cannot be written ({reason}); telemetry waits in memory.",
                "Check the folder, its permissions and the space left.",
            ),
            now,
        )

    def _trouble(self, error: InputError, now: Now) -> None:
        if self.problem is None:
            self.event("disk", now, error.message)
        self.problem = error
        self._retry_at = now.steady_s + self._retry_s
        self._retry_s = min(2.0 * self._retry_s, LONGEST_RETRY_S)


def rotated_files(folder: Path) -> list[Path]:
    """Files that were put aside, the oldest first."""
    return sorted(folder.glob(ROTATED_GLOB))


def record_files(folder: Path) -> list[Path]:
    """All files of a record, the oldest first."""
    live = folder / LIVE_NAME
    return [*rotated_files(folder), *([live] if live.exists() else [])]


def is_recording(folder: Path) -> bool:
    """Whether a process records into this folder now."""
    try:
        with (folder / LOCK_NAME).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _sole_writer(folder: Path) -> TextIO:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK_NAME).open("w")
    except OSError as error:
        raise InputError(
            ErrorCode.FILE_UNREADABLE,
            f"{folder}: telemetry cannot be recorded there ({error.strerror}).",
            "Check the folder and its permissions.",
        ) from error
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(LOCK_WAIT_S)  # a reader that asks who records holds it for a moment
        else:
            return lock
    lock.close()
    raise JobError(ErrorCode.BUSY, f"{folder}: another process records telemetry there.", "End that one first.")
