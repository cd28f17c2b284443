"""Hazards that each line alone does not show: waiting in small pieces, scraping the bed, unknown starts and ends."""

from dataclasses import replace

import pytest

from industriverse_core.artefacts import Severity
from industriverse_core.gcode import read_gcode, write_gcode
from industriverse_core.machine import load_machine
from industriverse_core.material import load_material
from industriverse_core.program import Op
from shield_node.gates import check

PRINTER, MILL = load_machine("prusa_mk3s"), load_machine("grbl_mill")
BARE_MILL = MILL.model_copy(update={"stored_positions": {}})
ERROR, WARNING = Severity.ERROR, Severity.WARNING
HOT = "G21\nG90\nM83\nG28 W\nM140 S60\nM104 S215\nM190 S60\nM109 S215\nG1 Z.2 F600\nG1 X50 Y50 F3000\nG1 X80 E1 F1200\n"
OFF = "G1 Z20 F600\nM104 S0\nM140 S0\nM84\n"
PRINT = "G1 X{} E2 F1200\n"
NEW = {
    "dwell.sum",
    "part.bed",
    "extrusion.retract",
    "coolant.left_on",
    "fan.absent",
    "start.assumed",
    "start.work_system",
}


def found(text, profile=PRINTER):
    """{rule: severity} of the findings of these rules and of dwell.endless."""
    dialect = "marlin" if profile.kind == "printer" else "rs274"
    program = read_gcode(text.encode(), "test", dialect, profile.controller)
    report = check(program, profile, load_material("PLA" if profile.kind == "printer" else "Al6061"))
    return {item.rule: item.severity for item in report.findings if item.rule in NEW | {"dwell.endless"}}


def cut(text, end="M5\nM30\n"):
    return f"G21 G94\nT1 M6\nS10000 M3\n{text}\n{end}"


PRINTS = {
    "sound": ("", {}),
    "waits in pieces": ("".join(f"G4 S400\nG1 X{50 + k}\n" for k in range(3)), {"dwell.sum": ERROR}),
    "waits in pieces with drops of filament": (
        "".join(f"G4 S100\nG1 X{50 + k % 2} E.01 F1200\n" for k in range(9)),
        {"dwell.sum": ERROR},
    ),
    "waits in pieces while cold": (
        "M104 S0\n" + "".join(f"G4 S400\nG1 X{50 + k}\n" for k in range(3)),
        {"dwell.sum": WARNING},
    ),
    "waits a second each of many layers": (
        "".join(f"G4 S1\n{PRINT.format(50 + 40 * (k % 2))}" for k in range(900)),
        {},
    ),
    "stops with a long time": ("M0 S3600\n", {"dwell.endless": ERROR}),
    "stops with short times": ("M0 S300\nG1 X50\n" * 3, {"dwell.sum": ERROR}),
    "stops without a time": ("M0 S3600 please wait\n" * 3, {}),
    "scrapes": ("G1 Z0 F600\nG1 X10 F3000\n", {"part.bed": ERROR}),
    "scrapes cold": ("M104 S0\nG1 Z0 F600\nG1 X10 F3000\n", {"part.bed": ERROR}),
    "scrapes round an arc": ("G1 Z0 F600\nG2 X80 Y50 I5 F3000\n", {"part.bed": ERROR}),
    "touches and rises": ("G1 Z0 F600\nG1 X60 Z1 F600\n", {}),
    "moves across after homing": ("G28 W\nG1 X60 F3000\n", {}),
    "prints after homing without a height": ("G28 X\nG28 W\nG1 X60 E1 F1200\n", {"part.bed": ERROR}),
    "draws back": ("G1 E-149 F1200\nG1 E149\n", {}),
    "draws back too far and pushes": ("G1 E-151 F1200\nG1 E151\n", {"extrusion.retract": ERROR}),
    "draws back too far in steps": ("G1 E-40 F1200\n" * 4 + "G1 E160\n", {"extrusion.retract": ERROR}),
    "unloads at its end": ("G1 E-151 F1200\n", {"extrusion.retract": WARNING}),
    "unloads a metre": ("G1 E-1001 F1200\n", {"extrusion.retract": ERROR}),
    "another fan": ("M106 P9 S255\n", {"fan.absent": WARNING}),
    "another fan off": ("M106 P9 S0\nM107 P9\nM106 S255\nM107\n", {}),
    "coolant left on": ("M8\n", {"coolant.left_on": WARNING}),
}


@pytest.mark.parametrize("case", PRINTS)
def test_prints(case):
    text, expected = PRINTS[case]
    assert found(HOT + text + OFF) == expected


