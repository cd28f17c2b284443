"""What each command of the virtual controller does. A handler that takes time yields conditions to wait for."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from machine_node.virtual.instructions import Instruction
from machine_node.virtual.plant import HeaterPlant

if TYPE_CHECKING:
    from machine_node.virtual.firmware import Firmware

Condition = Callable[[float], bool]
Steps = Generator[Condition, None, None]
Words = dict[str, float]

_WORD = re.compile(r"([A-Z])\s*([-+]?(?:\d+\.?\d*|\.\d+))?")
ARC_SEGMENT_M = 1e-3  # Marlin's MM_PER_ARC_SEGMENT
HOMING_SPEED_M_S = 0.03
CAPABILITIES = {
    "SERIAL_XON_XOFF": 0, "EEPROM": 0, "VOLUMETRIC": 0, "AUTOREPORT_POS": 1, "AUTOREPORT_TEMP": 1, "PROGRESS": 0,
    "PRINT_JOB": 0, "AUTOLEVEL": 1, "Z_PROBE": 1, "EMERGENCY_PARSER": 1, "HOST_ACTION_COMMANDS": 0, "ARCS": 1,
}  # fmt: skip
IGNORED = frozenset(
    ("M21", "M73", "M117", "M201.3", "M211", "M300", "M413", "M500", "M900", "M862", "M862.1", "M862.2", "M862.3",
     "M862.4", "M862.5", "M862.6", "M115.1", "G21", "T0")
)  # fmt: skip


class Commands:
    """Modal state and handlers of one controller, from power-on to the next."""

    def __init__(self, firmware: Firmware) -> None:
        self._firmware = firmware
        self._motion, self._plant = firmware.motion, firmware.plant
        self.now_s = 0.0
        self.cancelled = False  # M108
        self.aborted = False  # M410
        self.heating = False  # inside M109 or M190: temperatures are the keep-alive
        self.busy_reason = "processing"
        self._answer = ""
        self._instruction = Instruction(0, None, "")
        self._absolute = True
        self._absolute_e = True
        self._unit_m = 1e-3
        self._feed_m_s = 0.025
        self._feed_factor = 1.0
        self._flow_factor = 1.0
        self._e_m = 0.0  # logical position of the filament
        self.echoes = False  # M111 S1: each command is said before it is carried out
        self._temperature_period_s = 0.0
        self._temperature_due_s = math.inf
        self._position_period_s = 0.0
        self._position_due_s = math.inf
        self._handlers = {
            name.removeprefix("_do_").upper(): getattr(self, name) for name in dir(self) if name.startswith("_do_")
        }
        for alias, name in (("G0", "G1"), ("G3", "G2"), ("G29", "G80"), ("M18", "M84"), ("M191", "M190"), ("M1", "M0")):
            self._handlers[alias] = self._handlers[name]

    def run(self, command: str, now_s: float, instruction: Instruction) -> Steps:
        """Begin a command. The generator yields conditions; when it ends the command is acknowledged."""
        self.now_s = now_s
        self._instruction = instruction
        name, _, rest = command.partition(" ")
        match = re.match(r"([GMT])0*(\d+(?:\.\d+)?)", name)
        if match is not None and match.end() < len(name):
            name, rest = name[: match.end()], name[match.end() :] + rest
        code = match[1] + match[2] if match is not None else name
        handler = self._handlers.get(code)
        if handler is None:
            return self._ignored() if code in IGNORED else self._unknown(command)
        words: Words = {}
        for letter, number in _WORD.findall(rest.upper()):
            words[letter] = float(number) if number else math.nan
        self._code = code
        return handler(words)

    def take_answer(self) -> str:
        """What the command says between its `ok` and the line number."""
        answer, self._answer = self._answer, ""
        return answer

    def after_halt(self) -> None:
        """The axes were stopped by M410: the filament's logical position is where it is."""
        self._e_m = self._motion.target_m[3]

    # --- reports ---

    def report(self, now_s: float) -> None:
        """Automatic reports that are due."""
        if now_s >= self._temperature_due_s:
            self._temperature_due_s = now_s + self._temperature_period_s
            self._firmware.say(" " + self._temperatures())
        if now_s >= self._position_due_s:
            self._position_due_s = now_s + self._position_period_s
            self._firmware.say(self._position(now_s))

    def next_report_s(self) -> float:
        """When the next automatic report is due."""
        return min(self._temperature_due_s, self._position_due_s)

    def _temperatures(self) -> str:
        hotend, bed = self._plant.hotend, self._plant.bed
        return (
            f"T:{hotend.measured_c:.2f} /{hotend.target_c:.2f} B:{bed.measured_c:.2f} /{bed.target_c:.2f} "
            f"@:{round(hotend.duty * 127)} B@:{round(bed.duty * 127)}"
        )

    def _position(self, now_s: float) -> str:
        x, y, z, e = (value * 1e3 for value in self._motion.target_m)
        ax, ay, az, ae = (value * 1e3 for value in self._motion.position_m(now_s))
        return f"X:{x:.2f} Y:{y:.2f} Z:{z:.2f} E:{e:.2f} Count X: {ax:.2f} Y:{ay:.2f} Z:{az:.2f} E:{ae:.2f}"

    # --- conditions ---

    def _idle(self, _: float) -> bool:
        return self._motion.idle

    def _has_room(self, _: float) -> bool:
        return self._motion.free > 0

    # --- motion ---

    def _do_g1(self, words: Words) -> Steps:
        yield from self._move_to(*self._target(words))

    def _target(self, words: Words) -> tuple[tuple[float, float, float], float, float]:
        """(end point, filament, feed) of a move's words."""
        now = self._motion.target_m
        point = [now[0], now[1], now[2]]
        for axis, letter in enumerate("XYZ"):
            value = words.get(letter, math.nan)
            if value == value:
                point[axis] = value * self._unit_m + (0.0 if self._absolute else point[axis])
        filament, value = 0.0, words.get("E", math.nan)
        if value == value:
            filament = value * self._unit_m - (self._e_m if self._absolute_e else 0.0)
        feed = words.get("F", math.nan)
        if feed > 0.0:
            self._feed_m_s = feed * self._unit_m / 60.0
        for axis, limit in enumerate(self._firmware.profile.kinematics.axes()):  # software endstops
            point[axis] = min(limit.maximum, max(limit.minimum, point[axis]))
        return (point[0], point[1], point[2]), filament, self._feed_m_s * self._feed_factor

    def _move_to(
        self, point: tuple[float, float, float], filament_m: float, feed_m_s: float, last: bool = True
    ) -> Generator[Condition, None, bool]:
        """Plan one straight move as soon as there is room. False when M410 came before."""
        instruction = self._instruction
        while self._motion.free <= 0:
            yield self._has_room
        if self.aborted:
            self.aborted = False
            self._firmware.note_dropped(self.now_s, "quickstop", [instruction])
            return False
        extruder = self._firmware.profile.extruder
        if filament_m != 0.0 and extruder is not None:
            self._e_m += filament_m
            if self._plant.hotend.measured_c < extruder.min_temperature:
                self._firmware.say("echo: cold extrusion prevented")
                filament_m = 0.0
        self._plant.motors_on = True
        target = (*point, self._motion.target_m[3] + filament_m * self._flow_factor)
        if not self._motion.add(target, feed_m_s, self.now_s, instruction, last) and last:
            newest = self._motion.newest()
            if newest is None:
                self._firmware.move_done(self.now_s, instruction, target[:3])
            else:
                newest.followers.append(instruction)
        return True

    def _do_g2(self, words: Words) -> Steps:
        start = self._motion.target_m
        clockwise = self._code == "G2"
        end, filament, feed = self._target(words)
        i, j = (words.get(letter, 0.0) * self._unit_m for letter in "IJ")
        radius = math.hypot(i, j)
        if not radius > 0.0:
            self._firmware.say("echo:G2/G3 bad parameters")
            return
        cx, cy = start[0] + i, start[1] + j
        begin = math.atan2(-j, -i)
        sweep = math.atan2(end[1] - cy, end[0] - cx) - begin
        if clockwise:
            sweep -= math.tau if sweep >= -1e-9 else 0.0
        else:
            sweep += math.tau if sweep <= 1e-9 else 0.0
        count = max(1, math.ceil(abs(sweep) * radius / ARC_SEGMENT_M))
        for step in range(1, count + 1):
            share = step / count
            angle = begin + sweep * share
            x, y = (cx + radius * math.cos(angle), cy + radius * math.sin(angle)) if step < count else end[:2]
            point = x, y, start[2] + share * (end[2] - start[2])
            if not (yield from self._move_to(point, filament / count, feed, step == count)):
                return

    def _do_g4(self, words: Words) -> Steps:
        until = words.get("S", words.get("P", 0.0) / 1e3)
        yield self._idle
        due = self.now_s + (until if until == until else 0.0)
        self.aborted = False
        yield lambda now: now >= due or self.aborted

    def _do_g28(self, words: Words) -> Steps:
        axes = [axis for axis, letter in enumerate("XYZ") if letter in words] or [0, 1, 2]
        kinematics = self._firmware.profile.kinematics
        spread = max(-2.0, min(2.0, self._firmware.random.gauss(0.0, 1.0))) * kinematics.homing_time_spread
        duration = kinematics.homing_time * len(axes) / 3.0 * max(0.2, 1.0 + spread)
        yield from self._cycle(duration)
        if self.aborted:
            self.aborted = False
            return
        position = list(self._motion.target_m)
        for axis in axes:
            position[axis] = kinematics.axes()[axis].home
            self._plant.axes.homed(axis)
        self._motion.set_position((position[0], position[1], position[2], position[3]))

    def _do_g80(self, words: Words) -> Steps:
        yield from self._cycle(self._firmware.profile.kinematics.leveling_time)
        self.aborted = False

    def _cycle(self, duration_s: float) -> Steps:
        yield self._idle
        self.aborted = False
        self._plant.motors_on = True
        self._motion.add_cycle(self._motion.target_m, duration_s, HOMING_SPEED_M_S, self.now_s)
        yield self._idle

    def _do_g90(self, words: Words) -> Steps:
        self._absolute = self._absolute_e = True
        yield from ()

    def _do_g91(self, words: Words) -> Steps:
        self._absolute = self._absolute_e = False
        yield from ()

    def _do_g20(self, words: Words) -> Steps:
        self._unit_m = 25.4e-3
        yield from ()

    def _do_g92(self, words: Words) -> Steps:
        yield self._idle
        position = list(self._motion.target_m)
        for axis, letter in enumerate("XYZ"):
            value = words.get(letter, math.nan)
            if value == value:
                self._plant.axes.offset_m[axis] += position[axis] - value * self._unit_m
                position[axis] = value * self._unit_m
        self._motion.set_position((position[0], position[1], position[2], position[3]))
        if "E" in words:
            self._e_m = words["E"] * self._unit_m

    def _do_m82(self, words: Words) -> Steps:
        self._absolute_e = True
        yield from ()

    def _do_m83(self, words: Words) -> Steps:
        self._absolute_e = False
        yield from ()

    def _do_m17(self, words: Words) -> Steps:
        self._plant.motors_on = True
        yield from ()

    def _do_m84(self, words: Words) -> Steps:
        yield self._idle
        self._plant.motors_on = False

    def _do_m400(self, words: Words) -> Steps:
        yield self._idle

    def _do_m410(self, words: Words) -> Steps:
        self.aborted = False  # the emergency parser has done it already
        yield from ()

    def _do_m201(self, words: Words) -> Steps:
        self._set_axes(self._motion.limits.acceleration_m_s2, words)
        yield from ()

    def _do_m203(self, words: Words) -> Steps:
        self._set_axes(self._motion.limits.speed_m_s, words)
        yield from ()

    def _do_m204(self, words: Words) -> Steps:
        limits = self._motion.limits
        if words.get("S", 0.0) > 0.0:
            limits.print_m_s2 = limits.travel_m_s2 = words["S"] * 1e-3
        for letter, name in (("P", "print_m_s2"), ("R", "retract_m_s2"), ("T", "travel_m_s2")):
            if words.get(letter, 0.0) > 0.0:
                setattr(limits, name, words[letter] * 1e-3)
        yield from ()

    def _do_m205(self, words: Words) -> Steps:
        self._set_axes(self._motion.limits.jerk_m_s, words)
        yield from ()

    @staticmethod
    def _set_axes(values: list[float], words: Words) -> None:
        for axis, letter in enumerate("XYZE"):
            if words.get(letter, 0.0) > 0.0:
                values[axis] = words[letter] * 1e-3

    def _do_m220(self, words: Words) -> Steps:
        if words.get("S", 0.0) > 0.0:
            self._feed_factor = words["S"] / 100.0
        yield from ()

    def _do_m221(self, words: Words) -> Steps:
        if words.get("S", 0.0) > 0.0:
            self._flow_factor = words["S"] / 100.0
        yield from ()

    # --- heat ---

    def _do_m104(self, words: Words) -> Steps:
        self._heat(self._plant.hotend, "hotend", words)
        yield from ()

    def _do_m140(self, words: Words) -> Steps:
        self._heat(self._plant.bed, "bed", words)
        yield from ()

    def _do_m109(self, words: Words) -> Steps:
        profile = self._firmware.profile.hotend
        assert profile is not None
        self._heat(self._plant.hotend, "hotend", words)
        yield from self._wait(self._plant.hotend, profile.window, profile.settle_time, "R" in words)

    def _do_m190(self, words: Words) -> Steps:
        profile = self._firmware.profile.bed
        self._heat(self._plant.bed, "bed", words)
        if profile is not None:
            yield from self._wait(self._plant.bed, profile.window, profile.settle_time, "R" in words)

    def _heat(self, heater: HeaterPlant, name: str, words: Words) -> None:
        target = words.get("S", words.get("R", math.nan))
        if target == target:
            heater.set_target(min(max(0.0, target), heater.max_c))
            self._firmware.event(self.now_s, "heater", heater=name, target_c=heater.target_c)

    def _wait(self, heater: HeaterPlant, window_c: float, settle_s: float, cooling_too: bool) -> Steps:
        """Until the heater is within its window for the settle time; M108 ends the wait."""
        self.cancelled = False
        self.heating = True
        self._wait_report_s = self.now_s + 1.0
        inside_since = math.inf

        def reached(now: float) -> bool:
            nonlocal inside_since
            if now >= self._wait_report_s:
                self._wait_report_s = now + 1.0
                self._firmware.say(f" {self._temperatures()} W:?")
            error = heater.target_c - heater.measured_c
            inside = error <= window_c and (not cooling_too or error >= -window_c)
            inside_since = min(inside_since, now) if inside else math.inf
            return self.cancelled or heater.target_c <= 0.0 or now - inside_since >= settle_s

        yield reached
        self.heating = self.cancelled = False

    def _do_m106(self, words: Words) -> Steps:
        speed = words.get("S", 255.0)
        self._plant.fan = min(1.0, max(0.0, (speed if speed == speed else 255.0) / 255.0))
        yield from ()

    def _do_m107(self, words: Words) -> Steps:
        self._plant.fan = 0.0
        yield from ()

    # --- host ---

    def _do_m0(self, words: Words) -> Steps:
        yield self._idle
        self.cancelled = False
        self.busy_reason = "paused for user"
        yield lambda _: self.cancelled
        self.busy_reason = "processing"

    def _do_m105(self, words: Words) -> Steps:
        self._answer = self._temperatures()
        yield from ()

    def _do_m108(self, words: Words) -> Steps:
        yield from ()  # the emergency parser has done it already

    def _do_m110(self, words: Words) -> Steps:
        if words.get("N", math.nan) == words.get("N"):
            self._firmware.set_line_number(int(words["N"]))
        yield from ()

    def _do_m111(self, words: Words) -> Steps:
        level = words.get("S", math.nan)
        self.echoes = self.echoes if math.isnan(level) else bool(int(level) & 1)
        self._firmware.say("echo:DEBUG:" + ("ECHO" if self.echoes else "off"))
        yield from ()

    def _do_m114(self, words: Words) -> Steps:
        self._firmware.say(self._position(self.now_s))
        yield from ()

    def _do_m115(self, words: Words) -> Steps:
        self._firmware.say(
            "FIRMWARE_NAME:Marlin 2.1 (Industriverse virtual printer) PROTOCOL_VERSION:1.0 "
            f"MACHINE_TYPE:{self._firmware.profile.id} EXTRUDER_COUNT:1"
        )
        for name, enabled in CAPABILITIES.items():
            self._firmware.say(f"Cap:{name}:{enabled}")
        yield from ()

    def _do_m154(self, words: Words) -> Steps:
        self._position_period_s = max(0.0, words.get("S", 0.0))
        self._position_due_s = self.now_s + self._position_period_s if self._position_period_s > 0.0 else math.inf
        yield from ()

    def _do_m155(self, words: Words) -> Steps:
        self._temperature_period_s = max(0.0, words.get("S", 0.0))
        self._temperature_due_s = self.now_s + self._temperature_period_s if self._temperature_period_s else math.inf
        yield from ()

    def _ignored(self) -> Steps:
        yield from ()

    def _unknown(self, command: str) -> Steps:
        self._firmware.say(f'echo:Unknown command: "{command[:60]}"')
        yield from ()
