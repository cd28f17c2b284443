"""The worker at a GRBL mill on a pseudo-terminal, without ROS; and how a program becomes GRBL's lines."""

import math
import os
import re
import sys
import time
from pathlib import Path

import pytest

from industriverse_core.errors import CoreError, ErrorCode
from industriverse_core.gcode import read_gcode
from industriverse_core.machine import Box, load_machine
from industriverse_core.motion import plan_motion
from industriverse_core.permit import StopLevel
from industriverse_core.program import Op, build_program
from industriverse_core.states import Outcome
from industriverse_core.telemetry import MachineState
from machine_node.grbl.approach import approach
from machine_node.grbl.dialect import DIALECT, check_sendable
from machine_node.grbl.preamble import preamble
from machine_node.machine import Machine
from machine_node.permit_guard import PermitGuard
from machine_node.preparation import prepare
from machine_node.streaming.pieces import LONGEST_PIECE_S, QUEUE_LIMIT_S, Kind, PieceMaker
from machine_node.streaming.witness import Witness

sys.path.insert(0, str(Path(__file__).parent))
from boards import KEY, Shield
from mills import MillThread

PROFILE = load_machine("grbl_mill")
SHORT = "G0 Z5\nG1 X4 Y0 F1200\nG1 X4 Y4\nG1 X0 Y0\n"
LONG = "G0 Z5\n" + "G1 X100 Y0 F1200\nG1 X0 Y0\n" * 30


def program_of(text):
    return read_gcode(text.encode(), "test.ngc", "rs274")


def all_pieces(text, speed_scale=1.0):
    program = program_of(text)
    maker = PieceMaker(program, plan_motion(program, PROFILE), PROFILE, 1.0, DIALECT)
    pieces = []
    while (piece := maker.next(speed_scale)) is not None:
        pieces.append(piece)
    return pieces


# --- words ---


def test_moves_are_cut_and_every_line_has_its_g_word_and_feed():
    pieces = [piece for piece in all_pieces("G0 Z5\nG1 X30 F600\nG3 X30 Y20 I0 J10\n") if piece.kind is Kind.MOTION]
    assert all(piece.duration_s <= LONGEST_PIECE_S + 1e-9 for piece in pieces)
    assert all(re.fullmatch(r"G0Z[\d.]+|G1X[\d.]+F600|G17G3I.*F600", piece.text) for piece in pieces)
    for piece in pieces:
        if piece.text.startswith("G17G3"):
            x, y, _ = piece.end_m
            assert math.hypot(x - 0.03, y - 0.01) == pytest.approx(0.01, abs=1e-9)


def test_arcs_name_their_plane():
    texts = [piece.text for piece in all_pieces("G18\nG1 X1 F600\nG2 X5 Z0 I2 K0\n") if "G2" in piece.text]
    assert texts
    assert all(re.fullmatch(r"G18G2K[-\d.]+I[-\d.]+X[-\d.]+Y[-\d.]+Z[-\d.]+F600", text) for text in texts)


def test_spindle_coolant_and_dwells_are_said_as_grbl_reads_them():
    texts = [piece.text for piece in all_pieces("T1 M6\nM3 S8000\nM8\nG4 P0.12\nG0 Z5\nM9\nM5\nM0\nM30\n")]
    assert texts[:6] == ["T1", "M3S8000", "M8", "G4P0.05", "G4P0.05", "G4P0.02"]
    assert [text for text in texts if not text.startswith("G0")][6:] == ["M9", "M5", "G4P0", "M0", ""]


@pytest.mark.parametrize(("scale", "feed", "rapid"), [(1.0, 1.0, 1.0), (0.555, 0.55, 0.5), (0.05, 0.05, 0.05)])
def test_a_reduced_speed_is_in_the_durations_and_only_below_the_overrides_in_the_feed(scale, feed, rapid):
    pieces = [piece for piece in all_pieces("G0 Z5\nG1 X30 F600\n", scale) if piece.kind is Kind.MOTION]
    plan = plan_motion(program_of("G0 Z5\nG1 X30 F600\n"), PROFILE)
    assert sum(piece.duration_s for piece in pieces if piece.instruction == 0) == pytest.approx(
        plan.duration_s[0] / rapid
    )
    assert sum(piece.duration_s for piece in pieces if piece.instruction == 1) == pytest.approx(
        plan.duration_s[1] / feed
    )
    assert pieces[-1].text.endswith("F300" if scale == 0.05 else "F600")
    assert pieces[0].text.startswith("G1" if scale == 0.05 else "G0")


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ([{"op": Op.HOME, "target": 7}], "HOME"),
        ([{"op": Op.SET_HEATER, "target": 1, "value": 200.0}], "SET_HEATER"),
        ([{"op": Op.STRAIGHT_FEED, "x_m": 0.1, "feed_m_s": 0.01, "extrude_m3": 1e-9}], "filament"),
        (
            [
                {"op": Op.CHANGE_TOOL, "target": 1},
                {"op": Op.STRAIGHT_FEED, "x_m": 0.1, "feed_m_s": 0.01},
                {"op": Op.CHANGE_TOOL, "target": 2},
            ],
            "no tool changer",
        ),
    ],
)
def test_what_a_mill_is_never_sent_is_refused_by_name(rows, word):
    with pytest.raises(CoreError, match=word):
        check_sendable(build_program(rows))


