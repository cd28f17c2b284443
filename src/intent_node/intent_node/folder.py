"""The folder of program files: the named border to the file system for intents."""

from __future__ import annotations

import os
from pathlib import Path

from industriverse_core.controller import Controller
from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.files import PROGRAM_ENDINGS
from industriverse_core.gcode import load_program
from industriverse_core.material import single_material
from industriverse_core.program import Program
from intent_node.compiler import Catalogue, Entry

MAX_ENTRIES = 10_000
MAX_REMEMBERED = 1000
Stamp = tuple[str, int, int]  # path, modification time [ns], size [bytes]


class ProgramFolder:
    """Catalogue of a folder, read again when the folder changes; loads programs, remembering their materials.

    Args:
        folder: the folder; None = there is none, only paths can be named.
        materials: known material names.
        controller: what the text of a program is read for.
    """

    def __init__(self, folder: Path | None, materials: tuple[str, ...], controller: Controller) -> None:
        self._folder = folder
        self._controller = controller
        self._materials = materials
        self._changed_ns = -1
        self._catalogue = Catalogue(folder, (), materials)
        self._material: dict[Stamp, str] = {}
        self._last: tuple[Stamp, Program] | None = None  # so that the file that was looked at is not read twice

    def catalogue(self) -> Catalogue:
        """Regular files with a known ending, by name. Raises InputError when the folder cannot be read."""
        if self._folder is None:
            return self._catalogue
        try:
            changed_ns = self._folder.stat().st_mtime_ns
            if changed_ns != self._changed_ns:
                self._catalogue = Catalogue(self._folder, self._entries(self._folder), self._materials)
                self._changed_ns = changed_ns
        except OSError as error:
            seen = f"{self._folder}: the folder of programs cannot be read ({error.strerror})."
            raise InputError(ErrorCode.FILE_UNREADABLE, seen, "Check the parameter 'programs_dir'.") from error
        return self._catalogue

    @staticmethod
    def _entries(folder: Path) -> tuple[Entry, ...]:
        with os.scandir(folder) as items:
            names = sorted(
                item.name
                for item in items
                if item.name.lower().endswith(PROGRAM_ENDINGS) and not item.name.startswith(".") and item.is_file()
            )
        if len(names) > MAX_ENTRIES:
            seen = f"{folder}: {len(names)} programs; at most {MAX_ENTRIES} are read."
            raise InputError(ErrorCode.FILE_TOO_LARGE, seen, "Move those that are not needed.")
        return tuple(Entry(folder / name) for name in names)

    def load(self, path: Path) -> Program:
        """The program in a file. Raises InputError as load_program does."""
        stamp = self._stamp(path)
        if stamp is not None and self._last is not None and self._last[0] == stamp:
            return self._last[1]
        program = load_program(path, self._controller)
        if stamp is not None:
            self._last = (stamp, program)
            if len(self._material) >= MAX_REMEMBERED:
                self._material.clear()
            self._material[stamp] = single_material(program.metadata.material)
        return program

    def material_of(self, path: Path) -> str:
        """Material that a file was sliced in; "" = it does not say. Raises ProfileError when it names several."""
        stamp = self._stamp(path)
        if stamp in self._material:
            return self._material[stamp]
        return single_material(self.load(path).metadata.material)

    @staticmethod
    def _stamp(path: Path) -> Stamp | None:
        try:
            status = path.stat()
        except (OSError, ValueError):  # load_program says what is wrong with it
            return None
        return str(path), status.st_mtime_ns, status.st_size
