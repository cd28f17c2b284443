"""The second `./cell up` to a running loop, and the memory of all of the cell's processes while a job runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
GOAL_START_S, GOAL_MEMORY_MB = 8.0, 900.0


def run() -> Iterator[dict]:
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "INDUSTRIVERSE_HOME": home}
        environment.pop("ROS_DOMAIN_ID", None)
        started = time.monotonic()
        up = subprocess.Popen(
            [ROOT / "cell", "up", "--json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        try:
            cell_file = Path(home) / "demo" / "cell.json"
            while not cell_file.exists() and up.poll() is None:
                time.sleep(0.05)
            yield {
                "metric": "second ./cell up to running loop",
                "value": round(time.monotonic() - started, 2),
                "unit": "s",
                "goal": GOAL_START_S,
            }
            pid = json.loads(cell_file.read_text())["pid"]
            time.sleep(20.0)  # the job is compiled, predicted and executing
            sizes = {_name(child): _memory_mb(child) for child in _children(pid)}
            total = sum(pss for pss, _ in sizes.values())
            resident = sum(rss for _, rss in sizes.values())
            yield {
                "metric": "memory of the whole cell (proportional)",
                "value": round(total),
                "unit": "MB",
                "goal": GOAL_MEMORY_MB,
                "resident_sum_mb": round(resident),
                "by_process_mb": {name: round(pss) for name, (pss, _) in sizes.items()},
            }
        finally:
            up.send_signal(signal.SIGINT)
            up.wait(30)


def _children(pid: int) -> list[int]:
    return [int(item) for item in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _name(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    return next((word for word in words if word.endswith((".node", ".main"))), str(pid))


def _memory_mb(pid: int) -> tuple[float, float]:
    """(PSS, RSS) [MB]; PSS shares what processes have in common."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    values = {line.split(":")[0]: int(line.split()[1]) / 1e3 * 1.024 for line in lines[1:] if line.endswith("kB")}
    return values["Pss"], values["Rss"]
