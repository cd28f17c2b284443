import math
import re
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.errors import CoreError, MachineError
from industriverse_core.machine import load_machine
from industriverse_core.motion import plan_motion
from industriverse_core.program import COLUMNS, Op, Plane, Program, build_program, normalise
from industriverse_core.units import filament_area_m2
from machine_node.marlin.dialect import DIALECT, check_sendable
from machine_node.preparation import prepare
from machine_node.streaming.pieces import LONGEST_PIECE_S, QUEUE_LIMIT_S, Kind, PieceMaker
from machine_node.streaming.streamer import Streamer

PROFILE = load_machine("prusa_mk3s")
AREA = filament_area_m2(1.75e-3)


def all_pieces(program, time_scale=1.0, speed_scale=1.0):
    maker = PieceMaker(program, plan_motion(program, PROFILE), PROFILE, time_scale, DIALECT)
    pieces = []
    while (piece := maker.next(speed_scale)) is not None:
        pieces.append(piece)
    return pieces


def words(text):
    return {letter: float(number) for letter, number in re.findall(r"([A-Z])(-?[\d.]+)", text)}


@pytest.mark.parametrize("time_scale", [1.0, 10.0])
def test_a_long_move_is_cut_into_short_collinear_pieces(gcode, time_scale):
    program = gcode("G28\nG1 X200 Y100 E8 F3000\n")
    pieces = [piece for piece in all_pieces(program, time_scale) if piece.kind is Kind.MOTION]
    assert len(pieces) > 1
    assert all(piece.duration_s <= LONGEST_PIECE_S + 1e-9 for piece in pieces)
    plan = plan_motion(program, PROFILE)
    assert sum(piece.duration_s for piece in pieces) * time_scale == pytest.approx(plan.total_s)
    for piece in pieces:
        x, y, _ = piece.end_m
        assert y == pytest.approx(x / 2, abs=1e-9)
    assert pieces[-1].end_m == (0.2, 0.1, 0.0)
    assert words(pieces[-1].text)["X"] == 200.0
    assert sum(words(piece.text).get("E", 0.0) for piece in pieces) == pytest.approx(8.0, abs=1e-5)


def test_filament_does_not_drift_over_many_small_moves(gcode):
    text = "M83\nG28\n" + "".join(f"G1 X{x / 100:.2f} E0.0000149 F1800\n" for x in range(1, 3001))
    program = gcode(text)
    fed = sum(words(piece.text).get("E", 0.0) for piece in all_pieces(program))
    assert fed == pytest.approx(program.extrude_m3.sum() / AREA * 1e3, abs=2e-5)


def test_a_reduced_speed_makes_more_pieces_of_the_same_length_in_time(gcode):
    program = gcode("G28\nG1 X200 F6000\n")
    pieces = [piece for piece in all_pieces(program, speed_scale=0.25) if piece.kind is Kind.MOTION]
    assert all(piece.duration_s <= LONGEST_PIECE_S + 1e-9 for piece in pieces)
    assert words(pieces[0].text)["F"] == 1500.0


def test_an_arc_is_cut_by_angle_and_stays_on_its_circle(gcode):
    program = gcode("G28\nG1 X100 Y50 F6000\nG3 X100 Y50 I-30 J0 F1200\n")
    pieces = [piece for piece in all_pieces(program) if piece.text.startswith("G3")]
    assert len(pieces) > 10
    for piece in pieces:
        x, y, _ = piece.end_m
        assert math.hypot(x - 0.07, y - 0.05) == pytest.approx(0.03, abs=1e-9)
        centre = words(piece.text)
        assert piece.start_m[0] + centre["I"] * 1e-3 == pytest.approx(0.07, abs=1e-6)
        assert piece.start_m[1] + centre["J"] * 1e-3 == pytest.approx(0.05, abs=1e-6)
        assert piece.duration_s <= LONGEST_PIECE_S + 1e-9


def test_text_has_no_exponents_and_repeats_no_feed(gcode):
    program = gcode("G28\nM83\nG1 X0.001 E0.00002 F6000\nG1 X50.5 F6000\nG1 X51\n")
    texts = [piece.text for piece in all_pieces(program)]
    assert not any("e" in text for text in texts)
    assert [text for text in texts if "F" in text] == [texts[1]]


def test_barriers_are_what_the_controller_takes_its_time_for(gcode):
    program = gcode("M104 S200\nM109 S200\nG28\nG80\nG4 P40\nM106 S128\nM84\n")
    kinds = [piece.kind for piece in all_pieces(program)]
    assert kinds == [Kind.INSTANT, Kind.WAIT, Kind.CYCLE, Kind.CYCLE, Kind.DWELL, Kind.INSTANT, Kind.WAIT]


