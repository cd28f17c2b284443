"""The virtual printer as a process: `python -m machine_node.virtual.main --link /tmp/printer --speed 1`.

Any host program for Marlin printers can open the link as a serial port. Physics time runs `--speed` times as fast
as CLOCK_MONOTONIC; with `--ros-clock` it is published on /clock, and everybody else follows it.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import select
import signal
import sys
import threading
import time
from pathlib import Path

from industriverse_core.errors import CoreError, ErrorCode, MachineError
from industriverse_core.machine import DEFAULT_MACHINE, load_machine
from machine_node.virtual.firmware import Firmware
from machine_node.virtual.journal import Journal
from machine_node.virtual.plant import Meter
from machine_node.virtual.port import Port

CLOCK_PERIOD_S = 0.02
LONGEST_SLEEP_S = 0.02
SHORTEST_SLEEP_S = 0.001
CONNECTION_CHECK_S = 0.02
PR_SET_PDEATHSIG = 1


class VirtualPrinter:
    """Firmware, meter, ports and the loop between them.

    Args:
        options: the command line's.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        profile = load_machine(options.machine)
        if profile.protocol.family != "marlin" or profile.kind != "printer":
            raise MachineError(
                ErrorCode.PROTOCOL,
                f"machine '{profile.id}' is a {profile.kind} with {profile.protocol.family}; only Marlin printers "
                "have a virtual one.",
                f"Use --machine {DEFAULT_MACHINE}.",
            )
        self.speed: float = options.speed
        self.epoch_s = time.time()  # physics time starts at the wall clock's
        self._started_s = time.monotonic()
        self._stopping = False
        self._journal = Journal(options.journal)
        self._firmware = Firmware(profile, self.speed, options.seed, self._journal, self._to_mono)
        self._meter = Meter(self._firmware.plant, options.seed + 2)
        self.port = Port(options.link)
        self.meter_port = Port(options.meter_link) if options.meter_link is not None else None
        self._connection_checked_s = 0.0

    def physics_s(self, mono_s: float) -> float:
        """Physics time since the start [s]."""
        return (mono_s - self._started_s) * self.speed

    def _to_mono(self, physics_s: float) -> float:
        return self._started_s + physics_s / self.speed

    def stop(self, *_: object) -> None:
        """Let `run` return; a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Until `stop`."""
        poll = select.poll()
        registered = False
        firmware, port = self._firmware, self.port
        while not self._stopping:
            mono = time.monotonic()
            now = self.physics_s(mono)
            self._check_connections(mono, now)
            if port.connected != registered:
                registered = port.connected
                poll.register(port, select.POLLIN) if registered else poll.unregister(port)
            data = port.read() if registered else b""
            if data:
                firmware.receive(data, now)
            firmware.step(now)
            port.write(firmware.output)
            firmware.output.clear()
            self._read_meter(now)
            self._journal.flush(mono)
            wait = (firmware.next_event_s() - self.physics_s(time.monotonic())) / self.speed
            poll.poll(1e3 * min(LONGEST_SLEEP_S, max(SHORTEST_SLEEP_S, wait)))

    def _check_connections(self, mono: float, now: float) -> None:
        if mono - self._connection_checked_s < CONNECTION_CHECK_S:
            return
        self._connection_checked_s = mono
        if self.port.check_connection():
            self._firmware.power_on(now)
        if self.meter_port is not None:
            self.meter_port.check_connection()

    def _read_meter(self, now: float) -> None:
        line = self._meter.read(now)
        if line and self.meter_port is not None:
            self.meter_port.read()
            self.meter_port.write(line)

    def close(self) -> None:
        """Remove the links, write the journal's rest."""
        self.port.close()
        if self.meter_port is not None:
            self.meter_port.close()
        self._journal.close()


class RosClock:
    """Publishes physics time on /clock at 50 Hz from a thread of its own."""

    def __init__(self, printer: VirtualPrinter, arguments: list[str]) -> None:
        import rclpy
        from rclpy.signals import SignalHandlerOptions
        from rosgraph_msgs.msg import Clock

        from industriverse_ros import convert, names, qos

        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        self._rclpy = rclpy
        self._node = rclpy.create_node("virtual_printer", use_global_arguments=True)
        publisher = self._node.create_publisher(Clock, names.CLOCK, qos.STATE)
        self._stopping = threading.Event()

        def publish() -> None:
            while not self._stopping.wait(CLOCK_PERIOD_S):
                stamp_s = printer.epoch_s + printer.physics_s(time.monotonic())
                publisher.publish(Clock(clock=convert.time_to_msg(stamp_s)))

        self._thread = threading.Thread(target=publish, name="clock", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and the node."""
        self._stopping.set()
        self._thread.join(1.0)
        self._node.destroy_node()
        self._rclpy.try_shutdown()


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """(options, ROS arguments)."""
    ros: list[str] = []
    if "--ros-args" in arguments:
        at = arguments.index("--ros-args")
        arguments, ros = arguments[:at], arguments[at:]
    parser = argparse.ArgumentParser(prog="virtual_printer", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--machine", default=DEFAULT_MACHINE, help="profile name or YAML path (%(default)s)")
    parser.add_argument("--link", type=Path, required=True, help="path of the serial port to make")
    parser.add_argument("--meter-link", type=Path, help="path of the power meter's serial port")
    parser.add_argument("--speed", type=_speed, default=1.0, help="physics seconds in a second, 1 to 100 (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="draws the machine's true parameters (%(default)s)")
    parser.add_argument("--journal", type=Path, help="JSON lines of everything that it saw and did")
    parser.add_argument("--ros-clock", action="store_true", help="publish physics time on /clock")
    return parser.parse_args(arguments), ros


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 1.0 <= speed <= 100.0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1 to 100")
    return speed


def die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent ends; where it is not Linux, nothing happens."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def main() -> None:
    """Entry point. Exit status 0 = told to end, 2 = bad input."""
    options, ros_arguments = parse(sys.argv[1:])
    die_with_parent()
    try:
        printer = VirtualPrinter(options)
    except CoreError as error:
        print(f"virtual_printer: [{ErrorCode(error.code).name}] {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"virtual_printer: {error.filename or 'journal'}: {error.strerror}.", file=sys.stderr)
        sys.exit(2)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, printer.stop)
    clock = None
    try:
        clock = RosClock(printer, ros_arguments) if options.ros_clock else None
        print(f"{options.link}", flush=True)
        print(f"virtual {options.machine}: open this serial port with any Marlin host, any baud rate.", flush=True)
        printer.run()
    finally:
        if clock is not None:
            clock.close()
        printer.close()


if __name__ == "__main__":
    main()
