"""Scenes on their way to rviz: the bytes are the message, late listeners see all, others what has changed."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from geometry_msgs.msg import Point
from rclpy.executors import SingleThreadedExecutor
from rclpy.serialization import deserialize_message
from std_msgs.msg import ColorRGBA, String
from visualization_msgs.msg import Marker, MarkerArray

from industriverse_core.frames import Pose, Transform
from industriverse_core.scene import Lines, Removed, Shape, Solids, Text, one_colour
from industriverse_ros import markers, names, qos
from industriverse_ros.convert_markers import ADD, DELETE, scene_to_cdr, transform_to_msg
from industriverse_ros.markers import FramePublisher, MarkerPublisher
from industriverse_ros.node import CellNode
from industriverse_ros.testing import bring_up, spin_until

WHITE = (1.0, 1.0, 1.0, 1.0)
URDF = """<robot name="m"><joint name="m_x" type="prismatic"><parent link="m_base"/><child link="m_tool"/></joint>
</robot>"""


@dataclass(frozen=True, slots=True)
class Nothing:
    """No parameters."""


class ShowingNode(CellNode):
    """A node that shows something."""

    Params: ClassVar[type] = Nothing

    def __init__(self):
        super().__init__("showing")


def text(number, said):
    return Text("text", number, "cell", (1.0, 2.0, 3.0), said, 0.1, (0.25, 0.5, 0.75, 1.0))


def lines(colours):
    points = np.array([[0.0, 0.1, 0.2], [1.0, 1.1, 1.2], [2.0, 2.1, 2.2], [3.0, 3.1, 3.2]])
    return Lines("path", 7, "m_base", points, colours, 0.004)


def read(scene):
    return deserialize_message(scene_to_cdr(scene), MarkerArray).markers


def rgba(colour):
    return (colour.r, colour.g, colour.b, colour.a)


def test_lines_become_a_line_list():
    colours = np.linspace(0.0, 1.0, 16, dtype=np.float32).reshape(4, 4)
    (marker,) = read([lines(colours)])
    assert (marker.ns, marker.id, marker.type, marker.action) == ("path", 7, Marker.LINE_LIST, ADD)
    assert (marker.header.frame_id, marker.frame_locked) == ("m_base", True)
    assert (marker.header.stamp.sec, marker.lifetime.sec, marker.lifetime.nanosec) == (0, 0, 0)
    assert marker.scale.x == 0.004
    assert marker.pose.orientation.w == 1.0
    assert marker.points[3] == Point(x=3.0, y=3.1, z=3.2)
    assert [rgba(colour) for colour in marker.colors] == [tuple(row) for row in colours.tolist()]


def test_one_colour_is_the_markers_own():
    (marker,) = read([lines(one_colour((0.5, 0.25, 1.0, 0.75)))])
    assert marker.color == ColorRGBA(r=0.5, g=0.25, b=1.0, a=0.75)
    assert len(marker.colors) == 0
    assert len(marker.points) == 4


def test_solids_texts_and_removals():
    centres = np.array([[1.0, 2.0, 3.0]])
    scene = [
        Solids("energy", 1, "m_base", Shape.BOX, centres, (0.1, 0.2, 0.3), one_colour(WHITE)),
        text(2, "ends at 14:02, µm³"),
        Solids("people", 3, "cell", Shape.BALL, centres, (0.4, 0.4, 1.7), one_colour(WHITE)),
        Removed("path", 4),
    ]
    box, said, ball, gone = read(scene)
    assert (box.type, ball.type) == (Marker.CUBE_LIST, Marker.SPHERE_LIST)
    assert (box.scale.x, box.scale.y, box.scale.z) == (0.1, 0.2, 0.3)
    assert (said.type, said.text, said.scale.z) == (Marker.TEXT_VIEW_FACING, "ends at 14:02, µm³", 0.1)
    assert (said.pose.position, rgba(said.color)) == (Point(x=1.0, y=2.0, z=3.0), (0.25, 0.5, 0.75, 1.0))
    assert (gone.action, gone.ns, gone.id) == (DELETE, "path", 4)
    assert (ADD, DELETE) == (Marker.ADD, Marker.DELETE)


@pytest.mark.parametrize("length", range(9))
def test_the_bytes_are_read_wherever_the_fields_come_to_lie(length):
    scene = [text(0, "x" * length), lines(one_colour(WHITE)), text(1, "y" * length)]
    first, path, last = read(scene)
    assert (first.text, last.text) == ("x" * length, "y" * length)
    assert path.points[0] == Point(x=0.0, y=0.1, z=0.2)


def test_an_empty_scene_is_an_empty_message():
    assert list(read([])) == []


def test_a_transform():
    message = transform_to_msg(Transform("a", "b", Pose((1.0, 2.0, 3.0), 0.5)), 12.5)
    assert (message.header.frame_id, message.child_frame_id) == ("a", "b")
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (12, 500_000_000)
    turned = message.transform.rotation
    assert (turned.x, turned.y, turned.z, turned.w) == Pose((0.0, 0.0, 0.0), 0.5).quaternion
    assert message.transform.translation.z == 3.0


@pytest.fixture
def showing(ros):
    node, executor = bring_up(ShowingNode()), SingleThreadedExecutor()
    executor.add_node(node)
    yield node, executor
    executor.shutdown()


def viewer(ros, executor, name):
    """A late joiner of the markers' topic, and what it has got."""
    node, got = ros.create_node(name), []
    node.create_subscription(MarkerArray, names.markers("m"), lambda msg: got.append(msg.markers), qos.STATE)
    executor.add_node(node)
    return got


