"""Tool length offsets (G43, G49, G10 L1, L10, L11) and boring with a retraction by hand (G88) or from below (G87)."""

import pytest

from industriverse_core.controller import Controller
from industriverse_core.gcode import read_gcode, write_gcode
from industriverse_core.machine import load_machine
from industriverse_core.program import Op

HEAD = "G21 G90\n"
TABLE = Controller({"G54": (0.0, 0.0, -0.1)}, g28_m=(0.0, 0.0, 0.0), tool_lengths_m={1: 0.03, 2: 0.05})


def read(text, controller=None):
    program = read_gcode((HEAD + text).encode(), "test", "rs274", controller)
    assert not [note for note in program.notes if note.kind != "ignored"], program.notes
    return program


def z_mm(text, controller=None):
    return (read(text, controller).z_m * 1e3).round(6).tolist()


def refusal(text, controller=None):
    program = read_gcode((HEAD + text).encode(), "test", "rs274", controller)
    note = [note for note in program.notes if note.kind != "ignored"][-1]
    assert program.op[note.instruction] == Op.UNKNOWN
    return note.kind, note.reason


def test_coordinates_are_the_tips():
    """Nothing moves at G43: the spindle at 20 is a tip of 30 mm at -10."""
    program = read("G0 Z20\nG43 H1\nG0 Z5\nG49\nG0 Z20", TABLE)
    assert (program.z_m * 1e3).round(6).tolist() == [20, -10, 5, 35, 20]
    assert program.op.tolist() == [1, 15, 1, 15, 1]
    assert program.value.tolist() == [0, 0.03, 0, 0, 0]


def test_another_tool_is_another_length():
    assert z_mm("G0 Z20\nT1 M6\nG43\nG0 Z5\nT2 M6\nG43 H2\nG0 Z5", TABLE) == [20, 20, -10, 5, 5, -15, 5]


def test_before_z_has_a_place_the_tip_is_taken_to_stand_at_the_origin():
    assert z_mm("T1 M6\nG43 H1\nG0 X5\nZ5", TABLE) == [0, 0, 0, 5]


def test_lengths_that_the_line_or_the_program_states():
    assert z_mm("G0 Z20\nG43.1 Z12\nG43.1 Z2") == [20, 8, 18]
    assert z_mm("G10 L1 P7 Z12\nG0 Z20\nG43 H7") == [20, 8]
    assert z_mm("G20\nG10 L1 P7 Z1\nG21\nG0 Z30\nG43 H7") == [30, 4.6]
    assert z_mm("G0 Z20\nG43 H1\nG43.2 H2", TABLE) == [20, -10, -60]
    assert z_mm("G0 Z20\nG10 L10 P3 Z5\nG43 H3") == [20, 5]  # the present position is Z5 with that length
    assert z_mm("G0 Z20\nG43.1 Z2\nG10 L10 P3 Z5\nG43 H3") == [20, 18, 5]
    assert z_mm("G0 Z20\nG10 L2 P9 Z-90\nG10 L11 P3 Z1\nG43 H3", TABLE) == [20, 11]


def test_the_machines_own_coordinates_are_the_spindles():
    assert z_mm("G0 Z20\nG43 H1\nG53 G0 Z0", TABLE) == [20, -10, 70]
    assert z_mm("G0 Z20\nG43 H1\nG28 Z0", TABLE)[-1] == 70
    assert z_mm("G0 Z20\nG43 H1\nG30.1\nG0 Z5\nG49\nG30", TABLE) == [20, -10, 5, 35, 20]


def test_g92_and_touch_offs_count_to_the_tip():
    assert z_mm("G0 Z20\nG43 H1\nG92 Z0\nG0 Z5", TABLE) == [20, -10, -5]


def test_g49_alone_changes_nothing():
    program = read("G49\nG0 Z5")
    assert program.op.tolist() == [1]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("G43 H9", "unsupported"), ("G43", "unsupported"), ("G43.2", "malformed"), ("G43.1", "malformed"),
        ("G43.1 X5", "unsupported"), ("G43 H1.5", "malformed"), ("G43 G49", "malformed"), ("H1", "malformed"),
        ("G43.1 Z5 G0", "malformed"), ("G43.1 Z5 G92 X0", "malformed"), ("G10 L1 P0 Z1", "malformed"),
        ("G10 L1 P1", "malformed"), ("G10 L1 P1 R3", "unsupported"), ("G10 L11 P1 Z0", "unsupported"),
    ],
)  # fmt: skip
def test_what_is_not_carried_out(text, kind):
    assert refusal("G0 Z1\n" + text, TABLE)[0] == kind


def test_a_refused_line_leaves_the_length():
    program = read_gcode((HEAD + "G0 Z20\nG43 H1 G0 Z5 Q3\nG0 Z4").encode(), "test", "rs274", TABLE)
    assert (program.z_m * 1e3).round(6).tolist() == [20, 20, 4]


