"""submit, jobs, stop, clear: the commands that talk to a running cell."""

from __future__ import annotations

import getpass
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from industriverse_cli.options import Json
from industriverse_cli.output import EXIT_CELL, EXIT_REFUSED, columns, console, print_json
from industriverse_cli.ros import ros_module
from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.files import PROGRAM_ENDINGS
from industriverse_core.states import MAX_COPIES

if TYPE_CHECKING:
    from industriverse_cli.cell.node import CommandClient, JobView

STATE_STYLE = {"completed": "green", "aborted": "red", "refused": "red", "held": "yellow", "executing": "cyan"}
CellName = Annotated[str, typer.Option("--cell", metavar="NAME", help="Which cell.")]


class Level(StrEnum):
    """Stop levels as people write them (IEC 60204-1 categories 2, 1, 0)."""

    HOLD = "hold"
    STOP1 = "stop1"
    STOP0 = "stop0"


def client_of(cell: str) -> CommandClient:
    """A client in the cell's ROS domain; ROS is imported only after the domain is known."""
    from industriverse_core.store import RunningCell

    running = RunningCell.find(cell)
    client: CommandClient = ros_module("industriverse_cli.cell.node").CommandClient(running)
    return client


def submit(
    intent: Annotated[
        str, typer.Argument(metavar="FILE-or-SENTENCE", help="A program file, or a sentence.", show_default=False)
    ],
    quantity: Annotated[int, typer.Option(min=0, max=MAX_COPIES, help="Copies; 0 = as the sentence says.")] = 0,
    material: Annotated[str, typer.Option(metavar="NAME", help="Default: as the file or sentence says.")] = "",
    machine: Annotated[str, typer.Option(metavar="NAME", help="Default: the cell's first machine.")] = "",
    follow: Annotated[bool, typer.Option("--follow", help="Approve it, and show its progress to the end.")] = False,
    cell: CellName = "demo",
    json: Json = False,
) -> None:
    """Submit a job to the running cell; prints the job's id.

    With --follow: exit status 0 when it is completed, 3 when it is refused, 1 when it is aborted. Interrupting
    (Ctrl-C) ends the watching, not the job.

    Example: industriverse submit part.gcode --follow

    Example: industriverse submit "two small_clip in PETG"
    """
    wanted = _intent(intent)
    with client_of(cell) as client:
        job_id = client.submit(wanted, machine, material, quantity)
        if not follow:
            print_json({"job_id": job_id}) if json else print(job_id)
            return
        last = _follow(client, job_id, json)
    if json:
        print_json(last.as_json())
    if last.state != "completed":
        raise typer.Exit(EXIT_REFUSED if last.state == "refused" else EXIT_CELL)


def _intent(text: str) -> str:
    """A file's absolute path (nodes have another working directory), or the sentence."""
    path = Path(text)
    try:
        exists = path.exists()
    except (OSError, ValueError):  # too long, or with a zero byte: a sentence
        exists = False
    if exists and path.is_dir():
        raise InputError(ErrorCode.FILE_IS_DIRECTORY, f"{text}: is a directory.", "Name one file in it.")
    if exists:
        return str(path.resolve())
    if text.lower().endswith(PROGRAM_ENDINGS) and " " not in text:
        raise InputError(ErrorCode.FILE_NOT_FOUND, f"{text}: no such file.", "Check the path.")
    if not text.strip():
        raise InputError(ErrorCode.USAGE, "nothing was said.", "Name a program file or write a sentence.")
    return text


def _follow(client: CommandClient, job_id: str, quiet: bool) -> JobView:
    """Show the job's states until it ends; its last state."""
    from rich.text import Text

    out = console()
    seen = ""
    if quiet:
        return client.follow_view(job_id, lambda job: None)
    out.print(Text(f"job {job_id}"))
    with out.status("waiting for the conductor") as status:

        def update(job: JobView) -> None:
            nonlocal seen
            said = f"{job.state} {job.error}"
            if said != seen:
                seen = said
                out.print(Text(f"  {job.state:<10} {job.note}".rstrip(), style=STATE_STYLE.get(job.state, "")))
            status.update(f"{job.state} {job.progress:.0%}")

        last = client.follow_view(job_id, update)
        update(last)
    return last


