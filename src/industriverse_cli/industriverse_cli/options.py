"""The options that several commands share, and what they mean."""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True)
class Case:
    """A program, the machine it is judged for, and what it is made of."""

    program: Program
    profile: MachineProfile
    material: Material


def load_case(file: Path, machine: str, material: str) -> Case:
    """Read what a command was given. Raises InputError or ProfileError."""
    from industriverse_core.gcode import load_program
    from industriverse_core.machine import load_machine
    from industriverse_core.material import resolve_material

    profile = load_machine(machine)
    program = load_program(file)
    return Case(program, profile, resolve_material(material or program.metadata.material, profile.kind))
