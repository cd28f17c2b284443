"""How a machine wears: a few health numbers of each finished job, against the machine's own earlier jobs.

A watch gathers the numbers while a job runs; `MachineHealth` bets against each being stable (drift.py). Nothing here
stops a machine: drift is slow, and a person plans what to do about it. Time is physics time, from the samples' stamps.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.files import read_bytes, replace_file
from industriverse_core.telemetry import MachineState, Quantity, ResidualChannel, ResidualSample, TelemetrySample
from shield_node.drift import FALSE_ALARM_PROBABILITY, DriftMonitor, DriftReport, Forecast, Tolerance

RAMP_K_S = 0.05  # an expected temperature that rises faster is a heater at work
LONGEST_GAP_S = 5.0  # between samples whose difference still counts
FEWEST_SAMPLES = 20  # of which a mean says something
MOSTLY = 0.9  # progress from which a job counts: the last sample before its end may lie seconds back
JOBS_KEPT = 500  # a process that starts again bets on these alone
PREDICTIONS_KEPT = 16
MAX_BYTES = 4 << 20
FORMAT = 1


class Health(StrEnum):
    """The numbers. The unit is in the name where it is not a ratio of measured to expected."""

    HOTEND_RAMP_K = "hotend_ramp_k"  # measured minus expected hot end while it heats: heater gain, sensor
    BED_RAMP_K = "bed_ramp_k"
    POWER_RATIO = "power_ratio"  # while it executes: friction, heat loss, supply
    IDLE_POWER_W = "idle_power_w"  # nothing heats, nothing moves: electronics
    MOTION_TIME_RATIO = "motion_time_ratio"  # time a move takes


TOLERANCES: Mapping[Health, Tolerance] = {
    Health.HOTEND_RAMP_K: Tolerance(-15.0, 15.0),
    Health.BED_RAMP_K: Tolerance(-5.0, 5.0),
    Health.POWER_RATIO: Tolerance(0.8, 1.25),
    Health.IDLE_POWER_W: Tolerance(),
    Health.MOTION_TIME_RATIO: Tolerance(0.9, 1.15),
}
"""Judgements, stated as such: where the oracle's stated uncertainty ends, or a print suffers."""


@dataclass(frozen=True, slots=True)
class JobHealth:
    """The numbers of one finished job; what could not be told is left out."""

    job_id: str
    finished_s: float
    values: Mapping[Health, float]


@dataclass(slots=True)
class _Mean:
    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        if math.isfinite(value):
            self.total += value
            self.count += 1

    @property
    def value(self) -> float:
        return self.total / self.count if self.count >= FEWEST_SAMPLES else math.nan


@dataclass(slots=True)
class _Gathered:
    """Of the job that runs, or of the pause before it."""

    means: dict[Health, _Mean] = field(default_factory=lambda: {number: _Mean() for number in Health})
    expected_w: _Mean = field(default_factory=_Mean)
    moving_s: float = 0.0
    moved: float = 0.0  # of the program's motion
    progress: float = 0.0


class HealthWatch:
    """Gathers one machine's numbers from telemetry and residuals, and gives them when a job has ended."""

    def __init__(self) -> None:
        self._job_id = ""
        self._predicted_s: OrderedDict[str, float] = OrderedDict()  # of the last jobs that were heard of
        self._last: TelemetrySample | None = None
        self._last_expected: dict[Quantity, tuple[float, float]] = {}
        self._job = _Gathered()

    def expect(self, job_id: str, motion_time_s: float) -> None:
        """The oracle's prediction of a job's moves and dwells [s]; 0 = none yet."""
        if motion_time_s > 0.0:
            self._predicted_s[job_id] = motion_time_s
            if len(self._predicted_s) > PREDICTIONS_KEPT:
                self._predicted_s.popitem(last=False)

    def observe_telemetry(self, sample: TelemetrySample) -> JobHealth | None:
        """Returns the numbers of the job that has just ended, if most of it was executed."""
        last, self._last = self._last, sample
        if last is not None and sample.stamp_s <= last.stamp_s:
            self._last = last
            return None
        ended = None
        if sample.job_id != self._job_id:
            if self._job_id:
                ended = self._finished(sample.stamp_s)
            idle = self._job.means[Health.IDLE_POWER_W] if not self._job_id else _Mean()
            self._job = _Gathered()
            self._job.means[Health.IDLE_POWER_W] = idle  # the pause before a job belongs to it
            self._job_id = sample.job_id
        if _rests(sample):
            self._job.means[Health.IDLE_POWER_W].add(sample.power_w)
        if last is not None and last.job_id == sample.job_id != "":
            self._time_moves(last, sample)
        return ended

    def observe_residual(self, residual: ResidualSample) -> None:
        """What the twin expected, against what was measured."""
        if not self._job_id or residual.job_id != self._job_id:
            self._last_expected.clear()
            return
        for channel in residual.channels:
            if channel.quantity is Quantity.HOTEND_TEMPERATURE:
                self._ramp(Health.HOTEND_RAMP_K, channel, residual.stamp_s)
            elif channel.quantity is Quantity.BED_TEMPERATURE:
                self._ramp(Health.BED_RAMP_K, channel, residual.stamp_s)
            elif channel.quantity is Quantity.POWER and math.isfinite(channel.measured - channel.expected):
                self._job.means[Health.POWER_RATIO].add(channel.measured)
                self._job.expected_w.add(channel.expected)

    def _ramp(self, number: Health, channel: ResidualChannel, stamp_s: float) -> None:
        before_s, before_c = self._last_expected.get(channel.quantity, (math.nan, math.nan))
        self._last_expected[channel.quantity] = (stamp_s, channel.expected)
        if stamp_s > before_s and channel.expected - before_c > RAMP_K_S * (stamp_s - before_s):
            self._job.means[number].add(channel.measured - channel.expected)

    def _time_moves(self, last: TelemetrySample, sample: TelemetrySample) -> None:
        made, took_s = sample.progress - last.progress, sample.stamp_s - last.stamp_s
        self._job.progress = max(self._job.progress, sample.progress)
        running = sample.state is last.state is MachineState.EXECUTING
        if running and made > 0.0 and took_s <= LONGEST_GAP_S:
            self._job.moved += made
            self._job.moving_s += took_s

    def _finished(self, stamp_s: float) -> JobHealth | None:
        job = self._job
        if job.progress < MOSTLY:
            return None
        values = {number: mean.value for number, mean in job.means.items()}
        values[Health.POWER_RATIO] = _ratio(values[Health.POWER_RATIO], job.expected_w.value)
        if job.moved > 0.5:  # a few long moves between two samples would say little
            predicted_s = self._predicted_s.get(self._job_id, math.nan)
            values[Health.MOTION_TIME_RATIO] = _ratio(job.moving_s, job.moved * predicted_s)
        known = {number: value for number, value in values.items() if math.isfinite(value)}
        return JobHealth(self._job_id, stamp_s, known)


