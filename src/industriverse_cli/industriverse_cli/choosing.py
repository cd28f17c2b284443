"""Which machine a program is judged for: the one that is named, or the one that its file names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from industriverse_core.machine import MachineProfile
    from industriverse_core.program import Metadata, Program

AUTO = "auto"  # the machine that the file names
SHORTEST_NAME = 3  # a printer model with fewer letters matches nothing


@dataclass(frozen=True, slots=True)
class Chosen:
    """A program as its machine's controller takes it, that machine, and why it is that one.

    `source`: 'option' (it was named), 'file' (the file names a machine that ships) or 'default'.
    """

    program: Program
    profile: MachineProfile
    source: str


def read_chosen(file: Path, named: str) -> Chosen:
    """Choose the machine, and read the program for it. Raises InputError, ProfileError."""
    from industriverse_core.gcode import load_program, program_metadata
    from industriverse_core.machine import load_machine

    if named == AUTO:
        profile, source = machine_for(program_metadata(file))
    else:
        profile, source = load_machine(named), "option"
    return Chosen(load_program(file, profile.controller), profile, source)


def machine_for(metadata: Metadata) -> tuple[MachineProfile, str]:
    """The profile for a program, and why: 'file' (it names a machine that ships) or 'default'.

    Letters and digits of the file's printer model and of a profile's id or title must agree up to the beginning of one
    of them: 'MK3S' is 'Original Prusa i3 MK3S'. A program of the mills' dialect is a mill's.
    """
    from industriverse_core.machine import DEFAULT_MACHINE, load_machine, machine_names

    profiles = [load_machine(name) for name in machine_names()]
    wanted = _letters(metadata.machine)
    if len(wanted) >= SHORTEST_NAME:
        for profile in profiles:
            for known in (_letters(profile.id), _letters(profile.title)):
                if known.endswith(wanted) or wanted.endswith(known):
                    return profile, "file"
    mills = [profile for profile in profiles if profile.kind == "mill"]
    if metadata.dialect == "rs274" and mills:
        return mills[0], "default"
    return load_machine(DEFAULT_MACHINE), "default"


def explained(chosen: Chosen) -> str:
    """One sentence: which machine was chosen, and why."""
    metadata = chosen.program.metadata
    if chosen.source == "file":
        return f"machine {chosen.profile.id}: the file names {metadata.machine}"
    if metadata.machine:
        return f"machine {chosen.profile.id}: no profile is called {metadata.machine}, as the file says"
    kind = "mill" if chosen.profile.kind == "mill" else "printer"
    return f"machine {chosen.profile.id}: the file names none and is a {kind}'s"


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
