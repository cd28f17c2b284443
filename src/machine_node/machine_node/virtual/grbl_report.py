"""The words of the virtual mill's controller, as GRBL 1.1's interface document gives them."""

from __future__ import annotations

from dataclasses import dataclass

from machine_node.virtual.grbl_motion import Point
from machine_node.virtual.grbl_parser import Frame, Modes
from machine_node.virtual.grbl_settings import COORDINATE_SYSTEMS, PLACES, Eeprom

VERSION = "1.1h.20190825"
OPTIONS = "VNM"  # variable spindle, line numbers, mist coolant
WELCOME = "Grbl 1.1h ['$' for help]"
HELP = "[HLP:$$ $# $G $I $N $x=val $Nx=line $J=line $SLP $C $X $H ~ ! ? ctrl-x]"
LOCKED, UNLOCKED = "[MSG:'$H'|'$X' to unlock]", "[MSG:Caution: Unlocked]"
RESET_TO_CONTINUE, PROGRAM_END, SLEEPING = "[MSG:Reset to continue]", "[MSG:Pgm End]", "[MSG:Sleeping]"
ENABLED, DISABLED, RESTORING = "[MSG:Enabled]", "[MSG:Disabled]", "[MSG:Restoring defaults]"
CHECK_DOOR, SPINDLE_RESTORE = "[MSG:Check Door]", "[MSG:Restoring spindle]"
WCO_BUSY, WCO_IDLE, OVERRIDE_BUSY, OVERRIDE_IDLE = 30, 10, 20, 10  # reports from one to the next


@dataclass(frozen=True, slots=True)
class Status:
    """What a status report says."""

    state: str
    machine_m: Point
    work_offset_m: Point
    free_blocks: int
    free_bytes: int
    line: int | None
    feed_m_s: float
    spindle_rpm: float
    pins: str
    overrides: tuple[int, int, int]
    accessories: str
    busy: bool


def triple(point_m: Point, inches: bool = False) -> str:
    """`1.000,2.000,-3.000` (mm), or inches with four decimals."""
    if inches:
        return ",".join(f"{value / 25.4e-3 + 0.0:.4f}" for value in point_m)
    return ",".join(f"{value * 1e3 + 0.0:.3f}" for value in point_m)


class StatusReport:
    """Writes status reports and remembers when offsets and overrides are due again."""

    def __init__(self) -> None:
        self._until_offset = 0
        self._until_overrides = 0

    def offsets_changed(self) -> None:
        """WCO comes with the next report."""
        self._until_offset = 0

    def overrides_changed(self) -> None:
        """Ov comes with the next report."""
        self._until_overrides = 0

    def line(self, status: Status, mask: int, inches: bool) -> str:
        """One report. `mask` is $10: 1 = machine position, 2 = buffers; `inches` is $13."""
        machine, offset = status.machine_m, status.work_offset_m
        if mask & 1:
            fields = [status.state, f"MPos:{triple(machine, inches)}"]
        else:
            work = (machine[0] - offset[0], machine[1] - offset[1], machine[2] - offset[2])
            fields = [status.state, f"WPos:{triple(work, inches)}"]
        if mask & 2:
            fields.append(f"Bf:{status.free_blocks},{status.free_bytes}")
        if status.line:
            fields.append(f"Ln:{status.line}")
        rate = status.feed_m_s * 60.0 / (25.4e-3 if inches else 1e-3)
        fields.append(f"FS:{rate:.0f},{status.spindle_rpm:.0f}")
        if status.pins:
            fields.append(f"Pn:{status.pins}")
        self._add_slow_fields(fields, status, inches)
        return "<" + "|".join(fields) + ">"

    def _add_slow_fields(self, fields: list[str], status: Status, inches: bool) -> None:
        if self._until_offset > 0:
            self._until_offset -= 1
        else:
            self._until_offset = (WCO_BUSY if status.busy else WCO_IDLE) - 1
            if self._until_overrides == 0:
                self._until_overrides = 1  # not both in one report
            fields.append(f"WCO:{triple(status.work_offset_m, inches)}")
        if self._until_overrides > 0:
            self._until_overrides -= 1
            return
        self._until_overrides = (OVERRIDE_BUSY if status.busy else OVERRIDE_IDLE) - 1
        fields.append("Ov:" + ",".join(str(value) for value in status.overrides))
        if status.accessories:
            fields.append(f"A:{status.accessories}")


def modes_line(modes: Modes, spindle_rpm: float, inches: bool) -> str:
    """`$G`"""
    words = [modes.motion, modes.coordinates, modes.plane, modes.units, modes.distance, modes.feed]
    if modes.flow:
        words.append(modes.flow)
    words.append(modes.spindle)
    coolant = [name for name, on in (("M7", modes.mist), ("M8", modes.flood)) if on]
    words += coolant or ["M9"]
    unit = 1.0 if modes.feed == "G93" else 25.4e-3 if inches else 1e-3
    words += [f"T{modes.tool}", f"F{modes.feed_m_s * 60.0 / unit:.{1 if inches else 0}f}", f"S{spindle_rpm:.0f}"]
    return f"[GC:{' '.join(words)}]"


def parameter_lines(eeprom: Eeprom, frame: Frame, probe_m: Point, probe_found: bool) -> list[str]:
    """`$#`"""
    inches = eeprom.flag(13)
    lines = [f"[{name}:{triple(eeprom.offsets_m[name], inches)}]" for name in COORDINATE_SYSTEMS]
    lines += [f"[{name}:{triple(eeprom.places_m[name], inches)}]" for name in PLACES]
    lines.append(f"[G92:{triple(frame.shift_m, inches)}]")
    length = frame.tool_length_m
    lines.append(f"[TLO:{length / 25.4e-3:.4f}]" if inches else f"[TLO:{length * 1e3:.3f}]")
    lines.append(probe_line(probe_m, probe_found, inches))
    return lines


def probe_line(probe_m: Point, found: bool, inches: bool) -> str:
    """`[PRB:0.000,0.000,-5.000:1]`"""
    return f"[PRB:{triple(probe_m, inches)}:{int(found)}]"


def build_lines(text: str, blocks: int, receive_bytes: int) -> list[str]:
    """`$I`"""
    return [f"[VER:{VERSION}:{text}]", f"[OPT:{OPTIONS},{blocks},{receive_bytes}]"]
