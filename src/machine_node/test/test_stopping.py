"""What a stop, a latch and a fault do at the controller: halted, cold, and nothing of the job comes after it."""

import re
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from industriverse_core.errors import CoreError, ErrorCode, MachineError
from industriverse_core.machine import load_machine
from industriverse_core.permit import PERMIT_VALID_S, Permit, StopLevel, sign
from industriverse_core.telemetry import MachineState
from machine_node.execution import Outcome
from machine_node.machine import Machine
from machine_node.marlin.driver import HEATERS_OFF, LONGEST_POLL_BYTES, QUIET_S
from machine_node.marlin.preamble import preamble
from machine_node.marlin.stopping import CYCLE_LIMIT_S, Stop
from machine_node.permit_guard import PermitGuard
from machine_node.preparation import prepare
from machine_node.stopping import KILL_LIMIT_S, Kill, Progress
from machine_node.streaming.pieces import Kind

sys.path.insert(0, str(Path(__file__).parent))
from boards import KEY, Board, Session, Shield

PROFILE = load_machine("prusa_mk3s")
LONG = "G28\n" + "G1 X200 Y0 F3000\nG1 X0 Y200\n" * 100
MOTION = re.compile(r"^(?:N\d+ )?(?:G[0123]|G28|G80|M109|M190)\b")


def written(session):
    """Whole lines since the last call."""
    lines, session.port.written = session.port.written.decode().splitlines(), b""
    return [line for line in lines if line]


# --- what is lost stays lost ---


def test_a_line_that_is_lost_after_the_stop_is_not_sent_again():
    session = Session(receive_buffer=256).connect()
    for command in ("G28 W", "G1 X100 F6000", "M109 S200"):
        session.driver.send(command, session.now)
    first = session.driver._connection.unacknowledged[0][0]
    session.driver.stop(*HEATERS_OFF, "G4", now=session.now, urgent="M410")
    session.poll()
    written(session)
    session.poll(f"Error:checksum mismatch, Last Line: {first - 1}\nResend: {first}\nok\n")
    session.poll(after_s=QUIET_S + 0.01)
    again = [line.split("*")[0] for line in written(session)]
    assert again[:3] == [f"N{first + n} G4" for n in range(3)]
    assert [line.split(" ", 1)[1] for line in again[3:]] == ["M410", *HEATERS_OFF, "G4", "M111 S1"]
    session.poll("ok\n" * 9)
    assert session.driver.settled


@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(0, 5))
def test_whatever_is_asked_for_after_a_stop_no_motion_comes(asked, acknowledged):
    session = Session(receive_buffer=512).connect()
    for x in range(5):
        session.driver.send(f"G1 X{x}", session.now)
    session.poll("ok\n" * acknowledged)
    first = session.driver._connection.next_line - 5
    session.driver.stop(*HEATERS_OFF, "G4", now=session.now)
    session.poll()
    written(session)
    for number in asked:
        with suppress(MachineError):  # it insists on what was never sent: then the controller is halted
            session.poll(f"Resend: {first + number}\nok\n")
            session.poll(after_s=QUIET_S + 0.01)
        assert not [line for line in written(session) if MOTION.match(line)]


def test_lines_of_an_execution_that_has_ended_are_not_sent_again():
    session = Session().connect()
    line = session.driver.send("G1 X100", session.now)
    session.poll("ok\n")
    session.driver.seal()
    written(session)
    session.poll(f"Resend: {line}\nok\n")
    session.poll(after_s=QUIET_S + 0.01)
    assert [text.split("*")[0] for text in written(session)] == [f"N{line} G4", f"N{line + 1} M111 S1"]


def test_permission_is_asked_before_each_line_that_is_sent_again():
    session = Session().connect()
    for x in range(3):
        session.driver.send(f"G1 X{x}", session.now)
    first = session.driver._connection.unacknowledged[0][0]
    session.poll(f"Resend: {first}\nok\n")
    written(session)
    answers = iter([True, False])
    session.now += QUIET_S + 0.01
    session.driver.poll(session.now, lambda: next(answers))
    assert len(written(session)) == 1


