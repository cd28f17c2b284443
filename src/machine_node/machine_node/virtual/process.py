"""A virtual machine as a process: controller, body, serial ports, control socket, and the loop between them."""

from __future__ import annotations

import math
import select
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from industriverse_core.errors import ErrorCode, MachineError
from industriverse_core.machine import MachineProfile, load_machine, with_stock
from machine_node.virtual.accelerometer import Accelerometer
from machine_node.virtual.control import ControlSocket, Requests
from machine_node.virtual.fault_effects import Effects
from machine_node.virtual.faults import FaultRequest, FaultSchedule, faults_of
from machine_node.virtual.firmware import Firmware
from machine_node.virtual.grbl_firmware import GrblFirmware
from machine_node.virtual.journal import Journal
from machine_node.virtual.line import SerialLine
from machine_node.virtual.port import Port
from machine_node.virtual.power_meter import Meter

LONGEST_SLEEP_S = 0.02
SHORTEST_SLEEP_S = 0.001
CONNECTION_CHECK_S = 0.02
CONTROLLERS: dict[tuple[str, str], type[Firmware] | type[GrblFirmware]] = {
    ("printer", "marlin"): Firmware,
    ("mill", "grbl"): GrblFirmware,
}


@dataclass(frozen=True, slots=True)
class MachineOptions:
    """What a virtual machine is started with.

    Attributes:
        machine: profile name or path.
        link: the serial port to make.
        speed: physics seconds in a steady second.
        seed: draws the machine's true parameters, its noise and the damage on its line.
        meter_link, accelerometer_link: serial ports of the sensors; None = none.
        control: path of the control socket; None = none.
        journal: JSON lines of what it saw and did; None = none.
        stock: a mill's blank, as of core's with_stock; "" = the profile's.
    """

    machine: str
    link: Path
    speed: float = 1.0
    seed: int = 0
    meter_link: Path | None = None
    accelerometer_link: Path | None = None
    control: Path | None = None
    journal: Path | None = None
    stock: str = ""


def _controller(profile: MachineProfile) -> type[Firmware] | type[GrblFirmware]:
    found = CONTROLLERS.get((profile.kind, profile.protocol.family))
    if found is None:
        raise MachineError(
            ErrorCode.PROTOCOL,
            f"machine '{profile.id}' is a {profile.kind} with {profile.protocol.family}; there are virtual Marlin "
            "printers and GRBL mills.",
            "Use --machine prusa_mk3s or --machine grbl_mill.",
        )
    return found


