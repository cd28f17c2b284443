"""The streams of the record: columns with units, and what of a message goes into which column.

Messages are taken as they came, without a judgement: a state that nobody knows is recorded like any other. Message
objects are only read; no ROS is needed here. Adding a field of a message is one line in its stream.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from industriverse_core.program import Heater
from industriverse_core.telemetry import BANDS, Quantity

JOB_BYTES = 40
TEXT_BYTES = 240
JOINTS = ("x", "y", "z", "e")
NOT_MEASURED = (math.nan, math.nan, math.nan)
HUB = "hub"  # the group of what the hub records about itself
_WORDS = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Column:
    """`type`: of numpy, little-endian. `unit`: SI, "1" = a number without one, "" = text."""

    name: str
    type: str
    unit: str
    text: str


@dataclass(frozen=True)
class Stream:
    """One kind of message. `read` gives the values of `columns`; `chunk_rows` are compressed together."""

    name: str
    columns: tuple[Column, ...]
    read: Callable[[Any], tuple[Any, ...]] = field(compare=False)
    chunk_rows: int = 256

    @cached_property
    def all_columns(self) -> tuple[Column, ...]:
        """With the columns that every stream has."""
        return COMMON + self.columns

    @cached_property
    def dtype(self) -> np.dtype:
        """Of one row."""
        return np.dtype([(column.name, column.type) for column in self.all_columns])


def _c(name: str, unit: str, text: str, kind: str = "<f8") -> Column:
    return Column(name, kind, unit, text)


COMMON = (
    _c("row", "1", "number of the row, from 1; a missing number is a lost row", "<u8"),
    _c("stamp_s", "s", "ROS time of the sample, as its source stamped it"),
    _c("source_s", "s", "the source's own clock; the stamp, where the source stamps in ROS time"),
    _c("received_s", "s", "ROS time at which the hub received it"),
    _c("steady_s", "s", "the hub's CLOCK_MONOTONIC at receipt"),
    _c("clock_offset_s", "s", "estimated ROS time of the receiver minus the source's clock; NaN = not known yet"),
)
JOB = _c("job_id", "", "job", f"S{JOB_BYTES}")
STATE = _c("state", "1", "as numbered in the message", "u1")
CODE = _c("error_code", "1", "docs/interfaces.md", "<u2")
INCARNATION = _c("incarnation", "ns", "start of the sender since 1970", "<u8")
INSTRUCTION = _c("instruction", "1", "index of the instruction", "<u4")
LATCH = _c("latch_id", "1", "0 = not latched", "<u8")


def stamp_s(stamp: Any) -> float:
    """A message's time [s]."""
    return float(stamp.sec + stamp.nanosec * 1e-9)


def clipped(text: str, size: int) -> bytes:
    """Text as at most `size` bytes of UTF-8, without half a character at the end."""
    return text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore").encode()


# --- telemetry ---

HEATER_COLUMNS = tuple(
    column
    for heater in Heater
    for column in (
        _c(f"{heater.name.lower()}_c", "degC", "temperature", "<f4"),
        _c(f"{heater.name.lower()}_target_c", "degC", "target; 0 = off", "<f4"),
        _c(f"{heater.name.lower()}_duty", "1", "0..1", "<f4"),
    )
)


def _telemetry(msg: Any) -> tuple[Any, ...]:
    heaters = {item.heater: (item.temperature_c, item.target_c, item.duty) for item in msg.heaters}
    p, q = msg.position, msg.reported_position
    return (
        clipped(msg.job_id, JOB_BYTES), msg.state, msg.error_code, msg.instruction, msg.progress,
        p.x, p.y, p.z, q.x, q.y, q.z,
        *(value for heater in Heater for value in heaters.get(int(heater), NOT_MEASURED)),
        msg.fan, msg.power_w, msg.energy_j, msg.permit_sequence, msg.permit_age_s, msg.latch_id, msg.queued_s,
        msg.missed_deadlines, msg.realtime, msg.incarnation,
    )  # fmt: skip


