"""One run of `record` or `replay`: opens what is needed, follows it to its end, and says what came of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from industriverse_cli.bags import playing, selection
from industriverse_cli.bags.model import Topic
from industriverse_cli.bags.reader import Bag
from industriverse_cli.bags.recording import Progress, Recording, profile_attachments
from industriverse_cli.bags.report import size_text
from industriverse_cli.bags.writer import MIN_SIZE_BYTES, BagWriter, Bounds
from industriverse_cli.output import console, facts, print_json
from industriverse_cli.ros import ros_module
from industriverse_core.errors import CoreError, ErrorCode, InputError
from industriverse_core.store import CellPaths, RunningCell, cell_directory, home_directory
from industriverse_core.units import duration_text

if TYPE_CHECKING:
    from industriverse_cli.bags.node import Recorder

LOOK_PERIOD_S = 0.2


@contextmanager
def until_told() -> Iterator[Callable[[], bool]]:
    """A question that is answered with no after SIGINT or SIGTERM; both end the work in order."""
    told: list[int] = []
    previous = {
        number: signal.signal(number, lambda signal_number, _: told.append(signal_number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: not told
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def record_cell(
    cell: str,
    folder: Path,
    bounds: Bounds,
    compress: bool,
    everything: bool,
    topics: tuple[str, ...],
    duration_s: float,
    as_json: bool,
) -> None:
    """Record a running cell until Ctrl-C, SIGTERM, the end of the cell or of the time.

    Raises InputError or JobError; BagFullError when the bag could not grow any further.
    """
    if 0 < bounds.file_bytes < MIN_SIZE_BYTES:
        seen = f"files of {bounds.file_bytes} bytes are too small."
        raise InputError(ErrorCode.USAGE, seen, f"Allow {MIN_SIZE_BYTES} or more.")
    running = RunningCell.find(cell)
    node = ros_module("industriverse_cli.bags.node")
    paths = CellPaths(cell_directory(cell))
    writer = BagWriter(folder, bounds, compress, profile_attachments(running.machine, paths.description))
    recording = Recording(writer, paths.programs)
    wanted = node.Wanted(running.namespace, everything, topics)
    try:
        with until_told() as go_on, node.Recorder(running.domain_id, wanted, recording) as recorder:
            _follow(recorder, recording, lambda: go_on() and running.is_alive, duration_s, as_json)
            skipped, recorded = recorder.skipped, recorder.topics
    finally:
        recording.close()
    progress = recording.progress()
    if as_json:
        names = ("received", "written", "dropped", "lost", "size_bytes", "deleted_files")
        counts = {name: getattr(progress, name) for name in names}
        print_json({"folder": str(folder), **counts, "topics": recorded, "skipped": skipped})
    else:
        _print_end(folder, progress, recorded, skipped)
    if progress.ended is not None:
        raise progress.ended


def _follow(
    recorder: Recorder, recording: Recording, go_on: Callable[[], bool], duration_s: float, quiet: bool
) -> None:
    """Record, with a line that says how far it is; ends also when the bag has ended."""
    begun_s = time.monotonic()
    next_look_s = begun_s

    def more(show: Callable[[str], None]) -> bool:
        nonlocal next_look_s
        now_s = time.monotonic()
        if now_s >= next_look_s:
            next_look_s = now_s + LOOK_PERIOD_S
            progress = recording.progress()
            show(_status_line(progress, now_s - begun_s, len(recorder.topics)))
            if progress.ended is not None:
                return False
        return go_on() and not 0 < duration_s <= now_s - begun_s

    if quiet:
        recorder.run(lambda: more(lambda line: None))
        return
    with console().status("recording") as status:
        recorder.run(lambda: more(status.update))


def _status_line(progress: Progress, elapsed_s: float, topics: int) -> str:
    size = size_text(progress.size_bytes)
    parts = [f"recording {duration_text(elapsed_s)}", f"{topics} topics", f"{progress.written} messages", size]
    if progress.dropped or progress.lost:
        parts.append(f"{progress.dropped} dropped, {progress.lost} lost")
    return ", ".join(parts) + "  (Ctrl-C ends it)"


def _print_end(folder: Path, progress: Progress, topics: list[str], skipped: dict[str, str]) -> None:
    out = console()
    rows = {
        "bag": str(folder),
        "messages": f"{progress.written} of {len(topics)} topics",
        "size": size_text(progress.size_bytes),
        "dropped": f"{progress.dropped} (queue full)",
        "lost": f"{progress.lost} (on the network)",
    }
    if progress.deleted_files:
        rows["deleted"] = f"{progress.deleted_files} oldest files, to keep the size"
    out.print(facts(rows))
    for name, reason in sorted(skipped.items()):
        out.print(f"not recorded: {name} ({reason})", style="yellow")


@dataclass(frozen=True, slots=True)
class Replay:
    """How a bag is published again; the options of the command."""

    rate: float
    start_s: float
    clock: bool
    topics: tuple[str, ...]
    loop: bool
    domain_id: int
    control: bool
    into_live_cell: bool


def replay_bag(folder: Path, asked: Replay, as_json: bool) -> None:
    """Publish a bag's messages again. Raises InputError or JobError."""
    if not 1 / playing.MAX_RATE <= asked.rate <= playing.MAX_RATE:  # also false for NaN
        raise InputError(ErrorCode.USAGE, f"a rate of {asked.rate:g} is not possible.", "Allowed: 0.001 to 1000.")
    bag = Bag.open(folder)
    chosen = [
        topic
        for topic in bag.topics.values()
        if selection.is_played(topic.name, topic.type_name, asked.topics, asked.control, asked.clock)
    ]
    if not chosen:
        raise InputError(
            ErrorCode.USAGE, f"{folder}: no topic to replay is left.", "See: industriverse bag info FOLDER"
        )
    if not asked.into_live_cell:
        _refuse_live_cell(asked.domain_id)
    played = _play(bag, asked, chosen)
    if as_json:
        about = {"published": played.published, "latest_s": played.latest_s, "skipped": played.skipped}
        print_json({"folder": str(folder), "domain_id": asked.domain_id, **about})
        return
    print(f"{played.published} messages of {len(chosen)} topics published in ROS domain {asked.domain_id}", flush=True)
    for name, reason in sorted(played.skipped.items()):
        console().print(f"not replayed: {name} ({reason})", style="yellow")


