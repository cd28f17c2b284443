"""The traps of hostile files in many clothes: units, offsets, relative modes, planes, scales, other commands.

Each case is a short text after a usual start, the verdict that it must get, and the rule that must be the cause
("reader": it is refused before it becomes a program).
"""

import pytest

from industriverse_core.artefacts import Severity, Verdict
from industriverse_core.errors import CoreError
from industriverse_core.gcode import read_gcode
from industriverse_core.machine import Box, Tool, load_machine
from industriverse_core.material import load_material
from shield_node.gates import check

PRINTER = load_machine("prusa_mk3s")
START = "G21\nG90\nM82\nG28\nM140 S60\nM104 S215\nM190 S60\nM109 S215\nG92 E0\nG1 Z0.2 F600\n"
END = "\nM104 S0\nM140 S0\nM107\nM84\n"
STEPS = "\n".join(f"G1 X{50 + i % 2 * 0.1} E{5 * i} F300" for i in range(1, 9))  # a blob in eight parts
LAYER = "\n".join(f"G1 X{100 if i % 2 else 50} Y{50 + i} E{i * 1.6} F1200" for i in range(1, 30))
UNUSUAL = "\ufeffg28\r\nm190\ts60\r\nm109 s215\r\ng1z.2f600\r\ng1\tx50y50f3000\r\ng1x60.5e.5\r\n"
REFUSE, WARN, ACCEPT = Verdict.REFUSE, Verdict.WARN, Verdict.ACCEPT
READER = "reader"

