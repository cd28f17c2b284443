"""Finding a running cell: `./cell up` leaves cell.json in the cell's folder while it runs."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from industriverse_core.errors import ErrorCode, InputError, JobError

DESCRIPTION_FILE = "cell.json"
REMEDY = "Start it: ./cell up"


@dataclass(frozen=True, slots=True)
class RunningCell:
    """How to reach a running cell."""

    name: str
    namespace: str
    domain_id: int
    machine: str


def find_cell(name: str) -> RunningCell:
    """The cell of that name, if it runs. Raises InputError (USAGE) or JobError (CELL_NOT_RUNNING)."""
    if not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]{0,63}", name):
        raise InputError(ErrorCode.USAGE, f"'{name}' is no name of a cell.", "Letters, digits and _ are allowed.")
    from industriverse_core.store import cell_directory

    path = cell_directory(name) / DESCRIPTION_FILE
    try:
        content = json.loads(path.read_text())
        cell = RunningCell(name, content["namespace"], int(content["domain_id"]), content["machine"])
        process = int(content["pid"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _not_running(name, path, "no readable cell.json") from error
    if not _is_alive(process):
        raise _not_running(name, path, f"its process {process} has ended")
    return cell


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return process > 0


def _not_running(name: str, path: Path, why: str) -> JobError:
    return JobError(ErrorCode.CELL_NOT_RUNNING, f"the cell '{name}' does not run ({why} at {path}).", REMEDY)
