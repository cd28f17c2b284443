"""The virtual mill's own cycles: homing onto the switches, and probing."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from industriverse_core.units import MM
from machine_node.virtual import grbl_report as report
from machine_node.virtual.grbl_motion import Point
from machine_node.virtual.grbl_state import State
from machine_node.virtual.instructions import Instruction

if TYPE_CHECKING:
    from machine_node.virtual.grbl_firmware import GrblFirmware
    from machine_node.virtual.grbl_parser import Block

Steps = Generator[Callable[[float], bool], None, int]
HOMING_ORDER = ((2,), (0, 1))  # z first, then x and y together
SEARCH_TRAVELS = 1.5  # of the axis' travel: how far a switch is looked for
APPROACH_FAILED, PROBE_NOT_CLEAR, PROBE_NO_CONTACT = 9, 4, 5
PROBE_STEP_M = 5e-5  # of the search for the place of contact; refined by bisection
BISECTIONS = 20


def home(firmware: GrblFirmware) -> Steps:
    """$H: seek the switches, pull off, approach again slowly, pull off."""
    firmware.cycle.state = State.HOMING
    firmware.plant.motors_on = True
    for axes in HOMING_ORDER:
        found = yield from _home_axes(firmware, axes)
        if not found:
            return 0
    firmware.program.synchronize_position(firmware.program.now_s)
    firmware.cycle.state = State.IDLE
    firmware.event(firmware.program.now_s, "homed")
    return 0


def _home_axes(firmware: GrblFirmware, axes: tuple[int, ...]) -> Generator[Callable[[float], bool], None, bool]:
    """True when the switches of these axes were found."""
    values, program = firmware.eeprom.values, firmware.program
    travel, pull_off = firmware.eeprom.axes(130), values[27] * MM
    seek, feed = values[25] * MM / 60.0, values[24] * MM / 60.0
    to_negative = {axis: bool(int(values[23]) >> axis & 1) for axis in axes}
    tool = firmware.plant.axes.tool_m(firmware.motion.position_m(program.now_s))
    way = {axis: (-travel[axis] * MM if to_negative[axis] else 0.0) - tool[axis] for axis in axes}
    if any(abs(way[axis]) > SEARCH_TRAVELS * travel[axis] * MM for axis in axes):
        firmware.alarm(program.now_s, APPROACH_FAILED)
        return False
    sign = {axis: -1.0 if to_negative[axis] else 1.0 for axis in axes}
    nearest = min(abs(way[axis]) for axis in axes)
    both = {axis: math.copysign(min(nearest, abs(way[axis])), way[axis]) for axis in axes}
    rest = {axis: way[axis] - both[axis] for axis in axes}
    off = {axis: -sign[axis] * pull_off for axis in axes}
    on = {axis: sign[axis] * pull_off for axis in axes}
    for distances, speed in ((both, seek), (rest, seek), (off, seek), (on, feed), (off, seek)):
        yield from _shift(firmware, distances, speed)
    place = list(firmware.motion.position_m(program.now_s))
    for axis in axes:
        place[axis] = (-travel[axis] * MM if to_negative[axis] else 0.0) - sign[axis] * pull_off
        firmware.plant.axes.homed(axis)
    firmware.motion.set_position((place[0], place[1], place[2]))
    return True


def _shift(firmware: GrblFirmware, distances_m: dict[int, float], speed_m_s: float) -> Steps:
    """Move some axes by so much, each at this speed, then let the switch settle ($26)."""
    target = list(firmware.motion.target_m)
    for axis, distance in distances_m.items():
        target[axis] += distance
    speed = speed_m_s * math.sqrt(sum(1 for distance in distances_m.values() if distance) or 1)
    if firmware.motion.add((target[0], target[1], target[2]), speed, follows_override=False):
        yield from firmware.program.dwell(firmware.eeprom.values[26] * 1e-3)
    return 0


def probe(firmware: GrblFirmware, block: Block, instruction: Instruction) -> Steps:
    """G38.2 to G38.5: towards or away from contact; .2 and .4 alarm when nothing is found."""
    program, motion = firmware.program, firmware.motion
    if firmware.cycle.state is State.CHECK:
        return 0
    yield program.idle
    firmware.cycle.follow(program.now_s)
    away = block.action in ("G38.4", "G38.5")
    start, target = motion.target_m, block.target_m
    program.probe_found = False
    if _touches(firmware, start) != away:
        firmware.alarm(program.now_s, PROBE_NOT_CLEAR)
        program.synchronize_position(program.now_s)
        return 0
    contact_m = _contact(firmware, start, target, away)
    motion.add(target, block.feed_m_s, instruction)
    way_before = motion.travelled_m(program.now_s)
    if contact_m is not None:
        goal = way_before + contact_m
        yield lambda now: motion.travelled_m(now) >= goal - 1e-9 or motion.empty
        program.probe_found = True
        share = contact_m / math.dist(start, target)
        x, y, z = (a + share * (b - a) for a, b in zip(start, target, strict=True))
        program.probe_m = (x, y, z)
        firmware.cycle.cancel_motion(program.now_s)
        yield lambda _: motion.empty
        program.move_done(program.now_s, instruction, motion.position_m(program.now_s))
    else:
        yield lambda _: motion.empty
        program.probe_m = motion.position_m(program.now_s)
    firmware.cycle.follow(program.now_s)
    program.synchronize_position(program.now_s)
    if contact_m is None and block.action in ("G38.2", "G38.4"):
        firmware.alarm(program.now_s, PROBE_NO_CONTACT)
    firmware.say(report.probe_line(program.probe_m, program.probe_found, firmware.eeprom.flag(13)))
    return 0


def _touches(firmware: GrblFirmware, machine_m: Point) -> bool:
    return firmware.plant.probe_touches(firmware.plant.axes.tool_m(machine_m))


def _contact(firmware: GrblFirmware, start_m: Point, end_m: Point, away: bool) -> float | None:
    """Distance [m] from the start at which the contact changes, or None."""
    length = math.dist(start_m, end_m)

    def changed(way_m: float) -> bool:
        share = way_m / length
        x, y, z = (a + share * (b - a) for a, b in zip(start_m, end_m, strict=True))
        return _touches(firmware, (x, y, z)) != away

    steps = max(1, math.ceil(length / PROBE_STEP_M))
    before = 0.0
    for step in range(1, min(steps, 20_000) + 1):
        way = length * step / min(steps, 20_000)
        if changed(way):
            for _ in range(BISECTIONS):
                middle = 0.5 * (before + way)
                before, way = (before, middle) if changed(middle) else (middle, way)
            return way
        before = way
    return None