PRINTED = {
    # out of the envelope
    "X beyond": ("G1 X255.1 F3000", "envelope.axis"),
    "X at the end": ("G1 X255 F3000", ACCEPT),
    "Y below": ("G1 Y-4.1 F3000", "envelope.axis"),
    "Z beyond": ("G1 Z211 F600", "envelope.axis"),
    "Z below the bed": ("G0 Z-.1", "envelope.axis"),
    "rapid beyond": ("G0 X400", "envelope.axis"),
    "feed in force, no code letter on the next line": ("G1 X50 F3000\nX60", READER),
    "relative steps": ("G91\n" + "G1 X60 F3000\n" * 5, "envelope.axis"),
    "relative steps that come back": ("G91\n" + "G1 X60 F3000\nG1 X-60\n" * 5, ACCEPT),
    "G92 hides it": ("G1 X200 F3000\nG92 X0\nG1 X100", "envelope.axis"),
    "G92 hides it below zero": ("G92 X100\nG1 X50 F3000", "envelope.axis"),
    "G92 Z lowers": ("G1 Z5 F600\nG92 Z10\nG1 Z4", "envelope.axis"),
    "G92 undone by homing": ("G1 X200 F3000\nG92 X0\nG28 X\nG1 X100", ACCEPT),
    "G92 twice": ("G1 X100 F3000\nG92 X0\nG1 X100\nG92 X0\nG1 X100", "envelope.axis"),
    "inches": ("G20\nG1 X12 F100", "envelope.axis"),
    "inches inside": ("G20\nG1 X9 F100", ACCEPT),
    "inches relative": ("G20\nG91\nG1 X6 F100\nG1 X6", "envelope.axis"),
    "inches and G92": ("G20\nG92 X5\nG1 X16 F100", "envelope.axis"),
    "no blanks, lower case": ("g1x400f3000", "envelope.axis"),
    "leading zeros": ("G01 X0000400.0 F3000", "envelope.axis"),
    "plus sign": ("G1 X+400 F3000", "envelope.axis"),
    "twice the same letter": ("G1 X10 X400 F3000", READER),
    # arcs
    "arc bulges": ("G1 X240 Y100 F3000\nG3 X240 Y150 I0 J25", "envelope.axis"),
    "arc bulges inward": ("G1 X240 Y100 F3000\nG2 X240 Y150 I0 J25", ACCEPT),
    "arc by radius bulges": ("G1 X240 Y100 F3000\nG3 X240 Y150 R25", "envelope.axis"),
    "the long arc by radius": ("G1 X240 Y100 F3000\nG2 X240 Y140 R-25", ACCEPT),
    "the long arc by radius bulges": ("G1 X240 Y100 F3000\nG3 X240 Y140 R-25", "envelope.axis"),
    "full circle": ("G1 X250 Y100 F3000\nG2 X250 Y100 I-10 J0", ACCEPT),
    "full circle beyond": ("G1 X250 Y100 F3000\nG2 X250 Y100 I5 J0", "envelope.axis"),
    "helix through the bed": ("G1 X100 Y100 F3000\nG2 X100 Y100 Z-3 I10 J0", "envelope.axis"),
    "arc in ZX dips": ("G1 X100 Y100 Z4 F600\nG18\nG2 X110 Z4 I5 K0", "envelope.axis"),
    "arc in ZX rises": ("G1 X100 Y100 Z4 F600\nG18\nG3 X110 Z4 I5 K0", ACCEPT),
    "arc in YZ dips": ("G1 X100 Y100 Z2 F600\nG19\nG3 Y110 Z2 J5 K0", "envelope.axis"),
    "arc in YZ rises": ("G1 X100 Y100 Z2 F600\nG19\nG2 Y110 Z2 J5 K0", ACCEPT),
    "arc in inches": ("G20\nG1 X9.4 Y4 F100\nG3 X9.4 Y6 I0 J1", "envelope.axis"),
    "arc relative": ("G1 X240 Y100 F3000\nG91\nG3 X0 Y50 I0 J25", "envelope.axis"),
    "arc centre is the start": ("G1 X50 Y50 F3000\nG2 X60 Y50 I0 J0", READER),
    "arc radii differ": ("G1 X50 Y50 F3000\nG2 X60 Y50 I3 J0", READER),
    "arc radius too small": ("G1 X50 Y50 F3000\nG2 X80 Y50 R10", READER),
    "arc without centre": ("G1 X50 Y50 F3000\nG2 X60 Y50", READER),
    # heat
    "hot end too hot": ("M104 S301", "thermal.overtemperature"),
    "hot end too hot, waited": ("M109 S450", "thermal.overtemperature"),
    "hot end too hot by R": ("M109 R450", "thermal.overtemperature"),
    "bed too hot": ("M140 S121", "thermal.overtemperature"),
    "bed too hot, waited": ("M190 S200", "thermal.overtemperature"),
    "below zero": ("M104 S-5", None),
    "another hot end": ("M104 T1 S215", None),
    "chamber": ("M141 S60", "heater.absent"),
    "chamber, waited": ("M191 S60", "heater.absent"),
    "cold": ("M104 S0\nG1 X50 E5 F1200", "thermal.cold_extrusion"),
    "too cold": ("M109 S150\nG1 X50 E5 F1200", "thermal.cold_extrusion"),
    "cooled in the print": ("G1 X50 E2 F1200\nM104 S100\nG1 X100 E4", "thermal.cold_extrusion"),
    "not waited": ("M104 S0\nM104 S215\nG1 X50 E5 F1200", "thermal.no_wait"),
    "too hot for PLA": ("M109 S260\nG1 X50 E2 F1200", WARN),
    # filament
    "blob": ("G1 X50 Y50 F3000\nG1 X50.1 E60 F1200", "extrusion.blob"),
    "blob at a place": ("G1 E60 F300", "extrusion.blob"),
    "blob in steps": ("G1 X50 F3000\n" + STEPS, "extrusion.blob"),
    "blob relative": ("M83\n" + "G1 E8 F300\n" * 4, "extrusion.blob"),
    "blob by G92": ("G1 E10 F300\nG92 E0\nG1 E10\nG92 E0\nG1 E10", "extrusion.blob"),
    "blob by a negative G92": ("G92 E-60\nG1 E0 F300", "extrusion.blob"),
    "blob in inches": ("G20\nG1 E2 F10", "extrusion.blob"),
    "blob by M221": ("M221 S999\nG1 E5 F300", "extrusion.blob"),
    "flow": ("G1 X50 Y50 F3000\nG1 X100 E40 F9000", "extrusion.flow"),
    "flow by M221": ("M221 S500\nG1 X50 Y50 E5 F9000\nG1 X100 Y100 E10", "extrusion.flow"),
    "flow by M220": ("M220 S900\nG1 X150 Y150 E24 F1500", "extrusion.flow"),
    "flow slowed by M220": ("M220 S20\nG1 X150 Y150 E24 F9000", ACCEPT),
    "pulled out": ("G1 X50 E2 F1200\nG92 E0\nG1 E-90 F1200\nG1 X100 E-80", "extrusion.dry"),
    "lost reset": ("G92 E500\nG1 X50 E1 F1200\nG1 X100 E3", "extrusion.dry"),
    # feed, time
    "feed zero": ("G1 X50 F0", "motion.feed"),
    "feed zero, in force": ("G1 F0\nG1 X50", "motion.feed"),
    "feed negative": ("G1 X50 F-3000", None),
    "feed tiny": ("G1 X50 F0.0001", "motion.endless"),
    "feed tiny in inches": ("G20\nG1 X2 F0.00001", "motion.endless"),
    "feed huge": ("G1 X50 F99999999", ACCEPT),
    "M220 zero": ("M220 S0\nG1 X50 F3000", None),
    "dwell in seconds": ("G4 S3601", "dwell.endless"),
    "dwell in milliseconds": ("G4 P3601000", "dwell.endless"),
    "dwells": ("G4 S500\n" * 4, "dwell.endless"),
    "short dwell": ("G4 P500", ACCEPT),
    "wait for cold": ("M190 R5", WARN),
    "stops hot": ("M0", WARN),
    # homing
    "motors off": ("M84\nG1 X50 F3000", "homing.missing"),
    "motors off, one axis": ("M18 X\nG1 X50 F3000", "homing.missing"),
    "motors off, the other of a CoreXY's": ("M18 X\nG1 Y50 F3000", "homing.missing"),
    "motors off, Z": ("M84 Z\nG1 Z5 F600", "homing.missing"),
    "motors off, another axis": ("M84 Z\nG1 X50 F3000", ACCEPT),
    "motors off, the filament's": ("M84 E\nG1 X50 F3000", ACCEPT),
    "homed into the part": (
        "G1 X50 Y50 F3000\n" + LAYER + "\nG28",
        "part.homing",
    ),
    # commands
    "safety": ("M302 P1", None),
    "safety, S0": ("M302 S0", "command.forbidden"),
    "memory": ("M500", "command.forbidden"),
    "factory settings": ("M502", "command.forbidden"),
    "emergency stop": ("M112", "command.forbidden"),
    "end stops off": ("M211 S0", "command.forbidden"),
    "steps": ("M92 X800", "command.forbidden"),
    "probe offset": ("M851 Z-5", "command.forbidden"),
    "home offset": ("M206 Z-2", "command.forbidden"),
    "unknown code": ("M7777", "command.unknown"),
    "unknown letter": ("Q12", None),
    "macro": ("START_PRINT BED=60", None),
    "another tool": ("T1\nG1 X50 F3000", "tool.number"),
    "spindle": ("M3 S1000", "spindle.absent"),
    "limits": ("M201 X90000", "motion.limits"),
    "limits zero": ("M201 X0", "motion.limits"),
    "speed limits": ("M203 X5000", "motion.limits"),
    "jerk": ("M205 X500", "motion.limits"),
    "checksum": ("N1 G1 X50 F3000*99", "command.malformed"),
    "line number repeated": ("N5 G1 X50 F3000*80\nN5 G1 X60*2", None),
    # numbers
    "overflow": ("G1 X" + "9" * 200, READER),
    "exponent": ("G1 X1e3 F3000", None),
    "NaN": ("G1 XNaN F3000", None),
    "two points": ("G1 X1.2.3 F3000", None),
    "only a sign": ("G1 X- F3000", None),
    "hexadecimal": ("G1 X0x10 F3000", None),
}  # fmt: skip


