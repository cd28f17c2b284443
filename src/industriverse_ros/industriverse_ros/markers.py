"""What people see of a node: its scene on <machine>/markers, and the cell's frames on /tf."""

from __future__ import annotations

from collections.abc import Sequence

from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

from industriverse_core.frames import Pose, Slide, body_transforms, fixed_transforms, slides_of
from industriverse_core.scene import Key, Marker, changes, key_of
from industriverse_core.telemetry import Vector
from industriverse_ros import names, qos
from industriverse_ros.convert_markers import scene_to_cdr, transform_to_msg
from industriverse_ros.node import CellNode

try:
    from tf2_msgs.msg import TFMessage
except ImportError:  # no ROS distribution here, only its wheels
    TFMessage = None


class MarkerPublisher:
    """Publishes what has changed of a scene, and all of it when somebody new listens.

    The topic keeps the last message only, so a viewer that comes late gets the whole scene at the next `show`.
    """

    def __init__(self, node: CellNode, machine_id: str) -> None:
        self._node, self._topic = node, node.resolve_topic_name(names.markers(machine_id))
        self._publisher = node.create_publisher(MarkerArray, names.markers(machine_id), qos.STATE)
        self._shown: dict[Key, Marker] = {}
        self._listeners: frozenset[bytes] = frozenset()

    def wanted(self) -> bool:
        """True while somebody listens. To be asked before each `show`; forgets what was shown when listeners come."""
        found = self._node.get_subscriptions_info_by_topic(self._topic)
        listeners = frozenset(bytes(each.endpoint_gid) for each in found)
        if listeners - self._listeners:
            self._shown = {}
        self._listeners = listeners
        return bool(listeners)

    def show(self, scene: Sequence[Marker]) -> int:
        """Publish what differs from what was published; returns how many markers that were."""
        changed = changes(self._shown, scene)
        if changed:
            self._publisher.publish(scene_to_cdr(changed))
            self._shown |= {key_of(marker): marker for marker in changed}
        return len(changed)


class FramePublisher:
    """map → cell → <machine>_base at once, the machine's links down to <machine>_tool with each position.

    Without tf2_msgs nothing is said of frames. Beside this, no robot_state_publisher is needed.
    """

    def __init__(self, node: CellNode, machine_id: str, base: Pose | None = None) -> None:
        self._node, self._machine_id = node, machine_id
        self._slides: tuple[Slide, ...] = ()
        self._moving = self._fixed = self._bodies = None
        if TFMessage is None:
            node.get_logger().info("tf2_msgs is not installed: no frames on /tf")
            return
        self._moving = node.create_publisher(TFMessage, names.TF, qos.EVENT)
        self._fixed = node.create_publisher(TFMessage, names.TF_STATIC, qos.STATE)
        fixed = fixed_transforms(machine_id, base)
        self._fixed.publish(TFMessage(transforms=[transform_to_msg(each, node.now_s()) for each in fixed]))

    def describe(self, urdf: str) -> None:
        """Publish the machine's body, and its links from the next position on. Raises ValueError where it is none."""
        self._slides = slides_of(urdf)
        self._bodies = self._node.create_publisher(String, names.robot_description(self._machine_id), qos.STATE)
        self._bodies.publish(String(data=urdf))

    def move(self, position_m: Vector, stamp_s: float) -> None:
        """The tool is at this position [m] of the machine's base at ROS time `stamp_s`."""
        transforms = body_transforms(self._machine_id, self._slides, position_m)
        if self._moving is not None and transforms:
            self._moving.publish(TFMessage(transforms=[transform_to_msg(each, stamp_s) for each in transforms]))
