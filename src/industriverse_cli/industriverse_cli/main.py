"""The `industriverse` command: assembles the commands and turns every refusal into one line and an exit status.

Exit status: 0 accepted or done, 1 the cell could not do it, 2 bad input or usage, 3 refused by a gate.
Start-up stays quick because every command imports what it needs when it runs.
"""

from __future__ import annotations

import os
import sys

import typer

from industriverse_cli import (
    autocorrecting,
    catalogue,
    converting,
    modelling,
    ports,
    pricing,
    programs,
    serving,
    showing,
    simulating,
    telemetry,
    virtual,
    voxels,
)
from industriverse_cli.bags import commands as bags
from industriverse_cli.cell import commands as cell
from industriverse_cli.cell import forecasting
from industriverse_cli.corpus import commands as corpus
from industriverse_cli.output import EXIT_USAGE, complain, exit_status, print_error_json
from industriverse_cli.report import command as report
from industriverse_core.errors import CoreError, ErrorCode, InputError

EXIT_INTERRUPTED = 130
USAGE_PROBLEM = typer.BadParameter.__mro__[1]  # click's UsageError, wherever this typer keeps its click

app = typer.Typer(
    name="industriverse",
    help="Check, predict and price machine programs; submit them to a running cell, stop it, clear it; record what "
    "happens and decide it again.\n\n"
    "Exit status: 0 accepted or done, 1 the cell could not do it, 2 bad input or usage, 3 refused by a gate.",
    epilog="Example: industriverse check part.gcode --machine prusa_mk3s",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
PROGRAM_PANEL, CELL_PANEL = "Programs (no cell needed)", "With a running cell (./cell up)"
MACHINE_PANEL, BAG_PANEL = "Machines (no cell needed)", "Recordings"
app.command("check", rich_help_panel=PROGRAM_PANEL)(programs.check)
app.command("predict", rich_help_panel=PROGRAM_PANEL)(programs.predict)
app.command("price", rich_help_panel=PROGRAM_PANEL)(pricing.price)
app.command("autocorrect", rich_help_panel=PROGRAM_PANEL)(autocorrecting.autocorrect)
app.command("simulate", rich_help_panel=PROGRAM_PANEL)(simulating.simulate)
app.command("report", rich_help_panel=PROGRAM_PANEL)(report.report)
app.command("voxels", rich_help_panel=PROGRAM_PANEL)(voxels.voxels)
app.command("corpus", rich_help_panel=PROGRAM_PANEL)(corpus.corpus)
app.command("show", rich_help_panel=PROGRAM_PANEL)(showing.show)
app.command("convert", rich_help_panel=PROGRAM_PANEL)(converting.convert)
app.command("machines", rich_help_panel=PROGRAM_PANEL)(catalogue.machines)
app.command("materials", rich_help_panel=PROGRAM_PANEL)(catalogue.materials)
app.command("model", rich_help_panel=MACHINE_PANEL)(modelling.model)
app.command("ports", rich_help_panel=MACHINE_PANEL)(ports.ports)
app.add_typer(virtual.app, name="virtual", rich_help_panel=MACHINE_PANEL)
app.command("telemetry", rich_help_panel=BAG_PANEL)(telemetry.telemetry)
app.command("record", rich_help_panel=BAG_PANEL)(bags.record)
app.command("verdicts", rich_help_panel=BAG_PANEL)(bags.verdicts)
app.command("replay", rich_help_panel=BAG_PANEL)(bags.replay)
app.add_typer(bags.bag, name="bag", rich_help_panel=BAG_PANEL)
app.command("submit", rich_help_panel=CELL_PANEL)(cell.submit)
app.command("jobs", rich_help_panel=CELL_PANEL)(cell.jobs)
app.command("forecast", rich_help_panel=CELL_PANEL)(forecasting.forecast)
app.command("stop", rich_help_panel=CELL_PANEL)(cell.stop)
app.command("clear", rich_help_panel=CELL_PANEL)(cell.clear)
app.command("serve", rich_help_panel=CELL_PANEL)(serving.serve)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the script; ends the process with an exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        status = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone: be quiet
        _discard_output()
        status = 0
    except OSError as error:
        if error.filename is not None:  # not standard output: a file, which the commands answer for
            raise
        _discard_output()
        reason = error.strerror or "closed"
        problem = InputError(
            ErrorCode.FILE_UNREADABLE,
            f"standard output cannot be written ({reason}).",
            "Check where it goes and the space left.",
        )
        complain(problem)
        status = exit_status(problem)
    sys.exit(status)


def _discard_output() -> None:
    """What is still buffered goes nowhere, so that Python does not complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(words: list[str]) -> int:
    try:
        return int(app(args=words, prog_name="industriverse", standalone_mode=False) or 0)
    except CoreError as error:
        problem: CoreError = error
    except USAGE_PROBLEM as error:
        if not error.format_message():  # no command was given: the help has been printed
            return EXIT_USAGE
        place = getattr(error.ctx, "command_path", None) or "industriverse"
        sentence = error.format_message()
        end = "" if sentence.endswith((".", "?")) else "."
        problem = InputError(ErrorCode.USAGE, f"{sentence}{end}", f"See: {place} --help")
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    if "--json" in words:
        print_error_json(problem)
    complain(problem)
    return exit_status(problem)


if __name__ == "__main__":
    main()
