"""The hub's ROS node: listens to the machines of a cell, and records. It tells nobody what to do.

Nothing waits for it: subscriptions are as for any other listener, it runs with a lower priority than all others, and
the disk is written by a thread of its own.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import JointState

import industriverse_msgs.msg as im
from industriverse_core.errors import ErrorCode, ProfileError
from industriverse_core.machine import DEFAULT_MACHINE, load_machine
from industriverse_ros import convert, names, qos
from industriverse_ros.node import CellNode, run
from industriverse_ros.params import param
from machine_node.hub.accelerometer import AccelerometerPort, parse_ports
from machine_node.hub.buffer import Limits, Now, TelemetryBuffer
from machine_node.hub.recorder import Recorder

MIB = 1 << 20
SENSOR_PERIOD_S = 0.05
WAITING_BATCHES = 8  # between executor and writer; more stay with the recorder
NICENESS = 5
CLOSE_S = 3.0
DEPTH = 200  # samples of a stream that wait while the writer computes: four seconds of the fastest


@dataclass(frozen=True, slots=True)
class HubParams:
    """Parameters of the node."""

    machines: str = param(DEFAULT_MACHINE, "machine profiles, by name or YAML path, separated by commas")
    cell_dir: str = param("", "data folder of the cell; the record lies there")
    accelerometers: str = param("", "machine=port for each sensor, separated by commas")
    flush_period_s: float = param(1.0, "how often rows are written", unit="s", low=0.1, high=60.0)
    file_mib: int = param(256, "size at which a file is put aside", unit="MiB", low=1, high=65536)
    file_hours: float = param(24.0, "age at which a file is put aside", unit="h", low=0.01, high=8760.0)
    kept_mib: int = param(2048, "size of all files that were put aside; the oldest are deleted", unit="MiB", low=1)
    min_free_mib: int = param(256, "what is left free on the disk", unit="MiB", low=0)


class HubNode(CellNode):
    """The recorder of a cell. INACTIVE: nothing. ACTIVE: records; that changes nothing for anybody."""

    Params = HubParams

    def __init__(self, name: str = "hub_node", **options: object) -> None:
        super().__init__(name, **options)
        self._buffer: TelemetryBuffer | None = None
        self._writer: threading.Thread | None = None
        self._batches: queue.Queue[tuple[dict[str, list[tuple[Any, ...]]], Now] | None] = queue.Queue()
        self._sensors: list[AccelerometerPort] = []
        self._noted = self._noted_gaps = 0  # losses of the recorder that the record knows of

    # --- lifecycle ---

    def setup(self) -> None:
        """See CellNode."""
        p = self.params
        machines = tuple(dict.fromkeys(load_machine(name.strip()).id for name in p.machines.split(",")))
        limits = Limits(p.file_mib * MIB, p.file_hours * 3600.0, p.kept_mib * MIB, p.min_free_mib * MIB)
        self._recorder = Recorder(machines, limits.pending_rows)
        self._sensors = _sensors(p.accelerometers, machines)
        self._buffer = TelemetryBuffer(self.cell_paths().directory, machines, limits)
        kinds = (
            (im.MachineTelemetry, names.telemetry, "telemetry", qos.SENSOR),
            (JointState, names.joint_states, "joint_states", qos.SENSOR),
            (im.PowerReading, names.power, "power", qos.SENSOR),
            (im.ExecutionTrace, names.execution_trace, "execution_trace", qos.EVENT),
            (im.Residual, names.residual, "residual", qos.SENSOR),
            (im.SafetyState, names.safety_state, "safety_state", qos.STATE),
        )
        for machine in machines:
            for kind, name, stream, profile in kinds:
                self.create_subscription(
                    kind, name(machine), partial(self._record, machine, stream), qos.recording(profile, DEPTH)
                )
        self.create_subscription(im.JobState, names.JOB_STATE, self._on_job_state, qos.recording(qos.EVENT, DEPTH))
        self._vibration = {
            sensor.machine_id: self.create_publisher(
                im.VibrationFeatures, names.vibration(sensor.machine_id), qos.SENSOR
            )
            for sensor in self._sensors
        }
        # vibration of machines whose sensor hangs at another process
        for machine in machines:
            if machine not in self._vibration:
                listen = partial(self._record, machine, "vibration")
                self.create_subscription(
                    im.VibrationFeatures, names.vibration(machine), listen, qos.recording(qos.SENSOR, DEPTH)
                )
        if self._sensors:
            self.steady_timer(SENSOR_PERIOD_S, self._poll_sensors)
        self.steady_timer(p.flush_period_s, self._hand_over)
        self._writer = threading.Thread(target=self._write, name="writer", daemon=True)
        self._writer.start()

    def close(self) -> None:
        """See CellNode. The rest is written, unless the disk hangs."""
        for sensor in self._sensors:
            sensor.close()
        if self._writer is not None and self._writer.is_alive():
            self._batches.put((self._recorder.take(), self._now()))
            self._batches.put(None)
            self._writer.join(CLOSE_S)

    def health(self) -> tuple[bytes, str, dict[str, object]]:
        """See CellNode."""
        buffer = self._buffer
        if buffer is None:
            return DiagnosticStatus.WARN, "not configured", {}
        values: dict[str, object] = {
            "received": self._recorder.received,
            "written": buffer.written_rows,
            "waiting": buffer.pending_rows,
            "lost": buffer.lost_rows + self._recorder.lost,
            "telemetry_not_received": self._recorder.not_received,
            "file": str(buffer.path),
            "clock_uncertainty_s": f"{self._recorder.uncertainty_s():.4f}",
        }
        values |= {f"accelerometer.{each.machine_id}.dropped": each.dropped for each in self._sensors}
        problem = buffer.problem or next((each.problem for each in self._sensors if each.problem is not None), None)
        if problem is not None:
            level = DiagnosticStatus.ERROR if problem is buffer.problem else DiagnosticStatus.WARN
            return level, str(problem), values
        return DiagnosticStatus.OK, "recording", values

    # --- what arrives ---

    def _record(self, machine: str, stream: str, msg: Any) -> None:
        self._recorder.add(machine, stream, msg, self.now_s(), self.steady_s())

    def _on_job_state(self, msg: im.JobState) -> None:
        self._record(msg.machine_id, "job_state", msg)

    def _poll_sensors(self) -> None:
        for sensor in self._sensors:
            for sample in sensor.poll(self.steady_s(), self.now_s()):
                msg = convert.vibration_to_msg(sample)
                self._vibration[sensor.machine_id].publish(msg)
                self._record(sensor.machine_id, "vibration", msg)

    # --- to the disk ---

    def _now(self) -> Now:
        return Now(self.now_s(), self.steady_s(), time.time())

    def _hand_over(self) -> None:
        if self._batches.qsize() < WAITING_BATCHES:  # else the disk hangs, and the recorder keeps what it can
            self._batches.put((self._recorder.take(), self._now()))

    def _note_losses(self, now: Now) -> None:
        assert self._buffer is not None
        if (lost := self._recorder.lost) > self._noted:
            self._buffer.event("lost", now, "messages came while the disk hung", lost - self._noted)
            self._noted = lost
        if (gaps := self._recorder.not_received) > self._noted_gaps:
            self._buffer.event("lost", now, "telemetry samples did not arrive", gaps - self._noted_gaps)
            self._noted_gaps = gaps

    def _write(self) -> None:
        """The writer's thread."""
        assert self._buffer is not None
        try:
            now = self._now()
            while (item := self._batches.get()) is not None:
                batch, now = item
                self._note_losses(now)
                self._buffer.flush(batch, now)
            self._buffer.close(now)
        except Exception as error:  # noqa: BLE001 - a bug in this thread must end the process, not hide in it
            self.failure = error


def _sensors(text: str, machines: tuple[str, ...]) -> list[AccelerometerPort]:
    try:
        ports = parse_ports(text)
    except ValueError as error:
        raise ProfileError(
            ErrorCode.BAD_PARAMETER, f"the parameter accelerometers: {error}.", "Write machine=/dev/ttyUSB1."
        ) from error
    if unknown := sorted(ports.keys() - set(machines)):
        raise ProfileError(
            ErrorCode.BAD_PARAMETER,
            f"the parameter accelerometers names '{unknown[0]}', which is not recorded.",
            f"Recorded: {', '.join(machines)}.",
        )
    return [AccelerometerPort(machine, port) for machine, port in ports.items()]


def main() -> None:
    """Entry point."""
    with suppress(OSError):
        os.nice(NICENESS)
    run(HubNode)


if __name__ == "__main__":
    main()
