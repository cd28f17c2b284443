"""The virtual mill's spindle and its tool: speed, load by what is cut, slowdown, stall, a tool that breaks.

Electric power by specific cutting energy, P = P0 + k v (Gutowski, Dahmus, Thiriez 2006), with a k of its own drawn
around the material's. The speed falls in proportion to the load, as a universal motor's does; a load above what the
motor can give stalls it.
"""

from __future__ import annotations

import random

from industriverse_core.machine import Spindle as SpindleProfile
from industriverse_core.units import RPM

RUN_UP_RPM_S = 4000.0
DROOP = 0.12  # share of the speed lost at full load
STALL_S = 0.3  # overload for so long stalls it
CUTTING_SHARE = 0.15  # of the highest speed: slower than that the tool rubs and breaks
RUBBED_M3 = 2e-9  # what a tool that does not turn may push away before it breaks
LOCKED_SHARE = 1.3  # of the highest power that a stalled motor draws


class Spindle:
    """One spindle with one tool.

    Args:
        profile: nominal values.
        cutting_j_m3: the material's specific cutting energy, the machine's true one.
        draw: the source of unknown parameters.
    """

    def __init__(self, profile: SpindleProfile, cutting_j_m3: float, draw: random.Random) -> None:
        self._top_rpm = profile.max_speed / RPM
        self._idle_w = profile.idle_power * draw.uniform(0.9, 1.1)
        self._limit_w = (profile.max_power or 8.0 * profile.idle_power) * draw.uniform(0.95, 1.05)
        self._cutting_j_m3 = cutting_j_m3
        self.target_rpm = 0.0  # negative = counterclockwise
        self.rpm = 0.0
        self.load_w = 0.0
        self.stalled = False
        self.tool_broken = False
        self.jammed = False  # a fault: it cannot turn
        self._overload_s = 0.0
        self._rubbed_m3 = 0.0

    def set_target(self, rpm: float) -> None:
        """Switch it; off and on again clears a stall."""
        if rpm == 0.0:
            self.stalled = False
        self.target_rpm = rpm

    def step(self, dt_s: float, removed_m3: float, supply: float) -> str | None:
        """Go on by dt. `removed_m3` was swept by the tool; `supply` is the voltage over its nominal value.

        Returns what happened: "stalled", "tool broken", or None.
        """
        self.load_w = 0.0 if self.tool_broken else self._cutting_j_m3 * removed_m3 / dt_s
        happened = self._cut(dt_s, removed_m3, supply)
        turning = not (self.stalled or self.jammed)
        wanted = self.target_rpm * min(1.0, supply) if turning else 0.0
        wanted *= 1.0 - DROOP * min(1.0, self.load_w / self._limit_w)
        change = RUN_UP_RPM_S * dt_s * (1.0 if turning else 5.0)
        self.rpm += min(change, max(-change, wanted - self.rpm))
        return happened

    def _cut(self, dt_s: float, removed_m3: float, supply: float) -> str | None:
        if removed_m3 <= 0.0 or self.tool_broken:
            self._overload_s = 0.0
            return None
        if abs(self.rpm) < CUTTING_SHARE * self._top_rpm:
            self._rubbed_m3 += removed_m3
            if self._rubbed_m3 > RUBBED_M3:
                self.tool_broken = True
                return "tool broken"
            return None
        self._rubbed_m3 = 0.0
        # the motor gives power in proportion to its speed and to the square of the voltage
        limit = self._limit_w * abs(self.rpm) / self._top_rpm * supply * supply
        self._overload_s = self._overload_s + dt_s if self.load_w > limit else 0.0
        if self._overload_s > STALL_S and not self.stalled:
            self.stalled = True
            return "stalled"
        return None

    def power_w(self) -> float:
        """Electric power now."""
        if self.target_rpm == 0.0:
            return 0.0
        if self.stalled or self.jammed:
            return LOCKED_SHARE * self._limit_w
        return self._idle_w * abs(self.rpm) / self._top_rpm + self.load_w

    def change_tool(self) -> None:
        """A new tool, nothing stalled."""
        self.tool_broken = self.stalled = False
        self._rubbed_m3 = 0.0
