"""How much memory the command line takes for a long print: the highest resident size of a fresh process."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "washer_pla.gcode"
LATTICE = ROOT.parent / "shared" / "data" / "gcode" / "fdm" / "lattice_mk3s_abs_030.gcode"
BYTES = 27_000_000
GOAL = 15.0
KIB = 1024  # what ru_maxrss counts in, on Linux


def run() -> Iterator[dict]:
    source = LATTICE if LATTICE.is_file() else EXAMPLE
    text = source.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "long.gcode"
        file.write_bytes((text * (BYTES // len(text) + 1))[:BYTES].rpartition(b"\n")[0])
        for command in ("check", "predict", "price"):
            peak = _peak_bytes(command, str(file))
            yield {
                "metric": f"peak memory of {command} over the file's size",
                "value": round(peak / file.stat().st_size, 1),
                "unit": "x",
                "goal": GOAL if command == "predict" else None,
                "megabytes": round(peak / 1e6),
                "file": source.name,
            }


def _peak_bytes(command: str, file: str) -> int:
    """The second of two runs: the first may have to compile loops. A refusal is an answer, too."""
    measure = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], capture_output=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    words = [sys.executable, "-m", "industriverse_cli.main", command, file, "--json"]
    for _ in range(2):
        ended = subprocess.run([sys.executable, "-c", measure, *words], capture_output=True, text=True, check=True)
    return int(ended.stdout) * KIB
