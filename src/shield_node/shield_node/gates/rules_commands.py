"""What the program says besides moving: unknown and forbidden commands, notes of the reader, machine and material."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from industriverse_core.artefacts import Severity
from industriverse_core.program import Op, SourceNote
from shield_node.gates.context import Context
from shield_node.gates.registry import WHOLE_PROGRAM, Hits, Seen, rule


def _notes(context: Context, kind: str, what: str, remedy: str) -> Hits:
    """Every note of the reader of one kind, as errors."""
    notes: list[SourceNote] = [note for note in context.program.notes if note.kind == kind]

    def describe(position: int) -> Seen:
        note = notes[position]
        reason = note.reason.rstrip(".")
        return Seen(f"'{note.text}' {what}{f': {reason}' if reason else ''}.", remedy)

    return Hits(Severity.ERROR, [note.instruction for note in notes], describe, [note.line for note in notes])


@rule("command.unknown", "Every command is one that the reader knows.")
def unknown(context: Context) -> Iterator[Hits]:
    """What is not understood cannot be judged. Numbers of operations outside the bytecode's table count too."""
    yield _notes(
        context, "unknown", "is no command that is known here", "Take it out, or have it explained to the reader."
    )
    op = context.program.op
    noted = [note.instruction for note in context.program.notes if note.kind != "ignored"]
    strange = ~np.isin(op, [int(known) for known in Op]) | (op == Op.UNKNOWN)
    strange[[index for index in noted if 0 <= index < len(op)]] = False
    yield Hits(
        Severity.ERROR,
        np.flatnonzero(strange),
        lambda i: Seen(f"operation {op[i]} is not known.", "Compile the program again from its G-code."),
    )


@rule("command.forbidden", "No command switches off a protection or changes what the controller remembers.")
def forbidden(context: Context) -> Iterator[Hits]:
    """Cold-extrusion and end-stop overrides, EEPROM writes, calibration and offset changes, emergency stops."""
    yield _notes(
        context, "forbidden", "is forbidden in a program", "Take it out; such settings are made at the machine."
    )


@rule("command.unsupported", "No command needs what this version cannot do.")
def unsupported(context: Context) -> Iterator[Hits]:
    """The reader knows the command but cannot turn it into bytecode without changing its meaning."""
    yield _notes(context, "unsupported", "is not supported", "Export the program without it.")


@rule("command.malformed", "Every line is well formed: numbers, words, checksums, line numbers.")
def malformed(context: Context) -> Iterator[Hits]:
    """A damaged line is never guessed at."""
    yield _notes(context, "malformed", "is malformed", "Export or transfer the file again.")


@rule("fan.range", "A fan runs between 0 and 100 %.")
def fan(context: Context) -> Iterator[Hits]:
    """Values in bytecode are 0 to 1."""
    value = context.program.value
    yield Hits(
        Severity.ERROR,
        np.flatnonzero(context.is_op(Op.SET_FAN) & ~((value >= 0.0) & (value <= 1.0))),
        lambda i: Seen(
            f"a fan is set to {value[i] * 100:g} %; 0 to 100 % are allowed.",
            "Write the fan speed that was meant (M106 S0 to S255).",
            value[i] * 100,
            100.0,
            "%",
        ),
    )


@rule("fan.absent", "Only fans that the machine has are switched on.")
def absent_fan(context: Context) -> Iterator[Hits]:
    """The profile's fan_numbers; the controller ignores another, and the part is not cooled. One finding a fan."""
    program, known = context.program, context.profile.fan_numbers
    wrong = context.is_op(Op.SET_FAN) & (program.value != 0.0) & ~np.isin(program.target, known)
    where = np.flatnonzero(wrong)
    listed = ", ".join(map(str, known)) or "none"
    yield Hits(
        Severity.WARNING,
        where[np.unique(program.target[where], return_index=True)[1]],
        lambda i: Seen(
            f"fan {program.target[i]} is switched on; {context.profile.id} has {listed}.",
            "Switch the fan on that cools the part (M106 without P), or slice for this machine.",
            program.target[i],
        ),
    )


@rule("start.assumed", "A mill's program says where the tool is before it counts on it.")
def start(context: Context) -> Iterator[Hits]:
    """Relative moves (G91), arcs, G92 and G10 L20 before an absolute move of their axes go from wherever the tool
    stands. It is judged as if that were the program's origin."""
    line = context.program.metadata.start_line
    if context.profile.kind != "mill" or not line:
        return
    text = "counts on where the tool stands when the program starts; it is taken to stand at the program's origin."
    remedy = "Move to an absolute position first (G90 G0 X Y Z), or place the tool at the origin."
    yield Hits(Severity.WARNING, WHOLE_PROGRAM, lambda _: Seen(text, remedy), [line])


@rule("start.work_system", "A mill's program works in a system of which the place is known.")
def work_system(context: Context) -> Iterator[Hits]:
    """The profile's axes count from G54. A program that was compiled in another system, of which the profile does not
    say where it is, is judged as if that were in the same place."""
    system = context.program.metadata.work_system
    if context.profile.kind != "mill" or system in ("", "G54"):
        return
    text = f"the program works in {system}; {context.profile.id} does not say where that is, and G54's place is taken."
    remedy = f"State {system} in the machine's stored_positions, and compile the program again for it."
    yield Hits(Severity.WARNING, WHOLE_PROGRAM, lambda _: Seen(text, remedy))


@rule("program.machine", "A program runs on the machine model that it was made for.")
def machine(context: Context) -> Iterator[Hits]:
    """Compares the model that the slicer wrote into the file, word by word, with the profile's id and title.

    Words with digits decide where there are any ('Original Prusa i3 MK3S & MK3S+' is an MK3S). A file that names
    no machine passes.
    """
    written = context.program.metadata.machine
    profile = context.profile
    named = _words(written)
    deciding = {word for word in named if any(character.isdigit() for character in word)} or named
    if deciding - _words(f"{profile.id} {profile.title}"):
        remedy = "Choose that machine, or slice for this one."
        text = f"the program was made for '{written}'; it is checked for {profile.id} ({profile.title})."
        yield Hits(Severity.WARNING, WHOLE_PROGRAM, lambda _: Seen(text, remedy))


@rule("program.material", "A program is made of the material that it was sliced for.")
def material(context: Context) -> Iterator[Hits]:
    """Compares the material in the file with the chosen one. A file that names none passes."""
    written = context.program.metadata.material
    named = {part.strip().lower() for part in re.split(r"[;,]", written) if part.strip()}
    chosen = context.material
    if not named or (chosen is not None and named == {chosen.id.lower()}):
        return
    if chosen is None:
        text = f"the program was sliced for '{written}', which is not known; its temperatures are not checked."
        remedy = "Name a known material with the same temperatures, or write a material document."
    else:
        text = f"the program was sliced for '{written}'; the material is {chosen.id}."
        remedy = f"Load {written}, or slice for {chosen.id}."
    yield Hits(Severity.WARNING, WHOLE_PROGRAM, lambda _: Seen(text, remedy))


def _words(text: str) -> set[str]:
    return {word for word in re.split(r"[^a-z0-9]+", text.lower()) if word}
