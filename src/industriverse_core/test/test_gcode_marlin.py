"""What the reader makes of Marlin's commands, one small text a rule."""

import math

import numpy as np
import pytest

from industriverse_core.controller import Controller
from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.gcode import read_gcode
from industriverse_core.machine import load_machine
from industriverse_core.program import Heater, Limit, Op

AREA = math.pi / 4 * 1.75e-3**2


def marlin(text: str):
    return read_gcode(text.encode(), "test", "marlin")


def rows(program, *names):
    """The program as (op name, values of the named columns)."""
    return [(Op(op).name, *(program.columns[name][i] for name in names)) for i, op in enumerate(program.op.tolist())]


def only(text, *names):
    """The single instruction of a text."""
    program = marlin(text)
    assert len(program) == 1, rows(program)
    return rows(program, *names)[0]


def refusal(text: str) -> tuple[str, str]:
    """Kind and reason of the last line, which must be UNKNOWN."""
    program = marlin("G21\n" + text)
    assert program.op[-1] == Op.UNKNOWN
    note = [note for note in program.notes if note.kind != "ignored"][-1]
    assert note.instruction == len(program) - 1
    assert note.line == program.line[-1]
    return note.kind, note.reason


def test_a_move_is_absolute_in_metres_with_its_feed():
    program = marlin("G1 X10 F600\nG1 Y-2.5 Z.2\n")
    assert program.x_m.tolist() == [0.01, 0.01]
    assert program.y_m.tolist() == [0.0, -0.0025]
    assert program.z_m.tolist() == [0.0, 0.0002]
    assert program.feed_m_s.tolist() == [0.01, 0.01]
    assert program.line.tolist() == [1, 2]


def test_relative_and_absolute_positions():
    program = marlin("G1 X10\nG91\nG1 X5\nG1 X-1\nG90\nG1 X2")
    assert program.x_m.tolist() == [0.01, 0.015, 0.014, 0.002]


def test_filament_is_absolute_until_m83_or_g91():
    program = marlin("G1 X1 E2 F60\nG1 X2 E3\nM83\nG1 X3 E3\nM82\nG92 E10\nG1 X4 E11\nG91\nG1 X1 E1\nG90\nG1 X6 E13")
    assert program.extrude_m3 == pytest.approx(np.array([2, 1, 3, 1, 1, 1]) * 1e-3 * AREA, abs=1e-15)


@pytest.mark.parametrize(
    "modes", ["M83\nG90", "G91\nM82", "M83\nG91\nG90", "G91\nM83\nG90", "M83\nG90\nG92 E0", "m83\ng90"]
)
def test_e_is_refused_where_controllers_differ(modes):
    """Marlin 2 forgets M83 with the next G90, and lets M82 win over G91; Klipper and Marlin 1 do neither."""
    assert refusal(f"{modes}\nG1 X5 E1 F60") == (
        "unsupported",
        "E where controllers differ: say M82 or M83 behind G90 and G91",
    )
    assert refusal(f"{modes}\nG2 X5 I2.5 E1 F60")[0] == "unsupported"
    assert only(f"{modes}\nG1 X5 F60", "x_m") == ("STRAIGHT_FEED", 0.005)
    for said, fed in (("M82", 3), ("M83", 4)):
        absolute = marlin(f"G92 E0\n{modes}\nG90\n{said}\nG1 E1 F60\nG1 E3")
        assert absolute.extrude_m3.sum() == pytest.approx(fed * 1e-3 * AREA, abs=1e-14)


@pytest.mark.parametrize("modes", ["G90\nM83", "M83", "G91\nM83", "M82\nG91", "G91"])
def test_relative_filament_without_a_doubt(modes):
    assert marlin(f"{modes}\nG1 E2 F60\nG1 E1").extrude_m3.tolist() == pytest.approx(
        [2e-3 * AREA, 1e-3 * AREA], abs=1e-15
    )


