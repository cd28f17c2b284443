"""simulate: a whole program on the machine's body, without a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from industriverse_cli.options import Case, File, Json, Machine, Stock, load_case
from industriverse_cli.output import EXIT_REFUSED, columns, console, facts, print_json

if TYPE_CHECKING:
    from industriverse_core.telemetry import Vector
    from twin_node.body.rehearsal import Rehearsal

SHOWN = 20  # collisions in the table; with --json all


def simulate(file: File, machine: Machine = "prusa_mk3s", stock: Stock = "", json: Json = False) -> None:
    """Let the machine's body carry out a program in MuJoCo: what the tool touches, and what the motors must give.

    Exit status 3 where the tool touches a volume that is kept clear, or the bed. The gates are not asked.

    Example: industriverse simulate part.gcode --machine prusa_mk3s
    """
    from twin_node.body.rehearsal import rehearse

    case = load_case(file, machine, "", stock=stock)
    found = rehearse(case.program, case.profile)
    if json:
        print_json(_json(case, found))
    else:
        _print(found)
    if found.collisions:
        raise typer.Exit(EXIT_REFUSED)


def _json(case: Case, found: Rehearsal) -> dict[str, Any]:
    return {
        "machine": case.profile.id,
        "program_digest": case.program.digest,
        "motion_time_s": found.motion_s,
        "simulated_s": found.simulated_s,
        "collisions": [
            {
                "obstacle": hit.obstacle,
                "line": hit.line,
                "instruction": hit.instruction,
                "motion_clock_s": hit.clock_s,
                "position_m": list(hit.position_m),
            }
            for hit in found.collisions
        ],
        "peak_effort_n": list(found.peak_effort_n),
        "vibration_m_s2": list(found.vibration_m_s2),
        "tracking_error_m": {"rms": found.rms_error_m, "worst": found.worst_error_m},
    }


def _print(found: Rehearsal) -> None:
    from industriverse_core.units import MM, duration_text

    rows = {
        "motion": f"{duration_text(found.motion_s)}, simulated {duration_text(found.simulated_s)}",
        "collisions": f"{len(found.collisions)}" if found.collisions else "none",
        "peak effort": _axes(found.peak_effort_n, "N"),
        "vibration": _axes(found.vibration_m_s2, "m/s^2, rms of the worst second"),
        "tracking": f"rms {found.rms_error_m / MM:.3f} mm, worst {found.worst_error_m / MM:.3f} mm",
    }
    console().print(facts(rows))
    if not found.collisions:
        return
    table = columns(">line", ">instruction", ">at [s]", "touches", "tool at X, Y, Z [mm]")
    for hit in found.collisions[:SHOWN]:
        place = ", ".join(f"{value / MM:.2f}" for value in hit.position_m)
        table.add_row(str(hit.line), str(hit.instruction), f"{hit.clock_s:.2f}", hit.obstacle, place)
    console().print(table)
    if len(found.collisions) > SHOWN:
        console().print(f"and {len(found.collisions) - SHOWN} more")


def _axes(values: Vector, unit: str) -> str:
    texts = (f"{axis} {value:.2f}" for axis, value in zip("XYZ", values, strict=True))
    return f"{', '.join(texts)} {unit}"
