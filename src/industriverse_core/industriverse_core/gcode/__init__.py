"""G-code in and out. Importing this package is cheap; reading loads the compiled loops (numba) on first use."""

from __future__ import annotations

import io
from pathlib import Path

from industriverse_core.controller import Controller
from industriverse_core.gcode.writer import write_gcode, write_instruction, write_move
from industriverse_core.program import Metadata, Program

__all__ = [
    "MAX_GCODE_BYTES",
    "load_program",
    "program_metadata",
    "read_gcode",
    "write_gcode",
    "write_instruction",
    "write_move",
]

MAX_GCODE_BYTES = 512_000_000
ARROW_MAGIC = b"ARROW1"


def read_gcode(data: bytes, name: str, dialect: str | None = None, controller: Controller | None = None) -> Program:
    """The program that G-code text says.

    Args:
        data: the file's bytes; UTF-8, with or without byte order mark.
        name: what the program is called in messages and metadata.
        dialect: 'marlin' or 'rs274'; None = found from the text.
        controller: what the machine's controller has stored (G28, G53 to G59.3) and whose it is; None = not known.

    What cannot be read becomes an instruction Op.UNKNOWN with a SourceNote, so that the gates refuse it; it is
    never skipped and never guessed. Raises InputError(NOT_A_PROGRAM) for bytes that are not G-code at all.
    """
    from industriverse_core.gcode.reader import read

    return read(io.BytesIO(data), name, dialect, controller)


def program_metadata(path: Path) -> Metadata:
    """What a file says about its program besides the instructions, which are not read where it is G-code.

    Raises InputError: FILE_*, NOT_A_PROGRAM for what is no text, and for bytecode as load_program.
    """
    from industriverse_core.files import opened
    from industriverse_core.gcode.reader import describe
    from industriverse_core.program import read_program

    with opened(path, MAX_GCODE_BYTES) as file:
        if file.read(len(ARROW_MAGIC)) != ARROW_MAGIC:
            file.seek(0)
            return describe(file, path.name)
    return read_program(path).metadata


def load_program(path: Path, controller: Controller | None = None) -> Program:
    """A program from a file: Industrial Bytecode by its magic, else G-code, as this controller takes it.

    Raises InputError: FILE_* (missing, directory, empty, unreadable, above 512 MB), NOT_A_PROGRAM,
    BYTECODE_BROKEN or DIGEST_MISMATCH.
    """
    from industriverse_core.files import opened
    from industriverse_core.gcode.reader import read
    from industriverse_core.program import read_program

    with opened(path, MAX_GCODE_BYTES) as file:
        if file.read(len(ARROW_MAGIC)) != ARROW_MAGIC:
            file.seek(0)
            return read(file, path.name, None, controller)
    return read_program(path)
