"""What is shown of the shield: volumes within the axes, zones, people, and a text whose colour says how bad it is."""

import math

import numpy as np
import pytest
from geometry_msgs.msg import Point
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from visualization_msgs.msg import MarkerArray

from industriverse_core.frames import CELL, base_frame
from industriverse_core.machine import Box, load_machine
from industriverse_core.scene import Removed, colour_of, key_of
from industriverse_core.threats import Cause, Decision, Level, ThreatEstimate
from industriverse_msgs.msg import PersonsSeen
from industriverse_ros import names, qos
from industriverse_ros.testing import bring_up, spin_until
from shield_node.node import ShieldNode
from shield_node.scene import (
    BY_DEMAND,
    BY_KIND,
    BY_LEVEL,
    GREY,
    MOST_ZONES,
    Watched,
    fixed_scene,
    people_scene,
    state_marker,
)
from shield_node.separation import Demand, Separation, Zone, ZoneKind
from shield_node.transitions import State

CELL_FILE = """
safety:
  place: [2 m, 3 m]
  reach: 0.4 m
  sensors: [{name: floor_camera}]
  zones: [{name: door, kind: stop, corners: [[9 m, 0 m], [10 m, 0 m], [10 m, 1 m]]}]
"""
SQUARE = ((1.0, 1.0), (2.0, 1.0), (2.0, 2.0), (1.0, 2.0))


@pytest.fixture
def printer():
    return load_machine("prusa_mk3s")


def guarded(printer, **bounds):
    box = Box.model_validate({"name": "clip", **{name: f"{value} mm" for name, value in bounds.items()}})
    return printer.model_copy(update={"keep_out": (box,)})


def kind(scene, namespace):
    return [marker for marker in scene if marker.namespace == namespace]


def test_the_work_volume_is_that_of_the_axes(printer):
    (volume,) = kind(fixed_scene(printer), "work_volume")
    for axis, limits in enumerate(printer.kinematics.axes()):
        assert set(volume.points_m[:, axis].tolist()) == {limits.minimum, limits.maximum}
    assert volume.frame == base_frame(printer.id)


def test_a_keep_out_without_bounds_ends_with_the_axes(printer):
    edges, solid, name = kind(fixed_scene(guarded(printer, x_minimum=10, x_maximum=30)), "keep_out")
    assert (edges.points_m[:, 0].min(), edges.points_m[:, 0].max()) == (0.01, 0.03)
    assert np.isfinite(edges.points_m).all()
    assert edges.points_m[:, 2].max() == printer.kinematics.z.maximum
    assert solid.size_m[0] == pytest.approx(0.02)
    assert name.text == "clip"


def test_a_keep_out_beyond_the_axes_is_not_drawn(printer):
    assert kind(fixed_scene(guarded(printer, x_minimum=5000, x_maximum=6000)), "keep_out") == []


def test_zones_lie_on_the_cells_floor_in_the_colour_of_their_kind(printer):
    zones = (Zone("aisle", ZoneKind.STOP, SQUARE), Zone("inside", ZoneKind.EXCLUSION, SQUARE))
    found = kind(fixed_scene(printer, zones), "zones")
    assert [marker.frame for marker in found] == [CELL] * 4
    assert [marker.text for marker in found[1::2]] == ["aisle (stop)", "inside (exclusion)"]
    assert found[0].points_m.shape == (8, 3)
    assert not found[0].points_m[:, 2].any()
    for lines, zone in zip(found[::2], zones, strict=True):
        assert lines.colours[0] == pytest.approx(colour_of(BY_KIND[zone.kind]))
    many = fixed_scene(printer, zones * MOST_ZONES)
    assert len(kind(many, "zones")) == 2 * MOST_ZONES
    assert len({key_of(marker) for marker in many}) == len(many)


def test_the_line_goes_from_the_nearest_person_to_the_machine():
    separation = Separation(Demand.REDUCED, 0.1, "a person is 2.00 m away: at most 0.10 m/s.")
    people, line, text = people_scene(Watched(((5.0, 0.0), (0.0, 2.0)), (0.0, 0.0), separation))
    assert len(people.centres_m) == 2
    assert np.linalg.norm(line.points_m[1] - line.points_m[0]) == pytest.approx(2.0)
    assert text.text == "2.00 m, REDUCED"
    assert text.colour == colour_of(BY_DEMAND[Demand.REDUCED])


def test_a_person_without_a_position_stands_at_the_machine():
    watched = Watched(((math.nan, 0.0), (3.0, 3.0)), (1.0, 1.0), Separation(Demand.HOLD, 0.0, "near"))
    people, line, text = people_scene(watched)
    assert people.centres_m[0, :2].tolist() == [1.0, 1.0]
    assert np.isfinite(line.points_m).all()
    assert text.text == "0.00 m, HOLD"


