"""The folder tool: MB/s on all cores from start to table, and what it adds to reading, planning and predicting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from industriverse_cli.corpus.analysis import analyse
from industriverse_cli.corpus.rows import AUTO, Settings, Task
from industriverse_cli.corpus.worker import warm_up
from industriverse_core.gcode import load_program
from industriverse_core.machine import load_machine
from industriverse_core.material import resolve_material
from twin_node.timeline import build_timeline

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT.parent / "shared" / "data" / "gcode" / "fdm"
GOAL_MB_S = 100.0
MB_IN_ALL = 300.0
ROUNDS = 3


def run() -> Iterator[dict]:
    folder = REFERENCE if REFERENCE.is_dir() else ROOT / "examples"
    files = sorted(folder.glob("*.gcode"))
    with tempfile.TemporaryDirectory() as place:
        yield from _alone(files, Path(place))
        for words in ([], ["--intervals"], ["--gates"], ["--voxels"]):
            yield _folder(files, Path(place), words)


def _alone(files: list[Path], place: Path) -> Iterator[dict]:
    """CPU time in one process, loops warm: the best of several rounds for each file."""
    settings = Settings(
        folder=files[0].parent, output=place, machine=AUTO, material="", tariff="default", gates=False, intervals=False,
        voxels=False, voxel_mm=None, voxel_height_mm=None, max_bytes=1 << 30, memory_bytes=8 << 30,
    )  # fmt: skip
    warm_up(settings)
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    bare = tool = 0.0
    for path in files:
        task = Task(path.name, path.stat().st_size, 0)
        row = analyse(task, settings)
        bare += min(_bare_s(path, row["machine"]) for _ in range(ROUNDS))
        tool += min(analyse(task, settings)["cpu_s"] for _ in range(ROUNDS))
    yield {"metric": "read, digest, plan, predict; one core, CPU", "value": round(megabytes / bare, 1), "unit": "MB/s"}
    yield {"metric": "the same and price, as a row", "value": round(megabytes / tool, 1), "unit": "MB/s"}
    yield {"metric": "added by the folder tool", "value": round(100.0 * (tool / bare - 1.0), 1), "unit": "%"}


def _bare_s(path: Path, machine: str) -> float:
    started = time.process_time()
    program = load_program(path)
    program.digest  # noqa: B018  it is computed when it is asked for
    profile = load_machine(machine)
    build_timeline(program, profile, resolve_material(program.metadata.material, profile.kind))
    return time.process_time() - started


def _folder(files: list[Path], place: Path, words: list[str]) -> dict:
    """The command itself, start and table included, on the files repeated (as links)."""
    name = words[0].strip("-") if words else "plain"
    programs = place / f"programs_{name}"
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    for copy in range(max(1, round(MB_IN_ALL / megabytes)) if not words else 2):
        (programs / str(copy)).mkdir(parents=True)
        for path in files:
            (programs / str(copy) / path.name).symlink_to(path)
    command = [sys.executable, "-m", "industriverse_cli.main", "corpus", programs, "-o", place / name, "--json", *words]
    before = sum(os.times()[2:4])
    ended = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True)
    summary = json.loads(ended.stdout.splitlines()[-1])
    return {
        "metric": f"folder tool {' '.join(words)}".strip(),
        "value": round(summary["mb_per_s"], 1),
        "unit": "MB/s",
        "goal": GOAL_MB_S if not words else None,
        "files": summary["files"],
        "bad": sum(summary["bad"].values()),
        "cpu_s": round(sum(os.times()[2:4]) - before, 2),
        "elapsed_s": round(summary["elapsed_s"], 2),
    }
