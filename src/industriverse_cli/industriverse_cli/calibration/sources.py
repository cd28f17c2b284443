"""Recordings of a run: the telemetry hub's record, or a bag. Which program was run decides what is in them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from industriverse_cli.bags.inputs import PACKAGE, Decoder
from industriverse_cli.bags.model import PROGRAMS
from industriverse_cli.bags.reader import Bag
from industriverse_cli.calibration.series import COLUMNS, Array, recording_of, sample_times_s
from industriverse_cli.ros import ros_module
from industriverse_core.gcode import load_program, read_gcode
from industriverse_core.machine import MachineProfile
from industriverse_core.program import Heater, Program, read_program
from industriverse_core.telemetry import MachineState, PowerSample, TelemetrySample
from machine_node.hub.reading import RecordSet
from twin_node.identification.plan import step_test
from twin_node.identification.recording import Recording, cannot, program_states

RUNNING = (MachineState.EXECUTING, MachineState.HOLDING)
METER = ("stamp_s", "source_s", "power_w", "energy_j")
MOST_PROGRAM_BYTES = 1 << 26


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A recording and where it comes from.

    Attributes:
        recording: of one job.
        name: of the file, folder or cell.
        job_id: that was recorded.
        program: that it ran.
    """

    recording: Recording
    name: str
    job_id: str
    program: Program


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a command asks for.

    Attributes:
        profile: of the machine.
        job_id: "" = the last one that ran the program.
        program: the file that was run; None = the step tests.
    """

    profile: MachineProfile
    job_id: str
    program: Path | None


def step_test_program(profile: MachineProfile) -> Program:
    """The machine's step tests as its controller takes them. Raises PredictionError (CANNOT_CALIBRATE)."""
    return read_gcode(step_test(profile).encode(), f"step tests of {profile.id}", controller=profile.controller)


def from_record(record: Path, home: Path, wanted: Wanted) -> Source:
    """One job of a telemetry record. Raises InputError (the file), PredictionError (CANNOT_CALIBRATE)."""
    machine_id = wanted.profile.id
    with RecordSet.find(record, home) as records:
        recorded = {info.name for info in records.streams}
        if f"{machine_id}/telemetry" not in recorded:
            machines = sorted({info.machine for info in records.streams} - {"hub"})
            raise cannot(
                f"{record}: has no telemetry of '{machine_id}'; it has {', '.join(machines) or 'none at all'}.",
                "Name the machine that was recorded.",
            )
        trace, rows = records.rows(f"{machine_id}/execution_trace"), records.rows(f"{machine_id}/telemetry")
        power = records.rows(f"{machine_id}/power") if f"{machine_id}/power" in recorded else rows[:0]
        folder = records.paths[-1].parent / "programs"
    jobs = {_text(row["job_id"]): _text(row["program_digest"]) for row in trace}
    job_id, program = _choose(f"{record}", jobs, wanted, _stored(folder, jobs.values()))
    of_job = (rows["job_id"] == job_id.encode()) & np.isin(rows["state"], RUNNING)
    rows = rows[of_job]
    if not len(rows):
        raise cannot(f"{record}: has no telemetry of job {job_id} while it ran.")
    columns = {name: rows[name].astype(float) for name in COLUMNS}
    columns["stamp_s"] = sample_times_s(columns["stamp_s"], rows["steady_s"])
    power = power[(power["stamp_s"] >= rows["stamp_s"][0]) & (power["stamp_s"] <= rows["stamp_s"][-1])]
    readings = np.column_stack([power[name] for name in METER])
    meter = None if len(power) < len(rows) / 100 else _meter(readings)
    recording = recording_of(machine_id, columns, meter, program_states(program))
    return Source(recording, str(record), job_id, program)


def _meter(rows: Array) -> Array:
    """Time [s], power [W] and counter [J], shape (m, 3), of rows of METER; intervals by the meter's own clock."""
    stamp_s, source_s = rows[:, 0], rows[:, 1]
    if np.all(np.isfinite(source_s)):
        stamp_s = source_s + np.median(stamp_s - source_s)
    _, order = np.unique(stamp_s, return_index=True)
    table: Array = np.column_stack([stamp_s, rows[:, 2:]])[order]
    return table


