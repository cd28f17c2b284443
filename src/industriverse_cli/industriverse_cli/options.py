"""The options that several commands share, and what they mean."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from industriverse_core.machine import MachineProfile
    from industriverse_core.material import Material
    from industriverse_core.program import Program

File = Annotated[Path, typer.Argument(metavar="FILE", help="A G-code or bytecode (.arrow) file.", show_default=False)]
Machine = Annotated[str, typer.Option(metavar="NAME", help="Machine profile: a name, or the path of a YAML file.")]
MaterialName = Annotated[
    str,
    typer.Option(
        "--material",
        metavar="NAME",
        help="Material: a name, or the path of a YAML file. Default: as the file says, else PLA (printers) or "
        "Al6061 (mills).",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


SMALL_FILE_BYTES = 1 << 17  # plain Python reads, plans and predicts it in about the time that numba needs to load
COMPILING = "industriverse: compiling numeric loops (once) ..."

one_command = False  # set by the script: this process ends after one command


@dataclass(frozen=True, slots=True)
class Case:
    """A program, the machine it is judged for, and what it is made of."""

    program: Program
    profile: MachineProfile
    material: Material


def load_case(file: Path, machine: str, material: str, brief: bool = False) -> Case:
    """Read what a command was given. Raises InputError or ProfileError.

    `brief`: the command goes through a program only a few times, so that a small one needs no compiled loops.
    """
    choose_loops(file, brief)
    from industriverse_core.gcode import load_program
    from industriverse_core.machine import load_machine
    from industriverse_core.material import resolve_material

    profile = load_machine(machine)
    program = load_program(file)
    return Case(program, profile, resolve_material(material or program.metadata.material, profile.kind))


def choose_loops(file: Path, brief: bool) -> None:
    """Decide how numeric loops run in this process, before a module with one is imported.

    A small file is done in plain Python before numba would have been loaded; for others, compiling is announced.
    """
    from industriverse_core.compiled import announce_compilation, interpret

    announce_compilation(lambda: print(COMPILING, file=sys.stderr, flush=True))
    if brief and one_command and file.is_file() and file.stat().st_size <= SMALL_FILE_BYTES:
        interpret()


def named_for(path: Path | None, endings: tuple[str, ...], program: Path) -> None:
    """Refuse a name that is not meant for what is written, so that no program is overwritten by what is said of it.

    Raises InputError (USAGE).
    """
    from industriverse_core.errors import ErrorCode, InputError

    if path is not None and (path.suffix.lower() not in endings or path.resolve() == program.resolve()):
        raise InputError(ErrorCode.USAGE, f"{path}: what shall it be?", f"Name a file that ends in {endings[0]}.")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system says against writing this file, as InputError (FILE_UNREADABLE)."""
    from industriverse_core.errors import ErrorCode, InputError

    try:
        yield
    except OSError as error:
        raise InputError(
            ErrorCode.FILE_UNREADABLE,
            f"{path}: cannot be written ({error.strerror}).",
            "Check the folder, its permissions and the space left.",
        ) from error
