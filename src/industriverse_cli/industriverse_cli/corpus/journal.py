"""What a folder run remembers: one SQLite file with every row, and the Parquet table that is made of it.

The journal is the truth. Rows are committed as they come, so a killed run loses what was in work and nothing else; a
row is keyed by the file's path and the settings, so that nothing is there twice; a row whose file has another size or
time of change than the folder's is done again.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from industriverse_cli.corpus.rows import Row, Task, schema
from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.files import replace_file

TABLE_ROWS = 100_000  # of each Parquet file
# failures that may be the moment's and not the file's: --retry tries them again
PASSING = (ErrorCode.FILE_UNREADABLE, ErrorCode.FILE_NOT_FOUND, ErrorCode.TOO_SLOW, ErrorCode.WORKER_DIED)
_TABLE = """
CREATE TABLE IF NOT EXISTS rows (
    path BLOB NOT NULL, settings BLOB NOT NULL, bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    error_code INTEGER NOT NULL, row TEXT NOT NULL, PRIMARY KEY (path, settings)
)
"""


class Journal:
    """The rows of one output folder for one set of settings. Use `opened`."""

    def __init__(self, database: sqlite3.Connection, settings_key: bytes) -> None:
        self._database = database
        self._key = settings_key

    def add(self, done: Iterable[tuple[Task, Row]]) -> None:
        """Remember rows, all or none; a row of the same file is replaced."""
        rows = [
            (
                os.fsencode(task.name), self._key, task.size, task.mtime_ns, row["error_code"] or 0,
                json.dumps(row, allow_nan=True),
            )
            for task, row in done
        ]  # fmt: skip
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?)", rows)

    def missing(self, tasks: Sequence[Task], retry: bool) -> list[Task]:
        """The tasks without a row, or with one of an earlier state of the file; with `retry` also passing failures."""
        query = "SELECT path, bytes, mtime_ns, error_code FROM rows WHERE settings = ?"
        known = {
            path: (size, mtime_ns)
            for path, size, mtime_ns, code in self._database.execute(query, (self._key,))
            if not (retry and code in PASSING)
        }
        return [task for task in tasks if known.get(os.fsencode(task.name)) != (task.size, task.mtime_ns)]

    def rows(self, tasks: Sequence[Task]) -> Iterator[Row]:
        """The rows of these tasks, as far as they are done, in the tasks' order."""
        query = "SELECT row FROM rows WHERE path = ? AND settings = ? AND bytes = ? AND mtime_ns = ?"
        for task in tasks:
            found = self._database.execute(query, (os.fsencode(task.name), self._key, task.size, task.mtime_ns))
            row = found.fetchone()
            if row is not None:
                yield json.loads(row[0])


@contextmanager
def opened(output: Path, settings_key: bytes) -> Iterator[Journal]:
    """The journal of an output folder, for this process alone.

    Raises InputError: FILE_UNREADABLE (the folder cannot be written), USAGE (another run writes there),
    JOURNAL_BROKEN (also while it is used).
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock = (output / "lock").open("w")
    except OSError as error:
        raise InputError(
            ErrorCode.FILE_UNREADABLE, f"{output}: cannot be written ({error.strerror}).", "Name another folder."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            what = f"{output}: another run writes into this folder."
            raise InputError(ErrorCode.USAGE, what, "Wait for its end, or name another folder.") from error
        path = output / "journal.sqlite"
        try:
            database = sqlite3.connect(path)
            try:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = NORMAL")
                database.execute(_TABLE)
                yield Journal(database, settings_key)
            finally:
                database.close()
        except sqlite3.Error as error:
            raise InputError(
                ErrorCode.JOURNAL_BROKEN, f"{path}: {error}.", "Make room, or remove the file to begin anew."
            ) from error


def write_table(rows: Iterable[Row], output: Path) -> Path:
    """The rows as Parquet files of at most 100,000 each in OUT/table; those of an earlier run are replaced."""
    import pyarrow
    import pyarrow.parquet

    folder, columns, names, left = output / "table", schema(), [], iter(rows)
    while (part := list(islice(left, TABLE_ROWS))) or not names:  # one file at least: no rows are a table, too
        names.append(f"part-{len(names):05d}.parquet")
        sink = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(part, columns), sink, compression="zstd")
        replace_file(folder / names[-1], sink.getvalue())
    for old in set(folder.glob("part-*.parquet")) - {folder / name for name in names}:
        old.unlink()
    return folder
