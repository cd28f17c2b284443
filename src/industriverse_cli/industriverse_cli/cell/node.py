"""The command line's ROS client: one short-lived node in the cell's domain that converts, calls and listens."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import rclpy
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor

from industriverse_cli.cell.connection import RunningCell, refusal
from industriverse_core.errors import ErrorCode, JobError, PermitError
from industriverse_core.units import duration_text, energy_text
from industriverse_msgs.action import RunJob
from industriverse_msgs.msg import JobState, SafetyState, StopRequest
from industriverse_msgs.srv import ClearStop, ListJobs, SubmitJob
from industriverse_ros import names, qos

DISCOVERY_S = 5.0
ANSWER_S = 20.0
SILENCE_S = 10.0  # the conductor speaks at 10 Hz while a job is active
STOP_ASK_S = 0.5  # a stop is asked for at least this long
STOP_ANSWER_S = 2.0
STOP_PERIOD_S = 0.05
ENDED = ("completed", "aborted", "refused")


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as the command line shows it."""

    job_id: str
    state: str
    intent: str
    machine: str
    copy: int
    quantity: int
    progress: float
    error_code: int
    error: str
    note: str  # what the state brought: the verdict, the prediction, the price, or the error
    details: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The job as a JSON object."""
        error = {"code": self.error_code, "message": self.error} if self.error_code else None
        return {
            "job_id": self.job_id, "state": self.state, "intent": self.intent, "machine": self.machine,
            "copy": self.copy, "quantity": self.quantity, "progress": self.progress, "error": error, **self.details,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Latch:
    """A latched stop."""

    machine: str
    latch_id: int
    cause: str


class CellClient:
    """A context manager: a node in the cell's ROS domain, gone at the end."""

    def __init__(self, cell: RunningCell) -> None:
        self._cell = cell
        os.environ["ROS_DOMAIN_ID"] = str(cell.domain_id)
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context)
        options = {"namespace": cell.namespace, "context": self._context, "enable_rosout": False}
        self._node = rclpy.create_node(f"cli_{os.getpid()}", **options)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)

    def __enter__(self) -> CellClient:
        return self

    def __exit__(self, *reason: object) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    # --- jobs ---

    def submit(self, intent: str, machine: str, material: str, quantity: int) -> str:
        """Submit a job; its id. Raises the CoreError that the conductor answers."""
        request = SubmitJob.Request(intent=intent, machine_id=machine, material=material, quantity=quantity)
        return self._call(SubmitJob, names.SUBMIT_JOB, request).job_id

    def jobs(self, limit: int) -> list[JobView]:
        """The newest jobs; limit 0 = all."""
        answer = self._call(ListJobs, names.LIST_JOBS, ListJobs.Request(limit=limit))
        return [_job(msg) for msg in answer.jobs]

    def follow(self, job_id: str, on_update: Callable[[JobView], None]) -> JobView:
        """Approve the job if it waits, watch it to its end; its last state.

        Raises JobError when the conductor refuses to follow it or falls silent.
        """
        heard = time.monotonic()
        latest: list[JobView] = []

        def hear(msg: Any) -> None:
            nonlocal heard
            if msg.job_id == job_id:
                heard = time.monotonic()
                latest[:] = [_job(msg)]
                on_update(latest[0])

        listening = self._node.create_subscription(JobState, names.JOB_STATE, hear, qos.EVENT)
        client = ActionClient(self._node, RunJob, names.RUN_JOB)
        try:
            if not client.wait_for_server(timeout_sec=DISCOVERY_S):
                raise _silent("the conductor does not offer to run jobs")
            sent = client.send_goal_async(RunJob.Goal(job_id=job_id), feedback_callback=lambda m: hear(m.feedback.job))
            handle = self._wait(sent, ANSWER_S, "the conductor does not answer")
            if not handle.accepted:
                raise JobError(
                    ErrorCode.UNKNOWN_JOB, f"the conductor does not run job {job_id}.", "List them: industriverse jobs"
                )
            result = handle.get_result_async()
            heard = time.monotonic()
            while not result.done():
                self._executor.spin_once(timeout_sec=0.1)
                if latest and latest[0].state in ENDED and time.monotonic() - heard > 1.0:
                    return latest[0]  # it ended, but the action's answer was lost
                if time.monotonic() - heard > SILENCE_S:
                    raise _silent("the conductor fell silent; the machine holds when its permits end")
            answer = result.result().result
            if not answer.job.job_id:
                raise refusal(answer.error_code or ErrorCode.UNKNOWN_JOB, answer.error_msg or f"no job {job_id}.")
            return _job(answer.job)
        finally:
            client.destroy()
            self._node.destroy_subscription(listening)

    # --- stops ---

    def stop(self, level: str, machine: str, reason: str, operator: str) -> Latch:
        """Ask for a stop until the shield reports a latch. Raises PermitError when it does not."""
        watched = machine or self._cell.machine
        states: list[Any] = []
        publisher = self._node.create_publisher(StopRequest, names.STOP_REQUEST, qos.EVENT)
        self._node.create_subscription(SafetyState, names.safety_state(watched), states.append, qos.STATE)
        request = StopRequest(machine_id=machine, source=f"cli {operator}"[:64], reason=reason[:256])
        request.level = {"hold": StopRequest.HOLD, "stop1": StopRequest.STOP1, "stop0": StopRequest.STOP0}[level]
        started = time.monotonic()
        reached: float | None = None  # since when somebody listens
        while True:
            request.stamp = self._node.get_clock().now().to_msg()
            publisher.publish(request)
            self._spin_for(STOP_PERIOD_S)
            now = time.monotonic()
            if reached is None and publisher.get_subscription_count():
                reached = now
            asked = reached is not None and now - reached >= STOP_ASK_S
            if asked and states and states[-1].state == SafetyState.LATCHED:
                return Latch(watched, states[-1].latch_id, states[-1].error_msg)
            if now - started > STOP_ANSWER_S + STOP_ASK_S:
                raise _not_stopped(watched, bool(states))

    def latched(self, machine: str, operator: str, reason: str) -> Latch:
        """What is latched (first step of a clear). Raises PermitError(NOTHING_TO_CLEAR)."""
        answer = self._clear_stop(machine, operator, reason, 0)
        name = machine or self._cell.machine
        if answer.latch_id == 0:
            raise PermitError(ErrorCode.NOTHING_TO_CLEAR, f"nothing is latched on {name}.")
        return Latch(name, answer.latch_id, answer.cause)

    def clear(self, latch: Latch, operator: str, reason: str) -> None:
        """Clear exactly this latch (second step)."""
        self._clear_stop(latch.machine, operator, reason, latch.latch_id)

    def _clear_stop(self, machine: str, operator: str, reason: str, latch_id: int) -> Any:
        request = ClearStop.Request(machine_id=machine or self._cell.machine, operator_name=operator, reason=reason)
        request.confirm_latch_id = latch_id
        return self._call(ClearStop, names.CLEAR_STOP, request)

    # --- plumbing ---

    def _call(self, kind: Any, name: str, request: Any) -> Any:
        """Call a service of the cell. Raises the CoreError of its answer, or JobError when there is none."""
        client = self._node.create_client(kind, name)
        try:
            if not client.wait_for_service(timeout_sec=DISCOVERY_S):
                raise _silent(f"nobody in the cell answers '{name}'")
            answer = self._wait(client.call_async(request), ANSWER_S, f"'{name}' does not answer")
        finally:
            self._node.destroy_client(client)
        if answer.error_code:
            raise refusal(answer.error_code, answer.error_msg)
        return answer

    def _wait(self, future: Any, timeout_s: float, silence: str) -> Any:
        self._executor.spin_until_future_complete(future, timeout_sec=timeout_s)
        if not future.done():
            raise _silent(silence)
        return future.result()

    def _spin_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)


