"""Material removal against closed forms, and its books: what moves remove is what the stock lacks."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from industriverse_core.errors import CoreError, ErrorCode
from industriverse_core.gcode import load_program
from industriverse_core.machine import Box, Tool, load_machine
from industriverse_core.program import Op, Plane, build_program
from industriverse_core.stock import MAX_CELLS, simulate_removal

TOOLS = (
    Tool(number=1, diameter="6 mm", cutting_length="20 mm", max_depth="3 mm", max_plunge="2 mm/s"),
    Tool(number=2, diameter="3 mm", cutting_length="12 mm", max_depth="1.5 mm", max_plunge="2 mm/s"),
)
MILL = load_machine("grbl_mill").model_copy(update={"tools": TOOLS})
MM = 1e-3


def box(x=100.0, y=60.0, z=10.0):
    sides = {"x_minimum": 0.0, "x_maximum": x * MM, "y_minimum": 0.0, "y_maximum": y * MM}
    return Box.model_construct(name="blank", **sides, z_minimum=-z * MM, z_maximum=0.0)


def to(x, y, z, op=Op.STRAIGHT_FEED, **more):
    return {"op": op, "x_m": x * MM, "y_m": y * MM, "z_m": z * MM, "feed_m_s": 0.005, **more}


def lift(x, y, z=5.0):
    return to(x, y, z, Op.STRAIGHT_TRAVERSE)


def tolerance(removal, perimeter_mm, depth_mm):
    return 0.5 * perimeter_mm * MM * depth_mm * MM * max(removal.cell_m)


def run(*rows, stock=None, **options):
    return simulate_removal(build_program(rows), MILL, stock or box(), **options)


def test_a_plunge_is_a_cylinder():
    removal = run(lift(30, 30), to(30, 30, -4))
    assert removal.removed_m3[1] == pytest.approx(math.pi * 9 * 4e-9, abs=tolerance(removal, math.pi * 6, 4))
    assert removal.axial_depth_m[1] == pytest.approx(4 * MM)
    assert removal.radial_m[1] == 6 * MM
    assert removal.removed_m3[0] == 0.0


@pytest.mark.parametrize("angle", [0.0, 0.3, math.pi / 4, math.pi / 2, 2.5, -1.0])
def test_a_slot_is_a_stadium(angle):
    x, y = 50 + 20 * math.cos(angle), 30 + 20 * math.sin(angle)
    removal = run(lift(50, 30), to(50, 30, -2), to(x, y, -2))
    area = math.pi * 9 + 6 * 20
    assert removal.removed_m3.sum() == pytest.approx(area * 2e-9, abs=tolerance(removal, 2 * 20 + 6 * math.pi, 2))
    assert removal.removed_m3[2] == pytest.approx(6 * 20 * 2e-9, abs=tolerance(removal, 2 * 20 + 6 * math.pi, 2))
    assert removal.axial_depth_m[2] == pytest.approx(2 * MM)
    assert removal.radial_m[2] == pytest.approx(6 * MM, rel=0.02)


def test_half_a_tool_beside_the_edge_is_half_the_width():
    removal = run(lift(-10, 0), to(-10, 0, -1), to(110, 0, -1))
    assert removal.removed_m3.sum() == pytest.approx(3 * 100 * 1e-9, abs=tolerance(removal, 100, 1))
    assert removal.radial_m[2] == pytest.approx(3 * MM * 100 / 120, rel=0.02)


def test_facing_takes_the_whole_top():
    rows = [lift(-10, 0), to(-10, 0, -0.5)]
    for number, y in enumerate(np.arange(0.0, 60.1, 5.0)):
        x = 110 if number % 2 == 0 else -10
        rows += [to(-10 if number % 2 == 0 else 110, y, -0.5), to(x, y, -0.5)]
    removal = run(*rows)
    assert removal.removed_m3.sum() == pytest.approx(100 * 60 * 0.5e-9, rel=1e-9)
    assert removal.height_m == pytest.approx(-0.5 * MM)


def test_a_ramp_cuts_by_its_own_depth():
    """A 6 mm tool ramping 0 to 4 mm over 40 mm: the tool's trailing half stays at the end's depth."""
    removal = run(lift(30, 30), to(30, 30, 0), to(70, 30, -4))
    # the tool's lowest height over a point: on the axis plane of offset q the chord is w = sqrt(9 - q^2)
    q = np.linspace(-3, 3, 20001)
    w = np.sqrt(np.maximum(0.0, 9 - q**2))
    s = np.linspace(-3, 43, 23001)[:, None]
    depth = (
        np.clip(np.minimum(s + w[None, ::200], 40) / 10, 0, 4) * (s + w[None, ::200] >= 0) * (s - w[None, ::200] <= 40)
    )
    expected = np.trapezoid(np.trapezoid(depth, s[:, 0], axis=0), q[::200])
    assert removal.removed_m3[2] == pytest.approx(expected * 1e-9, rel=0.01)
    assert removal.axial_depth_m[2] == pytest.approx(4 * MM, rel=1e-3)


def test_an_ascending_move_leaves_the_start_as_it_was_cut():
    """The cut back up along a ramp removes nothing new; after a plunge it cuts the wedge ahead of the tool."""
    down_and_up = run(lift(30, 30), to(30, 30, 0), to(70, 30, -4), to(30, 30, 0))
    assert down_and_up.removed_m3[3] <= 1e-15
    mirrored = run(lift(70, 30), to(70, 30, -4), to(30, 30, 0))
    assert mirrored.removed_m3.sum() == pytest.approx(down_and_up.removed_m3.sum(), rel=1e-3)


@pytest.mark.parametrize("turns", [1, -1, 3])
def test_a_circle_is_a_ring(turns):
    circle = to(40, 30, -2, Op.ARC_FEED, center_1_m=30 * MM, center_2_m=30 * MM, turns=turns)
    removal = run(lift(40, 30), to(40, 30, -2), circle)
    ring = math.pi * (13**2 - 7**2) * 2e-9
    assert removal.removed_m3.sum() == pytest.approx(ring, abs=tolerance(removal, 2 * math.pi * 20, 2))


def test_a_helix_bores_a_hole():
    rows = [lift(32, 30), to(32, 30, 0)]
    rows.append(to(32, 30, -6, Op.ARC_FEED, center_1_m=30 * MM, center_2_m=30 * MM, turns=6))
    rows.append(to(32, 30, -6, Op.ARC_FEED, center_1_m=30 * MM, center_2_m=30 * MM, turns=1))
    removal = run(*rows)
    assert removal.removed_m3.sum() == pytest.approx(math.pi * 25 * 6e-9, abs=tolerance(removal, 10 * math.pi, 6))


def test_an_arc_in_a_vertical_plane_goes_under_its_ends():
    arc = to(40, 30, 0, Op.ARC_FEED, center_1_m=0.0, center_2_m=30 * MM, turns=-1, target=Plane.ZX)
    removal = run(lift(20, 30), to(20, 30, 0), arc, stock=box(z=20))
    assert removal.height_m.min() == pytest.approx(-10 * MM, abs=max(removal.cell_m) / 8)


def test_a_cut_through_stops_at_the_stocks_bottom():
    removal = run(lift(30, 30), to(30, 30, -50))
    assert removal.removed_m3[1] == pytest.approx(math.pi * 9 * 10e-9, abs=tolerance(removal, math.pi * 6, 10))
    assert removal.height_m.min() == -10 * MM


def test_a_rapid_through_stock_removes_too():
    removal = run(lift(-10, 30), to(-10, 30, -1), lift(110, 30, -1))
    assert removal.removed_m3[2] == pytest.approx(6 * 100 * 1e-9, abs=tolerance(removal, 200, 1))


def test_the_tool_in_force_cuts():
    change = {"op": Op.CHANGE_TOOL, "target": 2}
    removal = run(change, lift(30, 30), to(30, 30, -4))
    assert removal.tool_m[2] == 3 * MM
    assert removal.removed_m3[2] == pytest.approx(math.pi * 2.25 * 4e-9, abs=tolerance(removal, math.pi * 3, 4))


def test_a_larger_tool_at_the_same_place_cuts_more():
    change = {"op": Op.CHANGE_TOOL, "target": 1}
    rows = [{"op": Op.CHANGE_TOOL, "target": 2}, lift(30, 30), to(30, 30, -4), change, to(40, 30, -4)]
    removal = run(*rows)
    area = math.pi * 9 + 6 * 10
    assert removal.removed_m3.sum() == pytest.approx(area * 4e-9, abs=tolerance(removal, 20 + 9 * math.pi, 4))


def test_where_the_tool_comes_from_at_first_is_not_cut():
    """A program starts at (0, 0, 0) by definition, which may lie inside of the stock."""
    high = box().model_copy(update={"z_minimum": 0.0, "z_maximum": 10 * MM})
    assert run(lift(50, 30, 20), lift(60, 30, 20), stock=high).removed_m3.sum() == 0.0
    assert run({"op": Op.HOME, "target": 7}, lift(50, 30, 20), stock=high).removed_m3.sum() == 0.0


places = st.tuples(st.floats(-20, 120), st.floats(-20, 80), st.floats(-15, 5))


@settings(max_examples=60, deadline=None)
@given(points=st.lists(st.tuples(places, st.booleans()), min_size=1, max_size=12))
def test_what_moves_remove_is_what_the_stock_lacks(points):
    rows = []
    for (x, y, z), curved in points:
        arc = {"op": Op.ARC_FEED, "center_1_m": x * MM + 0.007, "center_2_m": y * MM, "turns": 1} if curved else {}
        rows += [to(x, y, z), {**to(x, y, z), **arc}]
    removal = run(*rows, resolution_m=1.5e-3)
    assert removal.removed_m3.sum() == pytest.approx(removal.stock_m3 - removal.remaining_m3, rel=1e-9, abs=1e-20)
    assert np.all(removal.removed_m3 >= 0.0)
    assert np.all(removal.axial_depth_m <= 10 * MM * (1 + 1e-12))
    assert np.all(removal.radial_m <= 6 * MM)
    assert np.all((removal.axial_depth_m > 0.0) == (removal.removed_m3 > 0.0))


@settings(max_examples=30, deadline=None)
@given(points=st.lists(places, min_size=2, max_size=8), parts=st.integers(2, 5))
def test_a_move_in_parts_removes_the_same(points, parts):
    whole = [to(*point) for point in points]
    split = [whole[0]]
    for before, after in itertools.pairwise(points):
        steps = np.linspace(before, after, parts + 1)[1:]
        split += [to(*step) for step in steps]
    once, again = (run(*rows, resolution_m=1e-3) for rows in (whole, split))
    border = 2 * 6 * MM * 1e-3 * 10 * MM  # grid rounding of the points moves a few cells' borders
    assert again.removed_m3.sum() == pytest.approx(once.removed_m3.sum(), abs=border)


def test_the_map_stays_within_its_bounds():
    removal = run(lift(0, 0), to(0, 0, -1), to(2000, 1000, -1), stock=box(2000, 1000))
    assert removal.height_m.size <= 1.01 * MAX_CELLS
    removal = simulate_removal(build_program([]), MILL, box())
    assert removal.remaining_m3 == removal.stock_m3


@pytest.mark.parametrize(
    ("rows", "stock", "options", "words"),
    [
        ([to(1, 1, -1)], Box(name="endless", z_maximum="0 mm"), {}, "no bound"),
        ([to(1, math.nan, -1)], box(), {}, "not a finite number"),
        ([{"op": Op.CHANGE_TOOL, "target": 9}, to(1, 1, -1)], box(), {}, "lacks"),
        ([to(1, 1, -1), to(9e6, 9e6, -1)], box(1e7, 1e7), {}, "cannot show a tool"),
        ([to(1, 1, -1)], box(), {"resolution_m": math.nan}, "cannot show a tool"),
        ([to(1, 1, -1)], box(), {"resolution_m": 1e-9}, "cannot show a tool"),
        (
            [lift(9, 9), to(9, 9, -1)]
            + [to(9, 9, -1, Op.ARC_FEED, center_1_m=0.05, center_2_m=0.03, turns=32767)] * 100,
            box(), {}, "cannot show a tool",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_refused(rows, stock, options, words):
    with pytest.raises(CoreError, match=words) as caught:
        run(*rows, stock=stock, **options)
    assert caught.value.code == ErrorCode.CANNOT_PREDICT


def test_the_bracket_leaves_its_own_volume(pytestconfig):
    """50 x 30 x 2 mm with two holes of 6 mm and a pocket of 20 x 12 x 1 mm, out of a sheet of 60 x 40 x 2 mm."""
    program = load_program(pytestconfig.rootpath / "examples" / "bracket_mill.ngc")
    tool = TOOLS[0].model_copy(update={"diameter": 3.175e-3})
    removal = simulate_removal(program, MILL.model_copy(update={"tools": (tool,)}), box(60, 40, 2))
    pocket = (20 * 12 - (4 - math.pi) * 3**2) * 1
    holes = 2 * math.pi * 9 * 2
    assert removal.removed_m3.sum() * 1e9 > pocket + holes
    middle = removal.height_m[removal.height_m.shape[0] // 2, removal.height_m.shape[1] // 2]
    assert middle == pytest.approx(-1 * MM)  # the pocket's floor
