"""A virtual machine as a process: `python -m machine_node.virtual.main --link /tmp/printer --speed 1`.

Any host program for Marlin printers, or GRBL mills with `--machine grbl_mill`, can open the link as a serial port.
Physics time runs `--speed` times as fast as CLOCK_MONOTONIC; with `--ros-clock` it is published on /clock, and
everybody else follows it.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import signal
import sys
import threading
import time
from pathlib import Path

from industriverse_core.errors import CoreError, ErrorCode
from industriverse_core.machine import DEFAULT_MACHINE
from machine_node.virtual.process import MachineOptions, VirtualMachine

CLOCK_PERIOD_S = 0.02
PR_SET_PDEATHSIG = 1


class RosClock:
    """Publishes physics time on /clock at 50 Hz from a thread of its own."""

    def __init__(self, machine: VirtualMachine, arguments: list[str]) -> None:
        import rclpy
        from rclpy.signals import SignalHandlerOptions
        from rosgraph_msgs.msg import Clock

        from industriverse_ros import convert, names, qos

        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        self._rclpy = rclpy
        self._node = rclpy.create_node("virtual_machine", use_global_arguments=True)
        publisher = self._node.create_publisher(Clock, names.CLOCK, qos.STATE)
        self._stopping = threading.Event()

        def publish() -> None:
            while not self._stopping.wait(CLOCK_PERIOD_S):
                stamp_s = machine.epoch_s + machine.physics_s(time.monotonic())
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
    parser = argparse.ArgumentParser(prog="virtual_machine", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--machine", default=DEFAULT_MACHINE, help="profile name or YAML path (%(default)s)")
    parser.add_argument("--link", type=Path, required=True, help="path of the serial port to make")
    parser.add_argument("--meter-link", type=Path, help="path of the power meter's serial port")
    parser.add_argument("--accelerometer-link", type=Path, help="path of the accelerometer's serial port")
    parser.add_argument("--control", type=Path, help="path of a unix socket for faults")
    parser.add_argument("--speed", type=_speed, default=1.0, help="physics seconds in a second, 1 to 100 (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="draws the machine's true parameters (%(default)s)")
    parser.add_argument("--journal", type=Path, help="JSON lines of everything that it saw and did")
    parser.add_argument("--stock", default="", help="a mill's blank: x0,y0,z0,x1,y1,z1 in mm, or a YAML file")
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
        machine = VirtualMachine(
            MachineOptions(
                machine=options.machine,
                link=options.link,
                speed=options.speed,
                seed=options.seed,
                meter_link=options.meter_link,
                accelerometer_link=options.accelerometer_link,
                control=options.control,
                journal=options.journal,
                stock=options.stock,
            )
        )
    except CoreError as error:
        print(f"virtual_machine: [{ErrorCode(error.code).name}] {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"virtual_machine: {error.filename or 'journal'}: {error.strerror}.", file=sys.stderr)
        sys.exit(2)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, machine.stop)
    clock = None
    try:
        clock = RosClock(machine, ros_arguments) if options.ros_clock else None
        print(f"{options.link}", flush=True)
        family = machine.profile.protocol.family
        print(f"virtual {machine.profile.id}: open this serial port with any {family} host, any baud rate.", flush=True)
        machine.run()
    finally:
        if clock is not None:
            clock.close()
        machine.close()


if __name__ == "__main__":
    main()
