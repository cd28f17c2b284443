"""From where a mill's tool stands to where its program begins.

A program in bytecode begins at the work zero, but a mill's tool stands anywhere. Where it does not stand at the work
zero, the program's first motion must be a move up in Z alone. Then the tool goes up to the higher one of where it
stands and that move's end, across to the work zero, and down to that end. All of this is the tool's tip: where the
program puts a length offset in force before its first motion, the tip stands by that length below the reported place.
The gates have judged the program from the work zero on; this way to it may not enter a keep-out volume either.
"""

from __future__ import annotations

import math

import numpy as np

from industriverse_core.errors import ErrorCode, MachineError
from industriverse_core.machine import Box, MachineProfile
from industriverse_core.motion import plan_motion
from industriverse_core.program import Op, Program, build_program
from industriverse_core.telemetry import Vector
from machine_node.grbl.dialect import DIALECT
from machine_node.streaming.pieces import MOTION, PieceMaker
from machine_node.streaming.streamer import Approach

AT_ZERO_M = 5e-5
ORIGIN: Vector = (0.0, 0.0, 0.0)


def approach(program: Program, profile: MachineProfile, time_scale: float, position_m: Vector) -> Approach:
    """How this program begins with the tool at this work position.

    Raises MachineError (POSITION_MISMATCH) when it cannot begin there, or the way enters a keep-out volume.
    """
    moves = np.flatnonzero(np.isin(program.op, MOTION))
    if not len(moves):
        return Approach(position_m, None, position_m)
    first = int(moves[0])
    tool_m = _length_m(program, first)
    if math.dist(position_m, (0.0, 0.0, tool_m)) <= AT_ZERO_M:
        return Approach(position_m, None, (0.0, 0.0, tool_m))
    x_m, y_m, z_m = (float(program.columns[name][first]) for name in ("x_m", "y_m", "z_m"))
    if x_m != 0.0 or y_m != 0.0 or not z_m > 0.0 or program.op[first] == Op.ARC_FEED:
        where = ", ".join(f"{letter} {value * 1e3:.3f}" for letter, value in zip("XYZ", position_m, strict=True))
        raise MachineError(
            ErrorCode.POSITION_MISMATCH,
            f"the tool stands at {where} mm of the work, and the program's first motion (instruction {first}, line "
            f"{int(program.line[first])}) is no move up in Z.",
            "Move the tool to the work zero, or begin the program with a move up in Z.",
        )
    end_m = (0.0, 0.0, z_m + tool_m)
    high_m = max(position_m[2], end_m[2])
    legs = [(position_m[0], position_m[1], high_m), (0.0, 0.0, high_m), end_m]
    _check_keep_out(legs, profile, position_m, tool_m)
    return Approach(position_m, _way(legs, profile, time_scale, position_m), end_m)


def _length_m(program: Program, first: int) -> float:
    """The tool length offset that is in force at the first motion."""
    offsets = np.flatnonzero(program.op[:first] == Op.USE_TOOL_LENGTH_OFFSET)
    return float(program.value[offsets[-1]]) if len(offsets) else 0.0


def _check_keep_out(legs: list[Vector], profile: MachineProfile, position_m: Vector, tool_m: float) -> None:
    """The tool is a cylinder of the thickest tool's radius that reaches up from its tip."""
    radius_m = max((tool.diameter for tool in profile.tools), default=0.0) / 2.0
    begin_m = position_m
    for end_m in legs:
        tips = [(x, y, z - tool_m) for x, y, z in (begin_m, end_m)]
        box = next((box for box in profile.keep_out if _enters(tips[0], tips[1], box, radius_m)), None)
        if box is not None:
            where = ", ".join(f"{letter} {value * 1e3:.3f}" for letter, value in zip("XYZ", position_m, strict=True))
            raise MachineError(
                ErrorCode.POSITION_MISMATCH,
                f"the way from where the tool stands ({where} mm of the work) to the work zero enters '{box.name}'.",
                "Move the tool up, or to the work zero, by hand.",
            )
        begin_m = end_m


def _enters(begin_m: Vector, end_m: Vector, box: Box, radius_m: float) -> bool:
    """Whether a straight way comes into a box that is larger by a radius in XY and reaches down for ever."""
    low_m, high_m = box.bounds_m()
    bounds = [(low_m[axis] - radius_m, high_m[axis] + radius_m) for axis in (0, 1)]
    first, last = 0.0, 1.0  # the part of the way that is inside (Liang-Barsky)
    for start, end, (low, high) in zip(begin_m, end_m, [*bounds, (-math.inf, high_m[2])], strict=True):
        if start == end:
            if not low < start < high:
                return False
            continue
        one, two = sorted(((low - start) / (end - start), (high - start) / (end - start)))
        first, last = max(first, one), min(last, two)
    return first < last


def _way(legs: list[Vector], profile: MachineProfile, time_scale: float, origin_m: Vector) -> PieceMaker:
    """Traverses to these points, cut like a program's own; planned relative to where the tool stands."""
    names = ("x_m", "y_m", "z_m")
    rows = [
        {"op": Op.STRAIGHT_TRAVERSE, "feed_m_s": math.nan}
        | {name: value - zero for name, value, zero in zip(names, leg, origin_m, strict=True)}
        for leg in legs
    ]
    way = build_program(rows)
    return PieceMaker(way, plan_motion(way, profile), profile, time_scale, DIALECT, origin_m)
