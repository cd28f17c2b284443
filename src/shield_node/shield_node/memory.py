"""What a shield must not forget when its process ends: its last incarnation and a latched stop.

One small JSON file in the cell's folder, written whole before the latch is shown to anyone. Beside it the cell
description that the shield goes by, for whoever records the cell.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from industriverse_core.documents import MAX_DOCUMENT_BYTES
from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.files import read_bytes, replace_file
from industriverse_core.permit import StopLevel
from shield_node.shield import Latch

MAX_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Memory:
    """What the file says."""

    incarnation: int = 0
    latch: Latch | None = None


def load(path: Path) -> Memory:
    """The memory; empty when there is no file. A file that cannot be understood is a latch: doubt is a stop."""
    try:
        content = json.loads(read_bytes(path, MAX_BYTES))
        latch = content["latch"]
        kept = None
        if latch is not None:
            kept = Latch(int(latch["id"]), StopLevel(latch["level"]), ErrorCode(latch["code"]), str(latch["cause"]))
        return Memory(int(content["incarnation"]), kept)
    except InputError as error:
        if error.code is ErrorCode.FILE_NOT_FOUND:
            return Memory()
        return Memory(0, _doubt(path, error.message))
    except (ValueError, KeyError, TypeError) as error:
        return Memory(0, _doubt(path, f"{path}: not a memory of a shield ({type(error).__name__})."))


def _doubt(path: Path, seen: str) -> Latch:
    return Latch(1, StopLevel.STOP1, ErrorCode.LATCHED, f"Whether a stop was latched is not known. {seen}")


def save(path: Path, memory: Memory) -> None:
    """Write the memory, durable when this returns."""
    latch = memory.latch
    kept = None
    if latch is not None:
        kept = {"id": latch.latch_id, "level": int(latch.level), "code": int(latch.code), "cause": latch.cause}
    replace_file(path, json.dumps({"incarnation": memory.incarnation, "latch": kept}).encode(), mode=0o600)


def keep_description(source: Path | None, kept: Path) -> None:
    """Copy the cell description to where recordings find it; without one, remove that of an earlier start."""
    if source is None:
        kept.unlink(missing_ok=True)
    else:
        replace_file(kept, read_bytes(source, MAX_DOCUMENT_BYTES), mode=0o644)
