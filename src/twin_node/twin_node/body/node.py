"""The twin's body on ROS: publishes where the machine should be and what its motors should give."""

from __future__ import annotations

from sensor_msgs.msg import JointState

from industriverse_core.errors import CoreError
from industriverse_core.machine import MachineProfile
from industriverse_core.telemetry import TelemetrySample
from industriverse_ros import convert, names, qos
from industriverse_ros.node import CellNode
from twin_node.body.follower import Follower
from twin_node.timeline import Timeline


class ExpectedJoints:
    """A body for the twin of one machine, or a notice why there is none."""

    def __init__(self, node: CellNode, profile: MachineProfile) -> None:
        self._node = node
        self._follower: Follower | None = None
        self._state = "follows"
        self._collisions = 0
        self._vibration_m_s2 = 0.0
        self._joint_names = [f"{profile.id}_{axis}" for axis in "xyz"]
        self._publisher = node.create_publisher(JointState, names.expected_joint_states(profile.id), qos.SENSOR)
        try:
            self._follower = Follower(profile)
        except CoreError as error:
            self._state = f"none: {error}"
            node.get_logger().info(f"the twin goes on without a body: {error}")

    def observe(self, sample: TelemetrySample, motion: tuple[Timeline, float] | None) -> None:
        """Step the body to this sample and publish what it should show."""
        stretch = self._follower.observe(motion) if self._follower is not None else None
        if stretch is None:
            return
        msg = JointState(name=self._joint_names, position=list(stretch.position_m))
        msg.velocity, msg.effort = list(stretch.velocity_m_s), list(stretch.effort_n)
        msg.header.stamp = convert.time_to_msg(sample.stamp_s)
        self._publisher.publish(msg)
        if stretch.steps:
            self._vibration_m_s2 = max(stretch.vibration_m_s2)
        self._collisions += len(stretch.collisions)
        for hit in stretch.collisions:
            place = f"instruction {hit.instruction} (line {hit.line})"
            self._node.get_logger().warning(f"{place}: by its plan the tool touches {hit.obstacle}")

    def values(self) -> dict[str, object]:
        """For the node's diagnostics."""
        if self._follower is None:
            return {"body": self._state}
        return {
            "body": self._state,
            "body_restarts": self._follower.restarts,
            "planned_collisions": self._collisions,
            "expected_vibration_m_s2": f"{self._vibration_m_s2:.3f}",
        }
