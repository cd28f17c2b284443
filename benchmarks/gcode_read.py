"""How fast G-code becomes a program: MB/s of a real sliced file, compiled loops warm."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from industriverse_core.gcode import read_gcode

EXAMPLE = Path(__file__).parents[1] / "examples" / "washer_pla.gcode"
COPIES = 100
ROUNDS = 5


def run() -> Iterator[dict]:
    data = EXAMPLE.read_bytes() * COPIES
    started = time.perf_counter()
    read_gcode(EXAMPLE.read_bytes(), "first")
    yield {"metric": "first call, loops from the cache", "value": round(time.perf_counter() - started, 3), "unit": "s"}
    best = min(_timed(data) for _ in range(ROUNDS))
    yield {"metric": "gcode read", "value": round(len(data) / best / 1e6, 2), "unit": "MB/s"}


def _timed(data: bytes) -> float:
    started = time.perf_counter()
    read_gcode(data, "washer")
    return time.perf_counter() - started
