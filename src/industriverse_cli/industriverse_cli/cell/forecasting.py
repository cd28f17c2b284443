"""forecast: how the rest of the running job goes, and what would change it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from industriverse_cli.cell.commands import CellName, client_of
from industriverse_cli.options import Json
from industriverse_cli.output import columns, console, print_json

if TYPE_CHECKING:
    from industriverse_cli.cell.node import ForecastView
    from industriverse_core.artefacts import Estimate

AS_IS = "as_is"


def forecast(
    case: Annotated[
        list[str] | None,
        typer.Option("--case", metavar="NAME", help="A what-if; may be repeated. Default: all.", show_default=False),
    ] = None,
    machine: Annotated[str, typer.Option(metavar="NAME", help="Default: the cell's first machine.")] = "",
    cell: CellName = "demo",
    json: Json = False,
) -> None:
    """Forecast the rest of the job that runs now: time, energy and limits, as it is and with one thing changed.

    What-ifs: slower_20 and faster_10 (feed at 80 % and 110 %), bed_minus_5, hotend_minus_5, pause_600 (hold for 600 s).
    Intervals are 90 %. It changes nothing. Exit status 2 when no job runs.

    Example: industriverse forecast --case as_is --case slower_20
    """
    from twin_node.lookahead import chosen

    names = [each.name for each in chosen(case or [])]
    with client_of(cell) as client:
        view = client.forecast(machine, names)
    if json:
        print_json(_as_json(view))
        return
    _show(view)


def _as_json(view: ForecastView) -> dict[str, Any]:
    cases = [
        {
            "name": item.name, "time_s": item.time_s.mean, "time_s_90": [item.time_s.low, item.time_s.high],
            "energy_j": item.energy_j.mean, "energy_j_90": [item.energy_j.low, item.energy_j.high],
            "peak_power_w": item.peak_power_w, "violations": item.violations,
        }
        for item in view.cases
    ]  # fmt: skip
    return {"job_id": view.job_id, "instruction": view.instruction, "answered_in_s": view.duration_s, "cases": cases}


def _show(view: ForecastView) -> None:
    from rich.text import Text

    out = console()
    out.print(Text(f"job {view.job_id}, from instruction {view.instruction} on; times in h:min:s, energies in kJ"))
    plain = next((item for item in view.cases if item.name == AS_IS), None)
    table = columns("case", ">time left", "90 %", ">energy left", "90 %", ">peak", ">+/- time", ">+/- energy")
    for item in view.cases:
        other = plain is not None and item is not plain
        table.add_row(
            Text(item.name, style="red" if item.violations else ""),
            *_cells(item.time_s, _clock),
            *_cells(item.energy_j, _kilojoules),
            f"{item.peak_power_w:.0f} W",
            _change(item.time_s.mean - plain.time_s.mean, _clock) if other else "",
            _change(item.energy_j.mean - plain.energy_j.mean, _kilojoules) if other else "",
        )
    out.print(table)
    for item in view.cases:
        for sentence in item.violations:
            out.print(Text.assemble((f"{item.name}: ", "red"), sentence))


def _cells(estimate: Estimate, text: Callable[[float], str]) -> tuple[str, str]:
    """Mean and interval; what has no end is said in a word."""
    if not math.isfinite(estimate.mean):
        return "never ends", ""
    return text(estimate.mean), f"{text(estimate.low)} to {text(estimate.high)}"


def _change(difference: float, text: Callable[[float], str]) -> str:
    if not math.isfinite(difference):
        return ""
    return f"{'-' if difference < 0.0 else '+'}{text(abs(difference))}"


def _clock(seconds: float) -> str:
    """h:min:s, without hours below one."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def _kilojoules(joules: float) -> str:
    return f"{joules / 1e3:.1f}"