def from_bag(folder: Path, wanted: Wanted) -> Source:
    """One job of a bag. Raises as `from_record`, and JobError where ROS's messages are not installed."""
    bag = Bag.open(folder)
    machine_id = wanted.profile.id
    samples, readings, machines = _heard(bag, machine_id)
    if machine_id not in machines:
        raise cannot(
            f"{folder}: has no telemetry of '{machine_id}'; it has {', '.join(sorted(machines)) or 'none at all'}.",
            "Name the machine that was recorded.",
        )
    jobs = {job_id: of_job[-1][1].program_digest.hex() for job_id, of_job in samples.items()}
    job_id, program = _choose(f"{folder}", jobs, wanted, _attached(bag, set(jobs.values())))
    receipts_s, of_job = zip(*samples[job_id], strict=True)
    first_s, last_s = of_job[0].stamp_s, of_job[-1].stamp_s
    times_s = sample_times_s(np.array([sample.stamp_s for sample in of_job]), np.array(receipts_s))
    rows = np.array([_row(at_s, sample) for at_s, sample in zip(times_s, of_job, strict=True)])
    columns = {name: rows[:, k] for k, name in enumerate(COLUMNS)}
    power = [(r.stamp_s, r.source_s, r.power_w, r.energy_j) for r in readings if first_s <= r.stamp_s <= last_s]
    meter = _meter(np.array(power)) if len(power) > len(rows) / 100 else None
    return Source(recording_of(machine_id, columns, meter, program_states(program)), str(folder), job_id, program)


def _heard(
    bag: Bag, machine_id: str
) -> tuple[dict[str, list[tuple[float, TelemetrySample]]], list[PowerSample], set[str]]:
    """A machine's samples while it ran, by job, with their receipts [s]; its meter's readings; all machines seen."""
    samples: dict[str, list[tuple[float, TelemetrySample]]] = {}
    readings: list[PowerSample] = []
    machines: set[str] = set()
    for entry in Decoder(bag, _converters()).inputs():
        value: Any = entry.value
        if isinstance(value, PowerSample):
            if value.machine_id == machine_id:
                readings.append(value)
            continue
        machines.add(value.machine_id)
        if value.machine_id == machine_id and value.job_id and value.state in RUNNING:
            samples.setdefault(value.job_id, []).append((entry.now_s, value))
    return samples, readings, machines


def _converters() -> dict[str, Any]:
    """How the messages become samples and readings."""
    convert = ros_module("industriverse_ros.convert")
    return {
        f"{PACKAGE}MachineTelemetry": convert.telemetry_from_msg,
        f"{PACKAGE}PowerReading": convert.power_from_msg,
    }


def _row(at_s: float, sample: TelemetrySample) -> tuple[float, ...]:
    heaters: list[float] = []
    for heater in (Heater.HOTEND, Heater.BED):
        reading = sample.reading(heater)
        heaters += [np.nan] * 3 if reading is None else [reading.temperature_c, reading.target_c, reading.duty]
    return (
        at_s, sample.instruction, *sample.position_m, sample.fan, sample.power_w, sample.energy_j, *heaters,
    )  # fmt: skip


def _text(value: Any) -> str:
    return bytes(value).decode("utf-8", "replace")


def _choose(place: str, jobs: dict[str, str], wanted: Wanted, stored: dict[str, Program]) -> tuple[str, Program]:
    """The job that is meant and the program that it ran. `jobs`: id -> the program's digest, the newest last."""
    named = step_test_program(wanted.profile) if wanted.program is None else _named(wanted)
    known = stored | {named.digest.hex(): named}
    if wanted.job_id and wanted.job_id not in jobs:
        raise cannot(
            f"{place}: has no job '{wanted.job_id[:64]}' of {wanted.profile.id}.",
            f"Recorded: {', '.join(list(jobs)[-5:]) or 'none'}.",
        )
    digests = {named.digest.hex()} if not wanted.job_id else known.keys()
    chosen = [job for job, digest in jobs.items() if digest in digests and wanted.job_id in ("", job)]
    if not chosen:
        what = "the step tests" if wanted.program is None else f"{wanted.program}"
        raise cannot(
            f"{place}: no job of {wanted.profile.id} ran {what} (program {named.digest.hex()[:12]}), so it is not "
            "known when motors and homing were on.",
            "Run industriverse calibrate MACHINE in a cell, or name the job and its program: --job ID --program FILE.",
        )
    return chosen[-1], known[jobs[chosen[-1]]]


def _named(wanted: Wanted) -> Program:
    assert wanted.program is not None
    return load_program(wanted.program, wanted.profile.controller)


def _stored(folder: Path, digests: Iterable[str]) -> dict[str, Program]:
    """Programs of these digests in a cell's store."""
    found = {digest: folder / f"{digest}.arrow" for digest in set(digests)}
    return {digest: read_program(path) for digest, path in found.items() if path.is_file()}


def _attached(bag: Bag, digests: set[str]) -> dict[str, Program]:
    """Programs of these digests in a bag."""
    found: dict[str, Program] = {}
    with tempfile.TemporaryDirectory() as folder:
        for item in bag.attachments():
            digest = item.name.removeprefix(PROGRAMS).removesuffix(".arrow")
            if item.name.startswith(PROGRAMS) and digest in digests and len(item.data) <= MOST_PROGRAM_BYTES:
                path = Path(folder) / "program.arrow"
                path.write_bytes(item.data)
                found[digest] = read_program(path)
    return found
