"""G43, G43.1, G43.2, G49, and G10 L1, L10 and L11: tool length offsets along Z.

Meaning: LinuxCNC's manual (G43 to G49, G10), whose G43.1 is GRBL's too; NIST IR 6556, 3.5.14. A length is in the
machine's profile or stated by the program. Coordinates count to the tip of a tool whose offset is in force.
"""

from __future__ import annotations

import math

from industriverse_core.gcode import interpreter as it
from industriverse_core.gcode.session import Session, Words, malformed, required, unsupported, whole
from industriverse_core.program import Op

TOUCH_OFF_SYSTEM = "G59.3"  # of a touch-off in a fixture (L11)
_Z = it.POSITION + 2


def use_tool(session: Session, words: Words) -> None:
    """G43: the length of tool H, of the tool in the spindle without H."""
    set_offset(session, _length(session, words, "G43"))


def add_tool(session: Session, words: Words) -> None:
    """G43.2: the length of tool H on top of what is in force."""
    if "H" not in words:
        raise malformed("G43.2 needs H")
    set_offset(session, session.tool_offset + _length(session, words, "G43.2"))


def use_written(session: Session, words: Words) -> None:
    """G43.1: the length that the line says."""
    if words.keys() & {"X", "Y"}:
        raise unsupported("a tool offset in X or Y")
    set_offset(session, required(words, "Z") * float(session.state[it.UNIT]))


def use_none(session: Session, words: Words) -> None:
    """G49."""
    if session.tool_offset == 0.0:
        session.ignore("G49", "changes nothing here")
        return
    set_offset(session, 0.0)


def set_offset(session: Session, offset: float) -> None:
    """Another length offset [mm] from here on. Nothing moves; the tip's Z is another one, once Z has a place."""
    state = session.state
    if session.placed & 4 or state[_Z] != 0.0:
        state[_Z] += session.tool_offset - offset
    session.tool_offset = offset
    session.emit(Op.USE_TOOL_LENGTH_OFFSET, value=offset * 1e-3)


def state_length(session: Session, words: Words, kind: int) -> None:
    """G10 L1 (the length), L10 (so that Z is the present position), L11 (the same in G59.3 without G92)."""
    left = words.keys() - {"L", "P", "Z"}
    if left:
        raise unsupported(f"the word {min(left)} of a tool table")
    tool = whole(words, "P", -1) if "P" in words else -1
    if tool < 1:
        raise malformed("G10 needs P with the tool's number")
    z = required(words, "Z") * float(session.state[it.UNIT])
    frames = session.frames
    if kind != 1:
        session.count_on_start(4)
        origin = frames.offset[2] if kind == 10 else frames.origins[TOUCH_OFF_SYSTEM][2]
        if math.isnan(origin):
            system = frames.active if kind == 10 else TOUCH_OFF_SYSTEM
            raise unsupported(f"the origin of {system} on Z is not known from the program")
        z = float(session.state[_Z]) + session.tool_offset - origin - z
    session.tool_lengths = {**session.tool_lengths, tool: z}


def _length(session: Session, words: Words, code: str) -> float:
    """The length of the tool that the line means [mm]."""
    tool = whole(words, "H") if "H" in words else session.tool
    if tool not in session.tool_lengths:
        raise unsupported(f"{code}: the length of tool {tool} is in neither the program (G10 L1) nor the profile")
    return session.tool_lengths[tool]