def _report(text, profile=PRINTER, material="PLA", dialect="marlin"):
    try:
        return check(read_gcode(text.encode(), "hostile", dialect), profile, load_material(material))
    except CoreError:
        return None


def _assert_verdict(report, expected):
    """expected: a verdict; the rule that refuses; READER or None = refused, by the reader or by whatever rule."""
    if report is None:
        assert expected in (READER, None)
    elif isinstance(expected, Verdict):
        assert report.verdict is expected, report.findings[:3]
    else:
        assert report.verdict is REFUSE
        errors = {item.rule for item in report.findings if item.severity is Severity.ERROR}
        wanted = {"command.malformed", "command.unsupported", "command.unknown"} if expected == READER else {expected}
        assert expected is None or errors & wanted, errors


@pytest.mark.parametrize("case", PRINTED)
def test_traps_for_a_printer(case):
    text, expected = PRINTED[case]
    _assert_verdict(_report(START + text + END), expected)


WHOLE = {  # without the usual start and end
    "not homed": ("G21\nG90\nG1 X50 F3000", "homing.missing"),
    "homed in part": ("G28 X Y\nG1 X50 Y50 F3000\nG1 Z5 F600", "homing.missing"),
    "homed in part, moved there": ("G28 X Y\nG1 X50 Y50 F3000", ACCEPT),
    "levelled, not homed": ("G29\nG28\nG1 X50 F3000", "homing.missing"),
    "no feed ever": ("G28\nG1 X50", "motion.feed"),
    "no heat": ("G28\nG1 Z0.2 F600\nG1 X50 E2 F1200", "thermal.cold_extrusion"),
    "only the bed": ("G28\nM190 S60\nG1 Z0.2 F600\nG1 X50 E2 F1200\nM140 S0", "thermal.cold_extrusion"),
    "bed not waited": ("G28\nM140 S60\nM109 S215\nG1 Z0.2 F600\nG1 X50 E2 F1200\nM104 S0\nM140 S0", WARN),
    "both left on": (START + "G1 X50 Y50 E5 F1200", WARN),
    "bed left on": (START + "G1 X50 Y50 E5 F1200\nM104 S0", WARN),
    "hot end left on": (START + "G1 X50 Y50 E5 F1200\nM140 S0", WARN),
    "left on at 1 degree": (START + "G1 X50 Y50 E5 F1200\nM104 S1\nM140 S0", WARN),
    "off and on again": (START + "G1 X50 Y50 E5 F1200\nM104 S0\nM140 S0\nM104 S200", WARN),
    "off after the end": (START + "G1 X50 Y50 E5 F1200\nM2\nM104 S0\nM140 S0", WARN),
    "off by R": (START + "G1 X50 Y50 E5 F1200\nM109 R0\nM190 R0", ACCEPT),
    "preheated": ("G28\nM140 S60\nM104 S215\nM190 S60\nM109 S215\nG1 Z5 F600", ACCEPT),
    "unusual spelling": (UNUSUAL, ACCEPT),
    "comments inside": ("G28 ; home\n(all) G1 X50 (to) F3000 ; X400\n; G1 X999\n", ACCEPT),
    "a carriage return hides a command": ("G28\n; warm up\rM104 S400\nG1 X50 F3000", None),
    "a carriage return between moves": ("G28\nG1 X50\rY50 F3000", None),
    "nothing": ("; nothing\n", None),
    "empty": ("", None),
}  # fmt: skip


