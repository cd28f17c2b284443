"""health: how a cell's machine wears, by its own finished jobs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from industriverse_cli.options import Json
from industriverse_cli.output import columns, console, print_json
from industriverse_core.errors import ErrorCode, InputError

if TYPE_CHECKING:
    from shield_node.health import HealthReport, MachineHealth


def health(
    cell: Annotated[str, typer.Argument(metavar="CELL|FILE", help="A cell's name, or its health.json.")],
    json: Json = False,
) -> None:
    """Show how a machine wears: each health number, whether it drifts, and when it leaves its tolerance.

    The shield enters the numbers of every job of which nine tenths were executed; the cell need not run now.

    Example: industriverse health demo
    """
    from shield_node.health import load

    path = _file(cell)
    if not path.exists():
        raise InputError(
            ErrorCode.FILE_NOT_FOUND,
            f"{path}: no job of this cell has come to its end yet.",
            "Run a job, or name a cell that has run some.",
        )
    history = load(path)
    if json:
        print_json({"file": str(path), "jobs": len(history.jobs), "numbers": [_facts(r) for r in history.reports]})
    else:
        _print(history)


def _file(cell: str) -> Path:
    from industriverse_core.store import CellPaths, cell_directory

    path = Path(cell)
    if path.is_dir():
        return CellPaths(path).health
    return path if path.suffix == ".json" else CellPaths(cell_directory(cell)).health


def _facts(report: HealthReport) -> dict[str, Any]:
    drift, forecast = report.drift, report.forecast
    return {
        "number": report.number.value,
        "value": report.value,
        "jobs": drift.jobs,
        "evidence": drift.evidence,
        "drifting": drift.drifting,
        "change_a_job": _finite(forecast.slope),
        "jobs_left": _finite(forecast.jobs_left),
        "earliest": _finite(forecast.earliest),
        "latest": _finite(forecast.latest),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _print(history: MachineHealth) -> None:
    out = console()
    table = columns("number", ">now", ">tolerance", ">jobs", ">change a job", ">out of tolerance", "drift")
    for report in history.reports:
        drift, forecast = report.drift, report.forecast
        table.add_row(
            report.number.value,
            f"{report.value:.4g}",
            _range(report.tolerance.low, report.tolerance.high),
            str(drift.jobs),
            "-" if math.isnan(forecast.slope) else f"{forecast.slope:+.2g}",
            _when(report),
            f"yes (evidence {drift.evidence:.3g})" if drift.drifting else "no",
        )
    out.print(table)
    if history.sentence:
        out.print(history.sentence)


def _range(low: float, high: float) -> str:
    return "-" if math.isinf(low) and math.isinf(high) else f"{low:g} to {high:g}"


def _when(report: HealthReport) -> str:
    left = report.forecast.jobs_left
    if left == 0.0:
        return "now"
    if not (report.drift.drifting and math.isfinite(left)):
        return "-"
    earliest, latest = report.forecast.earliest, report.forecast.latest
    until = f"{latest:.0f}" if math.isfinite(latest) else "never"
    return f"in {left:.0f} jobs ({earliest:.0f} to {until})"
