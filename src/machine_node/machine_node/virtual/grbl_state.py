"""The states of GRBL 1.1 and what hold, resume, door, jog cancel and sleep make of them."""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING

from machine_node.virtual import grbl_report as report

if TYPE_CHECKING:
    from machine_node.virtual.grbl_firmware import GrblFirmware

SPINDLE_RESTORE_S, COOLANT_RESTORE_S = 4.0, 1.0  # after a door has closed


class State(Enum):
    """As a status report names them."""

    IDLE = "Idle"
    RUN = "Run"
    HOLD = "Hold"
    JOG = "Jog"
    HOMING = "Home"
    ALARM = "Alarm"
    CHECK = "Check"
    DOOR = "Door"
    SLEEP = "Sleep"


BUSY = frozenset((State.RUN, State.HOLD, State.JOG, State.HOMING, State.DOOR))


class Cycle:
    """Whether the axes run, brake, rest or may not move.

    Attributes:
        braking: a hold is being carried out; the axes still move.
        locked: a critical alarm; nothing but a reset is heard.
    """

    def __init__(self, firmware: GrblFirmware) -> None:
        self._firmware = firmware
        self.state = State.IDLE
        self.braking = False
        self.locked = False
        self.wake_s = math.inf
        self._jog_cancelled = False
        self._motion_cancelled = False
        self._parked = False  # of a door: spindle and coolant are off

    def clear(self) -> None:
        """After a reset; the state itself stays."""
        self.braking = self._jog_cancelled = self._motion_cancelled = self._parked = self.locked = False
        self.wake_s = math.inf
        self._firmware.motion.release()

    @property
    def suspended(self) -> bool:
        """The main program waits."""
        return self.state in (State.HOLD, State.DOOR, State.SLEEP) or self._jog_cancelled

    @property
    def busy(self) -> bool:
        """Status reports give the slow fields less often."""
        return self.state in BUSY

    def text(self) -> str:
        """`Hold:0` = complete, `Hold:1` = the axes still brake; `Door:0` to `Door:3` as documented."""
        if self.state is State.HOLD:
            return f"Hold:{int(self.braking)}"
        if self.state is State.DOOR:
            return f"Door:{3 if self.wake_s < math.inf else 0 if self._parked else 2}"
        return str(self.state.value)

    # --- starting ---

    def auto_start(self, now_s: float) -> None:
        """What has been planned begins to move as soon as the main program has nothing else to do."""
        motion = self._firmware.motion
        if motion.empty or self.braking:
            return
        if self.state is State.IDLE:
            self.state = State.RUN
        if self.state in (State.RUN, State.JOG, State.HOMING):
            self._firmware.plant.motors_on = True
            motion.start(now_s)

    def resume(self, now_s: float) -> None:
        """`~`: ignored while the axes still brake."""
        if self.state is State.DOOR and self._parked and self.wake_s == math.inf:
            delay = self._firmware.overrides.restore_delay_s(SPINDLE_RESTORE_S, COOLANT_RESTORE_S)
            self._firmware.overrides.restore()
            self.wake_s = now_s + delay
            self._restored(now_s)
        elif self.state is State.HOLD and not self.braking:
            self._firmware.overrides.restore_stopped_spindle()
            self._go_on(now_s)

    def _restored(self, now_s: float) -> None:
        if self.state is State.DOOR and now_s >= self.wake_s:
            self.wake_s, self._parked = math.inf, False
            self._go_on(now_s)

    def _go_on(self, now_s: float) -> None:
        motion = self._firmware.motion
        motion.release()
        self.state = State.IDLE
        self._firmware.event(now_s, "resume")
        self.auto_start(now_s)

    # --- stopping ---

    def hold(self, now_s: float) -> None:
        """`!`: brake along the path. A jog is cancelled."""
        if self.state in (State.ALARM, State.CHECK, State.SLEEP, State.HOLD, State.DOOR):
            return
        if self.state is State.JOG:
            self.cancel_jog(now_s)
            return
        self._brake(now_s)
        self.state = State.HOLD
        self._firmware.event(now_s, "hold")

    def _brake(self, now_s: float) -> None:
        motion = self._firmware.motion
        if self.state in (State.RUN, State.JOG) and motion.moving:
            motion.hold(now_s)
            self.braking = motion.moving

    def cancel_jog(self, now_s: float) -> None:
        """0x85: brake, forget what is planned, idle."""
        if self.state is State.JOG and not self._jog_cancelled:
            self._jog_cancelled = True
            self._brake(now_s)
            self._firmware.event(now_s, "jog_cancel")
            self.follow(now_s)

    def cancel_motion(self, now_s: float) -> None:
        """A probe has touched: brake and forget the rest of the move."""
        if self.state is State.RUN:
            self._motion_cancelled = True
            self._brake(now_s)
            self.follow(now_s)

    def door(self, now_s: float) -> None:
        """0x84: brake, then spindle and coolant off. The door itself is closed again at once."""
        if self.state in (State.ALARM, State.CHECK, State.SLEEP):
            return
        self._firmware.say(report.CHECK_DOOR)
        self._firmware.event(now_s, "door")
        if self.state is State.JOG:
            self._jog_cancelled = True
        self.wake_s = math.inf
        self._brake(now_s)
        self.state = State.DOOR
        self._parked = False
        self.follow(now_s)

    def sleep(self, now_s: float) -> None:
        """`$SLP`: everything off until a reset."""
        self._firmware.say(report.SLEEPING)
        self.state = State.SLEEP
        self._firmware.plant.all_off()
        self._firmware.event(now_s, "sleep")

    def follow(self, now_s: float) -> None:
        """The axes have come to rest, or a delay is over."""
        motion = self._firmware.motion
        self._restored(now_s)
        if motion.moving or self.state is State.HOMING:
            return
        if self.braking or self._jog_cancelled or self._motion_cancelled:
            self._came_to_rest(now_s)
        if self.state is State.DOOR and not self._parked and self.wake_s == math.inf:
            self._parked = True
            self._firmware.overrides.park()
        if self.state in (State.RUN, State.JOG) and motion.empty:
            self.state = State.IDLE

    def _came_to_rest(self, now_s: float) -> None:
        self.braking = False
        forget = self._jog_cancelled or self._motion_cancelled
        if forget:
            motion = self._firmware.motion
            dropped = motion.flush(now_s)
            if self._jog_cancelled:
                self._firmware.note_dropped(now_s, "jog_cancel", dropped)
            self._firmware.program.synchronize_position(now_s)
            if self.state in (State.JOG, State.RUN):
                self.state = State.IDLE
            self._jog_cancelled = self._motion_cancelled = False
        self._firmware.event(now_s, "at_rest")
