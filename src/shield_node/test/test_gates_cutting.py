"""Tool and stock of a mill: each rule with a program that it lets pass and one that it does not."""

import numpy as np
import pytest

from industriverse_core.artefacts import Severity, Verdict
from industriverse_core.machine import Box, Tool, load_machine
from industriverse_core.material import load_material
from industriverse_core.program import Op, Plane, build_program
from industriverse_core.units import RPM
from shield_node.gates import check

TOOLS = (
    Tool(number=1, diameter="6 mm", cutting_length="20 mm", max_depth="2 mm", max_plunge="3 mm/s"),
    Tool(number=2, diameter="3 mm", cutting_length="10 mm", max_depth="1 mm", max_plunge="2 mm/s"),
)
STOCK = Box(
    name="plate", x_minimum="10 mm", x_maximum="110 mm", y_minimum="10 mm", y_maximum="70 mm",
    z_minimum="-10 mm", z_maximum="0 mm",
)  # fmt: skip
MILL = load_machine("grbl_mill").model_copy(update={"tools": TOOLS})
ALUMINIUM = load_material("Al6061")
ERROR, WARNING = Severity.ERROR, Severity.WARNING
START = [{"op": Op.CHANGE_TOOL, "target": 1}, {"op": Op.START_SPINDLE_CLOCKWISE, "value": 10000 * RPM}]
STOP = {"op": Op.STOP_SPINDLE_TURNING}


def feed(x=None, y=None, z=None, speed=2e-3, **more):
    row = {"op": Op.STRAIGHT_FEED, "feed_m_s": speed, **more}
    row.update({f"{name}_m": value for name, value in (("x", x), ("y", y), ("z", z)) if value is not None})
    return row


def rapid(x=None, y=None, z=None):
    return feed(x, y, z, speed=np.nan, op=Op.STRAIGHT_TRAVERSE)


def helix(x, y, z, centre_x, centre_y, turns=1, speed=2e-3, plane=Plane.XY):
    return feed(
        x, y, z, speed, op=Op.ARC_FEED, center_1_m=centre_x, center_2_m=centre_y, turns=turns, target=plane
    )  # fmt: skip


ABOVE = [rapid(z=5e-3), rapid(0.05, 0.04)]
DOWN = [rapid(z=1e-3), feed(z=-1e-3)]
SLOT = feed(0.07, speed=5e-3)


def found(rows, profile=MILL, stock=STOCK, material=ALUMINIUM):
    program = build_program([*rows, STOP, {"op": Op.PROGRAM_END}])
    report = check(program, profile, material, stock)
    return {item.rule: item.severity for item in report.findings if item.severity > Severity.INFO}


CASES = {
    "slot": ([*START, *ABOVE, *DOWN, SLOT, rapid(z=5e-3)], {}),
    "spindle stands": ([START[0], *ABOVE, *DOWN, SLOT], {"spindle.stopped": ERROR}),
    "stopped in the cut": ([*START, *ABOVE, *DOWN, STOP, SLOT], {"spindle.stopped": ERROR}),
    "stopped beside the stock": ([START[0], rapid(0.15, 0.1), feed(z=-5e-3), feed(0.2)], {}),
    "stopped by a tool change": (
        [*START, *ABOVE, *DOWN, {"op": Op.CHANGE_TOOL, "target": 1}, SLOT],
        {"spindle.stopped": ERROR, "tool.turning": WARNING},
    ),
    "stopped in a cleared slot": ([*START, *ABOVE, *DOWN, SLOT, STOP, feed(0.05)], {}),
    "reversed": (
        [START[0], {"op": Op.START_SPINDLE_COUNTERCLOCKWISE, "value": 10000 * RPM}, *ABOVE, *DOWN, SLOT],
        {"spindle.reversed": WARNING},
    ),
    "stops at an angle": ([*START, *ABOVE, {"op": Op.ORIENT_SPINDLE}], {"spindle.oriented": ERROR}),
    "waits turning": ([*START, {"op": Op.PROGRAM_STOP}, *ABOVE], {"spindle.paused": WARNING}),
    "waits standing": ([{"op": Op.PROGRAM_STOP}, *START, *ABOVE], {}),
    "tool from the table": ([{"op": Op.CHANGE_TOOL, "target": 2}, START[1], *ABOVE], {}),
    "tool not in the table": ([{"op": Op.CHANGE_TOOL, "target": 3}, START[1], *ABOVE], {"tool.number": ERROR}),
    "plunge": ([*START, *ABOVE, rapid(z=1e-3), feed(z=-1e-3, speed=3e-3)], {}),
    "plunge too fast": ([*START, *ABOVE, rapid(z=1e-3), feed(z=-1e-3, speed=4e-3)], {"tool.plunge": ERROR}),
    "plunge of a finer tool": (
        [{"op": Op.CHANGE_TOOL, "target": 2}, START[1], *ABOVE, rapid(z=1e-3), feed(z=-0.5e-3, speed=3e-3)],
        {"tool.plunge": ERROR},
    ),
    "ramp": ([*START, *ABOVE, rapid(z=0.0), feed(0.07, z=-1e-3, speed=15e-3)], {}),
    "steep ramp": ([*START, *ABOVE, rapid(z=0.0), feed(0.0515, z=-1.5e-3, speed=15e-3)], {"tool.plunge": ERROR}),
    "plunge beside the stock": ([*START, rapid(0.15, 0.1), feed(z=-5e-3, speed=10e-3)], {}),
    "helix": ([*START, *ABOVE, rapid(z=0.0), helix(0.05, 0.04, -2e-3, 0.052, 0.04, 2)], {}),
    "steep helix": (
        [*START, *ABOVE, rapid(z=0.0), helix(0.05, 0.04, -2e-3, 0.0502, 0.04, 1, 10e-3)],
        {"tool.plunge": ERROR},
    ),
    "at its depth": ([*START, *ABOVE, rapid(z=0.0), feed(z=-2e-3), SLOT], {}),
    "too deep": ([*START, *ABOVE, rapid(z=0.0), feed(z=-2e-3), feed(z=-2.5e-3), SLOT], {"tool.engagement": ERROR}),
    "deep in two passes": ([*START, *ABOVE, rapid(z=0), feed(z=-2e-3), SLOT, feed(z=-4e-3), feed(0.05)], {}),
    "too deep on an arc in ZX": (
        [*START, *ABOVE, rapid(z=0.0), helix(0.07, 0.04, 0.0, 4e-3, 0.06, -1, 2e-3, Plane.ZX)],
        {"tool.engagement": ERROR, "arc.geometry": None},
    ),
    "rapid down": ([*START, *ABOVE, rapid(z=-1e-3)], {"stock.rapid": ERROR}),
    "rapid across": ([*START, *ABOVE, *DOWN, rapid(0.07)], {"stock.rapid": ERROR}),
    "rapid on a slope": ([*START, *ABOVE, rapid(0.08, z=-1e-3)], {"stock.rapid": ERROR}),
    "rapid in a cleared slot": ([*START, *ABOVE, *DOWN, SLOT, rapid(0.05), rapid(z=5e-3), rapid(z=-1e-3)], {}),
    "rapid beside the stock": ([*START, rapid(0.15, 0.1), rapid(z=-5e-3), rapid(0.2), rapid(z=5e-3)], {}),
    "rapid out": ([*START, *ABOVE, *DOWN, rapid(z=5e-3)], {}),
    "peck": ([*START, *ABOVE, *DOWN, rapid(z=1e-3), rapid(z=-0.9e-3), feed(z=-2e-3)], {}),
}


