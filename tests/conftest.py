"""A whole cell of real processes for story tests, in its own ROS domain and data folder."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

import industriverse_msgs.msg as im
from industriverse_bringup.description import Process, load_cell, processes
from industriverse_bringup.supervisor import Supervisor
from industriverse_core.errors import ErrorCode
from industriverse_core.machine import load_machine
from industriverse_core.store import CellPaths
from industriverse_msgs.action import RunJob
from industriverse_msgs.srv import ArmProgram, ClearStop, ListJobs, SubmitJob
from industriverse_ros import names, qos

EXAMPLES = Path(__file__).parents[1] / "examples"
MILL_CELL = EXAMPLES.parent / "launch" / "config" / "cells" / "mill.yaml"
MACHINE = "prusa_mk3s"
PERMIT_VALID_S = 0.15
MOTION_WORD = re.compile(r"(?<![A-Z0-9.])G(?:[0-3]|28|29|80)(?![0-9.])|(?<=[0-9])G[0-3](?![0-9.])|^\$H")


ENDED = (im.JobState.COMPLETED, im.JobState.ABORTED, im.JobState.REFUSED)
BUSY_COMPUTER = (ErrorCode.PERMIT_LAPSED, ErrorCode.SOURCE_STALE)
ATTEMPTS = 3


class Journal:
    """What really happened at the virtual machine, by its own record (steady clock)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_bytes = 0
        self._events: list[dict] = []

    def events(self, *kinds: str) -> list[dict]:
        self._read_on()
        return [event for event in self._events if not kinds or event["event"] in kinds]

    def _read_on(self) -> None:
        """Only what is new: a long journal is asked many times a second. A machine that starts anew writes it anew."""
        if not self.path.exists():
            return
        if self.path.stat().st_size < self._read_bytes:
            self._read_bytes = 0
            self._events.clear()
        with self.path.open("rb") as file:
            file.seek(self._read_bytes)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read_bytes += len(whole) + len(newline)
        self._events += [json.loads(line) for line in whole.splitlines() if line]

    def motion_commands(self) -> list[str]:
        """Lines with a move or a homing that reached the serial port."""
        lines = [event["line"].split("*")[0] for event in self.events("rx")]
        return [line for line in lines if MOTION_WORD.search(line)]

    def last_motion_s(self) -> float:
        """When the axes last stopped; now if they move."""
        events = self.events("motion_begin", "motion_end")
        if not events:
            return 0.0
        return events[-1]["t"] if events[-1]["event"] == "motion_end" else time.monotonic()


