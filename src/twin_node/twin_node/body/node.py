"""The twin's body on ROS: publishes where the machine should be and what its motors should give."""

from __future__ import annotations

import threading

from sensor_msgs.msg import JointState

from industriverse_core.errors import CoreError
from industriverse_core.machine import MachineProfile
from industriverse_core.telemetry import TelemetrySample
from industriverse_ros import convert, names, qos
from industriverse_ros.node import CellNode, release_realtime
from twin_node.body.body import Stretch
from twin_node.body.follower import Follower
from twin_node.timeline import Timeline

END_WAIT_S = 2.0


class ExpectedJoints:
    """A body for the twin of one machine, or a notice why there is none.

    It is stepped in a thread of its own, so that no residual waits for it. MuJoCo computes without the interpreter's
    lock. Of the samples that come while it steps, the last one counts.
    """

    def __init__(self, node: CellNode, profile: MachineProfile) -> None:
        self._node = node
        self._state = "follows"
        self._collisions = self._restarts = 0
        self._vibration_m_s2 = 0.0
        self._joint_names = [f"{profile.id}_{axis}" for axis in "xyz"]
        self._publisher = node.create_publisher(JointState, names.expected_joint_states(profile.id), qos.SENSOR)
        self._changed = threading.Condition()  # guards the two below
        self._newest: tuple[TelemetrySample, tuple[Timeline, float] | None] | None = None
        self._ending = False
        self._thread: threading.Thread | None = None
        try:
            follower = Follower(profile)
        except CoreError as error:
            self._state = f"none: {error}"
            node.get_logger().info(f"the twin goes on without a body: {error}")
            return
        self._thread = threading.Thread(target=self._run, args=(follower,), name="body", daemon=True)
        self._thread.start()

    def observe(self, sample: TelemetrySample, motion: tuple[Timeline, float] | None) -> None:
        """The machine is there now; returns at once."""
        with self._changed:
            self._newest = (sample, motion)
            self._changed.notify()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(END_WAIT_S)

    def values(self) -> dict[str, object]:
        """For the node's diagnostics."""
        if self._thread is None:
            return {"body": self._state}
        return {
            "body": self._state,
            "body_restarts": self._restarts,
            "planned_collisions": self._collisions,
            "expected_vibration_m_s2": f"{self._vibration_m_s2:.3f}",
        }

    def _run(self, follower: Follower) -> None:
        """The thread: step to the newest sample, hand the result to the executor's thread."""
        release_realtime()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ending or self._newest is not None)
                newest, self._newest = self._newest, None
            if self._ending or newest is None:
                return
            try:
                stretch = follower.observe(newest[1])
            except Exception as error:  # noqa: BLE001 - a bug in a worker thread must end the process too
                self._node.failure = error
                return
            if stretch is not None:
                self._node.post(self._publish, newest[0], stretch, follower.restarts)

    def _publish(self, sample: TelemetrySample, stretch: Stretch, restarts: int) -> None:
        msg = JointState(name=self._joint_names, position=list(stretch.position_m))
        msg.velocity, msg.effort = list(stretch.velocity_m_s), list(stretch.effort_n)
        msg.header.stamp = convert.time_to_msg(sample.stamp_s)
        self._publisher.publish(msg)
        if stretch.steps:
            self._vibration_m_s2 = max(stretch.vibration_m_s2)
        self._restarts = restarts
        self._collisions += len(stretch.collisions)
        for hit in stretch.collisions:
            place = f"instruction {hit.instruction} (line {hit.line})"
            self._node.get_logger().warning(f"{place}: by its plan the tool touches {hit.obstacle}")
