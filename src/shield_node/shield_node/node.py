"""shield_node: gates, permits, stops. Converts, calls the logic, publishes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from industriverse_core import threats
from industriverse_core.errors import ErrorCode, PermitError
from industriverse_core.frames import CELL
from industriverse_core.machine import load_machine, with_stock
from industriverse_core.material import resolve_material
from industriverse_core.permit import PERMIT_PERIOD_S, StopLevel, load_or_create_key
from industriverse_core.safety import load_safety
from industriverse_core.store import ProgramStore
from industriverse_msgs.msg import (
    Decision,
    JobState,
    MachineTelemetry,
    MotionPermit,
    PersonsSeen,
    PowerReading,
    Residual,
    SafetyState,
    SourceHealth,
    StopRequest,
    VibrationFeatures,
)
from industriverse_msgs.srv import ArmProgram, CheckProgram, ClearStop
from industriverse_ros import convert, convert_decision, names, qos
from industriverse_ros.node import CellNode, run
from industriverse_ros.params import param
from shield_node import gates, memory
from shield_node.advice import Advice
from shield_node.markers import ShieldMarkers
from shield_node.memory import Memory
from shield_node.people import people_of
from shield_node.shield import CONDUCTOR, MACHINE, TWIN, Latch, Shield
from shield_node.threats.identifier import ThreatIdentifier
from shield_node.transitions import State

STATE_PERIOD_S = 0.1
# telemetry drives the ticks, so that no stop waits for a timer; without it they go on a little later than every 50 ms
TICK_WITHOUT_TELEMETRY_S = 1.2 * PERMIT_PERIOD_S
MEMORY_FILE = "shield.json"
REFUSED = "permits_refused."  # begins the keys of refused permits in the machine's diagnostics


@dataclass(frozen=True, slots=True)
class ShieldParams:
    """Parameters of shield_node."""

    machine: str = param("prusa_mk3s", "machine profile, by name or YAML path")
    stock: str = param("", "a mill's blank: x0,y0,z0,x1,y1,z1 in mm, or a YAML file; '' = the profile's")
    cell_dir: str = param("", "data folder of the cell")
    cell_file: str = param("", "cell description, for its section 'safety'; '' = no people are watched")
    envelope: str = param("", "energy map of the machine (.npz), '' = none")
    machine_limit_s: float = param(0.3, "oldest machine telemetry that is accepted", unit="s", low=0.05, high=2.0)
    twin_limit_s: float = param(0.5, "oldest residual of the twin that is accepted", unit="s", low=0.05, high=2.0)
    conductor_limit_s: float = param(0.5, "oldest heartbeat of the conductor", unit="s", low=0.05, high=2.0)
    markers: bool = param(True, "show volumes, zones and the stop to whoever listens to its markers")


class ShieldNode(CellNode):
    """The only issuer of motion permits."""

    Params = ShieldParams
    realtime = True

    def __init__(self, **options: Any) -> None:
        super().__init__("shield", **options)

    def setup(self) -> None:
        """Load the profile and the key; open every connection."""
        self._profile = with_stock(load_machine(self.params.machine), self.params.stock)
        machine = self._profile.id
        limits = {
            MACHINE: self.params.machine_limit_s,
            TWIN: self.params.twin_limit_s,
            CONDUCTOR: self.params.conductor_limit_s,
        }
        paths = self.cell_paths()
        key = load_or_create_key(paths.key)
        self._memory_file = paths.directory / MEMORY_FILE
        remembered = memory.load(self._memory_file)
        self.incarnation = max(self.incarnation, remembered.incarnation + 1)  # grows even if the clock steps back
        cell_file = Path(self.params.cell_file) if self.params.cell_file else None
        safety = load_safety(cell_file) if cell_file is not None else None
        memory.keep_description(cell_file, paths.description)
        people = people_of(safety, self._profile)
        identifier = ThreatIdentifier(self._profile)
        self._shield = Shield(machine, key, self.incarnation, limits, remembered.latch, identifier, people)
        envelope = Path(self.params.envelope) if self.params.envelope else None
        self._advice = Advice(self._profile, paths.health, envelope)
        self._remembered = Memory()
        self._remember()
        self._shown: tuple[object, ...] = ()
        self._state_shown_s = 0.0
        self._permits = self.create_publisher(MotionPermit, names.permit(machine), qos.PERMIT)
        self._decisions = self.create_publisher(Decision, names.decision(machine), qos.SENSOR)
        self._states = self.create_publisher(SafetyState, names.safety_state(machine), qos.STATE)
        self.create_subscription(MachineTelemetry, names.telemetry(machine), self._on_telemetry, qos.SENSOR)
        self.create_subscription(Residual, names.residual(machine), self._on_residual, qos.SENSOR)
        self.create_subscription(VibrationFeatures, names.vibration(machine), self._on_vibration, qos.SENSOR)
        self.create_subscription(PowerReading, names.power(machine), self._on_power, qos.SENSOR)
        self.create_subscription(DiagnosticArray, names.DIAGNOSTICS, self._on_diagnostics, qos.EVENT)
        if people is not None:
            self.create_subscription(PersonsSeen, names.PERSONS, self._on_persons, qos.SENSOR)
        self.create_subscription(JobState, names.JOB_STATE, self._on_job_state, qos.EVENT)
        self.create_subscription(StopRequest, names.STOP_REQUEST, self._on_stop_request, qos.EVENT)
        self.create_long_service(CheckProgram, names.CHECK_PROGRAM, self._check_program)
        self.create_quick_service(ArmProgram, names.ARM_PROGRAM, self._arm_program)
        self.create_quick_service(ClearStop, names.CLEAR_STOP, self._clear_stop)
        self._stops = self.create_publisher(StopRequest, names.STOP_REQUEST, qos.EVENT)
        if self.params.markers:
            ShieldMarkers(self, self._profile, self._decision, people)
        self._publish_state()

    def start(self) -> None:
        """Permits may go out from now on."""
        self._timer = self.steady_timer(TICK_WITHOUT_TELEMETRY_S, self._tick)

    def stop(self) -> None:
        """No more permits: the machine stops within their validity."""
        self.destroy_timer(self._timer)

    # --- sources ---

    def _on_telemetry(self, msg: MachineTelemetry) -> None:
        try:
            sample = convert.telemetry_from_msg(msg)
        except ValueError as error:  # a state that does not exist: not a fresh source
            self.get_logger().warning(f"telemetry refused: {error}", throttle_duration_sec=5.0)
            return
        if sample.machine_id == self._profile.id:
            self._shield.observe_telemetry(sample, self.steady_s())
            if self.active:
                self._timer.reset()
                self._tick()
            else:
                self._publish_state_on_change()
            for sentence in self._advice.observe_telemetry(sample):  # after the permit: it may write a file
                self.get_logger().warning(sentence)

    def _on_residual(self, msg: Residual) -> None:
        try:
            sample = convert.residual_from_msg(msg)
        except ValueError as error:
            self.get_logger().warning(f"residual refused: {error}", throttle_duration_sec=5.0)
            return
        if sample.machine_id == self._profile.id:
            self._shield.observe_residual(sample, self.steady_s())
            self._advice.observe_residual(sample)

    def _on_vibration(self, msg: VibrationFeatures) -> None:
        try:
            sample = convert.vibration_from_msg(msg)
        except ValueError as error:
            self.get_logger().warning(f"vibration refused: {error}", throttle_duration_sec=5.0)
            return
        if sample.machine_id == self._profile.id:
            self._shield.observe_sensor(sample)

    def _on_power(self, msg: PowerReading) -> None:
        if msg.machine_id == self._profile.id:
            self._shield.observe_sensor(convert.power_from_msg(msg))

    def _on_persons(self, msg: PersonsSeen) -> None:
        """What cannot be used is no sighting: the sensor falls silent for the shield, and permits end."""
        try:
            if msg.header.frame_id != CELL:
                raise KeyError(f"{msg.sensor} in frame '{msg.header.frame_id}' instead of '{CELL}'")
            positions = [(point.x, point.y) for point in msg.positions]
            now_s = self.steady_s()
            self._shield.observe_persons(msg.sensor, msg.incarnation, positions, msg.uncertainty_m, now_s)
        except KeyError as error:  # or a sensor that the cell description does not name
            self.get_logger().warning(f"sighting refused: {error}", throttle_duration_sec=5.0)

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        """The machine's counts of permits that it has refused."""
        for status in msg.status:
            if status.name == f"{self.get_namespace().rstrip('/')}/machine":
                counts = {item.key: item.value[:20] for item in status.values if item.key.startswith(REFUSED)}
                if all(value.isdecimal() for value in counts.values()):
                    refused = {key.removeprefix(REFUSED): int(value) for key, value in counts.items()}
                    self._shield.observe_refused_permits(refused)

    def _on_job_state(self, msg: JobState) -> None:
        self._shield.observe_source(CONDUCTOR, msg.incarnation, self.steady_s())
        self._advice.expect(msg.job_id, msg.prediction.motion_time_s.mean)

    def _on_stop_request(self, msg: StopRequest) -> None:
        if msg.machine_id not in ("", self._profile.id):
            return
        # an unknown level is a doubt: take the controlled stop with power off
        level = StopLevel(msg.level) if msg.level in set(StopLevel) else StopLevel.STOP1
        reason = msg.reason or "no reason given"
        self._shield.stop(level, ErrorCode.STOP_REQUESTED, f"{msg.source or 'someone'} asked to stop: {reason}.")
        self._publish_state_on_change()

    # --- permits ---

    def _tick(self) -> None:
        """With each telemetry sample, and when none has come."""
        if not self.active:  # a timer's call can still be on its way
            return
        now_s = self.steady_s()
        permit = self._shield.tick(now_s)
        if permit is not None:
            self._permits.publish(convert.permit_to_msg(permit, self.now_s()))
        decision = self._shield.decision(now_s, self.steady_s(), self.now_s())
        self._publish_state_on_change()
        self._decisions.publish(convert_decision.decision_to_msg(decision))
        if now_s - self._state_shown_s > STATE_PERIOD_S - 0.5 * PERMIT_PERIOD_S:  # ticks are never on the dot
            self._publish_state()

    def _decision(self) -> threats.Decision:
        """As it is now, for people to see."""
        now_s = self.steady_s()
        return self._shield.decision(now_s, now_s, self.now_s())

    # --- services ---

    def _check_program(self, request: CheckProgram.Request, response: CheckProgram.Response) -> None:
        """Runs in the worker thread; only the finished verdict is handed to the shield."""
        self._need_machine(request.machine_id)
        ref = convert.ref_from_msg(request.program)
        program = ProgramStore.load(ref)
        material = resolve_material(request.material or ref.material, self._profile.kind)
        started_s = self.steady_s()
        report = gates.check(program, self._profile, material)
        report = replace(report, duration_s=self.steady_s() - started_s)
        self.post(self._shield.remember, report)
        response.report = convert.report_to_msg(report, self.now_s())

    def _arm_program(self, request: ArmProgram.Request, response: ArmProgram.Response) -> None:
        self._need_machine(request.machine_id)
        digest = convert.digest_from_msg(request.program_digest)
        if not any(digest):
            self._shield.disarm()
        elif not self.active:
            raise PermitError(ErrorCode.NO_PERMIT, "The shield is not active.", "Activate it first.")
        else:
            self._shield.arm(digest, self.steady_s())
            self.get_logger().info(f"armed {digest.hex()[:12]} for job {request.job_id}")
        self._publish_state()

    def _clear_stop(self, request: ClearStop.Request, response: ClearStop.Response) -> None:
        self._need_machine(request.machine_id)
        latch = self._shield.latched()
        if request.confirm_latch_id:
            latch = self._shield.clear(request.confirm_latch_id, request.reason, self.steady_s())
            who = request.operator_name or "an operator"
            self.get_logger().warning(f"{who} cleared the stop ({latch.cause}) because: {request.reason}")
            self._publish_state()
        response.latch_id, response.cause = latch.latch_id, latch.cause

    def _need_machine(self, machine_id: str) -> None:
        if machine_id not in ("", self._profile.id):
            raise PermitError(
                ErrorCode.UNKNOWN_MACHINE,
                f"This shield guards {self._profile.id}, not '{machine_id}'.",
                "Name that one.",
            )

    # --- state ---

    def _publish_state_on_change(self) -> None:
        snapshot = self._shield.snapshot(self.steady_s())
        if (snapshot.state, snapshot.code, snapshot.latch) != self._shown:
            self._publish_state()

    def _remember(self) -> None:
        """Keep the incarnation and the latch on disk; a latch survives the process that made it."""
        now = Memory(self.incarnation, self._shield.snapshot(self.steady_s()).latch)
        if now != self._remembered:
            memory.save(self._memory_file, now)
            self._remembered = now

    def _tell_machine(self, latch: Latch) -> None:
        """The machine need not wait for the end of the grace time, nor have heard the request that latched."""
        if latch.code is not ErrorCode.MACHINE_LATCHED:
            stamp = self.get_clock().now().to_msg()
            request = StopRequest(stamp=stamp, machine_id=self._profile.id, source="shield", level=int(latch.level))
            request.reason = latch.cause[:256]
            self._stops.publish(request)

    def _publish_state(self) -> None:
        snapshot = self._shield.snapshot(self.steady_s())
        shown = (snapshot.state, snapshot.code, snapshot.latch)
        if shown != self._shown:
            self._remember()
            if snapshot.latch is not None:
                self._tell_machine(snapshot.latch)
            text = f"{snapshot.state.name} {snapshot.cause}".strip()
            if snapshot.state is State.LATCHED:  # rclpy binds a severity to the line that logs
                self.get_logger().warning(text)
            else:
                self.get_logger().info(text)
        self._shown, self._state_shown_s = shown, self.steady_s()
        latch = snapshot.latch
        self._states.publish(
            SafetyState(
                stamp=self.get_clock().now().to_msg(),
                machine_id=self._profile.id,
                incarnation=self.incarnation,
                state=int(snapshot.state),
                level=int(latch.level) if latch else 0,
                latch_id=latch.latch_id if latch else 0,
                error_code=int(snapshot.code),
                error_msg=snapshot.cause,
                program_digest=convert.digest_to_msg(snapshot.digest),
                permits_issued=snapshot.permits_issued,
                missed_deadlines=snapshot.missed_deadlines,
                realtime=self.has_realtime,
                sources=[
                    SourceHealth(source=item.name, age_s=item.age_s, limit_s=item.limit_s, fresh=item.fresh)
                    for item in snapshot.sources
                ],
            )
        )

    def health(self) -> tuple[bytes, str, dict[str, object]]:
        """State, counters and source ages."""
        if not hasattr(self, "_shield"):
            return super().health()
        snapshot = self._shield.snapshot(self.steady_s())
        advice = self._advice.sentence
        level = DiagnosticStatus.WARN if advice else DiagnosticStatus.OK
        level = DiagnosticStatus.ERROR if snapshot.latch else level
        values: dict[str, object] = {
            "permits_issued": snapshot.permits_issued,
            "missed_deadlines": snapshot.missed_deadlines,
            "realtime": self.has_realtime,
        }
        values |= {f"{item.name}_age_s": f"{item.age_s:.3f}" for item in snapshot.sources}
        return level, " ".join(text for text in (snapshot.state.name, snapshot.cause, advice) if text), values


def main() -> None:
    """Entry point."""
    run(ShieldNode)


if __name__ == "__main__":
    main()
