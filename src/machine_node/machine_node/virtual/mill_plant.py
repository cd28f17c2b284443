"""The virtual mill as a body: axes, stock, spindle, electricity. True parameters are drawn around the profile's."""

from __future__ import annotations

import math
import random

from industriverse_core.machine import MachineProfile
from industriverse_core.material import load_material
from machine_node.virtual.axes import Axes, AxisLimits, Point
from machine_node.virtual.spindle import Spindle
from machine_node.virtual.stock_field import StockField

STEP_S = 0.02
SPREAD = 0.05
SUPPLY_V = 24.0
STOCK_M = ((0.0, 0.0, -0.012), (0.1, 0.08, 0.0))  # where the profile has none: program coordinates
MATERIAL = "Al6061"
CUTTING_SPREAD = 0.2  # of the cutting energy: tool wear, alloy, chip thickness
TOUCH_M = 1e-7
IMBALANCE_M = 2e-7  # amplitude of the spindle's run-out at the sensor
TOOTH_M_S2_PER_W, SHAKE_M_S2_PER_W = 0.02, 0.004  # at the sensor, by cutting power; typical of a light machine
RUB_M_S2 = 0.3


class MillPlant:
    """One mill.

    Args:
        profile: the machine; true parameters are drawn around its values.
        seed: of the draw.
    """

    def __init__(self, profile: MachineProfile, seed: int) -> None:
        assert profile.spindle is not None
        self._random = random.Random(seed)
        axes = profile.kinematics.axes()
        limits = tuple(AxisLimits(axis.max_speed, axis.max_acceleration) for axis in axes)
        self.axes = Axes(limits, self._random)  # type: ignore[arg-type]
        spread = self._random.uniform
        cutting = load_material(MATERIAL).cutting_energy or 7e8
        self.spindle = Spindle(profile.spindle, cutting * spread(1 - CUTTING_SPREAD, 1 + CUTTING_SPREAD), self._random)
        tool = profile.tools[0] if profile.tools else None
        self.tool_m = tool.diameter if tool is not None else 3.175e-3
        self.flutes = tool.flutes if tool is not None else 2
        self.stock = self._blank(profile)
        power = profile.power
        self._electronics_w, self._motors_w = self._draw(power.electronics), self._draw(power.motors_enabled)
        self._motion_w_per_m_s, self._coolant_w = self._draw(power.motion_per_speed), self._draw(power.coolant)
        self._imbalance_m = IMBALANCE_M * spread(0.5, 1.5)
        self._rubbing = False
        self.flood = self.mist = self.motors_on = False
        self.supply = 1.0  # voltage over its nominal value
        self.energy_j = 0.0
        self.removed_m3 = 0.0
        self.happenings: list[str] = []  # since they were last taken
        self._time_s = math.nan
        # somewhere in the machine, as the last user left it
        self._tool_place: Point = tuple(-spread(0.2, 0.8) * (axis.maximum - axis.minimum) for axis in axes)  # type: ignore[assignment]
        self._tool_place = (self._tool_place[0], self._tool_place[1], -spread(0.05, 0.2) * 0.05)
        self.axes.offset_m[:] = self._tool_place

    def _draw(self, nominal: float) -> float:
        return nominal * self._random.uniform(1.0 - SPREAD, 1.0 + SPREAD)

    @staticmethod
    def _blank(profile: MachineProfile) -> StockField:
        """Machine zero is the upper corner of the profile's travel; its stock is in program coordinates."""
        low, high = STOCK_M if profile.stock is None else profile.stock.bounds_m()
        top = [axis.maximum for axis in profile.kinematics.axes()]
        floor, roof = (tuple(value - most for value, most in zip(corner, top, strict=True)) for corner in (low, high))
        return StockField(floor, roof)  # type: ignore[arg-type]

    def all_off(self) -> None:
        """Spindle and coolant."""
        self.spindle.set_target(0.0)
        self.flood = self.mist = False

    def probe_touches(self, tool_m: Point) -> bool:
        """The tool's tip is electrically connected with the stock or the table below it."""
        return tool_m[2] <= self.stock.surface_m(tool_m[0], tool_m[1]) + TOUCH_M

    def shake_m_s2(self) -> float:
        """Broad-band acceleration beyond that of motion: chips, and a broken tool that rubs."""
        return SHAKE_M_S2_PER_W * self.spindle.load_w + (RUB_M_S2 if self._rubbing else 0.0)

    def tones(self) -> list[tuple[float, float]]:
        """(frequency [Hz], amplitude [m/s^2]): once a turn by imbalance, once a tooth by cutting."""
        turns_hz = abs(self.spindle.rpm) / 60.0
        if turns_hz < 1.0:
            return []
        imbalance = self._imbalance_m * (2.0 * math.pi * turns_hz) ** 2
        return [(turns_hz, imbalance), (self.flutes * turns_hz, TOOTH_M_S2_PER_W * self.spindle.load_w)]

    @property
    def supply_v(self) -> float:
        """Voltage of the supply."""
        return SUPPLY_V * self.supply

    @property
    def time_s(self) -> float:
        """The time to which it was integrated; NaN before the first step."""
        return self._time_s

    def due_s(self) -> float:
        """When the next step is due; NaN before the first."""
        return self._time_s + STEP_S

    def step_to(self, at_s: float, tool_m: Point, speed_m_s: float) -> None:
        """Integrate to this time, at most one step after the last. `tool_m` is where the tool is then."""
        if math.isnan(self._time_s):
            self._time_s, self._tool_place = at_s, tool_m
            return
        dt = at_s - self._time_s
        removed = 0.0
        moved = tool_m != self._tool_place
        if moved and not self.spindle.tool_broken:
            removed = self.stock.cut(self._tool_place, tool_m, 0.5 * self.tool_m)
        self._rubbing = moved and self.spindle.tool_broken and self.probe_touches(tool_m)
        self.removed_m3 += removed
        happened = self.spindle.step(dt, removed, self.supply)
        if happened is not None:
            self.happenings.append(happened)
        self.energy_j += self.power_w(speed_m_s) * dt
        self._time_s, self._tool_place = at_s, tool_m

    def power_w(self, speed_m_s: float) -> float:
        """Electric power now, at this path speed [W]."""
        power = self._electronics_w + self.spindle.power_w() + self._motion_w_per_m_s * speed_m_s
        power += self._coolant_w * (self.flood or self.mist)
        return power + (self._motors_w if self.motors_on else 0.0)

    def take_happenings(self) -> list[str]:
        """What the spindle and its tool did since the last call."""
        happened, self.happenings = self.happenings, []
        return happened
