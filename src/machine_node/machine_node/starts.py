"""The durable ledger of executions that were ever started: an execution id is good once, whatever crashes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from industriverse_core.digest import Digest
from industriverse_core.errors import ErrorCode, JobError, MachineError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS starts (
    execution_id TEXT PRIMARY KEY,
    job_id TEXT NOT NULL,
    program_digest BLOB NOT NULL,
    started_s REAL NOT NULL
) WITHOUT ROWID
"""


class StartLedger:
    """One sqlite file (WAL, synchronous=FULL: a claim is on the disk before it returns). One caller at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create. Raises JobError (STORE_UNAVAILABLE)."""
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=2.0, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise self._unavailable(error) from error

    def claim(self, execution_id: str, job_id: str, digest: Digest, started_s: float) -> None:
        """Write the start down, durably.

        Args:
            started_s: ROS time [s], for people.
        Raises MachineError (ALREADY_STARTED) when the id was claimed before, JobError (STORE_UNAVAILABLE).
        """
        try:
            self._connection.execute(
                "INSERT INTO starts VALUES (?, ?, ?, ?)", (execution_id, job_id, digest, started_s)
            )
        except sqlite3.IntegrityError as error:
            raise MachineError(
                ErrorCode.ALREADY_STARTED,
                f"execution '{execution_id}' was started before; each execution is started once.",
                "Submit the job again.",
            ) from error
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    def _unavailable(self, error: Exception) -> JobError:
        return JobError(
            ErrorCode.STORE_UNAVAILABLE,
            f"{self._path}: the ledger of starts cannot be used ({error}).",
            "Check the disk and its permissions.",
        )