CUTS = {
    "sound": ("G90 G0 X0 Y0 Z5\nG1 X5 F100\nG91 G1 X5", {}),
    "sound, one axis a line": ("G90 G0 Z5\nX0\nY0\nG91 G0 X1 Y1 Z1", {}),
    "starts with G91": ("G91 G0 Z5\nG90 G0 X0 Y0", {"start.assumed": WARNING}),
    "G91 on an axis never placed": ("G90 G0 X0 Y0\nG91 G0 Z5", {"start.assumed": WARNING}),
    "starts with G92": ("G90 G92 X0 Y0 Z0\nG0 X5", {"start.assumed": WARNING}),
    "G92 of a placed axis": ("G90 G0 X5\nG92 X0\nG0 X5", {}),
    "starts with a touch-off": ("G90 G10 L20 P1 Z0\nG0 Z5", {"start.assumed": WARNING}),
    "starts with an arc": ("G90 G2 X5 Y5 I5 F100", {"start.assumed": WARNING}),
    "an arc behind a place": ("G90 G0 X0 Y0\nG2 X5 Y5 I5 F100", {}),
    "a cycle under G91": ("G90 G0 X0 Y0\nG91 G99 G81 X5 Z-3 R1 F100", {"start.assumed": WARNING}),
    "a cycle behind a place": ("G90 G0 X0 Y0 Z5\nG91 G99 G81 X5 Z-3 R1 F100", {}),
    "places an axis in the machine": ("G53 G0 Z0\nG91 G0 Z-5", {}),
    "another system": ("G55 G90 G0 X5", {"start.work_system": WARNING}),
    "dwells with cuts between": ("G90 G0 X0 Y0 Z5\n" + "G4 P400\nG1 X1 F100\nG1 X0\n" * 2, {"dwell.sum": WARNING}),
}


@pytest.mark.parametrize("case", CUTS)
def test_cuts(case):
    text, expected = CUTS[case]
    assert found(cut(text), MILL) == expected


def test_coolant_ends_with_the_program():
    text = "G90 G0 X0 Y0 Z5\nM8\nG1 X5 F100"
    assert found(cut(text), MILL) == {}
    assert found(cut(text, "M5\n"), MILL) == {"coolant.left_on": WARNING}
    assert found(cut(text, "M9\nM5\n"), MILL) == {}


def test_the_line_that_counts_on_the_start_is_named_and_survives_writing():
    program = read_gcode(cut("G90 G0 X0\nG91 G0 Z5").encode(), "test", "rs274")
    again = read_gcode(write_gcode(program), "again")
    assert program.metadata.start_line == 5
    assert again.metadata.start_line == 5
    assert again.digest == program.digest
    findings = [item for item in check(program, MILL).findings if item.rule == "start.assumed"]
    assert [item.line for item in findings] == [5]


def test_a_refused_line_counts_on_nothing():
    assert read_gcode(b"G21 G91\nG0 Z5 Q7\nG90 G0 X1", "test", "rs274").metadata.start_line == 0


def test_a_program_that_never_names_an_axis_is_read_by_the_compiled_loop_too():
    lines = [f"G1 X{k % 50} Y{k % 30} F500" for k in range(500)]
    program = read_gcode(("G21 G90\n" + "\n".join(lines) + "\nG91 G1 X1\n").encode(), "test", "rs274")
    assert len(program) == 501
    assert program.metadata.start_line == 0


def test_a_profile_without_stored_positions_has_no_place_of_g55_either():
    assert found(cut("G55 G90 G0 X5"), BARE_MILL) == {"start.work_system": WARNING}
    assert found(cut("G54 G90 G0 X5"), BARE_MILL) == {}


def test_the_spindles_travel_counts_with_a_tool_length():
    """The mill's Z ends at 40 mm: a tip at 15 with a length of 30 takes the spindle to 45."""

    def envelope(text):
        program = read_gcode(cut(text).encode(), "test", "rs274")
        return {item.rule for item in check(program, MILL).findings} & {"envelope.axis", "motion.jump"}

    assert envelope("G90 G0 X0 Y0 Z5\nG43.1 Z30\nG0 Z9") == set()
    assert envelope("G90 G0 X0 Y0 Z5\nG43.1 Z30\nG0 Z15") == {"envelope.axis"}
    assert envelope("G90 G0 X0 Y0 Z5\nG43.1 Z30\nG49\nG0 Z15") == set()


def test_a_length_that_moves_more_than_it_says_is_a_jump():
    program = read_gcode(cut("G90 G0 X0 Y0 Z5\nG43.1 Z30\nG0 Z9").encode(), "test", "rs274")
    shift = int((program.op == Op.USE_TOOL_LENGTH_OFFSET).argmax())
    for name in ("x_m", "z_m"):
        columns = {key: column.copy() for key, column in program.columns.items()}
        columns[name][shift] += 1e-6
        rules = {item.rule for item in check(replace(program, columns=columns), MILL).findings}
        assert "motion.jump" in rules


def test_what_a_slicer_means_for_the_retraction_is_no_danger_to_marlin_2s_travel():
    ender = load_machine("ender3")

    def limits(line):
        program = read_gcode((HOT + line + OFF).encode(), "test", "marlin", ender.controller)
        findings = check(program, ender, load_material("PLA")).findings
        return {item.severity for item in findings if item.rule == "motion.limits"}

    assert limits("M204 S500 T1000\n") == set()
    assert limits("M204 S500 T1600\n") == {ERROR}
    assert limits("M204 S1000 T1000\n") == {ERROR}
