"""ROS side of the conductor: events in, the loop controller, commands out. See README.md for the contract."""

from __future__ import annotations

import math
import time
import uuid
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.action import ActionClient, ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle

import industriverse_msgs.msg as im
import industriverse_msgs.srv as srv
from conductor_node import job as j
from conductor_node import loop
from conductor_node.clients import StageClients, stage_of
from conductor_node.job import Job, MachineView, Policy
from conductor_node.journal import Journal
from conductor_node.messages import job_to_msg, view_of, without_findings
from conductor_node.states import State
from industriverse_core.errors import ErrorCode, InputError, JobError, ProfileError
from industriverse_core.machine import load_machine
from industriverse_core.states import MAX_COPIES
from industriverse_core.telemetry import TelemetrySample
from industriverse_msgs.action import ExecuteProgram, RunJob
from industriverse_ros import convert, names, qos
from industriverse_ros.node import CellNode, run
from industriverse_ros.params import param

MAX_UNFINISHED = 1000
MAX_LISTED = 1000
MAX_REMEMBERED = 32  # ended jobs kept in memory
REPEATS = 5  # an end is said again this often, once a second, for who joins or comes back just then
APPROVALS = ("automatic", "operator")


@dataclass(frozen=True, slots=True)
class ConductorParams:
    """Parameters of the conductor."""

    cell_dir: str = param("", "data folder of the cell")
    machine: str = param("prusa_mk3s", "machine profile, by name or YAML path")
    approval: str = param("automatic", "who approves a priced job: automatic, or operator (by RunJob)")
    heartbeat_hz: float = param(10.0, "rate of JobState", unit="Hz", low=2.0, high=50.0)
    service_limit_s: float = param(60.0, "longest wait for a stage's answer, steady", unit="s", low=1.0, high=3600.0)


