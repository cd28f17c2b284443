"""Writing G-code: round trips, and the single lines that the machine driver sends."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.gcode import read_gcode, write_gcode, write_instruction, write_move
from industriverse_core.program import Limit, Metadata, Op, build_program, normalise
from industriverse_core.units import filament_area_m2

NAN = math.nan
AXES = ("x_m", "y_m", "z_m")
length = st.floats(-0.5, 0.5, allow_nan=False)
feed = st.floats(1e-6, 0.5)
marlin_move = st.fixed_dictionaries(
    {
        "op": st.sampled_from([Op.STRAIGHT_FEED, Op.STRAIGHT_TRAVERSE]),
        "x_m": length,
        "y_m": length,
        "z_m": length,
        "feed_m_s": feed,
        "extrude_m3": st.one_of(st.just(0.0), st.floats(1e-15, 1e-6), st.floats(-1e-8, -1e-14)),
    }
)
passive = st.one_of(
    st.builds(lambda v: {"op": Op.DWELL, "value": v}, st.floats(0, 1000)),
    st.builds(lambda h, v: {"op": Op.SET_HEATER, "target": h, "value": v}, st.integers(1, 3), st.floats(0, 500)),
    st.builds(lambda h, v, r: {"op": Op.WAIT_HEATER, "target": h, "value": v, "turns": r}, st.integers(1, 3),
              st.floats(0, 500), st.integers(0, 1)),
    st.builds(lambda f, v: {"op": Op.SET_FAN, "target": f, "value": v}, st.integers(0, 5), st.floats(0, 1)),
    st.builds(lambda t, v: {"op": Op.SET_LIMIT, "target": t, "value": v},
              st.sampled_from([limit for limit in Limit if limit != Limit.MINIMUM_CRUISE_RATIO]), st.floats(0, 50)),
    st.builds(lambda v: {"op": Op.SET_LIMIT, "target": Limit.MINIMUM_CRUISE_RATIO, "value": v}, st.floats(0, 0.999)),
    st.builds(lambda h: {"op": Op.HOME, "target": h, **{name: 0.0 for bit, name in enumerate(AXES) if h >> bit & 1}},
              st.integers(1, 7)),
    st.builds(lambda v: {"op": Op.SET_PRESSURE_ADVANCE, "value": v}, st.floats(0, 9)),
    st.builds(lambda m: {"op": Op.MOTORS_OFF, "target": m}, st.integers(1, 15)),
    st.builds(lambda v, op: {"op": op, "value": v}, st.floats(0, 3000),
              st.sampled_from([Op.START_SPINDLE_CLOCKWISE, Op.START_SPINDLE_COUNTERCLOCKWISE])),
    st.sampled_from([{"op": op} for op in (Op.LEVEL_BED, Op.FLOOD_ON, Op.MIST_ON, Op.COOLANT_OFF, Op.PROGRAM_STOP,
                                           Op.OPTIONAL_PROGRAM_STOP, Op.STOP_SPINDLE_TURNING)]),
)  # fmt: skip


def without_filament_in_traverses(rows):
    return [{**row, "extrude_m3": 0.0} if row["op"] == Op.STRAIGHT_TRAVERSE else row for row in rows]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.one_of(marlin_move, passive), min_size=1, max_size=30).map(without_filament_in_traverses),
    st.sampled_from([1.75e-3, 2.85e-3]),
)
def test_marlin_programs_survive_writing_and_reading(rows, diameter_m):
    program = build_program(rows, Metadata(filament_diameter_m=diameter_m))
    again = read_gcode(write_gcode(program), "again")
    for name in program.columns:
        if name != "line":
            assert again.columns[name].tolist() == pytest.approx(program.columns[name].tolist(), abs=0, nan_ok=True), (
                name
            )
    assert again.digest == program.digest


@settings(max_examples=150, deadline=None)
@given(
    st.floats(-0.1, 0.1), st.floats(-0.1, 0.1), st.floats(1e-4, 0.2), st.floats(0, 6.28), st.floats(0, 6.28),
    st.integers(0, 2), st.integers(-3, 3).filter(bool), st.floats(-0.01, 0.01), st.sampled_from(["marlin", "rs274"]),
)  # fmt: skip
def test_arcs_survive_writing_and_reading(c1, c2, radius, from_rad, to_rad, plane, turns, climb, dialect):
    first = (0, 2, 1)[plane]
    one, two, three = AXES[first], AXES[(first + 1) % 3], AXES[(first + 2) % 3]
    start = {one: c1 + radius * math.cos(from_rad), two: c2 + radius * math.sin(from_rad), three: 0.0}
    end = {one: c1 + radius * math.cos(to_rad), two: c2 + radius * math.sin(to_rad), three: climb}
    rows = [
        {"op": Op.STRAIGHT_FEED, "feed_m_s": 0.01, **start},
        {
            "op": Op.ARC_FEED,
            "feed_m_s": 0.02,
            "center_1_m": c1,
            "center_2_m": c2,
            "turns": turns,
            "target": plane,
            **end,
        },
    ]
    program = build_program(rows, Metadata(dialect=dialect))
    assert read_gcode(write_gcode(program), "again").digest == program.digest


def test_rs274_programs_survive_writing_and_reading():
    rows = [
        {"op": Op.CHANGE_TOOL, "target": 3},
        {"op": Op.STRAIGHT_TRAVERSE, "x_m": 0.01, "feed_m_s": NAN},
        {"op": Op.STRAIGHT_FEED, "z_m": -0.001, "feed_m_s": 1 / 300},
        {"op": Op.STRAIGHT_FEED, "x_m": 0.01, "feed_m_s": 1 / 300},  # goes nowhere, and stays an instruction
        {"op": Op.DWELL, "value": 1.5},
        {"op": Op.PROGRAM_END},
    ]
    program = build_program(rows, Metadata(dialect="rs274"))
    assert read_gcode(write_gcode(program), "again").digest == program.digest


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"op": Op.STRAIGHT_FEED, "x_m": 0.0105, "feed_m_s": 0.02}, "G1 X10.5 F1200"),
        ({"op": Op.STRAIGHT_FEED, "feed_m_s": 0.02}, "G1 X0 F1200"),
        ({"op": Op.STRAIGHT_TRAVERSE, "z_m": -1e-9, "feed_m_s": 0.02}, "G0 Z-0.000001 F1200"),
        ({"op": Op.HOME, "target": 7}, "G28 W"),
        ({"op": Op.HOME, "target": 5}, "G28 X Z"),
        ({"op": Op.LEVEL_BED}, "G80"),
        ({"op": Op.SET_HEATER, "target": 1, "value": 215}, "M104 S215"),
        ({"op": Op.WAIT_HEATER, "target": 2, "value": 60.5}, "M190 S60.5"),
        ({"op": Op.WAIT_HEATER, "target": 1, "value": 170, "turns": 1}, "M109 R170"),
        ({"op": Op.SET_LIMIT, "target": 41, "value": 0.25}, "SET_VELOCITY_LIMIT MINIMUM_CRUISE_RATIO=0.25"),
        ({"op": Op.SET_FAN, "value": 128 / 255}, "M106 S128"),
        ({"op": Op.SET_FAN, "target": 2}, "M107 P2"),
        ({"op": Op.SET_LIMIT, "target": Limit.PRINT_ACCELERATION, "value": 0.8}, "M204 P800"),
        ({"op": Op.SET_PRESSURE_ADVANCE, "value": 0.05}, "M900 K0.05"),
        ({"op": Op.MOTORS_OFF, "target": 15}, "M84"),
        ({"op": Op.MOTORS_OFF, "target": 8}, "M84 E"),
        ({"op": Op.DWELL, "value": 0.25}, "G4 P250"),
        ({"op": Op.CHANGE_TOOL, "target": 1}, "T1"),
        ({"op": Op.PROGRAM_STOP}, "M0"),
        ({"op": Op.PROGRAM_END}, None),
        ({"op": Op.NOP}, None),
    ],
)
def test_lines_for_a_marlin_controller(row, line):
    assert write_instruction(build_program([row]), 0) == line


def test_a_line_names_the_axes_that_change_and_the_filament():
    volume = 0.5e-3 * filament_area_m2(1.75e-3)
    program = build_program(
        [
            {"op": Op.STRAIGHT_FEED, "x_m": 0.01, "y_m": 0.02, "feed_m_s": 0.02},
            {"op": Op.STRAIGHT_FEED, "y_m": 0.03, "feed_m_s": 0.02, "extrude_m3": volume},
            {"op": Op.STRAIGHT_FEED, "feed_m_s": 0.035, "extrude_m3": -volume},
        ]
    )
    assert [write_instruction(program, index) for index in range(3)] == [
        "G1 X10 Y20 F1200",
        "G1 Y30 E0.5 F1200",
        "G1 E-0.5 F2100",
    ]


def test_a_traverse_without_a_feed_gets_the_machines():
    program = build_program([{"op": Op.STRAIGHT_TRAVERSE, "x_m": 0.01, "feed_m_s": NAN}])
    assert write_instruction(program, 0) == "G0 X10"
    assert write_instruction(program, 0, rapid_m_s=0.2) == "G0 X10 F12000"
    assert write_instruction(program, 0, "rs274", rapid_m_s=0.2) == "G0 X10"


def test_pieces_of_a_move():
    area = filament_area_m2(1.75e-3)
    assert write_move(0.001, NAN, 0.2e-3, 0.02) == "G1 X1 Z0.2 F1200"
    assert write_move(NAN, 0.0, NAN, NAN, rapid=True) == "G0 Y0"
    assert write_move(0.001, 0.002, NAN, 0.01, 1e-3 * area, area) == "G1 X1 Y2 E1 F600"


@settings(max_examples=200, deadline=None)
@given(length, st.floats(-1e-6, 1e-6).filter(lambda v: abs(v) >= 1e-15), feed)
def test_pieces_of_a_move_keep_their_values_on_the_grid(x_m, e_m3, feed_m_s):
    area = filament_area_m2(1.75e-3)
    read = read_gcode(("M83\n" + write_move(x_m, NAN, NAN, feed_m_s, e_m3, area)).encode(), "piece", "marlin")
    want = build_program([{"op": Op.STRAIGHT_FEED, "x_m": x_m, "extrude_m3": e_m3, "feed_m_s": feed_m_s}])
    assert read.digest == want.digest


@pytest.mark.parametrize(
    ("row", "dialect"),
    [
        ({"op": Op.UNKNOWN}, "marlin"),
        ({"op": 77}, "marlin"),
        ({"op": Op.HOME, "target": 0}, "marlin"),
        ({"op": Op.HOME, "target": 9}, "marlin"),
        ({"op": Op.SET_HEATER, "target": 9, "value": 1}, "marlin"),
        ({"op": Op.SET_LIMIT, "target": 99, "value": 1}, "marlin"),
        ({"op": Op.SET_LIMIT, "target": 41, "value": 1}, "marlin"),
        ({"op": Op.WAIT_HEATER, "target": 1, "value": 1, "turns": 2}, "marlin"),
        ({"op": Op.SET_HEATER, "target": 1, "value": 1}, "rs274"),
        ({"op": Op.STRAIGHT_FEED, "extrude_m3": 1e-9, "feed_m_s": 1}, "rs274"),
        ({"op": Op.ARC_FEED, "target": 1, "turns": 1}, "marlin"),
        ({"op": Op.ARC_FEED, "target": 5, "turns": 1}, "rs274"),
        ({"op": Op.ARC_FEED, "target": 0, "turns": 0}, "rs274"),
        ({"op": Op.ARC_FEED, "target": 0, "turns": 1, "extrude_m3": 1e-9}, "rs274"),
    ],
)
def test_what_a_dialect_cannot_say_is_refused(row, dialect):
    program = build_program([{"line": 12, **row}], Metadata(name="part", dialect=dialect))
    with pytest.raises(InputError) as caught:
        write_instruction(program, 0)
    assert caught.value.code is ErrorCode.NOT_A_PROGRAM
    assert "part, line 12, instruction 0" in caught.value.message


def test_an_unread_line_does_not_gain_a_meaning_by_being_written():
    with pytest.raises(InputError):
        write_gcode(read_gcode(b"G28\nM500\n", "x"))


def test_written_numbers_are_short():
    columns = build_program([{"op": Op.STRAIGHT_FEED, "x_m": 0.1 + 0.2, "feed_m_s": 1000 / 60000}]).columns
    assert normalise(columns)["x_m"][0] == 0.3
    program = build_program([{"op": Op.STRAIGHT_FEED, "x_m": 0.1 + 0.2, "feed_m_s": 1000 / 60000}])
    assert write_instruction(program, 0) == "G1 X300 F1000"
