"""One run of the simulation: a job, one fault in its middle, what follows, the operator, and a healthy job."""

from __future__ import annotations

import hashlib
import random
import signal
import tempfile
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from industriverse_core.errors import CoreError
from industriverse_core.gcode import read_gcode
from industriverse_core.machine import MachineProfile, load_machine
from industriverse_core.program import Program
from industriverse_core.states import Outcome, Safety
from industriverse_core.store import ProgramStore
from machine_node.permit_guard import GuardState

from .cell import Cell
from .injections import CLASSES, two_at_once

FAULTS = (*CLASSES, "two_at_once", "program_corrupted", "program_exchanged")
MILL_SHARE = 0.1
WATCHED_S = 1.5  # after the fault's end, without anybody doing anything
RECOVERY_S = 40.0
PRINT = "G28\nG1 Z5 F2000\n" + "G1 X40 Y0 F6000\nG1 X40 Y40\nG2 X0 Y40 I-20 J0\nG1 X0 Y0\n" + "G1 X60 Y0\nG0 X5\n"
MILL = "G21 G90 G94 G54\nG0 Z5\n" + "G1 X12 Y0 F1500\nG1 X12 Y12\nG0 X0 Y12\nG2 X12 Y12 I6 J0\n" * 2 + "M2\n"
PRINT_SPEED_M_S = 0.1
SPAN_M = 0.03
TEXTS = {"prusa_mk3s": PRINT, "grbl_mill": MILL}
QUICK = {"prusa_mk3s": "G28\nG1 X10 Y10 F6000\n", "grbl_mill": "G21 G90 G94 G54\nG0 Z5\nG0 X5\nM2\n"}


@dataclass(slots=True)
class Record:
    """What one run showed.

    Attributes:
        fault: class.
        machine: profile.
        at_s: from the begin of the job to the fault.
        noticed_s: from the fault to the first reaction of shield, guard or driver; None = none was needed.
        rests_s: from each end of permission in motion to standstill.
        homing_s: the same of homing that nobody was there to break off, see witness.py.
        state: of the machine after the fault, before the operator came.
        code: why the job ended; "" = it was not ended by the fault.
        motion_lines: that were handed to the port.
        oldest_permit_s: age of the oldest permit that was obeyed.
        simulated_s: virtual time of the run.
        violations: sentences; none in a sound run.
    """

    seed: int
    fault: str
    machine: str
    at_s: float = 0.0
    noticed_s: float | None = None
    rests_s: list[float] = field(default_factory=list)
    homing_s: list[float] = field(default_factory=list)
    state: str = ""
    code: str = ""
    motion_lines: int = 0
    oldest_permit_s: float = 0.0
    simulated_s: float = 0.0
    violations: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For one line of JSON."""
        return asdict(self)


def leave_interrupts() -> None:
    """In a worker process: Ctrl-C is for the one that reports."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@cache
def profile_of(machine: str) -> MachineProfile:
    """The profile, but homing is short, so that the job is what is stopped most often: a printer homes in 0.3 s, and
    a mill is small, so that it gets from its switches to the work zero in 2 s.
    """
    profile = load_machine(machine)
    kinematics = profile.kinematics
    if profile.kind == "mill":
        spans = {"x": (0.0, SPAN_M), "y": (0.0, SPAN_M), "z": (-SPAN_M / 2.0, SPAN_M / 2.0)}
        axes = {
            name: getattr(kinematics, name).model_copy(update={"minimum": low, "maximum": high})
            for name, (low, high) in spans.items()
        }
        return profile.model_copy(update={"kinematics": kinematics.model_copy(update=axes), "stored_positions": {}})
    quick = kinematics.model_copy(update={"homing_time": 0.3, "homing_time_spread": 0.1})
    return profile.model_copy(update={"kinematics": quick})


@cache
def braking_s(machine: str) -> float:
    """What braking takes on top of what is queued: speed / (2 acceleration), at the programs' top speed."""
    profile = profile_of(machine)
    axis = profile.kinematics.axes()[0]
    if profile.kind == "mill":
        return axis.max_speed / (2.0 * axis.max_acceleration)
    return PRINT_SPEED_M_S / (2.0 * min(axis.max_acceleration, profile.kinematics.travel_acceleration))


@cache
def program_of(machine: str, quick: bool) -> Program:
    """The job, or the short one that shows that the cell is sound again."""
    text = (QUICK if quick else TEXTS)[machine]
    return read_gcode(text.encode(), "campaign.gcode", "marlin" if machine == "prusa_mk3s" else "rs274")


def run(seed: int) -> Record:
    """One run; the seed says everything about it."""
    draw = random.Random(f"campaign {seed}")
    fault = FAULTS[seed % len(FAULTS)]
    machine = "grbl_mill" if draw.random() < MILL_SHARE else "prusa_mk3s"
    record = Record(seed, fault, machine)
    cell = Cell(draw.randrange(2**63), profile_of(machine), braking_s(machine))
    try:
        _play(cell, record, draw)
    except Exception as error:
        record.violations.append(f"{cell.world.now:.3f} s: {type(error).__name__}: {error}")
    cell.witness.conclude(cell.world.now)
    cell.machine.machine.close()
    record.violations += cell.witness.violations
    record.rests_s, record.homing_s = cell.witness.rests_s, cell.witness.homing_s
    record.motion_lines = cell.witness.motion_lines
    record.oldest_permit_s, record.simulated_s = cell.witness.oldest_s, cell.world.now
    return record


