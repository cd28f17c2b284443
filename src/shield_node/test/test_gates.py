"""Every gate rule: a program that it lets pass and one that it does not."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from industriverse_core.artefacts import Severity, Verdict
from industriverse_core.machine import load_machine
from industriverse_core.material import load_material
from industriverse_core.program import (
    COLUMNS,
    Heater,
    Limit,
    Metadata,
    Op,
    Plane,
    Program,
    SourceNote,
    build_program,
    normalise,
)
from industriverse_core.units import RPM
from shield_node.gates import check, rules
from shield_node.gates.registry import MAX_FINDINGS, MAX_PER_RULE

PRINTER = load_machine("prusa_mk3s")
MILL = load_machine("grbl_mill").model_copy(update={"tools": ()})  # test_gates_cutting.py has the rules of tools
PLA = load_material("PLA")
AREA = np.pi / 4 * 1.75e-3**2
HOME = {"op": Op.HOME, "target": 7, "x_m": 0, "y_m": 0, "z_m": 0}


def set_heater(heater, value):
    return {"op": Op.SET_HEATER, "target": heater, "value": value}


def wait_heater(heater, value):
    return {"op": Op.WAIT_HEATER, "target": heater, "value": value}


def move(x=None, y=None, z=None, feed=50e-3, filament=0.0, **more):
    row = {"op": Op.STRAIGHT_FEED, "feed_m_s": feed, "extrude_m3": filament * AREA, **more}
    row.update({f"{name}_m": value for name, value in (("x", x), ("y", y), ("z", z)) if value is not None})
    return row


def arc(x, y, center_x, center_y, turns=1, **more):
    return move(x, y, op=Op.ARC_FEED, center_1_m=center_x, center_2_m=center_y, turns=turns, target=Plane.XY, **more)


HEAT = [
    HOME,
    set_heater(Heater.BED, 60), set_heater(Heater.HOTEND, 215),
    wait_heater(Heater.BED, 60), wait_heater(Heater.HOTEND, 215),
    move(z=0.2e-3, feed=10e-3), move(0.05, 0.05),
]  # fmt: skip
COOL = [set_heater(Heater.HOTEND, 0), set_heater(Heater.BED, 0)]
PRINT = move(0.1, 0.05, filament=2e-3)


def printed(*rows, metadata=None, notes=()):
    return build_program([*HEAT, *rows, *COOL], metadata, notes)


def milled(*rows):
    return build_program([{"op": Op.START_SPINDLE_CLOCKWISE, "value": 10000 * RPM}, *rows, {"op": Op.PROGRAM_END}])


def found(program, profile=PRINTER, material=PLA):
    """{rule: severity} of all findings but notes."""
    report = check(program, profile, material)
    return {item.rule: item.severity for item in report.findings if item.severity > Severity.INFO}


ERROR, WARNING = Severity.ERROR, Severity.WARNING


def test_a_sound_program_is_accepted():
    report = check(printed(PRINT), PRINTER, PLA)
    assert report.verdict is Verdict.ACCEPT
    assert report.findings == ()
    assert (report.error_count, report.warning_count) == (0, 0)
    assert report.program_digest == printed(PRINT).digest
    assert report.machine_id == "prusa_mk3s"


CASES = {
    "x too far": (printed(move(0.256)), {"envelope.axis": ERROR}),
    "x at the edge": (printed(move(0.255)), {}),
    "y too low": (printed(move(y=-0.0041)), {"envelope.axis": ERROR}),
    "z below the bed": (printed(move(z=-0.1e-3)), {"envelope.axis": ERROR}),
    "arc bulges over the edge": (printed(move(0.24, 0.15), arc(0.24, 0.10, 0.24, 0.125, -1)), {"envelope.axis": ERROR}),
    "arc bulges inward": (printed(move(0.24, 0.15), arc(0.24, 0.10, 0.24, 0.125, 1)), {}),
    "full circle over the edge": (printed(move(0.01, 0.1), arc(0.01, 0.1, 0.01, 0.08)), {"envelope.axis": ERROR}),
    "full circle inside": (printed(move(0.05, 0.1), arc(0.05, 0.1, 0.05, 0.08)), {}),
    "helix sinks through the bed": (printed(arc(0.05, 0.05, 0.06, 0.05, 3, z=-1e-3)), {"envelope.axis": ERROR}),
    "a quarter turn inside": (printed(move(0.01, 0.1), arc(0.004, 0.106, 0.004, 0.1, 1)), {}),
    "the second turn over the edge": (
        printed(move(0.01, 0.1), arc(0.004, 0.106, 0.004, 0.1, 2)),
        {"envelope.axis": ERROR},
    ),
    "NaN": (printed(move(np.nan)), {"envelope.axis": ERROR, "numbers.finite": ERROR}),
    "infinity": (
        printed(move(np.inf)),
        {"envelope.axis": ERROR, "numbers.finite": ERROR, "motion.endless": ERROR},
    ),
    "feed zero": (printed(move(0.06, feed=0.0)), {"motion.feed": ERROR}),
    "feed negative": (printed(move(0.06, feed=-1e-3)), {"motion.feed": ERROR}),
    "feed NaN": (printed(move(0.06, feed=np.nan)), {"motion.feed": ERROR, "numbers.finite": ERROR}),
    "rapid without feed": (printed(move(0.06, feed=np.nan, op=Op.STRAIGHT_TRAVERSE)), {}),
    "rapid with feed zero": (printed(move(0.06, feed=0.0, op=Op.STRAIGHT_TRAVERSE)), {"motion.feed": ERROR}),
    "feed above the axes": (printed(move(0.06, feed=1.0)), {}),
    "feed near zero": (printed(move(0.06, feed=1e-9)), {"motion.endless": ERROR}),
    "half an hour": (printed(move(0.06, feed=6e-6)), {}),
    "position without a move": (printed({"op": Op.NOP, "x_m": 0.06}), {"motion.jump": ERROR}),
    "position without a move, NaN": (printed({"op": Op.NOP, "x_m": np.nan}, move(0.06)), {"motion.jump": ERROR}),
    "homing one axis": (printed({"op": Op.HOME, "target": 1, "x_m": 0.0}), {}),
    "homing another axis": (printed({"op": Op.HOME, "target": 1, "x_m": 0.0, "y_m": 0.0}), {"motion.jump": ERROR}),
    "zero feed without motion": (printed(move(feed=0.0)), {}),
    "limit of the machine": (printed({"op": Op.SET_LIMIT, "target": Limit.ACCELERATION_X, "value": 1.0}), {}),
    "limit above": (
        printed({"op": Op.SET_LIMIT, "target": Limit.ACCELERATION_X, "value": 1.4}),
        {"motion.limits": WARNING},
    ),
    "limit far above": (
        printed({"op": Op.SET_LIMIT, "target": Limit.SPEED_Z, "value": 0.04}),
        {"motion.limits": ERROR},
    ),
    "limit zero": (printed({"op": Op.SET_LIMIT, "target": Limit.SPEED_Z, "value": 0.0}), {"motion.limits": ERROR}),
    "jerk zero": (printed({"op": Op.SET_LIMIT, "target": Limit.JERK_X, "value": 0.0}), {}),
    "limit unknown": (printed({"op": Op.SET_LIMIT, "target": 99, "value": 1.0}), {"motion.limits": ERROR}),
    "arc radius zero": (printed(arc(0.06, 0.05, 0.05, 0.05)), {"arc.geometry": ERROR}),
    "arc radii differ": (printed(arc(0.06, 0.05, 0.0552, 0.05)), {"arc.geometry": ERROR}),
    "arc radii differ by rounding": (printed(arc(0.06, 0.05, 0.0550005, 0.05)), {}),
    "arc without turns": (printed(arc(0.06, 0.05, 0.055, 0.05, 0)), {"arc.geometry": ERROR}),
    "dwell": (printed({"op": Op.DWELL, "value": 600.0}), {}),
    "dwell endless": (printed({"op": Op.DWELL, "value": 601.0}), {"dwell.endless": ERROR}),
    "dwell negative": (printed({"op": Op.DWELL, "value": -1.0}), {"dwell.endless": ERROR}),
    "motors off, then a move": (printed({"op": Op.MOTORS_OFF}, move(0.06)), {"homing.missing": ERROR}),
    "motors off, homed, moved": (printed({"op": Op.MOTORS_OFF}, HOME, move(0.06)), {}),
    "too hot": (
        printed(set_heater(Heater.HOTEND, 301), set_heater(Heater.HOTEND, 215)),
        {"thermal.overtemperature": ERROR},
    ),
    "bed too hot": (
        printed(set_heater(Heater.BED, 121), set_heater(Heater.BED, 60)),
        {"thermal.overtemperature": ERROR},
    ),
    "colder than ice": (printed(set_heater(Heater.HOTEND, -1)), {"thermal.overtemperature": ERROR}),
    "chamber": (
        printed(set_heater(Heater.CHAMBER, 50), set_heater(Heater.CHAMBER, 0)),
        {"heater.absent": ERROR},
    ),
    "chamber off": (printed(set_heater(Heater.CHAMBER, 0)), {}),
    "heater that does not exist": (printed(set_heater(9, 50)), {"heater.absent": ERROR}),
    "hot end off before printing": (printed(set_heater(Heater.HOTEND, 0), PRINT), {"thermal.cold_extrusion": ERROR}),
    "retract when cold": (printed(set_heater(Heater.HOTEND, 0), move(filament=-1e-3)), {}),
    "no wait": (
        printed(set_heater(Heater.HOTEND, 0), set_heater(Heater.HOTEND, 215), PRINT),
        {"thermal.no_wait": ERROR},
    ),
    "lower without wait": (printed(set_heater(Heater.HOTEND, 200), PRINT), {}),
    "raise without wait": (printed(set_heater(Heater.HOTEND, 230), PRINT), {}),
    "hotter than the material": (printed(wait_heater(Heater.HOTEND, 250), PRINT), {"thermal.material_window": WARNING}),
    "colder than the material": (printed(wait_heater(Heater.HOTEND, 178), PRINT), {"thermal.material_window": WARNING}),
    "bed hotter than the material": (printed(wait_heater(Heater.BED, 90), PRINT), {"thermal.material_window": WARNING}),
    "stand-by": (printed(set_heater(Heater.HOTEND, 160), move(0.1), wait_heater(Heater.HOTEND, 215), PRINT), {}),
    "heaters left on": (build_program([*HEAT, PRINT]), {"thermal.left_on": WARNING}),
    "bed left on": (build_program([*HEAT, PRINT, COOL[0]]), {"thermal.left_on": WARNING}),
    "hot end left on": (build_program([*HEAT, PRINT, COOL[1]]), {"thermal.left_on": WARNING}),
    "heated again": (build_program([*HEAT, PRINT, *COOL, COOL[0] | {"value": 50}]), {"thermal.left_on": WARNING}),
    "preheated": (build_program(HEAT), {}),
    "preheated and primed by 1.9 mm": (build_program([*HEAT, move(0.1, filament=1.9e-3)]), {}),
    "retractions make no part": (
        build_program([*HEAT, *[move(filament=-1e-3, feed=5e-3), move(filament=1e-3, feed=5e-3)] * 9]),
        {},
    ),
    "waits for cold": (printed(wait_heater(Heater.BED, 20)), {"thermal.endless_wait": WARNING}),
    "waits for cooling": (printed(wait_heater(Heater.BED, 30)), {}),
    "waits for off": (printed(wait_heater(Heater.BED, 0)), {}),
    "stops hot": (printed(PRINT, {"op": Op.PROGRAM_STOP}), {"thermal.paused": WARNING}),
    "stops hot if asked": (printed(PRINT, {"op": Op.OPTIONAL_PROGRAM_STOP}), {"thermal.paused": WARNING}),
    "stops cold": (build_program([HOME, {"op": Op.PROGRAM_STOP}, move(0.1, z=0.01, feed=5e-3)]), {}),
    "dwells in a row": (printed(*[{"op": Op.DWELL, "value": 301.0}] * 2), {"dwell.endless": ERROR}),
    "dwells between moves": (
        printed({"op": Op.DWELL, "value": 301.0}, move(0.1), {"op": Op.DWELL, "value": 301.0}),
        {"dwell.sum": ERROR},
    ),
    "levels unhomed": (build_program([{"op": Op.LEVEL_BED}, HOME, move(0.1)]), {"homing.missing": ERROR}),
    "flow": (
        printed(move(0.1, 0.05, feed=0.15, filament=20e-3)),
        {"extrusion.flow": ERROR},
    ),
    "flow in many small moves": (
        printed(*(move(0.1 + 1e-4 * (i % 2), 0.05, feed=0.15, filament=8e-5) for i in range(100))),
        {"extrusion.flow": ERROR},
    ),
    "flow of one tiny move": (printed(move(0.05005, 0.05, feed=0.15, filament=4e-5)), {}),
    "flow clamped by the axis": (printed(move(0.06, 0.05, feed=9.0, filament=0.3e-3)), {}),
    "purge line": (
        printed(move(0.11, 0.05, feed=16.7e-3, filament=9e-3), move(0.15, feed=16.7e-3, filament=12.5e-3)),
        {},
    ),
    "blob": (
        printed(move(0.0501, 0.05, feed=20e-3, filament=60e-3)),
        {"extrusion.blob": ERROR, "extrusion.flow": ERROR, "part.overfill": ERROR},
    ),
    "stationary": (printed(move(filament=21e-3, feed=5e-3)), {"extrusion.blob": ERROR}),
    "stationary in parts": (printed(*[move(filament=3e-3, feed=5e-3)] * 8), {"extrusion.blob": ERROR}),
    "prime": (printed(move(filament=19e-3, feed=5e-3)), {}),
    "retractions": (
        printed(*[
            row for layer in range(1, 21)
            for row in (move(filament=-5e-3), move(0.06, z=layer * 0.2e-3), move(filament=5e-3), PRINT)
        ]),
        {},
    ),
    "retract too far": (printed(move(filament=-1.1, feed=50e-3)), {"extrusion.retract": ERROR}),
    "fan": (printed({"op": Op.SET_FAN, "value": 1.0}), {}),
    "fan too fast": (printed({"op": Op.SET_FAN, "value": 1.1}), {"fan.range": ERROR}),
    "unknown operation": (printed({"op": 200}), {"command.unknown": ERROR}),
    "spindle on a printer": (printed({"op": Op.START_SPINDLE_CLOCKWISE, "value": 100}), {"spindle.absent": ERROR}),
    "nothing": (build_program([]), {"program.empty": ERROR}),
    "no move": (build_program([HOME]), {"program.empty": ERROR}),
    "other filament": (
        printed(PRINT, metadata=Metadata(filament_diameter_m=2.85e-3)),
        {"extruder.filament": ERROR},
    ),
    "filament without diameter": (
        printed(PRINT, metadata=Metadata(filament_diameter_m=np.nan)),
        {"extruder.filament": ERROR},
    ),
    "other filament, none fed": (printed(metadata=Metadata(filament_diameter_m=2.85e-3)), {}),
    "other nozzle": (printed(PRINT, metadata=Metadata(nozzle_diameter_m=0.6e-3)), {"extruder.nozzle": WARNING}),
    "this nozzle": (printed(PRINT, metadata=Metadata(nozzle_diameter_m=0.4e-3)), {}),
    "other machine": (printed(PRINT, metadata=Metadata(machine="ENDER3")), {"program.machine": WARNING}),
    "this machine": (printed(PRINT, metadata=Metadata(machine="Original Prusa i3 MK3S & MK3S+")), {}),
    "other material": (printed(PRINT, metadata=Metadata(material="ABS")), {"program.material": WARNING}),
    "this material twice": (printed(PRINT, metadata=Metadata(material="pla;PLA")), {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_rule(case):
    program, expected = CASES[case]
    optional = {rule for rule, severity in expected.items() if severity is None}
    seen = {rule: severity for rule, severity in found(program).items() if rule not in optional}
    assert seen == {rule: severity for rule, severity in expected.items() if severity is not None}


MILL_CASES = {
    "cut": (milled(move(z=-1e-3, feed=5e-3), move(0.1, feed=10e-3)), {}),
    "spindle stopped": (
        build_program([move(z=-1e-3, feed=5e-3), move(0.1, feed=10e-3)]),
        {"spindle.stopped": ERROR},
    ),
    "above the stock": (build_program([move(z=1e-3, feed=5e-3), move(0.1, feed=10e-3)]), {}),
    "started at zero": (
        milled({"op": Op.START_SPINDLE_CLOCKWISE, "value": 0.0}, move(z=-1e-3, feed=5e-3)),
        {"spindle.stopped": ERROR},
    ),
    "too fast": (
        milled({"op": Op.START_SPINDLE_CLOCKWISE, "value": 13000 * RPM}, move(0.1)),
        {"spindle.speed": ERROR},
    ),
    "too slow": (milled({"op": Op.START_SPINDLE_CLOCKWISE, "value": 10 * RPM}, move(0.1)), {"spindle.speed": ERROR}),
    "left on": (
        build_program([{"op": Op.START_SPINDLE_CLOCKWISE, "value": 10000 * RPM}, move(0.1)]),
        {"spindle.left_on": WARNING},
    ),
    "filament": (milled(move(0.1, filament=1e-3)), {"extruder.absent": ERROR}),
    "heater": (milled(set_heater(Heater.HOTEND, 200), move(0.1)), {"heater.absent": ERROR}),
}


@pytest.mark.parametrize("case", MILL_CASES)
def test_rule_on_a_mill(case):
    program, expected = MILL_CASES[case]
    assert found(program, MILL, load_material("Al6061")) == expected


def test_arcs_in_the_other_planes():
    # ZX: the centre is given as (z, x); a full circle of 10 mm radius round (x 0.05, z 0.005) sinks below the bed
    circle = move(0.06, z=0.005, op=Op.ARC_FEED, center_1_m=0.005, center_2_m=0.05, turns=1, target=Plane.ZX)
    report = check(printed(move(0.06, z=0.005, feed=5e-3), circle), PRINTER, PLA)
    finding = next(item for item in report.findings if item.rule == "envelope.axis")
    assert "Z = -5.000 mm" in finding.message
    # YZ: (y, z)
    circle = move(0.05, 0.06, 0.005, op=Op.ARC_FEED, center_1_m=0.05, center_2_m=0.005, turns=-1, target=Plane.YZ)
    report = check(printed(move(0.05, 0.06, 0.005, feed=5e-3), circle), PRINTER, PLA)
    assert any("Z = -5.000 mm" in item.message for item in report.findings)


def test_half_an_arc_reaches_only_its_own_side():
    report = check(printed(move(0.24, 0.15), arc(0.24, 0.10, 0.24, 0.125, -1)), PRINTER, PLA)
    (finding,) = (item for item in report.findings if item.severity is Severity.ERROR)
    assert finding.value == pytest.approx(265.0)
    assert finding.limit == pytest.approx(255.0)
    assert finding.unit == "mm"


def test_unhomed_axes_are_named():
    program = build_program([{"op": Op.HOME, "target": 3}, move(0.01, 0.01, 0.01)])
    messages = [item.message for item in check(program, PRINTER).findings if item.rule == "homing.missing"]
    assert len(messages) == 1
    assert "Z moves before it was homed" in messages[0]


@pytest.mark.parametrize("rule", ["command.unknown", "command.forbidden", "command.unsupported", "command.malformed"])
def test_notes_of_the_reader_refuse(rule):
    note = SourceNote(rule.removeprefix("command."), 12, "M502", "it resets the controller")
    report = check(printed(PRINT, notes=(note,)), PRINTER, PLA)
    (finding,) = report.findings
    assert (finding.rule, finding.severity, finding.line) == (rule, Severity.ERROR, 12)
    assert "Line 12: 'M502'" in finding.message
    assert "it resets the controller" in finding.message


def test_a_weak_heater_is_not_waited_for_in_vain():
    bed = PRINTER.bed.model_copy(update={"power": 50.0, "loss": 1.0})  # 75 degC at full power
    weak = PRINTER.model_copy(update={"bed": bed})
    program = printed(wait_heater(Heater.BED, 80), wait_heater(Heater.BED, 60))
    assert found(program, weak) == {"thermal.endless_wait": ERROR}
    assert found(program) == {}


def test_a_preparation_that_stays_warm_is_a_note():
    report = check(build_program(HEAT), PRINTER, PLA)
    assert report.verdict is Verdict.ACCEPT
    assert {item.rule: item.severity for item in report.findings} == {"thermal.left_on": Severity.INFO}


def test_ignored_notes_pass():
    assert found(printed(PRINT, notes=(SourceNote("ignored", 1, "M73 P0"),))) == {}


def test_an_unknown_command_is_reported_once():
    note = SourceNote("unknown", 12, "M999", "", len(HEAT))
    report = check(printed({"op": Op.UNKNOWN, "line": 12}, PRINT, notes=(note,)), PRINTER, PLA)
    assert report.error_count == 1


def test_clamped_feeds_are_one_note():
    report = check(printed(*[move(0.06, feed=1.0), move(0.05, feed=1.0)] * 5), PRINTER, PLA)
    (finding,) = report.findings
    assert finding.severity is Severity.INFO
    assert "10 moves" in finding.message
    assert report.verdict is Verdict.ACCEPT


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (move(0.06, feed=1.0), "X"),
        (move(0.051, 0.06, feed=1.0), "Y"),
        (move(0.051, z=0.01, feed=0.1), "Z"),
        (move(0.051, filament=-0.1, feed=0.1), "the filament drive"),
        (move(filament=-5e-3, feed=0.3), "the filament drive"),
        (arc(0.05, 0.05, 0.05, 0.04, feed=1.0), "the arc's axes"),
    ],
)
def test_the_note_on_clamped_feeds_names_the_axis(row, name):
    (finding,) = (item for item in check(printed(row), PRINTER, PLA).findings if item.rule == "motion.feed")
    assert f"(limit of {name})" in finding.message


def test_findings_are_capped_counted_and_ordered():
    outside = [move(0.3 + 0.001 * (index % 2), line=index + 1) for index in range(1000)]
    report = check(printed(set_heater(Heater.HOTEND, 400), *outside, metadata=Metadata(material="ABS")), PRINTER, PLA)
    assert report.error_count == 1001
    assert sum(item.rule == "envelope.axis" for item in report.findings) == MAX_PER_RULE
    assert any(item.rule == "thermal.overtemperature" for item in report.findings)
    keys = [(-item.severity, item.line) for item in report.findings]
    assert keys == sorted(keys)
    assert len(report.findings) <= MAX_FINDINGS


def test_the_whole_program_finding_is_a_sentence():
    (finding,) = (item for item in check(build_program([]), PRINTER).findings)
    assert finding.message == "The program contains no move."
    assert (finding.line, finding.instruction) == (0, -1)


def test_unknown_material_is_said():
    program = printed(PRINT, metadata=Metadata(material="FLEX"))
    (finding,) = check(program, PRINTER, None).findings
    assert finding.rule == "program.material"
    assert finding.severity is Severity.WARNING


def test_the_same_program_gives_the_same_report():
    program = printed(move(0.3), move(0.06, feed=0.0))
    assert check(program, PRINTER, PLA) == check(replace(program), PRINTER, PLA)


def test_every_rule_has_a_sentence_and_a_test():
    tests = [path.read_text() for path in Path(__file__).parent.glob("test_gates*.py")]
    for each in rules():
        assert each.sentence.endswith("."), each.id
        assert each.function.__doc__, each.id
        assert any(f'"{each.id}"' in text for text in tests), f"no test names {each.id}"


def test_klippers_limits_are_judged_on_klipper_and_refused_elsewhere():
    klipper, marlin = load_machine("voron_24"), load_machine("prusa_mk3s")

    def verdict(profile, limit, value):
        rows = [{"op": Op.HOME, "target": 7}, {"op": Op.SET_LIMIT, "target": limit, "value": value}]
        program = build_program([*rows, {"op": Op.STRAIGHT_TRAVERSE, "x_m": 0.05, "feed_m_s": 0.1}])
        found = [finding for finding in check(program, profile).findings if finding.rule == "motion.limits"]
        return found[0].severity if found else None

    assert verdict(klipper, Limit.TOOLHEAD_SPEED, 0.1) is None
    assert verdict(klipper, Limit.TOOLHEAD_SPEED, 5.0) is ERROR
    assert verdict(klipper, Limit.TOOLHEAD_SPEED, 0.0) is ERROR
    assert verdict(klipper, Limit.SQUARE_CORNER_VELOCITY, 0.0) is None
    assert verdict(klipper, Limit.ACCELERATION_E, 50.0) is None  # M201: Klipper does not obey it
    assert verdict(marlin, Limit.ACCELERATION_E, 50.0) is ERROR
    assert verdict(marlin, Limit.TOOLHEAD_SPEED, 0.1) is ERROR


def test_the_gates_take_less_than_200_bytes_an_instruction():
    """What one module of rules looks at does not wait for the next; 27 MB of G-code are a million instructions."""
    count = 200_000
    columns = {name: np.zeros(count, dtype) for name, dtype in COLUMNS.items()}
    columns["op"][:] = Op.STRAIGHT_FEED
    columns["x_m"][1::2], columns["feed_m_s"][:], columns["extrude_m3"][:] = 1e-3, 0.05, 3e-11
    program = Program(normalise(columns))
    _ = program.digest
    check(build_program([HOME, move(10e-3, filament=1e-3)]), PRINTER, PLA)  # loads the loops
    tracemalloc.start()
    try:
        check(program, PRINTER, PLA)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200 * count
