"""The stream through an emulated 115,200 baud line to a virtual machine, and as fast as it goes without one.

`paced`: 1 mm segments through machine_node.line_noise, which passes 11,520 bytes/s each way; at 100 mm/s on the
printer, at its top feed on the mill. What the controller's planner did is read from its journal: when it came to rest
between two moves it had run empty. `narrow`: 0.1 mm segments, more than the line carries: how much of the line is used.
`free`: no line, physics at speed 10. CPU is that of the driver's process (worker, guard and permits), machine and line
are other processes. Counted from the first segment's receipt to the last rest.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BAUD = 115200
SAMPLE_S = 0.02
GOAL_EMPTY = 0.0


@dataclass(slots=True)
class _Run:
    """What was measured in one job."""

    wall_s: float
    cpu_s: float
    planned_s: float
    moving_s: float  # from the first move to the last rest
    empty_s: float  # at rest in between
    lines: int
    received_bytes: int
    latency_s: float  # from the job's beginning to the first motion
    queued_s: np.ndarray  # sampled while it streamed


def run() -> Iterator[dict]:
    for machine, strokes, feed_mm_s in (("prusa_mk3s", 20, 100.0), ("grbl_mill", 6, 33.3)):
        yield from _paced(machine, strokes, feed_mm_s)
    job = _measure(_zigzag(4, 150.0, 0.1, 100.0), speed=1.0, baud=BAUD)
    yield {"metric": "narrow lines", "value": round(job.lines / job.moving_s), "unit": "1/s", "baud": BAUD}
    used = 100.0 * job.received_bytes / job.moving_s / (BAUD / 10)
    yield {"metric": "narrow use of the line", "value": round(used, 1), "unit": "%", "baud": BAUD}
    for machine, segment_mm, feed_mm_s in (("prusa_mk3s", 0.25, 100.0), ("grbl_mill", 0.1, 33.3)):
        job = _measure(_zigzag(40, 150.0, segment_mm, feed_mm_s), speed=10.0, baud=0, machine=machine)
        common = {"speed": 10, "machine": machine}
        yield {"metric": "free lines", "value": round(job.lines / job.moving_s), "unit": "1/s", **common}
        cpu_us = round(1e6 * job.cpu_s / job.lines, 1)
        yield {"metric": "free CPU of the driver a line", "value": cpu_us, "unit": "us", **common}


def _paced(machine: str, strokes: int, feed_mm_s: float) -> Iterator[dict]:
    job = _measure(_zigzag(strokes, 150.0, 1.0, feed_mm_s), speed=1.0, baud=BAUD, machine=machine)
    common = {"baud": BAUD, "segment_mm": 1.0, "feed_mm_s": feed_mm_s, "machine": machine}
    yield {"metric": "paced lines", "value": round(job.lines / job.moving_s), "unit": "1/s", **common}
    yield {
        "metric": "paced CPU of the driver",
        "value": round(100.0 * job.cpu_s / job.wall_s, 1),
        "unit": "%",
        **common,
    }
    empty = round(100.0 * job.empty_s / job.moving_s, 3)
    yield {"metric": "paced planner empty while moving", "value": empty, "unit": "%", "goal": GOAL_EMPTY, **common}
    longer = round(100.0 * (job.moving_s / job.planned_s - 1.0), 2)
    yield {"metric": "paced motion longer than planned", "value": longer, "unit": "%", **common}
    for name, share in (("p1", 1), ("p50", 50), ("p99", 99)):
        depth = round(float(np.percentile(job.queued_s, share)) * 1e3, 1)
        yield {"metric": f"paced motion queued {name}", "value": depth, "unit": "ms", **common}
    yield {"metric": "begin of job to first motion", "value": round(job.latency_s * 1e3, 1), "unit": "ms", **common}


def _zigzag(strokes: int, length_mm: float, segment_mm: float, feed_mm_s: float) -> str:
    lines = ["G0 Z5", "G0 X10 Y10", f"G1 X10.01 F{feed_mm_s * 60:g}"]
    count = round(length_mm / segment_mm)
    for stroke in range(strokes):
        y = 10.0 + 0.4 * stroke
        steps = range(1, count + 1) if stroke % 2 == 0 else range(count - 1, -1, -1)
        lines += [f"G1 X{10.0 + step * segment_mm:.2f} Y{y:.1f}" for step in steps]
    return "\n".join([*lines, ""])


def _measure(text: str, speed: float, baud: int, machine: str = "prusa_mk3s") -> _Run:
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        python, port = [sys.executable, "-m"], here / "machine"
        printer = [*python, "machine_node.virtual.main", "--link", str(port), "--journal", str(here / "journal")]
        processes = [_start([*printer, "--machine", machine, "--speed", str(speed), "--seed", "3"])]
        if baud:
            line = [*python, "machine_node.line_noise", "--from", str(port), "--link", str(here / "line")]
            port = here / "line"
            processes.append(_start([*line, "--baud", str(baud)]))
        try:
            return _job(text, speed, str(port), here / "journal", machine)
        finally:
            for process in reversed(processes):
                process.terminate()
                process.communicate(timeout=10)


def _start(command: list[str]) -> subprocess.Popen:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def _job(text: str, speed: float, port: str, journal: Path, machine_id: str) -> _Run:
    import itertools

    from industriverse_core.gcode import read_gcode
    from industriverse_core.machine import load_machine
    from industriverse_core.program import Op
    from machine_node.machine import Machine
    from machine_node.permit_guard import PermitGuard
    from machine_node.preparation import prepare
    from tests.failures.noisy_line import KEY, Permits

    profile = load_machine(machine_id)
    program = read_gcode(text.encode(), "line.gcode", "rs274" if profile.kind == "mill" else "marlin")
    machine = Machine(profile, port, "", PermitGuard(profile.id, KEY), speed)
    machine.start()
    ended = threading.Event()
    permits = None
    queued: list[float] = []
    try:
        _until(lambda: machine.connected)
        execution = prepare(program, program.digest, profile, speed, "line", lambda _: ended.set())
        first = int(np.flatnonzero(program.op == Op.STRAIGHT_FEED)[0])
        planned_s = float(execution.plan.total_s - execution.plan.end_s[first - 1])
        permits = Permits(machine, profile.id, program.digest, itertools.count(1))
        time.sleep(0.5)
        began_s = segments_s = time.monotonic()
        before_s = time.process_time()
        machine.begin(execution)
        while not ended.wait(SAMPLE_S):
            snapshot = machine.snapshot()
            if 10 < snapshot.sent < snapshot.total - 10:
                queued.append(snapshot.queued_s)
            if snapshot.sent <= 3:  # the mill homes and comes to where the program begins
                segments_s, before_s = time.monotonic(), time.process_time()
        wall_s, cpu_s = time.monotonic() - segments_s, time.process_time() - before_s
    finally:
        if permits is not None:
            permits.close()
        machine.close()
    time.sleep(0.2)
    events = [json.loads(line) for line in journal.read_text().split("\n")[:-1]]
    return _judge([event for event in events if event["t"] >= began_s], began_s, wall_s, cpu_s,
                  planned_s / speed, np.array(queued))  # fmt: skip


def _judge(
    events: list[dict], began_s: float, wall_s: float, cpu_s: float, planned_s: float, queued_s: np.ndarray
) -> _Run:
    received = [event for event in events if event["event"] == "rx"]
    first_s = next(event["t"] for event in received if "X10.01" in event["line"])
    begins = [event["t"] for event in events if event["event"] == "motion_begin"]
    ends = [event["t"] for event in events if event["event"] == "motion_end"]
    rests = [(end, min(begin for begin in begins if begin >= end)) for end in ends[:-1]]
    empty_s = sum(begin - end for end, begin in rests if end > first_s)
    moving = [event for event in received if first_s <= event["t"] <= ends[-1]]
    size = sum(len(event["line"]) + 1 for event in moving)
    return _Run(
        wall_s,
        cpu_s,
        planned_s,
        ends[-1] - first_s,
        empty_s,
        len(moving),
        size,
        begins[0] - began_s,
        queued_s,
    )


def _until(condition, limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the machine does not connect")
        time.sleep(0.02)
