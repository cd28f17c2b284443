"""Edits of a program that keep it consistent: positions stay absolute, notes stay at their instructions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from industriverse_core.program import Program, normalise


def rearranged(program: Program, order: np.ndarray) -> Program:
    """The instructions with the indices `order`, shape (m,), in that order; the others are left out."""
    place = np.full(len(program), -1)
    place[order] = np.arange(len(order))
    notes = tuple(
        replace(note, instruction=int(place[note.instruction])) if note.instruction >= 0 else note
        for note in program.notes
        if note.instruction < 0 or place[note.instruction] >= 0
    )
    return replace(program, columns={name: column[order] for name, column in program.columns.items()}, notes=notes)


def inserted(program: Program, before: int, rows: Sequence[Mapping[str, float]]) -> Program:
    """New instructions that move nothing, before the instruction `before` (its length = at the end)."""
    columns = {}
    for name, column in program.columns.items():
        held = name in ("x_m", "y_m", "z_m") and before > 0  # what moves nothing stays where the tool is
        values = [column[before - 1] if held else row.get(name, 0) for row in rows]
        columns[name] = np.insert(column, before, np.array(values, column.dtype))
    notes = tuple(
        replace(note, instruction=note.instruction + len(rows)) if note.instruction >= before else note
        for note in program.notes
    )
    return replace(program, columns=columns, notes=notes)


def changed(program: Program, **columns: np.ndarray) -> Program:
    """The same instructions with other values in some columns, on the program's grid."""
    return replace(program, columns=normalise({**program.columns, **columns}))
