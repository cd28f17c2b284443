"""A look at a cell from outside: what `./cell up` and the command line share. Not a node of the cell."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor

import industriverse_msgs.msg as im
from industriverse_core.errors import ErrorCode, JobError, PermitError, error_from_code
from industriverse_msgs.action import RunJob
from industriverse_msgs.srv import SubmitJob
from industriverse_ros import names, qos

DISCOVERY_S = 5.0
ANSWER_S = 20.0
SILENCE_S = 10.0  # the conductor's heartbeat comes at 10 Hz
STOP_ASK_S = 0.5  # a stop is asked for at least this long
STOP_ANSWER_S = 2.5
ENDED = (im.JobState.COMPLETED, im.JobState.ABORTED, im.JobState.REFUSED)


class CellClient:
    """Connection to one cell; a context manager.

    Attributes:
        jobs: last JobState of every job heard, by job id.
        on_job: called with every JobState of a job, so that no stage is missed.
        telemetry, safety: last message of the machine and of its shield; None until one is heard.
        conductor_heard: True once its heartbeat has come; it sends one when it takes jobs.
    """

    def __init__(self, namespace: str, domain_id: int, machine_id: str) -> None:
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        self._context = rclpy.Context()  # a context of its own: Ctrl-C stays the caller's
        rclpy.init(args=[], context=self._context, domain_id=domain_id)
        options = {"namespace": namespace, "context": self._context, "enable_rosout": False}
        self._node = rclpy.create_node(f"client_{os.getpid()}", **options)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._heard_conductor_s = time.monotonic()
        self.conductor_heard = False
        self.machine_id = machine_id
        self.jobs: dict[str, im.JobState] = {}
        self.on_job: Callable[[im.JobState], None] = lambda job: None
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
        self._context.try_shutdown()

    def _on_job_state(self, msg: im.JobState) -> None:
        self._heard_conductor_s, self.conductor_heard = time.monotonic(), True
        if msg.job_id:
            self.jobs[msg.job_id] = msg
            self.on_job(msg)

    def _on_telemetry(self, msg: im.MachineTelemetry) -> None:
        self.telemetry = msg

    def _on_safety_state(self, msg: im.SafetyState) -> None:
        self.safety = msg

    def running(self) -> bool:
        """True when the cell can take a job: conductor and shield are heard, the machine is connected."""
        connected = self.telemetry is not None and self.telemetry.state != im.MachineTelemetry.DISCONNECTED
        return self.conductor_heard and self.safety is not None and connected

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

    def call(self, kind: Any, name: str, request: Any, discovery_s: float = DISCOVERY_S) -> Any:
        """The answer of a service. Raises JobError when nobody answers, else the CoreError that the answer carries."""
        client = self._node.create_client(kind, name)
        try:
            if not self.wait(client.service_is_ready, discovery_s):
                raise _silent(f"nobody in the cell offers '{name}'")
            future = client.call_async(request)
            if not self.wait(future.done, ANSWER_S):
                raise _silent(f"'{name}' does not answer")
        finally:
            self._node.destroy_client(client)
        answer = future.result()
        if answer.error_code:
            raise error_from_code(answer.error_code, answer.error_msg)
        return answer

    def submit(self, intent: str, machine_id: str = "", material: str = "", quantity: int = 0) -> str:
        """Submit a job; its id."""
        request = SubmitJob.Request(intent=intent, machine_id=machine_id, material=material, quantity=quantity)
        job_id: str = self.call(SubmitJob, names.SUBMIT_JOB, request).job_id
        return job_id

    def follow(self, job_id: str, on_change: Callable[[im.JobState], None]) -> im.JobState:
        """Approve a job if it waits for approval, and hear it to its end; its last state.

        Raises JobError when the conductor does not know the job or falls silent.
        """
        action = ActionClient(self._node, RunJob, names.RUN_JOB)
        try:
            if not self.wait(action.server_is_ready, DISCOVERY_S):
                raise _silent("the conductor does not offer to run jobs")
            goal = action.send_goal_async(RunJob.Goal(job_id=job_id))
            if not self.wait(goal.done, ANSWER_S):
                raise _silent("the conductor does not answer")
            if not goal.result().accepted:
                message = f"The conductor does not run job {job_id}."
                raise JobError(ErrorCode.UNKNOWN_JOB, message, "List them: industriverse jobs.")
            return self._watch(job_id, goal.result().get_result_async(), on_change)
        finally:
            action.destroy()

    def _watch(self, job_id: str, result: Any, on_change: Callable[[im.JobState], None]) -> im.JobState:
        self._heard_conductor_s = time.monotonic()
        self.on_job = lambda job: on_change(job) if job.job_id == job_id else None
        while not result.done():
            self._executor.spin_once(timeout_sec=0.1)
            if time.monotonic() - self._heard_conductor_s > SILENCE_S:
                raise _silent("the conductor fell silent; the machine holds when its permits end")
        answer = result.result().result
        if not answer.job.job_id:
            raise error_from_code(answer.error_code or ErrorCode.UNKNOWN_JOB, answer.error_msg)
        on_change(answer.job)
        last: im.JobState = answer.job
        return last

    def request_stop(self, level: int, source: str, reason: str, machine_id: str = "") -> im.SafetyState:
        """Ask for a stop until the shield says that it is latched. Raises PermitError when it does not."""
        message = im.StopRequest(machine_id=machine_id, source=source[:64], level=level, reason=reason[:256])
        self.wait(self._stop.get_subscription_count, DISCOVERY_S)
        started_s = time.monotonic()
        while (asked_s := time.monotonic() - started_s) < STOP_ANSWER_S:
            message.stamp = self._node.get_clock().now().to_msg()
            self._stop.publish(message)
            self.spin(0.05)
            latched = self.safety is not None and self.safety.state == im.SafetyState.LATCHED
            if latched and asked_s >= STOP_ASK_S:
                assert self.safety is not None
                return self.safety
        seen = "the shield answers but reports no latch" if self.safety else "no shield answers"
        raise PermitError(
            ErrorCode.SERVICE_UNAVAILABLE,
            f"The stop of {self.machine_id} is not confirmed: {seen}.",
            "Use the machine's own stop.",
        )


def _silent(what: str) -> JobError:
    remedy = "Look at the cell's logs, or start it again: ./cell up"
    return JobError(ErrorCode.SERVICE_UNAVAILABLE, f"{what}.", remedy)
