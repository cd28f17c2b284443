"""Klipper's extended commands, Bambu's and Prusa's codes: carried out, skipped, or refused by name with the line."""

import pytest

from industriverse_core.gcode import read_gcode
from industriverse_core.program import Heater, Limit, Op

ACCELERATIONS = (Limit.PRINT_ACCELERATION, Limit.TRAVEL_ACCELERATION)


def marlin(text: str):
    return read_gcode(text.encode(), "test", "marlin")


def told(text: str) -> list[tuple]:
    """(op, target, value) of every instruction."""
    program = marlin(text)
    assert not [note for note in program.notes if note.kind != "ignored"], program.notes
    return [
        (Op(op).name, target, value)
        for op, target, value in zip(
            program.op.tolist(), program.target.tolist(), program.value.tolist(), strict=True
        )
    ]  # fmt: skip


def refusal(text: str) -> tuple[str, str]:
    program = marlin("G21\nG1 X1 F60\n" + text)
    assert program.op[-1] == Op.UNKNOWN
    note = [note for note in program.notes if note.kind != "ignored"][-1]
    assert note.line == 3 + text.rstrip("\n").count("\n")
    return note.kind, note.reason


# --- Klipper --------------------------------------------------------------------------------------------


def test_velocity_limits():
    every = "VELOCITY=300 ACCEL=5000 SQUARE_CORNER_VELOCITY=8 MINIMUM_CRUISE_RATIO=0.4"
    assert told(f"SET_VELOCITY_LIMIT {every}\nM110") == [
        ("SET_LIMIT", Limit.TOOLHEAD_SPEED, 0.3),
        *(("SET_LIMIT", limit, 5.0) for limit in ACCELERATIONS),
        ("SET_LIMIT", Limit.SQUARE_CORNER_VELOCITY, 0.008),
        ("SET_LIMIT", Limit.MINIMUM_CRUISE_RATIO, 0.4),
    ]  # fmt: skip
    assert told("set_velocity_limit\taccel=5000  accel_to_decel=2000 ; quick\nM110")[2:] == [
        ("SET_LIMIT", Limit.MINIMUM_CRUISE_RATIO, 0.6)
    ]
    assert told("SET_VELOCITY_LIMIT\nM110") == []


def test_heaters_and_pressure_advance():
    hotter = "SET_HEATER_TEMPERATURE HEATER=extruder TARGET=210\nM110"
    assert told(hotter) == [("SET_HEATER", Heater.HOTEND, 210.0)]
    assert told("SET_HEATER_TEMPERATURE HEATER=heater_bed\nM110") == [("SET_HEATER", Heater.BED, 0.0)]
    assert told('SET_HEATER_TEMPERATURE HEATER="heater_generic chamber" TARGET=40\nTURN_OFF_HEATERS\nM110') == [
        ("SET_HEATER", Heater.CHAMBER, 40.0),
        ("SET_HEATER", Heater.HOTEND, 0.0), ("SET_HEATER", Heater.BED, 0.0), ("SET_HEATER", Heater.CHAMBER, 0.0),
    ]  # fmt: skip
    assert told("SET_PRESSURE_ADVANCE ADVANCE=0.05 SMOOTH_TIME=0.04\nSET_PRESSURE_ADVANCE SMOOTH_TIME=0.02\nM110") == [
        ("SET_PRESSURE_ADVANCE", 0, 0.05)
    ]


def test_temperature_waits_are_for_the_heaters_target():
    warm = "M104 S210\nTEMPERATURE_WAIT SENSOR=extruder MINIMUM=207\n"
    assert told(warm)[1] == ("WAIT_HEATER", Heater.HOTEND, 210.0)
    assert marlin(warm).turns.tolist() == [0, 0]
    cool = marlin("M104 S150\nTEMPERATURE_WAIT SENSOR=extruder MAXIMUM=153\n")
    assert (cool.value[1], cool.turns[1]) == (150.0, 1)
    assert refusal("M104 S210\nTEMPERATURE_WAIT SENSOR=extruder MINIMUM=150")[0] == "unsupported"
    assert refusal("M104 S210\nTEMPERATURE_WAIT SENSOR=extruder MINIMUM=215")[0] == "malformed"
    assert refusal("TEMPERATURE_WAIT SENSOR=heater_bed MINIMUM=60")[0] == "malformed"
    assert refusal("TEMPERATURE_WAIT SENSOR=extruder")[0] == "malformed"
    assert refusal('TEMPERATURE_WAIT SENSOR="temperature_sensor chamber" MINIMUM=40')[0] == "unsupported"


