"""The options that several commands share, and what they mean."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from industriverse_cli.choosing import AUTO, explained, read_chosen

if TYPE_CHECKING:
    from industriverse_core.machine import MachineProfile
    from industriverse_core.material import Material
    from industriverse_core.program import Program

File = Annotated[Path, typer.Argument(metavar="FILE", help="A G-code or bytecode (.arrow) file.", show_default=False)]
Machine = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="Machine profile: a name, the path of a YAML file, or auto = the one that the file names."
    ),
]
Stock = Annotated[
    str,
    typer.Option(
        "--stock",
        metavar="BOX",
        help="What a mill cuts from: two corners in mm, x0,y0,z0,x1,y1,z1, or the path of a YAML file with x_minimum "
        "to z_maximum. Default: the profile's.",
        show_default=False,
    ),
]
ReaderMachine = Annotated[
    str,
    typer.Option(
        "--machine",
        metavar="NAME",
        help="Machine for whose stored positions (G28, G53 to G59.3) and firmware the text is read: a name, or the "
        "path of a YAML file. Default: nothing is known of it.",
        show_default=False,
    ),
]
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

COMPILING = "industriverse: compiling numeric loops (once) ..."


@dataclass(frozen=True, slots=True)
class Case:
    """A program, the machine it is judged for, and what it is made of."""

    program: Program
    profile: MachineProfile
    material: Material


def load_case(file: Path, machine: str, material: str, stock: str = "") -> Case:
    """Read what a command was given, and say which machine the file chose. Raises InputError or ProfileError."""
    from industriverse_core.material import resolve_material

    program, profile = load_program_and_machine(file, machine, stock)
    return Case(program, profile, resolve_material(material or program.metadata.material, profile.kind))


def load_program_and_machine(file: Path, machine: str, stock: str = "") -> tuple[Program, MachineProfile]:
    """As `load_case`, for what does not depend on the material."""
    tell_of_compilation()
    from industriverse_core.machine import with_stock

    chosen = read_chosen(file, machine)
    if machine == AUTO:
        print(f"industriverse: {explained(chosen)}.", file=sys.stderr, flush=True)
    return chosen.program, with_stock(chosen.profile, stock, "--stock")


def read_for(file: Path, machine: str) -> Program:
    """A program as a machine's controller takes it; '' = nothing is known of it. Raises InputError, ProfileError."""
    from industriverse_core.gcode import load_program
    from industriverse_core.machine import load_machine

    return load_program(file, load_machine(machine).controller if machine else None)


def tell_of_compilation() -> None:
    """Say on standard error when a loop must be compiled first."""
    from industriverse_core.compiled import announce_compilation

    announce_compilation(lambda: print(COMPILING, file=sys.stderr, flush=True))


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