def _play(bag: Bag, asked: Replay, chosen: list[Topic]) -> Any:
    node = ros_module("industriverse_cli.bags.node")
    own_clock = asked.clock and all(topic.type_name != selection.CLOCK_TYPE for topic in bag.topics.values())
    names = frozenset(topic.name for topic in chosen)
    start_ns = bag.information.start_ns + round(asked.start_s * 1e9)
    with until_told() as go_on, node.Player(asked.domain_id) as player:
        others = [] if asked.into_live_cell else player.others_publish(names)
        if others:
            raise _live(f"somebody publishes {others[0]} in ROS domain {asked.domain_id}")
        player.open(chosen, asked.rate, own_clock)
        while True:
            player.play(playing.schedule(bag, names, asked.rate, asked.start_s), asked.rate, start_ns, go_on)
            if not (asked.loop and go_on()):
                break
        player.wait_until_sent()
        return player.played


def _refuse_live_cell(domain_id: int) -> None:
    """Raise InputError when a cell of this user runs in the domain."""
    for note in sorted(home_directory().glob("*/cell.json")):
        try:
            running = RunningCell.find(note.parent.name)
        except CoreError:
            continue
        if running.domain_id == domain_id:
            raise _live(f"the cell '{running.name}' runs in ROS domain {domain_id}")


def _live(seen: str) -> InputError:
    remedy = "Take another domain (--domain 42), or say --into-live-cell."
    return InputError(ErrorCode.USAGE, f"{seen}; replayed messages would be taken for its own.", remedy)