def test_a_machine_that_brakes_for_long_gets_the_queue_that_it_needs_and_no_more():
    queue = DIALECT.queue
    assert queue.allowed_s(0.01) == queue.target_s
    for tail_s in (0.05, 0.1, 0.167, 0.5):
        planned_s = queue.allowed_s(tail_s) - tail_s
        assert planned_s <= QUEUE_LIMIT_S + 1e-9
        assert planned_s >= min(tail_s, QUEUE_LIMIT_S) - 1e-9  # enough to brake in


# --- where a program begins ---


def way_of(text, position_m):
    begin = approach(program_of(text), PROFILE, 1.0, position_m)
    ends = []
    while begin.way is not None and (piece := begin.way.next(1.0)) is not None:
        ends.append(piece.end_m)
    return begin, ends


def test_a_tool_that_stands_elsewhere_goes_up_across_and_down():
    begin, ends = way_of("G0 Z5\nG0 X10\n", (0.04, 0.03, 0.02))
    assert begin.begin_m == (0.0, 0.0, 0.005)
    assert ends[-1] == pytest.approx((0.0, 0.0, 0.005))
    assert all(z >= 0.02 - 1e-9 for x, y, z in ends if (x, y) != pytest.approx((0.0, 0.0), abs=1e-9))
    _, ends = way_of("G0 Z5\nG0 X10\n", (0.04, 0.03, -0.001))
    assert all((x, y) == pytest.approx((0.04, 0.03)) for x, y, z in ends if z < 0.005 - 1e-9)


def test_a_tool_at_the_work_zero_begins_at_once():
    begin, ends = way_of("G1 Z-1 F100\n", (0.0, 0.00001, 0.0))
    assert (begin.way, begin.begin_m, ends) == (None, (0.0, 0.0, 0.0), [])


def test_a_tool_length_raises_the_way_so_that_the_tip_is_where_the_tool_would_be():
    begin, ends = way_of("G43.1 Z10\nG0 Z5\nG0 X10\n", (0.04, 0.03, 0.002))
    assert begin.begin_m == pytest.approx((0.0, 0.0, 0.015))
    assert all(z >= 0.015 - 1e-9 for x, y, z in ends if (x, y) != pytest.approx((0.04, 0.03), abs=1e-9))
    begin, ends = way_of("G43.1 Z10\nG1 Z-1 F100\n", (0.0, 0.0, 0.01))
    assert (begin.way, begin.begin_m) == (None, (0.0, 0.0, 0.01))
    with pytest.raises(CoreError):  # the tip stands 10 mm below the work zero
        way_of("G43.1 Z10\nG1 Z-1 F100\n", (0.0, 0.0, 0.0))


@pytest.mark.parametrize("text", ["G0 X10\nG0 Z5\n", "G1 Z-1 F100\n", "G0 X0 Y5 Z5\n"])
def test_a_program_that_begins_elsewhere_without_a_retract_is_refused(text):
    with pytest.raises(CoreError) as caught:
        approach(program_of(text), PROFILE, 1.0, (0.04, 0.03, 0.02))
    assert caught.value.code is ErrorCode.POSITION_MISMATCH


