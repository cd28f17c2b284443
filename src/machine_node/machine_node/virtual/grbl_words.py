"""How GRBL reads: characters to a line without blanks and comments, a line to words of letter and number."""

from __future__ import annotations

import re
from collections.abc import Iterator

LINE_CHARACTERS = 79  # LINE_BUFFER_SIZE less the end mark
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)")

EXPECTED_LETTER, BAD_NUMBER, OVERFLOW = 1, 2, 11


class GrblError(Exception):
    """A line that is answered with `error:<number>`; the line has no effect.

    Attributes:
        number: as in GRBL 1.1's published list.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"error:{number}")
        self.number = number


class LineReader:
    """Characters to lines: no blanks, no comments, upper case, at most LINE_CHARACTERS."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._comment = ""
        self._overflow = False

    def push(self, byte: int) -> str | None:
        """One character. Returns the line that it ends, or None. Raises GrblError (11) at the end of a long line."""
        if byte in (10, 13):
            return self._end()
        character = chr(byte)
        if self._overflow:
            return None
        if self._comment:
            if character == ")" and self._comment == "(":
                self._comment = ""
        elif character in "(;":
            self._comment = character
        elif byte <= 32 or character == "/":
            pass
        elif len(self._text) >= LINE_CHARACTERS:
            self._overflow = True
        else:
            self._text.append(character.upper() if byte < 128 else character)
        return None

    def _end(self) -> str:
        text, overflow = "".join(self._text), self._overflow
        self._text.clear()
        self._comment, self._overflow = "", False
        if overflow:
            raise GrblError(OVERFLOW)
        return text


def read_number(text: str, at: int) -> tuple[float, int]:
    """(value, index behind it). Raises GrblError (2) where no number stands. There are no exponents."""
    match = _NUMBER.match(text, at)
    if match is None:
        raise GrblError(BAD_NUMBER)
    return float(match[0]), match.end()


def read_words(text: str) -> Iterator[tuple[str, float]]:
    """The words of a line. Raises GrblError (1, 2)."""
    at = 0
    while at < len(text):
        letter = text[at]
        if not "A" <= letter <= "Z":
            raise GrblError(EXPECTED_LETTER)
        value, at = read_number(text, at + 1)
        yield letter, value