class ConductorNode(CellNode):
    """Jobs of one machine: one after the other, first in, first out."""

    Params = ConductorParams

    def __init__(self, **options: Any) -> None:
        super().__init__("conductor", **options)
        if self.params.approval not in APPROVALS:
            seen = f"conductor: parameter 'approval' is '{self.params.approval}'."
            raise ProfileError(ErrorCode.BAD_PARAMETER, seen, f"Allowed: {', '.join(APPROVALS)}.")
        self._machine_id = load_machine(self.params.machine).id
        self._policy = Policy(
            automatic_approval=self.params.approval == "automatic", service_limit_s=self.params.service_limit_s
        )
        self._jobs: dict[str, Job] = {}  # unfinished, oldest first
        self._ended: dict[str, Job] = {}  # the last few, oldest first
        self._repeats: dict[str, int] = {}  # ended jobs whose end is still said again
        self._followers: dict[str, list[ServerGoalHandle]] = {}
        self._sample: TelemetrySample | None = None
        self._sample_received_s = -math.inf
        self._safety: im.SafetyState | None = None
        self._journal: Journal | None = None

    # --- lifecycle ---

    def setup(self) -> None:
        """Open the journal, take up what it holds, offer services."""
        self._journal = Journal(self.cell_paths().jobs)
        self._publisher = self.create_publisher(im.JobState, names.JOB_STATE, qos.EVENT)
        machine = self._machine_id
        execute = ActionClient(self, ExecuteProgram, names.execute_program(machine))
        self._stages = StageClients(self, execute, self._on_event)
        self.create_subscription(im.MachineTelemetry, names.telemetry(machine), self._on_telemetry, qos.SENSOR)
        self.create_subscription(im.SafetyState, names.safety_state(machine), self._on_safety, qos.STATE)
        self.create_quick_service(srv.SubmitJob, names.SUBMIT_JOB, self._submit)
        self.create_quick_service(srv.ListJobs, names.LIST_JOBS, self._list)
        self._server = ActionServer(
            self,
            RunJob,
            names.RUN_JOB,
            execute_callback=self._end_following,
            goal_callback=lambda goal: GoalResponse.ACCEPT if self.active else GoalResponse.REJECT,
            handle_accepted_callback=self._follow,
            cancel_callback=self._cancel,
        )

    def start(self) -> None:
        """Begin to conduct: first the fate of what a predecessor left, then the heartbeat."""
        assert self._journal is not None
        for job in self._journal.unfinished():
            self._jobs[job.job_id] = job
        for job_id in list(self._jobs):
            self._on_event(job_id, j.Restarted())
        self._heartbeat = self.steady_timer(1.0 / self.params.heartbeat_hz, self._beat)
        self._repeater = self.steady_timer(1.0, self._say_ends_again)

    def stop(self) -> None:
        """No heartbeat, no permit: what executes stops by itself."""
        self.destroy_timer(self._heartbeat)
        self.destroy_timer(self._repeater)

    def close(self) -> None:
        """Release the journal."""
        if self._journal is not None:
            self._journal.close()

    def health(self) -> tuple[bytes, str, dict[str, object]]:
        """Number of jobs and what the active one does."""
        active = self._active()
        message = f"{active.job_id} {active.state.name.lower()} {active.live.note}".strip() if active else "no job"
        return DiagnosticStatus.OK, message, {"unfinished_jobs": len(self._jobs)}

    # --- what comes in ---

    def _on_telemetry(self, msg: im.MachineTelemetry) -> None:
        try:
            self._sample = convert.telemetry_from_msg(msg)
        except ValueError as error:  # unreadable telemetry is no telemetry: the sample grows old
            self.get_logger().warning(f"telemetry that cannot be read: {error}", throttle_duration_sec=5.0)
            return
        self._sample_received_s = self.steady_s()

    def _on_safety(self, msg: im.SafetyState) -> None:
        cleared = self._safety is not None and self._safety.latch_id and not msg.latch_id
        self._safety = msg
        if cleared and self._ended:  # the operator has cleared the stop: say again what became of the job
            self._publish(next(reversed(self._ended.values())))

    def _submit(self, request: srv.SubmitJob.Request, response: srv.SubmitJob.Response) -> srv.SubmitJob.Response:
        self._check_submission(request)
        assert self._journal is not None
        job = Job(
            number=self._journal.next_number(),
            uuid=str(uuid.uuid4()),
            intent=request.intent,
            machine_id=self._machine_id,
            asked_material=request.material,
            asked_quantity=request.quantity,
            submitted_s=time.time(),
        )
        job = self._journal.append(job, "Submitted")
        self._jobs[job.job_id] = job
        self._publish(job)
        response.job_id = job.job_id
        return response

    def _check_submission(self, request: srv.SubmitJob.Request) -> None:
        size = len(request.intent.encode("utf-8", "replace"))
        if not request.intent.strip() or size > j.MAX_INTENT_BYTES:
            seen = f"The intent has {size} bytes; 1 to {j.MAX_INTENT_BYTES} are allowed."
            raise InputError(ErrorCode.USAGE, seen, "State the path of a program file or a short sentence.")
        if request.quantity > MAX_COPIES:
            seen = f"{request.quantity} copies were asked for; at most {MAX_COPIES} are allowed."
            raise InputError(ErrorCode.USAGE, seen, "Submit several jobs.")
        if len(request.material) > 64:
            raise InputError(ErrorCode.USAGE, "The material's name is longer than 64 characters.", "State its id.")
        if request.machine_id not in ("", self._machine_id):
            seen = f"This cell has no machine '{request.machine_id[:64]}'."
            raise ProfileError(ErrorCode.UNKNOWN_MACHINE, seen, f"It has '{self._machine_id}'.")
        if not self.active:
            raise JobError(ErrorCode.SERVICE_UNAVAILABLE, "The conductor is not active.", "Wait until the cell is up.")
        if len(self._jobs) >= MAX_UNFINISHED:
            raise JobError(ErrorCode.BUSY, f"{MAX_UNFINISHED} jobs are waiting.", "Wait for some of them to end.")

    def _list(self, request: srv.ListJobs.Request, response: srv.ListJobs.Response) -> srv.ListJobs.Response:
        assert self._journal is not None
        limit = min(request.limit or MAX_LISTED, MAX_LISTED)
        known = [self._jobs.get(job.job_id, job) for job in self._journal.latest(limit)]
        response.jobs = [self._message(job) for job in known]
        return response

    # --- followers ---

    def _follow(self, handle: ServerGoalHandle) -> None:
        job_id = handle.request.job_id
        job = self._jobs.get(job_id)
        if job is None:
            handle.execute()
            return
        self._followers.setdefault(job_id, []).append(handle)
        handle.publish_feedback(RunJob.Feedback(job=self._message(job)))
        if not job.approved and State.RECEIVED <= job.state <= State.PRICED:
            self._on_event(job_id, j.Approve())

    def _cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        # after this answer: the goal has to be in its cancelling state before it can end
        self.post(self._on_event, handle.request.job_id, j.Cancel())
        return CancelResponse.ACCEPT

    def _end_following(self, handle: ServerGoalHandle) -> RunJob.Result:
        """The result of a job that has ended (or never was); rclpy's execute callback, returns at once."""
        job = self._ended_job(handle.request.job_id)
        if job is None:
            handle.abort()
            message = f"There is no job '{handle.request.job_id[:32]}'. See the list of jobs."
            return RunJob.Result(error_code=int(ErrorCode.UNKNOWN_JOB), error_msg=message)
        if job.state is State.COMPLETED:
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return RunJob.Result(error_code=job.error_code, error_msg=job.error_msg, job=self._message(job))

    def _ended_job(self, job_id: str) -> Job | None:
        if job_id in self._ended:
            return self._ended[job_id]
        number = job_id.removeprefix("J")
        if self._journal is None or not (job_id.startswith("J") and number.isascii() and number.isdigit()):
            return None
        return self._journal.get(int(number)) if len(number) < 18 else None

    # --- the loop ---

    def _active(self) -> Job | None:
        return next(iter(self._jobs.values()), None)

    def _view(self) -> MachineView:
        try:
            return view_of(self._sample, self.steady_s() - self._sample_received_s, self._safety)
        except ValueError:  # a safety state that does not exist is an unknown one
            return view_of(self._sample, self.steady_s() - self._sample_received_s, None)

    def _beat(self) -> None:
        active = self._active()
        if active is not None:
            self._observe(active.job_id)
        self._stages.retry(self._is_awaited)
        active = self._active()
        if active is None:
            idle = im.JobState(incarnation=self.incarnation, machine_id=self._machine_id)
            idle.stamp = self.get_clock().now().to_msg()
            self._publisher.publish(idle)
        else:
            self._publisher.publish(self._message(without_findings(active)))

    def _observe(self, job_id: str) -> None:
        """Let the job see the cell until it has nothing more to do at once (approve, then arm)."""
        for _ in range(4):
            job = self._jobs.get(job_id)
            if job is None or job is not self._active():
                return
            self._apply(job, j.Observed(self._view()))
            after = self._jobs.get(job_id)
            if after is None or after.state is job.state:
                return

    def _on_event(self, job_id: str, event: j.Event) -> None:
        """Every event of a job passes here. An event that comes too late is dropped with a log line."""
        job = self._jobs.get(job_id) or self._ended.get(job_id)
        if job is not None:
            self._apply(job, event)
            self._observe(job_id)

    def _apply(self, job: Job, event: j.Event) -> None:
        try:
            after, commands = loop.step(job, event, self.steady_s(), self._policy)
        except JobError as error:
            self.get_logger().info(str(error))
            return
        if after.durable() != job.durable():
            assert self._journal is not None
            after = self._journal.append(after, type(event).__name__)
        self._keep(after)
        for command in commands:
            self._stages.carry_out(command)
        if after != job:
            self._tell(job, after)

    def _keep(self, job: Job) -> None:
        if job.ended:
            self._jobs.pop(job.job_id, None)
            self._repeats.setdefault(job.job_id, REPEATS)
            self._ended[job.job_id] = job
            while len(self._ended) > MAX_REMEMBERED:
                oldest = next(iter(self._ended))
                del self._ended[oldest]
                self._stages.forget(oldest)
        else:
            self._jobs[job.job_id] = job

    def _is_awaited(self, command: j.Command) -> bool:
        """False for a command whose answer no job waits for any more."""
        job = self._jobs.get(command.job_id) or self._ended.get(command.job_id)
        return job is not None and job.live.pending is stage_of(command) and self.steady_s() < job.live.deadline_s

    # --- what goes out ---

    def _message(self, job: Job) -> im.JobState:
        return job_to_msg(job, self.incarnation, self.now_s())

    def _publish(self, job: Job) -> None:
        self._publisher.publish(self._message(job))

    def _say_ends_again(self) -> None:
        for job_id, left in list(self._repeats.items()):
            if left and job_id in self._ended:
                self._publish(self._ended[job_id])
                self._repeats[job_id] = left - 1
            elif job_id not in self._ended:
                del self._repeats[job_id]

    def _tell(self, before: Job, job: Job) -> None:
        """Publish a change; progress alone goes out with the heartbeat."""
        message = self._message(job)
        if before.durable() != job.durable() or before.live.note != job.live.note:
            self._publisher.publish(message)
        if job.ended:
            for handle in self._followers.pop(job.job_id, []):
                handle.execute()
        for handle in self._followers.get(job.job_id, []):
            handle.publish_feedback(RunJob.Feedback(job=message))


def main() -> None:
    """Entry point."""
    run(ConductorNode)


if __name__ == "__main__":
    main()