@pytest.mark.parametrize(
    ("position_m", "enters"),
    [((0.04, 0.03, 0.02), True), ((0.04, 0.03, 0.031), False), ((0.04, 0.0, 0.02), False), ((0.02, 0.015, 0.04), False),
     ((0.02, 0.015, 0.0), True), ((0.0, 0.03, 0.0), False)],
)  # fmt: skip
def test_the_way_to_the_begin_stays_out_of_what_is_kept_clear(position_m, enters):
    """A clamp of 10 x 10 x 30 mm halfway; the thickest tool has 6 mm. At 40 mm over it the tool stands clear."""
    clamp = {"name": "clamp", "x_minimum": "15 mm", "x_maximum": "25 mm", "y_minimum": "10 mm", "y_maximum": "20 mm"}
    box = Box.model_validate(clamp | {"z_maximum": "30 mm"})
    profile = PROFILE.model_copy(update={"keep_out": (box,)})
    program = program_of("G0 Z5\nG0 X10\n")
    if enters:
        with pytest.raises(CoreError, match="enters 'clamp'") as caught:
            approach(program, profile, 1.0, position_m)
        assert caught.value.code is ErrorCode.POSITION_MISMATCH
    else:
        assert approach(program, profile, 1.0, position_m).way is not None


def test_the_witness_believes_no_single_report_and_no_second_one_off_the_path():
    witness = Witness()
    assert witness.judge((9.0, 9.0, 9.0), True) is None  # nothing is known
    witness.start_from((0.0, 0.0, 0.0))
    for piece in all_pieces("G1 X30 F600\n"):
        witness.on_sent(piece)
    assert witness.judge((0.02, 0.00005, 0.0), False) is None
    assert witness.judge((0.02, 0.0003, 0.0), False) is None
    assert witness.judge((0.02, 0.0, 0.0), False) is None
    assert witness.judge((0.02, 0.0003, 0.0), False) is None
    assert witness.judge((0.021, 0.0003, 0.0), False).code is ErrorCode.POSITION_MISMATCH
    assert witness.judge((0.03, 0.0, 0.0), True) is None


# --- the worker ---


class Run:
    """A machine at a mill, and permits for one program."""

    def __init__(self, text, begin=True, **options):
        self.thread = MillThread(**options)
        self.mill, self.results, self.log, self.shield = self.thread.mill, [], [], None
        self.machine = Machine(PROFILE, self.thread.port, "", PermitGuard(PROFILE.id, KEY), log=self.log.append)
        self.machine.start()
        self.wait(lambda: self.machine.connected)
        self.program = program_of(text)
        if begin:
            self.begin()

    def begin(self):
        program = self.program
        self.machine.begin(prepare(program, program.digest, PROFILE, 1.0, "job", self.results.append))
        self.shield = Shield(self.machine, program.digest, machine_id=PROFILE.id)

    def wait(self, condition, timeout_s=30.0):
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.machine.failure is None, self.machine.failure
            assert time.monotonic() < deadline, (self.machine.snapshot(), self.log, self.mill.sent()[-5:])
            time.sleep(0.005)

    def executed(self, number):
        self.wait(lambda: self.results or self.machine.snapshot().executed >= number)
        assert not self.results, self.results
        time.sleep(0.3)
        return self

    def result(self):
        self.wait(lambda: self.results)
        return self.results[0]

    def motion_lines(self):
        return [line for line in self.mill.sent() if line.startswith(("G0", "G1X", "G1Y", "G1Z"))]


@pytest.fixture
def run():
    made = []

    def start(*arguments, **options):
        made.append(Run(*arguments, **options))
        return made[-1]

    yield start
    for item in made:
        if item.shield is not None:
            item.shield.close()
        item.machine.close()
        item.thread.close()
        assert item.machine.failure is None


def test_a_program_is_executed_whole_and_leaves_the_spindle_off(run):
    r = run("M3 S8000\n" + SHORT)
    result = r.result()
    assert (result.outcome, result.executed) == (Outcome.COMPLETED, len(r.program)), result
    sent = r.mill.sent()
    expected = list(preamble(r.program))
    assert sent[4 : 4 + len(expected)] == expected
    assert sent[-3:] == ["G4P0", "M5", "M9"]
    assert r.mill.position == pytest.approx([0.0, 0.0, 5.0])
    snapshot = r.machine.snapshot()
    assert snapshot.state is MachineState.IDLE
    assert snapshot.position_m == pytest.approx((0.0, 0.0, 0.005))
    assert snapshot.reported_position_m == pytest.approx((0.0, 0.0, 0.005))
    assert snapshot.heaters == ()


def test_tool_lengths_are_said_and_the_tip_is_followed(run):
    r = run("G0 Z5\nG1 X10 F1200\nG43.1 Z2.5\nG1 X20\nG49\nG1 X10\n", start=(30.0, 20.0, 1.0))
    assert r.result().outcome is Outcome.COMPLETED, r.result()
    assert [line for line in r.mill.sent() if "G43.1" in line or line == "G49"] == ["G43.1Z2.5", "G49"]
    assert r.mill.position == pytest.approx([10.0, 0.0, 5.0])


