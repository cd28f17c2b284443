"""What the commands print: JSON objects for programs, tables for people, one line for each refusal."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from industriverse_core.errors import CoreError, ErrorCode, GateError, InputError, PredictionError, ProfileError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

EXIT_CELL = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3


def plain(value: Any) -> Any:
    """A value as JSON has it: numbers that are not finite become null, bytes hexadecimal text."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "item"):  # a numpy scalar
        return plain(value.item())
    return value


def print_json(value: Any) -> None:
    """One JSON object on one line of standard output."""
    print(json.dumps(plain(value), allow_nan=False, ensure_ascii=False), flush=True)


def print_error_json(error: CoreError) -> None:
    """The error as a JSON object on standard output."""
    code = ErrorCode(error.code)
    print_json({"error": {"code": int(code), "name": code.name, "message": error.message, "remedy": error.remedy}})


def complain(error: CoreError) -> None:
    """The error as one line on standard error."""
    text = " ".join(str(error).split())
    print(f"industriverse: [{ErrorCode(error.code).name}] {text}", file=sys.stderr, flush=True)


def exit_status(error: CoreError) -> int:
    """3 for a gate's refusal, 2 for what the caller gave, 1 for what the cell could not do."""
    if isinstance(error, GateError):
        return EXIT_REFUSED
    return EXIT_USAGE if isinstance(error, (InputError, ProfileError, PredictionError)) else EXIT_CELL


def console() -> Console:
    """Where people read: standard output. Without a terminal it has no colours and is 100 columns wide."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 100
    return Console(highlight=False, markup=False, width=width)


def columns(*heads: str) -> Table:
    """An empty borderless table; a head that begins with '>' is a right-aligned column of numbers."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for head in heads:
        justify = "right" if head.startswith(">") else "left"
        table.add_column(Text(head.removeprefix(">")), justify=justify, overflow="fold")
    return table


def facts(rows: Mapping[str, str]) -> Table:
    """A borderless table of names and values."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, Text(value))
    return table
