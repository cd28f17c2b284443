"""What must hold for every program, whatever is in its columns."""

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.artefacts import Severity, Verdict
from industriverse_core.machine import Box, Tool, load_machine
from industriverse_core.material import load_material
from industriverse_core.program import COLUMNS, Op, Program, build_program
from shield_node.gates import check
from shield_node.gates.context import Context

PRINTER, MILL = load_machine("prusa_mk3s"), load_machine("grbl_mill")
PLA, ALUMINIUM = load_material("PLA"), load_material("Al6061")

CLIP = Box(name="clip", x_minimum="5 mm", x_maximum="50 mm", y_minimum="0 mm", z_maximum="100 mm")
PLATE = Box(
    name="plate", x_minimum="0 mm", x_maximum="200 mm", y_minimum="0 mm", y_maximum="100 mm",
    z_minimum="-10 mm", z_maximum="0 mm",
)  # fmt: skip
CUTTER = Tool(number=1, diameter="6 mm", cutting_length="20 mm", max_depth="2 mm", max_plunge="3 mm/s")
SPINDLE = MILL.spindle.model_copy(update={"max_power": 70.0})
EQUIPPED = MILL.model_copy(update={"keep_out": (CLIP,), "tools": (CUTTER,), "spindle": SPINDLE})
PLACES = [
    (PRINTER, PLA, None), (MILL, ALUMINIUM, None), (PRINTER, None, None),
    (PRINTER.model_copy(update={"keep_out": (CLIP,)}), PLA, None), (EQUIPPED, ALUMINIUM, None),
    (EQUIPPED, ALUMINIUM, PLATE), (EQUIPPED, ALUMINIUM, CLIP),
]  # fmt: skip

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-300, 1e-9, 0.01, 0.2, 1.0, 200.0, 1e9, 1e300, -1e300, 1.7e308, -1e-3]
floats = st.one_of(st.sampled_from(SPECIAL), st.floats(allow_nan=True, allow_infinity=True))
operations = st.one_of(st.sampled_from([int(op) for op in Op]), st.integers(0, 255))


@st.composite
def wild_programs(draw):
    """Any program that the type allows: any operation, any number in any column."""
    length = draw(st.integers(0, 12))
    columns = {}
    for name, dtype in COLUMNS.items():
        if name == "op":
            values = st.lists(operations, min_size=length, max_size=length)
        elif dtype.kind == "f":
            values = st.lists(floats, min_size=length, max_size=length)
        else:
            bounds = np.iinfo(dtype)
            numbers = st.one_of(st.integers(-1, 35), st.integers(int(bounds.min), int(bounds.max)))
            values = st.lists(numbers, min_size=length, max_size=length)
        columns[name] = np.array(draw(values), dtype=dtype)
    return Program(columns)


@settings(max_examples=300, deadline=None)
@given(wild_programs(), st.sampled_from(PLACES))
def test_check_judges_any_content(program, where):
    report = check(program, *where)
    json.dumps([finding.message for finding in report.findings])
    assert (report.verdict is Verdict.REFUSE) == (report.error_count > 0)
    assert all(finding.message and finding.remedy for finding in report.findings)
    motion = program.is_motion()
    if not (np.isfinite(program.positions_m()[motion]).all() and np.isfinite(program.extrude_m3[motion]).all()):
        assert report.verdict is Verdict.REFUSE


points = st.tuples(st.floats(0, 0.25), st.floats(0, 0.21), st.floats(0, 0.2))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(points, min_size=1, max_size=8),
    st.integers(0, 7),
    st.integers(0, 2),
    st.one_of(st.floats(2e-6, 1e3), st.floats(-1e3, -2e-6)),
)
def test_a_point_moved_outside_is_refused(path, chosen, axis, beyond):
    inside = [dict(zip(("x_m", "y_m", "z_m"), point, strict=True)) for point in path]
    spec = PRINTER.kinematics.axes()[axis]
    name = ("x_m", "y_m", "z_m")[axis]
    outside = [dict(point) for point in inside]
    outside[chosen % len(path)][name] = (spec.maximum if beyond > 0 else spec.minimum) + beyond
    assert "envelope.axis" not in _errors(inside)
    assert "envelope.axis" in _errors(outside)


def _errors(path):
    home = {"op": Op.HOME, "target": 7}
    program = build_program([home, *({"op": Op.STRAIGHT_FEED, "feed_m_s": 0.01, **point} for point in path)])
    return {item.rule for item in check(program, PRINTER, PLA).findings if item.severity is Severity.ERROR}


@settings(max_examples=200, deadline=None)
@given(st.floats(0.1, 3.0), st.floats(-np.pi, np.pi), st.floats(-np.pi, np.pi), st.sampled_from([-3, -2, -1, 1, 2, 3]))
def test_arc_bounds_hold_every_point_of_the_arc(radius, begin, end, turns):
    """The bounds are those of densely sampled points."""
    start = (radius * np.cos(begin), radius * np.sin(begin))
    stop = (radius * np.cos(end), radius * np.sin(end))
    rows = [
        {"op": Op.STRAIGHT_FEED, "x_m": start[0], "y_m": start[1]},
        {"op": Op.ARC_FEED, "x_m": stop[0], "y_m": stop[1], "turns": turns},
    ]
    context = Context(build_program(rows), PRINTER)
    sense = 1.0 if turns > 0 else -1.0
    part = np.mod(sense * (end - begin), 2 * np.pi)
    if min(part, 2 * np.pi - part) < 1e-6:
        return  # a whole turn or none: rounding to the grid decides
    angles = begin + sense * np.linspace(0.0, part + 2 * np.pi * (abs(turns) - 1), 20001)
    sampled = np.column_stack([radius * np.cos(angles), radius * np.sin(angles)])
    tolerance = radius * 1e-6 + 3e-9
    lowest = np.minimum([column[1] for column in context.lowest_m[:2]], start)
    highest = np.maximum([column[1] for column in context.highest_m[:2]], start)
    np.testing.assert_allclose(lowest, sampled.min(axis=0), atol=tolerance)
    np.testing.assert_allclose(highest, sampled.max(axis=0), atol=tolerance)
    np.testing.assert_allclose(
        context.length_m[1], radius * np.ptp(angles), rtol=1e-6, atol=2e-9
    )  # ends lie on a 1 nm grid