@pytest.mark.parametrize(
    "text", ["G0 Z20\nG43 H1\nG0 X1 Z5\nG49\nG0 Z20", "T1 M6\nG43 H1\nG0 Z5\nG43.2 H2\nG0 Z1\nG53 G0 Z0"]
)
def test_writing_and_reading_keeps_the_lengths(text):
    program = read(text, TABLE)
    again = read_gcode(write_gcode(program), "again")
    assert again.digest == program.digest
    assert b"G43.1 Z30\n" in write_gcode(program)


def test_lengths_come_from_the_profile():
    mill = load_machine("grbl_mill")
    tools = tuple(tool.model_copy(update={"length": 0.02}) for tool in mill.tools)
    assert mill.controller.tool_lengths_m == {}
    assert mill.model_copy(update={"tools": tools}).controller.tool_lengths_m == {1: 0.02, 2: 0.02, 3: 0.02}


def test_boring_with_a_retraction_by_hand_stops_for_the_operator():
    """NIST IR 6556, 3.5.16.9; the move up says where the tool is when the program goes on."""
    program = read("S1000 M3\nG0 Z10\nG98 G88 X5 Z-3 R1 P2 F60\nX8")
    names = [Op(code).name for code in program.op.tolist()][2:10]
    assert names == [
        "STRAIGHT_TRAVERSE", "STRAIGHT_TRAVERSE", "STRAIGHT_FEED", "DWELL", "STOP_SPINDLE_TURNING", "PROGRAM_STOP",
        "STRAIGHT_TRAVERSE", "START_SPINDLE_CLOCKWISE",
    ]  # fmt: skip
    assert (program.z_m[2:10] * 1e3).round(6).tolist() == [10, 1, -3, -3, -3, -3, 10, 10]
    assert program.value[9] == program.value[0]
    assert (program.op == Op.PROGRAM_STOP).sum() == 2
    assert read_gcode(write_gcode(program), "again").digest == program.digest


def test_back_boring_goes_past_the_edge_aside_and_cuts_upwards():
    program = read("S1000 M3\nG0 X0 Y0 Z10\nG98 G87 X5 Y2 Z-8 R1 I1 J-0.5 K-3 F60\nX8")
    ops = [Op(op).name for op in program.op[1:]]
    hole = [
        *("STRAIGHT_TRAVERSE", "STRAIGHT_TRAVERSE", "STRAIGHT_TRAVERSE"),
        *("STOP_SPINDLE_TURNING", "ORIENT_SPINDLE", "STRAIGHT_TRAVERSE", "STRAIGHT_TRAVERSE"),
        *("START_SPINDLE_CLOCKWISE", "STRAIGHT_FEED", "STRAIGHT_FEED"),
        *("STOP_SPINDLE_TURNING", "ORIENT_SPINDLE", "STRAIGHT_TRAVERSE", "STRAIGHT_TRAVERSE", "STRAIGHT_TRAVERSE"),
        "START_SPINDLE_CLOCKWISE",
    ]
    assert ops == ["STRAIGHT_TRAVERSE", *hole, *hole]
    moves = [at for at in range(2, 18) if program.op[at] in (Op.STRAIGHT_TRAVERSE, Op.STRAIGHT_FEED)]
    points = [
        tuple(round(float(column[at]) * 1e3, 6) for column in (program.x_m, program.y_m, program.z_m)) for at in moves
    ]
    assert points == [
        *[(5, 2, 10), (5, 2, 1), (6, 1.5, 1), (6, 1.5, -8), (5, 2, -8)],
        *[(5, 2, -3), (5, 2, -8), (6, 1.5, -8), (6, 1.5, 10), (5, 2, 10)],
    ]
    assert read_gcode(write_gcode(program), "again", "rs274").digest == program.digest


def test_back_boring_under_g91_counts_its_height_from_the_bottom():
    program = read("S1000 M3\nG0 X0 Y0 Z10\nG99 G91 G87 X5 Z-8 R-4 I1 J0 K3 F60")
    feeds = [round(float(program.z_m[at]) * 1e3, 6) for at in range(len(program)) if program.op[at] == Op.STRAIGHT_FEED]
    assert feeds == [1, -2]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("G87 X5 Z-8 R1 I1 J0 K-3", "malformed"),  # the spindle stands
        ("S1000 M3\nG98 G87 X5 Z-8 R1 I1 J0", "malformed"),
        ("S1000 M3\nG98 G87 X5 Z-8 R1 I1 J0 K2", "malformed"),  # above R
        ("S1000 M3\nG98 G87 X5 Z-8 R1 I1 J0 K-9", "malformed"),  # below the hole
        ("S1000 M3\nG98 G81 X5 Z-8 R1 I1", "malformed"),
        ("M19 R400", "malformed"),
        ("M19 R-1", "malformed"),
        ("M19 P1", "unsupported"),
        ("M3 S1000 M19", "malformed"),
    ],
)
def test_orientation_and_back_boring_that_make_no_sense_are_refused(text, kind):
    assert refusal("G0 Z10\n" + text)[0] == kind


def test_an_oriented_spindle_stands():
    program = read("S1000 M3\nM19 R90")
    assert program.op.tolist() == [5, 16]
    assert program.value[-1] == pytest.approx(1.570796327, abs=1e-9)
    assert b"M19 R90" in write_gcode(program)
