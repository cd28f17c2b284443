"""calibrate: a machine's parameters from its step tests, as an overlay of its profile."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from industriverse_cli.options import Json, writing
from industriverse_cli.output import EXIT_CELL, EXIT_REFUSED, columns, complain, console, print_json
from industriverse_cli.ros import ros_module
from industriverse_core.errors import CoreError, ErrorCode, InputError

if TYPE_CHECKING:
    from industriverse_cli.calibration.rehearsal import Rehearsal
    from industriverse_cli.calibration.sources import Source
    from industriverse_core.machine import MachineProfile
    from twin_node.identification.identify import Estimate, Identification

RECORDED_WITHIN_S = 15.0  # the hub writes once a second
MOST_REHEARSALS = 1000


def calibrate(
    machine: Annotated[str, typer.Argument(metavar="MACHINE", help="Machine profile: a name or a YAML file.")],
    plan: Annotated[
        Path | None, typer.Option(metavar="OUT.gcode", help="Write the step tests and end.", show_default=False)
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(metavar="FILE|CELL", help="Identify from a telemetry record.", show_default=False),
    ] = None,
    bag: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Identify from a recorded bag.", show_default=False)
    ] = None,
    rehearse: Annotated[
        int, typer.Option(metavar="N", min=0, max=MOST_REHEARSALS, help="Try it on N virtual machines.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the first virtual machine.")] = 0,
    spread: Annotated[
        float, typer.Option(metavar="PERCENT", min=0, max=30, help="How far virtual machines are from the profile.")
    ] = 25.0,
    job: Annotated[str, typer.Option(metavar="ID", help="Which job of the recording. Default: the last.")] = "",
    program: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What was run. Default: the step tests.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="OUT.yaml", help="Default: MACHINE_calibrated.yaml.", show_default=False
        ),
    ] = None,
    date: Annotated[str, typer.Option(metavar="DAY", help="Default: the recording's, as 2026-11-20.")] = "",
    meter: Annotated[
        float, typer.Option("--meter-accuracy", metavar="PERCENT", min=0, max=20, help="Of the power meter.")
    ] = 0.5,
    cell: Annotated[str, typer.Option("--cell", metavar="NAME", help="Which running cell.")] = "demo",
    json: Json = False,
) -> None:
    """Fit a printer's profile to the machine: run step tests in the running cell, identify, write an overlay.

    The tests are a job like any other: the gates check it, and nothing moves without a permit. With --record or --bag
    no cell is needed. The overlay is accepted wherever a machine profile is. docs/calibration.md explains it.

    Example: industriverse calibrate prusa_mk3s --plan calibrate.gcode

    Example: industriverse calibrate prusa_mk3s --record demo -o my_mk3s.yaml

    Example: industriverse calibrate prusa_mk3s --rehearse 20
    """
    from industriverse_core.machine import load_machine

    profile = load_machine(machine)
    chosen = [
        name
        for name, value in (("--plan", plan), ("--record", record), ("--bag", bag), ("--rehearse", rehearse))
        if value
    ]
    if len(chosen) > 1:
        raise InputError(ErrorCode.USAGE, f"{' and '.join(chosen)} exclude each other.", "Choose one.")
    if plan is not None:
        _write_plan(profile, plan, json)
    elif rehearse:
        _rehearse(profile, range(seed, seed + rehearse), spread / 100.0, meter / 100.0, json)
    else:
        target = _target(output, profile)
        source = _source(profile, record, bag, job, program, cell, json)
        _identify(machine, profile, source, target, date, meter / 100.0, json)


def _target(output: Path | None, profile: MachineProfile) -> Path:
    """Where the overlay goes. Nothing is overwritten: an overlay may be in use."""
    target = output or Path(f"{profile.id}_calibrated.yaml")
    if target.suffix.lower() not in (".yaml", ".yml"):
        raise InputError(ErrorCode.USAGE, f"{target}: an overlay is a YAML file.", "Name a file that ends in .yaml.")
    if target.exists():
        raise InputError(ErrorCode.USAGE, f"{target}: exists already.", "Name another file with -o, or remove it.")
    return target


def _write_plan(profile: MachineProfile, plan: Path, json: bool) -> None:
    from industriverse_core.files import PROGRAM_ENDINGS
    from twin_node.identification.plan import step_test

    if plan.suffix.lower() not in PROGRAM_ENDINGS[:-1]:
        raise InputError(ErrorCode.USAGE, f"{plan}: the step tests are G-code.", "Name a file that ends in .gcode.")
    text = step_test(profile)
    with writing(plan):
        plan.write_text(text, encoding="ascii")
    print_json({"plan": str(plan), "machine": profile.id}) if json else print(plan)


# --- a recording ---


def _source(
    profile: MachineProfile,
    record: Path | None,
    bag: Path | None,
    job: str,
    program: Path | None,
    cell: str,
    json: bool,
) -> Source:
    """From a bag, from a record, or from the job that is run now."""
    from industriverse_cli.calibration.sources import Wanted, from_bag, from_record
    from industriverse_core.store import home_directory

    wanted = Wanted(profile, job, program)
    if bag is not None:
        return from_bag(bag, wanted)
    if record is not None:
        return from_record(record, home_directory(), wanted)
    if job or program is not None:
        raise InputError(ErrorCode.USAGE, "--job and --program say what a recording has.", "Add --record or --bag.")
    return _run_in_cell(profile, cell, json)


def _run_in_cell(profile: MachineProfile, cell: str, quiet: bool) -> Source:
    """Submit the step tests, follow them to their end, and read what the cell's hub has recorded of them."""
    from industriverse_cli.calibration.sources import Wanted, from_record
    from industriverse_core.store import CellPaths, RunningCell, cell_directory, home_directory
    from twin_node.identification.plan import step_test

    running = RunningCell.find(cell)
    if running.machine != profile.id:
        raise InputError(
            ErrorCode.USAGE, f"the cell '{cell}' has the machine {running.machine}, not {profile.id}.", "Name that one."
        )
    folder = CellPaths(cell_directory(cell)).directory
    path = folder / f"step_tests_{profile.id}.gcode"
    with writing(path):
        path.write_text(step_test(profile), encoding="ascii")
    job_id = _follow(running, path, quiet)
    deadline_s = time.monotonic() + RECORDED_WITHIN_S
    while True:
        try:
            source = from_record(folder, home_directory(), Wanted(profile, job_id, path))
            return replace(source, name=f"cell {cell}")
        except CoreError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(1.0)


