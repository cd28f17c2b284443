"""Canned cycles (G73 to G89), written out by hand, and the ways in which their words stay or do not."""

import math

import pytest

from industriverse_core.gcode import read_gcode
from industriverse_core.program import Op

HEAD = "G21 G17 G90 G98 S1000 M3\nF60\nG0 X0 Y0 Z10\n"


def rs274(text: str):
    return read_gcode((HEAD + text).encode(), "test", "rs274")


def moves(text: str) -> list[tuple]:
    """What follows the head: ('T' traverse or 'F' feed, x, y, z) in mm, ('dwell', s), or the op's name."""
    program = rs274(text)
    found: list[tuple] = []
    for index in range(2, len(program)):
        op = Op(program.op[index])
        end = tuple(round(value * 1e3, 6) for value in program.positions_m()[index].tolist())
        if op is Op.STRAIGHT_TRAVERSE:
            assert math.isnan(program.feed_m_s[index])
            found.append(("T", *end))
        elif op is Op.STRAIGHT_FEED:
            assert program.feed_m_s[index] == 0.001
            found.append(("F", *end))
        elif op is Op.DWELL:
            found.append(("dwell", program.value[index]))
        else:
            found.append((op.name,))
    return found


def refusal(text: str) -> tuple[str, str]:
    program = rs274(text)
    assert program.op[-1] == Op.UNKNOWN
    return next((note.kind, note.reason) for note in program.notes if note.kind != "ignored")


def test_drilling_returns_to_where_it_began_or_to_r():
    assert moves("G81 X5 Y6 Z-2 R1") == [("T", 5, 6, 10), ("T", 5, 6, 1), ("F", 5, 6, -2), ("T", 5, 6, 10)]
    assert moves("G99 G81 X5 Y6 Z-2 R1") == [("T", 5, 6, 10), ("T", 5, 6, 1), ("F", 5, 6, -2), ("T", 5, 6, 1)]


def test_words_stay_until_g80_or_another_motion():
    holes = moves("G99 G81 X5 Z-2 R1\nY6\nX7 Z-3\nG80\nG0 X0")
    assert [move for move in holes if move[0] == "F"] == [("F", 5, 0, -2), ("F", 5, 6, -2), ("F", 7, 6, -3)]
    assert holes[-1] == ("T", 0, 6, 1)
    assert refusal("G81 X5 Z-2 R1\nG80\nX6") == ("malformed", "axis words without a motion code in force")
    assert refusal("G81 X5 Z-2 R1\nG80\nG81 X6 Z-2")[0] == "malformed"
    assert refusal("G81 X5 Z-2 R1\nG0 X0\nG81 X6 R1")[0] == "malformed"
    assert refusal("G81 X5 Z-2 R1\nG82 X6 P1")[0] == "malformed"


@pytest.mark.parametrize("change", ["G20", "G91", "G18"])
def test_words_do_not_stay_when_their_meaning_changes(change):
    assert refusal(f"G81 X5 Z-2 R1\n{change}\nX6")[0] == "malformed"


def test_the_first_level_counts_for_all_consecutive_cycles():
    """G99 leaves the tool at R; a G98 that follows still returns to where the first cycle began."""
    assert moves("G99 G81 X5 Z-2 R1\nG98 X6")[-1] == ("T", 6, 0, 10)
    assert moves("G99 G81 X5 Z-2 R1\nG80\nG98 G81 X6 Z-2 R1")[-1] == ("T", 6, 0, 1)
    assert moves("G99 G81 X5 Z-2 R1\nG0 X0\nG98 G81 X6 Z-2 R1")[-1] == ("T", 6, 0, 1)


def test_below_r_the_tool_rises_first():
    assert moves("G81 X5 Z-2 R12")[:3] == [("T", 0, 0, 12), ("T", 5, 0, 12), ("F", 5, 0, -2)]


def test_incremental_repeats_walk_along_a_line():
    assert moves("G91 G81 X5 Y1 Z-3 R-8 L2") == [
        ("T", 5, 1, 10), ("T", 5, 1, 2), ("F", 5, 1, -1), ("T", 5, 1, 10),
        ("T", 10, 2, 10), ("T", 10, 2, 2), ("F", 10, 2, -1), ("T", 10, 2, 10),
    ]  # fmt: skip
    assert moves("G99 G81 X5 Z-2 R1 L2")[3:] == [("T", 5, 0, 1), ("T", 5, 0, 1), ("F", 5, 0, -2), ("T", 5, 0, 1)]


def test_dwell_at_the_bottom():
    assert moves("G82 X5 Z-2 R1 P1.5\nX6")[2:] == [
        ("F", 5, 0, -2), ("dwell", 1.5), ("T", 5, 0, 10),
        ("T", 6, 0, 10), ("T", 6, 0, 1), ("F", 6, 0, -2), ("dwell", 1.5), ("T", 6, 0, 10),
    ]  # fmt: skip


def test_pecks_clear_the_hole_or_break_the_chip():
    assert moves("G83 Z-2 R1 Q1.25")[1:] == [
        ("T", 0, 0, 1), ("F", 0, 0, -0.25), ("T", 0, 0, 1), ("T", 0, 0, 0.004),
        ("F", 0, 0, -1.5), ("T", 0, 0, 1), ("T", 0, 0, -1.246), ("F", 0, 0, -2), ("T", 0, 0, 10),
    ]  # fmt: skip
    assert moves("G73 Z-2 R1 Q2")[2:] == [
        ("F", 0, 0, -1), ("T", 0, 0, -0.746), ("F", 0, 0, -2), ("T", 0, 0, 10)
    ]  # fmt: skip