def test_filament_diameter_comes_from_the_slicers_comment():
    wide = marlin("M83\nG1 X1 E1 F60\n; filament_diameter = 2.85,2.85\n")
    assert wide.metadata.filament_diameter_m == 2.85e-3
    assert wide.extrude_m3[0] == pytest.approx(math.pi / 4 * 2.85e-3**2 * 1e-3, abs=1e-15)


@pytest.mark.parametrize("written", ["0", "nan", "wide", "50"])
def test_an_impossible_filament_diameter_is_refused(written):
    with pytest.raises(InputError) as caught:
        marlin(f"G1 X1\n; filament_diameter = {written}\n")
    assert caught.value.code is ErrorCode.NOT_A_PROGRAM
    assert written in caught.value.message
    assert caught.value.remedy


def test_inches_hold_for_lengths_filament_and_feed():
    program = marlin("G20\nG1 X1 E1 F60\nG21\nG1 X1 F60")
    assert program.x_m.tolist() == [0.0254, 0.001]
    assert program.feed_m_s.tolist() == [0.0254, 0.001]
    assert program.extrude_m3[0] == pytest.approx(25.4e-3 * AREA, abs=1e-15)


def test_g92_moves_the_frame_and_not_the_tool():
    program = marlin("G1 X200 F600\nG92 X0 Y5\nG1 X100 Y5\nG28 X\nG1 X1 Y5")
    assert program.x_m.tolist() == [0.2, 0.3, 0.0, 0.001]  # homing takes the axis' offset away
    assert program.y_m.tolist() == [0.0, 0.0, 0.0, 0.0]


def test_g53_is_in_the_machines_own_coordinates():
    program = marlin("G92 X50\nG91\nG53 G1 X10 F60\nG90\nG1 X50")
    assert program.x_m.tolist() == [0.01, 0.0]
    assert refusal("G53 X5")[0] == "malformed"


def test_g0_is_a_traverse_unless_it_feeds_filament():
    program = marlin("G0 X1\nG0 X2 F60\nM83\nG0 X3 E1")
    assert rows(program, "x_m") == [
        ("STRAIGHT_TRAVERSE", 0.001),
        ("STRAIGHT_TRAVERSE", 0.002),
        ("STRAIGHT_FEED", 0.003),
    ]
    assert math.isnan(program.feed_m_s[0])
    assert program.feed_m_s.tolist()[1:] == [0.001, 0.001]


@pytest.mark.parametrize("text", ["G1 X5", "G1 X5 F0", "G1 X5 F-100"])
def test_no_zero_and_negative_feed_are_zero(text):
    assert only(text, "feed_m_s") == ("STRAIGHT_FEED", 0.0)


def test_a_line_with_a_feed_alone_sets_it_and_moves_nothing():
    program = marlin("G1 F1200\nG1\nG1 X5")
    assert rows(program, "feed_m_s") == [("STRAIGHT_FEED", 0.02)]


def test_percentages_are_resolved_into_feed_and_filament():
    program = marlin("M83\nM220 S50\nM221 S200\nG1 X1 E1 F600\nM220 S100\nM221 S100\nG1 X2 E1\nM220\nM221")
    assert program.feed_m_s.tolist() == [0.005, 0.01]
    assert program.extrude_m3[0] == pytest.approx(2 * program.extrude_m3[1], abs=2e-15)


def test_arcs_have_an_absolute_centre_and_signed_turns():
    program = marlin(
        "G1 X10 Y0 F600\nG3 X-10 I-10 J0\nG2 X10 Y0 R10\nG2 I-10 P2\nG90.1\nG3 X0 Y10 I0 J0\nG91.1\nG3 X-10 Y0 J-10"
    )
    arcs = [row[1:] for row in rows(program, "x_m", "y_m", "center_1_m", "center_2_m", "turns", "target")[1:]]
    assert arcs[0] == (-0.01, 0.0, 0.0, 0.0, 1, 0)
    assert arcs[1] == (0.01, 0.0, 0.0, 0.0, -1, 0)
    assert arcs[2] == (0.01, 0.0, 0.0, 0.0, -3, 0)  # two circles, then the "arc" that ends where it starts
    assert arcs[3] == (0.0, 0.01, 0.0, 0.0, 1, 0)
    assert arcs[4] == (-0.01, 0.0, 0.0, 0.0, 1, 0)


