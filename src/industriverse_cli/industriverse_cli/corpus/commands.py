"""corpus: every program below a folder, in parallel, with a progress bar; what is done is never done again."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from industriverse_cli.options import Json
from industriverse_cli.output import columns, console, facts, print_json
from industriverse_cli.voxels import VoxelHeight, VoxelWidth

if TYPE_CHECKING:
    from rich.progress import Progress

    from industriverse_cli.corpus.journal import Journal
    from industriverse_cli.corpus.rows import Row, Settings, Task

EXIT_INTERRUPTED = 130
COMMIT_S = 0.5  # rows are written together at least this often
SHOWN_PROBLEMS = 12


@dataclass(slots=True)
class Totals:
    """What one table says in all."""

    predicted: int = 0
    refused: int = 0  # by the gates, of those that are predicted
    bad: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)  # error -> the first message
    sums: Counter[str] = field(default_factory=Counter)
    currency: str = ""

    def add(self, row: Row) -> None:
        """Count one row."""
        if row["gate_verdict"]:
            self.verdicts[row["gate_verdict"]] += 1
        if not row["ok"]:
            self.bad[row["error"]] += 1
            self.examples.setdefault(row["error"], row["message"])
            return
        self.predicted += 1
        self.refused += row["gate_verdict"] == "refuse"
        self.currency = row["currency"] or self.currency
        for name in ("bytes", "instructions", "time_s", "energy_j", "material_kg", "price"):
            self.sums[name] += row[name] or 0


def corpus(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="All programs in it and below.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for journal and results.")],
    machine: Annotated[
        str, typer.Option(metavar="NAME", help="Machine profile; auto = the one that the file names, else the usual.")
    ] = "auto",
    material: Annotated[
        str, typer.Option(metavar="NAME", help="Material of all files. Default: as each says.", show_default=False)
    ] = "",
    tariff: Annotated[str, typer.Option(metavar="NAME", help="Prices.")] = "default",
    gates: Annotated[bool, typer.Option("--gates", help="Run the gates, too: verdict and first rule.")] = False,
    intervals: Annotated[bool, typer.Option("--intervals", help="90 % intervals, too.")] = False,
    voxels: Annotated[bool, typer.Option("--voxels", help="An HDF5 file of energy voxels for each file, too.")] = False,
    voxel: VoxelWidth = None,
    voxel_height: VoxelHeight = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes. Default: as many as cores.", show_default=False)
    ] = None,
    time_limit: Annotated[float, typer.Option(min=0.1, max=86400, metavar="S", help="For one file.")] = 120.0,
    max_mb: Annotated[float, typer.Option(min=0.001, max=512, metavar="MB", help="Larger files are refused.")] = 512.0,
    retry: Annotated[bool, typer.Option("--retry", help="Try unreadable, slow and fatal files again.")] = False,
    json: Json = False,
) -> None:
    """Predict and price every program below a folder: one row each in OUT/table (Parquet), errors included.

    A second run does only what is new or changed; a run that was stopped or killed goes on where it was. A file
    that cannot be read, takes too long or crashes its process becomes a row with an error and stops nothing.

    Example: industriverse corpus models -o results --gates
    """
    from industriverse_cli.corpus.journal import opened, write_table
    from industriverse_cli.corpus.rows import Settings, settings_key

    count = workers or os.cpu_count() or 1
    settings = Settings(
        folder=folder, output=output, machine=machine, material=material, tariff=tariff, gates=gates,
        intervals=intervals, voxels=voxels, voxel_mm=voxel, voxel_height_mm=voxel_height,
        max_bytes=round(max_mb * 1e6), memory_bytes=_memory_bytes() // count,
    )  # fmt: skip
    tasks, others = find_programs(folder, output)
    with opened(output, settings_key(settings)) as journal:
        todo = journal.missing(tasks, retry)
        started = time.monotonic()
        interrupted = not _work(journal, settings, todo, len(tasks), count, time_limit)
        elapsed_s = time.monotonic() - started
        totals = Totals()
        table = write_table(_counted(journal.rows(tasks), totals), output)
    facts_ = _facts(totals, tasks, todo, others, elapsed_s, table, interrupted)
    if json:
        print_json(facts_)
    else:
        _print(facts_, totals)
    if interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


def find_programs(folder: Path, output: Path) -> tuple[list[Task], Counter[str]]:
    """Every program file below a folder, by path, and how many other files there are by ending.

    Folders that are links are not entered, nor is the output folder. Raises InputError: FILE_NOT_FOUND or
    FILE_UNREADABLE for the folder itself; a folder below it that cannot be read counts as 'unreadable folder'.
    """
    from industriverse_cli.corpus.rows import Task
    from industriverse_core.errors import ErrorCode, InputError
    from industriverse_core.files import PROGRAM_ENDINGS

    if not folder.is_dir():
        raise InputError(ErrorCode.FILE_NOT_FOUND, f"{folder}: no such folder.", "Name a folder of programs.")
    tasks: list[Task] = []
    others: Counter[str] = Counter()

    def unreadable(error: OSError) -> None:
        if Path(error.filename) == folder:
            what = f"{folder}: cannot be read ({error.strerror})."
            raise InputError(ErrorCode.FILE_UNREADABLE, what, "Check its permissions.") from error
        others["unreadable folder"] += 1

    for place, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if (Path(place) / name).resolve() != output.resolve()]
        for name in names:
            path = os.path.join(place, name)
            ending = os.path.splitext(name)[1].lower()
            if ending not in PROGRAM_ENDINGS:
                others[ending or "no ending"] += 1
                continue
            try:
                status = os.stat(path)
                tasks.append(Task(os.path.relpath(path, folder), status.st_size, status.st_mtime_ns))
            except OSError:  # a broken link: its row will say so
                tasks.append(Task(os.path.relpath(path, folder), -1, -1))
    return sorted(tasks, key=lambda task: task.name), others


def _memory_bytes() -> int:
    """Four fifths of the machine's memory, for all workers together."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 4 // 5


