"""./cell campaign: injects faults into a simulated cell, or into real processes, and judges what reached the machine.

    ./cell campaign --n 10000 --seed 1                   virtual time, one process a core; Ctrl-C ends it with a report
    ./cell campaign --only 4711                          one run again, with everything that it violated
    ./cell campaign --processes 40 --seed 1              faults in one running cell of real processes
    ./cell campaign --physical 11 --seed 1               clogs, belts, heaters, sensors: who notices, and how soon

Prints a table; `--json FILE` writes the report, one object with a row a class. The exit status is 1 when anything was
violated. docs/campaign.md says what is injected and how to read the table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .table import as_json, as_text, rows_of
from .trial import Record, leave_interrupts, run


def _kept(path: Path | None, seeds: range) -> list[Record]:
    """Runs of these seeds that the file holds already."""
    if path is None or not path.exists():
        return []
    try:
        records = [Record(**json.loads(line)) for line in path.read_text().splitlines() if line.endswith("}")]
    except (OSError, ValueError, TypeError) as error:
        sys.exit(f"./cell campaign: {path} holds no records of a campaign ({error}). Name another file or remove it.")
    return list({record.seed: record for record in records if record.seed in seeds}.values())


def _simulate(seeds: list[int], jobs: int) -> Iterator[Record]:
    if jobs <= 1:
        yield from map(run, seeds)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, leave_interrupts) as pool:
        yield from pool.imap_unordered(run, seeds, chunksize=20)


def _report(records: list[Any], path: Path | None, **about: Any) -> int:
    bad = [record for record in records if record.violations]
    rows = rows_of(records)
    print(as_text(rows))
    for record in bad:
        print(f"\nseed {record.seed}, {record.fault}: " + "; ".join(record.violations))
    if path is not None:
        path.write_text(as_json(rows, **about) + "\n")
    return 1 if bad else 0


def simulated(options: argparse.Namespace) -> int:
    """Part one: virtual time."""
    started_s = time.monotonic()
    seeds = range(options.seed * 10_000_000, options.seed * 10_000_000 + options.n)
    records = _kept(options.records, seeds)
    left = sorted(set(seeds) - {record.seed for record in records})
    kept = contextlib.nullcontext() if options.records is None else options.records.open("a", encoding="utf-8")
    with kept as file, contextlib.suppress(KeyboardInterrupt):  # then the report is of what is done
        for record in _simulate(left, options.jobs):
            records.append(record)
            if file is not None:
                file.write(json.dumps(record.as_json()) + "\n")
                file.flush()
            if len(records) % 500 == 0:
                print(f"{len(records)} of {options.n}", file=sys.stderr, flush=True)
    records.sort(key=lambda each: each.seed)
    took_s, virtual_s = time.monotonic() - started_s, sum(each.simulated_s for each in records)
    motion_lines = sum(each.motion_lines for each in records)
    faults = len(records) + sum(each.fault == "two_at_once" for each in records)
    oldest_s = max((each.oldest_permit_s for each in records), default=0.0)
    print(
        f"{faults} faults in {len(records)} runs, {motion_lines} motion lines, {virtual_s / 3600:.1f} h of virtual "
        f"time in {took_s:.0f} s; the oldest permit that was obeyed was {oldest_s:.2f} s old\n"
    )
    return _report(
        records, options.json, seed=options.seed, runs=len(records), faults=faults, motion_lines=motion_lines,
        virtual_s=round(virtual_s, 1), wall_s=round(took_s, 1), oldest_permit_s=round(oldest_s, 3),
    )  # fmt: skip


def real(options: argparse.Namespace) -> int:
    """Part two: real processes."""
    from . import processes  # ROS, which the simulation needs no processes of

    records = []
    interrupted = contextlib.suppress(KeyboardInterrupt)  # then the report is of what is done
    with tempfile.TemporaryDirectory(prefix="campaign") as folder, interrupted:
        for record in processes.campaign(Path(folder), options.seed, options.processes):
            records.append(record)
            seen = "; ".join(record.violations) or record.state
            print(f"{len(records)} of {options.processes}: {record.fault}: {seen}", file=sys.stderr, flush=True)
    stall_s = max((record.stall_s for record in records), default=0.0)
    print(f"{len(records)} faults; this computer stood still for up to {stall_s:.2f} s\n")
    return _report(records, options.json, seed=options.seed, runs=len(records), stall_s=round(stall_s, 3))


def physical(options: argparse.Namespace) -> int:
    """Part three: the machine's body."""
    from . import physical as body  # the twin and the threat identifier

    records = list(body.campaign(options.seed, options.physical))
    print(f"{len(records)} faults of the machine's body; times in ms of physics time\n")
    return _report(records, options.json, seed=options.seed, runs=len(records))


def once(seed: int) -> int:
    """One run again."""
    record = run(seed)
    for name, value in record.as_json().items():
        print(f"{name:16}{value}")
    return 1 if record.violations else 0


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text} is not 0 to 1000000")
    return number


def main(arguments: list[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="./cell campaign", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=_count, default=1000, help="runs in virtual time (default 1000)")
    parser.add_argument("--seed", type=_count, default=1, help="of all draws (default 1)")
    parser.add_argument("--only", type=int, metavar="SEED", help="this run only, as a violation names it")
    parser.add_argument(
        "--records",
        type=Path,
        metavar="FILE",
        help="keep each run there as a JSON line; those that it has are not run again",
    )
    parser.add_argument("--jobs", type=_count, default=os.cpu_count() or 1, help="processes to simulate in")
    parser.add_argument("--processes", type=_count, default=0, metavar="N", help="N faults in real processes instead")
    parser.add_argument("--physical", type=_count, default=0, metavar="N", help="N faults of its body instead")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    options = parser.parse_args(arguments)
    if arguments is None:  # also in the background, where a shell has SIGINT ignored
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.default_int_handler)
    if options.only is not None:
        return once(options.only)
    if options.physical:
        return physical(options)
    return real(options) if options.processes else simulated(options)


if __name__ == "__main__":
    sys.exit(main())