TELEMETRY = Stream(
    "telemetry",
    (
        JOB, STATE, CODE, INSTRUCTION,
        _c("progress", "1", "executed fraction of the predicted motion", "<f4"),
        *(_c(f"{axis}_m", "m", "tool position, estimated from the acknowledged stream") for axis in "xyz"),
        *(_c(f"reported_{axis}_m", "m", "last position that the controller reported") for axis in "xyz"),
        *HEATER_COLUMNS,
        _c("fan", "1", "0..1 commanded", "<f4"),
        _c("power_w", "W", "electric power", "<f4"),
        _c("energy_j", "J", "the meter's running counter"),
        _c("permit_sequence", "1", "last permit accepted", "<u8"),
        _c("permit_age_s", "s", "since it was received", "<f4"),
        LATCH,
        _c("queued_s", "s", "motion queued in the controller", "<f4"),
        _c("missed_deadlines", "1", "late telemetry periods so far", "<u4"),
        _c("realtime", "1", "1 = real-time priority", "u1"),
        INCARNATION,
    ),
    _telemetry,
    512,
)  # fmt: skip


# --- joints ---


def _joints(msg: Any) -> tuple[Any, ...]:
    """By name: 'x', 'prusa_mk3s/x' or 'joint_x'; what a message does not have is NaN."""
    place = {}
    for index, name in enumerate(msg.name):
        words = [word for word in _WORDS.split(name.lower()) if word in JOINTS]
        if words:
            place[words[-1]] = index
    return tuple(
        values[place[joint]] if joint in place and place[joint] < len(values) else math.nan
        for values in (msg.position, msg.velocity)
        for joint in JOINTS
    )


JOINT_STATES = Stream(
    "joint_states",
    (
        *(_c(f"{joint}_m", "m", "position of the axis") for joint in JOINTS),
        *(_c(f"{joint}_m_s", "m/s", "velocity of the axis", "<f4") for joint in JOINTS),
    ),
    _joints,
    1024,
)

# --- power and vibration ---

POWER = Stream(
    "power",
    (
        _c("meter_received_s", "s", "ROS time at which the machine's node had it"),
        _c("voltage_v", "V", "voltage", "<f4"),
        _c("current_a", "A", "current", "<f4"),
        _c("power_w", "W", "electric power", "<f4"),
        _c("energy_j", "J", "the meter's running counter"),
    ),
    lambda msg: (stamp_s(msg.received), msg.voltage_v, msg.current_a, msg.power_w, msg.energy_j),
)

VIBRATION = Stream(
    "vibration",
    (
        _c("burst_received_s", "s", "ROS time at which the burst was complete"),
        _c("axis", "1", "1 x, 2 y, 3 z", "u1"),
        _c("samples", "1", "of the burst", "<u4"),
        _c("sample_rate_hz", "Hz", "of the burst", "<f4"),
        _c("rms_m_s2", "m/s^2", "root mean square without the mean", "<f4"),
        _c("kurtosis", "1", "3 = Gaussian", "<f4"),
        _c("dominant_frequency_hz", "Hz", "highest peak of the spectrum", "<f4"),
        *(_c(f"band{n}_m2_s4", "m^2/s^4", f"mean square in band {n} of {BANDS}", "<f4") for n in range(BANDS)),
    ),
    lambda msg: (
        stamp_s(msg.received), msg.axis, msg.samples, msg.sample_rate_hz, msg.rms_m_s2, msg.kurtosis,
        msg.dominant_frequency_hz, *msg.band_energy,
    ),
    64,
)  # fmt: skip

# --- what was executed, compared, allowed ---

EXECUTION_TRACE = Stream(
    "execution_trace",
    (
        JOB,
        _c("program_digest", "", "hexadecimal", "S64"),
        *(_c(name, "1", "instructions", "<u4") for name in ("sent", "acknowledged", "executed", "total")),
    ),
    lambda msg: (
        clipped(msg.job_id, JOB_BYTES), bytes(bytearray(msg.program_digest)).hex().encode(),
        msg.sent, msg.acknowledged, msg.executed, msg.total,
    ),
    512,
)  # fmt: skip

UNITS_OF_QUANTITIES = {
    Quantity.HOTEND_TEMPERATURE: ("hotend", "degC"),
    Quantity.BED_TEMPERATURE: ("bed", "degC"),
    Quantity.POSITION: ("position", "m"),
    Quantity.POWER: ("power", "W"),
}