def _play(cell: Cell, record: Record, draw: random.Random) -> None:
    world = cell.world
    if not world.run(10.0, lambda: cell.free):
        record.violations.append("the healthy cell did not come up")
        return
    world.run(draw.uniform(0.0, 0.2))
    if record.fault in ("program_corrupted", "program_exchanged"):
        _spoil_the_store(record, draw)
    else:
        _inject(cell, record, draw)
    _recover(cell, record)


def _inject(cell: Cell, record: Record, draw: random.Random) -> None:
    world = cell.world
    other = b"\x07" * 32
    mistaken = record.fault == "permit_for_another_program" and draw.random() < 0.5
    begun_s = world.now
    cell.submit(program_of(record.machine, False), other if mistaken else None)
    # homing, waiting for the first permit, and motion; a mill's homing takes longer than its program
    moving = draw.random() < 0.9
    if moving and not mistaken:
        world.run(60.0, lambda: cell.machine.executed >= 1 or cell.result is not None)
    world.run(draw.uniform(0.0, 1.6))
    record.at_s = world.now - begun_s
    watch = _Notice(cell)
    inject = two_at_once if record.fault == "two_at_once" else CLASSES[record.fault]
    ends_s = inject(cell)
    world.run(ends_s + WATCHED_S, watch.look)
    if watch.noticed_s is not None:
        record.noticed_s = watch.noticed_s
    world.run(max(0.0, watch.begun_s + ends_s + WATCHED_S - world.now))
    record.state = cell.machine.guard.state.name if cell.machine.alive else "DEAD"
    if cell.result is not None and cell.result.outcome is not Outcome.COMPLETED:
        record.code = cell.result.code.name
    if mistaken and cell.witness.motion_lines:
        record.violations.append("the permit of another program has moved the machine")


class _Notice:
    """The first reaction to a fault: a state that is not that of a running job, or a refusal that is counted."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self.begun_s = cell.world.now
        self.noticed_s: float | None = None
        self._before = self._counters()

    def _counters(self) -> tuple[object, ...]:
        cell = self._cell
        driver = cell.machine.machine._driver
        resends = 0 if driver is None else driver.resends
        return sum(cell.machine.guard.refused.values()), resends, cell.unreadable, cell.machine, cell.shield

    def look(self) -> bool:
        """True once something has reacted."""
        cell = self._cell
        held = cell.machine.guard.state in (GuardState.HOLD, GuardState.LATCHED)
        withheld = cell.shield.shield.state in (Safety.WITHHELD, Safety.LATCHED)
        broken = not cell.machine.machine.connected
        ended = cell.result is not None and cell.result.outcome is not Outcome.COMPLETED
        if held or withheld or broken or ended or self._counters() != self._before:
            self.noticed_s = cell.world.now - self.begun_s
        return self.noticed_s is not None


def _spoil_the_store(record: Record, draw: random.Random) -> None:
    """A program's file is changed between the gates and the machine: by one bit, or for another good program."""
    program = program_of(record.machine, False)
    with tempfile.TemporaryDirectory() as folder:
        ref = ProgramStore(Path(folder)).add(program)
        path = ProgramStore(Path(folder)).path(ref.digest)
        if record.fault == "program_corrupted":
            data = bytearray(path.read_bytes())
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            path.write_bytes(data)
        else:
            other = ProgramStore(Path(folder)).add(program_of(record.machine, True))
            path.write_bytes(ProgramStore(Path(folder)).path(other.digest).read_bytes())
            if draw.random() < 0.5:  # and the address says so
                sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
                ref = type(ref)(**{**asdict(ref), "uri": f"{path.resolve().as_uri()}#sha256={sha256}"})
        try:
            ProgramStore.load(ref)
        except CoreError as error:
            record.noticed_s, record.code, record.state = 0.0, error.code.name, "IDLE"
        else:
            record.violations.append("a changed program was loaded")


def _recover(cell: Cell, record: Record) -> None:
    """Nothing goes on by itself; the operator clears; a healthy job runs to its end."""
    world = cell.world
    world.run(RECOVERY_S, lambda: cell.result is not None or not cell.machine.guard.has_execution)
    deadline_s = world.now + RECOVERY_S
    while world.now < deadline_s:
        world.run(0.3)
        if cell.clear() and cell.free:
            try:
                cell.submit(program_of(record.machine, True))
                break
            except CoreError:
                continue
    world.run(60.0, lambda: cell.result is not None)
    if cell.result is None or cell.result.outcome is not Outcome.COMPLETED:
        seen = "no job could begin" if cell.result is None else f"{cell.result.code.name} {cell.result.message}"
        states = f"shield {cell.shield.shield.state.name}, guard {cell.machine.guard.state.name}"
        record.violations.append(f"no healthy job after the fault: {seen} ({states})")