def test_radius_arcs_take_the_short_way_for_a_positive_radius():
    short, long = marlin("G2 X10 Y0 R10 F60"), marlin("G2 X10 Y0 R-10 F60")
    assert (short.center_1_m[0], short.center_2_m[0]) == pytest.approx((0.005, -0.01 * math.sqrt(0.75)), abs=1e-9)
    assert (long.center_1_m[0], long.center_2_m[0]) == pytest.approx((0.005, 0.01 * math.sqrt(0.75)), abs=1e-9)


def test_arc_planes_order_their_axes():
    program = marlin("G18\nG3 X10 Z10 I10 K0 F60\nG19\nG3 Y10 Z20 J10 K0")
    assert rows(program, "center_1_m", "center_2_m", "target") == [
        ("ARC_FEED", 0.0, 0.01, 1),  # z, x
        ("ARC_FEED", 0.01, 0.01, 2),  # y, z
    ]


def test_a_helix_moves_the_third_axis():
    assert only("G2 X0 Y0 Z5 I5 F60", "z_m", "turns") == ("ARC_FEED", 0.005, -1)


@pytest.mark.parametrize(
    "arc",
    [
        "G2 X10",  # no centre
        "G2 X10 I0 J0",  # centre = start
        "G2 X10 Y0 I5.3 J0",  # 0.6 mm off the circle
        "G2 X10 Y0 I5 R5",  # both
        "G2 X10 Y0 R4",  # too small
        "G2 R5",  # ends at its start
        "G2 X10 Y0 I5 K1",  # centre outside the plane
        "G2 X10 Y0 I5 P.5",
        "G2 X10 Y0 I5 P-2",
        "G2 X10 Y0 I5 P1000000000",
        "G90.1\nG2 X10 Y0 I5",  # an absolute centre needs both
        "G1 X10 I5",
    ],
)
def test_impossible_arcs_are_malformed_and_move_nothing(arc):
    kind, reason = refusal(arc)
    assert kind == "malformed"
    assert reason
    assert marlin(arc + "\nG1 Y1").x_m[-1] == 0.0


@pytest.mark.parametrize("offset_mm", [5.0025, 5.0])
def test_arc_ends_may_be_a_little_off_the_circle(offset_mm):
    assert only(f"G2 X10 Y0 I{offset_mm} F60")[0] == "ARC_FEED"


@pytest.mark.parametrize(
    ("text", "seconds"), [("G4 P250", 0.25), ("G4 S2", 2.0), ("G4 S2 P9", 2.0), ("G4", 0.0), ("M400", 0.0)]
)
def test_dwells(text, seconds):
    assert only(text, "value") == ("DWELL", seconds)


@pytest.mark.parametrize(("text", "mask"), [("G28", 7), ("G28 W", 7), ("G28 X0 Y0", 3), ("G28 Z", 4)])
def test_homing(text, mask):
    assert only(text, "target") == ("HOME", mask)