def _ratio(measured: float, expected: float) -> float:
    return measured / expected if expected > 0.0 else math.nan


def _rests(sample: TelemetrySample) -> bool:
    cold = all(reading.target_c == 0.0 for reading in sample.heaters)
    return cold and sample.state is MachineState.IDLE and sample.fan == 0.0 and not sample.job_id


@dataclass(frozen=True, slots=True)
class HealthReport:
    """One number after the newest job."""

    number: Health
    value: float
    drift: DriftReport
    forecast: Forecast
    tolerance: Tolerance

    @property
    def sentence(self) -> str:
        """What people should know; "" when nothing drifts."""
        if not self.drift.drifting:
            return ""
        left = self.forecast.jobs_left
        if left == 0.0:
            when = "it is out of tolerance"
        elif math.isfinite(left):
            when = f"out of tolerance in about {left:.0f} jobs"
        else:
            when = "it does not leave its tolerance"
        return f"{self.number.value} drifts ({self.value:.4g} now, {self.drift.jobs} jobs seen): {when}."


class MachineHealth:
    """The history of one machine, newest last, and a drift monitor for each number."""

    def __init__(self, jobs: tuple[JobHealth, ...] = ()) -> None:
        # each number has an alarm of its own: together they keep the stated probability
        share = FALSE_ALARM_PROBABILITY / len(Health)
        self._monitors = {number: DriftMonitor(TOLERANCES[number], share) for number in Health}
        self._reports: dict[Health, HealthReport] = {}
        self.jobs: list[JobHealth] = []
        for job in jobs:
            self.add(job)

    def add(self, job: JobHealth) -> tuple[HealthReport, ...]:
        """Enter a job; the reports of the numbers that it brought."""
        self.jobs = [*self.jobs[-(JOBS_KEPT - 1) :], job]
        for number, value in job.values.items():
            drift = self._monitors[number].add(value)
            report = HealthReport(number, value, drift, self._monitors[number].forecast(), TOLERANCES[number])
            self._reports[number] = report
        return tuple(self._reports[number] for number in job.values)

    @property
    def reports(self) -> tuple[HealthReport, ...]:
        """The newest report of every number that is known, in the order of Health."""
        return tuple(self._reports[number] for number in Health if number in self._reports)

    @property
    def sentence(self) -> str:
        """All that drifts, as sentences; "" when nothing does."""
        return " ".join(report.sentence for report in self.reports if report.drift.drifting)


def load(path: Path) -> MachineHealth:
    """The history; empty when there is no file. Raises InputError (FILE_..., RECORD_BROKEN)."""
    try:
        content = json.loads(read_bytes(path, MAX_BYTES))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}")
        return MachineHealth(tuple(_job(entry) for entry in content["jobs"]))
    except InputError as error:
        if error.code is ErrorCode.FILE_NOT_FOUND:
            return MachineHealth()
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            ErrorCode.RECORD_BROKEN,
            f"{path}: not a history of health numbers ({type(error).__name__}: {error}).",
            "Move the file away; the machine then begins a new history.",
        ) from error


def _job(entry: Mapping[str, object]) -> JobHealth:
    values = {Health(name): float(value) for name, value in entry["values"].items()}  # type: ignore[attr-defined]
    if not all(math.isfinite(value) for value in values.values()):
        raise ValueError("a health number that is not finite")
    return JobHealth(str(entry["job_id"]), float(entry["finished_s"]), values)  # type: ignore[arg-type]


def save(path: Path, health: MachineHealth) -> None:
    """Write the history whole."""
    jobs = [
        {"job_id": job.job_id, "finished_s": job.finished_s, "values": {k.value: v for k, v in job.values.items()}}
        for job in health.jobs
    ]
    replace_file(path, json.dumps({"format": FORMAT, "jobs": jobs}).encode())
