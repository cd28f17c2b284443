"""The campaign against real processes: one running cell, faults one after another, the operator in between.

Judged by the virtual machine's own journal: when the axes came to rest, and whether a motion line reached the serial
port after the stop and before the operator. Times are steady.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import industriverse_msgs.msg as im
from industriverse_core.permit import is_authentic, sign
from industriverse_ros import convert, names, qos
from machine_node.virtual.control import ask

from ..conftest import ENDED, MACHINE, PERMIT_VALID_S, Cell

ROOT = Path(__file__).parents[2]
SPEED = 12.0
REST_WITHIN_S = 0.25
SETTLED_S = 1.6  # after the fault; from then on nothing may move without the operator
WATCHED_S = 2.0
ATTEMPTS = 5
NODES = ("shield", "twin", "conductor", "machine", "intent", "hub")
SQUARES = "G1 X175 Y55 F6000\nG1 X175 Y155\nG1 X75 Y155\nG1 X75 Y55\n" * 150
COLD = f"G21\nG90\nM83\nG28\nG1 Z10 F720\n{SQUARES}M84\n"
HOT = f"G21\nG90\nM83\nM140 S50\nM104 S200\nM109 S200\nG28\nG1 Z10 F720\n{SQUARES}M104 S0\nM140 S0\nM84\n"
STATES = {
    value: name
    for name, value in vars(im.MachineTelemetry).items()
    if name in ("IDLE", "EXECUTING", "HOLDING", "LATCHED", "FAULT", "DISCONNECTED")
}


@dataclass(slots=True)
class Record:
    """One injected fault; fields as of trial.Record.

    Attributes:
        stall_s: longest time for which this computer did not let the observer run; what is later by less than that
            is the computer's fault.
        code: error code of the job's end; 0 = it did not end by itself.
    """

    seed: int
    fault: str
    machine: str = MACHINE
    noticed_s: float | None = None
    rests_s: list[float] = field(default_factory=list)
    state: str = ""
    stall_s: float = 0.0
    code: int = 0
    violations: list[str] = field(default_factory=list)


class Bench:
    """A cell, its programs, and what the faults need of it.

    Args:
        home: folder of the cell's data.
        seed: of the draws.
    """

    def __init__(self, home: Path, seed: int) -> None:
        self.draw = random.Random(f"processes {seed}")
        self.control = home / "faults.sock"
        self.cell = Cell(home, "demo", SPEED, control=self.control)
        self.programs = {}
        for name, text in (("cold", COLD), ("hot", HOT)):
            self.programs[name] = home / f"{name}.gcode"
            self.programs[name].write_text(text)
        self.attacker = self.cell.node.create_publisher(im.MotionPermit, names.permit(MACHINE), qos.PERMIT)
        self.limited: list[str] = []  # processes that have to be started anew
        self.cell.ready()

    def virtual(self, fault: str, **values: Any) -> None:
        """A fault of the virtual machine."""
        answer = ask(self.control, {"fault": fault, **values})
        assert answer["ok"], answer

    def start_job(self, program: Path) -> str:
        """Submit until it moves: on a busy computer a stage may answer too late, or a permit come too late."""
        for _ in range(ATTEMPTS):
            self.recover()
            job_id = self.cell.submit(program)
            job = self.cell.wait_job(job_id, im.JobState.EXECUTING, *ENDED, timeout_s=300.0)
            if job.state == im.JobState.EXECUTING:
                self.cell.wait(partial(self._moves_or_ended, job_id), 300.0, "motion")
                if not self._ended(job_id):
                    return job_id
        pytest.fail(f"no job begins: {self.cell.jobs[job_id].error_msg}")

    def _moves_or_ended(self, job_id: str) -> bool:
        trace = self.cell.trace
        return self._ended(job_id) or (trace is not None and trace.job_id == job_id and trace.executed >= 8)

    def _ended(self, job_id: str) -> bool:
        return self.cell.jobs[job_id].state in ENDED

    def recover(self) -> None:
        """Everything is back, the operator clears, and both sides are idle."""
        cell = self.cell
        for name in self.limited:
            with suppress(ProcessLookupError):
                os.kill(self.pid(name), signal.SIGKILL)
        if self.limited:
            self.watch(0.5)
        self.limited.clear()
        cell.wait(lambda: len(cell.supervisor.pids()) == cell.process_count, 60.0, "all processes")
        deadline_s = time.monotonic() + 120.0
        while time.monotonic() < deadline_s:
            self.watch(1.0)
            if cell.safety.state == im.SafetyState.LATCHED:
                with suppress(pytest.fail.Exception):  # an answer may be lost while a new node is being discovered
                    cell.clear("the fault is over")
            idle = cell.telemetry.state == im.MachineTelemetry.IDLE and cell.safety.state == im.SafetyState.IDLE
            if idle and not cell.telemetry.latch_id:
                cell.permits.clear()
                return
        pytest.fail(f"not idle again: shield {cell.safety.state}, machine {cell.telemetry.state}")

    def watch(self, seconds: float) -> float:
        """Let time pass; the longest time for which this process was not run [s]."""
        end_s, before_s, stall_s = time.monotonic() + seconds, time.monotonic(), 0.0
        while before_s < end_s:
            self.cell.step(0.02)
            now = time.monotonic()
            stall_s, before_s = max(stall_s, now - before_s - 0.04), now
        return stall_s

    def pid(self, name: str) -> int:
        """Of a node that runs."""
        self.cell.wait(lambda: name in self.cell.supervisor.pids(), 60.0, f"the process {name}")
        return self.cell.supervisor.pids()[name]

    def close(self) -> None:
        """End the cell."""
        self.cell.node.destroy_publisher(self.attacker)
        self.cell.close()


Fault = Callable[[Bench], None]


def _kill(name: str) -> Fault:
    def fault(bench: Bench) -> None:
        os.kill(bench.pid(name), signal.SIGKILL)

    return fault


def _freeze(name: str) -> Fault:
    def fault(bench: Bench) -> None:
        pid = bench.pid(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            bench.watch(bench.draw.uniform(0.2, 3.0))
        finally:
            os.kill(pid, signal.SIGCONT)

    return fault


def _limit(name: str, kind: int, value: Callable[[int], int]) -> Fault:
    """A resource of a process is at its end; it is started anew afterwards."""

    def fault(bench: Bench) -> None:
        pid = bench.pid(name)
        amount = value(pid)
        resource.prlimit(pid, kind, (amount, amount))
        bench.limited.append(name)
        bench.watch(2.0)

    return fault


def _address_space(pid: int) -> int:
    """What the process has, and one more mebibyte."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE") + (1 << 20)


