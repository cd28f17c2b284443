"""G73, G74 and G81 to G89: drilling, tapping and boring cycles as the straight moves that they stand for.

The moves, the words that stay from line to line and the return level are LinuxCNC's (interp_cycles.cc), which follows
NIST's RS274/NGC (NIST IR 6556, 3.5.16): up to R where the tool is below it, across, down to R, the cycle, up to the
level of G98 (where the first of consecutive cycles began) or G99 (R). G87 is NIST's (3.5.16.8); LinuxCNC has none.
"""

from __future__ import annotations

import math

from industriverse_core.gcode import interpreter as it
from industriverse_core.gcode.session import (
    Cycle,
    Session,
    Words,
    malformed,
    not_negative,
    orient,
    required,
    spindle,
    unsupported,
    whole,
)
from industriverse_core.program import Op, Plane

PECKING, DWELLING, TAPPING = frozenset((73, 83)), frozenset((82, 86, 88, 89)), frozenset((74, 84))
CODES = frozenset((73, 74, 81, 82, 83, 84, 85, 86, 87, 88, 89))
BACK_BORING = 87
LETTERS = frozenset("XYZRLPQF")
OFFSETS = "IJK"  # of back boring: across the hole, and to the depth that it is bored up to
PECK_CLEARANCE_MM = 0.254  # G83_RAPID_DELTA of RS274/NGC: 0.010 inch above the last depth
GRID_MM = 1e-6  # a last peck smaller than the program's grid is none
SMALLEST_PECK_MM = 1e-3
MAX_ROWS_A_LINE = 100_000
MAX_ROWS = 1_000_000  # of all cycles of a program: its text is short, its motion is not

Point = tuple[float, float, float]


def carry_out(session: Session, code: int, words: Words) -> None:
    """One line with a canned cycle in force or written. Raises RefusedError."""
    state = session.state
    plane = int(state[it.PLANE])
    first = plane * 2 % 3
    axes = first, (first + 1) % 3, (first + 2) % 3
    _check(session, code, words, plane)
    unit = float(state[it.UNIT])
    context = unit, float(state[it.RELATIVE]), float(plane)
    before = session.cycle
    stays = before.words if before is not None and (before.code, before.context) == (code, context) else {}
    depth_letter = "XYZ"[axes[2]]
    now = {letter: words[letter] * (1.0 if letter == "P" else unit) for letter in "RQP" + OFFSETS if letter in words}
    if depth_letter in words:
        now["depth"] = words[depth_letter] * unit
    kept = {**stays, **now}
    for letter in ("R", "depth", *(OFFSETS if code == BACK_BORING else "")):
        if letter not in kept:
            name = depth_letter if letter == "depth" else letter
            raise malformed(f"G{code} needs {name} on its first line (and again after a change of unit, plane, G90)")
    if "F" in words:
        state[it.FEED] = max(required(words, "F") * unit, 0.0)
    position = state[it.POSITION : it.POSITION + 3].tolist()
    initial = before.initial if before is not None else position[axes[2]]
    session.cycle = Cycle(code, context, initial, kept)
    state[it.MODE] = float(code)
    repeats = whole(words, "L", 1)
    if repeats < 1:
        raise malformed("L must be at least 1")
    _drill(session, code, axes, words, repeats)


def _check(session: Session, code: int, words: Words, plane: int) -> None:
    """Raise RefusedError for what a cycle cannot have."""
    if session.feed_mode == "G93":
        raise malformed("a canned cycle cannot have inverse-time feed (G93)")
    left = words.keys() - LETTERS - set(OFFSETS if code == BACK_BORING else "")
    if left:
        raise malformed(f"the word {min(left)} has nothing to act on in G{code}")
    for letter, allowed in (("Q", PECKING), ("P", DWELLING | TAPPING)):
        if letter in words and code not in allowed:
            raise malformed(f"G{code} has no {letter}")
    if code in TAPPING:
        wanted = Op.START_SPINDLE_CLOCKWISE if code == 84 else Op.START_SPINDLE_COUNTERCLOCKWISE
        if session.spindle is not wanted:
            raise malformed(f"G{code} needs the spindle turning {'clockwise' if code == 84 else 'counter-clockwise'}")
        if plane != Plane.XY:
            raise unsupported("tapping outside G17: LinuxCNC moves other axes in it than the hole's")
    if code in (86, BACK_BORING, 88) and session.spindle is Op.STOP_SPINDLE_TURNING:
        raise malformed(f"G{code} needs a turning spindle")