@pytest.mark.parametrize("case", CASES)
def test_rule(case):
    rows, expected = CASES[case]
    optional = {rule for rule, severity in expected.items() if severity is None}
    seen = {rule: severity for rule, severity in found(rows).items() if rule not in optional}
    assert seen == {rule: severity for rule, severity in expected.items() if severity is not None}


def test_the_profiles_stock_is_used_where_no_other_is_named():
    rows, expected = CASES["rapid down"]
    assert found(rows, MILL.model_copy(update={"stock": STOCK}), None) == expected


@pytest.mark.parametrize("case", ["rapid down", "rapid across", "too deep"])
def test_an_assumed_stock_only_warns(case):
    rows, expected = CASES[case]
    report = check(build_program([*rows, STOP]), MILL, ALUMINIUM)
    assert {item.rule: item.severity for item in report.findings} == {
        **dict.fromkeys(expected, WARNING), "stock.unknown": Severity.INFO,
    }  # fmt: skip
    assert report.verdict is Verdict.WARN
    assert any("no stock is named" in item.message for item in report.findings)


def test_without_a_stock_plunges_and_a_standing_spindle_still_refuse():
    assert found([START[0], *ABOVE, *DOWN, SLOT], stock=None)["spindle.stopped"] is ERROR
    assert found([*START, *ABOVE, rapid(z=1e-3), feed(z=-1e-3, speed=4e-3)], stock=None) == {"tool.plunge": ERROR}


def test_a_stock_that_cannot_be_followed_is_said():
    open_stock = Box(name="endless", z_maximum="0 mm")
    assert found(CASES["slot"][0], stock=open_stock) == {"stock.unknown": WARNING}


def test_without_tools_depth_and_plunge_have_no_limit():
    rows = [*START, *ABOVE, rapid(z=1e-3), feed(z=-8e-3, speed=8e-3), SLOT]
    assert found(rows, MILL.model_copy(update={"tools": ()})) == {}


def test_a_printer_has_one_hot_end():
    home = {"op": Op.HOME, "target": 7}
    rows = [home, {"op": Op.CHANGE_TOOL, "target": 1}, feed(0.05)]
    assert found(rows, load_machine("prusa_mk3s"), None, load_material("PLA")) == {"tool.number": ERROR}
    rows[1]["target"] = 0
    assert found(rows, load_machine("prusa_mk3s"), None, load_material("PLA")) == {}


@pytest.mark.parametrize(("top_w", "expected"), [(1000, {}), (80, {"spindle.power": WARNING}), (62, ERROR)])
def test_the_spindles_power(top_w, expected):
    """A slot 6 mm wide and 1 mm deep at 5 mm/s: 30 mm3/s of 0.7 J/mm3 are 21 W above the idle 60 W: 81 W."""
    spindle = MILL.spindle.model_copy(update={"max_power": float(top_w)})
    seen = found(CASES["slot"][0], MILL.model_copy(update={"spindle": spindle}))
    assert seen == ({"spindle.power": ERROR} if expected is ERROR else expected)


def test_findings_state_value_and_limit():
    program = build_program([*CASES["too deep"][0], STOP])
    (finding, *_) = (item for item in check(program, MILL, ALUMINIUM, STOCK).findings)
    assert finding.rule == "tool.engagement"
    assert (finding.value, finding.limit, finding.unit) == (pytest.approx(2.5), pytest.approx(2.0), "mm")