def _job(msg: Any) -> JobView:
    """JobState as a view."""
    state = _state_name(msg.state)
    return JobView(
        job_id=msg.job_id,
        state=state,
        intent=msg.intent,
        machine=msg.machine_id,
        copy=msg.copy,
        quantity=msg.quantity,
        progress=msg.progress,
        error_code=msg.error_code,
        error=msg.error_msg,
        note=_note(state, msg),
        details=_details(msg),
    )


def _state_name(state: int) -> str:
    constants = (
        "RECEIVED", "COMPILED", "CHECKED", "PREDICTED", "PRICED", "APPROVED", "PERMITTED", "EXECUTING", "HELD",
        "COMPLETED", "ABORTED", "REFUSED",
    )  # fmt: skip
    return next((name.lower() for name in constants if getattr(JobState, name) == state), "unknown")


def _note(state: str, msg: Any) -> str:
    """What a state brought, in a few words."""
    if state in ("held", "aborted", "refused"):
        return msg.error_msg
    if state == "compiled":
        return f"{msg.program.name}, {msg.program.instruction_count} instructions"
    if state == "checked":
        return f"{msg.report.warning_count} warnings"
    if state == "predicted":
        return f"{duration_text(msg.prediction.time_s.mean)}, {energy_text(msg.prediction.energy_j.mean)}"
    if state == "priced":
        return f"{msg.quote.total.mean:.2f} {msg.quote.currency}"
    if state == "completed" and msg.ledger.electric_j > 0:
        ledger = msg.ledger
        return (
            f"{duration_text(ledger.time_s)}, {energy_text(ledger.electric_j)}, {ledger.material_kg * 1e3:.1f} g, "
            f"{ledger.price:.2f} {ledger.currency}"
        )
    return ""


def _details(msg: Any) -> dict[str, Any]:
    """The artefacts that the job has so far, as numbers."""
    details: dict[str, Any] = {"program_digest": None, "predicted": None, "price": None, "ledger": None}
    if any(msg.program.digest):
        details["program_digest"] = bytes(bytearray(msg.program.digest)).hex()
    if msg.prediction.time_s.mean > 0:
        time_s, energy_j = msg.prediction.time_s, msg.prediction.energy_j
        details["predicted"] = {
            "time_s": time_s.mean, "time_s_90": [time_s.low, time_s.high],
            "energy_j": energy_j.mean, "energy_j_90": [energy_j.low, energy_j.high],
        }  # fmt: skip
    if msg.quote.currency:
        details["price"] = {"total": msg.quote.total.mean, "currency": msg.quote.currency}
    if msg.ledger.electric_j > 0:
        fields = ("time_s", "electric_j", "work_j", "heat_j", "stored_j", "residual_fraction", "material_kg")
        details["ledger"] = {name: getattr(msg.ledger, name) for name in fields}
    return details


def _silent(what: str) -> JobError:
    remedy = "Look at the cell's log, or start it again: ./cell up"
    return JobError(ErrorCode.SERVICE_UNAVAILABLE, f"{what}.", remedy)


def _not_stopped(machine: str, answered: bool) -> PermitError:
    seen = "the shield answers but reports no latch" if answered else "no shield answers"
    remedy = "Use the machine's own stop."
    return PermitError(ErrorCode.SERVICE_UNAVAILABLE, f"the stop of {machine} is not confirmed: {seen}.", remedy)
