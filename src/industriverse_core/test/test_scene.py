"""Scenes, frames and the colours and paths that they are made of."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from industriverse_core.colours import NO_VALUE, TOP_VALUE, ramp_rgb
from industriverse_core.frames import Pose, Transform, body_transforms, fixed_transforms, slides_of
from industriverse_core.moves import classify, layers_of
from industriverse_core.program import COLUMNS, Op, Program, normalise
from industriverse_core.scene import Lines, Removed, Text, box_edges, changes, colour_of, key_of, loop, one_colour
from industriverse_core.toolpath import reduce_by_layers

URDF = """<robot name="m">
<link name="m_base"/><link name="m_stage_y"/><link name="m_stage_x"/><link name="m_tool"/>
<joint name="m_y" type="prismatic"><parent link="m_base"/><child link="m_stage_y"/><axis xyz="0 1 0"/></joint>
<joint name="m_x" type="prismatic">
  <parent link="m_stage_y"/><child link="m_stage_x"/><origin xyz="0.5 0 0"/><axis xyz="1 0 0"/>
</joint>
<joint name="m_holder" type="fixed"><parent link="m_stage_x"/><child link="m_tool"/><origin xyz="0 0 -0.1"/></joint>
</robot>"""


def layered(layers, moves):
    """A print whose every layer is the same random walk that no tolerance makes simpler."""
    random = np.random.default_rng(3)
    count = layers * moves
    columns = {name: np.zeros(count, dtype) for name, dtype in COLUMNS.items()}
    columns["op"][:] = Op.STRAIGHT_FEED
    for name in ("x_m", "y_m"):
        columns[name][:] = np.tile(random.uniform(0.0, 0.2, moves), layers)
    columns["z_m"][:] = np.repeat(np.arange(1, layers + 1), moves) * 2e-4
    columns["feed_m_s"][:] = 0.05
    columns["extrude_m3"][:] = 1e-9
    return Program(normalise(columns))


def reduced(program, budget):
    moves = classify(program, mill=False)
    layers = layers_of(program, moves, downwards=False)
    return (*reduce_by_layers(program, moves, layers, np.ones(len(program)), budget), layers)


def test_the_colours_get_lighter_with_the_value():
    red, green, blue = ramp_rgb(np.arange(TOP_VALUE + 1)).T
    lightness = 0.2126 * (red / 255) ** 2.2 + 0.7152 * (green / 255) ** 2.2 + 0.0722 * (blue / 255) ** 2.2
    assert (np.diff(lightness) > 0.0).all()
    grey = ramp_rgb(np.array([NO_VALUE]))[0]
    assert grey.max() - grey.min() < 40.0


def test_whole_layers_are_left_out_and_the_others_keep_their_details():
    path, stride, layers = reduced(layered(30, 200), budget=2000)
    assert len(path.points_m) <= 2000
    assert stride == 4
    drawn = np.unique(path.layer[path.drawn])
    assert drawn.tolist() == [0, 1, 5, 9, 13, 17, 21, 25, 29]  # counted from the last; and the first
    per_layer = np.bincount(path.layer[path.drawn])[drawn]
    assert per_layer.min() >= 199  # a layer of 200 moves is whole, but for the travel to its first point
    assert path.joined == 1
    assert len(layers.z_m) == 30


def test_what_fits_is_drawn_whole():
    path, stride, _ = reduced(layered(5, 100), budget=2000)
    assert stride == 1
    assert np.unique(path.layer[path.drawn]).tolist() == [0, 1, 2, 3, 4]


@given(st.integers(1, 12), st.integers(2, 40), st.integers(2, 60))
def test_any_budget_is_kept(layers, moves, budget):
    path, _, _ = reduced(layered(layers, moves), budget)
    assert len(path.points_m) <= budget


def test_a_program_that_works_nowhere_has_no_path():
    program = layered(2, 10)
    columns = {**program.columns, "extrude_m3": np.zeros(20)}
    path, stride, _ = reduced(Program(columns), 100)
    assert (len(path.points_m), stride) == (0, 1)


def test_only_what_differs_is_a_change():
    lines = Lines("a", 0, "cell", np.zeros((2, 3)), one_colour((1.0, 1.0, 1.0, 1.0)), 0.01)
    text = Text("b", 0, "cell", (0.0, 0.0, 0.0), "one", 0.1, (1.0, 1.0, 1.0, 1.0))
    shown = {key_of(marker): marker for marker in (lines, text, Removed("c", 0))}
    same = Text("b", 0, "cell", (0.0, 0.0, 0.0), "one", 0.1, (1.0, 1.0, 1.0, 1.0))
    other = Text("b", 0, "cell", (0.0, 0.0, 0.0), "two", 0.1, (1.0, 1.0, 1.0, 1.0))
    assert changes(shown, (lines, same, Removed("c", 0))) == ()
    assert changes(shown, (lines, other, Removed("a", 1))) == (other, Removed("a", 1))
    assert changes(shown, (Removed("a", 0),)) == (Removed("a", 0),)


def test_the_edges_of_a_box_are_its_twelve():
    edges = box_edges((0.0, 0.0, 0.0), (1.0, 2.0, 4.0)).reshape(12, 2, 3)
    lengths = np.linalg.norm(edges[:, 1] - edges[:, 0], axis=1)
    assert sorted(lengths.tolist()) == [1.0] * 4 + [2.0] * 4 + [4.0] * 4
    assert len({tuple(map(tuple, edge)) for edge in edges.tolist()}) == 12


def test_a_polygon_is_closed():
    sides = loop(np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]))
    assert sides.shape == (6, 3)
    assert sides[-1].tolist() == sides[0].tolist()


def test_a_colour_is_read():
    assert colour_of("#ff0033", 0.5) == pytest.approx((1.0, 0.0, 0.2, 0.5))


def test_a_pose_turns_about_z_and_moves():
    pose = Pose((1.0, 2.0, 3.0), math.pi / 2)
    assert pose.applied_to((1.0, 0.0, 0.0)) == pytest.approx((1.0, 3.0, 3.0))
    assert pose.quaternion == pytest.approx((0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5)))


def test_the_frames_form_one_chain():
    base = Pose((1.0, 0.5, 0.0), 0.3)
    chain = (*fixed_transforms("m", base), *body_transforms("m", (), (0.1, 0.2, 0.3)))
    assert [(each.parent, each.child) for each in chain] == [
        ("map", "cell"), ("cell", "m_base"), ("m_base", "m_tool"),
    ]  # fmt: skip
    assert chain[1].pose == base
    assert chain[2] == Transform("m_base", "m_tool", Pose((0.1, 0.2, 0.3)))


def test_a_tool_that_is_not_measured_is_nowhere():
    assert body_transforms("m", (), (0.1, math.nan, 0.3)) == ()


def test_the_links_of_a_body_follow_its_joints():
    slides = slides_of(URDF)
    placed = body_transforms("m", slides, (0.1, 0.2, 9.0))
    assert [each.child for each in placed] == ["m_stage_y", "m_stage_x", "m_tool"]
    assert [each.pose.position_m for each in placed] == [(0.0, 0.2, 0.0), (0.6, 0.0, 0.0), (0.0, 0.0, -0.1)]


@pytest.mark.parametrize(
    "wrong",
    ["no XML", URDF.replace('type="fixed"', 'type="revolute"'), URDF.replace('xyz="0.5 0 0"', 'rpy="0 0 1"'),
     URDF.replace('<child link="m_tool"/>', "")],
)  # fmt: skip
def test_a_body_that_cannot_be_followed_is_said(wrong):
    with pytest.raises(ValueError, match=r"URDF|joint"):
        slides_of(wrong)