def test_the_last_lines_of_a_program_are_sent_again_before_its_end_is():
    session = Session().connect()
    line = session.driver.send("G1 X1", session.now)
    session.poll(f"Resend: {line}\nok\n")
    session.driver.run("G4", "M104 S0")
    written(session)
    session.poll()
    assert session.port.taken() == []  # not even the end goes before the lost line
    session.poll(after_s=QUIET_S + 0.01)
    assert session.port.taken() == ["G1 X1", "G4", "M104 S0", "M111 S1"]


# --- nothing queues behind bytes that the port does not take ---


def test_nothing_is_sent_behind_pending_bytes_and_a_stop_drops_them():
    session = Session().connect()
    session.port.wants_write = True
    assert not session.driver.can_send("G1 X1")
    session.driver.stop("M104 S0", now=session.now)
    assert session.port.dropped == 1
    session.port.wants_write = True
    session.driver.kill()
    assert session.port.dropped == 2
    assert session.port.written.endswith(b"\nM112\n")
    session.port.written = b""
    session.poll(after_s=1.0)
    session.poll("start\nok\n")
    assert session.port.written == b""  # nothing follows M112


def test_pending_bytes_of_a_move_wait_for_the_permit(gcode):
    """The worker's clock stands still: a permit that is valid stays so, however busy the computer is."""
    now = 1000.0

    class Port:
        wants_write, flushed = True, 0

        def flush(self):
            self.flushed += 1

    machine = Machine(PROFILE, "/nowhere", "", PermitGuard(PROFILE.id, KEY), clock=lambda: now)
    machine._transport = Port()
    machine._flush()
    assert machine._transport.flushed == 1
    program = gcode(LONG)
    machine._guard.accept(program.digest, now)
    machine._execution = prepare(program, program.digest, PROFILE, 1.0, "job", print)
    assert not machine.may_flush()
    machine._flush()
    assert machine._transport.flushed == 1
    challenge = machine.snapshot().challenge
    machine.on_permit(sign(Permit(PROFILE.id, 1, 1, challenge, program.digest), KEY))
    assert machine.may_flush()
    machine._flush()
    assert machine._transport.flushed == 2
    now += PERMIT_VALID_S + 0.001
    assert not machine.may_flush()


def test_one_poll_takes_a_bounded_number_of_bytes():
    class Babbler:
        wants_write, taken = False, 0

        def read(self):
            self.taken += 4096
            return b"x" * 4095 + b"\n"

        def write(self, data):
            pass

    session = Session().connect()
    session.driver._transport = babbler = Babbler()
    session.driver.poll(session.now)
    assert babbler.taken == LONGEST_POLL_BYTES


# --- stop sequences ---


def stopped(barrier, sent, **session_options):
    """A session with a stop that has just begun while the controller was at `sent`."""
    session = Session(**session_options).connect()

    class Streamer:
        def withdraw(self, line):
            pass

    streamer = Streamer()
    streamer.barrier = barrier
    session.driver.send(sent, session.now)
    written(session)
    return session, streamer, Stop(session.driver, streamer, False, session.now)


def test_a_cycle_is_broken_off_again_and_again_and_then_only_m112_helps():
    session, _, stop = stopped(Kind.CYCLE, "G28 W")
    begin = session.now
    progress = Progress.RUNNING
    while progress is Progress.RUNNING:
        session.poll(after_s=0.02)
        progress = stop.step(session.now)
        assert session.now < begin + 1.0
    assert progress is Progress.HOPELESS
    assert session.now - begin == pytest.approx(CYCLE_LIMIT_S, abs=0.03)
    assert session.port.taken().count("M410") == 3  # at once, and every 0.1 s


def test_a_wait_that_begins_after_the_first_m108_is_ended_too():
    session, streamer, stop = stopped(Kind.WAIT, "M109 S200")
    for _ in range(30):
        session.poll(after_s=0.1)
        assert stop.step(session.now) is Progress.RUNNING
    assert session.port.taken().count("M108") >= 3
    assert session.driver._connection.unacknowledged_bytes <= 128  # never more than the controller's buffer
    streamer.barrier = None
    session.poll("ok\n" * 30)
    session.poll("ok\n" * 30)
    assert stop.step(session.now) is Progress.DONE


def test_m112_is_repeated_until_it_is_confirmed():
    session = Session().connect()
    written(session)
    kill = Kill(session.driver, session.now)
    for _ in range(round(KILL_LIMIT_S / 0.1) - 1):
        session.poll(after_s=0.1)
        kill.step(session.now)
    with pytest.raises(CoreError) as caught:
        kill.step(session.now + 0.2)
    assert caught.value.code is ErrorCode.NO_REPLY
    assert session.port.taken().count("M112") >= 5


