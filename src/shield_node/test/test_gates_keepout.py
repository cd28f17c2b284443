"""Keep-out volumes: straight moves, arcs and helices against boxes, with and without a tool's radius."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from industriverse_core.artefacts import Severity
from industriverse_core.machine import Box, Tool, load_machine
from industriverse_core.program import Op, Plane, build_program
from shield_node.gates import check
from shield_node.gates.sweeps import arc_enters, segment_enters

RULE = "envelope.keep_out"
CLIP = Box(
    name="clip", x_minimum="100 mm", x_maximum="120 mm", y_minimum="100 mm", y_maximum="120 mm", z_maximum="10 mm"
)
RACK = Box(name="rack", x_minimum="250 mm", z_minimum="20 mm", z_maximum="30 mm")
PRINTER = load_machine("prusa_mk3s").model_copy(update={"keep_out": (CLIP, RACK)})
CUTTERS = (
    Tool(number=1, diameter="6 mm", cutting_length="20 mm", max_depth="3 mm", max_plunge="5 mm/s"),
    Tool(number=2, diameter="1 mm", cutting_length="4 mm", max_depth="0.5 mm", max_plunge="2 mm/s"),
)
CLAMP = Box(
    name="clamp", x_minimum="100 mm", x_maximum="120 mm", y_minimum="100 mm", y_maximum="120 mm",
    z_minimum="-5 mm", z_maximum="20 mm",
)  # fmt: skip
MILL = load_machine("grbl_mill").model_copy(update={"keep_out": (CLAMP,), "tools": CUTTERS})
HOME = {"op": Op.HOME, "target": 7, "x_m": 0.0, "y_m": 0.0, "z_m": 0.0}


def line(x, y, z, op=Op.STRAIGHT_FEED):
    return {"op": op, "feed_m_s": 0.01, "x_m": x, "y_m": y, "z_m": z}


def arc(x, y, z, first, second, turns=1, plane=Plane.XY):
    return {**line(x, y, z, Op.ARC_FEED), "center_1_m": first, "center_2_m": second, "turns": turns, "target": plane}


PRINTER_CASES = {  # rows, entered?
    "through": ([line(0.05, 0.11, 0.001), line(0.2, 0.11, 0.001)], True),
    "through as a rapid": ([line(0.05, 0.11, 0.001), line(0.2, 0.11, 0.001, Op.STRAIGHT_TRAVERSE)], True),
    "over": ([line(0.05, 0.11, 0.02), line(0.2, 0.11, 0.02)], False),
    "on its top": ([line(0.05, 0.11, 0.01), line(0.2, 0.11, 0.01)], False),
    "past its edge": ([line(0.05, 0.1, 0.001), line(0.2, 0.1, 0.001)], False),
    "across a corner": ([line(0.098, 0.115, 0.011), line(0.098, 0.115, 0.001), line(0.106, 0.123, 0.001)], True),
    "past a corner": ([line(0.09, 0.115, 0.001), line(0.099, 0.124, 0.001)], False),
    "sinks behind it": ([line(0.05, 0.11, 0.02), line(0.2, 0.11, 0.005)], False),
    "sinks into it": ([line(0.05, 0.11, 0.02), line(0.15, 0.11, 0.0)], True),
    "down into it": ([line(0.11, 0.11, 0.02), line(0.11, 0.11, 0.0099)], True),
    "down onto it": ([line(0.11, 0.11, 0.02), line(0.11, 0.11, 0.01)], False),
    "circle round it": ([line(0.08, 0.11, 0.001), arc(0.08, 0.11, 0.001, 0.11, 0.11)], False),
    "circle through it": ([line(0.085, 0.11, 0.001), arc(0.085, 0.11, 0.001, 0.095, 0.11)], True),
    "the near half": ([line(0.095, 0.12, 0.001), arc(0.095, 0.10, 0.001, 0.095, 0.11, -1)], True),
    "the far half": ([line(0.095, 0.12, 0.001), arc(0.095, 0.10, 0.001, 0.095, 0.11, 1)], False),
    "helix above": ([line(0.085, 0.11, 0.03), arc(0.085, 0.11, 0.011, 0.095, 0.11, 4)], False),
    "helix into it": ([line(0.085, 0.11, 0.03), arc(0.085, 0.11, 0.005, 0.095, 0.11, 4)], True),
    "arc dips in ZX": ([line(0.1, 0.11, 0.015), arc(0.12, 0.11, 0.015, 0.015, 0.11, -1, Plane.ZX)], True),
    "arc rises in ZX": ([line(0.1, 0.11, 0.015), arc(0.12, 0.11, 0.015, 0.015, 0.11, 1, Plane.ZX)], False),
    "arc dips in YZ": ([line(0.11, 0.1, 0.015), arc(0.11, 0.12, 0.015, 0.11, 0.015, 1, Plane.YZ)], True),
    "unbounded box": ([line(0.24, 0.2, 0.025), line(0.251, 0.2, 0.025)], True),
    "below the unbounded box": ([line(0.24, 0.2, 0.015), line(0.251, 0.2, 0.015)], False),
    "no motion": ([{"op": Op.NOP}], False),
    "filament at a place": ([line(0.2, 0.05, 0.001), {**line(0.2, 0.05, 0.001), "extrude_m3": 1e-9}], False),
}


@pytest.mark.parametrize("case", PRINTER_CASES)
def test_a_nozzle_is_a_point(case):
    rows, entered = PRINTER_CASES[case]
    findings = [item for item in check(build_program([HOME, *rows]), PRINTER).findings if item.rule == RULE]
    assert [item.instruction for item in findings] == ([len(rows)] if entered else [])


@pytest.mark.parametrize(
    ("rows", "entered"),
    [
        ([line(0.05, 0.0965, 0.001), line(0.2, 0.0965, 0.001)], False),  # 3.5 mm beside it, 3 mm radius
        ([line(0.05, 0.0975, 0.001), line(0.2, 0.0975, 0.001)], True),  # 2.5 mm
        ([{"op": Op.CHANGE_TOOL, "target": 2}, line(0.05, 0.0975, 0.001), line(0.2, 0.0975, 0.001)], False),
        ([{"op": Op.CHANGE_TOOL, "target": 1}, line(0.05, 0.0975, 0.001), line(0.2, 0.0975, 0.001)], True),
        ([line(0.05, 0.0975, 0.03), line(0.2, 0.0975, 0.03)], False),
        ([line(0.05, 0.11, -0.01), line(0.2, 0.11, -0.01)], True),  # below the clamp: the shank goes through it
        ([line(0.097, 0.09, 0.0), arc(0.09, 0.097, 0.0, 0.09, 0.09)], False),  # the corner is 6 mm off
        ([line(0.0975, 0.09, 0.03), line(0.0975, 0.09, 0.0), arc(0.09, 0.0975, 0.0, 0.09, 0.09)], False),
        ([line(0.13, 0.05, 0.0), arc(0.13, 0.05, 0.0, 0.11, 0.05, 3)], False),
        ([line(0.13, 0.078, 0.0), arc(0.13, 0.078, 0.0, 0.11, 0.078, 1)], True),  # comes within 2 mm
    ],
)
def test_a_mills_tool_has_a_radius(rows, entered):
    found = {item.rule for item in check(build_program(rows), MILL).findings if item.severity is Severity.ERROR}
    assert (RULE in found) is entered


def test_the_finding_names_box_place_and_remedy():
    rows = [HOME, line(0.05, 0.11, 0.001), {**line(0.2, 0.11, 0.001), "line": 7}]
    (finding,) = (item for item in check(build_program(rows), PRINTER).findings if item.rule == RULE)
    assert finding.severity is Severity.ERROR
    assert finding.line == 7
    assert "'clip'" in finding.message
    assert (finding.value, finding.limit, finding.unit) == (pytest.approx(1.0), pytest.approx(10.0), "mm")


def test_without_boxes_nothing_is_kept_clear():
    rows = [HOME, line(0.05, 0.11, 0.001), line(0.2, 0.11, 0.001)]
    assert not [item for item in check(build_program(rows), load_machine("prusa_mk3s")).findings if item.rule == RULE]


def test_many_turns_are_judged_at_once():
    """A helix of 30,000 turns needs more chords than are made; it is then taken to be wider, not missed."""
    rows = [HOME, line(0.085, 0.11, 0.2), arc(0.085, 0.11, 0.005, 0.095, 0.11, 30_000)]
    assert RULE in {item.rule for item in check(build_program(rows), PRINTER).findings}


# --- against dense sampling -------------------------------------------------------------------------------

unit = st.floats(-2.0, 2.0)
point = st.tuples(unit, unit, unit)
radii = st.sampled_from([0.0, 0.2])
BOX = np.array([-0.5, 0.6, -0.4, 0.7, -0.3, 0.5])
NEAR = 2e-3  # samples are this near to each other; closer calls are left open


def _depth(points, radius):
    """How deep the deepest sampled point is in the box widened by the radius; negative = distance outside."""
    across = np.maximum(BOX[0] - points[:, 0], points[:, 0] - BOX[1])
    along = np.maximum(BOX[2] - points[:, 1], points[:, 1] - BOX[3])
    beside = np.where(
        (across > 0) | (along > 0), np.hypot(np.maximum(across, 0), np.maximum(along, 0)), np.maximum(across, along)
    )
    above = np.maximum(BOX[4] - points[:, 2], points[:, 2] - BOX[5])
    return float(-np.maximum(beside - radius, above).min())


@given(point, point, radii)
def test_segments_agree_with_sampling(a, b, radius):
    a, b = np.array(a), np.array(b)
    depth = _depth(a + np.linspace(0.0, 1.0, 4001)[:, None] * (b - a), radius)
    if abs(depth) > NEAR:
        assert segment_enters(a, b, BOX, radius) == (depth > 0)


@given(point, st.floats(0.05, 2.0), st.floats(-np.pi, np.pi), st.floats(-14.0, 14.0), unit, st.integers(0, 2), radii)
def test_arcs_agree_with_sampling(start, size, angle, sweep, rise, plane, radius):
    first, second, normal = [(0, 1, 2), (2, 0, 1), (1, 2, 0)][plane]
    a = np.array(start)
    centre = (a[first] - size * math.cos(angle), a[second] - size * math.sin(angle))
    share = np.linspace(0.0, 1.0, 30001)
    points = np.empty((len(share), 3))
    points[:, first] = centre[0] + size * np.cos(angle + share * sweep)
    points[:, second] = centre[1] + size * np.sin(angle + share * sweep)
    points[:, normal] = a[normal] + share * rise
    frame = np.array([*centre, size, angle, sweep])
    enters = arc_enters(a, points[-1].copy(), frame, np.array([first, second, normal]), BOX, radius, 4096)
    depth = _depth(points, radius)
    if abs(depth) > NEAR:
        assert enters == (depth > 0)
