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
STOPS = (Op.STOP_SPINDLE_TURNING, Op.PROGRAM_END)


def _is_turning(context: Context) -> np.ndarray:
    """Mask: the spindle turns after the instruction. A start at speed 0 stops it."""
    starts = context.is_op(*STARTS)
    last = context.last(starts | context.is_op(*STOPS))
    return (last >= 0) & starts[last] & (context.program.value[last] > 0.0) if len(last) else starts


@rule("spindle.stopped", "A mill feeds below the stock's top only with its spindle turning.")
def stopped(context: Context) -> Iterator[Hits]:
    """The stock's top is Z = 0. A tool that is pushed into stock without turning breaks. One finding a standstill."""
    if context.profile.kind != "mill":
        return
    depth = np.minimum(context.lowest_m[:, 2], context.starts_m[:, 2])
    turning = _is_turning(context)
    bad = context.is_feed & ~(depth >= 0.0) & ~turning & ~(context.length_m == 0.0)
    first = bad & ~context.before(bad, 0)
    yield Hits(
        Severity.ERROR,
        np.flatnonzero(first),
        lambda i: Seen(
            f"the tool feeds at Z = {depth[i] / MM:.3f} mm, below the stock's top, while the spindle stands still.",
            "Start the spindle (M3 S...) before the cut.",
            depth[i] / MM,
            0.0,
            "mm",
        ),
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


@rule("spindle.left_on", "A program stops its spindle at its end.")
def left_on(context: Context) -> Iterator[Hits]:
    """PROGRAM_END (M2, M30) stops it too."""
    turning = _is_turning(context)
    if len(turning) and turning[-1] and context.profile.spindle is not None:
        started = int(context.last(context.is_op(*STARTS))[-1])
        remedy = "Stop it (M5), or end the program with M2 or M30."
        yield Hits(Severity.WARNING, [started], lambda _: Seen("the program ends with the spindle turning.", remedy))
