"""convert: a program file in the other form, G-code or Industrial Bytecode."""

from __future__ import annotations

import os
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from industriverse_cli.options import File, Json, ReaderMachine, read_for, writing
from industriverse_cli.output import console, facts, print_json

if TYPE_CHECKING:
    from industriverse_core.program import Program


class Form(StrEnum):
    """What a program file can be."""

    GCODE = "gcode"
    ARROW = "arrow"


def convert(
    file: File,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.", show_default=False)],
    to: Annotated[
        Form | None, typer.Option(metavar="FORM", help="gcode or arrow. Default: what the ending of OUT says.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that exists.")] = False,
    machine: ReaderMachine = "",
    json: Json = False,
) -> None:
    """Convert between G-code and Industrial Bytecode. The program keeps its digest: both files do the same.

    G-code is written in the program's own dialect, with all modal state resolved: millimetres, absolute axes, relative
    filament. A program with a line that was not understood cannot become G-code, but can become bytecode, which
    the gates refuse as they refuse its source.

    The result runs in the work system of the program's coordinates, which it selects (G54 to G59.3). What the program
    changes on its way (G10, G92, other systems) is resolved; with --machine also what that machine has stored.

    Example: industriverse convert part.gcode part.arrow
    """
    form = to or _form_of(output)
    existed = _check_output(file, output, force)
    program = read_for(file, machine)
    data_bytes = _write(program, output, form)
    answer = _summary(program, file, output, form) | {"file_bytes": data_bytes, "overwritten": existed}
    if json:
        print_json(answer)
    else:
        _print(answer)


def _form_of(output: Path) -> Form:
    """What the ending says. Raises InputError(USAGE) when it says nothing."""
    from industriverse_core.errors import ErrorCode, InputError
    from industriverse_core.files import PROGRAM_ENDINGS

    ending = output.suffix.lower()
    if ending not in PROGRAM_ENDINGS:
        raise InputError(
            ErrorCode.USAGE,
            f"{output}: its ending does not say which form to write.",
            f"Give --to gcode or --to arrow, or one of the endings {' '.join(PROGRAM_ENDINGS)}.",
        )
    return Form.ARROW if ending == ".arrow" else Form.GCODE


def _check_output(file: Path, output: Path, force: bool) -> bool:
    """Whether the output exists. Raises InputError when it may not be written."""
    from industriverse_core.errors import ErrorCode, InputError

    if output.is_dir():
        raise InputError(ErrorCode.FILE_IS_DIRECTORY, f"{output}: is a directory.", "Name a file in it.")
    if not output.parent.is_dir():
        raise InputError(ErrorCode.FILE_NOT_FOUND, f"{output.parent}: no such directory.", "Make it first.")
    exists = os.path.lexists(output)
    if exists and output.exists() and file.exists() and output.samefile(file):
        raise InputError(ErrorCode.USAGE, f"{output}: is the file that is read.", "Name another file to write.")
    if exists and not force:
        raise InputError(ErrorCode.USAGE, f"{output}: exists already.", "Name another file, or give --force.")
    return exists


def _write(program: Program, output: Path, form: Form) -> int:
    """Write the file, whole or not at all; returns its size. Raises InputError."""
    from industriverse_core.errors import ErrorCode, InputError
    from industriverse_core.files import replace_file
    from industriverse_core.gcode import read_gcode, write_gcode
    from industriverse_core.program import write_program

    with writing(output):
        if form is Form.ARROW:
            write_program(program, output)
        else:
            text = write_gcode(program)
            if read_gcode(text, output.name).digest != program.digest:
                raise InputError(
                    ErrorCode.DIGEST_MISMATCH,
                    f"{program.metadata.name}: G-code cannot say this program exactly; nothing was written.",
                    "Keep the bytecode file.",
                )
            replace_file(output, text)
        return output.stat().st_size


def _summary(program: Program, file: Path, output: Path, form: Form) -> dict[str, Any]:
    kinds = Counter(note.kind for note in program.notes)
    return {
        "input": str(file),
        "output": str(output),
        "form": form.value,
        "dialect": program.metadata.dialect,
        "work_system": program.metadata.work_system,
        "program_digest": program.digest,
        "instructions": len(program),
        "moves": int(program.is_motion().sum()),
        "source_lines": program.metadata.source_line_count,
        "notes": dict(sorted(kinds.items())),
    }


def _print(answer: dict[str, Any]) -> None:
    from rich.text import Text

    from industriverse_core.digest import short

    out = console()
    notes: dict[str, int] = answer["notes"]
    unread = {kind: count for kind, count in notes.items() if kind != "ignored"}
    out.print(Text.assemble(("converted", "bold green"), f"  {answer['input']} to {answer['output']}"))
    over = ", over an older file" if answer["overwritten"] else ""
    form = "Industrial Bytecode" if answer["form"] == Form.ARROW else f"G-code ({answer['dialect']})"
    rows = {
        "written": f"{form}, {answer['file_bytes'] / 1e6:.2f} MB{over}",
        **({"work system": answer["work_system"]} if answer["work_system"] else {}),
        "instructions": f"{answer['instructions']}, of which {answer['moves']} move",
        "digest": short(answer["program_digest"]),
    }
    if unread:
        counted = ", ".join(f"{count} {kind}" for kind, count in unread.items())
        rows["not understood"] = f"{counted}: the gates refuse this program"
    out.print(facts(rows))
