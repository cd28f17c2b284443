"""Where a cell keeps what: its paths, its program store, and the note by which a running cell is found."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import unquote

from industriverse_core.artefacts import ProgramRef
from industriverse_core.digest import Digest
from industriverse_core.errors import ErrorCode, InputError, JobError
from industriverse_core.files import replace_file
from industriverse_core.program import Program, read_program, write_program

FRAGMENT = "#sha256="  # of the file itself: the digest covers what a program means, this covers every byte
_CELL_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,63}")
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

    @property
    def residuals(self) -> Path:
        """The twin's journal of what finished jobs measured against their predictions."""
        return self.directory / "residuals.sqlite"

    @property
    def running(self) -> Path:
        """The note by which a running cell is found (RunningCell)."""
        return self.directory / "cell.json"

    @property
    def description(self) -> Path:
        """The cell description that the shield goes by, where it watches people."""
        return self.directory / "cell.yaml"

    @property
    def log(self) -> Path:
        """Folder of the processes' standard output and error."""
        return self.directory / "log"

    @property
    def run(self) -> Path:
        """Folder of what exists only while the cell runs."""
        return self.directory / "run"

    @property
    def machine_tty(self) -> Path:
        """Link to the virtual machine's serial port."""
        return self.run / "machine.tty"

    @property
    def meter_tty(self) -> Path:
        """Link to the virtual power meter's serial port."""
        return self.run / "meter.tty"

    @property
    def accelerometer_tty(self) -> Path:
        """Link to the virtual accelerometer's serial port."""
        return self.run / "accelerometer.tty"

    @property
    def machine_journal(self) -> Path:
        """What the virtual machine received and did."""
        return self.run / "machine.jsonl"


@dataclass(frozen=True, slots=True)
class RunningCell:
    """How to reach a running cell. Whoever starts a cell leaves this note in its folder until it ends.

    Attributes:
        name: the cell's id, also the name of its folder.
        namespace: of its nodes.
        domain_id: its ROS domain.
        pid: process that started the cell and lives as long.
        machine: id of its machine.
    """

    name: str
    namespace: str
    domain_id: int
    pid: int
    machine: str

    @property
    def is_alive(self) -> bool:
        """True while the process that started the cell exists."""
        if self.pid <= 0:  # to the kernel, a group of processes
            return False
        try:
            os.kill(self.pid, 0)
        except PermissionError:
            return True
        except (OSError, OverflowError):
            return False
        return True

    def write(self) -> None:
        """Leave the note."""
        replace_file(CellPaths(cell_directory(self.name)).running, json.dumps(asdict(self)).encode())

    def remove(self) -> None:
        """Take the note away."""
        CellPaths(cell_directory(self.name)).running.unlink(missing_ok=True)

    @staticmethod
    def find(name: str) -> RunningCell:
        """The cell of that name, if it runs. Raises InputError (USAGE) or JobError (CELL_NOT_RUNNING)."""
        if not _CELL_NAME.fullmatch(name):
            raise InputError(ErrorCode.USAGE, f"'{name}' is no name of a cell.", "Letters, digits and _ are allowed.")
        path = CellPaths(cell_directory(name)).running
        try:
            note = json.loads(path.read_text())
            domain_id, pid = int(note["domain_id"]), int(note["pid"])
            cell = RunningCell(name, str(note["namespace"]), domain_id, pid, str(note["machine"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise _not_running(name, path, "no readable note") from error
        if not cell.is_alive:
            raise _not_running(name, path, f"process {cell.pid} has ended, which left the note")
        return cell


@contextmanager
def sole_owner(paths: CellPaths) -> Iterator[None]:
    """Hold a cell's folder for as long as the context lasts; it is made when it is missing.

    Two owners would share one serial port and one job database. Raises JobError (BUSY) when another process holds
    it, InputError (FILE_UNREADABLE) when the folder cannot be written.
    """
    try:
        paths.run.mkdir(parents=True, exist_ok=True)
        lock = (paths.directory / "lock").open("w")
    except OSError as error:
        raise InputError(
            ErrorCode.FILE_UNREADABLE,
            f"The cell's folder {paths.directory} cannot be written ({error.strerror}).",
            "Set INDUSTRIVERSE_HOME to a folder that can.",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = f"The cell in {paths.directory} is running already."
            raise JobError(ErrorCode.BUSY, message, "End that one with Ctrl-C first.") from error
        yield


def _not_running(name: str, path: Path, why: str) -> JobError:
    message = f"the cell '{name}' does not run ({why} at {path})."
    return JobError(ErrorCode.CELL_NOT_RUNNING, message, "Start it: ./cell up")


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
