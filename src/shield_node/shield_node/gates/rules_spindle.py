"""The spindle of a mill."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from industriverse_core.artefacts import Severity
from industriverse_core.program import Op
from industriverse_core.units import MM, RPM
from shield_node.gates.context import Context
from shield_node.gates.registry import Hits, Seen, rule

STARTS = (Op.START_SPINDLE_CLOCKWISE, Op.START_SPINDLE_COUNTERCLOCKWISE)
# NIST IR 6556, 3.6.3: M6 leaves it stopped
STOPS = (Op.STOP_SPINDLE_TURNING, Op.ORIENT_SPINDLE, Op.PROGRAM_END, Op.CHANGE_TOOL)
PAUSES = (Op.PROGRAM_STOP, Op.OPTIONAL_PROGRAM_STOP)


def turning(context: Context) -> np.ndarray:
    """Mask: the spindle turns after the instruction. A start at speed 0 stops it."""
    starts = context.is_op(*STARTS)
    last = context.last(starts | context.is_op(*STOPS))
    return (last >= 0) & starts[last] & (context.program.value[last] > 0.0) if len(last) else starts


@rule("spindle.stopped", "A mill feeds into material only with its spindle turning.")
def stopped(context: Context) -> Iterator[Hits]:
    """A tool that is pushed into stock without turning breaks. One finding a standstill.

    Material is what the removal simulation finds in the stock; where no stock is named, all that lies below Z = 0.
    A tool change stops the spindle (NIST IR 6556, 3.6.3).
    """
    if context.profile.kind != "mill":
        return
    depth = np.minimum(context.lowest_m[2], context.starts_m[2])
    below = ~(depth >= 0.0) & ~(context.length_m == 0.0)
    in_material = context.cutting.cuts if context.cutting.is_known else below
    bad = context.is_feed & in_material & ~turning(context)
    first = bad & ~context.before(bad, 0)
    yield Hits(
        Severity.ERROR,
        np.flatnonzero(first),
        lambda i: Seen(
            f"the tool feeds into material at Z = {depth[i] / MM:.3f} mm while the spindle stands still.",
            "Start the spindle (M3 S...) before the cut.",
            depth[i] / MM,
            0.0,
            "mm",
        ),
    )


@rule("spindle.reversed", "A tool cuts clockwise.")
def reversed_(context: Context) -> Iterator[Hits]:
    """Right-hand tools rub and burn when they turn counter-clockwise (M4). One finding a start."""
    if context.profile.kind != "mill":
        return
    starts = context.is_op(*STARTS)
    last = context.last(starts)
    wrong = context.is_feed & context.cutting.cuts & turning(context) & (last >= 0)
    where = np.flatnonzero(wrong)
    where = where[context.program.op[last[where]] == Op.START_SPINDLE_COUNTERCLOCKWISE]
    yield Hits(
        Severity.WARNING,
        where[np.unique(last[where], return_index=True)[1]],
        lambda _: Seen("the tool cuts while it turns counter-clockwise.", "Start the spindle with M3."),
    )


@rule("spindle.paused", "The spindle stands still while the program waits for the operator.")
def paused(context: Context) -> Iterator[Hits]:
    """M0 and M1 ask somebody to come near."""
    where = np.flatnonzero(context.is_op(*PAUSES) & turning(context))
    yield Hits(
        Severity.WARNING,
        where,
        lambda _: Seen("the program waits for the operator with the spindle turning.", "Stop it before (M5)."),
    )


@rule("spindle.speed", "The spindle turns within the machine's speeds.")
def speed(context: Context) -> Iterator[Hits]:
    """A start at speed 0 counts as a stop."""
    spindle = context.profile.spindle
    if spindle is None:
        return
    value = context.program.value
    inside = (value == 0.0) | ((value >= spindle.min_speed * (1 - 1e-6)) & (value <= spindle.max_speed * (1 + 1e-6)))
    yield Hits(
        Severity.ERROR,
        np.flatnonzero(context.is_op(*STARTS) & ~inside),
        lambda i: Seen(
            f"the spindle is started at {value[i] / RPM:.0f} rpm; "
            f"{spindle.min_speed / RPM:.0f} to {spindle.max_speed / RPM:.0f} rpm are allowed.",
            "Write a speed in the machine's range.",
            value[i] / RPM,
            (spindle.max_speed if value[i] > spindle.max_speed else spindle.min_speed) / RPM,
            "rpm",
        ),
    )


@rule("spindle.absent", "Only a machine with a spindle is told to start one.")
def absent(context: Context) -> Iterator[Hits]:
    """A printer that gets a mill's program is refused."""
    if context.profile.spindle is not None:
        return
    remedy = "Choose the machine that the program was made for."
    text = f"a spindle is started; {context.profile.id} has none."
    yield Hits(Severity.ERROR, np.flatnonzero(context.is_op(*STARTS)), lambda _: Seen(text, remedy))


@rule("spindle.oriented", "Only a spindle that can stop at an angle is told to.")
def oriented(context: Context) -> Iterator[Hits]:
    """Back boring (G87) with a tool that stands at any angle breaks it in the hole."""
    spindle = context.profile.spindle
    if spindle is not None and spindle.orients:
        return
    text = f"the spindle is to stop at an angle (M19, G87); {context.profile.id} has none that can."
    remedy = "Bore from above, or choose a machine whose profile says 'orients: true'."
    yield Hits(Severity.ERROR, np.flatnonzero(context.is_op(Op.ORIENT_SPINDLE)), lambda _: Seen(text, remedy))


@rule("coolant.left_on", "A program switches the coolant off at its end.")
def coolant_left_on(context: Context) -> Iterator[Hits]:
    """PROGRAM_END (M2, M30) switches it off too (NIST IR 6556, 3.6.1)."""
    starts = context.is_op(Op.FLOOD_ON, Op.MIST_ON)
    last = context.last(starts | context.is_op(Op.COOLANT_OFF, Op.PROGRAM_END))
    if len(last) and last[-1] >= 0 and starts[last[-1]]:
        remedy = "Switch it off (M9), or end the program with M2 or M30."
        yield Hits(Severity.WARNING, [int(last[-1])], lambda _: Seen("the program ends with the coolant on.", remedy))


@rule("spindle.left_on", "A program stops its spindle at its end.")
def left_on(context: Context) -> Iterator[Hits]:
    """PROGRAM_END (M2, M30) stops it too."""
    on = turning(context)
    if len(on) and on[-1] and context.profile.spindle is not None:
        started = int(context.last(context.is_op(*STARTS))[-1])
        remedy = "Stop it (M5), or end the program with M2 or M30."
        yield Hits(Severity.WARNING, [started], lambda _: Seen("the program ends with the spindle turning.", remedy))
