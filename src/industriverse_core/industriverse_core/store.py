"""Where a cell keeps what: its paths, its program store, and the note by which a running cell is found."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from industriverse_core.artefacts import ProgramRef
from industriverse_core.digest import Digest
from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.program import Program, read_program, write_program

FRAGMENT = "#sha256="  # of the file itself: the digest covers what a program means, this covers every byte
_ADDRESS = re.compile(r"file://(localhost)?(?P<path>/[^#?]{1,4096})#sha256=(?P<sha256>[0-9a-f]{64})")


def home_directory() -> Path:
    """Where cells keep their data: $INDUSTRIVERSE_HOME, else ~/.industriverse."""
    return Path(os.environ.get("INDUSTRIVERSE_HOME") or Path.home() / ".industriverse")


def cell_directory(cell: str) -> Path:
    """Data of one cell: key, store, jobs, journal."""
    return home_directory() / cell


@dataclass(frozen=True, slots=True)
class CellPaths:
    """Where one cell keeps what. Every node gets the directory as its parameter `cell_dir`."""

    directory: Path

    @property
    def key(self) -> Path:
        """The cell's permit key, mode 0600."""
        return self.directory / "permit.key"

    @property
    def programs(self) -> Path:
        """The program store."""
        return self.directory / "programs"

    @property
    def jobs(self) -> Path:
        """The conductor's database."""
        return self.directory / "jobs.sqlite"

    @property
    def starts(self) -> Path:
        """The machine's ledger of executions that were ever started."""
        return self.directory / "starts.sqlite"


@dataclass(frozen=True, slots=True)
class ProgramStore:
    """A folder of <digest>.arrow files. Adding is idempotent; reading verifies the digest."""

    directory: Path

    def path(self, digest: Digest) -> Path:
        """Where the program with this digest lies (or would)."""
        return self.directory / f"{digest.hex()}.arrow"

    def add(self, program: Program) -> ProgramRef:
        """Store a program and return its address. A damaged earlier copy is replaced."""
        digest = program.digest
        path = self.path(digest)
        try:
            read_program(path, digest)
        except InputError:
            write_program(program, path)
        file_sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        return ProgramRef(
            digest=digest,
            uri=f"{path.resolve().as_uri()}{FRAGMENT}{file_sha256}",
            name=program.metadata.name,
            material=program.metadata.material,
            instruction_count=len(program),
            source_line_count=program.metadata.source_line_count,
        )

    @staticmethod
    def load(ref: ProgramRef) -> Program:
        """The program at an address. Raises InputError when it is missing, or one byte of it was changed."""
        match = _ADDRESS.fullmatch(ref.uri)
        if match is None:
            raise InputError(
                ErrorCode.NOT_A_PROGRAM,
                f"'{ref.uri[:200]}' is not a file:// address with the file's SHA-256.",
                "Submit the program again.",
            )
        return read_program(Path(unquote(match["path"])), ref.digest, bytes.fromhex(match["sha256"]))
