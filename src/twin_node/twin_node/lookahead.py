"""The twin looks ahead: how the rest of a running job goes, as it is and with one thing changed.

The job's own timeline is cut at the present and rolled forward from the present temperatures, with the oracle's model
and the oracle's draws for the intervals. From a cold start, as_is is the oracle's prediction. The interval is that of
what is left: it narrows as the job goes on, and by what is over for good (homing, heating up).

Another feed changes the plan (a move that accelerates all the way gets no faster), so the motion is planned again
then. Where the tool is between two instructions is kept as a share of the present instruction's time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from industriverse_core.artefacts import Estimate, ForecastCase, Prediction
from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.motion import MotionPlan, plan_motion
from industriverse_core.program import Program
from industriverse_core.units import duration_text, energy_text
from twin_node.calibration import Residuals, calibrated
from twin_node.milling import AVERAGING_S, cutting_j, mean_power_w
from twin_node.oracle import draw, interval
from twin_node.shadow import Present
from twin_node.steps import WAIT_BED, WAIT_NONE, MergedSteps, Steps, durations_s, merge_steps, steps_from
from twin_node.timeline import Timeline, simulate_steps
from twin_node.violations import MOST, Run, violations

AS_IS = "as_is"
POSSIBLE_C = (-50.0, 1000.0)  # of anything in a machine
Z_90 = 1.645  # standard deviations of a normal distribution to its 95 % quantile


@dataclass(frozen=True, slots=True)
class WhatIf:
    """One thing that is changed from now on.

    Attributes:
        feed: factor of every programmed feed (M220); a rapid without a feed keeps its own.
        hotend_c, bed_c: added to every target that is not off.
        pause_s: the machine holds so long before it goes on, heaters and motors as they are.
    """

    name: str
    feed: float = 1.0
    hotend_c: float = 0.0
    bed_c: float = 0.0
    pause_s: float = 0.0


WHAT_IFS = {
    case.name: case
    for case in (
        WhatIf(AS_IS),
        WhatIf("slower_20", feed=0.8),
        WhatIf("faster_10", feed=1.1),
        WhatIf("bed_minus_5", bed_c=-5.0),
        WhatIf("hotend_minus_5", hotend_c=-5.0),
        WhatIf("pause_600", pause_s=600.0),
    )
}


def chosen(names: Iterable[str]) -> tuple[WhatIf, ...]:
    """What-ifs by their names; all without a name. Raises PredictionError (NO_FORECAST) for one that is not known."""
    wanted = list(dict.fromkeys(names)) or list(WHAT_IFS)
    for name in wanted:
        if name not in WHAT_IFS:
            raise PredictionError(
                ErrorCode.NO_FORECAST, f"'{name[:64]}' is no what-if.", f"There are: {', '.join(WHAT_IFS)}."
            )
    return tuple(WHAT_IFS[name] for name in wanted)


def look_ahead(
    timeline: Timeline,
    present: Present,
    cases: Iterable[WhatIf] = WHAT_IFS.values(),
    residuals: Residuals | None = None,
    predicted: Prediction | None = None,
) -> tuple[ForecastCase, ...]:
    """The rest of a job from the present state on, once for each case.

    Args:
        residuals: of finished jobs; they calibrate time and energy as they do the job's prediction.
        predicted: what was predicted of the whole job; as_is says when it will leave the interval.
    Raises PredictionError (CANNOT_PREDICT) for a what-if that cannot be planned, (NO_FORECAST) for temperatures that
    are none.
    """
    _check(present)
    rests: dict[float, _Rest] = {}
    found = []
    for case in cases:
        if case.feed not in rests:
            rests[case.feed] = _rest(timeline, present, case.feed)
        found.append(_forecast(case, rests[case.feed], timeline, present, residuals or Residuals(), predicted))
    return tuple(found)


def _check(present: Present) -> None:
    low, high = POSSIBLE_C
    for what, here in (("hot end", present.hotend_c), ("bed", present.bed_c), ("air", present.air_c)):
        if not low <= here <= high:
            raise PredictionError(
                ErrorCode.NO_FORECAST,
                f"the {what} is said to be at {here:g} degC; {low:g} to {high:g} degC are possible.",
                "Check its sensor.",
            )


# --- the rest of the program ---


@dataclass(frozen=True, slots=True, eq=False)
class _Rest:
    """What is left of a program: its steps, their source lines, and what cutting takes at most in each, shape (m,)."""

    steps: Steps
    lines: np.ndarray
    cutting_w: np.ndarray


def _rest(timeline: Timeline, present: Present, feed: float) -> _Rest:
    program, plan, merged = timeline.program, timeline.plan, timeline.merged
    if feed != 1.0:
        program, plan, merged = _planned_again(timeline, feed)
    index = present.instruction
    left = steps_from(index, merged, program, plan, timeline.profile, timeline.material, timeline.removed_m3)
    share = _share_left(timeline.plan, present)
    steps = left.steps
    for column in (steps.motion_s, steps.dwell_s, steps.path_m, steps.melted_kg, steps.removed_m3):
        column[0] *= share
    steps.homing_s[0] = max(0.0, steps.homing_s[0] - present.in_hand_s)
    cutting_w = _cutting_w(timeline, program, plan, left, share)
    return _Rest(steps, program.columns["line"][left.first], cutting_w)


def _planned_again(timeline: Timeline, feed: float) -> tuple[Program, MotionPlan, MergedSteps]:
    """The program with every feed multiplied, its plan and its steps."""
    profile, before = timeline.profile, timeline.program
    program = replace(before, columns={**before.columns, "feed_m_s": before.columns["feed_m_s"] * feed})
    plan = plan_motion(program, profile)
    return program, plan, merge_steps(program, plan, profile, timeline.material, timeline.removed_m3)


def _share_left(plan: MotionPlan, present: Present) -> float:
    """Share of the present instruction's time that is still to come, 0..1; 1 for one that the plan gives no time."""
    duration_s = float(plan.duration_s[present.instruction])
    if duration_s <= 0.0:
        return 1.0
    return min(max((float(plan.end_s[present.instruction]) - present.clock_s) / duration_s, 0.0), 1.0)


