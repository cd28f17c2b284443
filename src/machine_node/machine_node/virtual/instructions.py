"""One line of a program on its way through a virtual controller."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Instruction:
    """A motion command, from its receipt to the end of its last block.

    Attributes:
        number: how many lines the controller had taken when it took this one.
        line: the line number that came with it (N), or None.
        text: the command, without line number and checksum.
        received: the line as it came.
    """

    number: int
    line: int | None
    text: str
    received: str = ""