def test_klipper_switches_off_all_motors_whatever_letters_are_written():
    program = read_gcode((START + "M84 E\nG1 X50 F3000" + END).encode(), "hostile", "marlin")
    report = check(program, load_machine("voron_24"), load_material("PLA"))
    assert "homing.missing" in {item.rule for item in report.findings if item.severity is Severity.ERROR}


@pytest.mark.parametrize("case", WHOLE)
def test_whole_texts_for_a_printer(case):
    text, expected = WHOLE[case]
    _assert_verdict(_report(text), expected)


CLAMP = Box(
    name="clamp", x_minimum="130 mm", x_maximum="150 mm", y_minimum="20 mm", y_maximum="60 mm", z_maximum="15 mm"
)
PLATE = Box(
    name="plate", x_minimum="0 mm", x_maximum="120 mm", y_minimum="0 mm", y_maximum="80 mm",
    z_minimum="-12 mm", z_maximum="0 mm",
)  # fmt: skip
CUTTER = Tool(number=1, diameter="6 mm", cutting_length="20 mm", max_depth="2 mm", max_plunge="3 mm/s")
MILL = load_machine("grbl_mill").model_copy(update={"tools": (CUTTER,), "stock": PLATE, "keep_out": (CLAMP,)})
READY = "G21 G90 G17 G94\nT1 M6\nM3 S10000\nG0 Z5\nG0 X20 Y20\n"
DONE = "\nG0 Z5\nM5\nM2\n"