def _work(
    journal: Journal, settings: Settings, todo: list[Task], found: int, workers: int, time_limit_s: float
) -> bool:
    """Do what is missing; rows reach the journal as they come. False when Ctrl-C ended it."""
    from industriverse_cli.corpus.pool import Pool

    if not todo:
        return True
    queue = sorted(todo, key=lambda task: -task.size)  # large files first: no worker is left alone with one at the end
    pool = Pool(settings, min(workers, len(queue)), time_limit_s)
    done: list[tuple[Task, Row]] = []
    committed = time.monotonic()
    with _progress() as progress, closing(pool.run(queue)) as results:
        bar = _Bar(progress, queue, found)
        try:
            for result in results:
                if result is not None:
                    done.append(result)
                    bar.advance(*result)
                if time.monotonic() - committed > COMMIT_S:
                    journal.add(done)
                    done.clear()
                    committed = time.monotonic()
        except KeyboardInterrupt:
            return False
        finally:
            journal.add(done)
    return True


def _progress() -> Progress:
    """On standard error, so that --json and tables stay clean; without a terminal only the last state is printed."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.fields[files]}"), BarColumn(bar_width=None), TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[speed]}", style="cyan"), TextColumn("{task.fields[bad]}", style="yellow"),
        TimeRemainingColumn(), console=Console(stderr=True, highlight=False), refresh_per_second=4, expand=True,
    )  # fmt: skip


class _Bar:
    """The progress bar: bytes done, so that large files count for what they cost."""

    def __init__(self, progress: Progress, queue: list[Task], found: int) -> None:
        self._progress = progress
        self._count, self._bad, self._bytes = 0, 0, 0
        self._of = len(queue)
        self._first = 0.0  # when the first file was done: workers take a moment to start
        self._earlier = f" ({found - len(queue)} earlier)" if found > len(queue) else ""
        self._task = progress.add_task(
            "", total=sum(_weight(task) for task in queue), files=f"0/{self._of} files", speed="starting", bad=""
        )

    def advance(self, task: Task, row: Row) -> None:
        """One file is done."""
        now = time.monotonic()
        self._first = self._first or now - (row["wall_s"] or 0.0)
        self._count += 1
        self._bad += not row["ok"]
        self._bytes += max(0, task.size)
        speed = self._bytes / max(1e-3, now - self._first) / 1e6
        self._progress.update(
            self._task,
            advance=_weight(task),
            files=f"{self._count}/{self._of} files{self._earlier}",
            speed=f"{speed:.1f} MB/s",
            bad=f"{self._bad} with an error" if self._bad else "",
        )


def _weight(task: Task) -> int:
    return max(1000, task.size)


def _counted(rows: Iterable[Row], totals: Totals) -> Iterator[Row]:
    for row in rows:
        totals.add(row)
        yield row


def _facts(
    totals: Totals, tasks: list[Task], todo: list[Task], others: Counter[str], elapsed_s: float, table: Path,
    interrupted: bool,
) -> dict[str, Any]:  # fmt: skip
    """The summary, as --json prints it."""
    done_bytes = sum(max(0, task.size) for task in todo)
    listed = totals.predicted + totals.bad.total()
    return {
        "table": str(table),
        "files": len(tasks),
        "predicted": totals.predicted,
        "refused": totals.refused if totals.verdicts else None,
        "bad": dict(totals.bad.most_common()),
        "missing": len(tasks) - listed,
        "done_now": len(todo) - (len(tasks) - listed),
        "interrupted": interrupted,
        "gates": dict(totals.verdicts),
        "other_files": dict(others.most_common()),
        "instructions": int(totals.sums["instructions"]),
        "time_s": float(totals.sums["time_s"]),
        "energy_j": float(totals.sums["energy_j"]),
        "material_kg": float(totals.sums["material_kg"]),
        "price": float(totals.sums["price"]),
        "currency": totals.currency,
        "elapsed_s": elapsed_s,
        "mb_per_s": None if interrupted or not todo else done_bytes / 1e6 / max(1e-3, elapsed_s),
    }


def _judged(summary: dict[str, Any]) -> str:
    """How many files were predicted, and what the gates say about them."""
    predicted = f"{summary['predicted']} predicted"
    return predicted if summary["refused"] is None else f"{predicted} ({summary['refused']} of them refused by gates)"


def _print(summary: dict[str, Any], totals: Totals) -> None:
    from rich.text import Text

    from industriverse_core.units import duration_text, energy_text

    out = console()
    rows = {
        "files": f"{summary['files']}: {_judged(summary)}, {totals.bad.total()} with an error"
        + (f", {summary['missing']} not done yet" if summary["missing"] else ""),
        "this run": f"{summary['done_now']} files in {duration_text(summary['elapsed_s'])}"
        + (f", {summary['mb_per_s']:.1f} MB/s" if summary["mb_per_s"] else ""),
        "programs": f"{summary['instructions']:,} instructions".replace(",", " ")
        + f", {summary['time_s'] / 3600:.1f} h, {energy_text(summary['energy_j'])}, "
        + f"{summary['material_kg']:.3f} kg, {summary['price']:.2f} {summary['currency']}".rstrip(),
    }
    if summary["gates"]:
        rows["gates"] = ", ".join(f"{count} {verdict}" for verdict, count in sorted(summary["gates"].items()))
    if summary["other_files"]:
        kinds = ", ".join(f"{count} {ending}" for ending, count in list(summary["other_files"].items())[:6])
        rows["not programs"] = kinds
    rows["table"] = summary["table"]
    out.print(facts(rows))
    if totals.bad:
        table = columns(">files", "error", "for example")
        for name, count in totals.bad.most_common(SHOWN_PROBLEMS):
            table.add_row(str(count), Text(name, style="yellow"), Text(totals.examples[name]))
        out.print()
        out.print(table)
    if summary["interrupted"]:
        print("industriverse: interrupted; the same command goes on where this one stopped.", file=sys.stderr)
