"""What an identification looks at: the time series of one machine, and what its program was doing meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.program import MOTION_OPS, Op, Program

Array = np.ndarray
SHORTEST_S = 120.0
LONGEST_S = 8 * 3600.0
LONGEST_GAP_S = 10.0  # without a sample of the machine or of the meter
FEWEST = 200  # samples
COUNTS_FINELY = 0.2  # share of the power by which counter and reading may differ in most intervals
REMEDY = "Record the step tests: industriverse calibrate MACHINE --plan FILE.gcode writes them."


def cannot(message: str, remedy: str = REMEDY) -> PredictionError:
    """The refusal of a recording (CANNOT_CALIBRATE)."""
    return PredictionError(ErrorCode.CANNOT_CALIBRATE, message, remedy)


@dataclass(frozen=True, slots=True, eq=False)
class HeaterSeries:
    """One heater at the recording's times, shape (n,): temperature and target [degC] (0 = off), duty 0..1 or NaN."""

    temperature_c: Array
    target_c: Array
    duty: Array


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One run of one machine.

    Attributes:
        machine_id: whose.
        time_s: of the samples, shape (n,), growing.
        hotend, bed: None = the machine does not report one.
        fan: part-cooling fan 0..1, shape (n,).
        position_m: of the tool, shape (n, 3); NaN = not known.
        motors_on: whether the motors hold, shape (n,).
        homing: whether the controller moves by itself, shape (n,).
        power_time_s, power_w: end of each of the meter's intervals and the mean power over it [W], shape (m,).
    """

    machine_id: str
    time_s: Array
    hotend: HeaterSeries | None
    bed: HeaterSeries | None
    fan: Array
    position_m: Array
    motors_on: Array
    homing: Array
    power_time_s: Array
    power_w: Array

    @property
    def duration_s(self) -> float:
        """From the first sample to the last."""
        return float(self.time_s[-1] - self.time_s[0])


@dataclass(frozen=True, slots=True, eq=False)
class ProgramStates:
    """What each instruction means for the electric power, shape (instructions,)."""

    motors_on: Array
    homing: Array


def program_states(program: Program) -> ProgramStates:
    """Motors and homing by instruction; motors are taken as off before the program's first word about them.

    Raises PredictionError (CANNOT_CALIBRATE) where the program pushes filament: what leaves with it is not measured.
    """
    if not len(program):
        raise cannot("the program has no instruction.")
    if bool(np.any(program.extrude_m3 > 0.0)):
        raise cannot("the program feeds filament, and the heat that leaves with it is not measured.")
    moves = np.isin(program.op, MOTION_OPS)
    homing = np.isin(program.op, (Op.HOME, Op.LEVEL_BED))
    change = np.where(moves | homing, 1, np.where(program.op == Op.MOTORS_OFF, -1, 0))
    latest = np.maximum.accumulate(np.where(change != 0, np.arange(len(change)), -1))
    return ProgramStates((latest >= 0) & (change[np.maximum(latest, 0)] > 0), homing)


def interval_means(time_s: Array, power_w: Array, energy_j: Array) -> tuple[Array, Array]:
    """Mean power over each interval between a meter's readings, at the interval's end.

    The counter is exact over any interval where it counts finely; where it counts coarsely, or was set back, the
    reading itself is taken. Readings that are not finite are left out. Shapes (k,) in, (m,) out.
    """
    valid = np.isfinite(time_s) & np.isfinite(power_w)
    time_s, power_w, energy_j = time_s[valid], power_w[valid], energy_j[valid]
    fresh = np.concatenate([[True], np.diff(time_s) > 1e-6])
    time_s, power_w, energy_j = time_s[fresh], power_w[fresh], energy_j[fresh]
    if len(time_s) < 2:
        return time_s, power_w
    dt = np.diff(time_s)
    counted_w = np.diff(energy_j) / dt
    usable = np.isfinite(counted_w) & (counted_w >= 0.0)
    apart_w = np.median(np.abs(counted_w - power_w[1:])[usable]) if usable.any() else np.inf
    if not apart_w < COUNTS_FINELY * np.median(power_w):
        return time_s[1:], power_w[1:]
    return time_s[1:], np.where(usable, counted_w, power_w[1:])


def check(recording: Recording) -> None:
    """Refuse what nothing can be learned from. Raises PredictionError (CANNOT_CALIBRATE) that names what is missing."""
    _check_series("sample", recording.time_s)
    if recording.hotend is None:
        raise cannot("the recording has no temperature of the hot end.")
    for name, heater in (("hot end", recording.hotend), ("bed", recording.bed)):
        if heater is not None:
            _check_heater(name, heater)
    if not np.all(np.isfinite(recording.fan)):
        raise cannot("the speed of the part-cooling fan is not a number throughout.", "Record again.")
    if not len(recording.power_time_s):
        raise cannot(
            "the recording has no electric power: without it heat capacities and losses cannot be told apart.",
            "Connect a power meter (meter_port of the cell's machine) and record again.",
        )
    _check_series("reading of the power meter", recording.power_time_s)
    if not np.all(np.isfinite(recording.power_w)):
        raise cannot("the recorded electric power has values that are no numbers.")
    if float(np.ptp(recording.power_w)) < 1.0:
        raise cannot(f"the electric power is constant ({float(recording.power_w[0]):.1f} W): nothing was switched.")


def _check_series(what: str, time_s: Array) -> None:
    if len(time_s) < FEWEST:
        raise cannot(f"the recording is too short: {len(time_s)} of at least {FEWEST} {what}s.")
    if not np.all(np.isfinite(time_s)) or bool(np.any(np.diff(time_s) <= 0.0)):
        raise cannot(f"the times of the {what}s are no numbers or do not grow.", "Record again.")
    span, gap = float(time_s[-1] - time_s[0]), float(np.max(np.diff(time_s)))
    if not SHORTEST_S <= span <= LONGEST_S:
        raise cannot(f"the recording spans {span:.0f} s; {SHORTEST_S:.0f} s to {LONGEST_S:.0f} s are used.")
    if gap > LONGEST_GAP_S:
        at = float(time_s[int(np.argmax(np.diff(time_s)))] - time_s[0])
        raise cannot(
            f"for {gap:.1f} s there is no {what}, {at:.0f} s after the beginning; at most {LONGEST_GAP_S:.0f} s may be "
            "missing.",
            "Record again.",
        )


def _check_heater(name: str, heater: HeaterSeries) -> None:
    if not np.all(np.isfinite(heater.temperature_c)) or not np.all(np.isfinite(heater.target_c)):
        raise cannot(f"temperatures or targets of the {name} are no numbers.", "Check its sensor and record again.")
    if float(np.ptp(heater.temperature_c)) == 0.0:
        raise cannot(
            f"the {name}'s temperature never changes ({float(heater.temperature_c[0]):.2f} degC).",
            "Check its sensor and record again.",
        )


def reports(time_s: Array, *series: Array) -> Array:
    """Indices of the samples in which the controller has reported anew, shape (k,).

    A change of any of the series is a new report. Where nothing changes for longer than usual, the reports were equal:
    samples at the usual period stand for them, or a calm stretch would weigh nothing.
    """
    changed = np.logical_or.reduce([np.diff(each) != 0.0 for each in series])
    fresh = np.concatenate([[0], 1 + np.flatnonzero(changed)])
    spacing = np.diff(time_s[fresh])
    period = float(np.median(spacing)) if len(spacing) else float(np.median(np.diff(time_s)))
    ends = np.append(time_s[fresh][1:], time_s[-1])
    equal = [np.arange(time_s[at] + period, end - 0.5 * period, period) for at, end in zip(fresh, ends, strict=True)]
    quiet = np.searchsorted(time_s, np.concatenate(equal), side="right") - 1
    return np.unique(np.concatenate([fresh, quiet]))


def report_period_s(time_s: Array, heater: HeaterSeries) -> float:
    """How often the controller reports, at least the samples' own spacing [s]."""
    spacing = np.diff(time_s[reports(time_s, heater.temperature_c, heater.duty)])
    step = float(np.median(np.diff(time_s)))
    return max(step, float(np.median(spacing))) if len(spacing) else step
