"""The serial line in virtual time: a port with a kernel's buffer, bytes at 115200 baud, and a virtual controller."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from industriverse_core.errors import ErrorCode, MachineError
from industriverse_core.machine import MachineProfile
from machine_node.virtual.fault_effects import Effects
from machine_node.virtual.faults import FaultRequest, FaultSchedule
from machine_node.virtual.grbl_firmware import GrblFirmware
from machine_node.virtual.line import SerialLine
from machine_node.virtual.process import CONTROLLERS

from .world import World

KERNEL_BYTES = 4096
LATENCY_S = 1e-3  # of a USB adapter
LONGEST_STEP_S, SHORTEST_STEP_S = 0.02, 0.001  # as of the virtual machine's process


@dataclass(slots=True)
class _Chunk:
    """Bytes on their way, from when the first leaves to when the last has left."""

    begin_s: float
    end_s: float
    data: bytes


class Journal:
    """In place of the virtual machine's file: only what the campaign looks at, with true time."""

    def __init__(self, tell: Callable[[float, str], None]) -> None:
        self._tell = tell

    def write(self, at_s: float, event: str, **_: object) -> None:
        """See machine_node.virtual.journal."""
        if event in ("motion_begin", "motion_end"):
            self._tell(at_s, event)

    def flush(self, at_s: float, force: bool = False) -> None:
        """Nothing waits."""


class Port:
    """One opening of the serial port, as machine_node.transport.SerialTransport is."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._pending = bytearray()
        self.received = bytearray()
        self.open = True

    @property
    def wants_write(self) -> bool:
        """True while bytes wait for the port."""
        return bool(self._pending)

    def read(self) -> bytes:
        """What has arrived. Raises MachineError when the port is gone."""
        self._check()
        data = bytes(self.received)
        self.received.clear()
        return data

    def write(self, data: bytes) -> None:
        """Write at once or keep. Raises MachineError when the port is gone."""
        self._check()
        self._pending += data
        self.flush()

    def flush(self) -> None:
        """Write what waits, as far as the kernel takes it."""
        self._check()
        taken = self._line.take(bytes(self._pending))
        del self._pending[:taken]

    def drop_pending(self) -> None:
        """Forget what has not left, here and in the kernel."""
        self._pending.clear()
        self._line.drop_unsent()

    def drain(self) -> None:
        """What the kernel has leaves by itself."""

    def close(self) -> None:
        """Release."""
        self.open = False

    def _check(self) -> None:
        if not self.open or not self._line.plugged:
            raise MachineError(ErrorCode.PORT_UNAVAILABLE, "serial port: the device was disconnected.")


class Line:
    """Port, wire and controller with its machine.

    Args:
        tell: gets (true time, "motion_begin" or "motion_end").
        handed: gets the bytes that are handed to the port, at that moment.
        arrived: called when something has arrived for the host.
    """

    def __init__(
        self,
        world: World,
        profile: MachineProfile,
        tell: Callable[[float, str], None],
        handed: Callable[[bytes], None],
        arrived: Callable[[], None],
    ) -> None:
        self._world, self._handed, self._arrived = world, handed, arrived
        controller = CONTROLLERS[profile.kind, profile.protocol.family]
        seed = world.draw.randrange(2**31)
        self.firmware = controller(profile, 1.0, seed, Journal(tell), lambda at_s: at_s)  # type: ignore[arg-type]
        if isinstance(self.firmware, GrblFirmware):  # it homes fast: $24 and $25 [mm/min]
            self.firmware.eeprom.values.update({24: 1000.0, 25: 6000.0})
        self._bytes_s = 10.0 / profile.protocol.baud
        self._noise = SerialLine(seed)
        self._faults = FaultSchedule(profile.kind)
        self._effects = Effects(self.firmware, self._noise, self._pull)
        self._out: deque[_Chunk] = deque()  # to the controller
        self._free_s = self._answers_free_s = 0.0
        self._step_s = 0.0
        self._port: Port | None = None
        self.plugged = True
        self.blocked = False  # the port takes no bytes
        self.resets = 0
        self.step()

    # --- for the machine ---

    def open(self, path: str, baud: int) -> Port:
        """Open the port, which resets the board. Raises MachineError."""
        if not self.plugged:
            raise MachineError(ErrorCode.PORT_UNAVAILABLE, f"serial port {path}: no such device.")
        self._port = Port(self)
        self._out.clear()
        self.firmware.power_on(self._world.now)
        self.step()
        return self._port

    def hang_up(self) -> None:
        """The process that had the port open is gone; what the kernel has still leaves."""
        self._port = None

    def take(self, data: bytes) -> int:
        """Bytes for the kernel; how many it takes."""
        now = self._world.now
        waiting = sum(len(chunk.data) for chunk in self._out)
        taken = 0 if self.blocked else min(len(data), KERNEL_BYTES - waiting)
        if taken <= 0:
            return 0
        self._handed(data[:taken])
        begin_s = max(now, self._free_s)
        self._free_s = begin_s + taken * self._bytes_s
        chunk = _Chunk(begin_s, self._free_s, data[:taken])
        self._out.append(chunk)
        self._world.after(self._free_s + LATENCY_S - now, lambda: self._reach(chunk))
        return taken

    def drop_unsent(self) -> None:
        """Of what the kernel has, only the bytes that have left arrive."""
        now = self._world.now
        for chunk in self._out:
            if chunk.end_s > now:
                left = max(0, int((now - chunk.begin_s) / self._bytes_s))
                chunk.data = chunk.data[:left]
        self._free_s = min(self._free_s, now)

    # --- the controller's side ---

    def _reach(self, chunk: _Chunk) -> None:
        if chunk not in self._out:
            return  # the port was opened anew
        self._out.remove(chunk)
        if self.plugged and chunk.data:
            self.firmware.receive(self._noise.carry(chunk.data), self._world.now)
        self.step()

    def step(self) -> None:
        """Let the controller go on, and plan its next step."""
        now, firmware = self._world.now, self.firmware
        for change in self._faults.take_due(now):
            self._effects.apply(change, now)
        firmware.step(now)
        if firmware.output:
            self._answer(self._noise.carry(firmware.output))
            firmware.output.clear()
        due_s = min(firmware.next_event_s(), self._faults.next_s())
        wait_s = min(LONGEST_STEP_S, max(SHORTEST_STEP_S, due_s - now))
        if not now < self._step_s <= now + wait_s:
            self._step_s = now + wait_s
            self._world.after(wait_s, self._timer)

    def _timer(self) -> None:
        if self._world.now >= self._step_s:
            self.step()

    def _answer(self, data: bytes) -> None:
        now = self._world.now
        self._answers_free_s = max(now, self._answers_free_s) + len(data) * self._bytes_s
        port = self._port

        def reach() -> None:
            if port is not None and port is self._port and self.plugged:
                port.received += data
                self._arrived()

        self._world.after(self._answers_free_s + LATENCY_S - now, reach)

    # --- faults ---

    def fault(self, name: str, for_s: float = 0.0, value: float | None = None, target: str = "") -> None:
        """A fault of the virtual machine, now."""
        self._faults.request(FaultRequest(name, for_s=for_s, value=value, target=target), self._world.now)
        self.step()

    def _pull(self, seconds: float) -> None:
        self.plugged = False
        self._out.clear()
        self._arrived()

        def plug() -> None:
            self.plugged = True

        self._world.after(seconds, plug)