def test_a_long_dwell_is_cut_so_that_a_stop_need_not_wait_for_it(gcode):
    pieces = [piece for piece in all_pieces(gcode("G28\nG4 P12345\n")) if piece.kind is Kind.DWELL]
    assert all(piece.duration_s <= LONGEST_PIECE_S + 1e-9 for piece in pieces)
    assert sum(int(piece.text.removeprefix("G4 P")) for piece in pieces) == 12345
    assert [piece.last for piece in pieces] == [False] * (len(pieces) - 1) + [True]


def test_what_a_printer_is_never_sent_is_refused():
    with pytest.raises(MachineError, match="START_SPINDLE"):
        check_sendable(build_program([{"op": Op.START_SPINDLE_CLOCKWISE, "value": 100.0}]))
    with pytest.raises(MachineError, match="UNKNOWN"):
        check_sendable(build_program([{"op": Op.UNKNOWN}]))
    with pytest.raises(MachineError, match="USE_TOOL_LENGTH_OFFSET, which a Marlin printer is not sent"):
        check_sendable(build_program([{"op": Op.USE_TOOL_LENGTH_OFFSET, "value": 0.01}]))


class Controller:
    """Executes what it gets at its own pace: one block after the other, an ok when a block enters the planner."""

    def __init__(self, pace, blocks=16, advanced=True):
        self.pace, self.capacity, self.advanced = pace, blocks - 1, advanced
        self.free_at = []  # end times of the blocks in the planner
        self.end = 0.0
        self.waiting = []  # (line, piece) not yet taken
        self.dwelling = 0  # line of the dwell that has begun
        self.done = []

    def receive(self, line, piece):
        self.waiting.append((line, piece))

    def run(self, now):
        """Acknowledgements up to now: (line, planner_free)."""
        acknowledged = []
        while self.waiting:
            self.free_at = [end for end in self.free_at if end > now]
            line, piece = self.waiting[0]
            if piece.kind is Kind.MOTION:
                if len(self.free_at) >= self.capacity:
                    break
                if piece.blocks:
                    self.end = max(self.end, now) + piece.duration_s * self.pace
                    self.free_at.append(self.end)
            elif piece.kind is not Kind.INSTANT:
                if self.end > now:
                    break
                if piece.kind is Kind.DWELL and self.dwelling != line:
                    self.dwelling, self.end = line, now + piece.duration_s
                    break
            self.waiting.pop(0)
            self.done.append(piece)
            acknowledged.append((line, self.capacity - len(self.free_at) if self.advanced else None))
        return acknowledged

    def queued(self, now):
        waiting = sum(piece.duration_s * self.pace for _, piece in self.waiting if piece.kind is Kind.MOTION)
        return max(0.0, self.end - now) + waiting


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["move", "move", "move", "move", "fan", "dwell", "home", "heat"]),
        st.integers(0, 200),
        st.integers(0, 200),
        st.integers(600, 9000),
    ),
    min_size=1,
    max_size=25,
)


def program_of(moves):
    rows = [{"op": Op.HOME, "target": 7}]
    for kind, x, y, feed in moves:
        if kind == "move":
            point = {"x_m": x * 1e-3, "y_m": y * 1e-3, "feed_m_s": feed / 6e4, "extrude_m3": 1e-10 * (x % 3)}
            rows.append({"op": Op.STRAIGHT_FEED, **point})
        elif kind == "fan":
            rows.append({"op": Op.SET_FAN, "value": 0.5})
        elif kind == "dwell":
            rows.append({"op": Op.DWELL, "value": x * 1e-3})
        elif kind == "home":
            rows.append({"op": Op.HOME, "target": 7, "x_m": 0.0, "y_m": 0.0, "z_m": 0.0})
        else:
            rows.append({"op": Op.WAIT_HEATER, "target": 1, "value": 200.0})
    return build_program(rows)


def drive(program, controller, random, idle, delays):
    """Run the streamer against a controller; the true queue and every finished piece."""
    streamer = Streamer(program, plan_motion(program, PROFILE), PROFILE, 1.0, DIALECT, idle)
    now, line, worst, pending, executed = 0.0, 0, 0.0, [], []
    while not streamer.finished:
        for number, free in controller.run(now):
            pending.append((now + random.choice(delays), number, free))
        while pending and pending[0][0] <= now:
            _, number, free = pending.pop(0)
            streamer.on_acknowledged(number, free, now)
        streamer.advance(now)
        executed.append(streamer.executed)
        while (piece := streamer.peek(now)) is not None:
            number = 0
            if piece.text:
                line += 1
                number = line
                controller.receive(number, piece)
            streamer.take(number, now, 1.0)
        worst = max(worst, controller.queued(now))
        assert streamer.executed <= streamer.acknowledged <= streamer.sent
        now += random.choice([0.002, 0.005, 0.01])
        assert now < 2000.0
    assert executed == sorted(executed)
    return streamer, worst


