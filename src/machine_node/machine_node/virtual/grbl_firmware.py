"""The virtual mill's controller: bytes in and out, real-time characters, and the states of GRBL 1.1.

At speed N its receive buffer and planner are N times as deep as the profile says, so that the head start that a host
has in steady time is that of the real machine. The planner's look-ahead is not deeper. `$I` tells both.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Generator

from industriverse_core.machine import MachineProfile
from machine_node.virtual import grbl_report as report
from machine_node.virtual.axes import Axes, Phase
from machine_node.virtual.grbl_motion import Block, GrblMotion, Point
from machine_node.virtual.grbl_overrides import Overrides
from machine_node.virtual.grbl_program import Condition, Program
from machine_node.virtual.grbl_settings import Eeprom
from machine_node.virtual.grbl_state import Cycle, State
from machine_node.virtual.grbl_words import GrblError, LineReader
from machine_node.virtual.journal import Journal
from machine_node.virtual.mill_plant import MillPlant

BOOT_S = 0.05  # steady: from the opening of the port to the welcome; a real boot loader takes a second or two
ALARM_PAUSE_S = 0.5  # GRBL says nothing for so long after an alarm
EEPROM_PAUSE_S = 0.017  # five changed bytes of 3.4 ms each; the serial interrupt is off meanwhile
ABORTED, SOFT_LIMIT, HARD_LIMIT, HOMING_RESET = 3, 2, 1, 6
RESET, STATUS, HOLD, RESUME, DOOR, JOG_CANCEL = 0x18, 0x3F, 0x21, 0x7E, 0x84, 0x85
REALTIME = frozenset((RESET, STATUS, HOLD, RESUME))


class GrblFirmware:
    """One controller with its machine. Arguments as of the printer's `Firmware`."""

    def __init__(
        self, profile: MachineProfile, speed: float, seed: int, journal: Journal, to_mono: Callable[[float], float]
    ) -> None:
        deeper = max(1, round(speed))
        self.profile, self.speed = profile, speed
        self.journal, self.to_mono = journal, to_mono
        self.random = random.Random(seed + 1)
        self.plant = MillPlant(profile, seed)
        self.eeprom = Eeprom.of(profile)
        blocks = profile.protocol.planner_blocks - 1
        self.motion = GrblMotion(self.eeprom.limits(), blocks * deeper, blocks, self._block_done, self._phase_done)
        self.receive_bytes = profile.protocol.receive_buffer * deeper
        self.output = bytearray()
        self.overflowed_bytes = 0
        self.frozen = False
        self.cycle = Cycle(self)
        self.overrides = Overrides(self)
        self.reports = report.StatusReport()
        self.program = Program(self)
        self._ring = bytearray()
        self._reader = LineReader()
        self._running: Generator[Condition, None, int] | None = None
        self._waiting: Condition | None = None
        self._status_wanted = False
        self._resume_s = -math.inf  # deaf to everything but characters that are kept for later
        self._deaf_s = -math.inf  # the EEPROM is being written
        self._boot_s: float | None = None
        self._reboot_s: float | None = None
        self._lines = 0
        self._in_motion = False

    # --- life ---

    def power_on(self, now_s: float) -> None:
        """Opening the port resets the board: what it knew of its position is gone."""
        self._drop_motion(now_s, "power")
        place = self.plant.axes.tool_m(self.motion.position_m(now_s))
        self.motion.set_position((0.0, 0.0, 0.0))
        self.plant.axes.offset_m[:] = place
        self.plant.all_off()
        self.output.clear()
        self._running = self._waiting = None
        self.cycle.state = State.ALARM if self.eeprom.flag(22) else State.IDLE
        self._resume_s = self._deaf_s = -math.inf
        self._reboot_s, self._boot_s = None, now_s + BOOT_S * self.speed
        self.frozen = False
        self.event(now_s, "reset", cause="power")

    def brown_out(self, now_s: float) -> None:
        """The supply has failed: nothing runs until it is back and the board restarts."""
        self.power_on(now_s)
        self._boot_s = math.inf

    @property
    def axes(self) -> Axes:
        """The body's axes."""
        return self.plant.axes

    def reset(self, now_s: float) -> None:
        """Character 0x18. While something moves the position is lost: alarm."""
        if self._reboot_s is not None:
            return
        cycle = self.cycle
        moving = cycle.state in (State.RUN, State.HOMING, State.JOG) or cycle.braking
        homing = cycle.state is State.HOMING
        self._drop_motion(now_s, "reset")
        self.plant.all_off()
        self.event(now_s, "reset", cause="character")
        cycle.locked = False
        if moving:
            self.alarm(now_s, HOMING_RESET if homing else ABORTED)
        self._reboot_s = max(now_s, self._resume_s)
        self._boot_if_due(now_s)

    def _drop_motion(self, now_s: float, why: str) -> None:
        speed, running = self.motion.speed_m_s(now_s), self.motion.running()
        dropped = self.motion.flush(now_s)
        if running is not None and speed > 0.0:
            self.plant.axes.stop_dead(running.unit, speed)
        self.note_dropped(now_s, why, dropped)
        self._note_motion(now_s)

    def note_dropped(self, now_s: float, why: str, dropped: list[Block]) -> None:
        """Journal the motions that will not be executed, or only in part: planned, or waiting for the planner."""
        instructions = [block.instruction for block in dropped]
        instructions += [follower for block in dropped for follower in block.followers]
        instructions.append(self.program.waiting)
        self.program.waiting = None
        numbers = sorted({each.number for each in instructions if each is not None})
        if numbers:
            self.event(now_s, "dropped", cause=why, numbers=numbers)

    def _boot_if_due(self, now_s: float) -> None:
        if self._boot_s is not None and now_s >= self._boot_s:
            self._boot_s = None
            self._boot(now_s)
        elif self._reboot_s is not None and now_s >= self._reboot_s:
            self._reboot_s = None
            if self._running is not None:  # the line that was interrupted is answered on the way out
                self._running = None
                self.say("ok")
            self._boot(now_s)

    def _boot(self, now_s: float) -> None:
        self._ring.clear()
        self._reader = LineReader()
        self._running = self._waiting = None
        self._status_wanted = False
        self.cycle.clear()
        self.overrides.reset()
        self.program = Program(self)
        self.reports = report.StatusReport()
        self.say("")
        self.say(report.WELCOME)
        if self.cycle.state in (State.ALARM, State.SLEEP):
            self.cycle.state = State.ALARM
            self.say(report.LOCKED)
        else:
            self.cycle.state = State.IDLE
            self._running = self.program.startup(now_s)

    def alarm(self, now_s: float, number: int, message: str = "") -> None:
        """Stop everything with `ALARM:number`."""
        self.cycle.state = State.ALARM
        self.say(f"ALARM:{number}")
        if message:
            self.say(message)
        self._resume_s = now_s + ALARM_PAUSE_S
        self.event(now_s, "alarm", number=number)

    def critical_alarm(self, now_s: float, number: int) -> None:
        """An alarm after which nothing but a reset is heard."""
        self._drop_motion(now_s, "alarm")
        self.plant.all_off()
        self.alarm(now_s, number, report.RESET_TO_CONTINUE)
        self.cycle.locked = True

    def eeprom_written(self, now_s: float) -> None:
        """Bytes that arrive during the write are lost, as the interface document warns."""
        self._deaf_s = now_s + EEPROM_PAUSE_S

    # --- journal ---

    def event(self, at_s: float, name: str, **values: object) -> None:
        """Write to the journal."""
        self.journal.write(self.to_mono(at_s), name, **values)

    def _block_done(self, at_s: float, block: Block) -> None:
        delta = (
            block.end_m[0] - block.start_m[0], block.end_m[1] - block.start_m[1], block.end_m[2] - block.start_m[2]
        )  # fmt: skip
        lost = self.plant.axes.drive(delta, block.peak_m_s, block.acceleration_m_s2)
        if any(lost):
            self.event(at_s, "steps_lost", lost_m=[round(value, 7) for value in lost])
        if block.last and block.instruction is not None:
            self.program.move_done(at_s, block.instruction, block.end_m)
        for instruction in block.followers:
            self.program.move_done(at_s, instruction, block.end_m)

    def _phase_done(self, phase: Phase) -> None:
        self.plant.axes.observe(phase)

    def _note_motion(self, at_s: float) -> None:
        if self.motion.moving != self._in_motion:
            self._in_motion = self.motion.moving
            self.event(at_s, "motion_begin" if self._in_motion else "motion_end")

    # --- serial ---

    def say(self, line: str) -> None:
        """Send one line to the host."""
        self.output += line.encode("ascii", "replace") + b"\r\n"

    def receive(self, data: bytes, now_s: float) -> None:
        """Bytes from the host. Real-time characters are picked out as they arrive; others fill the ring."""
        self._follow_physics(now_s)
        if self._boot_s is not None:
            return
        if now_s < self._deaf_s:
            self._lose(len(data), now_s)
            return
        lost = 0
        for byte in data:
            if byte in REALTIME or byte >= 0x80:
                self._realtime(byte, now_s)
            elif len(self._ring) >= self.receive_bytes:
                lost += 1
            else:
                self._ring.append(byte)
                if byte in (10, 13):
                    self._run(now_s)
        if lost:
            self._lose(lost, now_s)

    def _lose(self, count: int, now_s: float) -> None:
        self.overflowed_bytes += count
        self.event(now_s, "rx_overflow", bytes=count)

    def _realtime(self, byte: int, now_s: float) -> None:
        if self.frozen:
            return
        if byte == RESET:
            self.reset(now_s)
        elif byte == STATUS:
            self._status_wanted = True
            self._report_if_wanted(now_s)
        elif self._heeds(now_s):
            if byte == HOLD:
                self.cycle.hold(now_s)
            elif byte == RESUME:
                self.cycle.resume(now_s)
            elif byte == DOOR:
                self.cycle.door(now_s)
            elif byte == JOG_CANCEL:
                self.cycle.cancel_jog(now_s)
            else:
                self.overrides.character(byte, now_s)

    def _heeds(self, now_s: float) -> bool:
        """Not in a critical alarm's lock, its pause, or the homing cycle, which looks at nothing but resets."""
        return not self.cycle.locked and now_s >= self._resume_s and self.cycle.state is not State.HOMING

    def _report_if_wanted(self, now_s: float) -> None:
        if self._status_wanted and self._heeds(now_s) and self._reboot_s is None:
            self._status_wanted = False
            self.cycle.follow(now_s)
            self.say(self.reports.line(self._status(now_s), int(self.eeprom.values[10]), self.eeprom.flag(13)))

    def _status(self, now_s: float) -> report.Status:
        running = self.motion.running()
        overrides, cycle = self.overrides, self.cycle
        return report.Status(
            cycle.text(), self.position_m(now_s), self.program.work_offset_m(), self.motion.free,
            self.receive_bytes - len(self._ring),
            None if running is None or running.instruction is None else running.instruction.line,
            self.motion.speed_m_s(now_s), overrides.commanded_rpm(), self._pins(now_s), overrides.percent(),
            overrides.accessories(), cycle.busy,
        )  # fmt: skip

    def position_m(self, now_s: float) -> Point:
        """Machine position in whole steps."""
        steps = self.eeprom.axes(100)
        x, y, z = (
            round(value * 1e3 * each) / each * 1e-3
            for value, each in zip(self.motion.position_m(now_s), steps, strict=True)
        )
        return x, y, z

    def _pins(self, now_s: float) -> str:
        tool = self.plant.axes.tool_m(self.motion.position_m(now_s))
        probe = "P" if self.plant.probe_touches(tool) and not self.plant.spindle.target_rpm else ""
        return probe + "".join(letter for letter, value in zip("XYZ", tool, strict=True) if value > 1e-6)

    def moving_phases(self, now_s: float) -> list[Phase]:
        """What the axes have done of the stretch in progress."""
        return self.motion.phase(now_s)

    def true_state(self, now_s: float) -> dict[str, object]:
        """What nobody on the serial line can know."""
        plant, believed = self.plant, self.motion.position_m(now_s)
        return {
            "state": self.cycle.text(), "time_s": now_s, "controller_m": believed,
            "tool_m": plant.axes.tool_of(believed, self.moving_phases(now_s)),
            "speed_m_s": self.motion.speed_m_s(now_s), "lost_steps_m": plant.axes.lost_steps_m,
            "planned_blocks": self.motion.capacity - self.motion.free,
            "spindle_rpm": plant.spindle.rpm, "spindle_load_w": plant.spindle.load_w,
            "spindle_stalled": plant.spindle.stalled, "tool_broken": plant.spindle.tool_broken,
            "removed_m3": plant.removed_m3, "power_w": plant.power_w(self.motion.speed_m_s(now_s)),
            "energy_j": plant.energy_j, "supply_v": plant.supply_v, "overflowed_bytes": self.overflowed_bytes,
            "frozen": self.frozen,
        }  # fmt: skip

    # --- time ---

    def step(self, now_s: float) -> None:
        """Let physics and commands go on until this time."""
        self._boot_if_due(now_s)
        self._follow_physics(now_s)
        self.cycle.follow(now_s)
        self._note_motion(now_s)
        if not self.frozen and self._boot_s is None and self._reboot_s is None:
            self._run(now_s)
            self._report_if_wanted(now_s)

    def _follow_physics(self, now_s: float) -> None:
        """Axes and body up to this time, in the body's own steps."""
        while not now_s < self.plant.due_s():  # also before the first step, when it is NaN
            due = self.plant.due_s()
            tick = now_s if math.isnan(due) else due
            self.motion.advance(tick)
            self._physics(tick)
        self.motion.advance(now_s)

    def _physics(self, tick_s: float) -> None:
        tool = self.plant.axes.tool_of(self.motion.position_m(tick_s), self.moving_phases(tick_s))
        self.plant.step_to(tick_s, tool, self.motion.speed_m_s(tick_s))
        for happening in self.plant.take_happenings():
            self.event(tick_s, "spindle", what=happening)
        beyond = any(value > 1e-6 for value in tool)
        hard = self.eeprom.flag(21) and self.cycle.state not in (State.HOMING, State.ALARM)
        if beyond and hard and self.motion.moving and not self.cycle.locked:
            self.critical_alarm(tick_s, HARD_LIMIT)

    def _run(self, now_s: float) -> None:
        """The main program: as far as it goes without waiting."""
        while not (self.frozen or self.cycle.suspended or self.cycle.locked or now_s < self._resume_s):
            if self._running is None and not self._begin_line(now_s):
                break
            running = self._running
            assert running is not None
            if self._waiting is not None and not self._waiting(now_s):
                break
            try:
                self.program.now_s = now_s
                self._waiting = next(running)
            except StopIteration as end:
                status = end.value or 0
            except GrblError as error:
                status = error.number
            else:
                continue
            if self._running is running:  # else it has reset the controller, which has answered it
                self._finish(status)
        if not self.cycle.suspended:
            self.cycle.auto_start(now_s)
        self._note_motion(now_s)

    def _begin_line(self, now_s: float) -> bool:
        """Take the next line out of the ring; False when none is complete."""
        while self._ring:
            byte = self._ring.pop(0)
            try:
                line = self._reader.push(byte)
            except GrblError as error:
                self.say(f"error:{error.number}")
                continue
            if line is not None:
                self._lines += 1
                self.event(now_s, "rx", line=line, number=self._lines)
                self._running = self.program.execute(line, self._lines)
                return True
        return False

    def _finish(self, status: int) -> None:
        silent = self.program.silent
        self._running = self._waiting = None
        self.program.silent = False
        if not silent:
            self.say(f"error:{status}" if status else "ok")

    def next_event_s(self) -> float:
        """Physics time of the next thing that happens without the host."""
        times = [self.plant.due_s(), self.motion.next_end_s(), self.program.wake_s, self.cycle.wake_s]
        times += [time for time in (self._boot_s, self._reboot_s) if time is not None]
        return min(times)
