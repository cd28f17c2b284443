"""Has a Marlin taken each line as it was sent? While the line is bad it says each one again (M111 S1). Pure.

Two changes in one line can cancel in Marlin's XOR checksum (two equal bytes lost, for example): the controller then
carries out another command than the one that was sent, and says `ok`. The echo of debug level 1, which Marlin writes
before it carries a line out (GcodeSuite::process_next_command; Marlin 1.0 and later), is that line with its number and
checksum. It takes about twice the bytes of the answers, so it is on only from a line that was asked for again until
CLEAN_LINES in a row have been taken at the first time.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from machine_node.marlin.protocol import checksum

CLEAN_LINES = 1000
REMEMBERED = 256  # echoes that came before their ok; more than lines can be on their way
ON, OFF = "M111 S1", "M111 S0"

_UNNUMBERED = re.compile(r"(?:n\d+\s*)?[GMT]\d.*\*\d{1,3}$")  # a checksum at its end, and no number before it
_ECHOED = re.compile(r"N(\d{1,9})\s*[A-Z].*\*(\d{1,3})$", re.DOTALL)


class EchoCheck:
    """Of one connection.

    Attributes:
        compared, missed: lines whose echo arrived whole; lines that were taken without one while echoes were on.
    """

    def __init__(self) -> None:
        self.compared = self.missed = 0
        self._wanted = self._asked = OFF
        self._asked_line = 0
        self._on = False
        self._clean = 0
        self._whole: set[int] = set()  # lines whose echo arrived whole, and whose ok has not come

    def request(self) -> str:
        """The command that the controller should be sent now, or ""."""
        return "" if self._wanted == self._asked else self._wanted

    def on_requested(self, line: int) -> None:
        """`request` was written as this line."""
        self._asked, self._asked_line = self._wanted, line

    def on_spoilt(self) -> None:
        """The controller asks for a line again."""
        self._wanted, self._clean = ON, 0

    def on_sealed(self) -> None:
        """What was sent is not sent again: whether the last request arrives is not certain."""
        if self._asked_line:
            self._asked, self._asked_line = ON if self._on else OFF, 0

    def on_acknowledged(self, line: int) -> None:
        """The controller has taken this line; its echo came before that."""
        self.missed += self._on and line not in self._whole
        self._whole.discard(line)
        if line == self._asked_line:
            self._on, self._asked_line = self._asked == ON, 0
        self._clean += 1
        if self._clean >= CLEAN_LINES:
            self._wanted = OFF

    @staticmethod
    def unnumbered(echo: str) -> str:
        """What is wrong, in words, with the echo of a line that has lost its number; "" = nothing.

        A wrong byte can cut a line before its command. The rest has no number, and Marlin 2 carries out without a check
        what has none: it will be carried out twice, as the line is asked for again.
        """
        taken = _UNNUMBERED.match(echo) is not None
        return f"the controller has taken {echo[:60]!r} without its number." if taken else ""

    def judge(self, echo: str, sent: Callable[[int], bytes | None]) -> str:
        """What is wrong, in words, with an echo that arrived whole; "" = nothing.

        Args:
            echo: the text behind `echo:`.
            sent: the bytes of a line that may be repeated, by its number; None = not known.
        """
        match = _ECHOED.match(echo)
        if match is None or checksum(echo[: match.start(2) - 1].encode("ascii", "replace")) != int(match[2]):
            return ""  # no echo of a line, or spoilt on its way here
        wanted = sent(int(match[1]))
        if wanted is None:
            return ""
        self.compared += 1
        if len(self._whole) >= REMEMBERED:
            self._whole.clear()
        self._whole.add(int(match[1]))
        text = wanted.decode("ascii").strip()
        same = echo.replace(" ", "") == text.replace(" ", "")  # Marlin reads words without blanks, too
        return "" if same else f"the controller has taken {echo[:60]!r} instead of {text!r}."