def _permits(forge: Callable[[Bench, Any, int], im.MotionPermit], shield_frozen: bool) -> Fault:
    """Two seconds of permits that nobody should obey."""

    def fault(bench: Bench) -> None:
        recorded = [msg for _, msg in bench.cell.permits if any(msg.program_digest)]
        pid = bench.pid("shield")
        if shield_frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            for count in range(1, 60):
                bench.attacker.publish(forge(bench, recorded, count))
                bench.cell.step(0.03)
        finally:
            os.kill(pid, signal.SIGCONT)

    return fault


def _replayed(bench: Bench, recorded: list[im.MotionPermit], count: int) -> im.MotionPermit:
    return bench.draw.choice(recorded)


def _forged(bench: Bench, recorded: list[im.MotionPermit], count: int) -> im.MotionPermit:
    last = convert.permit_from_msg(recorded[-1])
    assert bench.cell.telemetry is not None
    ahead = replace(last, sequence=last.sequence + count, challenge=bench.cell.telemetry.challenge)
    return convert.permit_to_msg(sign(ahead, b"x" * 32) if count % 2 else ahead, 0.0)


def _foreign(bench: Bench, recorded: list[im.MotionPermit], count: int) -> im.MotionPermit:
    """Authentic, newest, fresh, and for another program."""
    last = convert.permit_from_msg(recorded[-1])
    assert bench.cell.telemetry is not None
    foreign = replace(
        last,
        sequence=last.sequence + count,
        challenge=bench.cell.telemetry.challenge,
        program_digest=b"\x07" * 32,
    )
    return convert.permit_to_msg(sign(foreign, bench.cell.paths.key.read_bytes()), 0.0)


def _virtual(name: str, **values: Any) -> Fault:
    return lambda bench: bench.virtual(name, **values)


def _stop(bench: Bench) -> None:
    level = bench.draw.choice([im.StopRequest.HOLD, im.StopRequest.STOP1, im.StopRequest.STOP0])
    bench.cell.stop_publisher.publish(im.StopRequest(level=level, source="campaign", reason="a fault is injected"))


COLD_FAULTS: dict[str, Fault] = {
    **{f"{name}_killed": _kill(name) for name in NODES},
    **{f"{name}_frozen": _freeze(name) for name in NODES},
    **{f"{name}_out_of_memory": _limit(name, resource.RLIMIT_AS, _address_space) for name in NODES},
    **{f"{name}_disk_full": _limit(name, resource.RLIMIT_FSIZE, lambda _: 4096) for name in NODES},
    "permits_replayed": _permits(_replayed, False),
    "permits_replayed_without_shield": _permits(_replayed, True),
    "permits_forged": _permits(_forged, False),
    "permits_forged_without_shield": _permits(_forged, True),
    "permits_for_another_program": _permits(_foreign, True),
    "controller_reset": _virtual("controller_reset"),
    "controller_frozen": _virtual("frozen", for_s=SPEED * 3.0),
    "cable_pulled": _virtual("cable_pull", value=1.0),
    "serial_bytes_garbled": _virtual("garbled_bytes", for_s=SPEED * 2.0, value=4e-3),
    "serial_bytes_lost": _virtual("lost_bytes", for_s=SPEED * 2.0, value=1e-3),
    "supply_sag": _virtual("power_sag", for_s=SPEED * 0.5, value=0.1),
    "stop_request": _stop,
}
HOT_FAULTS: dict[str, Fault] = {
    "heater_stuck_on": _virtual("heater_stuck_on", target="hotend", for_s=SPEED * 12.0),
    "heater_stuck_off": _virtual("heater_stuck_off", target="hotend", for_s=SPEED * 12.0),
    "thermistor_open": _virtual("thermistor_open", target="hotend", for_s=SPEED * 2.0),
    "thermistor_short": _virtual("thermistor_short", target="hotend", for_s=SPEED * 2.0),
}
WATCH_S = {"heater_stuck_on": 12.0, "heater_stuck_off": 12.0}  # what their physics takes
FAULTS = COLD_FAULTS | HOT_FAULTS


