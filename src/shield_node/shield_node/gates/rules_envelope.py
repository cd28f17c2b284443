"""Where the machine may go, and whether the numbers are numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from industriverse_core.artefacts import Severity
from industriverse_core.program import Op
from industriverse_core.units import MM
from shield_node.gates.context import Context
from shield_node.gates.registry import Hits, Seen, rule

TOLERANCE_M = 1e-6  # slicers write micrometres
VALUE_OPS = (
    Op.DWELL, Op.START_SPINDLE_CLOCKWISE, Op.START_SPINDLE_COUNTERCLOCKWISE, Op.SET_HEATER, Op.WAIT_HEATER,
    Op.SET_FAN, Op.SET_LIMIT, Op.SET_PRESSURE_ADVANCE, Op.USE_TOOL_LENGTH_OFFSET, Op.ORIENT_SPINDLE,
)  # fmt: skip


@rule("envelope.axis", "Every point of every move lies within the machine's axes.")
def envelope(context: Context) -> Iterator[Hits]:
    """End points and the whole sweep of arcs, full circles and helices, with a tolerance of 1 µm.

    An axis that stands outside is reported at the move that took it there, and again when it moves. With a tool length
    offset in force (G43) Z is the tip's, and what the axis travels is the spindle's: Z and the offset.
    """
    motion, offset = context.is_motion, context.tool_offset_m
    for axis, (name, spec) in enumerate(zip("XYZ", context.profile.kinematics.axes(), strict=True)):
        low, high = context.lowest_m[axis], context.highest_m[axis]
        if axis == 2 and len(offset):
            low, high = low + offset, high + offset
        inside = (low >= spec.minimum - TOLERANCE_M) & (high <= spec.maximum + TOLERANCE_M)
        outside = motion & ~inside
        where = np.flatnonzero(outside)
        if len(where):
            moved = context.is_moving(axis)
            moved[context.arcs.where] = True
            where = np.flatnonzero(outside & (moved | ~context.before(outside, 0)))

        def describe(index: int, name=name, spec=spec, low=low, high=high) -> Seen:
            beyond = low[index] if low[index] < spec.minimum - TOLERANCE_M else high[index]
            limit = spec.minimum if beyond < spec.minimum else spec.maximum
            how = "reaches" if context.program.op[index] == Op.ARC_FEED else "goes to"
            return Seen(
                f"the move {how} {name} = {_mm(beyond)}; {name} may be "
                f"{spec.minimum / MM:g} to {spec.maximum / MM:g} mm on {context.profile.id}.",
                "Move or shrink the part, or choose a larger machine.",
                beyond / MM,
                limit / MM,
                "mm",
            )

        yield Hits(Severity.ERROR, where, describe)


@rule("numbers.finite", "Every number that an instruction uses is finite.")
def finite(context: Context) -> Iterator[Hits]:
    """Coordinates, arc centres, filament and feeds of moves; values of dwells, spindles, heaters, fans and limits.

    A rapid without a feed is the one place where NaN has a meaning.
    """
    program = context.program
    rapid = context.is_op(Op.STRAIGHT_TRAVERSE)
    used = {
        "X": (program.x_m, context.is_motion),
        "Y": (program.y_m, context.is_motion),
        "Z": (program.z_m, context.is_motion),
        "the filament volume": (program.extrude_m3, context.is_motion),
        "the feed": (np.where(rapid & np.isnan(program.feed_m_s), 0.0, program.feed_m_s), context.is_motion),
        "the arc's first centre coordinate": (program.center_1_m, context.is_op(Op.ARC_FEED)),
        "the arc's second centre coordinate": (program.center_2_m, context.is_op(Op.ARC_FEED)),
        "the value": (program.value, context.is_op(*VALUE_OPS)),
    }
    broken = {name: mask & ~np.isfinite(column) for name, (column, mask) in used.items()}
    where = np.flatnonzero(np.logical_or.reduce(list(broken.values())))

    def describe(index: int) -> Seen:
        names = [name for name, mask in broken.items() if mask[index]]
        column = used[names[0]][0]
        return Seen(
            f"{' and '.join(names)} {'are' if len(names) > 1 else 'is'} not finite ({column[index]:g}); "
            "only finite numbers are allowed.",
            "Export the program again, or write the number that was meant.",
            column[index],
        )

    yield Hits(Severity.ERROR, where, describe)


def _mm(metres: float) -> str:
    return f"{metres / MM:.3f} mm" if abs(metres) < 1e4 else f"{metres / MM:.3g} mm"