def _cutting_w(timeline: Timeline, program: Program, plan: MotionPlan, left: MergedSteps, share: float) -> np.ndarray:
    """Highest mean power of cutting over AVERAGING_S in each step, shape (m,); as the timeline's own."""
    if timeline.removed_m3 is None or timeline.profile.spindle is None:
        return np.zeros(len(left.first))
    begin = int(left.first[0])
    cutting = cutting_j(timeline.removed_m3[begin:], timeline.material)
    lasts_s = durations_s(program, plan, timeline.profile)[begin:]
    cutting[0] *= share
    lasts_s[0] *= share
    return np.maximum.reduceat(mean_power_w(cutting, lasts_s, AVERAGING_S), left.first - begin)


# --- one case ---


def _forecast(
    case: WhatIf, rest: _Rest, timeline: Timeline, present: Present, residuals: Residuals, predicted: Prediction | None
) -> ForecastCase:
    profile, material = timeline.profile, timeline.material
    rest = _changed(case, rest, timeline, present)
    start_c = _start_c(timeline, present)
    course, stuck = simulate_steps(rest.steps, profile, material, start_c)
    run = Run(course, rest.lines, (present.hotend_c, present.bed_c), stuck, rest.cutting_w)
    found = list(violations(run, profile, material))
    peak_w = float(run.power_w.max(initial=0.0))
    if stuck >= 0:
        never = Estimate.exact(np.inf)
        return ForecastCase(case.name, never, never, peak_w, tuple(found))
    total_s = float(course.duration_s.sum())
    total_j = float(sum(column.sum() for column in course.energy_j.values()))
    draws = draw(rest.steps, total_s, profile, material, start_c)
    place_j = present.place_sd_s * total_j / total_s if total_s > 0.0 else 0.0
    time_s = _widened(calibrated(interval(total_s, draws.time_s), residuals.time), present.place_sd_s)
    energy_j = _widened(calibrated(interval(total_j, draws.electric_j), residuals.energy), place_j)
    if case.name == AS_IS and predicted is not None:
        found += _beyond(predicted, present, time_s, energy_j)
    return ForecastCase(case.name, time_s, energy_j, peak_w, tuple(found[:MOST]))


