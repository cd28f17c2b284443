"""What the reader makes of RS274/NGC lines: many codes a line, modal motion, order of execution."""

import math

import pytest

from industriverse_core.gcode import read_gcode
from industriverse_core.program import Op


def rs274(text: str):
    return read_gcode(text.encode(), "test", "rs274")


def ops(text: str) -> list[Op]:
    return [Op(op) for op in rs274(text).op.tolist()]


def refusal(text: str) -> str:
    program = rs274("G21\n" + text)
    assert program.op[-1] == Op.UNKNOWN, program.op
    return [note for note in program.notes if note.kind != "ignored"][-1].kind


def test_motion_stays_in_force():
    program = rs274("G0 X1\nY2\nG1 Z-1 F60\nX5\nG2 X7 I1\nX9 I1")
    assert program.op.tolist() == [1, 1, 2, 2, 3, 3]
    assert all(math.isnan(feed) for feed in program.feed_m_s[:2])
    assert program.feed_m_s[2:].tolist() == [0.001] * 4
    assert program.positions_m()[-1].tolist() == [0.009, 0.002, -0.001]


def test_a_feed_of_a_traverse_is_for_later():
    program = rs274("G0 X1 F60\nG1 X2")
    assert math.isnan(program.feed_m_s[0])
    assert program.feed_m_s[1] == 0.001


def test_codes_on_one_line_are_carried_out_in_the_standards_order():
    program = rs274("G1 X1 G20 G91 F60 S600 M3 M8 T2 M6 M0")
    assert [Op(op).name for op in program.op.tolist()] == [
        "CHANGE_TOOL",
        "START_SPINDLE_CLOCKWISE",
        "FLOOD_ON",
        "STRAIGHT_FEED",
        "PROGRAM_STOP",
    ]
    assert program.target[0] == 2
    assert program.value[1] == pytest.approx(20 * math.pi, abs=1e-9)
    assert (program.x_m[3], program.feed_m_s[3]) == (0.0254, 0.0254)
    assert program.line.tolist() == [1] * 5


def test_dwell_is_in_seconds_and_keeps_its_word():
    program = rs274("G4 P1.5\nG0 X1\nG4 P.5 X2")
    assert program.op.tolist() == [Op.DWELL, Op.STRAIGHT_TRAVERSE, Op.DWELL, Op.STRAIGHT_TRAVERSE]
    assert program.value[[0, 2]].tolist() == [1.5, 0.5]


def test_spindle_speed_alone():
    program = rs274("S600\nM3\nS1200\nM5\nS300\nM4")
    assert [Op(op).name for op in program.op.tolist()] == [
        "START_SPINDLE_CLOCKWISE",
        "START_SPINDLE_CLOCKWISE",
        "STOP_SPINDLE_TURNING",
        "START_SPINDLE_COUNTERCLOCKWISE",
    ]
    assert program.value / (2 * math.pi) == pytest.approx([10.0, 20.0, 0.0, 5.0], abs=1e-9)


def test_tool_selected_before_its_change():
    assert rs274("T3\nG0 X1\nM6").target.tolist() == [0, 3]


def test_arc_with_turns():
    assert rs274("G2 X0 Y0 I1 P3 F60").turns.tolist() == [-3]


def test_g92_and_its_cancelling():
    program = rs274("G0 X10\nG92 X0\nG0 X5\nG92.1\nG0 X5")
    assert program.x_m.tolist() == [0.01, 0.015, 0.005]


def test_g80_ends_modal_motion():
    assert refusal("G1 X1 F60\nG80\nX2") == "malformed"
    assert ops("G1 X1 F60\nG80\nG0 X2") == [Op.STRAIGHT_FEED, Op.STRAIGHT_TRAVERSE]


def test_a_path_tolerance_changes_nothing():
    assert ops("G64 P0.1 Q0.1\nG40 G49 G61 G98\nM2") == [Op.PROGRAM_END]


def test_feed_on_a_line_of_its_own_and_line_numbers():
    program = rs274("N1.5 F60\nN2 G1 X1")
    assert program.feed_m_s.tolist() == [0.001]


@pytest.mark.parametrize(
    "text",
    ["G41 D1", "G42 D1", "G43 H1", "G81 X1 Z-1 R-1 F60", "G28", "G30",
     "G28 G91 Z0", "G53 G0 X0", "G10 L1 P1 X0", "G10 L11 P1 Z0", "G10 L2 P1 X1 R45", "G92.3", "G76 Z1", "G71.1 Q1",
     "G0 X1\nG55\nG0 X1", "G38.2 Z-1", "G33 Z1 K1", "G5 X1", "G7", "M6", "M19 P1", "M98 P1", "M62 P1",
     "O100 sub", "o<x> call", "#1=5", "G1 X[1+2]", "G1 X#1", "G0 A5"],
)  # fmt: skip
def test_unsupported(text):
    assert refusal(text) == "unsupported"


@pytest.mark.parametrize(
    "text",
    ["G0 G1 X5", "G90 G91", "M3 M4", "X5", "G1 X5 E1 F60", "G1 X5 X6", "G0 X", "G92", "G92 X0 G1 X5", "G4", "G4 P-1",
     "H5", "G1 X1 I5", "G2 X10 F60", "M0 M1", "N1 N2 X5", "S-5", "T1000"],
)  # fmt: skip
def test_malformed(text):
    assert refusal(text) in ("malformed", "unsupported")


@pytest.mark.parametrize("text", ["G12345", "M888", "G99.9"])
def test_unknown(text):
    assert refusal(text) == "unknown"


@pytest.mark.parametrize("text", ["M112", "G0 X5 M112", "M999"])
def test_forbidden(text):
    assert refusal(text) == "forbidden"


def test_a_refused_line_carries_out_nothing_of_itself():
    program = rs274("G1 X1 F60\nG91 M3 S100 G2 X5\nG1 X3")
    assert program.op.tolist() == [Op.STRAIGHT_FEED, Op.UNKNOWN, Op.STRAIGHT_FEED]
    assert program.x_m.tolist() == [0.001, 0.001, 0.003]


def test_block_delete_is_noted_and_carried_out():
    program = rs274("/G0 X1\n/G0 X2")
    assert program.x_m.tolist() == [0.001, 0.002]
    assert [note.kind for note in program.notes] == ["ignored"]
