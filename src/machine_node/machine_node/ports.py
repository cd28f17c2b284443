"""Serial ports of this computer: which there are, under which lasting names, and which controller speaks there.

Listing opens nothing. Probing opens a port, which resets most boards: never probe a machine that works.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from serial.tools import list_ports

from industriverse_core.errors import ErrorCode, MachineError
from industriverse_core.machine import MachineProfile
from machine_node.detect import ANSWER_S, BOOT_S, KNOWN, LISTEN_AGAIN_S, LISTEN_S, Detector, Family, Verdict
from machine_node.transport import SerialTransport

AUTO = "auto"
BAUDS = (115200, 250000, 230400, 500000, 57600, 9600, 1000000)  # the usual ones of both families, commonest first
SERIAL_NAMES = Path("/dev/serial")  # udev's lasting names
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class SerialPort:
    """A serial device. `name` is the one that stays the same when devices come and go, where udev gives one.

    Attributes:
        device: the kernel's name, such as /dev/ttyACM0.
        by_id: names the device itself (vendor, model, serial number); "" = none.
        by_path: names the socket that it is plugged into; "" = none.
        description: of its maker.
        vendor_id, product_id: USB's; None = no USB device.
    """

    device: str
    by_id: str = ""
    by_path: str = ""
    description: str = ""
    vendor_id: int | None = None
    product_id: int | None = None

    @property
    def name(self) -> str:
        """The most lasting name."""
        return self.by_id or self.by_path or self.device


@dataclass(frozen=True, slots=True)
class Found:
    """A controller that was found."""

    port: str
    baud: int
    family: Family
    firmware: str


def serial_ports(names: Path = SERIAL_NAMES) -> tuple[SerialPort, ...]:
    """The serial devices of this computer, in the order of their names. Opens none."""
    by_id, by_path = _links(names / "by-id"), _links(names / "by-path")
    return tuple(
        SerialPort(
            port.device,
            by_id.get(os.path.realpath(port.device), ""),
            by_path.get(os.path.realpath(port.device), ""),
            "" if port.description in (None, "n/a") else port.description,
            port.vid,
            port.pid,
        )
        for port in sorted(list_ports.comports(), key=lambda port: port.device)
    )


def _links(folder: Path) -> dict[str, str]:
    """Real path -> the first link in the folder that leads to it."""
    try:
        links = sorted(folder.iterdir())
    except OSError:  # no udev, or nothing is plugged in
        return {}
    found: dict[str, str] = {}
    for link in links:
        found.setdefault(os.path.realpath(link), str(link))
    return found


def longest_s(bauds: Sequence[int] = BAUDS) -> float:
    """The longest time that `probe` takes for one port [s]: all rates in vain but the last, where a Marlin boots."""
    return LISTEN_S + ANSWER_S + (len(bauds) - 1) * (LISTEN_AGAIN_S + ANSWER_S) + BOOT_S


def probe(port: str, bauds: Sequence[int] = BAUDS, cancelled: Callable[[], bool] = lambda: False) -> Found:
    """The controller at a port, and the baud rate at which it speaks. Takes at most `longest_s`.

    Args:
        port: device path.
        bauds: rates to try [bit/s], in this order.
        cancelled: asked every 20 ms; True ends the search.
    Raises MachineError: PORT_UNAVAILABLE (no such port, busy, no permission, gone), NO_REPLY (silence), PROTOCOL (a
    device that is neither, or another baud rate), CANCELLED.
    """
    transport = SerialTransport(port, bauds[0])
    seen: list[Verdict] = []
    try:
        for index, baud in enumerate(bauds):
            if index:
                transport.set_baud(baud)
            verdict = _attempt(transport, LISTEN_AGAIN_S if index else LISTEN_S, cancelled)
            if verdict.family in KNOWN:
                return Found(port, baud, verdict.family, verdict.firmware)
            seen.append(verdict)
            if verdict.family is Family.OTHER:
                break  # its text can be read, so the rate is right
    finally:
        transport.close()
    raise _nobody(port, bauds, seen)


def _attempt(transport: SerialTransport, listen_s: float, cancelled: Callable[[], bool]) -> Verdict:
    detector = Detector(time.monotonic(), listen_s)
    while True:
        if cancelled():
            raise MachineError(ErrorCode.CANCELLED, "the search for a controller was ended.")
        now = time.monotonic()
        if (verdict := detector.verdict(now)) is not None:
            return verdict
        question = detector.due(now)
        if question:
            transport.write(question)
        if select.select([transport], [], [], POLL_S)[0]:
            detector.receive(transport.read(), time.monotonic())


def _nobody(port: str, bauds: Sequence[int], seen: Sequence[Verdict]) -> MachineError:
    rates = ", ".join(str(baud) for baud in bauds)
    other = next((verdict for verdict in seen if verdict.family is Family.OTHER), None)
    if other is not None:
        who = other.firmware or f"it says '{other.said}'"
        return MachineError(
            ErrorCode.PROTOCOL,
            f"serial port {port}: the device is neither a Marlin nor a GRBL controller ({who}).",
            "Name the port of the machine; industriverse ports lists them.",
        )
    if any(verdict.family is Family.GARBLED for verdict in seen):
        return MachineError(
            ErrorCode.PROTOCOL,
            f"serial port {port}: what the device says is no text at {rates} bit/s.",
            "Name its baud rate, or leave it out to have the usual ones tried.",
        )
    return MachineError(
        ErrorCode.NO_REPLY,
        f"serial port {port}: nothing answers at {rates} bit/s.",
        "Switch the machine on and check the cable; a controller that is halted must be reset.",
    )


def find_port(
    profile: MachineProfile,
    port: str = AUTO,
    baud: int = 0,
    exclude: Iterable[str] = (),
    cancelled: Callable[[], bool] = lambda: False,
) -> Found:
    """The port of a machine whose controller is of the profile's family.

    Args:
        port: a device path, or "auto": all serial devices are asked, and exactly one must have the right family. Its
            lasting name is returned, under which a reconnection finds it again.
        baud: [bit/s]; 0 = the profile's first, then the usual ones.
        exclude: ports that are something else (the power meter).
    Raises MachineError as `probe`; NO_REPLY when no port, PROTOCOL when several or a named one of another family.
    """
    bauds = (baud,) if baud else tuple(dict.fromkeys((profile.protocol.baud, *BAUDS)))
    family = profile.protocol.family
    if port != AUTO:
        found = probe(port, bauds, cancelled)
        if found.family != family:
            raise MachineError(
                ErrorCode.PROTOCOL,
                f"serial port {port}: {found.firmware or found.family} speaks there; machine '{profile.id}' speaks "
                f"{family}.",
                "Name the right port or the right machine.",
            )
        return found
    others = {os.path.realpath(other) for other in exclude if other}
    fitting, seen = [], []
    for device in serial_ports():
        if os.path.realpath(device.device) in others:
            continue
        try:
            found = probe(device.name, bauds, cancelled)
        except MachineError as error:
            if error.code is ErrorCode.CANCELLED:
                raise
            seen.append(error.message)
            continue
        if found.family == family:
            fitting.append(found)
    return _the_only_one(fitting, family, seen)


def _the_only_one(fitting: Sequence[Found], family: str, seen: Sequence[str]) -> Found:
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(found.port for found in fitting)
        raise MachineError(
            ErrorCode.PROTOCOL, f"{len(fitting)} {family} controllers were found ({names}).", "Set port to one of them."
        )
    why = f" ({' '.join(seen)})" if seen else ""
    raise MachineError(
        ErrorCode.NO_REPLY, f"no {family} controller was found{why}.", "Switch the machine on and plug it in."
    )