def jobs(
    limit: Annotated[int, typer.Option(min=0, max=100000, help="How many, newest first; 0 = all.")] = 20,
    cell: CellName = "demo",
    json: Json = False,
) -> None:
    """List the jobs that the conductor knows, newest first.

    Example: industriverse jobs --limit 5
    """
    from rich.text import Text

    with client_of(cell) as client:
        found = client.list_jobs(limit)
    if json:
        print_json({"jobs": [job.as_json() for job in found]})
        return
    out = console()
    if not found:
        out.print(Text("no jobs", style="dim"))
        return
    table = columns("job", "state", "copy", ">progress", "machine", "what")
    for job in found:
        state = Text(job.state, style=STATE_STYLE.get(job.state, ""))
        what = f"{Path(job.intent).name if job.intent.startswith('/') else job.intent}"
        text = Text.assemble(what, (f"\n{job.error}" if job.error else "", "dim"))
        table.add_row(job.job_id, state, f"{job.copy}/{job.quantity}", f"{job.progress:.0%}", job.machine, text)
    out.print(table)


def stop(
    level: Annotated[
        Level,
        typer.Option(help="hold: feed hold, heaters kept; stop1: stop, then power off; stop0: power off at once."),
    ] = Level.STOP1,
    reason: Annotated[str, typer.Option(help="Why; up to 256 characters.")] = "operator's stop from the command line",
    machine: Annotated[str, typer.Option(metavar="NAME", help="Default: every machine of the cell.")] = "",
    cell: CellName = "demo",
    json: Json = False,
) -> None:
    """Stop the cell. Anyone may; it stays stopped until it is cleared (industriverse clear).

    Asks for half a second or more, until the shield reports the stop. Exit status 1 when no shield answers: then
    use the machine's own stop. This is no emergency stop.

    Example: industriverse stop --level hold --reason "check the first layer"
    """  # fmt: skip
    with client_of(cell) as client:
        latch = client.stop(level.value, machine, reason, _operator())
    if json:
        print_json({"stopped": True, "latch_id": latch.latch_id, "machine": latch.machine, "cause": latch.cause})
    else:
        print(f"stopped: {latch.machine}, latch {latch.latch_id}: {latch.cause}")


def clear(
    reason: Annotated[str, typer.Option(help="Why it is safe now.", show_default=False)],
    operator: Annotated[str, typer.Option(help="Who clears. Default: the user.", show_default=False)] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    machine: Annotated[str, typer.Option(metavar="NAME", help="Default: the cell's first machine.")] = "",
    cell: CellName = "demo",
    json: Json = False,
) -> None:
    """Clear a latched stop, in two steps: shows what is latched, then clears exactly that. Nothing resumes by itself.

    On a terminal it asks before the second step; a script has said with the command that it is meant.

    Example: industriverse clear --reason "the part was removed, nobody is in the cell"
    """
    if not reason.strip():
        raise InputError(ErrorCode.REASON_MISSING, "the reason is empty.", "Say why it is safe now: --reason TEXT")
    name = operator or _operator()
    with client_of(cell) as client:
        latch = client.latched(machine, name, reason)
        if not json:
            print(f"latched: {latch.machine}, latch {latch.latch_id}: {latch.cause}")
        if not yes and sys.stdin.isatty():
            _ask()
        client.clear(latch, name, reason)
    if json:
        print_json({"cleared": True, "latch_id": latch.latch_id, "machine": latch.machine, "cause": latch.cause})
    else:
        print(f"cleared by {name}: {reason}")


def _ask() -> None:
    """Ask the person at the terminal; end when the answer is no."""
    if not typer.confirm("Is it safe to clear this stop?", default=False, err=True):
        raise typer.Exit(EXIT_CELL)


def _operator() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this user id
        return "operator"
