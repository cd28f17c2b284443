"""What the virtual mill's controller does with each line. A line that takes time yields conditions to wait for."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import TYPE_CHECKING

from industriverse_core.units import MM
from machine_node.virtual import grbl_report as report
from machine_node.virtual.grbl_arcs import chords
from machine_node.virtual.grbl_cycles import probe
from machine_node.virtual.grbl_motion import Point
from machine_node.virtual.grbl_parser import PLANE_AXES, PROBES, Block, Frame, Modes, parse_block
from machine_node.virtual.grbl_settings import COORDINATE_SYSTEMS, ORIGIN
from machine_node.virtual.grbl_state import State
from machine_node.virtual.grbl_system import execute_system
from machine_node.virtual.grbl_words import GrblError
from machine_node.virtual.instructions import Instruction

if TYPE_CHECKING:
    from machine_node.virtual.grbl_firmware import GrblFirmware

Condition = Callable[[float], bool]
Steps = Generator[Condition, None, int]
LOCKED, TRAVEL_EXCEEDED = 9, 15
SOFT_LIMIT = 2
MOVING = frozenset(("G0", "G1", "G2", "G3", "G28", "G30", *PROBES))


class Program:
    """Modal state and the line in work, from one reset to the next.

    Attributes:
        silent: the line in work is not the host's: it gets no `ok`.
        wake_s: when a dwell ends; inf = none.
    """

    def __init__(self, firmware: GrblFirmware) -> None:
        self._firmware = firmware
        self.now_s = 0.0
        self.wake_s = math.inf
        self.silent = False
        self.modes = Modes()
        self.shift_m: Point = ORIGIN
        self.tool_length_m = 0.0
        self.position_m: Point = firmware.motion.target_m
        self.probe_m: Point = ORIGIN
        self.probe_found = False
        self.waiting: Instruction | None = None  # a motion that is not yet wholly in the planner

    # --- lines ---

    def execute(self, line: str, number: int) -> Steps:
        """Begin a line. The generator yields conditions; it ends with 0 or raises GrblError."""
        state = self._firmware.cycle.state
        if not line:
            return _nothing()
        if line[0] == "$":
            return execute_system(self._firmware, line, number)
        if state in (State.ALARM, State.JOG):
            return _refused(LOCKED)
        return self.run_block(line, number)

    def startup(self, now_s: float) -> Steps:
        """The lines of $N0 and $N1, after a reset and after homing."""
        self.now_s, self.silent = now_s, True
        for line in self._firmware.eeprom.startup:
            if not line:
                continue
            try:
                yield from self.run_block(line, 0)
                answer = "ok"
            except GrblError as error:
                answer = f"error:{error.number}"
            self._firmware.say(f">{line}:{answer}")
        return 0

    def check(self, line: str) -> None:
        """Raises GrblError where the line would not be accepted now."""
        parse_block(line, self.modes, self.frame())

    def frame(self) -> Frame:
        """Where the program counts from."""
        return Frame(self.position_m, self._firmware.eeprom.offsets_m, self.shift_m, self.tool_length_m)

    def work_offset_m(self) -> Point:
        """WCO."""
        return self.frame().work_offset_m(self.modes.coordinates)

    def synchronize_position(self, now_s: float) -> None:
        """The axes were stopped short: the program counts from where they are."""
        self.position_m = self._firmware.motion.position_m(now_s)

    def toggle_coolant(self, name: str) -> None:
        """A real-time character has switched it."""
        self.modes = replace(self.modes, **{name: not getattr(self.modes, name)})

    def move_done(self, at_s: float, instruction: Instruction, end_m: Point) -> None:
        """Journal a motion that has ended."""
        self._firmware.event(
            at_s, "move", number=instruction.number, line=instruction.line, text=instruction.text,
            end_m=[round(value, 7) for value in end_m],
        )  # fmt: skip

    # --- waiting ---

    def idle(self, _: float) -> bool:
        """Nothing moves or waits to."""
        return self._firmware.motion.empty

    def _has_room(self, _: float) -> bool:
        return self._firmware.motion.free > 0

    def dwell(self, seconds: float) -> Steps:
        """Wait, after everything has come to rest."""
        yield self.idle
        due = self.wake_s = self.now_s + seconds
        yield lambda now: now >= due
        self.wake_s = math.inf
        return 0

    # --- G-code ---

    def run_block(self, line: str, number: int) -> Steps:
        """Check a line as a whole, then carry it out in RS274's order."""
        block = parse_block(line, self.modes, self.frame())
        before, modes = self.modes, block.modes
        coordinates_changed = modes.coordinates != before.coordinates
        spindle_changes = modes.spindle != before.spindle or (
            modes.spindle != "M5" and modes.spindle_rpm != before.spindle_rpm
        )
        names_coolant = bool(block.commands & {"M7", "M8", "M9"})
        if spindle_changes or names_coolant:
            yield self.idle
        flow, modes = modes.flow, replace(modes, flow="")
        if not names_coolant:  # a real-time character may have switched it while the line waited
            modes = replace(modes, flood=self.modes.flood, mist=self.modes.mist)
        self.modes = modes
        self._firmware.overrides.apply_spindle()
        if names_coolant:
            self._firmware.overrides.apply_coolant()
        if block.tool_length_m is not None:
            self.tool_length_m = block.tool_length_m
            self._firmware.reports.offsets_changed()
        if "G4" in block.commands and self._firmware.cycle.state is not State.CHECK:
            yield from self.dwell(block.words["P"])
        if coordinates_changed:
            self._firmware.reports.offsets_changed()
        instruction = Instruction(number, block.line, line)
        self.waiting = instruction if block.action in MOVING else None
        yield from self._act(block, instruction)
        self.waiting = None
        if flow:
            yield from self._flow(flow)
        return 0

    def _act(self, block: Block, instruction: Instruction) -> Steps:
        action = block.action
        if action in ("G0", "G1"):
            yield from self._move(block.target_m, self._feed(block), instruction)
        elif action in ("G2", "G3"):
            yield from self._arc(block, instruction)
        elif action in PROBES:
            yield from probe(self._firmware, block, instruction)
        elif action in ("G28", "G30"):
            yield from self._go_to_place(block, instruction)
        elif action in ("G28.1", "G30.1"):
            self._firmware.eeprom.places_m[action[:3]] = self.position_m
            self._firmware.eeprom_written(self.now_s)
        elif action == "G10":
            yield from self._set_origin(block)
        elif action in ("G92", "G92.1"):
            self._shift(block)
        return 0

    def _feed(self, block: Block) -> float:
        """Speed of the motion [m/s]; inf = rapid. With G93 the move takes 1/F."""
        if block.action == "G0":
            return math.inf
        if block.modes.feed != "G93":
            return block.feed_m_s
        length = math.dist(self.position_m, block.target_m)
        return max(block.feed_m_s * length, 1e-6)

    def _move(self, end_m: Point, feed_m_s: float, instruction: Instruction, last: bool = True) -> Steps:
        """One straight move to the planner, as soon as it has room."""
        firmware = self._firmware
        if firmware.eeprom.flag(20) and firmware.eeprom.beyond_travel(end_m):
            firmware.motion.hold(self.now_s)
            yield lambda _: not firmware.motion.moving
            firmware.critical_alarm(self.now_s, SOFT_LIMIT)
            yield lambda _: False  # until the reset
        self.position_m = end_m
        if firmware.cycle.state is State.CHECK:
            return 0
        while firmware.motion.free <= 0:
            yield self._has_room
        if not firmware.motion.add(end_m, feed_m_s, instruction, last) and last:
            self._finish_without_motion(instruction, end_m)
        return 0

    def _finish_without_motion(self, instruction: Instruction, end_m: Point) -> None:
        newest = self._firmware.motion.newest()
        if newest is None:
            self.move_done(self.now_s, instruction, end_m)
        else:
            newest.followers.append(instruction)

    def _arc(self, block: Block, instruction: Instruction) -> Steps:
        assert block.center_m is not None
        axes, start = PLANE_AXES[block.modes.plane], self.position_m
        tolerance = self._firmware.eeprom.values[12] * MM
        points = list(chords(block.action == "G2", axes, start, block.target_m, block.center_m, tolerance))
        feed = block.feed_m_s
        if block.modes.feed == "G93":  # the whole arc takes 1/F
            feed = max(1e-6, feed * len(points) * math.dist(start, points[0]))
        for index, point in enumerate(points, 1):
            yield from self._move(point, feed, instruction, last=index == len(points))
        return 0

    def _go_to_place(self, block: Block, instruction: Instruction) -> Steps:
        """G28, G30: by way of the point that is named; then the named axes, or all."""
        place = self._firmware.eeprom.places_m[block.action]
        if any(block.named):
            yield from self._move(block.target_m, math.inf, instruction, last=False)
            x, y, z = (
                value if named else here
                for value, named, here in zip(place, block.named, self.position_m, strict=True)
            )  # fmt: skip
            place = x, y, z
        yield from self._move(place, math.inf, instruction)
        return 0

    def _set_origin(self, block: Block) -> Steps:
        """G10 L2 and L20."""
        eeprom = self._firmware.eeprom
        number = int(block.words["P"])
        name = COORDINATE_SYSTEMS[number - 1] if number else block.modes.coordinates
        origin = list(eeprom.offsets_m[name])
        for axis, letter in enumerate("XYZ"):
            if not block.named[axis]:
                continue
            if int(block.words["L"]) == 20:
                here = self.position_m[axis] - self.shift_m[axis] - (self.tool_length_m if axis == 2 else 0.0)
                origin[axis] = here - block.words[letter]
            else:
                origin[axis] = block.words[letter]
        yield self.idle
        eeprom.offsets_m[name] = (origin[0], origin[1], origin[2])
        self._firmware.eeprom_written(self.now_s)
        self._firmware.reports.offsets_changed()
        return 0

    def _shift(self, block: Block) -> None:
        """G92: the present place gets the named coordinates. G92.1 forgets it."""
        shift = list(ORIGIN if block.action == "G92.1" else self.shift_m)
        if block.action == "G92":
            origin = self._firmware.eeprom.offsets_m[block.modes.coordinates]
            for axis, letter in enumerate("XYZ"):
                if block.named[axis]:
                    length = self.tool_length_m if axis == 2 else 0.0
                    shift[axis] = self.position_m[axis] - origin[axis] - length - block.words[letter]
        self.shift_m = (shift[0], shift[1], shift[2])
        self._firmware.reports.offsets_changed()

    def _flow(self, flow: str) -> Steps:
        """M0 holds until `~`; M2 and M30 end the program."""
        firmware = self._firmware
        yield self.idle
        if flow == "M0":
            if firmware.cycle.state is not State.CHECK:
                firmware.cycle.follow(self.now_s)
                firmware.cycle.hold(self.now_s)
                yield lambda _: True  # the main program is suspended until `~`
            return 0
        self.modes = replace(
            self.modes, motion="G1", plane="G17", coordinates="G54", distance="G90", feed="G94", spindle="M5",
            mist=False, flood=False,
        )  # fmt: skip
        firmware.overrides.reset()
        firmware.overrides.apply_spindle()
        firmware.overrides.apply_coolant()
        firmware.reports.offsets_changed()
        firmware.say(report.PROGRAM_END)
        firmware.event(self.now_s, "program_end")
        return 0

    def jog(self, text: str, number: int) -> Steps:
        """`$J=`: refused beyond the travel; cancelled by 0x85 and `!`."""
        firmware = self._firmware
        block = parse_block(text, self.modes, self.frame(), jog=True)
        if firmware.eeprom.flag(20) and firmware.eeprom.beyond_travel(block.target_m):
            raise GrblError(TRAVEL_EXCEEDED)
        self.waiting = instruction = Instruction(number, block.line, f"$J={text}")
        while firmware.motion.free <= 0:
            yield self._has_room
        self.position_m, self.waiting = block.target_m, None
        if firmware.motion.add(block.target_m, block.feed_m_s, instruction, follows_override=False):
            if firmware.cycle.state is State.IDLE:
                firmware.cycle.state = State.JOG
        else:
            self._finish_without_motion(instruction, block.target_m)
        return 0


def _nothing() -> Steps:
    yield from ()
    return 0


def _refused(number: int) -> Steps:
    yield from ()
    raise GrblError(number)
