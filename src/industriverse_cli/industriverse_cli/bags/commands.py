"""record, replay, verdicts, and bag info, recover, verify."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from industriverse_cli.bags.report import size_text
from industriverse_cli.options import Json
from industriverse_cli.output import EXIT_CELL, columns, console, facts, print_json
from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.units import duration_text

if TYPE_CHECKING:
    from industriverse_cli.bags.reader import Bag

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The bag's folder.", show_default=False)]
CellArgument = Annotated[str, typer.Argument(metavar="[CELL]", help="Which running cell.")]
UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?) ?(B|kB|MB|GB|KiB|MiB|GiB)?")

bag = typer.Typer(
    help="Look at recordings: what is in them, whether they are whole; make torn ones whole.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def size_bytes(text: str) -> int:
    """A size as people write it: 250MB, 1GiB, 1000000. Raises InputError (USAGE)."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InputError(
            ErrorCode.USAGE, f"'{text[:40]}' is no size.", "Write for example 250MB or 1GiB; 0 = no limit."
        )
    return round(float(match[1]) * UNITS[match[2] or ""])


def record(
    cell: CellArgument = "demo",
    folder: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FOLDER", help="New folder. Default: named by the time.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every topic of the cell's ROS domain, pictures too.")
    ] = False,
    topic: Annotated[
        list[str] | None, typer.Option("--topic", metavar="NAME", help="Only these; * stands for anything.")
    ] = None,
    max_size: Annotated[str, typer.Option(help="Space on disk; then the oldest file is deleted. 0 = all.")] = "1GB",
    split: Annotated[
        str, typer.Option(help="Size of one file, at most a quarter of --max-size. 0 = one file.")
    ] = "256MB",
    stop_when_full: Annotated[
        bool, typer.Option("--stop-when-full", help="End at --max-size, delete nothing.")
    ] = False,
    compress: Annotated[str, typer.Option(metavar="zstd|none", help="Compression of chunks.")] = "zstd",
    duration: Annotated[float, typer.Option(min=0, help="End after so many seconds; 0 = on Ctrl-C.")] = 0.0,
    json: Json = False,
) -> None:
    """Record a running cell: everything that its decisions rest on, as a rosbag2 MCAP bag.

    Messages are written as they come, undecoded, with the programs that they refer to. Ctrl-C ends it. What could not
    be kept is counted and said. A recording that was killed is made whole with: industriverse bag recover FOLDER

    Example: industriverse record -o incident

    Example: industriverse record demo -o long_run --max-size 20GB --split 500MB
    """  # fmt: skip
    from industriverse_cli.bags.session import record_cell
    from industriverse_cli.bags.writer import Bounds

    if compress not in ("zstd", "none"):
        raise InputError(ErrorCode.USAGE, f"'{compress}' is no compression.", "Write zstd or none.")
    bounds = Bounds(size_bytes(max_size), size_bytes(split), stop_when_full)
    target = folder or Path(time.strftime(f"{cell}_%Y_%m_%d-%H_%M_%S"))
    record_cell(cell, target, bounds, compress == "zstd", everything, tuple(topic or ()), duration, json)