@settings(max_examples=40, deadline=None)
@given(MOVES, st.integers(0, 10**6))
def test_the_queue_stays_below_its_limit_and_everything_is_sent_once_in_order(moves, seed):
    program = program_of(moves)
    controller = Controller(pace=1.0)
    streamer, worst = drive(program, controller, Random(seed), 15, [0.0])
    assert worst <= QUEUE_LIMIT_S
    assert streamer.sent == streamer.acknowledged == streamer.executed == len(program)
    order = [piece.instruction for piece in controller.done]
    assert order == sorted(order)
    assert sorted(set(order)) == list(range(len(program)))
    assert all(b.start_m == a.end_m for a, b in zip(controller.done, controller.done[1:], strict=False))


@settings(max_examples=40, deadline=None)
@given(MOVES, st.floats(0.8, 2.0), st.integers(0, 10**6))
def test_a_controller_slower_than_planned_is_followed_by_its_reports(moves, pace, seed):
    program = program_of(moves)
    _, worst = drive(program, Controller(pace=pace), Random(seed), 15, [0.0, 0.003, 0.01])
    # until the pace is known; one piece is known only to within its own duration
    assert worst <= (QUEUE_LIMIT_S + LONGEST_PIECE_S) * max(1.0, pace)


@pytest.mark.parametrize("pace", [1.3, 1.6, 2.0])
def test_the_slowdown_is_learnt_from_the_reports(pace):
    class Watched(Controller):
        seen = 0.0

        def queued(self, now):
            queued_s = super().queued(now)
            self.seen = max(self.seen, queued_s if now > 1.0 else 0.0)
            return queued_s

    controller = Watched(pace=pace)
    program = program_of([("move", 200 * (n % 2), 100 * (n % 3), 3000) for n in range(8)])
    drive(program, controller, Random(1), 15, [0.0, 0.003, 0.01])
    assert 0.1 < controller.seen <= QUEUE_LIMIT_S + LONGEST_PIECE_S


def test_a_piece_longer_than_the_queue_s_limit_goes_into_an_empty_queue():
    program = program_of([("move", 200, 100, 9000), ("move", 0, 0, 9000)])
    streamer, _ = drive(program, Controller(pace=3.9), Random(1), 15, [0.0])
    assert streamer.finished


def test_a_barrier_waits_for_the_controller_s_word_that_it_stands_still(gcode):
    program = gcode("G28\nG1 X10 F6000\nG1 X20\nG28\nM109 S200\nG1 X30\nM109 S210\n")
    texts = [piece.text.split(" ")[0] for piece in all_pieces(program)]
    assert [text for n, text in enumerate(texts) if n == 0 or text != texts[n - 1]] == [
        "G28", "G1", "G4", "G1", "G4", "G28", "M109", "G1", "G4", "G1", "G4", "M109",
    ]  # fmt: skip
    kinds = [piece.kind for piece in all_pieces(program) if piece.text == "G4"]
    # how far the first move after homing goes, nobody knows
    assert kinds == [Kind.CYCLE, Kind.DWELL, Kind.CYCLE, Kind.DWELL]

    streamer = Streamer(program, plan_motion(program, PROFILE), PROFILE, 1.0, DIALECT)
    now, line = 0.0, 0
    while streamer.sent < 3:  # the moves before the second G28
        now += 0.01
        while streamer.peek(now) is not None and streamer.sent < 3:
            line += 1
            streamer.take(line, now, 1.0)
            streamer.on_acknowledged(line, None, now)
    now += 1.0
    assert streamer.peek(now).text == "G4"
    streamer.take(line + 1, now, 1.0)
    assert streamer.peek(now + 100.0) is None  # not acknowledged: the moves before it may go on
    streamer.on_acknowledged(line + 1, None, now + 100.0)
    assert streamer.peek(now + 100.0).text == "G28 W"


def test_the_first_move_after_homing_names_every_axis(gcode):
    program = gcode("G28\nG1 Z0.2 F720\nG1 X10\n")
    moves = [piece.text for piece in all_pieces(program) if piece.kind is Kind.MOTION]
    assert set("XYZ") <= set(moves[0])
    assert not set("YZ") & set(moves[-1])


