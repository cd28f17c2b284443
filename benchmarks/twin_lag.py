"""Lag of the twin's residuals in the whole demonstration cell: from a sample's arrival in the node to its residual.

Measured by the twin itself (the residual's `lag`), while the example job is executed and the rest of it is forecast
once a second.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
GOAL_P99_MS = 100.0
LONGEST_S = 120.0


def run() -> Iterator[dict]:
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "INDUSTRIVERSE_HOME": home}
        environment.pop("ROS_DOMAIN_ID", None)
        command = [sys.executable, "-m", "industriverse_bringup.up", "--json"]
        up = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, cwd=ROOT)
        try:
            cell_file = Path(home) / "demo" / "cell.json"
            while not cell_file.exists() and up.poll() is None:
                time.sleep(0.05)
            os.environ["INDUSTRIVERSE_HOME"] = home
            yield from _measure(up)
        finally:
            os.environ.pop("INDUSTRIVERSE_HOME", None)
            up.send_signal(signal.SIGINT)
            up.wait(30)


def _measure(up: subprocess.Popen) -> Iterator[dict]:
    import industriverse_msgs.msg as im
    from industriverse_core.errors import CoreError
    from industriverse_core.store import RunningCell
    from industriverse_msgs.srv import Forecast
    from industriverse_ros import names, qos
    from industriverse_ros.client import ENDED, CellClient

    class Listener(CellClient):
        """Hears the twin."""

        def __init__(self, *cell: Any) -> None:
            super().__init__(*cell)
            self._node.create_subscription(im.Residual, names.residual(self.machine_id), self._on_residual, qos.SENSOR)

        def _on_residual(self, msg: im.Residual) -> None:
            if msg.job_id:
                lags_s.append(msg.lag_s)

    cell = RunningCell.find("demo")
    lags_s: list[float] = []
    answers_s: list[float] = []
    with Listener(cell.namespace, cell.domain_id, cell.machine) as client:
        deadline = time.monotonic() + LONGEST_S
        while time.monotonic() < deadline and up.poll() is None:
            client.spin(1.0)
            if any(job.state in ENDED for job in client.jobs.values()):
                break
            try:
                answers_s.append(client.call(Forecast, names.FORECAST, Forecast.Request()).duration_s)
            except CoreError:
                continue  # nothing runs yet
    if not lags_s:
        yield {"metric": "skipped", "value": 0, "unit": "", "reason": "the cell ran no job"}
        return
    p50, p99 = np.percentile(np.array(lags_s) * 1e3, [50, 99])
    about = {"unit": "ms", "residuals": len(lags_s), "forecasts": len(answers_s)}
    yield {"metric": "residual lag p50, whole cell", "value": round(p50, 2), **about}
    yield {"metric": "residual lag p99, whole cell", "value": round(p99, 2), "goal": GOAL_P99_MS, **about}
    if answers_s:
        worst_ms = round(max(answers_s) * 1e3, 1)
        yield {"metric": "slowest forecast, all cases, wall clock", "value": worst_ms, **about}
