"""What a virtual machine costs: CPU of its controller and body by physics time, without a process, ports or a clock."""

from __future__ import annotations

import time
from collections.abc import Iterator

from industriverse_core.machine import load_machine
from machine_node.virtual.firmware import Firmware
from machine_node.virtual.grbl_firmware import GrblFirmware
from machine_node.virtual.journal import Journal

TICK_S = 0.01  # physics: the loop of a process at speed 10 turns about so often
PHYSICS_S = 60.0
ROUNDS = 3
MACHINES = {"printer": (Firmware, "prusa_mk3s", 6000, "G28"), "mill": (GrblFirmware, "grbl_mill", 1800, "$X")}


def run() -> Iterator[dict]:
    for name, (_, _, feed, _) in MACHINES.items():
        for what, moving in (("at rest", False), (f"1 mm moves at F{feed}", True)):
            results = [_run(name, moving) for _ in range(ROUNDS)]
            cpu_s, moves = min(results)
            share = 100.0 * cpu_s / PHYSICS_S
            yield {"metric": f"virtual {name}, {what}: CPU by physics time", "value": round(share, 2), "unit": "%"}
            if moving:
                rate = moves / PHYSICS_S
                yield {"metric": f"virtual {name}, {what}: moves", "value": round(rate, 1), "unit": "1/s of physics"}


def _run(name: str, moving: bool) -> tuple[float, int]:
    """(CPU [s], moves) of PHYSICS_S."""
    controller, machine, feed, first = MACHINES[name]
    firmware = controller(load_machine(machine), 1.0, 1, Journal(None), lambda at: at)
    firmware.power_on(0.0)
    firmware.step(0.1)
    firmware.receive(f"{first}\nG91\n".encode(), 0.1)
    now = 0.1
    while now < 30.0:
        now += 0.1
        firmware.step(now)
    firmware.output.clear()
    started, begun, sent, answered = time.process_time(), now, 0, 0
    while now < begun + PHYSICS_S:
        while moving and sent - answered < 4:
            away = -1 if sent // 100 % 2 == (name == "printer") else 1
            firmware.receive(f"G1 X{away} F{feed}\n".encode(), now)
            sent += 1
        now += TICK_S
        firmware.step(now)
        answered += firmware.output.count(b"ok")
        firmware.output.clear()
    return time.process_time() - started, answered
