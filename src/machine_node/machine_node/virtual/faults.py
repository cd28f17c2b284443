"""The faults of the virtual machines: what there is, what a request may say, and when each begins and ends.

No clock and no socket here: time is physics time [s] and always an argument.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

from industriverse_core.errors import ErrorCode, MachineError

PRINTER, MILL = "printer", "mill"
BOTH = (PRINTER, MILL)
HEATERS = ("hotend", "bed")
AXES = ("x", "y", "z")
MOST_PENDING = 256
LONGEST_S = 1e7


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One fault.

    Attributes:
        name: as in requests.
        description: what happens, with the meaning and unit of the value.
        machines: kinds of machine that have it.
        value, lowest, highest: of the request's value; all 0 = it has none.
        targets: what it can be of; the first is the default; empty = there is one only.
        momentary: it happens once and needs no end.
    """

    name: str
    description: str
    machines: tuple[str, ...] = BOTH
    value: float = 0.0
    lowest: float = 0.0
    highest: float = 0.0
    targets: tuple[str, ...] = ()
    momentary: bool = False


_KINDS = (
    FaultKind("heater_stuck_on", "the heater's switch conducts: full power whatever the controller asks",
              (PRINTER,), targets=HEATERS),
    FaultKind("heater_stuck_off", "the heater gets no current", (PRINTER,), targets=HEATERS),
    FaultKind("thermistor_short", "the sensor reads above all limits", (PRINTER,), targets=HEATERS),
    FaultKind("thermistor_open", "the sensor reads -15 degC", (PRINTER,), targets=HEATERS),
    FaultKind("thermistor_drift", "the reading wanders off; value = K/s", (PRINTER,), 0.1, -10.0, 10.0, HEATERS),
    FaultKind("clog", "the nozzle is clogged; value = share of the flow that still passes", (PRINTER,), 0.0, 0.0, 1.0),
    FaultKind("runout", "no filament is left", (PRINTER,)),
    FaultKind("part_detached", "the part comes off the bed and is dragged about", (PRINTER,)),
    FaultKind("belt_slip", "a belt jumps teeth; value = mm", BOTH, 2.0, -50.0, 50.0, AXES, momentary=True),
    FaultKind("lost_steps", "the motors are weak; value = share of their force that is left", BOTH, 0.1, 0.0, 1.0),
    FaultKind("power_sag", "the supply sags; value = share of its voltage; below 0.4 the controller dies until it "
              "is back", BOTH, 0.7, 0.0, 1.0),
    FaultKind("garbled_bytes", "bits flip on the serial line, both ways; value = share of bytes", BOTH, 4e-4, 0.0, 1.0),
    FaultKind("lost_bytes", "bytes get lost on the serial line, both ways; value = share", BOTH, 1e-3, 0.0, 1.0),
    FaultKind("cable_pull", "the serial port goes away; value = seconds of the wall clock", BOTH, 2.0, 0.05, 3600.0,
              momentary=True),
    FaultKind("controller_reset", "the board restarts by itself", momentary=True),
    FaultKind("frozen", "the controller's program hangs: it takes and says nothing; planned motion runs out, heaters "
              "keep their power"),
    FaultKind("tool_break", "the tool breaks; off = a new one", (MILL,)),
    FaultKind("spindle_stall", "the spindle cannot turn", (MILL,)),
)  # fmt: skip
FAULTS = {kind.name: kind for kind in _KINDS}


@dataclass(frozen=True, slots=True)
class FaultRequest:
    """What somebody asks for; times in physics seconds, `for_s` 0 = until it is switched off."""

    fault: str
    on: bool = True
    after_s: float = 0.0
    for_s: float = 0.0
    value: float | None = None
    target: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """A fault that begins or ends at a time."""

    at_s: float
    number: int
    fault: str
    on: bool
    value: float
    target: str


def faults_of(machine: str) -> list[FaultKind]:
    """The faults of a printer or a mill."""
    return [kind for kind in _KINDS if machine in kind.machines]


class FaultSchedule:
    """Which faults are active, begin and end.

    Args:
        machine: "printer" or "mill".
    """

    def __init__(self, machine: str) -> None:
        self._machine = machine
        self._pending: list[Change] = []
        self._number = 0
        self.active: dict[tuple[str, str], float] = {}  # (name, target) -> value

    def request(self, request: FaultRequest, now_s: float) -> None:
        """Take a request. Raises MachineError (BAD_PARAMETER)."""
        kind, value, target = self._checked(request)
        at = now_s + request.after_s
        if len(self._pending) + 2 > MOST_PENDING:
            raise _refusal(f"{len(self._pending)} faults are waiting already; at most {MOST_PENDING} may.", "Wait.")
        self._add(at, kind.name, request.on, value, target)
        if request.on and request.for_s > 0.0 and not kind.momentary:
            self._add(at + request.for_s, kind.name, False, value, target)

    def _add(self, at_s: float, name: str, on: bool, value: float, target: str) -> None:
        self._number += 1
        heapq.heappush(self._pending, Change(at_s, self._number, name, on, value, target))

    def _checked(self, request: FaultRequest) -> tuple[FaultKind, float, str]:
        kind = FAULTS.get(request.fault)
        names = ", ".join(kind.name for kind in faults_of(self._machine))
        if kind is None or self._machine not in kind.machines:
            raise _refusal(f"a virtual {self._machine} has no fault '{request.fault[:60]}'.", f"It has: {names}.")
        for name, seconds in (("after_s", request.after_s), ("for_s", request.for_s)):
            if not 0.0 <= seconds <= LONGEST_S:
                raise _refusal(f"{name} is {seconds:g}; 0 to {LONGEST_S:g} s are allowed.", "Change it.")
        value = kind.value if request.value is None else request.value
        if not kind.lowest <= value <= kind.highest:
            seen = f"{kind.name} has the value {value:g}; {kind.lowest:g} to {kind.highest:g} are allowed."
            raise _refusal(seen, "Change or leave out the value.")
        target = request.target or (kind.targets[0] if kind.targets else "")
        if target and target not in kind.targets:
            allowed = ", ".join(kind.targets) or "none"
            raise _refusal(f"{kind.name} has no target '{target[:20]}'.", f"Targets: {allowed}.")
        return kind, value, target

    def take_due(self, now_s: float) -> list[Change]:
        """The changes that are due, in order; `active` is as after them."""
        due = []
        while self._pending and self._pending[0].at_s <= now_s:
            change = heapq.heappop(self._pending)
            key = change.fault, change.target
            if not change.on:
                if self.active.pop(key, None) is None:
                    continue  # it is not on
            elif not FAULTS[change.fault].momentary:
                self.active[key] = change.value
            due.append(change)
        return due

    def next_s(self) -> float:
        """When the next change is due."""
        return self._pending[0].at_s if self._pending else math.inf


def _refusal(seen: str, remedy: str) -> MachineError:
    return MachineError(ErrorCode.BAD_PARAMETER, seen, remedy)