@pytest.mark.parametrize(
    "command", ["BED_MESH_CALIBRATE", "Z_TILT_ADJUST", "quad_gantry_level", "BED_MESH_CALIBRATE PROFILE=x"]
)
def test_levelling(command):
    assert told(f"G1 X1 F60\n{command}")[1] == ("LEVEL_BED", 0, 0.0)


@pytest.mark.parametrize(
    "command",
    ["EXCLUDE_OBJECT_DEFINE NAME=cube_id_0 CENTER=1,2 POLYGON=[[1,2],[3,4]]", "EXCLUDE_OBJECT_START NAME=x",
     "EXCLUDE_OBJECT_END", "SET_DISPLAY_TEXT MSG=\"50 %\"", "SET_PRINT_STATS_INFO CURRENT_LAYER=3", "RESPOND MSG=(x",
     "BED_MESH_PROFILE LOAD=default", "BED_MESH_CLEAR", "M117 SAVE_CONFIG", "SET_LED LED=x RED=1",
     "ACTIVATE_EXTRUDER EXTRUDER=extruder", "EXCLUDE_OBJECT_DEFINE POLYGON=[" + "[1,2]," * 2000 + "]",
     "N7 RESPOND MSG=x"],
)  # fmt: skip
def test_what_changes_nothing_in_klipper(command):
    assert told(f"G1 X1 F60\n{command}\n{command}\nG1 X2") == [("STRAIGHT_FEED", 0, 0.0)] * 2


@pytest.mark.parametrize("name", ["START_PRINT", "PRINT_START", "END_PRINT", "print_end", "LINE_PURGE", "SMART_PARK"])
def test_macros_are_refused_by_their_name(name):
    kind, reason = refusal(f"{name} BED_TEMP=60 EXTRUDER_TEMP=210")
    assert kind == "unsupported"
    assert reason == f"{name.upper()}: a macro of the printer, whose commands are not in the file"
    assert refusal(name)[0] == "unsupported"


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("SAVE_CONFIG", "forbidden"), ("firmware_restart", "forbidden"), ("RESTART", "forbidden"),
        ("SET_KINEMATIC_POSITION X=5", "forbidden"), ("FORCE_MOVE STEPPER=x DISTANCE=5", "forbidden"),
        ("SET_PIN PIN=x VALUE=1", "forbidden"), ("BED_MESH_PROFILE SAVE=x", "forbidden"),
        ("EXCLUDE_OBJECT NAME=x", "unsupported"), ("SET_GCODE_OFFSET Z=0.1", "unsupported"),
        ("SAVE_GCODE_STATE NAME=x", "unsupported"), ("PAUSE", "unsupported"), ("PROBE", "unsupported"),
        ("SET_FAN_SPEED FAN=x SPEED=1", "unsupported"), ("ACTIVATE_EXTRUDER EXTRUDER=extruder1", "unsupported"),
        ("SET_HEATER_TEMPERATURE HEATER=heater_generic TARGET=5", "unsupported"),
        ("SET_HEATER_TEMPERATURE HEATER=extruder TEMP=210", "malformed"),
        ("SET_PRESSURE_ADVANCE EXTRUDER=extruder1 ADVANCE=0.1", "unsupported"),
        ("SET_VELOCITY_LIMIT ACCEL_TO_DECEL=5", "unsupported"), ("SOMETHING X=5", "unsupported"),
        ("SET_VELOCITY_LIMIT ACCEL=fast", "malformed"), ("SET_VELOCITY_LIMIT ACCEL=nan", "malformed"),
        ("SET_VELOCITY_LIMIT ACCEL=-5", "malformed"), ("SET_VELOCITY_LIMIT ACCEL=1e999", "malformed"),
        ("SET_VELOCITY_LIMIT ACCEL=5 ACCEL=6", "malformed"), ("SET_VELOCITY_LIMIT 5", "malformed"),
        ("SET_VELOCITY_LIMIT SPEED=5", "malformed"), ("SET_VELOCITY_LIMIT MINIMUM_CRUISE_RATIO=1", "malformed"),
        ("SET_VELOCITY_LIMIT ACCEL=0 ACCEL_TO_DECEL=0", "malformed"),
        ("SET_PRESSURE_ADVANCE ADVANCE={pa}", "malformed"), ("SET_VELOCITY_LIMIT ACCEL=5" + " " * 400, "malformed"),
        ("HELLO WORLD", "unknown"), ("MACRO", "unknown"),
    ],
)  # fmt: skip
def test_what_klipper_commands_are_refused(command, kind):
    assert refusal(command)[0] == kind