def test_withdrawn_pieces_are_never_executed(gcode):
    program = gcode("M104 S1\nM104 S2\nM104 S3\nG28\n")
    streamer = Streamer(program, plan_motion(program, PROFILE), PROFILE, 1.0, DIALECT)
    for line in (1, 2, 3):
        streamer.take(line, 0.0, 1.0)
    streamer.withdraw(2)
    streamer.on_acknowledged(9, None, 0.1)
    streamer.advance(1.0)
    assert (streamer.acknowledged, streamer.executed) == (1, 1)
    streamer.take(10, 1.0, 1.0)
    assert streamer.barrier is Kind.CYCLE
    streamer.withdraw(10)
    assert streamer.barrier is None


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({"op": Op.STRAIGHT_FEED, "x_m": math.inf, "feed_m_s": 0.05}, "x_m"),
        ({"op": Op.STRAIGHT_FEED, "x_m": math.nan, "feed_m_s": 0.05}, "x_m"),
        ({"op": Op.STRAIGHT_FEED, "x_m": 1e300, "feed_m_s": 0.05}, "x_m"),
        ({"op": Op.STRAIGHT_FEED, "x_m": 0.1, "feed_m_s": 0.0}, "feed"),
        ({"op": Op.STRAIGHT_FEED, "x_m": 0.1, "feed_m_s": math.inf}, "feed"),
        ({"op": Op.STRAIGHT_FEED, "x_m": 0.1, "feed_m_s": 0.05, "extrude_m3": math.nan}, "extrude_m3"),
        ({"op": Op.DWELL, "value": math.inf}, "value"),
        ({"op": Op.SET_HEATER, "target": 99, "value": 100.0}, "SET_HEATER"),
        ({"op": Op.ARC_FEED, "target": Plane.XY, "turns": 1, "feed_m_s": 0.05, "center_1_m": math.nan}, "center_1_m"),
    ],
)
def test_numbers_that_no_plan_can_be_made_of_are_refused(row, word):
    program = build_program([{"op": Op.HOME, "target": 7}, row])
    with pytest.raises(CoreError, match=word) as caught:
        prepare(program, program.digest, PROFILE, 1.0, "job", print)
    assert "instruction 1" in str(caught.value)


NUMBERS = st.sampled_from([0.0, 0.01, 0.1, math.nan, math.inf, -math.inf, 1e300, 1e-300, -1.0, 999.0])
ROWS = st.fixed_dictionaries(
    {
        "op": st.sampled_from([int(op) for op in Op]),
        "target": st.integers(0, 8),
        "turns": st.integers(-3, 3),
        **dict.fromkeys(("x_m", "y_m", "z_m", "feed_m_s", "extrude_m3", "value", "center_1_m"), NUMBERS),
    }
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=6))
def test_any_program_is_refused_or_can_be_cut_to_its_end(rows):
    columns = {name: [row.get(name, 0) for row in rows] for name in COLUMNS}
    program = Program(normalise({name: np.asarray(values).astype(COLUMNS[name]) for name, values in columns.items()}))
    try:
        streamer = prepare(program, b"d" * 32, PROFILE, 1.0, "job", print).streamer
    except CoreError:
        return
    for _ in range(300):
        if streamer.all_sent:
            return
        streamer.take(0, 0.0, 1.0)


def test_without_reports_a_slow_controller_would_be_overfilled():
    """The test above can fail: this is what the reports are for."""
    program = program_of([("move", 10 * (n % 20), 5 * (n % 3), 3000) for n in range(60)])
    rng = np.random.default_rng(0)

    class Random:
        def choice(self, items):
            return items[int(rng.integers(len(items)))]

    blind = drive(program, Controller(pace=1.6, blocks=400, advanced=False), Random(), 0, [0.0])[1]
    seeing = drive(program, Controller(pace=1.6, blocks=400), Random(), 399, [0.0])[1]
    assert blind > 2 * seeing


def test_a_resend_does_not_let_the_estimate_run_ahead(gcode):
    program = gcode("G28\nG1 X10 F6000\nG1 X20\n")
    streamer = Streamer(program, plan_motion(program, PROFILE), PROFILE, 1.0, DIALECT)
    streamer.take(1, 0.0, 1.0)
    streamer.on_acknowledged(1, None, 1.0)
    streamer.peek(1.0)
    streamer.take(2, 1.0, 1.0)
    streamer.on_resend(1.5)  # the line was lost for half a second
    streamer.on_acknowledged(2, None, 1.5)
    streamer.advance(1.51)
    assert streamer.executed == 1
    assert streamer.position_m[0] < 0.01