def inject(bench: Bench, seed: int, name: str) -> Record:
    """A job, the fault in its middle, what follows, the operator. Whatever cannot be done is a violation too."""
    record = Record(seed, name)
    try:
        _inject(bench, record, name)
        bench.recover()
    except (AssertionError, pytest.fail.Exception) as error:
        record.violations.append(str(error).splitlines()[0])
    return record


def _inject(bench: Bench, record: Record, name: str) -> None:
    cell = bench.cell
    job_id = bench.start_job(bench.programs["hot" if name in HOT_FAULTS else "cold"])
    bench.watch(bench.draw.uniform(0.0, 0.5))
    begun_s = time.monotonic()
    refused_before = cell.telemetry.latch_id
    FAULTS[name](bench)
    end_s = time.monotonic() + WATCH_S.get(name, SETTLED_S)
    while time.monotonic() < end_s:
        record.stall_s = max(record.stall_s, bench.watch(0.1))
        stopped = cell.telemetry.latch_id != refused_before or cell.safety.state != im.SafetyState.PERMITTING
        if record.noticed_s is None and (stopped or cell.jobs[job_id].state in ENDED):
            record.noticed_s = time.monotonic() - begun_s
            end_s = min(end_s, time.monotonic() + SETTLED_S)
    record.state = STATES.get(cell.telemetry.state, str(cell.telemetry.state))
    latched = cell.safety.state == im.SafetyState.LATCHED or cell.telemetry.state == im.MachineTelemetry.LATCHED
    if latched or cell.jobs[job_id].state in ENDED:
        _judge_rest(bench, record, begun_s)
        commands, stopped_s = len(cell.journal.motion_commands()), cell.journal.last_motion_s()
        record.stall_s = max(record.stall_s, bench.watch(WATCHED_S))
        if len(cell.journal.motion_commands()) != commands or cell.journal.last_motion_s() != stopped_s:
            record.violations.append("something moved after the stop, before the operator")
        record.code = cell.jobs[job_id].error_code
    else:  # it goes on, as it may; the next fault needs a new job
        _stop(bench)
    cell.wait(lambda: cell.jobs[job_id].state in ENDED, 120.0, "the job's end")


def _genuine(bench: Bench) -> list[float]:
    """When an observer has heard the permits that the shield itself has issued for the job, each once."""
    key, heard, newest = bench.cell.paths.key.read_bytes(), [], (0, 0)
    digest = b""
    for at_s, msg in bench.cell.permits:
        permit = convert.permit_from_msg(msg)
        number = permit.incarnation, permit.sequence
        if not any(permit.program_digest) or number <= newest or not is_authentic(permit, key):
            continue
        digest = digest or permit.program_digest
        if permit.program_digest == digest:
            newest = number
            heard.append(at_s)
    return heard


def _judge_rest(bench: Bench, record: Record, begun_s: float) -> None:
    """From the last moment at which a permit can have been alive to standstill, by what an observer has heard."""
    permits = _genuine(bench)
    ends = [event["t"] for event in bench.cell.journal.events("motion_end") if event["t"] > begun_s]
    if not ends or not permits:
        return
    rest_s = bench.cell.journal.last_motion_s() - (permits[-1] + PERMIT_VALID_S)
    record.rests_s.append(max(0.0, rest_s))
    if rest_s > REST_WITHIN_S + record.stall_s:
        record.violations.append(f"motion {rest_s:.3f} s after the last permit had lapsed")


@contextmanager
def environment(home: Path) -> Iterator[None]:
    """rclpy in a domain of its own, and the cell's data in a folder of its own."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from industriverse_bringup.domain import cell_domain

    os.environ["INDUSTRIVERSE_HOME"] = str(home)
    os.environ["INDUSTRIVERSE_ROOT"] = str(ROOT)
    with cell_domain(home) as domain:
        os.environ["ROS_DOMAIN_ID"] = str(domain)
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)  # Ctrl-C ends the campaign with its report
        try:
            yield
        finally:
            rclpy.try_shutdown()


def campaign(home: Path, seed: int, count: int) -> Iterator[Record]:
    """So many faults in drawn order, every class once before any comes again, in one cell; at last a job that moves."""
    draw = random.Random(f"order {seed}")
    order: list[str] = []
    while len(order) < count:
        order += draw.sample(sorted(FAULTS), len(FAULTS))
    with environment(home):
        bench = Bench(home, seed)
        try:
            for number, name in enumerate(order[:count]):
                yield inject(bench, number, name)
            bench.start_job(bench.programs["cold"])
        finally:
            bench.close()
