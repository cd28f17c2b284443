"""How long the report's own work takes for a large program: the path reduced, the page written; loops warm."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from industriverse_cli.options import Case
from industriverse_cli.report.command import make_report
from industriverse_cli.report.page import page_html
from industriverse_core.gcode import read_gcode
from industriverse_core.machine import load_machine
from industriverse_core.material import load_material
from twin_node.price_parts import Order
from twin_node.tariff import load_tariff

EXAMPLE = Path(__file__).parents[1] / "examples" / "washer_pla.gcode"
COPIES = 100
ROUNDS = 3


def run() -> Iterator[dict]:
    program = read_gcode(EXAMPLE.read_bytes() * COPIES, "washers")
    case = Case(program, load_machine("prusa_mk3s"), load_material("PLA"))
    rounds = [_timed(case) for _ in range(ROUNDS)]
    yield {"metric": "report: moves", "value": rounds[0][2], "unit": ""}
    yield {
        "metric": "report: gates, prediction, price, path",
        "value": round(min(r[0] for r in rounds), 3),
        "unit": "s",
    }
    yield {"metric": "report: page", "value": round(min(r[1] for r in rounds), 3), "unit": "s"}
    yield {"metric": "report: size of the page", "value": round(rounds[0][3] / 1e6, 2), "unit": "MB"}


def _timed(case: Case) -> tuple[float, float, int, int]:
    """CPU seconds of the data and of the page, moves, bytes."""
    started = time.process_time()
    report, _ = make_report(case, EXAMPLE, load_tariff("default"), Order(), datetime(2026, 1, 1, tzinfo=UTC))
    collected = time.process_time()
    size = len(page_html(report).encode())
    return collected - started, time.process_time() - collected, report.path.moves, size