def _follow(running: Any, path: Path, quiet: bool) -> str:
    """Run a file as a job to its end; its id. Where it does not complete: typer.Exit, as `submit --follow`."""
    client_of = ros_module("industriverse_cli.cell.node").CommandClient
    said: list[str] = []

    def update(job: Any) -> None:
        if not quiet and (not said or said[-1] != job.state):
            said.append(job.state)
            print(f"{job.job_id}  {job.state:<10} {job.note}".rstrip(), flush=True)

    with client_of(running) as client:
        job_id: str = client.submit(str(path), "", "", 1)
        last = client.follow_view(job_id, update)
    if last.state != "completed":
        if quiet:
            print_json(last.as_json())
        raise typer.Exit(EXIT_REFUSED if last.state == "refused" else EXIT_CELL)
    time.sleep(1.5)  # the hub's last second
    return job_id


def _identify(
    machine: str, profile: MachineProfile, source: Source, target: Path, date: str, accuracy: float, json: bool
) -> None:
    from industriverse_cli.calibration.overlay import overlay_text
    from industriverse_core.files import replace_file
    from twin_node.identification.identify import identify

    found = identify(source.recording, profile, accuracy)
    base = str(Path(machine).resolve()) if machine.endswith((".yaml", ".yml")) or "/" in machine else machine
    text = overlay_text(base, profile, found, source, date)
    with writing(target):
        replace_file(target, text.encode())
    if json:
        print_json(
            {
                "machine": found.machine_id, "job_id": source.job_id, "overlay": str(target),
                "duration_s": found.duration_s, "power_sigma_w": found.power_sigma_w,
                "estimates": [_as_json(each) for each in found.estimates],
            }
        )  # fmt: skip
        return
    _print(found)
    print(f"overlay: {target}")


def _as_json(each: Estimate) -> dict[str, Any]:
    return {
        "name": each.name, "unit": each.unit, "profile": each.profile, "value": each.value, "low": each.low,
        "high": each.high, "identified": each.identified, "reason": each.reason,
        "in_overlay": each.identified and each.field,
    }  # fmt: skip


def _print(found: Identification) -> None:
    out = console()
    table = columns("parameter", ">profile", ">identified", ">+- 90 %", "unit", ">change")
    for each in found.estimates:
        given = "" if math.isnan(each.profile) else f"{each.profile:.4g}"
        if each.identified:
            change = "" if not each.field else f"{100.0 * (each.value / each.profile - 1.0):+.1f} %"
            half = f"{0.5 * (each.high - each.low):.2g}"
            table.add_row(each.name, given, f"{each.value:.4g}", half, each.unit, change)
        else:
            table.add_row(each.name, given, "-", "", each.unit, "")
    out.print(table)
    for each in found.estimates:
        if not each.identified:
            out.print(f"not identified: {each.name}: {each.reason}")
    out.print(
        f"{found.duration_s:.0f} s; scatter: meter {found.power_sigma_w:.2g} W, hot end {found.hotend_sigma_k:.2g} K"
        + ("" if math.isnan(found.bed_sigma_k) else f", bed {found.bed_sigma_k:.2g} K")
    )


# --- rehearsal ---


def _rehearse(profile: MachineProfile, seeds: range, spread: float, accuracy: float, json: bool) -> None:
    """One row a parameter: how far from the truth, and how often the interval held it."""
    from industriverse_cli.calibration.rehearsal import judge, rehearse

    done: list[Rehearsal] = []
    for seed in seeds:
        try:
            done.append(rehearse(profile, seed, spread, accuracy))
        except CoreError as error:
            complain(error)
    rows = judge(done)
    if json:
        print_json({"machine": profile.id, "runs": len(done), "failed": len(seeds) - len(done), "parameters": rows})
    else:
        table = columns("parameter", ">identified", ">median error", ">worst error", ">+- 90 %", ">in interval")
        for row in rows:
            if not row["identified"]:
                table.add_row(row["name"], f"0/{len(done)}", "-", "-", "-", "-")
                continue
            unit, scale = ("K", 1.0) if row["unit"] == "K" else ("%", 100.0)
            numbers = (f"{scale * row[name]:.2f} {unit}" for name in ("median_error", "worst_error", "half_width"))
            table.add_row(row["name"], f"{row['identified']}/{len(done)}", *numbers, f"{row['coverage']:.2f}")
        console().print(table)
    if len(done) < len(seeds):
        raise typer.Exit(EXIT_CELL)
