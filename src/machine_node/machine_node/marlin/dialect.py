"""Marlin's words, and what a Marlin printer is never sent."""

from __future__ import annotations

import numpy as np

from industriverse_core.gcode import write_instruction
from industriverse_core.program import Op, Plane, Program
from machine_node.marlin.protocol import HARMLESS
from machine_node.streaming.dialect import Dialect, QueueLimits
from machine_node.streaming.pieces import MOTION, check_values, unsendable

# A controller that hears nothing for a moment slows down at the end of its queue, and then takes longer for it than
# planned: a stop waits for that, too. With 0.15 s it slows down by itself at 100 mm/s.
TARGET_S = 0.165
_BARRIERS = (
    Op.HOME, Op.LEVEL_BED, Op.WAIT_HEATER, Op.MOTORS_OFF, Op.PROGRAM_STOP, Op.OPTIONAL_PROGRAM_STOP, Op.PROGRAM_END,
)  # fmt: skip
_INSTANT = (Op.NOP, Op.SET_HEATER, Op.SET_FAN, Op.SET_LIMIT, Op.SET_PRESSURE_ADVANCE)
_SENDABLE = (*_BARRIERS, *_INSTANT, *MOTION, Op.DWELL)


class MarlinDialect(Dialect):
    """See Dialect. A printer is slowed by the feeds that are written."""

    queue = QueueLimits(TARGET_S, TARGET_S)
    barriers = frozenset(int(op) for op in _BARRIERS)
    cycles = frozenset((int(Op.HOME), int(Op.LEVEL_BED)))
    synchronising: frozenset[int] = frozenset()
    wait = HARMLESS
    dwell_step_s = 1e-3
    repeats_feed = False
    separator = " "
    starts_anywhere = False

    def dwell(self, seconds: float) -> str:
        """See Dialect."""
        return f"G4 P{round(seconds * 1e3)}"

    def command(self, program: Program, index: int) -> str:
        """See Dialect."""
        return write_instruction(program, index, "marlin") or ""

    def reachable_scale(self, allowed: float, rapid: bool) -> float:
        """See Dialect: any."""
        return allowed

    def feed_scale(self, scale: float) -> float:
        """See Dialect."""
        return scale

    def straight(self, rapid: bool, scale: float) -> tuple[str, bool]:
        """See Dialect."""
        return "G0" if rapid else "G1", True

    def plane(self, plane: Plane) -> tuple[str, ...]:
        """See Dialect: only XY is sent."""
        return ()


DIALECT = MarlinDialect()


def check_sendable(program: Program) -> None:
    """Raise MachineError (PROTOCOL) at the first instruction that a Marlin printer is never sent, InputError for what
    its dialect cannot say."""
    arc_elsewhere = (program.op == Op.ARC_FEED) & (program.target != Plane.XY)
    wrong = np.flatnonzero(~np.isin(program.op, _SENDABLE) | arc_elsewhere)
    if len(wrong):
        op = int(program.op[wrong[0]])
        name = Op(op).name if op in set(Op) else str(op)
        raise unsendable(program, int(wrong[0]), f"is {name}, which a Marlin printer is not sent")
    check_values(program)
    commands = np.flatnonzero(~np.isin(program.op, (*MOTION, Op.DWELL)))
    said = np.stack([program.columns[name][commands].astype(float) for name in ("op", "target", "value")])
    for row in np.unique(said, axis=1, return_index=True)[1].tolist():
        write_instruction(program, int(commands[row]), "marlin")