def test_homing_puts_only_its_axes_to_zero():
    program = marlin("G1 X5 Y6 Z7 F60\nG28 Z\nG28 X Y")
    assert program.positions_m().tolist()[1:] == [[0.005, 0.006, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("text", "op", "target", "value"),
    [
        ("M104 S215", "SET_HEATER", Heater.HOTEND, 215.0),
        ("M104 T0 S0", "SET_HEATER", Heater.HOTEND, 0.0),
        ("M140 S60.5", "SET_HEATER", Heater.BED, 60.5),
        ("M141 S40", "SET_HEATER", Heater.CHAMBER, 40.0),
        ("M109 R170", "WAIT_HEATER", Heater.HOTEND, 170.0),
        ("M109 S200 R170", "WAIT_HEATER", Heater.HOTEND, 200.0),
        ("M190 S60", "WAIT_HEATER", Heater.BED, 60.0),
        ("M191 S40", "WAIT_HEATER", Heater.CHAMBER, 40.0),
        ("M106", "SET_FAN", 0, 1.0),
        ("M106 S51", "SET_FAN", 0, 0.2),
        ("M106 P1 S255", "SET_FAN", 1, 1.0),
        ("M107", "SET_FAN", 0, 0.0),
        ("M84", "MOTORS_OFF", 15, 0.0),
        ("M18", "MOTORS_OFF", 15, 0.0),
        ("M84 X E", "MOTORS_OFF", 9, 0.0),
        ("G29", "LEVEL_BED", 0, 0.0),
        ("G80", "LEVEL_BED", 0, 0.0),
        ("T1", "CHANGE_TOOL", 1, 0.0),
        ("M0", "PROGRAM_STOP", 0, 0.0),
        ("M1", "OPTIONAL_PROGRAM_STOP", 0, 0.0),
        ("M0 Click to go on!", "PROGRAM_STOP", 0, 0.0),
        ("M0 part #2 (red", "PROGRAM_STOP", 0, 0.0),
        ("M0 S5", "PROGRAM_STOP", 0, 5.0),
        ("M1 P500", "OPTIONAL_PROGRAM_STOP", 0, 0.5),
        ("M0 S5 to go", "PROGRAM_STOP", 0, 0.0),
        ("M0 S-5", "UNKNOWN", 0, 0.0),
        ("N4 M1 Remove part", "OPTIONAL_PROGRAM_STOP", 0, 0.0),
        ("M0 G1 X5", "UNKNOWN", 0, 0.0),
        ("M2", "PROGRAM_END", 0, 0.0),
        ("M30", "PROGRAM_END", 0, 0.0),
        ("M5", "STOP_SPINDLE_TURNING", 0, 0.0),
        ("M7", "MIST_ON", 0, 0.0),
        ("M8", "FLOOD_ON", 0, 0.0),
        ("M9", "COOLANT_OFF", 0, 0.0),
        ("M900 K0.05", "SET_PRESSURE_ADVANCE", 0, 0.05),
        ("M572 S0.04", "SET_PRESSURE_ADVANCE", 0, 0.04),
        ("M205 J0.02", "SET_LIMIT", Limit.JUNCTION_DEVIATION, 2e-5),
    ],
)
def test_single_instructions(text, op, target, value):
    assert only(text, "target", "value") == (op, target, value)


@pytest.mark.parametrize(
    ("text", "op"), [("M3 S600", Op.START_SPINDLE_CLOCKWISE), ("M4 S600", Op.START_SPINDLE_COUNTERCLOCKWISE)]
)
def test_spindle_speed_is_an_angular_velocity(text, op):
    program = marlin(text)
    assert program.op.tolist() == [op]
    assert program.value[0] == pytest.approx(20 * math.pi, abs=1e-9)


def test_limits_are_one_instruction_a_word():
    program = marlin("M201 X1000 E5000\nM203 Z12\nM204 S800\nM204 S1250 T1000\nM204 P1 R2 T3\nM205 X8 E4.5 S0 T0")
    assert rows(program, "target", "value") == [
        ("SET_LIMIT", Limit.ACCELERATION_X, 1.0),
        ("SET_LIMIT", Limit.ACCELERATION_E, 5.0),
        ("SET_LIMIT", Limit.SPEED_Z, 0.012),
        ("SET_LIMIT", Limit.PRINT_ACCELERATION, 0.8),
        ("SET_LIMIT", Limit.TRAVEL_ACCELERATION, 0.8),
        ("SET_LIMIT", Limit.PRINT_ACCELERATION, 1.25),
        ("SET_LIMIT", Limit.TRAVEL_ACCELERATION, 1.25),
        ("SET_LIMIT", Limit.RETRACT_ACCELERATION, 1.0),
        ("SET_LIMIT", Limit.PRINT_ACCELERATION, 0.001),
        ("SET_LIMIT", Limit.RETRACT_ACCELERATION, 0.002),
        ("SET_LIMIT", Limit.TRAVEL_ACCELERATION, 0.003),
        ("SET_LIMIT", Limit.JERK_X, 0.008),
        ("SET_LIMIT", Limit.JERK_E, 0.0045),
    ]


def test_m109_alone_waits_for_the_temperature_that_was_set():
    assert rows(marlin("M104 S200\nM109"), "value")[-1] == ("WAIT_HEATER", 200.0)


@pytest.mark.parametrize(
    "text",
    ["M73 P1 R2", "M105", "M115 U3.14.1", "M117 Hello (G1 X5", "M300 S440 P200", "M486 Abenchy.stl", 'M862.3 P "MK3S"',
     "M155 S1", "M593 X T2 F0", "M84 S30", "M205 S0 T0", "M900 K30", "M900", "M220", "T0", "M200 D0", "G94", "G54",
     "M82"],
)  # fmt: skip
def test_what_changes_nothing_gives_no_instruction(text):
    program = marlin(f"G1 X1 F60\n{text}\n{text}\nG1 X2")
    assert program.op.tolist() == [Op.STRAIGHT_FEED] * 2
    assert len(program.notes) <= 1
    assert all(note.kind == "ignored" and note.line == 2 for note in program.notes)


@pytest.mark.parametrize(
    "command",
    ["M112", "M303 E0 S200 C8", "M500", "M501", "M502", "M503", "M504", "M92 X800", "M206 X5", "M211 S0",
     "M851 Z-2", "M906 X900", "M913 X100", "M999", "M301 P20", "M42 P4 S255", "M997"],
)  # fmt: skip
def test_settings_and_safety_commands_are_forbidden(command):
    assert refusal(command)[0] == "forbidden"
    assert refusal(command + " (")[0] == "forbidden"  # however the rest of the line looks


@pytest.mark.parametrize(
    "command",
    ["G10", "G11", "G5 I1 J1 P1 Q1 X5", "G27", "G30", "G93", "M600", "M104 T1 S200", "M200 D1.75", "M220 B", "G92",
     "G28 O", "M204 S500 P200", "M221 S90 T1",
     "G21 G90", "G54\nG55", "G1 X#100", "O100 sub", "M83\nG1 X[1+2]"],
)  # fmt: skip
def test_legal_but_unsupported(command):
    assert refusal(command)[0] == "unsupported"


@pytest.mark.parametrize("command", ["M12345", "G1000", "G7", "X10 Y10", "M1.5", "G", "T1 M5 X", "K5"])
def test_unknown_or_no_command(command):
    assert refusal(command)[0] in ("unknown", "unsupported")


@pytest.mark.parametrize(
    "command",
    ["G1 X5 X6", "G1 X", "G1 X--5", "G1 X.", "G1 X1.2.3", "G1 X5,2", "G1 X" + "9" * 400, "G1 X5 (open",
     "M104", "M104 S", "M106 S256", "M106 S-1", "M106 P-1 S5", "M220 S0", "M221 S-5", "M109", "G4 P-1", "M204 S",
     "M900 K-1", "M3 S-5", "T-1", "T", "M104 S{temperature}", "G1 X5 Ü", "G1 X\x0b-", "M201 X"],
)  # fmt: skip
def test_malformed(command):
    assert refusal(command)[0] in ("malformed", "unsupported")


def test_numbers_at_the_limit():
    assert marlin("G1 X1000000000000 F60").x_m[0] == 1e9
    assert refusal("G1 X1000000000001")[1] == "a number is too large"
    assert marlin("G1 X0.000000000000000000000000000000001 F60").x_m[0] == 0.0
    assert marlin("G1 X000000000000000000000000000000012.5 F60").x_m[0] == 0.0125


def test_checksums_and_line_numbers():
    def line(body: str) -> str:
        total = 0
        for byte in body.encode():
            total ^= byte
        return f"{body}*{total}\n"

    good = line("N5 G1 X1 F60") + line("N6 G1 X2") + line("N1 M110") + line("N2 G1 X3") + "G1 X4\nN77 G1 X5\n"
    assert marlin(good).x_m.tolist() == [0.001, 0.002, 0.003, 0.004, 0.005]
    assert refusal(line("N5 G1 X1") + line("N7 G1 X2")) == ("malformed", "line number 7, 6 is next")
    assert refusal("N5 G1 X1*1") == ("malformed", "the checksum does not match")
    assert refusal("N5 G1 X1*") == ("malformed", "the checksum does not match")
    assert refusal(line("G1 X1")) == ("malformed", "a checksum without a line number")
    assert len(marlin(line("N5 G1 X1") + line("N5")[:-1] + " ; comment")) == 2


def test_spelling_does_not_matter():
    plain = marlin("G21\nG1 X50 Y50 F3000\nG1 X60.5 E.5\n")
    odd = read_gcode(
        b"\xef\xbb\xbfg21\r\n\r\n  g01\tx50y +50.f3000 ; c\r\n(c)g1(c)x 60.50 e.5(c)\r\n/ ; \xff\xfe\r\n%\n",
        "odd",
        "marlin",
    )
    assert odd.digest == plain.digest
    assert odd.line.tolist() == [3, 4]


def test_what_follows_the_end_is_not_read():
    program = marlin("G1 X1 F60\nM2\nG1 X2\nM112")
    assert program.op.tolist() == [Op.STRAIGHT_FEED, Op.PROGRAM_END]
    assert program.metadata.source_line_count == 4
    assert marlin("%\nG1 X1 F60\n%\nG1 X2").x_m.tolist() == [0.001]


def test_a_refused_line_leaves_the_state_as_it_was():
    program = marlin("G1 X1 F60\nG1 X5 F600 Y\nG1 Z1")
    assert program.x_m.tolist() == [0.001] * 3
    assert program.feed_m_s.tolist() == [0.001, 0.0, 0.001]


def test_notes_are_bounded_but_instructions_are_not():
    program = marlin("M500\n" * 1500 + "G1 X1\n")
    assert len(program) == 1501
    assert len(program.notes) == 1000


def test_the_text_of_a_note_is_bounded_and_decoded():
    program = read_gcode(b"G1 X1\nG999 \xff" + b"x" * 500, "t", "marlin")
    assert len(program.notes[0].text) == 80
    assert "\ufffd" in program.notes[0].text


def accelerations(text, firmware):
    program = read_gcode(("G21\n" + text + "\n").encode(), "x", "marlin", Controller(firmware=firmware))
    limits = zip(program.op.tolist(), program.target.tolist(), program.value.tolist(), strict=True)
    return [(Limit(target).name, value) if op == Op.SET_LIMIT else Op(op).name for op, target, value in limits]


def test_whose_acceleration_m204_t_is_depends_on_the_firmware():
    """Prusa-Firmware: T is the retraction's. Marlin 2 (M204.cpp): S is printing and travel, then T is travel's."""
    both = [("PRINT_ACCELERATION", 0.5), ("TRAVEL_ACCELERATION", 0.5)]
    assert accelerations("M204 S500 T1000", "prusa") == [*both, ("RETRACT_ACCELERATION", 1.0)]
    assert accelerations("M204 S500 T1000", "marlin_2") == [*both, ("TRAVEL_ACCELERATION", 1.0)]
    assert accelerations("M204 S500", "prusa") == accelerations("M204 S500", "marlin_2") == both
    assert accelerations("M204 S500 R300", "prusa") == ["UNKNOWN"]
    assert accelerations("M204 S500 R300", "marlin_2") == [*both, ("RETRACT_ACCELERATION", 0.3)]
    assert accelerations("M204 P400 T900", "prusa") == accelerations("M204 T900 P400", "marlin_2")


def test_the_profiles_name_their_firmware():
    assert load_machine("prusa_mk3s").controller.firmware == "prusa"
    assert load_machine("ender3").controller.firmware == "marlin_2"
