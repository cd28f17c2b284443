"""Filament: how fast it melts, and whether the path takes it.

Two leaky buckets look at sums instead of single moves, so that neither rounding in a tiny move raises an alarm
nor many tiny moves hide what one long move would show.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from industriverse_core.artefacts import Severity
from industriverse_core.units import MM, MM3
from shield_node.gates.columns import bucket
from shield_node.gates.context import Context
from shield_node.gates.registry import WHOLE_PROGRAM, Hits, Seen, rule

FLOW_TOLERANCE = 1.05  # slicers round E to 10 um of filament
FLOW_SLACK_M3 = 1e-9  # the melt in the nozzle; real sliced files stay below 0.2 mm^3
WIDEST_BEAD = 10.0  # bead cross-section over nozzle diameter squared; purge lines reach 5, walls 1
DIAMETER_TOLERANCE = 0.01
LONGEST_RETRACTION_M = 1.0  # longer than any filament path from drive to nozzle


@rule("extrusion.flow", "The hot end melts no more plastic a second than it can.")
def flow(context: Context) -> Iterator[Hits]:
    """Volume over the shortest time of each printing move (its feed, clamped to the machine's speeds, without
    ramps) against the profile's max_flow and 5 %. The excess adds up from move to move and melts away at max_flow;
    more than 1 mm³ of it is an error. Filament fed at a standstill is the rule extrusion.blob's.
    """
    extruder = context.profile.extruder
    if extruder is None:
        return
    allowed = extruder.max_flow * FLOW_TOLERANCE
    melting = context.is_travelling & context.is_printing
    volume = np.where(melting & np.isfinite(context.extrude_m3), context.extrude_m3, 0.0)
    seconds = context.least_time_s
    drained = np.where(np.isfinite(seconds) & (seconds > 0.0), allowed * seconds, 0.0)
    excess = bucket(volume - drained)
    over = melting & (excess > FLOW_SLACK_M3) & ~(volume <= drained)
    rate = context.extrude_m3 / seconds
    yield Hits(
        Severity.ERROR,
        np.flatnonzero(over),
        lambda i: Seen(
            f"{rate[i] / MM3:.1f} mm^3/s have to be melted; the hot end melts {extruder.max_flow / MM3:g} mm^3/s.",
            "Lower the feed, the layer height or the line width.",
            rate[i] / MM3,
            extruder.max_flow / MM3,
            "mm3/s",
        ),
    )


@rule("extrusion.blob", "Filament goes where the path can take it.")
def blob(context: Context) -> Iterator[Hits]:
    """Filament beyond a bead of 10 nozzle diameters squared (1.6 mm² for a 0.4 mm nozzle) gathers at the nozzle and
    is wiped off by further travel at the same rate; more than the profile's max_stationary_extrusion is an error.
    Refilling a retraction does not count. Purge lines pass.
    """
    extruder = context.profile.extruder
    if extruder is None:
        return
    path = np.where(np.isfinite(context.length_m), context.length_m, 0.0)
    gathered = bucket(context.fresh_m3 - WIDEST_BEAD * extruder.nozzle_diameter**2 * path)
    over = (context.fresh_m3 > 0.0) & ~(gathered <= extruder.max_stationary_extrusion * context.filament_area_m2)
    filament = gathered / context.filament_area_m2
    yield Hits(
        Severity.ERROR,
        np.flatnonzero(over),
        lambda i: Seen(
            f"{filament[i] / MM:.1f} mm of filament gather at one place; "
            f"{extruder.max_stationary_extrusion / MM:g} mm are allowed.",
            "Check E: absolute or relative (M82, M83), and whether it was reset (G92 E0).",
            filament[i] / MM,
            extruder.max_stationary_extrusion / MM,
            "mm",
        ),
    )


@rule("extrusion.retract", "The filament is not drawn back out of its drive.")
def retract(context: Context) -> Iterator[Hits]:
    """In one go or in all: beyond the profile's max_retraction the drive has lost it and cannot push it back, which is
    an error where the program pushes later, else a warning (it unloads). Beyond one metre, longer than any way from
    drive to nozzle, it is an error. The usual cause is E read as absolute instead of relative. One finding each time.
    """
    extruder = context.profile.extruder
    allowed = LONGEST_RETRACTION_M if extruder is None else min(extruder.max_retraction, LONGEST_RETRACTION_M)
    drawn = context.retracted_m3 / context.filament_area_m2
    back = context.extrude_m3 < 0.0
    beyond = back & ~(drawn <= allowed)
    pushes = np.flatnonzero(context.extrude_m3 > 0.0)
    last_push = pushes[-1] if len(pushes) else -1
    is_error = beyond & (~(drawn <= LONGEST_RETRACTION_M) | (np.arange(len(drawn)) < last_push))
    for severity, hit in ((Severity.ERROR, is_error), (Severity.WARNING, beyond & ~is_error)):
        yield Hits(
            severity,
            np.flatnonzero(hit & ~context.before(hit, 0)),
            lambda i: Seen(
                f"the filament is drawn back {drawn[i] / MM:.0f} mm; at most {allowed / MM:g} mm are allowed.",
                "Check E: absolute or relative (M82, M83), and whether it was reset (G92 E0).",
                drawn[i] / MM,
                allowed / MM,
                "mm",
            ),
        )


@rule("extrusion.dry", "Filament that was drawn back is refilled before the print goes on.")
def dry(context: Context) -> Iterator[Hits]:
    """Moves that print while the filament is still drawn back lay down nothing. It may be drawn back at most the
    profile's max_stationary_extrusion then, and what such moves push, less what reaches the nozzle meanwhile, may be
    as much. The usual causes are E read as absolute instead of relative, and a lost G92 E0. Filament drawn out at the
    end passes.
    """
    extruder = context.profile.extruder
    if extruder is None:
        return
    printing = context.is_travelling & context.is_printing & np.isfinite(context.extrude_m3)
    refill = np.where(printing, context.extrude_m3 - 2.0 * context.fresh_m3, 0.0)
    lost = np.maximum(bucket(refill), context.retracted_m3) / context.filament_area_m2
    over = printing & (refill > 0.0) & ~(lost <= extruder.max_stationary_extrusion)
    first = over & ~context.before(over, 0)
    yield Hits(
        Severity.ERROR,
        np.flatnonzero(first),
        lambda i: Seen(
            f"the move prints while {lost[i] / MM:.1f} mm of filament were drawn back or have only refilled that; "
            f"{extruder.max_stationary_extrusion / MM:g} mm are allowed.",
            "Check E: absolute or relative (M82, M83), and whether it was reset (G92 E0).",
            lost[i] / MM,
            extruder.max_stationary_extrusion / MM,
            "mm",
        ),
    )


@rule("extruder.absent", "Only a machine with an extruder is told to extrude.")
def absent(context: Context) -> Iterator[Hits]:
    """A mill that gets a printer's program is refused."""
    if context.profile.extruder is not None:
        return
    yield Hits(
        Severity.ERROR,
        np.flatnonzero(~(context.extrude_m3 == 0.0)),
        lambda _: Seen(
            f"a move feeds filament; {context.profile.id} has no extruder.",
            "Choose the machine that the program was made for.",
        ),
    )


