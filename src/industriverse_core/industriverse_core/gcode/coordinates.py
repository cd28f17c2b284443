"""Lines that depend on where origins are, or on another feed than units a minute: for RS274/NGC.

G10 L2 and L20, G28, G28.1, G30, G30.1, G53, G54 to G59.3, G92 to G92.3; moves under G93 and G95.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from industriverse_core.controller import WORK_SYSTEMS
from industriverse_core.gcode import interpreter as it
from industriverse_core.gcode import tool_length
from industriverse_core.gcode.canned_cycles import feed_mm_min
from industriverse_core.gcode.offsets import ZERO, Frames
from industriverse_core.gcode.session import Session, Words, malformed, required, unsupported, whole
from industriverse_core.program import Op, Plane
from industriverse_core.telemetry import Vector

Handler = Callable[[Session, Words], None]
ALL_AXES = 7
SLOWEST_INVERSE_MM_MIN = 0.1  # as LinuxCNC: what G93 asks of a move without length


def move(session: Session, mode: int, words: Words, in_machine: bool) -> None:
    """G0 to G3 in the coordinate system and feed mode in force, or in the machine's own (G53). Raises RefusedError."""
    inverse = session.feed_mode == "G93" and mode > 0
    if inverse and "F" not in words:
        raise malformed("inverse-time feed (G93) needs F on every line with G1, G2 or G3")
    plain = {letter: value for letter, value in words.items() if letter != "F" or session.feed_mode != "G93"}
    start = session.state[it.POSITION : it.POSITION + 3].tolist()
    count = session.count
    named = axes_of(words)
    if in_machine:
        _in_machine(session, mode, plain)
        session.place(named)
    else:
        _known(session, mode, plain)
        _follow_start(session, mode, named)
        session.move(mode, plain)
    if session.count == count or mode == 0:
        return
    row = session.rows[session.count - 1]
    if inverse:
        per_minute = max(required(words, "F"), 0.0)
        length = _length_mm(row, start)
        slowest = SLOWEST_INVERSE_MM_MIN * float(session.state[it.UNIT])
        row[it.ROW_FEED] = max(length * per_minute, slowest) if per_minute > 0.0 else 0.0
    elif session.feed_mode == "G95":
        row[it.ROW_FEED] = feed_mm_min(session)


def axes_of(words: Words) -> int:
    """The axes that words name: 1 x, 2 y, 4 z; sum."""
    return sum(1 << axis for axis, letter in enumerate("XYZ") if letter in words)


def _follow_start(session: Session, mode: int, named: int) -> None:
    """What a move in a work system counts on, and where it leaves its axes."""
    first = int(session.state[it.PLANE]) * 2 % 3
    in_plane = 1 << first | 1 << (first + 1) % 3
    relative = session.state[it.RELATIVE] == 1.0
    session.count_on_start((named if relative else 0) | (in_plane if mode >= 2 else 0))
    session.place(0 if relative else named)


def _known(session: Session, mode: int, words: Words) -> None:
    """Raise RefusedError when a coordinate is written in a system of which the origin is not known."""
    state = session.state
    offset = state[it.OFFSET : it.OFFSET + 3].tolist()
    absolute = state[it.RELATIVE] == 0.0
    for axis, letter in enumerate("XYZ"):
        centre = "IJK"[axis] in words and state[it.CENTRE_ABSOLUTE] == 1.0 and mode >= 2
        if math.isnan(offset[axis]) and ((absolute and letter in words) or centre):
            raise unsupported(f"the origin of {session.frames.active} on {letter} is not known from the program")


def _in_machine(session: Session, mode: int, words: Words) -> None:
    """G53 G0 and G53 G1: absolute, whatever G91 and the offsets say."""
    if mode not in (0, 1):
        raise malformed("G53 needs G0 or G1")
    machine = session.frames.machine
    for axis, letter in enumerate("XYZ"):
        if letter in words and math.isnan(machine[axis]):
            raise unsupported("G53: where the machine's zero is from the program's origin is not known")
    state = session.state
    saved = state[it.OFFSET : it.OFFSET + 3].copy()
    relative = state[it.RELATIVE]
    state[it.OFFSET : it.OFFSET + 3] = machine
    state[it.OFFSET + 2] -= session.tool_offset  # the machine's coordinates are the spindle's, not the tip's
    state[it.RELATIVE] = 0.0
    session.move(mode, words)
    state[it.OFFSET : it.OFFSET + 3] = saved
    state[it.RELATIVE] = relative


def _length_mm(row: it.Array, start: list[float]) -> float:
    """Path length of a row that begins at `start`."""
    end = row[it.ROW_X : it.ROW_X + 3].tolist()
    if row[it.OP] != Op.ARC_FEED:
        return math.dist(start, end)
    first = int(Plane(int(row[it.TARGET]))) * 2 % 3
    second, third = (first + 1) % 3, (first + 2) % 3
    c1, c2, turns = float(row[it.CENTRE_1]), float(row[it.CENTRE_2]), float(row[it.TURNS])
    begin = math.atan2(start[second] - c2, start[first] - c1)
    finish = math.atan2(end[second] - c2, end[first] - c1)
    sweep = math.fmod((finish - begin) * math.copysign(1.0, turns) + 2.0 * math.tau, math.tau)
    if sweep < 1e-9:
        sweep = math.tau
    sweep += (abs(turns) - 1.0) * math.tau
    radius = math.hypot(start[first] - c1, start[second] - c2)
    return math.hypot(sweep * radius, end[third] - start[third])