def test_homing_is_never_sent_behind_motion(bench, gcode):
    b = bench(speed=1.0)
    program = gcode("G28\nG1 X60 F6000\nG28\nG1 X10\n")
    b.begin(program)
    b.shield(program.digest)
    b.wait(lambda: b.machine.snapshot().executed >= 2)
    b.wait(lambda: any(line.count("G28") for line in b.printer.lines()[-2:]))
    homing = next(e["t"] for e in reversed(b.printer.journal()) if e["event"] == "rx" and "G28" in e["line"])
    moved = [e["t"] for e in b.printer.events("motion_end") if e["t"] <= homing]
    began = [e["t"] for e in b.printer.events("motion_begin") if e["t"] < homing]
    assert moved
    assert moved[-1] > began[-1]  # the axes stood still when it arrived
    b.machine.on_stop("", StopLevel.STOP1, "operator", "test")
    stop_s = time.monotonic()
    assert b.result().outcome is Outcome.STOPPED
    b.wait(lambda: b.printer.events("motion_end") and b.printer.events("motion_end")[-1]["t"] > homing)
    assert b.printer.events("motion_end")[-1]["t"] < stop_s + 0.6


@pytest.mark.parametrize("parser", ["Cap:EMERGENCY_PARSER:1", "Cap:EMERGENCY_PARSER:0"])
def test_a_cycle_that_nothing_breaks_off_is_halted(gcode, parser):
    run = Run(Board(answers=("FIRMWARE_NAME:Marlin", parser), stuck=("G28",)), gcode(LONG))
    run.wait(lambda: "G28 W" in run.board.commands())
    stop_s = time.monotonic()
    run.machine.on_stop("", StopLevel.HOLD, "operator", "test")
    assert run.result().outcome is Outcome.STOPPED
    halted = next(t for t, command in run.board.lines if command == "M112")
    assert halted - stop_s < 1.0
    run.close()


# --- latches ---


class Run:
    """One execution of a machine at a board."""

    def __init__(self, board, program, **options):
        self.board, self.results, self.log = board, [], []
        self.machine = Machine(PROFILE, board.port, "", PermitGuard(PROFILE.id, KEY), log=self.log.append, **options)
        self.machine.start()
        self.shield = None
        if program is not None:
            self.wait(lambda: self.machine.connected)
            self.machine.begin(prepare(program, program.digest, PROFILE, 1.0, "job", self.results.append))
            self.shield = Shield(self.machine, program.digest)

    def wait(self, condition, timeout_s=20.0):
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.machine.failure is None, self.machine.failure
            assert time.monotonic() < deadline, (self.machine.snapshot(), self.log, self.board.commands()[-5:])
            time.sleep(0.005)

    def result(self):
        self.wait(lambda: self.results)
        return self.results[0]

    def close(self):
        if self.shield is not None:
            self.shield.close()
        self.machine.close()
        self.board.close()
        assert self.machine.failure is None


def test_a_fault_in_mid_job_halts_the_controller_and_latches(gcode):
    run = Run(Board(), gcode(LONG))
    run.wait(lambda: run.machine.snapshot().executed >= 2)
    run.board.say("Error:Heating failed, system stopped! Heater_ID: 0")
    result = run.result()
    assert (result.outcome, result.code) == (Outcome.FAULT, ErrorCode.CONTROLLER_ERROR)
    run.wait(lambda: run.board.commands()[-1] == "M112")
    snapshot = run.machine.snapshot()
    assert (snapshot.state, snapshot.code) == (MachineState.LATCHED, ErrorCode.CONTROLLER_ERROR)
    run.wait(lambda: run.machine.connected)
    with pytest.raises(CoreError) as caught:
        run.machine.check_free()
    assert caught.value.code is ErrorCode.MACHINE_LATCHED
    run.shield.changes = {"cleared_latch": snapshot.latch_id}
    run.wait(lambda: run.machine.snapshot().state is MachineState.IDLE)
    run.close()