MILLED = {
    "slot": ("G1 Z-1 F120\nX60 F300", ACCEPT),
    "slot in inches": ("G20\nG1 Z-.04 F4\nX2.4 F12\nG21", ACCEPT),
    "slot relative": ("G91\nG1 Z-6 F120\nX40 F300\nG90", ACCEPT),
    "rapid down": ("G0 Z-1", "stock.rapid"),
    "rapid down relative": ("G91\nG0 Z-6\nG90", "stock.rapid"),
    "rapid across": ("G1 Z-1 F120\nG0 X60", "stock.rapid"),
    "rapid across in inches": ("G20\nG1 Z-.04 F4\nG0 X2", "stock.rapid"),
    "rapid by G92": ("G92 Z10\nG0 Z3", "stock.rapid"),
    "rapid in force": ("G0 X30\nZ-2", "stock.rapid"),
    "lost retract": ("G1 Z-1 F120\nX60 F300\nG0 X60 Y60", "stock.rapid"),
    "spindle stopped": ("M5\nG1 Z-1 F120", "spindle.stopped"),
    "spindle at zero": ("S0\nG1 Z-1 F120", "spindle.stopped"),
    "tool changed, not started": ("T1 M6\nG1 Z-1 F120", "spindle.stopped"),
    "spindle too fast": ("S50000\nG1 Z-1 F120", "spindle.speed"),
    "spindle reversed": ("M5\nM4 S10000\nG1 Z-1 F120", WARN),
    "plunge": ("G1 Z-1 F600", "tool.plunge"),
    "plunge in inches": ("G20\nG1 Z-.04 F20", "tool.plunge"),
    "helix too steep": ("G1 Z0 F120\nG2 X20 Y20 Z-2 I0.5 J0 F900", "tool.plunge"),
    "deep": ("G1 Z-5 F120\nX60 F300", "tool.engagement"),
    "deep by G92": ("G92 Z12\nG1 Z1 F120\nX60 F300", "tool.engagement"),
    "deep arc in ZX": ("G1 Z0 F120\nG18\nG2 X40 Z0 I10 K0 F120", "tool.engagement"),
    "unknown tool": ("M5\nT7 M6\nM3 S10000", "tool.number"),
    "through the clamp": ("G0 X140 Y40", "envelope.keep_out"),
    "beside the clamp by less than the radius": ("G0 X128 Y70\nG0 X128 Y10", "envelope.keep_out"),
    "over the clamp": ("G0 Z16\nG0 X140 Y40\nG0 Y100", ACCEPT),
    "arc over the clamp's corner": ("G0 X110 Y70\nG1 Z1 F100\nG2 X160 Y20 I0 J-50 F300", "envelope.keep_out"),
    "beyond": ("G0 X301", "envelope.axis"),
    "inch switch": ("G20\nG0 X50 Y50", "envelope.axis"),
    "feed zero": ("G1 X30 F0", "motion.feed"),
    "no feed": ("G1 X30", "motion.feed"),
    "dwell": ("G4 P100000", "dwell.endless"),
    "compensation": ("G41 D1", None),
    "subroutine": ("o100 sub\no100 call\no100 endsub", None),
    "expression": ("G1 X[1+2] F100", None),
    "parameter": ("#1=5\nG1 X#1 F100", None),
    "heater": ("M104 S200", None),
    "inverse time": ("G93\nG1 X30 F0.001", None),
}  # fmt: skip


@pytest.mark.parametrize("case", MILLED)
def test_traps_for_a_mill(case):
    text, expected = MILLED[case]
    _assert_verdict(_report(READY + text + DONE, MILL, "Al6061", "rs274"), expected)


def test_a_mill_that_leaves_its_spindle_on():
    report = _report(READY + "G1 Z-1 F120\nX60 F300\nG0 Z5\n", MILL, "Al6061", "rs274")
    assert {item.rule: item.severity for item in report.findings} == {"spindle.left_on": Severity.WARNING}


def test_a_printers_homing_is_refused_on_a_mill():
    """Its text is read by Marlin's rules: 'G4 P2' would be two thousandths of a second."""
    report = _report("G28\nG21\nG90\nM3 S10000\nG4 P2\nG0 Z5\nM5\nM30\n", MILL, "Al6061", None)
    _assert_verdict(report, "homing.mill")