class Cell:
    """One running cell and a node that looks at it from outside.

    Args:
        speed: physics seconds in a steady second; None = the description's.
        respawn: whether what ends is started again.
        control: path of the virtual machine's socket for faults; None = it has none.
    """

    def __init__(
        self,
        home: Path,
        description: Path | str,
        speed: float | None,
        respawn: bool = True,
        control: Path | None = None,
    ) -> None:
        import rclpy
        from rclpy.action import ActionClient
        from rclpy.executors import SingleThreadedExecutor

        self.cell = load_cell(str(description))
        self.machine = machine = load_machine(self.cell.machine.profile).id
        self.directory = home / self.cell.id
        self.paths = CellPaths(self.directory)
        self.paths.run.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(self.paths.machine_journal)
        self.respawn = respawn
        self.supervisor = Supervisor(self.cell.id, self.paths.log, os.environ)
        started = processes(self.cell, self.directory, speed)
        if control is not None:
            started = tuple(_with_control(item, control) for item in started)
        self.process_count = len(started)
        self.supervisor.start(started)
        self.node = rclpy.create_node("observer", namespace=self.cell.id)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.heartbeats = 0
        self.job: im.JobState | None = None
        self.jobs: dict[str, im.JobState] = {}
        self.safety: im.SafetyState | None = None
        self.telemetry: im.MachineTelemetry | None = None
        self.trace: im.ExecutionTrace | None = None
        self.permits: list[tuple[float, im.MotionPermit]] = []
        watch = self.node.create_subscription
        watch(im.JobState, names.JOB_STATE, self._on_job, qos.EVENT)
        watch(im.SafetyState, names.safety_state(machine), lambda msg: setattr(self, "safety", msg), qos.STATE)
        watch(im.MachineTelemetry, names.telemetry(machine), lambda msg: setattr(self, "telemetry", msg), qos.SENSOR)
        watch(im.ExecutionTrace, names.execution_trace(machine), lambda msg: setattr(self, "trace", msg), qos.EVENT)
        watch(im.MotionPermit, names.permit(machine), self._on_permit, qos.PERMIT)
        self.stop_publisher = self.node.create_publisher(im.StopRequest, names.STOP_REQUEST, qos.EVENT)
        self.clients = {
            name: self.node.create_client(kind, name)
            for kind, name in (
                (SubmitJob, names.SUBMIT_JOB),
                (ListJobs, names.LIST_JOBS),
                (ClearStop, names.CLEAR_STOP),
                (ArmProgram, names.ARM_PROGRAM),
            )
        }
        self.runner = ActionClient(self.node, RunJob, names.RUN_JOB)

    def _on_job(self, msg: im.JobState) -> None:
        self.heartbeats += 1
        if msg.job_id:
            self.job = msg
            self.jobs[msg.job_id] = msg

    def _on_permit(self, msg: im.MotionPermit) -> None:
        self.permits.append((time.monotonic(), msg))

    def wait(self, condition, timeout_s: float = 120.0, what: str = "") -> None:
        """Spin until the condition holds; fail with the cell's logs when it does not."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"waited {timeout_s} s in vain for {what}\n{self.story()}")
            self.step()

    def step(self, seconds: float = 0.02) -> None:
        """Look at the cell for a moment."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)
        if self.respawn:
            self.supervisor.poll()

    def story(self) -> str:
        """The last lines of every log, for a failed test."""
        logs = [f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-12:])
                for log in sorted(self.paths.log.glob("*.log"))]  # fmt: skip
        job = self.job and (self.job.job_id, self.job.state, self.job.error_msg)
        safety = self.safety and (self.safety.state, self.safety.error_msg)
        telemetry = self.telemetry and (self.telemetry.state, self.telemetry.error_msg)
        return "\n".join([*logs, f"job {job}", f"safety {safety}", f"machine {telemetry}"])

    def call(self, name: str, request, timeout_s: float = 60.0):
        """Answer of one of the cell's services."""
        client = self.clients[name]
        self.wait(client.service_is_ready, timeout_s, f"service {name}")
        future = client.call_async(request)
        self.wait(future.done, timeout_s, f"answer of {name}")
        return future.result()

    def ready(self) -> None:
        """Wait until the machine is connected and the shield is there."""
        self.wait(lambda: self.telemetry and self.telemetry.state == im.MachineTelemetry.IDLE, 120, "an idle machine")
        self.wait(lambda: self.safety, 60, "the shield")
        self.wait(lambda: self.heartbeats, 60, "the conductor")

    def submit(self, intent: str | Path) -> str:
        """Submit a job and return its id."""
        answer = self.call(names.SUBMIT_JOB, SubmitJob.Request(intent=str(intent)))
        assert answer.error_code == 0, answer.error_msg
        return answer.job_id

    def wait_job(self, job_id: str, *states: int, timeout_s: float = 120.0) -> im.JobState:
        """Wait until the job is in one of the states; fail at once when it has ended in another."""
        self.wait(lambda: self._state(job_id) in (*states, *ENDED), timeout_s, f"{job_id} in states {states}")
        job = self.jobs[job_id]
        if job.state not in states:
            pytest.fail(f"{job_id} ended in state {job.state}: {job.error_code} {job.error_msg}\n{self.story()}")
        return job

    def _state(self, job_id: str) -> int:
        return self.jobs[job_id].state if job_id in self.jobs else im.JobState.UNKNOWN

    def run_until_moving(self, program: Path) -> str:
        """Submit a program and wait until its motion is well under way.

        A computer that stands still for longer than the grace time stops a job, as it must; such a job is
        cleared and submitted again.
        """
        for _ in range(ATTEMPTS):
            job_id = self.submit(program)
            job = self.wait_job(job_id, im.JobState.EXECUTING, *ENDED, timeout_s=120)
            if job.state == im.JobState.EXECUTING or job.error_code not in BUSY_COMPUTER:
                break
            assert self.clear("the computer was busy").error_code == 0
        self.wait_job(job_id, im.JobState.EXECUTING)
        self.wait(lambda: self.trace and self.trace.executed >= 5, 120, "five executed instructions")
        self.wait(lambda: self.journal.events("motion_begin"), 20, "motion at the printer")
        self.step(1.0)
        return job_id

    def kill(self, name: str) -> float:
        """kill -9 of one process; returns the steady time."""
        os.kill(self.supervisor.pids()[name], signal.SIGKILL)
        return time.monotonic()

    def clear(self, reason: str = "looked at the machine") -> ClearStop.Response:
        """The operator's two steps; tried again for a while where the machine is not heard yet (a busy computer)."""
        deadline = time.monotonic() + 30.0
        while (answer := self._clear(reason)).error_code == ErrorCode.SOURCE_STALE and time.monotonic() < deadline:
            self.step(0.5)
        return answer

    def _clear(self, reason: str) -> ClearStop.Response:
        first = self.call(names.CLEAR_STOP, ClearStop.Request(operator_name="test", reason=reason))
        if first.error_code:
            return first
        request = ClearStop.Request(operator_name="test", reason=reason, confirm_latch_id=first.latch_id)
        return self.call(names.CLEAR_STOP, request)

    def close(self) -> None:
        """End every process."""
        self.executor.shutdown()
        self.runner.destroy()
        self.node.destroy_node()
        self.supervisor.stop()


def _with_control(item: Process, control: Path) -> Process:
    """The same process, but a virtual machine that takes faults."""
    if item.name != "virtual_machine":
        return item
    return replace(item, arguments=(*item.arguments, "--control", str(control)))


@pytest.fixture
def cells(ros, tmp_path, monkeypatch):
    """Makes cells; ends them after the test."""
    monkeypatch.setenv("INDUSTRIVERSE_HOME", str(tmp_path))
    monkeypatch.setenv("INDUSTRIVERSE_ROOT", str(EXAMPLES.parent))
    made: list[Cell] = []

    def make(description: Path | str = "demo", speed: float | None = None, respawn: bool = True) -> Cell:
        made.append(Cell(tmp_path, description, speed, respawn))
        return made[-1]

    yield make
    for cell in made:
        cell.close()
