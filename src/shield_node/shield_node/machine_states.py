"""States of a machine for its energy map: means over windows of ten seconds, from a recording, a prediction, or live.

Ten seconds: shorter than a heater's time constant, longer than the switching of a real controller's heaters, so that
a predicted and a measured state can be compared. Speed is left out: samples of a machine that is simulated faster than
real time lie too far apart to tell it; the power says most of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.machine import MachineProfile
from industriverse_core.program import Heater
from industriverse_core.telemetry import MachineState, TelemetrySample
from shield_node.envelope import Channel, Envelope

WINDOW_S = 10.0
ROUNDING = 1e-6  # of means; a share of 1 may come out a little larger
LONGEST_GAP_S = 2.0  # between two samples; a window with a longer one is left out
Array = NDArray[np.float64]


def channels_of(profile: MachineProfile) -> tuple[Channel, ...]:
    """What a state of this machine consists of, with the profile's hard limits."""
    channels = [Channel("power", "W", low=0.0)]
    for name, heater in (("hotend", profile.hotend), ("bed", profile.bed)):
        if heater is not None:
            channels += [Channel(name, "degC", high=heater.max_temperature), Channel(f"{name}_below_target", "K")]
    if profile.hotend is not None:
        channels.append(Channel("fan", "1", -ROUNDING, 1.0 + ROUNDING))
    return tuple(channels)


def need_map_of(envelope: Envelope, profile: MachineProfile) -> None:
    """Raises InputError (USAGE) when the map's states are not those of this machine."""
    names, wanted = ([channel.name for channel in some] for some in (envelope.channels, channels_of(profile)))
    if names != wanted:
        seen = f"the map's states are {', '.join(names)}; those of {profile.id} are {', '.join(wanted)}."
        raise InputError(ErrorCode.USAGE, seen, "Learn a map for this machine.")


@dataclass(frozen=True, slots=True)
class States:
    """Windows of one run.

    Attributes:
        begin_s: (n,) when each begins, on the run's clock.
        values: (n, channels) means.
    """

    begin_s: Array
    values: Array


def windowed(end_s: Array, values: Array) -> States:
    """Means over whole windows of a run that is given as steps.

    Args:
        end_s: (m,) when each step ends, from 0, not falling.
        values: (m, channels) mean of each step; NaN makes the windows that it touches NaN.
    """
    edges = np.arange(math.floor((float(end_s[-1]) if len(end_s) else 0.0) / WINDOW_S) + 1) * WINDOW_S
    if len(edges) < 2:
        return States(np.empty(0), np.empty((0, values.shape[1])))
    time = np.concatenate([[0.0], end_s])
    lengths = np.diff(time)[:, None]
    known = np.isfinite(values)
    integral = np.vstack([np.zeros(values.shape[1]), np.cumsum(np.where(known, values, 0.0) * lengths, axis=0)])
    missing = np.vstack([np.zeros(values.shape[1]), np.cumsum(~known * lengths, axis=0)])
    columns = range(values.shape[1])
    means = np.column_stack([np.diff(np.interp(edges, time, integral[:, at])) for at in columns]) / WINDOW_S
    lost = np.column_stack([np.diff(np.interp(edges, time, missing[:, at])) for at in columns])
    return States(edges[:-1], np.where(lost > 0.0, math.nan, means))


def state_of(sample: TelemetrySample, channels: tuple[Channel, ...]) -> list[float]:
    """The numbers of one sample; NaN = not measured."""
    numbers = {"power": sample.power_w, "fan": sample.fan}
    for name, heater in (("hotend", Heater.HOTEND), ("bed", Heater.BED)):
        reading = sample.reading(heater)
        numbers[name] = reading.temperature_c if reading is not None else math.nan
        numbers[f"{name}_below_target"] = below_target(reading.target_c, numbers[name]) if reading else math.nan
    return [numbers[channel.name] for channel in channels]


def below_target(target_c: float, temperature_c: float) -> float:
    """How far a heater is below its target [K]; 0 when it is off."""
    return target_c - temperature_c if target_c > 0.0 else 0.0


class LiveStates:
    """Windows of a machine that runs. Only while it executes: what it does between jobs is not the program's."""

    def __init__(self, channels: tuple[Channel, ...]) -> None:
        self._channels = channels
        self._begin()

    def _begin(self) -> None:
        self._total = np.zeros(len(self._channels))
        self._length_s = 0.0
        self._last: TelemetrySample | None = None

    def observe(self, sample: TelemetrySample) -> Array | None:
        """The mean of the window that this sample completes, else None."""
        last = self._last
        if sample.state is not MachineState.EXECUTING or (last is not None and last.job_id != sample.job_id):
            self._begin()
            return None
        self._last = sample
        if last is None:
            return None
        took_s = sample.stamp_s - last.stamp_s
        if not 0.0 <= took_s <= LONGEST_GAP_S:
            self._begin()
            self._last = sample
            return None
        self._total += np.array(state_of(sample, self._channels)) * took_s
        self._length_s += took_s
        if self._length_s < WINDOW_S:
            return None
        mean: Array = self._total / self._length_s
        self._total, self._length_s = np.zeros(len(self._channels)), 0.0
        return mean


def recorded_states(rows: np.ndarray, channels: tuple[Channel, ...]) -> Array:
    """(n, channels) states of the jobs in rows of a telemetry record, windows with gaps left out.

    Args:
        rows: structured array with the columns of the record's stream `telemetry`.
    Raises InputError (RECORD_BROKEN) when a column is missing.
    """
    names = set(rows.dtype.names or ())
    needed = {"stamp_s", "state", "job_id", "power_w"}
    if not needed <= names:
        missing = ", ".join(sorted(needed - names))
        raise InputError(ErrorCode.RECORD_BROKEN, f"the record has no column {missing}.", "Record with the hub.")
    rows = rows[np.argsort(rows["stamp_s"], kind="stable")]
    values = np.column_stack([_column(rows, channel.name) for channel in channels])
    gaps = np.diff(rows["stamp_s"], prepend=rows["stamp_s"][:1]) if len(rows) else np.empty(0)
    cuts = (rows["state"] != int(MachineState.EXECUTING)) | (gaps > LONGEST_GAP_S)
    cuts[1:] |= rows["job_id"][1:] != rows["job_id"][:-1]
    found = [np.empty((0, len(channels)))]
    for part in np.split(np.arange(len(rows)), np.flatnonzero(cuts)):
        part = part[rows["state"][part] == int(MachineState.EXECUTING)]
        if len(part) > 1:
            clock = rows["stamp_s"][part] - rows["stamp_s"][part[0]]
            states = windowed(clock[1:], values[part[1:]]).values
            found.append(states[np.isfinite(states).all(axis=1)])
    return np.vstack(found)


def _column(rows: np.ndarray, channel: str) -> Array:
    heater = channel.removesuffix("_below_target")
    if channel in ("power", "fan"):
        name = "power_w" if channel == "power" else "fan"
        return _numbers(rows, name)
    temperature = _numbers(rows, f"{heater}_c")
    if heater == channel:
        return temperature
    target = _numbers(rows, f"{heater}_target_c")
    return np.where(target > 0.0, target - temperature, 0.0)


def _numbers(rows: np.ndarray, name: str) -> Array:
    if name not in (rows.dtype.names or ()):
        return np.full(len(rows), math.nan)
    return np.asarray(rows[name], np.float64)