def test_a_depth_of_whole_pecks_has_no_last_peck_of_nothing():
    assert len([move for move in moves("G73 Z-0.3 R0 Q0.1") if move[0] == "F"]) == 3


def test_boring_cycles():
    assert moves("G85 Z-2 R1")[2:] == [("F", 0, 0, -2), ("F", 0, 0, 1), ("T", 0, 0, 10)]
    assert moves("G89 Z-2 R1 P.5")[2:] == [("F", 0, 0, -2), ("dwell", 0.5), ("F", 0, 0, 10)]
    assert moves("G86 Z-2 R1 P.5")[2:] == [
        ("F", 0, 0, -2), ("dwell", 0.5), ("STOP_SPINDLE_TURNING",), ("T", 0, 0, 10), ("START_SPINDLE_CLOCKWISE",)
    ]  # fmt: skip


def test_tapping_turns_back_out():
    out = [("START_SPINDLE_COUNTERCLOCKWISE",), ("dwell", 0.0), ("F", 0, 0, 10), ("STOP_SPINDLE_TURNING",)]
    stop = ("STOP_SPINDLE_TURNING",)
    assert moves("G84 Z-2 R1")[2:] == [("F", 0, 0, -2), stop, *out, ("START_SPINDLE_CLOCKWISE",)]
    left = moves("M4\nG74 Z-2 R1")
    assert left[4:6] == [stop, ("START_SPINDLE_CLOCKWISE",)]
    program = rs274("G84 Z-2 R1")
    turning = program.value[program.op == Op.START_SPINDLE_COUNTERCLOCKWISE]
    assert turning == pytest.approx([1000 * math.tau / 60], abs=1e-9)


@pytest.mark.parametrize(("plane", "axis"), [("G17", 2), ("G18", 1), ("G19", 0)])
def test_the_drilling_axis_is_the_planes_normal(plane, axis):
    words = ["X", "Y", "Z"]
    deep = words.pop(axis)
    program = rs274(f"G0 X10 Y10\n{plane} G81 {words[0]}5 {words[1]}6 {deep}-2 R1")
    feed = int((program.op == Op.STRAIGHT_FEED).argmax())
    positions = (program.positions_m()[feed - 1 : feed + 1] * 1e3).round(6).tolist()
    want = [5.0, 6.0]
    want.insert(axis, -2.0)
    assert positions[1] == want
    want[axis] = 1.0
    assert positions[0] == want


def test_cycles_follow_the_offsets_in_force():
    assert moves("G92 X0 Y0 Z0\nG0 X5 Y5 Z3\nG81 X1 Y2 Z-1 R1")[1:4] == [
        ("T", 1, 2, 13), ("T", 1, 2, 11), ("F", 1, 2, 9)
    ]  # fmt: skip


def test_feed_per_revolution_holds_in_a_cycle():
    program = rs274("G95 F0.1\nG81 Z-2 R1")
    assert program.feed_m_s[program.op == Op.STRAIGHT_FEED].tolist() == [pytest.approx(0.1 / 60, abs=1e-9)]


@pytest.mark.parametrize(
    "text",
    ["G81 X1 Z-1", "G81 X1 R1", "G82 Z-1 R1", "G83 Z-1 R1", "G73 Z-1 R1 Q0", "G83 Z-1 R1 Q-1", "G83 Z-1 R1 Q0.0001",
     "G81 Z2 R1", "G81 Z-1 R1 L0", "G81 Z-1 R1 L1.5", "G81 Z-1 R1 L-2", "G81 Z-1 R1 I1", "G81 Z-1 R1 Q1",
     "G81 Z-1 R1 P1", "G82 Z-1 R1 P-1", "G93 G81 Z-1 R1 F60", "M5\nG84 Z-1 R1", "M4\nG84 Z-1 R1", "G74 Z-1 R1",
     "M5\nG86 Z-1 R1 P0", "M5\nG88 Z-1 R1 P0", "G88 Z-1 R1",
     "G53 G81 Z-1 R1", "G81 G0 Z-1 R1", "G4 P1 G82 Z-1 R1", "G80 X5"],
)  # fmt: skip
def test_impossible_cycles_are_malformed(text):
    assert refusal(text)[0] == "malformed"


@pytest.mark.parametrize(
    "text",
    ["G18 G84 X1 Z1 Y-1 R1", "G76 Z-1", "G81 Z-1 R1 A5",
     "G83 Z-999999 R1 Q.001", "G81 Z-1 R1 L999\nG83 Z-900 R1 Q.01 L999"],
)  # fmt: skip
def test_cycles_that_are_not_carried_out(text):
    kind, reason = refusal(text)
    assert kind == "unsupported"
    assert reason


def test_an_unknown_return_level_is_refused_where_it_counts():
    head = "G21\nG0 Z10\n"
    refused = read_gcode((head + "G81 X1 Z-1 R1 F60").encode(), "x", "rs274")
    assert "G98 or G99" in next(note.reason for note in refused.notes)
    same = read_gcode((head + "G81 X1 Z-1 R10 F60").encode(), "x", "rs274")
    assert not [note for note in same.notes if note.kind != "ignored"]


def test_a_refused_cycle_leaves_no_trace():
    assert moves("G81 X5 Z-2 R1 L0\nG1 X1 F60") == [("UNKNOWN",), ("F", 1, 0, 10)]
    assert moves("G1 X1 F60\nG81 X5 Z-2 R1 L0\nX6")[-1] == ("F", 6, 0, 10)


def test_the_motion_of_a_short_text_is_bounded():
    text = "G99\n" + "G83 X1 Z-90 R1 Q.01 L3\n" * 20
    program = rs274(text)
    assert 500_000 < len(program) < 1_100_000
    assert program.op[-1] == Op.UNKNOWN