def test_nobody_looks_nothing_is_wanted(showing):
    assert not MarkerPublisher(showing[0], "m").wanted()


def test_a_viewer_gets_everything_once_and_then_what_changes(showing, ros):
    node, executor = showing
    publisher = MarkerPublisher(node, "m")
    path = lines(one_colour(WHITE))
    first = viewer(ros, executor, "first")
    assert spin_until(executor, publisher.wanted)
    assert publisher.show((path, text(0, "a"))) == 2
    assert publisher.wanted()
    assert publisher.show((path, text(0, "a"))) == 0
    assert spin_until(executor, lambda: len(first) == 1)
    assert publisher.show((path, text(0, "b"))) == 1
    assert spin_until(executor, lambda: len(first) == 2)
    assert [marker.text for marker in first[1]] == ["b"]
    late = viewer(ros, executor, "late")
    assert spin_until(executor, lambda: publisher.wanted() and not publisher._shown)
    assert publisher.show((path, text(0, "b"))) == 2
    assert spin_until(executor, lambda: any(len(message) == 2 for message in late))


def test_a_body_is_described_to_whoever_comes_late(showing, ros):
    node, executor = showing
    frames = FramePublisher(node, "m")
    frames.describe(URDF)
    got, late = [], ros.create_node("late")
    late.create_subscription(String, names.robot_description("m"), lambda msg: got.append(msg.data), qos.STATE)
    executor.add_node(late)
    assert spin_until(executor, lambda: got == [URDF])


@pytest.mark.skipif(markers.TFMessage is not None, reason="tf2_msgs is installed here")
def test_without_tf2_messages_frames_are_left_out(showing):
    frames = FramePublisher(showing[0], "m")
    frames.move((0.0, 0.0, 0.0), 1.0)
    assert not [topic for topic, _ in showing[0].get_topic_names_and_types() if topic in (names.TF, names.TF_STATIC)]


@pytest.mark.skipif(markers.TFMessage is None, reason="tf2_msgs comes with a ROS distribution, not with its wheels")
def test_the_frames_are_published(showing, ros):
    node, executor = showing
    frames = FramePublisher(node, "m")
    fixed, moving, late = [], [], ros.create_node("late")
    for name, got, profile in ((names.TF_STATIC, fixed, qos.STATE), (names.TF, moving, qos.EVENT)):
        late.create_subscription(markers.TFMessage, name, lambda msg, got=got: got.append(msg.transforms), profile)
    executor.add_node(late)
    assert spin_until(executor, lambda: fixed)
    assert [each.child_frame_id for each in fixed[0]] == ["cell", "m_base"]
    assert spin_until(executor, lambda: frames.move((0.1, 0.2, 0.3), 1.0) or moving)
    assert moving[0][0].child_frame_id == "m_tool"