def _residual(msg: Any) -> tuple[Any, ...]:
    channels = {item.quantity: (item.expected, item.measured, item.sigma) for item in msg.channels}
    compared = (value for quantity in UNITS_OF_QUANTITIES for value in channels.get(int(quantity), NOT_MEASURED))
    return clipped(msg.job_id, JOB_BYTES), msg.instruction, msg.lag_s, *compared, msg.incarnation


RESIDUAL = Stream(
    "residual",
    (
        JOB,
        INSTRUCTION,
        _c("lag_s", "s", "from receipt of the sample to the message", "<f4"),
        *(
            _c(f"{name}_{what}", unit, text, "<f4")
            for name, unit in UNITS_OF_QUANTITIES.values()
            for what, text in (("expected", "by the twin"), ("measured", ""), ("sigma", "claimed for the difference"))
        ),
        INCARNATION,
    ),
    _residual,
)

SOURCES = ("machine", "twin", "conductor")


def _safety(msg: Any) -> tuple[Any, ...]:
    ages = {item.source: (item.age_s, item.fresh) for item in msg.sources}
    return (
        msg.state, msg.level, msg.latch_id, msg.error_code, msg.permits_issued, msg.missed_deadlines, msg.realtime,
        *(value for source in SOURCES for value in ages.get(source, (math.nan, False))),
        msg.incarnation,
    )  # fmt: skip


SAFETY_STATE = Stream(
    "safety_state",
    (
        STATE,
        _c("level", "1", "stop level while latched", "u1"),
        LATCH, CODE,
        _c("permits_issued", "1", "so far", "<u8"),
        _c("missed_deadlines", "1", "late permit periods so far", "<u4"),
        _c("realtime", "1", "1 = real-time priority", "u1"),
        *(
            column
            for source in SOURCES
            for column in (
                _c(f"{source}_age_s", "s", "since its last message", "<f4"),
                _c(f"{source}_fresh", "1", "1 = fresh enough", "u1"),
            )
        ),
        INCARNATION,
    ),
    _safety,
)  # fmt: skip

JOB_STATE = Stream(
    "job_state",
    (
        JOB, STATE, CODE,
        _c("copy", "1", "which copy, from 1", "<u4"),
        _c("quantity", "1", "copies asked for", "<u4"),
        _c("progress", "1", "of the copy", "<f4"),
        INCARNATION,
    ),
    lambda msg: (
        clipped(msg.job_id, JOB_BYTES), msg.state, msg.error_code, msg.copy, msg.quantity, msg.progress,
        msg.incarnation,
    ),
)  # fmt: skip

# --- sentences, when they change; what the hub says of itself ---

MESSAGES = Stream(
    "messages",
    (
        _c("stream", "", "which stream's error_msg", "S16"),
        CODE,
        JOB,
        _c("text", "", "error_msg when it changed", f"S{TEXT_BYTES}"),
    ),
    lambda msg: msg,
    32,
)

EVENTS = Stream(
    "events",
    (
        _c("kind", "", "start, continued, rotated, torn, lost, disk, resumed, stop", "S12"),
        _c("count", "1", "rows, where they are counted", "<u8"),
        _c("text", "", "what happened", f"S{TEXT_BYTES}"),
    ),
    lambda msg: msg,
    32,
)

MACHINE_STREAMS = (
    TELEMETRY, JOINT_STATES, POWER, VIBRATION, EXECUTION_TRACE, RESIDUAL, SAFETY_STATE, JOB_STATE, MESSAGES,
)  # fmt: skip
OF_NAME = {stream.name: stream for stream in (*MACHINE_STREAMS, EVENTS)}
OWN_CLOCK = frozenset({"power", "vibration"})  # their messages carry the source's clock and its offset
SPEAKING = frozenset({"telemetry", "safety_state", "job_state"})  # their messages carry error_msg


def layout(machines: tuple[str, ...]) -> dict[str, Stream]:
    """Every dataset of a file by its path, 'machine/stream'."""
    made = {f"{machine}/{stream.name}": stream for machine in machines for stream in MACHINE_STREAMS}
    return made | {f"{HUB}/{EVENTS.name}": EVENTS}
