"""telemetry: what the hub has recorded, also while it records."""

from __future__ import annotations

import csv
import json as json_text
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from industriverse_cli.options import Json, writing
from industriverse_cli.output import columns, complain, console, plain, print_json

if TYPE_CHECKING:
    from machine_node.hub.reading import StreamInfo
    from machine_node.hub.summary import StreamSummary

SHOWN = {
    "telemetry": ("state", "hotend_c", "bed_c", "progress"),
    "joint_states": ("x_m", "y_m", "z_m"),
    "power": ("power_w", "voltage_v", "energy_j"),
    "vibration": ("axis", "rms_m_s2", "dominant_frequency_hz"),
    "execution_trace": ("executed", "total"),
    "residual": ("power_expected", "power_measured"),
    "safety_state": ("state", "permits_issued"),
    "job_state": ("state", "progress"),
    "messages": ("text",),
    "events": ("kind", "text"),
}
FOLLOW_PERIOD_S = 0.5
_SINCE = re.compile(r"(\d+(?:\.\d+)?)(s|m|min|h|d)")
_LENGTH_S = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def telemetry(
    record: Annotated[
        Path, typer.Argument(metavar="FILE|CELL", help="A telemetry_buffer.h5, or a cell: its name or its folder.")
    ],
    machine: Annotated[str, typer.Option(metavar="ID", help="Only this machine.")] = "",
    stream: Annotated[str, typer.Option(metavar="NAME", help="Only this stream, for example power.")] = "",
    since: Annotated[str, typer.Option(metavar="TIME", help="How far back: 30s, 10m, 2h, 1d, or all.")] = "10m",
    column: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Plot this column; may be repeated.", show_default=False)
    ] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw it: in the terminal, or into the file of -o.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="OUT.svg", help="Where the plot goes.", show_default=False)
    ] = None,
    table: Annotated[bool, typer.Option("--csv", help="Print the rows of one stream as CSV.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, as CSV or JSON lines.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what a cell's telemetry hub has recorded: streams, rates, gaps, last values. The cell may be running.

    Examples: industriverse telemetry demo
              industriverse telemetry demo --stream power --plot -o power.svg
              industriverse telemetry demo --stream telemetry --since 2h --csv > telemetry.csv
    """
    if output is not None and output.suffix.lower() != ".svg":
        raise _usage(f"{output}: plots are written as SVG.", "Name a file that ends in .svg.")
    from machine_node.hub.reading import RecordSet

    with RecordSet.find(record, _home(), on_skipped=complain) as records:
        chosen = _choose(records.streams, machine, stream, plot and not stream)
        cutoff_s = _cutoff_s(since, records.last_received_s(chosen))
        if plot or output is not None:
            _plot(records, chosen, cutoff_s, tuple(column or ()), output)
        elif follow or table:
            _print_rows(records, _only_one(chosen), cutoff_s, follow, json)
        else:
            _summarise(records, chosen, cutoff_s, json)


def _home() -> Path:
    from industriverse_core.store import home_directory

    return home_directory()


def _usage(message: str, remedy: str) -> Exception:
    from industriverse_core.errors import ErrorCode, InputError

    return InputError(ErrorCode.USAGE, message, remedy)


def _choose(streams: tuple[StreamInfo, ...], machine: str, stream: str, plotted: bool) -> list[StreamInfo]:
    chosen = [
        info for info in streams if machine in ("", info.machine) and stream in ("", info.stream)
    ]  # fmt: skip
    if plotted:  # what people look at first
        chosen = [info for info in chosen if info.stream in ("telemetry", "power")]
    if chosen:
        return chosen
    machines = ", ".join(dict.fromkeys(info.machine for info in streams))
    names = ", ".join(dict.fromkeys(info.stream for info in streams))
    raise _usage(f"there is no stream '{stream}' of machine '{machine}'.", f"Recorded: {machines}; streams: {names}.")


def _only_one(chosen: list[StreamInfo]) -> StreamInfo:
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(info.name for info in chosen[:12])
    raise _usage(f"rows are printed of one stream, not of {len(chosen)}.", f"Add --machine and --stream: {names}.")


def _cutoff_s(since: str, last_s: float) -> float:
    """ROS time from which rows are wanted; `last_s` is that of the newest."""
    if since == "all":
        return -float("inf")
    match = _SINCE.fullmatch(since)
    if match is None:
        raise _usage(f"--since is '{since[:32]}'.", "Write 30s, 10m, 2h, 1d or all.")
    return last_s - float(match[1]) * _LENGTH_S[match[2]]


# --- summary ---


def _summarise(records: Any, chosen: list[StreamInfo], cutoff_s: float, json: bool) -> None:
    from machine_node.hub.summary import summarise

    found = {info: summarise(records.rows(info.name, cutoff_s)) for info in chosen}
    if json:
        streams = [_as_json(info, summary) for info, summary in found.items()]
        print_json({"files": [str(path) for path in records.paths], "streams": streams})
        return
    out = console()
    paths = records.paths
    out.print(f"{paths[-1]}" + (f" and {len(paths) - 1} before it" if len(paths) > 1 else ""), style="bold")
    out.print(_table(found))
    quiet = [info.name for info, summary in found.items() if not summary.rows]
    if quiet:
        out.print(f"nothing in this time: {', '.join(quiet)}", style="dim")


def _as_json(info: StreamInfo, summary: StreamSummary) -> dict[str, Any]:
    return {
        "machine": info.machine,
        "stream": info.stream,
        "rows": summary.rows,
        "lost_rows": summary.lost_rows,
        "rate_hz": summary.rate_hz,
        "gaps": summary.gaps,
        "longest_gap_s": summary.longest_gap_s,
        "from_s": summary.from_s,
        "to_s": summary.to_s,
        "delay_s": summary.delay_s,
        "last": {name: _text(value) for name, value in summary.last.items()},
        "units": dict(info.units),
    }


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _table(found: dict[StreamInfo, StreamSummary]) -> Any:
    made = columns("machine", "stream", ">rows", ">rate", ">lost", ">gaps", ">longest", "last values")
    for info, summary in found.items():
        if summary.rows:
            made.add_row(
                info.machine, info.stream, f"{summary.rows}", f"{summary.rate_hz:.3g} Hz", f"{summary.lost_rows}",
                f"{summary.gaps}", f"{summary.longest_gap_s:.2f} s", _values(info, summary),
            )  # fmt: skip
    return made


def _values(info: StreamInfo, summary: StreamSummary) -> str:
    shown = []
    for name in SHOWN.get(info.stream, ()):
        value = _text(summary.last[name])
        unit = info.units[name].replace("degC", "°C")
        number = f"{value:.5g}" if isinstance(value, float) else str(value)
        shown.append(f"{name} {number}" + (f" {unit}" if unit not in ("", "1") else ""))
    return ", ".join(shown)


# --- rows ---


def _print_rows(records: Any, info: StreamInfo, cutoff_s: float, follow: bool, json: bool) -> None:
    writer = csv.writer(sys.stdout)
    if not json:
        writer.writerow(f"{name} [{unit}]" if unit not in ("", "1") else name for name, unit in info.units.items())
    for rows in _batches(records, info, cutoff_s, follow):
        for row in rows.tolist():
            if json:
                values = {name: _text(value) for name, value in zip(info.units, row, strict=True)}
                print(json_text.dumps(plain(values), allow_nan=False, ensure_ascii=False))
            else:
                writer.writerow([_text(value) for value in row])
        sys.stdout.flush()


def _batches(records: Any, info: StreamInfo, cutoff_s: float, follow: bool) -> Any:
    yield records.rows(info.name, cutoff_s)
    while follow:
        time.sleep(FOLLOW_PERIOD_S)
        yield records.fresh_rows(info.name)


# --- plot ---


def _plot(
    records: Any, chosen: list[StreamInfo], cutoff_s: float, wanted: tuple[str, ...], output: Path | None
) -> None:  # fmt: skip
    from industriverse_cli import telemetry_plot as drawing

    panels = [
        panel
        for info in chosen
        for panel in drawing.panels(info.name, records.rows(info.name, cutoff_s), info.units, wanted)
    ]
    if not panels:
        raise _usage(
            "there is nothing to draw in this time.", "Name numeric columns with --column, or a longer --since."
        )
    if output is None:
        out = console()
        for panel in panels:
            out.print(drawing.terminal(panel, min(out.width, 110)))
        return
    with writing(output):
        output.write_text(drawing.svg(panels), encoding="utf-8")
    print(output)
