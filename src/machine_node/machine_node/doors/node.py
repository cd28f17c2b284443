"""The side doors' ROS node: hears a cell and shows it. It publishes its diagnostics, and nothing else.

It is no source of the shield and asks nobody for anything: a door that hangs or dies holds nothing up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import JointState

import industriverse_msgs.msg as im
from industriverse_core.machine import DEFAULT_MACHINE, load_machine
from industriverse_core.states import JobStage, Safety
from industriverse_core.telemetry import MachineState
from industriverse_ros import convert, names, qos
from industriverse_ros.node import CellNode, run
from industriverse_ros.params import param
from machine_node.doors.address import LOOPBACK, MAX_PORT
from machine_node.doors.model import CellModel, JobView, JointView, PowerView, SafetyView
from machine_node.doors.opening import Door, Wanted, open_doors

TICK_S = 0.05
NICENESS = 5  # machine and shield come first


@dataclass(frozen=True, slots=True)
class DoorsParams:
    """Parameters of the node."""

    machines: str = param(DEFAULT_MACHINE, "machine profiles, by name or YAML path, separated by commas")
    machine: str = param("", "one machine profile; as all nodes of a cell have it, used where it is set")
    cell_dir: str = param("", "data folder of the cell; the OPC UA server's certificate lies there")
    host: str = param(LOOPBACK, "address to listen on")
    opcua_port: int = param(0, "port of the OPC UA server; 0 = shut", low=0, high=MAX_PORT)
    mtconnect_port: int = param(0, "port of the MTConnect agent; 0 = shut", low=0, high=MAX_PORT)
    foxglove_port: int = param(0, "port of the Foxglove WebSocket; 0 = shut", low=0, high=MAX_PORT)
    opcua_nodesets: str = param("", "folder with OPC Foundation's nodesets DI, IA and Machinery; empty = own types")
    opcua_password_file: str = param("", "file with the password that OPC UA clients need on another host")


class DoorsNode(CellNode):
    """Other software's view of a cell. INACTIVE and ACTIVE: the same, it influences nothing."""

    Params = DoorsParams

    def __init__(self, name: str = "doors_node", **options: Any) -> None:
        super().__init__(name, **options)
        self._doors: tuple[Door, ...] = ()
        self._due_s: dict[str, float] = {}
        self._unreadable = 0

    # --- lifecycle ---

    def setup(self) -> None:
        """See CellNode."""
        p = self.params
        profiles = {profile.id: profile for profile in map(load_machine, _listed(p.machine or p.machines))}
        self._model = CellModel(self.get_namespace().strip("/") or "cell", list(profiles.values()))
        wanted = Wanted(
            p.host,
            p.opcua_port,
            p.mtconnect_port,
            p.foxglove_port,
            p.opcua_nodesets,
            p.opcua_password_file,
            p.cell_dir,
        )
        self._doors = open_doors(wanted, self._model, time.time())
        for machine in profiles:
            self._listen(machine, bool(p.foxglove_port))
        self.create_subscription(im.JobState, names.JOB_STATE, self._guarded_by(self._on_job), qos.EVENT)
        self.steady_timer(TICK_S, self._tick)
        for door in self._doors:
            print(f"{door.name}: {door.url}", flush=True)

    def _listen(self, machine: str, everything: bool) -> None:
        """Hear one machine. What only some doors show is heard for them alone: each message costs CPU time."""
        kinds: list[tuple[Any, str, Callable[[Any], None], Any]] = [
            (im.MachineTelemetry, names.telemetry(machine), self._on_telemetry, qos.SENSOR),
            (im.ExecutionTrace, names.execution_trace(machine), self._on_trace, qos.EVENT),
            (im.SafetyState, names.safety_state(machine), self._on_safety, qos.STATE),
        ]
        if everything:
            kinds += [
                (JointState, names.joint_states(machine), partial(self._on_joints, machine), qos.SENSOR),
                (im.PowerReading, names.power(machine), self._on_power, qos.SENSOR),
                (im.Residual, names.residual(machine), self._on_residual, qos.SENSOR),
            ]
        for kind, name, callback, profile in kinds:
            self.create_subscription(kind, name, self._guarded_by(callback), profile)

    def close(self) -> None:
        """See CellNode."""
        for door in self._doors:
            door.close()

    def health(self) -> tuple[bytes, str, dict[str, object]]:
        """See CellNode."""
        if not self._doors:
            return DiagnosticStatus.WARN, "not configured", {}
        values: dict[str, object] = {door.name: door.url for door in self._doors}
        values["unreadable_messages"] = self._unreadable
        view = self._model.view(self.steady_s())
        silent = [machine.machine_id for machine in view.machines if machine.state is MachineState.DISCONNECTED]
        if silent:
            return DiagnosticStatus.WARN, f"not heard or not connected: {', '.join(silent)}", values
        return DiagnosticStatus.OK, f"{len(self._doors)} doors open", values

    # --- what is heard ---

    def _guarded_by(self, callback: Callable[[Any], None]) -> Callable[[Any], None]:
        """A message with a state that does not exist is counted, not shown."""

        def hear(msg: Any) -> None:
            try:
                callback(msg)
            except ValueError:
                self._unreadable += 1

        return hear

    def _on_telemetry(self, msg: im.MachineTelemetry) -> None:
        self._model.observe_telemetry(convert.telemetry_from_msg(msg), self.steady_s())

    def _on_trace(self, msg: im.ExecutionTrace) -> None:
        self._model.observe_trace(convert.trace_from_msg(msg))

    def _on_residual(self, msg: im.Residual) -> None:
        self._model.observe_residual(convert.residual_from_msg(msg), self.steady_s())

    def _on_safety(self, msg: im.SafetyState) -> None:
        safety = SafetyView(
            stamp_s=convert.time_from_msg(msg.stamp),
            state=Safety(msg.state),
            level=msg.level,
            latch_id=msg.latch_id,
            error_code=msg.error_code,
            error_msg=msg.error_msg,
            permits_issued=msg.permits_issued,
        )
        self._model.observe_safety(msg.machine_id, safety, self.steady_s())

    def _on_job(self, msg: im.JobState) -> None:
        if not msg.job_id:  # the conductor's heartbeat
            return
        job = JobView(
            job_id=msg.job_id,
            state=JobStage(msg.state),
            program_name=msg.program.name,
            intent=msg.intent,
            progress=msg.progress,
            error_code=msg.error_code,
            error_msg=msg.error_msg,
        )
        self._model.observe_job(msg.machine_id, job)

    def _on_power(self, msg: im.PowerReading) -> None:
        stamp_s = convert.time_from_msg(msg.header.stamp)
        power = PowerView(stamp_s, msg.voltage_v, msg.current_a, msg.power_w, msg.energy_j)
        self._model.observe_power(msg.machine_id, power, self.steady_s())

    def _on_joints(self, machine: str, msg: JointState) -> None:
        stamp_s = convert.time_from_msg(msg.header.stamp)
        joints = JointView(stamp_s, tuple(msg.name), tuple(msg.position), tuple(msg.velocity))
        self._model.observe_joints(machine, joints, self.steady_s())

    # --- what is shown ---

    def _tick(self) -> None:
        steady_s, utc_s = self.steady_s(), time.time()
        due = [door for door in self._doors if steady_s >= self._due_s.get(door.name, 0.0)]
        if not due:
            return
        view = self._model.view(steady_s)
        for door in due:
            if door.failure is not None:  # a bug ends the process, and the cell starts it again
                self.failure = door.failure
                return
            self._due_s[door.name] = steady_s + door.period_s - 0.5 * TICK_S
            door.update(view, utc_s)


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def main() -> None:
    """Entry point."""
    with suppress(OSError):
        os.nice(NICENESS)
    run(DoorsNode)


if __name__ == "__main__":
    main()
