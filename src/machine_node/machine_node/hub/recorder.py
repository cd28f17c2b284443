"""From messages to rows: which stream, which stamps, what the clocks say. The executor's side of the hub."""

from __future__ import annotations

import math
from typing import Any

from machine_node.clock_offset import ClockOffset
from machine_node.hub.gaps import Gaps
from machine_node.hub.rows import (
    JOB_BYTES,
    MESSAGES,
    OF_NAME,
    OWN_CLOCK,
    SPEAKING,
    TEXT_BYTES,
    clipped,
    stamp_s,
)

Batch = dict[str, list[tuple[Any, ...]]]


class Recorder:
    """Collects rows until somebody takes them. One thread; what `take` returns belongs to the caller.

    Args:
        machines: ids that have streams; messages of others are counted and dropped.
        most_rows: kept until somebody takes them; what comes when there are as many is lost.
    """

    def __init__(self, machines: tuple[str, ...], most_rows: int = 100_000) -> None:
        self._most_rows, self._held = most_rows, 0
        self._machines = frozenset(machines)
        self._batch: Batch = {}
        self._clocks: dict[tuple[str, str], ClockOffset] = {}
        self._said: dict[tuple[str, str], tuple[int, str]] = {}
        self.received = 0
        self.foreign = 0  # messages of machines that are not recorded
        self.lost = 0
        self._gaps = {machine: Gaps() for machine in machines}
        self.not_received = 0  # telemetry samples that were lost on their way here

    def add(self, machine: str, stream: str, msg: Any, received_s: float, steady_s: float) -> None:
        """A message as it came; `received_s`: ROS time, `steady_s`: CLOCK_MONOTONIC, both at its receipt [s]."""
        if machine not in self._machines:
            self.foreign += 1
            return
        self.received += 1
        if stream == "telemetry":
            self.not_received += self._gaps[machine].add(
                stamp_s(msg.header.stamp), msg.incarnation, msg.missed_deadlines
            )
        if self._held >= self._most_rows:
            self.lost += 1
            return
        self._held += 1
        header = getattr(msg, "header", None)
        stamp = stamp_s(msg.stamp if header is None else header.stamp)
        if stream in OWN_CLOCK:
            source_s, offset_s = msg.source_s, msg.clock_offset_s
        else:
            source_s, offset_s = stamp, self._offset(machine, stream, stamp, received_s)
        common = (stamp, source_s, received_s, steady_s, offset_s)
        self._batch.setdefault(f"{machine}/{stream}", []).append((*common, *OF_NAME[stream].read(msg)))
        if stream in SPEAKING:
            self._listen(machine, stream, msg, common)

    def take(self) -> Batch:
        """All rows since the last call, by the path of their stream."""
        batch, self._batch, self._held = self._batch, {}, 0
        return batch

    def uncertainty_s(self) -> float:
        """The largest uncertainty of the offsets of sources that stamp in ROS time; NaN = nothing is known."""
        known = [clock.estimate(last) for clock in self._clocks.values() if (last := clock.last_source_s) is not None]
        return max((offset.uncertainty_s for offset in known if offset is not None), default=math.nan)

    def _offset(self, machine: str, stream: str, stamp: float, received_s: float) -> float:
        clock = self._clocks.setdefault((machine, stream), ClockOffset())
        clock.add(stamp, received_s)
        offset = clock.estimate(stamp)
        return math.nan if offset is None else offset.offset_s

    def _listen(self, machine: str, stream: str, msg: Any, common: tuple[float, ...]) -> None:
        """Keep sentences when they change: they would be most of the file."""
        said = (msg.error_code, msg.error_msg)
        if self._said.get((machine, stream), (0, "")) == said:
            return
        self._said[(machine, stream)] = said
        job = clipped(getattr(msg, "job_id", ""), JOB_BYTES)
        row = (stream.encode(), msg.error_code, job, clipped(msg.error_msg, TEXT_BYTES))
        self._batch.setdefault(f"{machine}/{MESSAGES.name}", []).append((*common, *row))
