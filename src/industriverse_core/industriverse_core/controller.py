"""What the meaning of a G-code text depends on besides the text: what its controller has stored, and whose it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from industriverse_core.telemetry import Vector

WORK_SYSTEMS = ("G54", "G55", "G56", "G57", "G58", "G59", "G59.1", "G59.2", "G59.3")
UNKNOWN: Vector = (math.nan, math.nan, math.nan)
Firmware = Literal["prusa", "marlin_2"]


@dataclass(frozen=True, slots=True)
class Controller:
    """One controller, as it is before a program starts. Positions in its own machine coordinates [m]; NaN = not known.

    Attributes:
        systems_m: origins of the work coordinate systems (G54 to G59.3); one that is not named is not known.
        g28_m, g30_m: the positions that G28 and G30 go to.
        tool_lengths_m: length offsets by tool number, as in the controller's tool table; one not named is not known.
        firmware: where printers' firmwares differ, the one that reads the text (docs/bytecode.md, M204).
    """

    systems_m: Mapping[str, Vector] = field(default_factory=dict)
    g28_m: Vector = UNKNOWN
    g30_m: Vector = UNKNOWN
    firmware: Firmware = "prusa"
    tool_lengths_m: Mapping[int, float] = field(default_factory=dict)


NOTHING_KNOWN = Controller()
