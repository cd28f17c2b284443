"""The machine's ROS node: converts, calls the worker, publishes. See README.md for the contract."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from sensor_msgs.msg import JointState

import industriverse_msgs.msg as im
from industriverse_core.artefacts import ProgramRef
from industriverse_core.errors import CoreError, ErrorCode, MachineError, ProfileError
from industriverse_core.machine import DEFAULT_MACHINE, MachineProfile, load_machine
from industriverse_core.motion import plan_motion
from industriverse_core.permit import StopLevel, load_or_create_key
from industriverse_core.program import Op, build_program
from industriverse_core.store import CellPaths, ProgramStore
from industriverse_core.telemetry import MachineState, TelemetrySample, Trace
from industriverse_msgs.action import ExecuteProgram
from industriverse_ros import convert, names, qos
from industriverse_ros.node import CellNode, release_realtime, run
from industriverse_ros.params import param
from machine_node.execution import Execution, Outcome, Result, Snapshot
from machine_node.machine import Machine
from machine_node.permit_guard import PermitGuard
from machine_node.power import PowerSamples
from machine_node.preparation import prepare
from machine_node.starts import StartLedger

TELEMETRY_PERIOD_S = 0.05
FAST_PERIOD_S = 0.02  # joint states, and what the meter has read
FEEDBACK_EVERY = 4  # telemetry periods


@dataclass(frozen=True, slots=True)
class MachineParams:
    """Parameters of the node."""

    machine: str = param(DEFAULT_MACHINE, "machine profile, by name or YAML path")
    port: str = param("", "serial port of the machine, or the link of a virtual one; auto = the one that answers")
    meter_port: str = param("", "power meter: serial port, modbus://... or mqtt://...; empty = none")
    cell_dir: str = param("", "data folder of the cell: key, programs, ledger of starts")
    time_scale: float = param(1.0, "physics seconds in a steady second; 1 for real machines", low=1.0, high=100.0)
    baud: int = param(0, "baud rate; 0 = as the profile says", unit="bit/s", low=0, high=4_000_000)


@dataclass(slots=True)
class _Goal:
    """The accepted goal that is being prepared or executed."""

    handle: ServerGoalHandle
    job_id: str
    started_s: float  # ROS time
    execution: Execution | None = None  # once it has begun


class MachineNode(CellNode):
    """One machine. INACTIVE: telemetry only. ACTIVE: executes programs under permits."""

    Params = MachineParams
    realtime = True

    def __init__(self, name: str = "machine_node", **options: object) -> None:
        super().__init__(name, **options)
        self._machine: Machine | None = None
        self._goal: _Goal | None = None
        self._shield_heard = False
        self._missed_deadlines = 0
        self._last_tick_s = math.nan
        self._ticks = 0
        self._traced: tuple[object, ...] = ()

    # --- lifecycle ---

    def setup(self) -> None:
        """See CellNode."""
        p = self.params
        self.profile = load_machine(p.machine)
        for value, missing in ((p.port, "port"), (p.cell_dir, "cell_dir")):
            if not value:
                raise ProfileError(ErrorCode.BAD_PARAMETER, f"the parameter {missing} is not set.", f"Set {missing}.")
        paths = CellPaths(Path(p.cell_dir))
        self._ledger = StartLedger(paths.starts)
        guard = PermitGuard(self.profile.id, load_or_create_key(paths.key))
        self._machine = Machine(self.profile, p.port, p.meter_port, guard, p.time_scale, p.baud, self.get_logger().info)
        _load_numeric_libraries(self.profile)
        machine_id = self.profile.id
        self._telemetry = self.create_publisher(im.MachineTelemetry, names.telemetry(machine_id), qos.SENSOR)
        self._power = self.create_publisher(im.PowerReading, names.power(machine_id), qos.SENSOR)
        self._power_samples = PowerSamples(machine_id, p.time_scale)
        self._trace = self.create_publisher(im.ExecutionTrace, names.execution_trace(machine_id), qos.EVENT)
        self._joint_states = self.create_publisher(JointState, names.joint_states(machine_id), qos.SENSOR)
        self._joint_names = [f"{machine_id}_{axis}" for axis in "xyz"]
        self.create_subscription(im.MotionPermit, names.permit(machine_id), self._on_permit, qos.PERMIT)
        self.create_subscription(im.StopRequest, names.STOP_REQUEST, self._on_stop_request, qos.EVENT)
        self.create_subscription(im.SafetyState, names.safety_state(machine_id), self._on_safety_state, qos.STATE)
        self._actions = ActionServer(
            self,
            ExecuteProgram,
            names.execute_program(machine_id),
            execute_callback=self._answer,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=self._on_cancel,
        )
        self._results: dict[bytes, tuple[Result, float]] = {}
        self.steady_timer(TELEMETRY_PERIOD_S, self._tick)
        self.steady_timer(FAST_PERIOD_S, self._publish_joints)
        self.steady_timer(FAST_PERIOD_S, self._publish_power)
        self._machine.start()

    def ready(self) -> bool:
        """The shield is there and the controller has answered: the machine becomes active last."""
        return self._shield_heard and self._machine is not None and self._machine.connected

    def stop(self) -> None:
        """See CellNode. A running execution is stopped."""
        if self._goal is not None and self._machine is not None:
            self._machine.cancel("the machine node was deactivated.")

    def close(self) -> None:
        """See CellNode."""
        if self._machine is not None:
            self._machine.close()
            self._ledger.close()

    def health(self) -> tuple[bytes, str, dict[str, object]]:
        """See CellNode."""
        if self._machine is None:
            return DiagnosticStatus.WARN, "not configured", {}
        snapshot = self._machine.snapshot()
        level = {
            MachineState.DISCONNECTED: DiagnosticStatus.ERROR,
            MachineState.FAULT: DiagnosticStatus.ERROR,
            MachineState.LATCHED: DiagnosticStatus.WARN,
            MachineState.HOLDING: DiagnosticStatus.WARN,
        }.get(snapshot.state, DiagnosticStatus.OK)
        values: dict[str, object] = {
            "state": snapshot.state.name,
            "realtime": self.has_realtime,
            "missed_deadlines": self._missed_deadlines,
            "queued_s": f"{snapshot.queued_s:.3f}",
            "queue": "reported" if snapshot.queue_reported else "estimated",
            "resends": snapshot.resends,
        }
        values |= {f"permits_refused.{reason}": count for reason, count in sorted(snapshot.refused_permits.items())}
        return level, snapshot.message or snapshot.state.name.lower(), values

    # --- what arrives ---

    def _on_permit(self, msg: im.MotionPermit) -> None:
        assert self._machine is not None
        try:
            permit = convert.permit_from_msg(msg)
        except ValueError:
            self._machine.on_malformed_permit()
            return
        self._machine.on_permit(permit)

    def _on_stop_request(self, msg: im.StopRequest) -> None:
        assert self._machine is not None
        try:
            level = StopLevel(msg.level)
        except ValueError:
            level = StopLevel.STOP1  # a stop of an unknown kind is a stop
        self._machine.on_stop(msg.machine_id, level, msg.source, msg.reason)

    def _on_safety_state(self, msg: im.SafetyState) -> None:
        self._shield_heard = self._shield_heard or msg.machine_id == self.profile.id

    # --- the action ---

    def _on_accepted(self, handle: ServerGoalHandle) -> None:
        """Every goal is accepted and then executed or refused with a reason in its result."""
        goal = _Goal(handle, handle.request.job_id, self.now_s())
        try:
            if not self.active:
                raise MachineError(ErrorCode.BUSY, "the machine node is not active.", "Wait until the cell is ready.")
            if self._goal is not None:
                raise MachineError(ErrorCode.BUSY, "another execution runs on this machine.", "Wait for its end.")
            if not handle.request.execution_id:
                raise MachineError(ErrorCode.USAGE, "the goal has no execution_id.", "Give each attempt its own.")
            assert self._machine is not None
            self._machine.check_free()
        except CoreError as error:
            self._finish(goal, _refusal(error))
            return
        self._goal = goal
        threading.Thread(target=self._prepare, args=(goal,), name="prepare", daemon=True).start()

    def _prepare(self, goal: _Goal) -> None:
        """Load, verify and plan the program, and write its start down. In a thread of its own."""
        release_realtime()
        request = goal.handle.request
        try:
            ref: ProgramRef = convert.ref_from_msg(request.program)
            program = ProgramStore.load(ref)
            on_end = partial(self.post, self._finish, goal)
            scale = self.params.time_scale
            execution = prepare(program, ref.digest, self.profile, scale, request.job_id, on_end)
            self._ledger.claim(request.execution_id, request.job_id, ref.digest, goal.started_s)
        except CoreError as error:
            self.post(self._finish, goal, _refusal(error))
            return
        except Exception as error:  # noqa: BLE001 - a bug in a worker thread must end the process
            self.failure = error
            return
        self.post(self._begin, goal, execution)

    def _begin(self, goal: _Goal, execution: Execution) -> None:
        assert self._machine is not None
        try:
            if not self.active or goal.handle.is_cancel_requested:
                raise MachineError(ErrorCode.CANCELLED, "the execution was cancelled before it began.")
            self._machine.begin(execution)
        except CoreError as error:
            self._finish(goal, _refusal(error))
            return
        goal.execution = execution

    def _on_cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        goal = self._goal
        if goal is None or goal.handle.goal_id != handle.goal_id:
            return CancelResponse.REJECT
        if goal.execution is not None and self._machine is not None:
            self._machine.cancel("the execution's owner cancelled it.")
        return CancelResponse.ACCEPT

    def _finish(self, goal: _Goal, result: Result) -> None:
        """In the executor's thread: keep the result for `_answer` and let the action server ask for it."""
        if goal is self._goal:
            self._goal = None
        if goal.execution is not None:
            total = len(goal.execution.program)
            self._publish_trace(goal.execution, result.executed, result.executed, result.executed, total)
        key = bytes(goal.handle.goal_id.uuid)
        self._results[key] = (result, self.now_s() - goal.started_s)
        goal.handle.execute()

    def _answer(self, handle: ServerGoalHandle) -> ExecuteProgram.Result:
        """The action server's execute callback: everything is over already."""
        result, time_s = self._results.pop(bytes(handle.goal_id.uuid))
        if result.outcome is Outcome.COMPLETED:
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return ExecuteProgram.Result(
            outcome=int(result.outcome),
            error_code=int(result.code),
            error_msg=result.message,
            executed=result.executed,
            time_s=time_s,
        )

    # --- telemetry ---

    def _tick(self) -> None:
        assert self._machine is not None
        if self._machine.failure is not None:
            self.failure = self._machine.failure
            return
        now = time.monotonic()
        if now - self._last_tick_s > 1.5 * TELEMETRY_PERIOD_S:
            self._missed_deadlines += 1
        self._last_tick_s = now
        snapshot = self._machine.snapshot()
        self._telemetry.publish(convert.telemetry_to_msg(self._sample(snapshot)))
        self._ticks += 1
        goal = self._goal
        if goal is None or goal.execution is None or snapshot.total == 0:
            return
        self._publish_trace(goal.execution, snapshot.sent, snapshot.acknowledged, snapshot.executed, snapshot.total)
        if self._ticks % FEEDBACK_EVERY == 0:
            feedback = ExecuteProgram.Feedback(
                state=int(snapshot.state), instruction=snapshot.executed, progress=snapshot.progress
            )
            goal.handle.publish_feedback(feedback)

    def _publish_power(self) -> None:
        """More often than a meter reads, so that no burst of a fast virtual one overruns a listener."""
        assert self._machine is not None
        for sample in self._power_samples.of(self._machine.meter.take(), self.now_s(), time.monotonic()):
            self._power.publish(convert.power_to_msg(sample))

    def _publish_joints(self) -> None:
        """Where the tool is; nothing while that is not known."""
        assert self._machine is not None
        position_m, velocity_m_s = self._machine.tool()
        if math.isnan(position_m[0]):
            return
        scale = self.params.time_scale
        msg = JointState(name=self._joint_names, position=list(position_m))
        msg.velocity = [value / scale for value in velocity_m_s]  # steady seconds to ROS time's
        msg.header.stamp = convert.time_to_msg(self.now_s())
        self._joint_states.publish(msg)

    def _sample(self, snapshot: Snapshot) -> TelemetrySample:
        meter = snapshot.meter
        return TelemetrySample(
            stamp_s=self.now_s(),
            machine_id=self.profile.id,
            incarnation=self.incarnation,
            challenge=snapshot.challenge,
            state=snapshot.state,
            error_code=int(snapshot.code),
            error_msg=snapshot.message,
            job_id=snapshot.job_id,
            program_digest=snapshot.digest,
            instruction=max(0, min(snapshot.executed, snapshot.total - 1)),
            progress=snapshot.progress,
            position_m=snapshot.position_m,
            reported_position_m=snapshot.reported_position_m,
            heaters=snapshot.heaters,
            fan=snapshot.fan,
            power_w=math.nan if meter is None else meter.power_w,
            energy_j=math.nan if meter is None else meter.energy_j,
            permit_sequence=snapshot.permit_sequence,
            permit_age_s=math.nan if snapshot.permit_age_s is None else snapshot.permit_age_s,
            latch_id=snapshot.latch_id,
            queued_s=snapshot.queued_s,
            missed_deadlines=self._missed_deadlines,
            realtime=self.has_realtime,
        )

    def _publish_trace(self, execution: Execution, sent: int, acknowledged: int, executed: int, total: int) -> None:
        """On change only."""
        traced = (execution.job_id, execution.digest, sent, acknowledged, executed)
        if traced == self._traced:
            return
        self._traced = traced
        trace = Trace(
            self.now_s(), self.profile.id, execution.job_id, execution.digest, sent, acknowledged, executed, total
        )
        self._trace.publish(convert.trace_to_msg(trace))


def _load_numeric_libraries(profile: MachineProfile) -> None:
    """Load what the first program needs: later it would hold up telemetry for a third of a second."""
    import pyarrow.ipc  # noqa: F401

    plan_motion(build_program([{"op": Op.STRAIGHT_FEED, "x_m": 0.01, "feed_m_s": 0.01}]), profile)


def _refusal(error: CoreError) -> Result:
    return Result(Outcome.REFUSED, error.code, str(error), 0)


def main() -> None:
    """Entry point."""
    run(MachineNode)


if __name__ == "__main__":
    main()
