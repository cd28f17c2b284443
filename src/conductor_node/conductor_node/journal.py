"""The durable record of jobs: an append-only table of events in sqlite, each with the job as it was after it.

A row is on the disk (WAL, synchronous=FULL) before the command that follows from it is sent. The database is
held exclusively: a second conductor on the same cell is refused at its start.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from conductor_node.job import Job
from industriverse_core.errors import ErrorCode, JobError

SCHEMA_VERSION = 1
BUSY_WAIT_S = 2.0  # for a predecessor that is still ending
_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    job INTEGER NOT NULL, version INTEGER NOT NULL, event TEXT NOT NULL, state TEXT NOT NULL,
    ended INTEGER NOT NULL, recorded_ns INTEGER NOT NULL, snapshot BLOB NOT NULL,
    UNIQUE (job, version)
);
CREATE TRIGGER IF NOT EXISTS no_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS no_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'append only'); END;
"""
_LATEST = """
SELECT e.snapshot, e.version FROM events e
JOIN (SELECT job, MAX(version) AS version FROM events GROUP BY job) last USING (job, version)
"""
_CODEC = TypeAdapter(
    tuple[Job], config={"ser_json_bytes": "hex", "val_json_bytes": "hex", "ser_json_inf_nan": "constants"}
)


def encode(job: Job) -> bytes:
    """A job as JSON (bytes as hexadecimal text, NaN kept). Live values are left out."""
    return _CODEC.dump_json((job.durable(),), exclude={0: {"live"}})


def decode(data: bytes) -> Job:
    """The job of a JSON text. Raises pydantic's ValidationError for anything else."""
    return _CODEC.validate_json(data)[0]


class Journal:
    """Jobs of one cell on disk. One thread. Every method raises JobError (STORE_UNAVAILABLE) when it cannot."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._clear():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=BUSY_WAIT_S, isolation_level=None)
            try:
                self._open()
            except BaseException:
                self._connection.close()
                raise

    def _open(self) -> None:
        connection = self._connection
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, SCHEMA_VERSION):
            raise sqlite3.DatabaseError(f"its format is version {found}, this program writes {SCHEMA_VERSION}")
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise sqlite3.DatabaseError(problem)

    def close(self) -> None:
        """Release the database."""
        self._connection.close()

    def append(self, job: Job, event: str) -> Job:
        """Record what an event made of a job; returns the job with its new version. On return it is on the disk.

        A version that exists already (a second writer) is refused.
        """
        job = replace(job, version=job.version + 1)
        row = (job.number, job.version, event, job.state.name, job.ended, time.time_ns(), encode(job))
        with self._clear():
            self._connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        return job

    def next_number(self) -> int:
        """The number of the next new job: one more than any before, also before restarts."""
        with self._clear():
            return self._connection.execute("SELECT COALESCE(MAX(job), 0) + 1 FROM events").fetchone()[0]

    def unfinished(self) -> list[Job]:
        """Jobs that have not ended, oldest first."""
        with self._clear():
            rows = self._connection.execute(f"{_LATEST} WHERE e.ended = 0 ORDER BY e.job").fetchall()
            return [decode(snapshot) for snapshot, _ in rows]

    def latest(self, limit: int) -> list[Job]:
        """The newest jobs, newest first, ended or not."""
        with self._clear():
            rows = self._connection.execute(f"{_LATEST} ORDER BY e.job DESC LIMIT ?", (limit,)).fetchall()
            return [decode(snapshot) for snapshot, _ in rows]

    def get(self, number: int) -> Job | None:
        """One job, or None."""
        with self._clear():
            query = "SELECT snapshot FROM events WHERE job = ? ORDER BY version DESC LIMIT 1"
            row = self._connection.execute(query, (number,)).fetchone()
            return decode(row[0]) if row else None

    @contextmanager
    def _clear(self) -> Iterator[None]:
        """Everything that can be wrong with a database, as one sentence."""
        try:
            yield
        except (sqlite3.Error, OSError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            raise JobError(
                ErrorCode.STORE_UNAVAILABLE,
                f"{self._path}: the job database cannot be used ({reason}).",
                _remedy(error),
            ) from error


def _remedy(error: Exception) -> str:
    if "locked" in str(error):
        return "Another conductor of this cell is running; end it first."
    if isinstance(error, (sqlite3.OperationalError, OSError)):
        return "Check the folder, its permissions and the free space of the disk."
    return "Move the file away to begin with an empty list of jobs, or restore it from a copy."