def test_an_extended_command_does_not_hide_in_rs274():
    program = read_gcode(b"G21\nG0 X1\nTURN_OFF_HEATERS\n", "x", "rs274")
    assert program.op[-1] == Op.UNKNOWN


# --- Bambu, Orca, Prusa ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    ["; FEATURE: Outer wall", "; CHANGE_LAYER", ";_EXTRUDE_SET_SPEED", "M1002 gcode_claim_action : 14",
     "M1002 judge_flag g29_before_print_flag", "M1002 set_filament_type:PLA", "M991 S0 P0 ;notify layer change",
     "M960 S5 P1", "M973 S4", "M975 S1", "M981 S1 P20000", "M982.2 S1", "M1006 A0 B0 L100 C37", "M1007 S1", "G29.2 S1",
     "G392 S0", "M412 S1", "M591 S0", "M17 X1.2 Y1.2", "M73 P0 R12", "M74 W1.2", "M302 S160", "M486 S0",
     "M486 AM486 C.stl", "M486 S-1", "G29 A", "G29 P3.2", "M145 S0 H200"],
)  # fmt: skip
def test_what_changes_nothing_in_bambu_and_prusa_files(command):
    assert told(f"G1 X1 F60\n{command}\n{command}\nG1 X2") == [("STRAIGHT_FEED", 0, 0.0)] * 2


@pytest.mark.parametrize(
    "command",
    ["M620 S0A", "M620.1 E F523 T240", "M621 S0A", "M622 J1", "M623", "M628 S0", "M629", "M970 Q1 A7 B30 C80",
     "M974 Q1", "M976 S1 P1", "M983 F1.6", "M984 S0", "G29.1 Z-0.02", "G380 S2 Z30 F300", "G150.1", "M142 P1 R35 S40",
     "M1002 push_ref_mode", "M1002 POP_REF_MODE", "M486 C", "M486 P3", "m486p3", "M207 S1", "M601", "M290 Z.1",
     "M104 S200 B1 F1", "G29 P4", "M109 S200 F", "M106 P1000"],
)  # fmt: skip
def test_what_is_not_carried_out_of_bambu_and_prusa_files(command):
    kind, reason = refusal(command)
    assert kind in ("unsupported", "malformed")
    assert reason


@pytest.mark.parametrize("command", ["M302", "M302 P1", "M302 S0", "M302 S149", "M302 S160 P1"])
def test_cold_extrusion_stays_forbidden(command):
    assert refusal(command)[0] in ("forbidden", "malformed")


def test_bambus_waits():
    assert told("G1 X1 F60\nM400 S2\nM400 P100\nM400\nM400 U1")[1:] == [
        ("DWELL", 0, 2.0), ("DWELL", 0, 0.1), ("DWELL", 0, 0.0), ("PROGRAM_STOP", 0, 0.0)
    ]  # fmt: skip


def test_probing_phases_level_the_bed():
    assert [op for op, _, _ in told("G29 P9 X10 Y-4 W32 H4\nG29 P1\nG29 P1 X0 Y0 W50 H20 C\nG29 P3.2\nG29 A\nG29")] == [
        "LEVEL_BED"
    ] * 4


# --- waiting for cooling --------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "heater"), [("M109", 1), ("M190", 2), ("M191", 3)])
def test_r_waits_for_cooling_too(code, heater):
    program = marlin(f"{code} S60\n{code} R50\n{code}\n{code} S40 R50")
    assert program.target.tolist() == [heater] * 4
    assert program.value.tolist() == [60.0, 50.0, 50.0, 40.0]
    assert program.turns.tolist() == [0, 1, 0, 0]


def test_waiting_for_cooling_is_another_program():
    assert marlin("M109 R50").digest != marlin("M109 S50").digest


def test_r_sets_nothing_without_a_wait():
    assert refusal("M104 R50")[0] == "malformed"
