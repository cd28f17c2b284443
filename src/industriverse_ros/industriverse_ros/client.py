"""A look at a cell from outside: what `./cell up` and the command line share. Not a node of the cell."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

import industriverse_msgs.msg as im
from industriverse_core.errors import ErrorCode, JobError
from industriverse_msgs.action import RunJob
from industriverse_ros import names, qos

ENDED = (im.JobState.COMPLETED, im.JobState.ABORTED, im.JobState.REFUSED)


class CellClient:
    """Connection to one cell; a context manager.

    Attributes:
        jobs: last JobState of every job heard, by job id.
        telemetry, safety: last message of the machine and of its shield; None until one is heard.
    """

    def __init__(self, namespace: str, machine_id: str) -> None:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)  # Ctrl-C stays the caller's
        self._node = rclpy.create_node("client", namespace=namespace)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._services: dict[str, Any] = {}
        self.machine_id = machine_id
        self.jobs: dict[str, im.JobState] = {}
        self.telemetry: im.MachineTelemetry | None = None
        self.safety: im.SafetyState | None = None
        watch = self._node.create_subscription
        watch(im.JobState, names.JOB_STATE, self._on_job_state, qos.EVENT)
        watch(im.MachineTelemetry, names.telemetry(machine_id), self._on_telemetry, qos.SENSOR)
        watch(im.SafetyState, names.safety_state(machine_id), self._on_safety_state, qos.STATE)
        self._stop = self._node.create_publisher(im.StopRequest, names.STOP_REQUEST, qos.EVENT)

    def __enter__(self) -> CellClient:
        return self

    def __exit__(self, *exception: object) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown()

    def _on_job_state(self, msg: im.JobState) -> None:
        if msg.job_id:
            self.jobs[msg.job_id] = msg

    def _on_telemetry(self, msg: im.MachineTelemetry) -> None:
        self.telemetry = msg

    def _on_safety_state(self, msg: im.SafetyState) -> None:
        self.safety = msg

    def spin(self, seconds: float) -> None:
        """Hear what the cell says for a while."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)

    def wait(self, condition: Callable[[], object], timeout_s: float) -> bool:
        """Hear until the condition holds; False when it did not in time."""
        end_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end_s:
                return False
            self._executor.spin_once(timeout_sec=0.05)
        return True

    def call(self, kind: Any, name: str, request: Any, timeout_s: float = 10.0) -> Any:
        """The answer of a service. Raises JobError: nobody answers, or the answer is a refusal (its code)."""
        if name not in self._services:
            self._services[name] = self._node.create_client(kind, name)
        client = self._services[name]
        future = client.call_async(request) if self.wait(client.service_is_ready, timeout_s) else None
        if future is None or not self.wait(future.done, timeout_s):
            raise JobError(
                ErrorCode.SERVICE_UNAVAILABLE,
                f"Nobody in the cell answers '{name}' within {timeout_s:.0f} s.",
                "Look at the cell's logs, or start it again with ./cell up.",
            )
        answer = future.result()
        if answer.error_code:
            raise JobError(ErrorCode(answer.error_code), answer.error_msg)
        return answer

    def request_stop(self, level: int, source: str, reason: str, timeout_s: float = 2.0) -> bool:
        """Ask for a stop until the shield says that it is latched; False when it does not say so in time."""
        end_s = time.monotonic() + timeout_s
        message = im.StopRequest(machine_id=self.machine_id, source=source[:64], level=level, reason=reason[:256])
        while time.monotonic() < end_s:
            message.stamp = self._node.get_clock().now().to_msg()
            self._stop.publish(message)
            if self.wait(lambda: self.safety and self.safety.state == im.SafetyState.LATCHED, 0.1):
                return True
        return False

    def follow(self, job_id: str, on_change: Callable[[im.JobState], None]) -> im.JobState:
        """Follow a job through RunJob (which approves it) until it ends; the last state.

        Raises JobError when the conductor does not know the job or does not answer.
        """
        action = ActionClient(self._node, RunJob, names.RUN_JOB)
        goal = (
            action.send_goal_async(RunJob.Goal(job_id=job_id), lambda item: on_change(item.feedback.job))
            if self.wait(action.server_is_ready, 10.0)
            else None
        )
        if goal is None or not self.wait(goal.done, 10.0) or not goal.result().accepted:
            raise JobError(
                ErrorCode.UNKNOWN_JOB, f"The conductor does not follow job {job_id}.", "See: industriverse jobs."
            )
        result = goal.result().get_result_async()
        self.wait(result.done, float("inf"))
        job: im.JobState = result.result().result.job
        return job
