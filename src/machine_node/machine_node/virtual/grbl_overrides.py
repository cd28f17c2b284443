"""Live overrides of GRBL 1.1: feed, rapid and spindle speed, spindle stop, coolant toggles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from machine_node.virtual import grbl_report as report
from machine_node.virtual.grbl_state import State

if TYPE_CHECKING:
    from machine_node.virtual.grbl_firmware import GrblFirmware

LOWEST, HIGHEST = 10, 200  # percent
FEED = {0x91: 10, 0x92: -10, 0x93: 1, 0x94: -1}
SPINDLE = {0x9A: 10, 0x9B: -10, 0x9C: 1, 0x9D: -1}
RAPID = {0x95: 100, 0x96: 50, 0x97: 25}
FEED_RESET, SPINDLE_RESET, SPINDLE_STOP, FLOOD, MIST = 0x90, 0x99, 0x9E, 0xA0, 0xA1
CLOCKWISE, COUNTERCLOCKWISE = "M3", "M4"


class Overrides:
    """Percentages, and what spindle and coolant do."""

    def __init__(self, firmware: GrblFirmware) -> None:
        self._firmware = firmware
        self.feed, self.rapid, self.spindle = 100, 100, 100
        self._stopped = False  # by 0x9E, in a hold

    def reset(self) -> None:
        """After a reset and at the program's end."""
        self.feed, self.rapid, self.spindle = 100, 100, 100
        self._stopped = False
        self._firmware.motion.feed_override = self._firmware.motion.rapid_override = 1.0
        self._firmware.reports.overrides_changed()

    def percent(self) -> tuple[int, int, int]:
        """Feed, rapid, spindle."""
        return self.feed, self.rapid, self.spindle

    def character(self, byte: int, now_s: float) -> None:
        """A real-time character from 0x90; unknown ones are dropped."""
        before = self.percent()
        if byte == FEED_RESET or byte in FEED:
            self.feed = 100 if byte == FEED_RESET else _clip(self.feed + FEED[byte])
        elif byte in RAPID:
            self.rapid = RAPID[byte]
        elif byte == SPINDLE_RESET or byte in SPINDLE:
            self.spindle = 100 if byte == SPINDLE_RESET else _clip(self.spindle + SPINDLE[byte])
        elif byte == SPINDLE_STOP:
            self._toggle_spindle()
        elif byte in (FLOOD, MIST):
            self._toggle_coolant(byte)
        if self.percent() != before:
            motion = self._firmware.motion
            motion.feed_override, motion.rapid_override = self.feed / 100.0, self.rapid / 100.0
            motion.replan(now_s)
            self.apply_spindle()
            self._firmware.reports.overrides_changed()
            self._firmware.event(now_s, "override", percent=list(self.percent()))

    # --- spindle ---

    def commanded_rpm(self) -> float:
        """Speed that the spindle's output asks for; 0 = off."""
        return abs(self._firmware.plant.spindle.target_rpm)

    def apply_spindle(self) -> None:
        """Modes and override to the output, within $31 and $30."""
        modes, eeprom = self._firmware.program.modes, self._firmware.eeprom
        on = modes.spindle in (CLOCKWISE, COUNTERCLOCKWISE) and not self._stopped
        if self._firmware.cycle.state is State.CHECK:
            return
        rpm = modes.spindle_rpm * self.spindle / 100.0
        rpm = min(eeprom.values[30], max(eeprom.values[31], rpm)) if on and rpm > 0.0 else 0.0
        self._firmware.plant.spindle.set_target(-rpm if modes.spindle == COUNTERCLOCKWISE else rpm)

    def _toggle_spindle(self) -> None:
        """0x9E acts in a hold only."""
        if self._firmware.cycle.state is not State.HOLD or self._firmware.program.modes.spindle == "M5":
            return
        if self._stopped:
            self.restore_stopped_spindle()
        else:
            self._stopped = True
            self.apply_spindle()
        self._firmware.reports.overrides_changed()

    def restore_stopped_spindle(self) -> None:
        """When a hold ends, or by the second 0x9E."""
        if self._stopped:
            self._stopped = False
            self._firmware.say(report.SPINDLE_RESTORE)
            self.apply_spindle()

    def accessories(self) -> str:
        """The report's A field: S or C spindle, F flood, M mist."""
        plant = self._firmware.plant
        rpm = plant.spindle.target_rpm
        return ("S" if rpm > 0.0 else "C" if rpm < 0.0 else "") + ("F" if plant.flood else "") + "M" * plant.mist

    # --- coolant and doors ---

    def apply_coolant(self) -> None:
        """Modes to the outputs."""
        if self._firmware.cycle.state is not State.CHECK:
            modes, plant = self._firmware.program.modes, self._firmware.plant
            plant.flood, plant.mist = modes.flood, modes.mist

    def _toggle_coolant(self, byte: int) -> None:
        if self._firmware.cycle.state in (State.IDLE, State.RUN, State.HOLD):
            self._firmware.program.toggle_coolant("flood" if byte == FLOOD else "mist")
            self.apply_coolant()
            self._firmware.reports.overrides_changed()

    def park(self) -> None:
        """The door is open: spindle and coolant off; the modes stay."""
        self._firmware.plant.all_off()

    def restore(self) -> None:
        """The door is closed and `~` has come."""
        self.apply_spindle()
        self.apply_coolant()

    def restore_delay_s(self, spindle_s: float, coolant_s: float) -> float:
        """What the controller waits for before it goes on."""
        modes = self._firmware.program.modes
        return (spindle_s if modes.spindle != "M5" else 0.0) + (coolant_s if modes.flood or modes.mist else 0.0)


def _clip(percent: int) -> int:
    return min(HIGHEST, max(LOWEST, percent))