def test_a_connection_that_is_lost_in_mid_job_latches(gcode):
    run = Run(Board(), gcode(LONG))
    run.wait(lambda: run.machine.snapshot().executed >= 2)
    run.board.close()  # the other end: the port hangs up, as when a cable is pulled
    result = run.result()
    assert (result.outcome, result.code) == (Outcome.FAULT, ErrorCode.PORT_UNAVAILABLE)
    assert run.machine.snapshot().state is MachineState.LATCHED
    run.close()


def test_a_fault_before_anything_was_sent_latches_nothing(gcode):
    board = Board()
    run = Run(board, None)
    run.wait(lambda: run.machine.connected)
    program = gcode(LONG)
    run.machine.begin(prepare(program, program.digest, PROFILE, 1.0, "job", run.results.append))
    board.say("Error:something")
    assert run.result().outcome is Outcome.FAULT
    assert run.machine.snapshot().state is not MachineState.LATCHED
    assert "M112" not in board.commands()
    run.close()


def test_stop0_halts_an_idle_machine_once(bench):
    b = bench()
    b.machine.on_stop("", StopLevel.STOP0, "operator", "fire")
    b.wait(lambda: b.printer.events("halted"))
    b.wait(lambda: not b.machine.connected)
    b.wait(lambda: b.machine.connected)
    time.sleep(0.5)
    assert len(b.printer.events("halted")) == 1
    assert b.machine.snapshot().state is MachineState.LATCHED


def test_stop0_halts_a_machine_that_was_stopped_more_gently_before(bench, gcode):
    b = bench()
    program = gcode(LONG)
    b.begin(program)
    b.shield(program.digest)
    b.wait(lambda: b.machine.snapshot().executed >= 2)
    b.machine.on_stop("", StopLevel.HOLD, "operator", "look")
    assert b.result().outcome is Outcome.STOPPED
    b.machine.on_stop("", StopLevel.STOP1, "operator", "off")
    b.wait(lambda: any("M84" in line for line in b.printer.lines()))
    assert not b.printer.events("halted")
    b.machine.on_stop("", StopLevel.STOP0, "operator", "fire")
    b.wait(lambda: b.printer.events("halted"))


def test_stop0_reaches_a_controller_that_is_still_being_connected():
    board = Board(stuck=("M110",))
    run = Run(board, None)
    run.wait(lambda: "M110 N0" in board.commands())
    run.machine.on_stop("", StopLevel.STOP0, "operator", "fire")
    run.wait(lambda: "M112" in board.commands())
    run.close()


def test_a_real_machine_is_not_run_faster_than_it_is():
    run = Run(Board(), None, time_scale=10.0)
    run.wait(lambda: run.machine.snapshot().code is ErrorCode.BAD_PARAMETER)
    assert "time_scale" in run.machine.snapshot().message
    assert "G21" not in run.board.commands()
    run.close()


# --- nothing is left of the job before ---


def test_every_job_begins_with_the_profile_s_modes_and_limits(bench, gcode):
    b = bench()
    program = gcode("G28\nM204 P100\nM900 K5\nG1 X10 F6000\n")
    for _ in range(2):
        b.results.clear()
        b.begin(program)
        shield = b.shield(program.digest)
        result = b.result()
        shield.close()
        b.shields.remove(shield)
        assert (result.outcome, result.executed) == (Outcome.COMPLETED, len(program))
        time.sleep(0.2)
    sent = [line.split("*")[0].split(" ", 1)[-1] for line in b.printer.lines()]
    homings = [index for index, command in enumerate(sent) if command == "G28 W"]
    begin = preamble(PROFILE)
    assert len(homings) == 2
    for index in homings:
        assert tuple(sent[index - len(begin) : index]) == begin
    assert {"G21", "G90", "M83", "G92 E0", "M220 S100", "M221 S100", "M900 K0"} <= set(begin)
    assert "M204 P1250 R1250 T1250" in begin
    assert "M201 X1000 Y1000 Z200 E5000" in begin


def test_the_preamble_counts_as_no_instruction(gcode):
    program = gcode("M104 S0\n")
    streamer = prepare(program, program.digest, PROFILE, 1.0, "", print).streamer
    assert not streamer.begun
    for line in range(1, len(preamble(PROFILE)) + 1):
        assert streamer.peek(0.0).instruction == -1
        streamer.take(line, 0.0, 1.0)
    streamer.on_acknowledged(99, None, 0.0)
    streamer.advance(1.0)
    assert (streamer.begun, streamer.sent, streamer.acknowledged, streamer.executed) == (True, 0, 0, 0)
