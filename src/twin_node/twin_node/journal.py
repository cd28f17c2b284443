"""What finished jobs measured against what was predicted for them, kept on disk between runs of the twin."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from industriverse_core.errors import ErrorCode, JobError
from twin_node.account import Account
from twin_node.calibration import NEWEST_JOBS, Residuals, ratio

_SCHEMA = """
CREATE TABLE IF NOT EXISTS residuals (
    job_id TEXT PRIMARY KEY,
    machine_id TEXT NOT NULL,
    program_digest BLOB NOT NULL,
    time_ratio REAL NOT NULL,
    energy_ratio REAL NOT NULL,
    finished_s REAL NOT NULL
)
"""


class ResidualJournal:
    """One sqlite file (WAL). One caller at a time, from any thread."""

    def __init__(self, path: Path) -> None:
        """Open or create. Raises JobError (STORE_UNAVAILABLE)."""
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=2.0, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise self._unavailable(error) from error

    def add(self, account: Account, finished_s: float) -> bool:
        """Keep the residuals of a closed account; the first of a job counts. Returns whether they were kept.

        Only a job that ran to its end from a cold machine is comparable with a prediction, which is for one.
        Raises JobError (STORE_UNAVAILABLE).
        """
        timeline = account.timeline
        if timeline is None or not (account.is_complete and account.began_cold and account.metered):
            return False
        try:
            ratios = (
                ratio(timeline.total_s, account.time_s - account.set_up_s),
                ratio(timeline.electric_j, account.electric_j - account.set_up_j),
            )
        except ValueError:  # a program that takes no time or no energy teaches nothing
            return False
        row = (account.job_id, account.profile.id, account.program_digest, *ratios, finished_s)
        try:
            added = self._connection.execute("INSERT OR IGNORE INTO residuals VALUES (?, ?, ?, ?, ?, ?)", row)
        except sqlite3.Error as error:
            raise self._unavailable(error) from error
        return added.rowcount > 0

    def residuals(self, machine_id: str) -> Residuals:
        """Of the newest jobs on this machine, oldest first. Raises JobError (STORE_UNAVAILABLE)."""
        query = "SELECT time_ratio, energy_ratio FROM residuals WHERE machine_id = ? ORDER BY rowid DESC LIMIT ?"
        try:
            rows = self._connection.execute(query, (machine_id, NEWEST_JOBS)).fetchall()[::-1]
        except sqlite3.Error as error:
            raise self._unavailable(error) from error
        return Residuals(tuple(row[0] for row in rows), tuple(row[1] for row in rows))

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    def _unavailable(self, error: Exception) -> JobError:
        return JobError(
            ErrorCode.STORE_UNAVAILABLE,
            f"{self._path}: the journal of residuals cannot be used ({error}).",
            "Check the disk and its permissions; without the file the twin begins with none.",
        )