class VirtualMachine:
    """Controller, sensors, ports and the loop between them.

    Args:
        options: see MachineOptions.
    Raises CoreError (profile, ports, socket) and OSError (journal); nothing is left behind then.
    """

    def __init__(self, options: MachineOptions) -> None:
        self.profile = with_stock(load_machine(options.machine), options.stock)
        controller = _controller(self.profile)
        self.speed = options.speed
        self.epoch_s = time.time()  # physics time starts at the wall clock's
        self._started_s = time.monotonic()
        self._stopping = False
        self._connection_checked_s = 0.0
        self._plug_s = math.inf  # steady time at which a pulled cable is back
        self._ports: list[Port] = []
        self._control: ControlSocket | None = None
        self._journal = Journal(options.journal)
        try:
            self._firmware = controller(self.profile, self.speed, options.seed, self._journal, self._to_mono)
            plant = self._firmware.plant
            self._meter = Meter(plant, options.seed + 2)
            self._accelerometer = Accelerometer(plant.axes, plant, options.seed + 4)
            self._line = SerialLine(options.seed + 3)
            self._faults = FaultSchedule(self.profile.kind)
            self._effects = Effects(self._firmware, self._line, self._pull_cable)
            self.port = self._open(options.link)
            self._meter_port = None if options.meter_link is None else self._open(options.meter_link)
            sensor = options.accelerometer_link
            self._sensor_port = None if sensor is None else self._open(sensor)
            if options.control is not None:
                requests = Requests(faults_of(self.profile.kind), self._request, self._true_state)
                self._control = ControlSocket(options.control, requests)
        except BaseException:
            self.close()
            raise

    def _open(self, link: Path) -> Port:
        port = Port(link)
        self._ports.append(port)
        return port

    def physics_s(self, mono_s: float) -> float:
        """Physics time since the start [s]."""
        return (mono_s - self._started_s) * self.speed

    def _to_mono(self, physics_s: float) -> float:
        return self._started_s + physics_s / self.speed

    def stop(self, *_: object) -> None:
        """Let `run` return; a signal handler."""
        self._stopping = True

    # --- faults ---

    def _request(self, request: FaultRequest) -> None:
        now = self.physics_s(time.monotonic())
        self._faults.request(request, now)
        self._apply_faults(now)

    def _apply_faults(self, now_s: float) -> None:
        for change in self._faults.take_due(now_s):
            self._firmware.event(
                now_s, "fault", fault=change.fault, on=change.on, value=change.value, target=change.target
            )
            self._effects.apply(change, now_s)

    def _pull_cable(self, seconds: float) -> None:
        self.port.unplug()
        self._plug_s = time.monotonic() + seconds

    def _true_state(self) -> dict[str, Any]:
        active = [
            {"fault": name, "target": target, "value": value} for (name, target), value in self._faults.active.items()
        ]
        line = {"garbled_bytes": self._line.garbled_bytes, "lost_bytes": self._line.lost_bytes}
        now = self.physics_s(time.monotonic())
        return self._firmware.true_state(now) | {"machine": self.profile.id, "faults": active, "line": line}

    # --- loop ---

    def run(self) -> None:
        """Until `stop`."""
        poll = select.poll()
        registered = -1
        while not self._stopping:
            mono = time.monotonic()
            now = self.physics_s(mono)
            self._look_around(mono, now)
            wanted = self.port.fileno() if self.port.connected else -1
            if wanted != registered:
                if registered >= 0:
                    poll.unregister(registered)
                if wanted >= 0:
                    poll.register(wanted, select.POLLIN)
                registered = wanted
            self._exchange(now)
            self._journal.flush(mono)
            due = min(self._firmware.next_event_s(), self._faults.next_s())
            wait = (due - self.physics_s(time.monotonic())) / self.speed
            poll.poll(1e3 * min(LONGEST_SLEEP_S, max(SHORTEST_SLEEP_S, wait)))

    def _exchange(self, now_s: float) -> None:
        firmware, port = self._firmware, self.port
        data = port.read() if port.connected else b""
        if data:
            firmware.receive(self._line.carry(data), now_s)
        firmware.step(now_s)
        if firmware.output:
            port.write(self._line.carry(firmware.output))
            firmware.output.clear()
        else:
            port.write(b"")
        line = self._meter.read()
        if self._meter_port is not None:
            self._feed(self._meter_port, line)
        if self._sensor_port is not None:
            self._feed(self._sensor_port, self._accelerometer.read(now_s, firmware.moving_phases(now_s)))

    @staticmethod
    def _feed(port: Port, line: bytes) -> None:
        if line:
            port.read()  # nobody listens on this side
        port.write(line)

    def _look_around(self, mono: float, now_s: float) -> None:
        """Connections, the cable, the control socket, faults that are due."""
        self._apply_faults(now_s)
        if mono - self._connection_checked_s < CONNECTION_CHECK_S:
            return
        self._connection_checked_s = mono
        if mono >= self._plug_s:
            self._plug_s = math.inf
            self.port.plug()
        for port in self._ports:
            if port.check_connection() and port is self.port:
                self._firmware.power_on(now_s)
        if self._control is not None:
            self._control.service()

    def close(self) -> None:
        """Remove the links and the socket, write the journal's rest."""
        if self._control is not None:
            self._control.close()
        for port in self._ports:
            port.close()
        self._journal.close()
