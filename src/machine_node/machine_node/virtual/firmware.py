"""The virtual controller: receives bytes, checks lines, runs commands, answers as Marlin 2 does.

At speed N its receive buffer, command buffer and planner are N times as deep as the profile says, so that the
head start that a host has in steady time is that of the real machine. The planner's look-ahead is not deeper.
"""

from __future__ import annotations

import math
import random
import re
from collections import deque
from collections.abc import Callable, Generator, Iterable

from industriverse_core.machine import MachineProfile
from machine_node.virtual.axes import Axes, Phase
from machine_node.virtual.commands import Commands, Condition
from machine_node.virtual.instructions import Instruction
from machine_node.virtual.journal import Journal
from machine_node.virtual.motion import Block, Motion
from machine_node.virtual.plant import Plant

COMMAND_BUFFER = 4  # Marlin's BUFSIZE
BUSY_PERIOD_S = 2.0  # HOST_KEEPALIVE
BOOT_S = 0.05  # steady: from the opening of the port to `start`
EMERGENCY = re.compile(rb"(?:^|\n)[ \t]*(?:N\d+[ \t]*)?M(108|112|410)(?=[*\s])")
LINE_END = re.compile(rb"[\r\n]")
MOTION = re.compile(r"G0*[0-3](?![\d.])")
FILAMENT_AREA_M2 = 2.405e-6  # 1.75 mm