@rule("extruder.filament", "A program counts with the filament that the machine feeds.")
def filament(context: Context) -> Iterator[Hits]:
    """Its filament diameter turns volumes into lengths: another one than the machine's, by more than 1 %, would feed
    another amount than the gates have judged."""
    extruder = context.profile.extruder
    written = context.program.metadata.filament_diameter_m
    if extruder is None or not (context.extrude_m3 != 0.0).any():
        return
    if abs(written - extruder.filament_diameter) <= DIAMETER_TOLERANCE * extruder.filament_diameter:
        return
    seen = Seen(
        f"the program counts with filament of {written / MM:g} mm; {context.profile.id} feeds "
        f"{extruder.filament_diameter / MM:g} mm.",
        "Slice for the machine's filament.",
        written / MM,
        extruder.filament_diameter / MM,
        "mm",
    )
    yield Hits(Severity.ERROR, WHOLE_PROGRAM, lambda _: seen)


@rule("extruder.nozzle", "A program is sliced for the nozzle that the machine has.")
def nozzle(context: Context) -> Iterator[Hits]:
    """A file that names no nozzle passes."""
    extruder = context.profile.extruder
    written = context.program.metadata.nozzle_diameter_m
    if extruder is None or written == 0.0:
        return
    if not abs(written - extruder.nozzle_diameter) <= DIAMETER_TOLERANCE * extruder.nozzle_diameter:
        seen = Seen(
            f"the program was sliced for a nozzle of {written / MM:g} mm; {context.profile.id} has "
            f"{extruder.nozzle_diameter / MM:g} mm.",
            "Change the nozzle and the profile, or slice for this nozzle.",
            written / MM,
            extruder.nozzle_diameter / MM,
            "mm",
        )
        yield Hits(Severity.WARNING, WHOLE_PROGRAM, lambda _: seen)
