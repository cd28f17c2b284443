"""GRBL's words, and what a GRBL mill is never sent."""

from __future__ import annotations

import numpy as np

from industriverse_core.errors import ErrorCode, MachineError
from industriverse_core.gcode import write_instruction
from industriverse_core.program import Op, Plane, Program
from machine_node.grbl.overrides import LOWEST_PERCENT, feed_percent, rapid_percent
from machine_node.grbl.preamble import SYSTEMS, work_system
from machine_node.streaming.dialect import Dialect, QueueLimits, decimal
from machine_node.streaming.pieces import MOTION, QUEUE_LIMIT_S, QUEUE_TARGET_S, check_values, unsendable

LARGEST_TOOL = 255
_SPINDLE = (Op.START_SPINDLE_CLOCKWISE, Op.START_SPINDLE_COUNTERCLOCKWISE, Op.STOP_SPINDLE_TURNING)
_COOLANT = (Op.FLOOD_ON, Op.MIST_ON, Op.COOLANT_OFF)
_LENGTH = Op.USE_TOOL_LENGTH_OFFSET  # GRBL empties its planner before the frame changes
_BARRIERS = (Op.PROGRAM_STOP, Op.OPTIONAL_PROGRAM_STOP, Op.PROGRAM_END)
_SENDABLE = (*MOTION, *_SPINDLE, *_COOLANT, *_BARRIERS, _LENGTH, Op.DWELL, Op.CHANGE_TOOL, Op.NOP)
_PLANES = {Plane.XY: "G17", Plane.ZX: "G18", Plane.YZ: "G19"}


class GrblDialect(Dialect):
    """See Dialect. A mill is slowed by overrides, which also reach what is queued; it may brake for longer than a
    printer. Every motion line has a G word and a feed of its own: two lines that a lost line end has joined are then an
    error, and no garbled feed outlives its line."""

    queue = QueueLimits(QUEUE_TARGET_S, QUEUE_LIMIT_S, spare_s=0.06, follows_braking=True)
    barriers = frozenset(int(op) for op in _BARRIERS)
    cycles: frozenset[int] = frozenset()
    synchronising = frozenset(int(op) for op in (*_SPINDLE, *_COOLANT, _LENGTH))
    wait = "G4P0"
    dwell_step_s = 1e-3
    repeats_feed = True
    separator = ""
    starts_anywhere = True

    def dwell(self, seconds: float) -> str:
        """See Dialect."""
        return f"G4P{decimal(seconds, 3)}"

    def command(self, program: Program, index: int) -> str:
        """See Dialect. Of a tool change the number alone: GRBL has no tool changer (see check_sendable)."""
        if program.columns["op"][index] == Op.CHANGE_TOOL:
            return f"T{int(program.columns['target'][index])}"
        return (write_instruction(program, index, "rs274") or "").replace(" ", "")

    def reachable_scale(self, allowed: float, rapid: bool) -> float:
        """See Dialect: whole percents of a feed, 100, 50 and 25 % of a rapid; below what overrides reach, any."""
        if rapid and allowed >= 0.25:
            return rapid_percent(allowed) / 100.0
        return feed_percent(allowed) / 100.0 if allowed * 100.0 >= LOWEST_PERCENT else allowed

    def feed_scale(self, scale: float) -> float:
        """See Dialect."""
        return min(1.0, scale * 100.0 / LOWEST_PERCENT)

    def straight(self, rapid: bool, scale: float) -> tuple[str, bool]:
        """See Dialect: a rapid that no rapid override slows enough is a feed move."""
        return ("G0", False) if rapid and scale >= 0.25 else ("G1", True)

    def plane(self, plane: Plane) -> tuple[str, ...]:
        """See Dialect."""
        return (_PLANES[plane],)


DIALECT = GrblDialect()


def check_sendable(program: Program) -> None:
    """Raise MachineError (PROTOCOL) at the first instruction that a GRBL mill is never sent, InputError for what its
    dialect cannot say."""
    op, system = program.op, work_system(program)
    if system not in SYSTEMS:
        raise MachineError(
            ErrorCode.PROTOCOL,
            f"the program works in {system[:20]}; GRBL has {SYSTEMS[0]} to {SYSTEMS[-1]}.",
            "Compile it in one of these.",
        )
    wrong = np.flatnonzero(~np.isin(op, _SENDABLE))
    if len(wrong):
        number = int(op[wrong[0]])
        name = Op(number).name if number in set(Op) else str(number)
        raise unsendable(program, int(wrong[0]), f"is {name}, which a GRBL mill is not sent")
    check_values(program)
    moves = np.isin(op, MOTION)
    wrong = np.flatnonzero(moves & (program.columns["extrude_m3"] != 0.0))
    if len(wrong):
        raise unsendable(program, int(wrong[0]), "feeds filament, which a mill has not")
    wrong = np.flatnonzero((op == Op.ARC_FEED) & (~np.isin(program.target, list(Plane)) | (program.turns == 0)))
    if len(wrong):
        raise unsendable(program, int(wrong[0]), "is an arc without a plane or without turns")
    _check_tools(program)
    commands = np.flatnonzero(~np.isin(op, (*MOTION, Op.DWELL)))
    said = np.stack([program.columns[name][commands].astype(float) for name in ("op", "target", "value")])
    for row in np.unique(said, axis=1, return_index=True)[1].tolist():
        DIALECT.command(program, int(commands[row]))


def _check_tools(program: Program) -> None:
    """The tool is set up before the job: the one that the program names before it moves. Another one is refused."""
    changes = np.flatnonzero(program.op == Op.CHANGE_TOOL)
    moves = np.flatnonzero(np.isin(program.op, MOTION))
    first_move = int(moves[0]) if len(moves) else len(program)
    for index in changes.tolist():
        tool = int(program.target[index])
        if not 0 <= tool <= LARGEST_TOOL:
            raise unsendable(program, index, f"names tool {tool}; 0 to {LARGEST_TOOL} are allowed")
        if index > first_move and tool != int(program.target[changes[0]]):
            raise unsendable(
                program, index, f"changes to tool {tool} in mid-program, and this mill has no tool changer"
            )
        if index > first_move and changes[0] > first_move:
            raise unsendable(program, index, "is CHANGE_TOOL after the first motion; the tool is set up before the job")