def test_a_program_runs_in_its_work_system(run):
    r = run("G55\n" + SHORT)
    assert r.result().outcome is Outcome.COMPLETED, r.result()
    assert [line for line in r.mill.sent() if "G55" in line] == ["G21G90G94G17G55G40G49G80"]
    assert not any("G54" in line for line in r.mill.sent())
    with pytest.raises(CoreError, match=r"G59\.1"):
        check_sendable(program_of("G59.1 G0 Z5\nG0 X5\n"))


@pytest.mark.parametrize(("text", "by"), [(SHORT, "profile"), ("G10 L2 P2 X1 Y2 Z3\nG55\n" + SHORT, "program")])
def test_an_origin_that_lies_elsewhere_is_refused_before_anything_moves(run, text, by):
    offset = (-300.0, -180.0, -40.5) if by == "profile" else (-300.0, -180.0, -40.0)
    r = run(text, begin=False, offset=offset)
    with pytest.raises(CoreError, match=f"by the {by}") as caught:
        r.begin()
    assert caught.value.code is ErrorCode.POSITION_MISMATCH
    assert r.motion_lines() == []
    assert any("Z of G54 is -40.500 mm" in line for line in r.log) == (by == "profile")


def test_a_gap_in_the_permits_holds_and_the_job_goes_on(run):
    r = run("G0 Z5\n" + "G1 X40 Y0 F1200\nG1 X0 Y0\n").executed(1)
    r.shield.sending = False
    r.wait(lambda: r.mill.state == "Hold")
    assert r.machine.snapshot().state is MachineState.HOLDING
    where, lines = list(r.mill.position), len(r.mill.lines)
    time.sleep(0.3)
    assert (r.mill.position, len(r.mill.lines)) == (where, lines)
    r.shield.sending = True
    assert r.result().outcome is Outcome.COMPLETED
    assert r.result().executed == len(r.program)


def test_a_lapse_latches_drops_the_queue_and_keeps_the_position(run):
    r = run(LONG).executed(1)
    r.shield.sending = False
    result = r.result()
    assert (result.outcome, result.code) == (Outcome.STOPPED, ErrorCode.PERMIT_LAPSED)
    assert r.mill.state == "Idle"  # held before the reset: no alarm
    where, lines = list(r.mill.position), len(r.motion_lines())
    r.shield.sending = True
    time.sleep(0.4)
    assert (r.mill.position, len(r.motion_lines())) == (where, lines)
    assert r.machine.snapshot().state is MachineState.LATCHED
    with pytest.raises(CoreError) as caught:
        r.begin()
    assert caught.value.code is ErrorCode.MACHINE_LATCHED


@pytest.mark.parametrize("level", [StopLevel.HOLD, StopLevel.STOP1])
def test_a_stop_request_ends_in_a_reset_of_a_mill_at_rest(run, level):
    r = run(LONG).executed(1)
    r.machine.on_stop("", level, "operator", "look")
    assert (r.result().outcome, r.result().code) == (Outcome.STOPPED, ErrorCode.STOP_REQUESTED)
    assert [byte for _, byte in r.mill.real_time if byte in b"!\x18"][-2:] == list(b"!\x18")
    assert r.mill.state == "Idle"
    assert r.machine.connected


def test_stop0_resets_at_once_and_the_next_job_homes_first(run):
    r = run(LONG).executed(1)
    r.machine.on_stop("", StopLevel.STOP0, "operator", "hand in the machine")
    assert (r.result().outcome, r.result().code) == (Outcome.STOPPED, ErrorCode.STOP_REQUESTED)
    assert b"!" not in bytes(byte for _, byte in r.mill.real_time)
    r.wait(lambda: r.machine.connected)
    assert r.mill.state == "Alarm"
    r.shield.changes = {"cleared_latch": r.machine.snapshot().latch_id}
    r.wait(lambda: r.machine.snapshot().state is MachineState.IDLE)
    r.shield.close()
    r.results.clear()
    r.program = program_of(SHORT)
    r.begin()
    assert r.result().outcome is Outcome.COMPLETED, r.result()
    sent = r.mill.sent()
    assert "$H" in sent
    assert not [line for line in sent[sent.index("$H") - 4 : sent.index("$H")] if line.startswith(("G0", "G1"))]


def test_a_locked_mill_without_homing_is_refused_by_name(run):
    r = run(SHORT, begin=False, homed=False, settings={22: 0})
    with pytest.raises(CoreError) as caught:
        r.begin()
    assert caught.value.code is ErrorCode.CONTROLLER_LOCKED
    assert not r.motion_lines()


