"""Volumes that the tool never enters: clips, clamps, a probe."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from industriverse_core.artefacts import Severity
from industriverse_core.machine import Box
from industriverse_core.units import MM
from shield_node.gates.context import Context
from shield_node.gates.registry import Hits, Seen, rule
from shield_node.gates.sweeps import chords_allowed, moves_that_enter

TOLERANCE_M = 1e-6  # what only touches a box stays out of it


@rule("envelope.keep_out", "No move enters a volume that the profile keeps clear.")
def keep_out(context: Context) -> Iterator[Hits]:
    """Straight moves, arcs and helices are followed along their whole way against the profile's keep_out boxes.

    A printer's nozzle is a point. A mill's tool is a cylinder of the loaded tool's radius (of the thickest tool while
    none is named) that reaches up from its tip, so it may not pass below a clamp either. Homing and probing are the
    controller's own moves and not followed.
    """
    for box in context.profile.keep_out:
        where = _entering(context, box)
        low, high = box.bounds_m()
        place = ", ".join(f"{name} {low[axis] / MM:g} to {high[axis] / MM:g}" for axis, name in enumerate("XYZ"))
        yield Hits(
            Severity.ERROR,
            where,
            lambda i, box=box, place=place: Seen(
                f"the move to X {context.program.x_m[i] / MM:.3f}, Y {context.program.y_m[i] / MM:.3f}, "
                f"Z {context.program.z_m[i] / MM:.3f} mm enters '{box.name}' ({place} mm).",
                "Lead the path round it or above it, or move what stands there and the profile's box with it.",
                context.program.z_m[i] / MM,
                box.bounds_m()[1][2] / MM,
                "mm",
            ),
        )


def _entering(context: Context, box: Box) -> np.ndarray:
    """Indices of the moves that come into the box."""
    bounds = np.array(box.bounds_m())  # (2, 3)
    bounds += np.array([[TOLERANCE_M], [-TOLERANCE_M]])
    radius = context.tool_radius_m
    if context.profile.kind == "mill":
        bounds[0, 2] = -np.inf  # the tool reaches up from its tip
    near = context.is_motion & (context.length_m > 0.0) & np.isfinite(context.length_m)
    for axis in range(3):
        reach = radius if axis < 2 else 0.0
        start, low, high = context.starts_m[:, axis], context.lowest_m[:, axis], context.highest_m[:, axis]
        near &= (np.minimum(start, low) - reach < bounds[1, axis]) & (np.maximum(start, high) + reach > bounds[0, axis])
    where = np.flatnonzero(near)
    frames, axes, slot = context.arc_table
    arc_of = slot[where]
    inside = moves_that_enter(
        where, context.starts_m, context.ends_m, arc_of, frames, axes,
        radius[where], bounds.T.ravel(), chords_allowed(int((arc_of >= 0).sum())),
    )  # fmt: skip
    return where[inside]
