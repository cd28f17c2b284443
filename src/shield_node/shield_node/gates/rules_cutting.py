"""Tool and stock of a mill: which tool, how deep, how steep, how fast, and no rapid through material."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from industriverse_core.artefacts import Severity
from industriverse_core.program import Op
from industriverse_core.units import MM
from shield_node.gates.context import Context
from shield_node.gates.registry import WHOLE_PROGRAM, Hits, Seen, rule
from shield_node.gates.rules_spindle import turning

TOLERANCE = 1.02  # controllers and post-processors round depths and feeds
QUANTILE_95 = 1.645
ASSUMED = " (no stock is named: all below Z = 0 is taken for material)"


@rule("tool.number", "Only tools that the machine has are called.")
def number(context: Context) -> Iterator[Hits]:
    """A mill's tools are the profile's table; where it has none, every number passes. A printer has one hot end: 0."""
    profile, target = context.profile, context.program.target
    known = [tool.number for tool in profile.tools] if profile.kind == "mill" else [0]
    if not known:
        return
    names = ", ".join(str(item) for item in known)
    yield Hits(
        Severity.ERROR,
        np.flatnonzero(context.is_op(Op.CHANGE_TOOL) & ~np.isin(target, known)),
        lambda i: Seen(
            f"tool {target[i]} is called; {profile.id} has {names}.",
            "Call a tool that is there, or write it into the machine's profile.",
            target[i],
        ),
    )


@rule("tool.turning", "A tool is changed while the spindle stands still.")
def changed_turning(context: Context) -> Iterator[Hits]:
    """Not every controller stops the spindle for M6."""
    if context.profile.kind != "mill":
        return
    was_turning = context.before(turning(context), 0)
    yield Hits(
        Severity.WARNING,
        np.flatnonzero(context.is_op(Op.CHANGE_TOOL) & was_turning),
        lambda _: Seen("the tool is changed with the spindle turning.", "Stop it before (M5)."),
    )


@rule("tool.plunge", "A tool goes down into material no faster than it can.")
def plunge(context: Context) -> Iterator[Hits]:
    """The downward part of a feed (ramps and helices have one too), clamped to the machine's speed, against the
    max_plunge of the tool in the profile's table."""
    if context.profile.kind != "mill" or not context.profile.tools:
        return
    cutting, fall = context.cutting, -context.travel_m[:, 2]
    in_material = cutting.cuts if cutting.is_known else ~(context.program.z_m >= 0.0)
    speed = np.minimum(context.asked_speed_m_s, context.allowed_speed_m_s) * fall / context.length_m
    limit = _of_the_tool(context, "max_plunge")
    yield Hits(
        Severity.ERROR,
        np.flatnonzero(context.is_feed & in_material & (fall > 0.0) & (speed > limit * TOLERANCE)),
        lambda i: Seen(
            f"the tool goes down into material at {speed[i] / MM:.2f} mm/s; {limit[i] / MM:g} mm/s are allowed.",
            "Lower the feed of the plunge, or ramp in.",
            speed[i] / MM,
            limit[i] / MM,
            "mm/s",
        ),
    )


@rule("tool.engagement", "No cut is deeper than the tool allows in one pass.")
def engagement(context: Context) -> Iterator[Hits]:
    """The deepest cut below the surface that stands at that time, from the removal simulation, against max_depth of
    the tool in the profile's table. A warning where the stock is assumed."""
    if context.profile.kind != "mill" or not context.profile.tools:
        return
    cutting, limit = context.cutting, _of_the_tool(context, "max_depth")
    deep = context.is_feed & cutting.cuts & (cutting.depth_m > limit * TOLERANCE)
    yield Hits(
        Severity.WARNING if cutting.assumed else Severity.ERROR,
        np.flatnonzero(deep),
        lambda i: Seen(
            f"a cut {cutting.depth_m[i] / MM:.2f} mm deep; {limit[i] / MM:g} mm are allowed in one pass"
            f"{ASSUMED if cutting.assumed else ''}.",
            "Make more passes, each less deep.",
            cutting.depth_m[i] / MM,
            limit[i] / MM,
            "mm",
        ),
    )


@rule("stock.rapid", "No rapid move goes through material.")
def rapid(context: Context) -> Iterator[Hits]:
    """What a rapid would remove in the removal simulation; down, across or on a slope. A warning where the stock is
    assumed."""
    if context.profile.kind != "mill":
        return
    cutting = context.cutting
    depth = cutting.depth_m
    yield Hits(
        Severity.WARNING if cutting.assumed else Severity.ERROR,
        np.flatnonzero(context.is_op(Op.STRAIGHT_TRAVERSE) & cutting.cuts),
        lambda i: Seen(
            f"a rapid runs {depth[i] / MM:.2f} mm deep into material{ASSUMED if cutting.assumed else ''}.",
            "Lift the tool before it travels (G0 Z...), and feed (G1) into material.",
            depth[i] / MM,
            0.0,
            "mm",
        ),
    )


@rule("stock.unknown", "A mill's stock is known, and the program can be followed through it.")
def unknown(context: Context) -> Iterator[Hits]:
    """Without a stock, depths of cut and rapids are judged against all that lies below Z = 0, and only warned of.

    A named stock that cannot be followed (it has no bounds, or is too large for its tools) is a warning."""
    if context.profile.kind != "mill":
        return
    cutting = context.cutting
    remedy = "Name the stock (all six bounds), in the job or in the machine's profile."
    if cutting.problem and not cutting.assumed:
        text = f"depths of cut and rapids are not judged: {cutting.problem}"
        yield Hits(Severity.WARNING, WHOLE_PROGRAM, lambda _: Seen(text, remedy))
    elif cutting.assumed:
        text = "no stock is named; all below Z = 0 is taken for material, and depths and rapids refuse nothing."
        yield Hits(Severity.INFO, WHOLE_PROGRAM, lambda _: Seen(text, remedy))


@rule("spindle.power", "No cut takes more power than the spindle has.")
def power(context: Context) -> Iterator[Hits]:
    """P = idle + k v (Gutowski 2006): k the material's cutting energy, v the volume removed a second. An error where
    the power is above the spindle's even with k at the low end of its 90 % interval, a warning where the mean is."""
    spindle, material = context.profile.spindle, context.material
    if spindle is None or spindle.max_power is None or material is None or material.cutting_energy is None:
        return
    cutting, top = context.cutting, spindle.max_power
    rate = np.where(context.is_feed & cutting.cuts, cutting.removed_m3 / context.least_time_s, 0.0)
    rate = np.where(np.isfinite(rate), rate, 0.0)
    demand = spindle.idle_power + material.cutting_energy * rate
    surely = spindle.idle_power + max(0.0, 1.0 - QUANTILE_95 * spindle.uncertainty) * material.cutting_energy * rate
    error = (surely > top) if not cutting.assumed else np.zeros(len(rate), bool)

    def describe(index: int) -> Seen:
        return Seen(
            f"the cut takes {demand[index]:.0f} W; the spindle has {top:g} W.",
            "Lower the feed or the depth of cut.",
            demand[index],
            top,
            "W",
        )

    yield Hits(Severity.ERROR, np.flatnonzero(error), describe)
    yield Hits(Severity.WARNING, np.flatnonzero((demand > top) & ~error), describe)


def _of_the_tool(context: Context, name: str) -> np.ndarray:
    """(n,) a limit of the tool in force; the least of the table while none of it is named."""
    limit = np.full(len(context.program), min(getattr(tool, name) for tool in context.profile.tools))
    for tool in context.profile.tools:
        limit[context.tool_number == tool.number] = getattr(tool, name)
    return limit