def _drill(session: Session, code: int, axes: tuple[int, int, int], words: Words, repeats: int) -> None:
    """Preparatory moves and every repeat."""
    cycle = session.cycle
    assert cycle is not None
    state, unit = session.state, cycle.context[0]
    relative = state[it.RELATIVE] == 1.0
    offset = state[it.OFFSET : it.OFFSET + 3].tolist()
    across = list(state[it.POSITION : it.POSITION + 3].tolist())
    step = [0.0, 0.0, 0.0]
    for axis in axes[:2]:
        letter = "XYZ"[axis]
        if letter in words:
            if relative:
                step[axis] = words[letter] * unit
            else:
                across[axis] = offset[axis] + words[letter] * unit
    up = axes[2]
    named = sum(1 << axis for axis in axes[:2] if "XYZ"[axis] in words) | 1 << up
    if relative:
        session.count_on_start(named)
    else:
        session.place(named)
    level = (cycle.initial if relative else offset[up]) + cycle.words["R"]
    bottom = (level if relative else offset[up]) + cycle.words["depth"]
    if not all(math.isfinite(value) for value in (*across, level, bottom)):
        raise unsupported(f"the origin of {session.frames.active} is not known")
    if level < bottom:
        raise malformed(f"R is below the hole's bottom in G{code}")
    if code == BACK_BORING and not bottom <= _bored_up_to(session, up, bottom) <= level:
        raise malformed(f"{OFFSETS[up]} is not between the hole's bottom and R in G87")
    peck = _peck(code, cycle.words)
    _bound(session, repeats * (16 + 3 * math.ceil((level - bottom) / peck)))
    clear = _return_level(session, cycle.initial, level)
    now = float(state[it.POSITION + up])
    if cycle.initial < level:
        _traverse(session, up, level)
        now = level
    for _ in range(repeats):
        across = [value + more for value, more in zip(across, step, strict=True)]
        across[up] = now
        session.straight(Op.STRAIGHT_TRAVERSE, (across[0], across[1], across[2]), math.nan)
        if now != level:
            _traverse(session, up, level)
        if code == BACK_BORING:
            _back_bore(session, axes, bottom, clear)
        else:
            _hole(session, code, up, (level, bottom, clear), peck)
        now = clear


def _peck(code: int, words: Words) -> float:
    if code not in PECKING:
        return math.inf
    depth = words.get("Q", math.nan)
    if not depth >= SMALLEST_PECK_MM:
        raise malformed(f"G{code} needs Q of at least {SMALLEST_PECK_MM:g} mm")
    return depth


def _bound(session: Session, rows: int) -> None:
    """Refuse a line of which the moves are so many that something is wrong."""
    session.cycle_rows += rows
    if rows > MAX_ROWS_A_LINE or session.cycle_rows > MAX_ROWS:
        session.cycle_rows -= rows
        raise unsupported(f"a canned cycle of more than {MAX_ROWS_A_LINE} moves ({MAX_ROWS} in all)")


def _return_level(session: Session, initial: float, level: float) -> float:
    if session.retract_mode == "G99" or initial <= level:
        return level
    if session.retract_mode == "G98":
        return initial
    raise unsupported("a canned cycle before G98 or G99: which of them the controller is in is not known")


def _traverse(session: Session, axis: int, to: float) -> None:
    session.straight(Op.STRAIGHT_TRAVERSE, _moved(session, axis, to), math.nan)


def _feed(session: Session, axis: int, to: float) -> None:
    session.straight(Op.STRAIGHT_FEED, _moved(session, axis, to), feed_mm_min(session))


def _moved(session: Session, axis: int, to: float) -> Point:
    target = session.state[it.POSITION : it.POSITION + 3].tolist()
    target[axis] = to
    return target[0], target[1], target[2]


