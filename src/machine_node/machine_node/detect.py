"""What speaks at the other end of a serial line, by listening and by questions that move and heat nothing. No I/O.

    detector = Detector(now)
    while (verdict := detector.verdict(now)) is None:
        port.write(detector.due(now))
        detector.receive(port.read(), now)

First it listens: opening the port resets most boards, and they greet (Marlin `start`, GRBL `Grbl 1.1h ['$' for
help]`). Then it asks: a lone `*` (which spoils half a line that another program may have left, so that it is refused
and not carried out), M115 for the Marlin family, `$I` and `?` for GRBL. Each family refuses the other's questions.

Sources: Marlin's documentation of M115 and HOST_KEEPALIVE; GRBL's interface document (welcome message, `$I`, `?`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

LISTEN_S = 2.5  # a bootloader and the beginning of the firmware
LISTEN_AGAIN_S = 0.3  # at another baud rate of a port that stays open: the board has booted
ANSWER_S = 1.5
BOOT_S = 10.0  # from Marlin's `start` to the first command that it takes: it looks for its card and its display
KEPT_BYTES = 4096
SHOWN_CHARACTERS = 60
GARBLED_BYTES = 8  # so many are enough to judge
GARBLED_SHARE = 0.2  # of bytes that no text has

QUESTIONS = ((0.0, b"*\n"), (0.3, b"M115\n"), (0.5, b"$I\n"), (0.7, b"?\n"))  # Marlin forgets what follows the `*`


class Family(StrEnum):
    """What kind of controller it is."""

    MARLIN = "marlin"
    GRBL = "grbl"
    OTHER = "other"  # it speaks, and is neither
    GARBLED = "garbled"  # it speaks at another baud rate
    SILENT = "silent"


KNOWN = (Family.MARLIN, Family.GRBL)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found.

    Attributes:
        family: see Family.
        firmware: as it calls itself; "" = it did not say.
        said: its first line, cut, for people.
    """

    family: Family
    firmware: str = ""
    said: str = ""


_FIRMWARE = re.compile(r"FIRMWARE_NAME:\s*(.{1,120}?)(?=\s+[A-Z_]{4,}:|$)")
_GRBL = re.compile(r"(Grbl(?:HAL)?\s+\S{1,20}.{0,40}?)\s*\[", re.IGNORECASE)
_GRBL_VERSION = re.compile(r"\[VER:\s*([^\]:]{1,60})")
_GRBL_SIGNS = re.compile(
    r"<(?:Idle|Run|Hold|Jog|Alarm|Door|Check|Home|Sleep)\b[^>]*>?$|error:\d{1,3}$|ALARM:\d{1,2}$|\[OPT:|\[MSG:"
)
_MARLIN_SIGNS = re.compile(
    r"start$|echo:\s?Marlin|Marlin \d|echo:busy:|ok T:|T:-?\d+(\.\d+)?\s*/|Resend:"
    r"|Error:(Printer halted|checksum mismatch|No Line Number)"
)
_TEXT = frozenset(range(32, 127)) | {9, 10, 13}


class Detector:
    """One attempt at one baud rate.

    Args:
        now: steady time [s].
        listen_s: how long to listen before asking.
    """

    def __init__(self, now: float, listen_s: float = LISTEN_S) -> None:
        self._ask_from = now + listen_s
        self._asked = 0
        self._partial = b""
        self._bytes = self._strange = 0
        self._said = ""
        self._hint: Family | None = None
        self._hinted_s = now
        self._firmware = ""
        self._other = ""

    def due(self, now: float) -> bytes:
        """The questions to write now; b"" = none. None is asked where something is heard that is no text."""
        if self._garbled or self._firmware or self._other:
            return b""
        out = b""
        while self._asked < len(QUESTIONS) and now >= self._ask_from + QUESTIONS[self._asked][0]:
            out += QUESTIONS[self._asked][1]
            self._asked += 1
        return out

    def receive(self, data: bytes, now: float) -> None:
        """What has arrived."""
        self._bytes += len(data)
        self._strange += sum(byte not in _TEXT for byte in data)
        *lines, rest = (self._partial + data).split(b"\n")
        self._partial = rest[-KEPT_BYTES:]
        for raw in lines:
            text = raw[-KEPT_BYTES:].decode("ascii", "replace").strip()
            if text:
                self._read(text, now)

    def _read(self, text: str, now: float) -> None:
        self._said = self._said or text[:SHOWN_CHARACTERS]
        if (match := _FIRMWARE.search(text)) is not None:
            name = match[1].strip()
            if "marlin" in name.lower() or name.lower().startswith("prusa-firmware"):
                self._firmware, self._hint = name, Family.MARLIN
            else:
                self._other = name
        elif (match := _GRBL.match(text)) is not None:
            self._firmware, self._hint = match[1], Family.GRBL
        elif (match := _GRBL_VERSION.match(text)) is not None:
            self._firmware, self._hint = f"Grbl {match[1].strip()}", Family.GRBL
        elif self._hint is None and _GRBL_SIGNS.match(text) is not None:
            self._hint, self._hinted_s = Family.GRBL, now
        elif self._hint is None and _MARLIN_SIGNS.match(text) is not None:
            self._hint, self._hinted_s = Family.MARLIN, now
            self._ask_from = min(self._ask_from, now)  # it has booted as far as it says so: no need to listen on

    @property
    def _garbled(self) -> bool:
        return self._bytes >= GARBLED_BYTES and self._strange > GARBLED_SHARE * self._bytes

    def verdict(self, now: float) -> Verdict | None:
        """What it is, or None while that is not known and time is left."""
        if self._firmware and self._hint is not None:
            return Verdict(self._hint, self._firmware, self._said)
        if self._other:
            return Verdict(Family.OTHER, self._other, self._said)
        if self._garbled:
            return Verdict(Family.GARBLED)
        wait_s = (
            ANSWER_S if self._hint is not Family.MARLIN else max(ANSWER_S, self._hinted_s + BOOT_S - self._ask_from)
        )
        if self._asked < len(QUESTIONS) or now < self._ask_from + wait_s:
            return None
        if self._hint is not None:
            return Verdict(self._hint, "", self._said)
        if self._said:
            return Verdict(Family.OTHER, "", self._said)
        return Verdict(Family.SILENT if self._bytes == 0 else Family.GARBLED)