# --- offsets --------------------------------------------------------------------------------------------


def select(system: str) -> Handler:
    """G54 to G59.3."""

    def handler(session: Session, words: Words) -> None:
        _use(session, session.frames.select(system, session.moved))

    return handler


def _use(session: Session, frames: Frames, axes: tuple[int, ...] = (0, 1, 2)) -> None:
    """These frames from here on; the offset in force follows on the named axes."""
    session.frames = frames
    offset = frames.offset
    for axis in axes:
        session.state[it.OFFSET + axis] = offset[axis]


def _position(session: Session) -> Vector:
    x, y, z = session.state[it.POSITION : it.POSITION + 3].tolist()
    return x, y, z


def _values(session: Session, words: Words) -> dict[int, float]:
    """The axis words in mm, by axis."""
    unit = float(session.state[it.UNIT])
    return {axis: required(words, letter) * unit for axis, letter in enumerate("XYZ") if letter in words}


def _g10(session: Session, words: Words) -> None:
    """G10 L2 and L20: the origin of a work coordinate system. L1, L10, L11: a tool's length."""
    kind = whole(words, "L", -1) if "L" in words else -1
    if kind in (1, 10, 11):
        tool_length.state_length(session, {letter: words[letter] for letter in words if letter in "LPQRXYZIJ"}, kind)
        return
    if kind not in (2, 20):
        raise unsupported("G10 other than L1, L2, L10, L11 and L20") if kind >= 0 else malformed("G10 needs L")
    number = whole(words, "P", 0) if "P" in words else -1
    if not 0 <= number <= len(WORK_SYSTEMS):
        raise malformed(f"G10 needs P from 0 (the system in force) to {len(WORK_SYSTEMS)}")
    if words.get("R", 0.0) != 0.0:
        raise unsupported("a rotated coordinate system (R)")
    system = WORK_SYSTEMS[number - 1] if number else session.frames.active
    values = _values(session, words)
    if not values and "R" not in words:
        raise malformed("G10 needs axis words")
    if kind == 2:
        frames = session.frames.set_origin(system, values, session.moved)
    else:
        session.count_on_start(sum(1 << axis for axis in values))
        frames = session.frames.touch_off(system, values, _position(session))
    _use(session, frames, tuple(values) if system == session.frames.active else ())


def _g92(session: Session, words: Words) -> None:
    values = _values(session, words)
    if not values:
        raise unsupported("G92 without axes: controllers differ; name the axes")
    session.count_on_start(sum(1 << axis for axis in values))
    position = _position(session)
    session.frames = session.frames.set_position(values, position)
    for axis, value in values.items():  # known even where the system's own origin is not
        session.state[it.OFFSET + axis] = position[axis] - value


def _g52(session: Session, words: Words) -> None:
    """G52 X Y Z: an offset in the system in force, kept in the place of G92's (LinuxCNC's manual)."""
    values = _values(session, words)
    if not values:
        raise malformed("G52 needs axis words")
    local = list(session.frames.local)
    for axis, value in values.items():
        local[axis] = value
    moved = local[0], local[1], local[2]
    _use(session, session.frames.with_local(moved, moved))


def _clear_local(keep: bool) -> Handler:
    """G92.1 forgets the offset of G92; G92.2 suspends it."""

    def handler(session: Session, words: Words) -> None:
        _use(session, session.frames.with_local(ZERO, session.frames.stored_local if keep else ZERO))

    return handler


def _restore_local(session: Session, words: Words) -> None:
    stored = session.frames.stored_local
    if stored is None:
        raise unsupported("G92.3 before any G92: the stored offset is not known")
    _use(session, session.frames.with_local(stored, stored))


def _park(name: str) -> Handler:
    """G28, G30: over the written point, if there is one, to the stored position on the axes named (all, if none)."""

    def handler(session: Session, words: Words) -> None:
        state = session.state
        named = [axis for axis, letter in enumerate("XYZ") if letter in words]
        target = list(_position(session))
        for axis in named or range(3):
            target[axis] = session.frames.park(name)[axis] - (session.tool_offset if axis == 2 else 0.0)
        if any(map(math.isnan, target)):
            raise unsupported(
                f"the position of {name} is not known (store it by {name}.1, or in the machine's profile)"
            )
        if named:
            mode = state[it.MODE]
            axis_words = {letter: words[letter] for letter in "XYZ" if letter in words}
            _known(session, 0, axis_words)
            session.move(0, axis_words)
            state[it.MODE] = mode
            for axis in set(range(3)) - set(named):
                target[axis] = float(state[it.POSITION + axis])
        session.straight(Op.STRAIGHT_TRAVERSE, (target[0], target[1], target[2]), math.nan)
        session.place(axes_of(words) or ALL_AXES)
        session.cycle = None

    return handler


def _store_park(name: str) -> Handler:
    def handler(session: Session, words: Words) -> None:
        x, y, z = _position(session)
        session.frames = session.frames.with_park(name, (x, y, z + session.tool_offset))

    return handler


# codes of the non-modal group, in no order: only one of them can be on a line
HANDLERS: dict[str, Handler] = {
    "G10": _g10,
    "G28": _park("G28"),
    "G30": _park("G30"),
    "G28.1": _store_park("G28"),
    "G30.1": _store_park("G30"),
    "G52": _g52,
    "G92": _g92,
    "G92.1": _clear_local(keep=False),
    "G92.2": _clear_local(keep=True),
    "G92.3": _restore_local,
}
