"""What the virtual machine saw and did, as JSON lines stamped with CLOCK_MONOTONIC. Tests measure stops with it.

    {"t": 812.044131, "event": "rx", "line": "N12 G1 X10*85"}
    {"t": 812.044310, "event": "motion_begin"}
    {"t": 812.244871, "event": "motion_end"}

The package's README lists all events and their fields.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO

FLUSH_S = 0.05


class Journal:
    """Buffered writer; `flush` when due. Without a path it writes nothing."""

    def __init__(self, path: Path | None) -> None:
        self._file: IO[str] | None = None
        self._lines: list[str] = []
        self._flushed_s = 0.0
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w", encoding="utf-8")

    def write(self, mono_s: float, event: str, **values: object) -> None:
        """One event at this monotonic time [s]."""
        if self._file is not None:
            rest = "".join(f', "{name}": {json.dumps(value)}' for name, value in values.items())
            self._lines.append(f'{{"t": {mono_s:.6f}, "event": "{event}"{rest}}}\n')

    def flush(self, mono_s: float, force: bool = False) -> None:
        """Hand the lines to the system when the last time was FLUSH_S ago."""
        if self._file is not None and self._lines and (force or mono_s - self._flushed_s >= FLUSH_S):
            self._file.write("".join(self._lines))
            self._file.flush()
            self._lines.clear()
            self._flushed_s = mono_s

    def close(self) -> None:
        """Write what is left."""
        if self._file is not None:
            self.flush(0.0, force=True)
            self._file.close()
            self._file = None
