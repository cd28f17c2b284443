"""From samples of a machine and readings of its meter to one recording."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from twin_node.identification.power_fit import MAD_TO_SIGMA
from twin_node.identification.recording import HeaterSeries, ProgramStates, Recording, cannot, interval_means

if TYPE_CHECKING:
    from collections.abc import Sequence

Array = np.ndarray
HEATERS = ("hotend", "bed")
FIELDS = ("c", "target_c", "duty")
OWN_SPEED = 0.02  # difference of a clock's speed from real time
FEWEST_ON_LINE = 10
COLUMNS = (
    "stamp_s", "instruction", "x_m", "y_m", "z_m", "fan", "power_w", "energy_j",
    *(f"{heater}_{field}" for heater in HEATERS for field in FIELDS),
)  # fmt: skip


def sample_times_s(stamp_s: Array, receipt_s: Array) -> Array:
    """Times of samples from their stamps and the steady times of their receipt, shape (n,).

    A real machine's stamps are taken as they are. Stamps of a clock that runs at another speed come from messages of
    that clock: they stand still when those are late, as receipts are late when the receiver is busy. Both lie on one
    line where neither was; samples off that line have no time (NaN).
    """
    if len(stamp_s) < FEWEST_ON_LINE or not receipt_s[-1] > receipt_s[0]:
        return stamp_s
    middle = float(np.mean(receipt_s))
    on_line = np.ones(len(stamp_s), bool)
    for _ in range(3):
        line = np.polyval(np.polyfit(receipt_s[on_line] - middle, stamp_s[on_line], 1), receipt_s - middle)
        apart = np.abs(stamp_s - line - np.median((stamp_s - line)[on_line]))
        on_line = apart <= 3.0 * MAD_TO_SIGMA * np.median(apart)
    speed = float(np.ptp(line) / np.ptp(receipt_s))
    return stamp_s if abs(speed - 1.0) < OWN_SPEED else np.where(on_line, line, np.nan)


@dataclass(slots=True)
class Series:
    """Rows as they come: of the machine in the order of COLUMNS, of the meter (stamp [s], power [W], counter [J])."""

    machine: list[Sequence[float]] = field(default_factory=list)
    meter: list[tuple[float, float, float]] = field(default_factory=list)

    def recording(self, machine_id: str, states: ProgramStates) -> Recording:
        """All rows as one recording. Raises PredictionError (CANNOT_CALIBRATE)."""
        rows = np.asarray(self.machine, float).reshape(-1, len(COLUMNS))
        return recording_of(machine_id, {name: rows[:, k] for k, name in enumerate(COLUMNS)}, self._meter(), states)

    def _meter(self) -> Array | None:
        return np.array(self.meter, float) if self.meter else None


def recording_of(machine_id: str, columns: dict[str, Array], meter: Array | None, states: ProgramStates) -> Recording:
    """A recording from columns (COLUMNS, shape (n,)) and the meter's rows, shape (m, 3).

    Without rows of its own the meter is taken from the machine's samples. Samples that repeat a time, and those before
    the first temperature, are left out. Raises PredictionError (CANNOT_CALIBRATE).
    """
    time_s = columns["stamp_s"]
    known = np.isfinite(time_s) & np.isfinite(columns["hotend_c"])
    latest = np.maximum.accumulate(np.where(known, time_s, -np.inf))
    known &= time_s > np.concatenate([[-np.inf], latest[:-1]])
    columns = {name: values[known] for name, values in columns.items()}
    if not known.any():
        raise cannot("the recording has no sample with a temperature of the hot end.")
    if meter is None:
        meter = np.column_stack([columns[name] for name in ("stamp_s", "power_w", "energy_j")])
        changed = np.any(np.diff(meter[:, 1:], axis=0) != 0.0, axis=1)  # a sample repeats the last reading
        meter = meter[np.concatenate([[True], changed])]
    power_time_s, power_w = interval_means(meter[:, 0], meter[:, 1], meter[:, 2])
    index = np.clip(columns["instruction"].astype(int), 0, len(states.motors_on) - 1)
    bed = None if np.all(np.isnan(columns["bed_c"])) else _heater(columns, "bed")
    return Recording(
        machine_id, columns["stamp_s"], _heater(columns, "hotend"), bed, columns["fan"],
        np.column_stack([columns[f"{axis}_m"] for axis in "xyz"]), states.motors_on[index], states.homing[index],
        power_time_s, power_w,
    )  # fmt: skip


def _heater(columns: dict[str, Array], name: str) -> HeaterSeries:
    return HeaterSeries(*(columns[f"{name}_{field}"] for field in FIELDS))