def test_a_tool_in_the_wrong_place_is_refused_before_anything_is_sent(run):
    r = run("G0 X10\nG0 Z5\n", begin=False, start=(30.0, 20.0, 10.0))
    with pytest.raises(CoreError) as caught:
        r.begin()
    assert caught.value.code is ErrorCode.POSITION_MISMATCH
    assert r.machine.snapshot().state is MachineState.IDLE


def test_a_tool_elsewhere_is_brought_to_the_begin_under_the_permit(run):
    r = run(SHORT, start=(8.0, 6.0, 2.0))
    result = r.result()
    assert (result.outcome, result.executed) == (Outcome.COMPLETED, len(r.program))
    lines = r.motion_lines()
    assert lines[0].startswith("G0Z")
    assert re.fullmatch(r"G0X[\d.]+Y[\d.]+", next(line for line in lines if "X" in line))


@pytest.mark.parametrize(
    ("said", "code"),
    [("ALARM:1", ErrorCode.CONTROLLER_ERROR), ("Grbl 1.1h ['$' for help]", ErrorCode.CONTROLLER_RESET)],
)
def test_an_alarm_and_a_reset_in_mid_job_are_faults_that_latch(run, said, code):
    r = run(LONG).executed(1)
    r.mill.say(said)
    assert (r.result().outcome, r.result().code) == (Outcome.FAULT, code)
    assert r.machine.snapshot().state is MachineState.LATCHED
    r.wait(lambda: r.machine.connected)
    lines = len(r.motion_lines())
    time.sleep(0.3)
    assert len(r.motion_lines()) == lines


def test_a_cable_that_is_pulled_is_a_fault_that_latches(run):
    r = run(LONG).executed(1)
    os.close(r.machine._transport._descriptor)
    r.machine._transport._serial.fd = r.machine._transport._descriptor = os.open(os.devnull, os.O_RDONLY)
    assert (r.result().outcome, r.result().code) == (Outcome.FAULT, ErrorCode.PORT_UNAVAILABLE)
    assert r.machine.snapshot().state is MachineState.LATCHED


def test_a_mill_that_falls_silent_is_a_fault_within_two_seconds(run):
    r = run(LONG).executed(1)
    r.mill.mute = True
    r.mill.spoil = lambda line: None
    begin = time.monotonic()
    assert (r.result().outcome, r.result().code) == (Outcome.FAULT, ErrorCode.NO_REPLY)
    assert time.monotonic() - begin < 5.0


@pytest.mark.parametrize(
    ("spoil", "codes"),
    [
        (lambda line: line.replace("X", "\x7f"), {ErrorCode.CONTROLLER_ERROR}),  # not readable
        (lambda line: re.sub(r"X\d", "X7", line), {ErrorCode.POSITION_MISMATCH}),  # readable, and wrong
        (lambda line: None, {ErrorCode.POSITION_MISMATCH, ErrorCode.PROTOCOL}),  # lost whole
    ],
)
def test_a_spoilt_line_stops_the_job_by_name(run, spoil, codes):
    r = run(LONG).executed(1)
    r.mill.spoil = lambda line: spoil(line) if line.find("X") > 0 else line
    result = r.result()
    assert result.outcome is Outcome.STOPPED
    assert result.code in codes
    assert r.machine.snapshot().state is MachineState.LATCHED
    assert r.mill.state == "Idle"  # a controlled stop


def test_reduced_permits_slow_what_is_queued_too(run):
    r = run(LONG).executed(1)
    r.shield.changes = {"speed_scale": 0.4}
    r.wait(lambda: r.mill.overrides[:2] == [40, 25])
    assert all(line.endswith("F1200") for line in r.motion_lines() if line.startswith("G1X"))
    r.machine.cancel("enough")
    assert r.result().outcome is Outcome.STOPPED
    assert r.machine.snapshot().state is MachineState.IDLE


def test_the_queue_stays_within_its_limit_by_the_mill_s_own_account(run):
    r = run(LONG).executed(1)
    worst = 0.0
    for _ in range(200):
        at, queued_s = list(r.mill.position), 0.0
        for target, speed in list(r.mill.blocks):
            queued_s += math.dist(at, target) / speed
            at = target
        worst = max(worst, queued_s)
        time.sleep(0.005)
    assert 0.05 < worst <= QUEUE_LIMIT_S + LONGEST_PIECE_S
