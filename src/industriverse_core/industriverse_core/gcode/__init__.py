"""G-code in and out. Importing this package is cheap; reading loads the compiled loops (numba) on first use."""

from __future__ import annotations

import io
from pathlib import Path

from industriverse_core.gcode.offsets import Stored
from industriverse_core.gcode.writer import write_gcode, write_instruction, write_move
from industriverse_core.program import Program

__all__ = ["MAX_GCODE_BYTES", "Stored", "load_program", "read_gcode", "write_gcode", "write_instruction", "write_move"]

MAX_GCODE_BYTES = 512_000_000
ARROW_MAGIC = b"ARROW1"


def read_gcode(data: bytes, name: str, dialect: str | None = None, stored: Stored | None = None) -> Program:
    """The program that G-code text says.

    Args:
        data: the file's bytes; UTF-8, with or without byte order mark.
        name: what the program is called in messages and metadata.
        dialect: 'marlin' or 'rs274'; None = found from the text.
        stored: positions that the controller has stored (G28, G53); None = not known.

    What cannot be read becomes an instruction Op.UNKNOWN with a SourceNote, so that the gates refuse it; it is
    never skipped and never guessed. Raises InputError(NOT_A_PROGRAM) for bytes that are not G-code at all.
    """
    from industriverse_core.gcode.reader import read

    return read(io.BytesIO(data), name, dialect, stored)


def load_program(path: Path) -> Program:
    """A program from a file: Industrial Bytecode by its magic, else G-code.

    Raises InputError: FILE_* (missing, directory, empty, unreadable, above 512 MB), NOT_A_PROGRAM,
    BYTECODE_BROKEN or DIGEST_MISMATCH.
    """
    from industriverse_core.files import opened
    from industriverse_core.gcode.reader import read
    from industriverse_core.program import read_program

    with opened(path, MAX_GCODE_BYTES) as file:
        if file.read(len(ARROW_MAGIC)) != ARROW_MAGIC:
            file.seek(0)
            return read(file, path.name, None)
    return read_program(path)
