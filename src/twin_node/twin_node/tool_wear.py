"""Tool wear by Taylor's V_c T^n = C: how long each tool cuts at which speed, and what that costs.

A feed move with the spindle turning is in the cut when it removes material. Where that is not known, it is in the cut
when it begins or ends below the top of the stock; what moves through air below the top then counts too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.machine import MachineProfile, Tool
from industriverse_core.program import Op, Program

MINUTE_S = 60.0
_STARTS = (Op.START_SPINDLE_CLOCKWISE, Op.START_SPINDLE_COUNTERCLOCKWISE)


@dataclass(frozen=True, slots=True)
class ToolUse:
    """How long one tool cuts at one speed; `tool` is None where the profile's table has no such tool."""

    number: int
    tool: Tool | None
    cut_s: float
    cutting_speed_m_s: float  # 0 where the tool is not known

    @property
    def life_s(self) -> float:
        """Taylor's tool life T = (C / V_c)^(1/n) minutes, in seconds; infinite for a tool that does not turn."""
        if self.tool is None or self.cutting_speed_m_s <= 0.0:
            return math.inf
        logarithm = math.log(self.tool.taylor_c / self.cutting_speed_m_s) / self.tool.taylor_n
        return MINUTE_S * math.exp(min(logarithm, 700.0))

    @property
    def cost(self) -> float:
        """The share of the tool's life that is used, times its price.

        Raises PredictionError (CANNOT_PRICE) where the tool is spent faster than a thousand times in one run.
        """
        if self.tool is None or self.cut_s <= 0.0:
            return 0.0
        tools = self.cut_s / self.life_s if self.life_s > 0.0 else math.inf
        if not tools <= 1000.0:
            raise PredictionError(
                ErrorCode.CANNOT_PRICE,
                f"tool {self.number} cuts for {self.cut_s:.0f} s at {self.cutting_speed_m_s:.1f} m/s and would last "
                f"{self.life_s:.1g} s.",
                "Lower the spindle speed, or correct the tool's Taylor constants.",
            )
        return tools * self.tool.price


def tool_uses(
    program: Program, duration_s: np.ndarray, profile: MachineProfile, removed_m3: np.ndarray | None = None
) -> tuple[ToolUse, ...]:
    """Every tool and speed that cuts. `duration_s`: of the moves; `removed_m3`: by each, if known; shape (n,).

    Before the first tool change the tool is the first of the profile's table.
    """
    if profile.spindle is None or not len(program):
        return ()
    op, target, value = (program.columns[name] for name in ("op", "target", "value"))
    number = _held(op == Op.CHANGE_TOOL, target, profile.tools[0].number if profile.tools else 0)
    turns_or_stands = np.isin(op, (*_STARTS, Op.STOP_SPINDLE_TURNING, Op.ORIENT_SPINDLE))
    spindle = _held(turns_or_stands, np.where(np.isin(op, _STARTS), value, 0.0), 0.0)
    in_material = _below_the_top(program, profile) if removed_m3 is None else removed_m3 > 0.0
    feeding = np.isin(op, (Op.STRAIGHT_FEED, Op.ARC_FEED)) & (duration_s > 0.0)
    cutting = feeding & in_material & (np.abs(spindle) > 0.0)
    if not cutting.any():
        return ()
    kinds, which = np.unique(np.column_stack([number, np.abs(spindle)])[cutting], axis=0, return_inverse=True)
    seconds = np.bincount(which.ravel(), duration_s[cutting], len(kinds))
    uses = []
    for (tool_number, speed_rad_s), cut_s in zip(kinds, seconds, strict=True):
        tool = profile.tool(int(tool_number))
        speed = 0.5 * tool.diameter * float(speed_rad_s) if tool else 0.0
        uses.append(ToolUse(int(tool_number), tool, float(cut_s), speed))
    return tuple(uses)


def wear_cost(uses: Sequence[ToolUse]) -> float:
    """What the cutting edges cost. Raises as ToolUse.cost does."""
    return math.fsum(use.cost for use in uses)


def _below_the_top(program: Program, profile: MachineProfile) -> np.ndarray:
    top = profile.stock.bounds_m()[1][2] if profile.stock else 0.0  # a work origin lies on the stock's top
    return np.minimum(program.columns["z_m"], program.starts_m()[:, 2]) < top


def _held(changes: np.ndarray, value: np.ndarray, before: float) -> np.ndarray:
    """The value of the last change at or before each instruction; `before` before the first."""
    last = np.maximum.accumulate(np.where(changes, np.arange(len(value)), -1))
    return np.where(last >= 0, value[np.maximum(last, 0)], before)
