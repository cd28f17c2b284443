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
    """A program, the machine it is judged for, and what it is made of (None = the file names an unknown one)."""

    program: Program
    profile: MachineProfile
    material: Material | None


def load_case(file: Path, machine: str, material: str) -> Case:
    """Read what a command was given. Raises InputError or ProfileError."""
    from industriverse_core.gcode import load_program
    from industriverse_core.machine import load_machine

    profile = load_machine(machine)
    chosen = _material(material) if material else None
    program = load_program(file)
    if chosen is None:
        chosen = _material_of(program, profile)
    return Case(program, profile, chosen)


def _material(name: str) -> Material:
    from industriverse_core.material import load_material

    return load_material(name)


def _material_of(program: Program, profile: MachineProfile) -> Material | None:
    """The material that the file names (its first one), else the machine's usual one; None = not known."""
    from industriverse_core.material import DEFAULT_MATERIALS, load_material, material_names

    named = program.metadata.material.replace(",", ";").split(";")[0].strip()
    if not named:
        return load_material(DEFAULT_MATERIALS[profile.kind])
    known = {name.lower() for name in material_names()}
    return load_material(named) if named.lower() in known else None
