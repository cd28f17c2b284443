"""How long the gates take for a print of 27 MB of G-code, in CPU time of one process, loops warm.

Sliced files of the reference data where they are, laid end to end as far as their bodies go; else the example. Layers
of the second and later copies start again at the bed, so `findings` says what the gates had to describe.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from industriverse_core.gcode import read_gcode
from industriverse_core.machine import load_machine
from industriverse_core.material import load_material
from industriverse_core.program import Program
from shield_node.gates import check
from shield_node.gates.warmup import warm_up

ROOT = Path(__file__).parents[1]
FILES = (
    ROOT.parent / "shared" / "data" / "gcode" / "fdm" / "lattice_mk3s_abs_030.gcode",
    ROOT / "examples" / "washer_pla.gcode",
)
WANTED_BYTES = 27_000_000
ROUNDS = 5


def large_program() -> Program:
    """27 MB of G-code, read."""
    path = next(path for path in FILES if path.exists())
    text = path.read_bytes()
    program = read_gcode(text * max(1, round(WANTED_BYTES / len(text))), path.name, "marlin")
    if len(text) < WANTED_BYTES < 2 * len(text):  # one and a half copies
        program = read_gcode(text + text[: WANTED_BYTES - len(text)], path.name, "marlin")
    return program


def run() -> Iterator[dict]:
    program = large_program()
    yield {"metric": "instructions", "value": len(program), "unit": "1"}
    started = time.process_time()
    warm_up()
    yield {"metric": "first check, loops from the cache", "value": round(time.process_time() - started, 3), "unit": "s"}
    best = min(_timed(program) for _ in range(ROUNDS))
    yield {"metric": "gates, 27 MB", "value": round(best, 3), "unit": "s"}


def _timed(program: Program) -> float:
    profile, material = load_machine("prusa_mk3s"), load_material("ABS")
    started = time.process_time()
    check(program, profile, material)
    return time.process_time() - started