class Firmware:
    """One controller with its machine.

    Args:
        profile: the machine.
        speed: physics seconds in a steady second; scales the buffers.
        seed: of the machine's true parameters and of its noise.
        journal: gets every event.
        to_mono: physics time [s] -> CLOCK_MONOTONIC [s], for the journal.
    """

    def __init__(
        self, profile: MachineProfile, speed: float, seed: int, journal: Journal, to_mono: Callable[[float], float]
    ) -> None:
        deeper = max(1, round(speed))
        self.profile = profile
        self.speed = speed
        self.journal = journal
        self.to_mono = to_mono
        self.random = random.Random(seed + 1)
        self.plant = Plant(profile, seed)
        blocks = profile.protocol.planner_blocks
        self.motion = Motion(
            profile, blocks * deeper, blocks - 1, self._motion_begins, self._motion_ends, self._block_done
        )
        self.command_slots = COMMAND_BUFFER * deeper
        self.receive_bytes = profile.protocol.receive_buffer * deeper
        self.output = bytearray()
        self.halted = False
        self.overflowed_bytes = 0
        self._commands = Commands(self)
        self._receive = bytearray()
        self._tail = b""  # of the line that is arriving, for the emergency parser
        self._queue: deque[Instruction] = deque()
        self._lines = 0
        self._dropped = 0  # the newest motion that was journalled so
        self._frozen = False
        self._running: Generator[Condition, None, None] | None = None
        self._waiting: Condition | None = None
        self._last_line = 0
        self._busy_s = 0.0
        self._boot_until: float | None = None

    # --- life ---

    def power_on(self, now_s: float) -> None:
        """Opening the port resets the board; it boots for BOOT_S and says `start`."""
        self._drop_motion(now_s, "reset")
        self.frozen = False
        self.motion.reset()
        self.plant.heaters_off()
        self.plant.fan = 0.0
        self.plant.motors_on = False
        self._commands = Commands(self)
        self._receive.clear()
        self._queue.clear()
        self._running = self._waiting = None
        self._last_line, self._tail, self.halted = 0, b"", False
        self.output.clear()
        self._boot_until = now_s + BOOT_S * self.speed
        self.event(now_s, "reset")

    def brown_out(self, now_s: float) -> None:
        """The supply has failed: nothing runs until it is back and the board restarts."""
        self.power_on(now_s)
        self._boot_until = math.inf

    @property
    def axes(self) -> Axes:
        """The body's axes."""
        return self.plant.axes

    @property
    def frozen(self) -> bool:
        """A fault: the program hangs."""
        return self._frozen

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        self._frozen = frozen
        self.plant.freeze(frozen)

    def _drop_motion(self, now_s: float, why: str) -> None:
        """The axes stop dead; what they had before them is journalled as dropped."""
        self.motion.advance(now_s)
        running = self.motion.running()
        if running is not None:
            for phase in running.phases(now_s):
                self.axes.observe(phase)
        blocks = self.motion.halt(now_s)
        dropped = [block.instruction for block in blocks]
        waiting = [each for each in self._queue if MOTION.match(each.text)]
        followers = [each for block in blocks for each in block.followers]
        self.note_dropped(now_s, why, [*dropped, *followers, *waiting])

    def note_dropped(self, now_s: float, why: str, instructions: Iterable[Instruction | None]) -> None:
        """Journal motions that will not be executed, or only in part; each once."""
        numbers = sorted({each.number for each in instructions if each is not None and each.number > self._dropped})
        if numbers:
            self._dropped = numbers[-1]
            self.event(now_s, "dropped", cause=why, numbers=numbers)

    def _boot(self) -> None:
        self._boot_until = None
        self.say("start")
        self.say("echo:Industriverse virtual printer (Marlin 2.1 protocol)")
        self.say("echo: Last Updated: 2024-01-01 | Author: industriverse")

    def kill(self, now_s: float, why: str = "") -> None:
        """Everything off, deaf until the next power-on."""
        if self.halted:
            return
        self.halted = True
        self._drop_motion(now_s, "halted")
        self.plant.heaters_off()
        self.plant.motors_on = False
        self._queue.clear()
        self._running = self._waiting = None
        if why:
            self.say(f"Error:{why}")
        self.say("Error:Printer halted. kill() called!")
        self.event(now_s, "halted", reason=why or "M112")

    # --- journal ---

    def event(self, at_s: float, name: str, **values: object) -> None:
        """Write to the journal."""
        self.journal.write(self.to_mono(at_s), name, **values)

    def _motion_begins(self, at_s: float) -> None:
        self.event(at_s, "motion_begin")

    def _motion_ends(self, at_s: float) -> None:
        self.event(at_s, "motion_end")

    def _block_done(self, at_s: float, block: Block) -> None:
        phases = block.phases(block.end_s)
        for phase in phases:
            self.axes.observe(phase)
        if phases:
            delta = block.delta_m[0], block.delta_m[1], block.delta_m[2]
            share = math.sqrt(sum(part * part for part in delta)) / block.length_m
            lost = self.axes.drive(delta, block.cruise_m_s * share, block.acceleration_m_s2 * share)
            if any(lost):
                self.event(at_s, "steps_lost", lost_m=[round(value, 7) for value in lost])
        end = block.point_m(block.end_s)[:3]
        if block.last and block.instruction is not None:
            self.move_done(at_s, block.instruction, end)
        for instruction in block.followers:
            self.move_done(at_s, instruction, end)

    def move_done(self, at_s: float, instruction: Instruction, end_m: tuple[float, ...]) -> None:
        """Journal a motion that has ended."""
        self.event(
            at_s, "move", number=instruction.number, line=instruction.line, text=instruction.text,
            end_m=[round(value, 7) for value in end_m],
        )  # fmt: skip

    # --- serial ---

    def say(self, line: str) -> None:
        """Send one line to the host."""
        self.output += line.encode("ascii", "replace") + b"\n"

    def receive(self, data: bytes, now_s: float) -> None:
        """Bytes from the host."""
        if self.halted or self._boot_until is not None:
            return
        if not self.frozen:
            self._emergency(data, now_s)
        if self.halted:
            return
        self._receive += data
        if not self.frozen:
            self._take_lines(now_s)
        excess = len(self._receive) - self.receive_bytes
        if excess > 0:
            del self._receive[-excess:]
            self.overflowed_bytes += excess
            self.event(now_s, "rx_overflow", bytes=excess)

    def _emergency(self, data: bytes, now_s: float) -> None:
        """EMERGENCY_PARSER: M108, M112 and M410 act as their bytes arrive, before any buffer."""
        text = self._tail + data
        for match in EMERGENCY.finditer(text):
            if match.end() + 1 <= len(self._tail):
                continue  # seen before
            code = int(match[1])
            if code == 112:
                self.journal.write(self.to_mono(now_s), "rx", line="M112")
                self.kill(now_s)
                return
            if code == 108:
                self._commands.cancelled = True
            else:
                self._quick_stop(now_s)
        self._tail = text[text.rfind(b"\n") + 1 :][-64:]

    def _quick_stop(self, now_s: float) -> None:
        kept = self._queue  # commands that wait are kept by M410, but for the one that waits for the planner
        self._queue = deque([kept[0]] if self._running is not None else [])
        self._drop_motion(now_s, "quickstop")
        self._queue = kept
        self._commands.aborted = True
        self._commands.after_halt()
        self.event(now_s, "quickstop")

    def _take_lines(self, now_s: float) -> None:
        """Move complete lines from the receive buffer into the command buffer."""
        while len(self._queue) < self.command_slots:
            end = LINE_END.search(self._receive)
            if end is None:
                return
            raw = bytes(self._receive[: end.start()])
            del self._receive[: end.end()]
            text = raw.decode("latin-1").strip()
            if text:
                self.journal.write(self.to_mono(now_s), "rx", line=text)
                self._check_line(text)

    def _check_line(self, text: str) -> None:
        """Line number and checksum, as Marlin 2's get_serial_commands.

        What does not begin with N is taken without any check, also the end of a line that a wrong byte has cut.
        """
        command, number = text, None
        star = text.rfind("*")
        if text[0] == "N":
            match = re.match(r"N(\d{1,9})\s*", text)
            number = int(match[1]) if match else 0
            body = text[match.end() :] if match else text
            if number != self._last_line + 1 and "M110" not in body:
                return self._line_error("Line Number is not Last Line Number+1, Last Line: ")
            if star < 0:
                return self._line_error("No Checksum with line number, Last Line: ")
            checksum = 0
            for byte in text[:star].encode("latin-1"):
                checksum ^= byte
            if text[star + 1 :].strip() != str(checksum):
                return self._line_error("checksum mismatch, Last Line: ")
            self._last_line = number
            command = body
        command = command.split(";", 1)[0]
        command = re.sub(r"^n\d+\s*", "", command.rpartition("*")[0] if "*" in command else command).strip()
        if command:
            self._lines += 1
            self._queue.append(Instruction(self._lines, number, command, text))
        return None

    def _line_error(self, problem: str) -> None:
        """Refuse the line, drop what has arrived after it, ask for it again."""
        self._receive.clear()
        self.say(f"Error:{problem}{self._last_line}")
        self.say(f"Resend: {self._last_line + 1}")
        self.say("ok")

    def set_line_number(self, number: int) -> None:
        """M110."""
        self._last_line = number

    def moving_phases(self, now_s: float) -> list[Phase]:
        """What the axes have done of the move in progress."""
        running = self.motion.running()
        return [] if running is None else running.phases(now_s)

    def true_state(self, now_s: float) -> dict[str, object]:
        """What nobody on the serial line can know."""
        plant, axes = self.plant, self.motion.position_m(now_s)
        believed = axes[:3]
        filament = plant.filament
        return {
            "state": "halted" if self.halted else "running", "time_s": now_s, "controller_m": believed,
            "tool_m": plant.axes.tool_of(believed, self.moving_phases(now_s)), "lost_steps_m": plant.axes.lost_steps_m,
            "planned_blocks": self.motion.planned, "hotend_c": plant.hotend.block_c, "bed_c": plant.bed.block_c,
            "hotend_reading_c": plant.hotend.measured_c, "bed_reading_c": plant.bed.measured_c,
            "hotend_w": plant.hotend.electric_w(plant.supply), "bed_w": plant.bed.electric_w(plant.supply),
            "asked_m3": filament.asked_m3, "extruded_m3": filament.extruded_m3, "part_attached": plant.part_attached,
            "energy_j": plant.energy_j, "supply_v": plant.supply_v, "overflowed_bytes": self.overflowed_bytes,
            "frozen": self.frozen,
        }  # fmt: skip

    # --- time ---

    def step(self, now_s: float) -> None:
        """Let physics and commands go on until this time."""
        if self._boot_until is not None and now_s >= self._boot_until:
            self._boot()
        self.motion.advance(now_s)
        if not now_s < self.plant.due_s():  # also before the first step, when it is NaN
            filament = self.motion.position_m(now_s)[3] * FILAMENT_AREA_M2
            fault = self.plant.step_to(now_s, self.motion.travelled_m(now_s), filament)
            if fault is not None and not self.halted and self._boot_until is None:
                self.event(now_s, "thermal_fault", fault=fault)
                heater, _, what = fault.partition(": ")
                self.kill(now_s, f"{what}, system stopped! Heater_ID: {'E0' if heater == 'Hotend' else 'bed'}")
        if not (self.halted or self.frozen) and self._boot_until is None:
            self._run_commands(now_s)
            self._commands.report(now_s)

    def _run_commands(self, now_s: float) -> None:
        while True:
            if self._running is None:
                if not self._queue:
                    return
                instruction = self._queue[0]
                if self._commands.echoes:
                    self.say(f"echo:{instruction.received}")
                self._running = self._commands.run(instruction.text, now_s, instruction)
                self._waiting = None
                self._busy_s = now_s + BUSY_PERIOD_S
            if self._waiting is not None and not self._waiting(now_s):
                self._keep_alive(now_s)
                return
            try:
                self._commands.now_s = now_s
                self._waiting = next(self._running)
            except StopIteration:
                self._finish_command()
                self._take_lines(now_s)

    def _finish_command(self) -> None:
        """The command has been taken: `ok` with ADVANCED_OK's numbers."""
        self._running = self._waiting = None
        if self.halted or not self._queue:
            return
        number = self._queue.popleft().line
        answer = self._commands.take_answer()
        if answer:  # M105 says its own ok
            self.say(f"ok {answer}")
            return
        line = "" if number is None else f" N{number}"
        self.say(f"ok{line} P{self.motion.free} B{self.command_slots - len(self._queue)}")

    def _keep_alive(self, now_s: float) -> None:
        if now_s >= self._busy_s:
            self._busy_s = now_s + BUSY_PERIOD_S
            if not self._commands.heating:
                self.say(f"echo:busy: {self._commands.busy_reason}")

    def next_event_s(self) -> float:
        """Physics time of the next thing that happens without the host."""
        times = [self.plant.due_s()]
        if not self.frozen:
            times.append(self._commands.next_report_s())
        if self._waiting is not None:
            times.append(self.motion.next_end_s())
        if self._boot_until is not None:
            times.append(self._boot_until)
        return min(times)