@pytest.mark.parametrize("watched", [None, Watched((), (0.0, 0.0), Separation(Demand.RUN, 1.0, ""))])
def test_nobody_is_shown_where_nobody_is(watched):
    somebody = Watched(((1.0, 1.0),), (0.0, 0.0), Separation(Demand.RUN, 1.0, ""))
    empty = people_scene(watched)
    assert {key_of(marker) for marker in empty} == {key_of(marker) for marker in people_scene(somebody)}
    assert all(isinstance(marker, Removed) for marker in empty)


def decided(state, level, message="", scale=1.0):
    cause = ThreatEstimate(0.0, Cause.NONE, 1.0, 0.0, (), (), message)
    return Decision(0.0, "m", 1, 1, 0.0, level, scale, cause, int(state))


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("level", Level)
def test_the_state_has_its_reason_above_the_machine(printer, state, level):
    marker = state_marker(printer, decided(state, level, "the twin is silent since 0.6 s; 0.5 s are allowed."))
    assert marker.text.splitlines()[0].startswith(state.name)
    assert "the twin is silent" in marker.text
    assert marker.position_m[2] > printer.kinematics.z.maximum


def test_the_colour_is_that_of_the_level(printer):
    levels = (Level.RUN, Level.REDUCED, Level.HOLD)
    markers = [state_marker(printer, decided(State.PERMITTING, level, scale=0.4)) for level in levels]
    assert [marker.colour for marker in markers] == [colour_of(BY_LEVEL[level]) for level in levels]
    assert markers[1].text == "PERMITTING, REDUCED to 40%"
    idle = state_marker(printer, decided(State.IDLE, Level.RUN))
    assert (idle.text, idle.colour) == ("IDLE", colour_of(GREY))


def test_a_long_reason_is_wrapped_and_ends(printer):
    lines = state_marker(printer, decided(State.LATCHED, Level.STOP1, "word " * 500)).text.splitlines()
    assert len(lines) <= 6
    assert max(map(len, lines)) <= 60


def test_levels_that_differ_in_what_they_allow_differ_in_colour():
    assert len({BY_LEVEL[level] for level in (Level.RUN, Level.REDUCED, Level.HOLD, Level.STOP1)}) == 4
    assert len(set(BY_DEMAND.values())) == len(BY_DEMAND)


def test_the_node_shows_people_and_zones(ros, tmp_path):
    cell_file = tmp_path / "cell.yaml"
    cell_file.write_text(CELL_FILE)
    overrides = {"cell_dir": str(tmp_path), "cell_file": str(cell_file)}
    shield = bring_up(
        ShieldNode(parameter_overrides=[Parameter(name, value=value) for name, value in overrides.items()])
    )
    viewer, executor, got = ros.create_node("viewer"), SingleThreadedExecutor(), {}
    executor.add_node(shield)
    executor.add_node(viewer)
    topic = names.markers("prusa_mk3s")
    viewer.create_subscription(MarkerArray, topic, lambda msg: got.update({m.ns: m for m in msg.markers}), qos.STATE)
    persons = viewer.create_publisher(PersonsSeen, names.PERSONS, qos.SENSOR)
    seen = PersonsSeen(sensor="floor_camera", positions=[Point(x=2.0, y=2.9)], uncertainty_m=0.05)
    seen.header.frame_id = CELL

    def shown():
        persons.publish(seen)
        return "zones" in got and len(got["people"].points if "people" in got else ()) == 1

    assert spin_until(executor, shown, 20.0)
    assert got["people"].points[0].y == 2.9
    assert "0.10 m, HOLD" in got["separation"].text
    executor.shutdown()


def test_the_node_shows_it_to_whoever_looks(ros, tmp_path):
    shield = bring_up(ShieldNode(parameter_overrides=[Parameter("cell_dir", value=str(tmp_path))]))
    viewer, executor, got = ros.create_node("viewer"), SingleThreadedExecutor(), []
    executor.add_node(shield)
    executor.add_node(viewer)
    topic = names.markers("prusa_mk3s")
    viewer.create_subscription(MarkerArray, topic, lambda msg: got.extend(msg.markers), qos.STATE)
    assert spin_until(executor, lambda: {"work_volume", "shield"} <= {marker.ns for marker in got}, 20.0)
    (state,) = [marker for marker in got if marker.ns == "shield"]
    assert state.text == "IDLE"
    executor.shutdown()
