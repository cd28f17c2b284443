"""What the terminal shows of a mill: what its program says of spindle and feed."""

import math

from industriverse_bringup.display import Cutting, machine_text
from industriverse_core.gcode import read_gcode
from industriverse_core.telemetry import MachineState, TelemetrySample

PROGRAM = read_gcode(b"M3 S6000\nG4 P1\nG0 Z5\nG1 X10 F300\nM5\nG0 X0\n", "m.ngc", "rs274")


def test_spindle_and_feed_are_those_of_the_instruction_in_hand():
    cutting = Cutting(PROGRAM)
    assert cutting.text(0) == "spindle     0 rpm"  # M3 has not switched yet: the machine may be homing
    assert cutting.text(1) == "spindle  6000 rpm"
    assert cutting.text(2) == "spindle  6000 rpm   rapid"
    assert cutting.text(3) == "spindle  6000 rpm   feed  300 mm/min"
    assert cutting.text(5) == "spindle     0 rpm   rapid"
    assert cutting.text(99) == "spindle     0 rpm"


def test_the_line_of_a_mill_names_no_heater_and_no_place_that_is_unknown():
    sample = TelemetrySample(0.0, "grbl_mill", 1, 1, MachineState.EXECUTING, instruction=3, power_w=88.0)
    assert machine_text(sample, Cutting(PROGRAM)) == "spindle  6000 rpm   feed  300 mm/min    88.0 W"
    assert math.isnan(sample.position_m[0])