def _widened(estimate: Estimate, sd: float) -> Estimate:
    """An interval with an independent standard deviation added; nothing that is left is below 0."""
    below, above = (
        math.hypot(each, Z_90 * sd) for each in (estimate.mean - estimate.low, estimate.high - estimate.mean)
    )
    return Estimate(estimate.mean, max(0.0, estimate.mean - below), estimate.mean + above) if sd > 0.0 else estimate


def _changed(case: WhatIf, rest: _Rest, timeline: Timeline, present: Present) -> _Rest:
    """The rest with the case's targets and its pause."""
    steps = replace(
        rest.steps,
        hotend_target_c=_moved(rest.steps.hotend_target_c, case.hotend_c),
        bed_target_c=_moved(rest.steps.bed_target_c, case.bed_c),
    )
    steps = _settling(steps, timeline, present)
    if case.pause_s <= 0.0:
        return replace(rest, steps=steps)
    columns = {name: np.concatenate([column[:1], column]) for name, column in _columns(steps)}
    for name in ("motion_s", "homing_s", "path_m", "speed_m_s", "melted_kg", "removed_m3"):
        columns[name][0] = 0.0
    columns["dwell_s"][0], columns["wait"][0], columns["cools"][0] = case.pause_s, WAIT_NONE, False
    return _Rest(
        Steps(**columns), np.concatenate([rest.lines[:1], rest.lines]), np.concatenate([[0.0], rest.cutting_w])
    )


def _columns(steps: Steps) -> Iterable[tuple[str, np.ndarray]]:
    return ((name, getattr(steps, name)) for name in Steps.__slots__)


def _moved(target_c: np.ndarray, by_c: float) -> np.ndarray:
    """Targets that are not off, moved; one that would fall to 0 is off."""
    return np.where(target_c > 0.0, np.maximum(target_c + by_c, 0.0), 0.0) if by_c else target_c


def _settling(steps: Steps, timeline: Timeline, present: Present) -> Steps:
    """A wait in hand whose heater is in its window already only settles: for what its planned time has left."""
    if steps.wait[0] == WAIT_NONE:
        return steps
    bed = steps.wait[0] == WAIT_BED
    heater = timeline.profile.bed if bed else timeline.profile.hotend
    target = float((steps.bed_target_c if bed else steps.hotend_target_c)[0])
    here = present.bed_c if bed else present.hotend_c
    hot_enough = here >= target - heater.window if heater is not None else False
    if heater is None or not hot_enough or (steps.cools[0] and here > target + heater.window):
        return steps
    at = int(np.searchsorted(timeline.merged.first, present.instruction))
    left_s = min(max(float(timeline.course.duration_s[at]) - present.in_hand_s, 0.0), heater.settle_time)
    wait, dwell_s = steps.wait.copy(), steps.dwell_s.copy()
    wait[0], dwell_s[0] = WAIT_NONE, left_s
    return replace(steps, wait=wait, dwell_s=dwell_s)


def _start_c(timeline: Timeline, present: Present) -> np.ndarray:
    """State of the thermal nodes; the part's is the timeline's: nothing measures it. It matters to the air alone."""
    at = int(np.searchsorted(timeline.merged.first, present.instruction, side="right")) - 1
    nodes = [present.hotend_c, present.bed_c, present.air_c]
    mass_kg = float(timeline.course.steps.melted_kg[:at].sum())
    return np.array([*nodes, float(timeline.course.part_c[at - 1]), mass_kg] if mass_kg > 0.0 else nodes)


def _beyond(predicted: Prediction, present: Present, time_s: Estimate, energy_j: Estimate) -> Iterable[str]:
    """Whether the whole job leaves what was predicted of it."""
    for what, spent, left, promised, text in (
        ("takes", present.elapsed_s, time_s, predicted.time_s, duration_text),
        ("draws", present.energy_j, energy_j, predicted.energy_j, energy_text),
    ):
        total = spent + left.mean
        if total > promised.high:
            yield (
                f"the whole job {what} {text(total)}; predicted were {text(promised.low)} to {text(promised.high)}, "
                "with 90 %."
            )


__all__ = ["AS_IS", "WHAT_IFS", "Present", "WhatIf", "chosen", "look_ahead"]