def replay(
    folder: Folder,
    rate: Annotated[float, typer.Option(help="How many times as fast.")] = 1.0,
    start: Annotated[float, typer.Option(min=0, help="Begin so many seconds after the first message.")] = 0.0,
    clock: Annotated[
        bool, typer.Option("--clock", help="Publish /clock: the recorded one, else the receipts.")
    ] = False,
    topic: Annotated[
        list[str] | None, typer.Option("--topic", metavar="NAME", help="Only these; * stands for anything.")
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Begin anew at the end, until Ctrl-C.")] = False,
    domain: Annotated[
        int, typer.Option(min=-1, max=232, help="ROS domain. Default: $ROS_DOMAIN_ID, else 0.", show_default=False)
    ] = -1,
    control: Annotated[bool, typer.Option("--control", help="Permits and stop requests, too.")] = False,
    into_live_cell: Annotated[
        bool, typer.Option("--into-live-cell", help="Also where a cell runs or somebody publishes these topics.")
    ] = False,
    into_logic: Annotated[
        bool, typer.Option("--into-logic", help="Publish nothing: as `industriverse verdicts`.")
    ] = False,
    json: Json = False,
) -> None:
    """Publish a bag's messages again, as bytes, with the QoS that they had. Or decide it again (--into-logic).

    Permits and stop requests stay in the bag unless --control is given; a machine refuses permits of another time
    anyway (challenge and sequence). Where a cell runs, nothing is published without --into-live-cell.

    Example: industriverse replay incident --rate 5 --start 30 --clock
    """
    from industriverse_cli.bags.session import Replay, replay_bag

    if into_logic:
        verdicts(folder, json=json)
        return
    replay_bag(
        folder, Replay(rate, start, clock, tuple(topic or ()), loop, _domain(domain), control, into_live_cell), json
    )


def _domain(asked: int) -> int:
    if asked >= 0:
        return asked
    text = os.environ.get("ROS_DOMAIN_ID") or "0"
    if not (text.isascii() and text.isdigit() and int(text) <= 232):
        raise InputError(
            ErrorCode.USAGE, f"ROS_DOMAIN_ID is '{text[:20]}'; 0 to 232 are allowed.", "Name it: --domain 42"
        )
    return int(text)


def verdicts(
    folder: Folder,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.jsonl", help="Every verdict as a line of JSON.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The cell's permit.key, to judge MACs as well.")
    ] = None,
    json: Json = False,
) -> None:
    """Decide a bag again, without ROS's network: gates, shield and permit guard on what was recorded.

    The same bag gives the same verdicts, byte for byte; their SHA-256 is shown. They are compared with what was
    decided live. Exit status 1 when they differ.

    Example: industriverse verdicts incident
    """
    from industriverse_cli.bags import report
    from industriverse_cli.bags.reader import Bag
    from industriverse_cli.bags.verdicts import decide
    from industriverse_cli.options import tell_of_compilation, writing
    from industriverse_core.files import read_bytes

    tell_of_compilation()
    opened = Bag.open(folder)
    secret = None if key is None else read_bytes(key, 1024)
    if output is None:
        found = decide(opened, secret)
    else:
        with writing(output), output.open("wb") as file:
            found = decide(opened, secret, file.write)
    if json:
        print_json(report.verdicts_json(folder, found))
    else:
        report.print_verdicts(folder, found)
    if not found.agree:
        raise typer.Exit(EXIT_CELL)


# --- bag ---


@bag.command()
def info(folder: Folder, json: Json = False) -> None:
    """What is in a bag: topics, counts, files, attachments.

    Example: industriverse bag info incident
    """
    from industriverse_cli.bags.reader import Bag

    opened = Bag.open(folder)
    if json:
        print_json(_info_json(opened))
        return
    information = opened.information
    length_s = (information.end_ns - information.start_ns) * 1e-9
    begun = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(information.start_ns // 10**9))
    rows = {
        "bag": str(folder),
        "begun": begun if information.messages else "never",
        "length": duration_text(length_s),
        "messages": str(information.messages),
        "size": f"{size_text(sum(part.size_bytes for part in information.parts))} in {len(information.parts)} files",
        **{name.replace("_", " "): value for name, value in information.notes.items()},
    }
    out = console()
    out.print(facts(rows))
    table = columns("topic", "type", ">messages", ">rate [Hz]", "QoS")
    for name in sorted(opened.topics):
        topic, count = opened.topics[name], information.counts.get(name, 0)
        rate = f"{count / length_s:.1f}" if length_s > 0 else ""
        offered = topic.qos[0] if topic.qos else None
        qos = f"{offered.reliability}{', latched' if topic.latched else ''}" if offered else ""
        table.add_row(name, topic.type_name, str(count), rate, qos)
    out.print(table)
    for item in opened.attachments():
        out.print(f"attached: {item.name} ({size_text(len(item.data))})")


def _info_json(opened: Bag) -> dict[str, Any]:
    information = opened.information
    topics = [
        {"name": each.name, "type": each.type_name, "messages": information.counts.get(each.name, 0)}
        for _, each in sorted(opened.topics.items())
    ]
    parts = [
        {"name": part.name, "size_bytes": part.size_bytes, "messages": part.messages} for part in information.parts
    ]
    attached = [{"name": item.name, "size_bytes": len(item.data)} for item in opened.attachments()]
    return {
        "folder": str(opened.folder), "messages": information.messages, "start_ns": information.start_ns,
        "end_ns": information.end_ns, "topics": topics, "files": parts, "attachments": attached,
        "notes": information.notes,
    }  # fmt: skip


@bag.command()
def verify(folder: Folder, json: Json = False) -> None:
    """Read every record of a bag and compare checksums and counts. Exit status 1 when something is wrong.

    Example: industriverse bag verify incident
    """
    from industriverse_cli.bags import recovery, report

    states, problems = recovery.verify(folder)
    report.tell_states(folder, states, problems, json)
    if problems or not all(state.sound for state in states):
        raise typer.Exit(EXIT_CELL)


@bag.command()
def recover(folder: Folder, json: Json = False) -> None:
    """Make a torn bag whole, in place: what was cut in the middle is removed, the index is made anew.

    Whole records are not touched. Says what was lost.

    Example: industriverse bag recover incident
    """
    from industriverse_cli.bags import recovery, report

    report.tell_states(folder, recovery.recover(folder), [], json)
