"""The part on a printer's bed: room for the beads, beads in the air, and nothing that runs into it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from industriverse_core.artefacts import Severity
from industriverse_core.program import Op, Plane
from industriverse_core.units import MM
from shield_node.gates.context import Context
from shield_node.gates.deposit import MOST_PASSES, WIDEST_BEAD
from shield_node.gates.registry import WHOLE_PROGRAM, Hits, Seen, rule

TOUCH = 1.0  # nozzle diameters below the part's top: the nozzle scrapes
CRASH = 2.0
BED_TOLERANCE_M = 1e-6  # slicers write micrometres
LONGEST_BRIDGE_M = 5e-3  # a shorter one hardens without a fan
SOFT_C = 70.0  # polymers that soften below it stay soft without a fan


@rule("part.collision", "The nozzle does not run into what has been printed.")
def collision(context: Context) -> Iterator[Hits]:
    """A height map of the bed knows the top of the part under every path. One nozzle diameter below it is a warning,
    two are an error, and so is a path too long to be followed (250 km)."""
    extruder = context.profile.extruder
    if extruder is None:
        return
    if not context.deposit.is_whole:
        text = "the path is too long to be followed; the part is not judged."
        yield Hits(Severity.ERROR, WHOLE_PROGRAM, lambda _: Seen(text, "Split the program."))
    depth, unit = context.deposit.collision_m, extruder.nozzle_diameter
    for severity, hit in (
        (Severity.ERROR, depth > CRASH * unit),
        (Severity.WARNING, (depth > TOUCH * unit) & (depth <= CRASH * unit)),
    ):
        yield Hits(
            severity,
            np.flatnonzero(hit),
            lambda i: Seen(
                f"the nozzle runs {depth[i] / MM:.2f} mm below the top of what has been printed there.",
                "Lift the nozzle before it travels, or check Z.",
                depth[i] / MM,
                TOUCH * unit / MM,
                "mm",
            ),
        )


@rule("part.bed", "The nozzle does not move across the bed where it touches it.")
def scraping(context: Context) -> Iterator[Hits]:
    """At Z = 0 the nozzle stands on the bed: moves in X and Y scrape it, hot or cold, and what is printed has no room.

    Looked at once a move has set Z; where the nozzle is after homing is the machine's own affair, unless the move
    prints. One finding each time that it goes down.
    """
    if context.profile.extruder is None:
        return
    program, z = context.program, context.ends_m[2]
    across = np.hypot(context.travel_m[0], context.travel_m[1]) > 0.0
    across[context.arcs.where[context.arcs.plane == Plane.XY]] = True
    unset = context.is_op(Op.HOME, Op.LEVEL_BED)
    last = context.last(unset | (context.is_motion & (context.travel_m[2] != 0.0)))
    is_set = (last >= 0) & ~unset[last] if len(last) else unset
    low = np.maximum(z, context.starts_m[2]) <= BED_TOLERANCE_M
    where = np.flatnonzero(across & low & (is_set | (context.fresh_m3 > 0.0)))
    yield Hits(
        Severity.ERROR,
        where[np.unique(last[where], return_index=True)[1]],
        lambda i: Seen(
            f"the nozzle moves across the bed at Z = {program.z_m[i] / MM:.3f} mm.",
            "Lift it before it travels; print the first layer at its height.",
            program.z_m[i] / MM,
            0.0,
            "mm",
        ),
    )


@rule("part.overfill", "There is room for what is printed.")
def overfill(context: Context) -> Iterator[Hits]:
    """Beads wider than 2 nozzle diameters, for the height that they really have above what lies below them, run into
    each other and pile up. The excess adds up from move to move and is used up by narrower beads. What is laid into one
    layer at one place beyond 4 times its room has no place either, and nothing uses it up. More than the profile's
    max_stationary_extrusion of both is an error. Purge lines pass. The usual causes are a wrong flow (M221) or
    filament, and layers without a change of Z."""
    extruder = context.profile.extruder
    if extruder is None:
        return
    excess = context.deposit.overfill_m3 / context.filament_area_m2
    over = excess > extruder.max_stationary_extrusion
    yield Hits(
        Severity.ERROR,
        np.flatnonzero(over & ~context.before(over, 0)),
        lambda i: Seen(
            f"beads wider than {WIDEST_BEAD:g} nozzle diameters, or more than {MOST_PASSES:g} in one place of a layer, "
            f"have left {excess[i] / MM:.1f} mm of filament without room; "
            f"{extruder.max_stationary_extrusion / MM:g} mm are allowed.",
            "Check the flow (M221), the filament's diameter, the layer height and the changes of Z.",
            excess[i] / MM,
            extruder.max_stationary_extrusion / MM,
            "mm",
        ),
    )


@rule("part.bridge_fan", "Bridges of a material that stays soft are printed with the fan on.")
def bridge_fan(context: Context) -> Iterator[Hits]:
    """A bead that hangs in the air for more than 5 mm sags unless it is cooled, when the material softens below
    70 degC (PLA). One warning for each time that the fan is off."""
    material = context.material
    if material is None or material.kind != "polymer" or not material.softening < SOFT_C:
        return
    hanging = context.deposit.hanging_m
    fans = context.is_op(Op.SET_FAN)
    last = context.last(fans)
    off = np.ones(len(context.program), bool) if not len(last) else (last < 0) | ~(context.program.value[last] > 0.0)
    where = np.flatnonzero((hanging > LONGEST_BRIDGE_M) & off)
    yield Hits(
        Severity.WARNING,
        where[np.unique(last[where], return_index=True)[1]],
        lambda i: Seen(
            f"a bridge of {hanging[i] / MM:.1f} mm is printed with the fan off; "
            f"{LONGEST_BRIDGE_M / MM:g} mm of {material.id} hold without.",
            "Switch the fan on (M106), or print it with support.",
            hanging[i] / MM,
            LONGEST_BRIDGE_M / MM,
            "mm",
        ),
    )


@rule("part.homing", "Nothing homes or probes downwards once a part stands on the bed.")
def homing(context: Context) -> Iterator[Hits]:
    """Z that homes to its lower end, and a levelled bed, drive the nozzle or the probe into the part. What counts as
    a part is more filament than the profile's max_stationary_extrusion on a path; prime lines before levelling pass.
    """
    extruder, z = context.profile.extruder, context.profile.kinematics.z
    if extruder is None:
        return
    laid = np.cumsum(np.where(context.is_travelling, context.fresh_m3, 0.0)) / context.filament_area_m2
    downwards = context.is_op(Op.LEVEL_BED)
    if z.home <= 0.5 * (z.minimum + z.maximum):
        downwards |= context.is_op(Op.HOME) & ((context.program.target & 4) != 0)
    yield Hits(
        Severity.ERROR,
        np.flatnonzero(downwards & (laid > extruder.max_stationary_extrusion)),
        lambda i: Seen(
            f"Z homes or probes after {laid[i] / MM:.0f} mm of filament were printed; the part stands in the way.",
            "Home X and Y alone (G28 X Y), or home before printing.",
            laid[i] / MM,
            extruder.max_stationary_extrusion / MM,
            "mm",
        ),
    )
