"""From a telemetry sample's receipt by the shield to its decision, while the whole demonstration cell makes a part.

`inside`: Decision.latency_s of the first decision that has a sample; it is taken when the permit has gone out.
`outside`: an observer's own times of receipt of the sample and of that decision; what the network and the observer are
late for either is in it. Every healthy run is also a test of false alarms: what was decided besides RUN is counted.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

GOAL_P99_MS = 20.0
START_LIMIT_S, JOB_LIMIT_S = 60.0, 300.0
CELLS = ("demo", "mill")


def run() -> Iterator[dict]:
    for cell in CELLS:
        yield from _cell(cell)


def _cell(cell: str) -> Iterator[dict]:
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "INDUSTRIVERSE_HOME": home}
        environment.pop("ROS_DOMAIN_ID", None)
        command = [sys.executable, "-m", "industriverse_bringup.up", "--cell", cell, "--once", "--json"]
        up = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True)
        try:
            note = _note(Path(home) / cell / "cell.json", up)
            seen = _Observer(note).watch(up)
        finally:
            up.send_signal(signal.SIGINT)
            output, _ = up.communicate(timeout=60)
        result = json.loads(output.splitlines()[-1])
    common = {"unit": "ms", "cell": cell, "decisions": seen.decisions, "state": result["state"]}
    common |= {"job_s": result["measured"] and result["measured"]["time_s"]}
    common |= {"besides_run": dict(seen.others), "suspected": seen.suspected}
    for name, latencies in (("inside", seen.inside_s), ("outside", seen.outside_s)):
        p50, p99 = np.percentile(np.array(latencies) * 1e3, [50, 99])
        yield {"metric": f"telemetry to decision {name} p50", "value": round(float(p50), 2), **common}
        about = {"metric": f"telemetry to decision {name} p99", "value": round(float(p99), 2)}
        yield {**about, "goal": GOAL_P99_MS, **common}


def _note(path: Path, up: subprocess.Popen) -> dict[str, Any]:
    deadline = time.monotonic() + START_LIMIT_S
    while not path.exists():
        if up.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the cell did not start")
        time.sleep(0.05)
    note: dict[str, Any] = json.loads(path.read_text())
    return note


class _Observer:
    """Hears telemetry and decisions of a running cell until its job has ended."""

    def __init__(self, note: dict[str, Any]) -> None:
        import rclpy
        from rclpy.experimental.events_executor import EventsExecutor

        import industriverse_msgs.msg as im
        from industriverse_ros import names, qos

        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=note["domain_id"])
        self.node = rclpy.create_node("observer", namespace=note["namespace"], context=self.context)
        self.executor = EventsExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.heard: dict[tuple[int, int], float] = {}
        self.inside_s: list[float] = []
        self.outside_s: list[float] = []
        self.others: Counter[str] = Counter()
        self.suspected: dict[str, float] = {}  # highest probability of each cause that was the likeliest
        self.decisions = 0
        machine = note["machine"]
        watch = self.node.create_subscription
        watch(im.MachineTelemetry, names.telemetry(machine), self._on_telemetry, qos.SENSOR)
        watch(im.Decision, names.decision(machine), self._on_decision, qos.SENSOR)

    def watch(self, up: subprocess.Popen) -> _Observer:
        """Until the cell ends."""
        import rclpy

        deadline = time.monotonic() + JOB_LIMIT_S
        while up.poll() is None and time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.1)
        rclpy.shutdown(context=self.context)
        return self

    def _on_telemetry(self, msg: Any) -> None:
        self.heard[msg.header.stamp.sec, msg.header.stamp.nanosec] = time.monotonic()

    def _on_decision(self, msg: Any) -> None:
        from industriverse_core.threats import Cause, Level

        now_s = time.monotonic()
        self.decisions += 1
        if msg.level != Level.RUN:
            self.others[f"{Level(msg.level).name} {Cause(msg.cause).name}"] += 1
        if msg.cause != Cause.NONE:
            cause = Cause(msg.cause).name
            self.suspected[cause] = round(max(msg.probability, self.suspected.get(cause, 0.0)), 3)
        heard_s = self.heard.pop((msg.telemetry_stamp.sec, msg.telemetry_stamp.nanosec), None)
        if heard_s is not None:
            self.inside_s.append(msg.latency_s)
            self.outside_s.append(now_s - heard_s)