def feed_mm_min(session: Session) -> float:
    """The feed in force under G94 or G95; 0 = none was given. Raises RefusedError."""
    feed = float(session.state[it.FEED])
    if math.isnan(feed):
        return 0.0
    if session.feed_mode == "G95":
        if session.spindle is Op.STOP_SPINDLE_TURNING or session.spindle_rpm <= 0.0:
            raise malformed("feed per revolution (G95) needs a turning spindle")
        return feed * session.spindle_rpm
    return feed


def _hole(session: Session, code: int, axis: int, levels: Point, peck: float) -> None:
    """One hole from R down and back to the return level."""
    level, bottom, clear = levels
    pecks = 1
    while (depth := level - pecks * peck) > bottom + GRID_MM:
        _feed(session, axis, depth)
        if code == 83:
            _traverse(session, axis, level)
        _traverse(session, axis, depth + PECK_CLEARANCE_MM)
        pecks += 1
    _feed(session, axis, bottom)
    words = session.cycle.words if session.cycle is not None else {}
    if code in DWELLING:
        session.emit(Op.DWELL, value=not_negative(words, "P"))
    if code in TAPPING:
        _tap(session, axis, clear, not_negative(words, "P") if "P" in words else 0.0)
    elif code == 85:
        _feed(session, axis, level)
        _traverse(session, axis, clear)
    elif code == 89:
        _feed(session, axis, clear)
    elif code in (86, 88):
        turning = session.spindle
        spindle(session, Op.STOP_SPINDLE_TURNING, {})
        if code == 88:  # the operator retracts; the move says where the tool is afterwards
            session.emit(Op.PROGRAM_STOP)
        _traverse(session, axis, clear)
        spindle(session, turning, {})
    else:
        _traverse(session, axis, clear)


def _bored_up_to(session: Session, axis: int, bottom: float) -> float:
    """G87's third offset: a coordinate, or under G91 a distance from the bottom."""
    assert session.cycle is not None
    origin = bottom if session.state[it.RELATIVE] == 1.0 else float(session.state[it.OFFSET + axis])
    return origin + session.cycle.words[OFFSETS[axis]]


def _back_bore(session: Session, axes: tuple[int, int, int], bottom: float, clear: float) -> None:
    """G87: past the hole's edge with the tool held aside, up into the work from below, and out the same way."""
    assert session.cycle is not None
    turning, up = session.spindle, axes[2]
    centre = session.state[it.POSITION : it.POSITION + 3].tolist()
    words = session.cycle.words

    def across(aside: bool, height: float) -> None:
        target = [value + (words[OFFSETS[axis]] if aside else 0.0) for axis, value in enumerate(centre)]
        target[up] = height
        session.straight(Op.STRAIGHT_TRAVERSE, (target[0], target[1], target[2]), math.nan)

    across(True, centre[up])
    spindle(session, Op.STOP_SPINDLE_TURNING, {})
    orient(session, 0.0)
    across(True, bottom)
    across(False, bottom)
    spindle(session, turning, {})
    _feed(session, up, _bored_up_to(session, up, bottom))
    _feed(session, up, bottom)
    spindle(session, Op.STOP_SPINDLE_TURNING, {})
    orient(session, 0.0)
    across(True, bottom)
    across(True, clear)
    across(False, clear)
    spindle(session, turning, {})


def _tap(session: Session, axis: int, clear: float, dwell_s: float) -> None:
    """Out of a threaded hole: the spindle turns back, with the feed of the way in."""
    forward = session.spindle
    backward = (
        Op.START_SPINDLE_COUNTERCLOCKWISE if forward is Op.START_SPINDLE_CLOCKWISE else Op.START_SPINDLE_CLOCKWISE
    )
    out = feed_mm_min(session)
    spindle(session, Op.STOP_SPINDLE_TURNING, {})
    spindle(session, backward, {})
    session.emit(Op.DWELL, value=dwell_s)
    session.straight(Op.STRAIGHT_FEED, _moved(session, axis, clear), out)
    spindle(session, Op.STOP_SPINDLE_TURNING, {})
    spindle(session, forward, {})
