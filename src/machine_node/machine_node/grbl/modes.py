"""Whether a GRBL controller is in the modes that it was sent: what no position shows. Pure; time is an argument.

GRBL has no checksums: a garbled `S8000` can be another valid speed. `$G` is answered in its turn among the lines with
the modes that are in force after the line before it, so they are compared with what was sent until then: spindle and
its speed, coolant, the last feed, plane, units, distances, work system. What this cannot see: a wrong feed that the
next line has replaced, the length of a dwell, and what happens between two questions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from industriverse_core.errors import ErrorCode, MachineError

QUESTION = "$G"
PERIOD_S = 0.5  # steady, while lines are on their way; 3 bytes there, about 55 back
MOST_DOUBTS = 2  # in a row, because the answer may be what is garbled
ROUNDING = 0.51  # GRBL tells feeds and speeds without decimals
GROUPS = {
    **dict.fromkeys(("G17", "G18", "G19"), "plane"), **dict.fromkeys(("G20", "G21"), "units"),
    **dict.fromkeys(("G90", "G91"), "distances"), **dict.fromkeys(("G93", "G94"), "feed mode"),
    **dict.fromkeys((f"G{number}" for number in range(54, 60)), "work system"),
    **dict.fromkeys(("M3", "M4", "M5"), "spindle"), **dict.fromkeys(("M7", "M8", "M9"), "coolant"),
}  # fmt: skip
NUMBERS = {"F": "feed", "S": "spindle speed"}
RESETTING = ("M2", "M30")  # the program's end sets modes of its own

_WORD = re.compile(r"([A-Z])([-+]?[\d.]+)")


class ModesWitness:
    """Of one connection."""

    def __init__(self) -> None:
        self._sent: dict[str, frozenset[str] | float] = {}  # modes by group, after all lines so far
        self._wanted: dict[str, frozenset[str] | float] | None = None  # when the question was asked
        self._answered = True
        self._asked_s = math.nan  # the first lines begin the first period
        self._again = False
        self.doubts = 0

    def forget(self) -> None:
        """The controller has restarted, or a program has ended: its modes are its own."""
        self._sent, self._wanted, self._answered, self._again, self.doubts = {}, None, True, False, 0

    def wants(self, now: float, period_s: float) -> bool:
        """The question should be sent now."""
        if math.isnan(self._asked_s):
            self._asked_s = now
        return bool(self._sent) and self._wanted is None and (self._again or now - self._asked_s >= period_s)

    def on_asked(self, now: float) -> None:
        """`QUESTION` was written."""
        self._wanted, self._answered, self._asked_s, self._again = dict(self._sent), False, now, False

    def on_sent(self, command: str) -> None:
        """A line was written."""
        if command.startswith("$"):
            return
        _merge(self._sent, _WORD.findall(command))
        if command in RESETTING:
            self._sent = {}

    def on_told(self, words: Iterable[str]) -> None:
        """The controller's answer."""
        if self._wanted is None:
            return
        told: dict[str, frozenset[str] | float] = {}
        _merge(told, [(word[:1], word[1:]) for word in words if _WORD.fullmatch(word)])
        self._answered = all(_same(value, told.get(group)) for group, value in self._wanted.items())

    def on_end(self) -> MachineError | None:
        """The question's line has its `ok`: what is wrong by the second doubt in a row, or None."""
        if self._wanted is None:
            return None
        self._wanted = None
        self.doubts = 0 if self._answered else self.doubts + 1
        self._again = 0 < self.doubts < MOST_DOUBTS
        if self.doubts < MOST_DOUBTS:
            return None
        return MachineError(
            ErrorCode.PROTOCOL,
            "the controller is not in the modes that it was sent (feed, spindle, coolant, plane, units, work system).",
            "Check the cable, then start the job again.",
        )


def _merge(modes: dict[str, frozenset[str] | float], words: Iterable[tuple[str, str]]) -> None:
    """The modes after these words; what is no mode, and no number, is left out."""
    coolant: set[str] = set()
    for letter, text in words:
        try:
            number = float(text)
        except ValueError:
            continue
        name = f"{letter}{number:g}"
        if letter in NUMBERS:
            modes[NUMBERS[letter]] = number
        elif GROUPS.get(name) == "coolant":
            before = modes.get("coolant") if not coolant else frozenset(coolant)
            coolant = {name} if name == "M9" or not isinstance(before, frozenset) else {*before, name} - {"M9"}
            modes["coolant"] = frozenset(coolant)
        elif name in GROUPS:
            modes[GROUPS[name]] = frozenset((name,))


def _same(sent: frozenset[str] | float, told: frozenset[str] | float | None) -> bool:
    if isinstance(sent, float) and isinstance(told, float):
        return abs(sent - told) <= ROUNDING
    return sent == told
