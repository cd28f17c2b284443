"""Limits that a simulated rest of a job would violate, each as a sentence that names its first source line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from industriverse_core.machine import Heater, MachineProfile
from industriverse_core.material import Material
from industriverse_core.units import duration_text
from twin_node.steps import WAIT_BED, WAIT_NONE
from twin_node.timeline import Course

MOST = 8  # as ForecastCase.msg holds
FLOW_TOLERANCE = 1.05  # as the gates': slicers round E
MM3 = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A simulated rest of a job.

    Attributes:
        course: over its m steps; the peaks are those of everything but cutting.
        lines: source line of each step's first instruction, shape (m,); 0 = none.
        start_c: hot end and bed before it.
        stuck: the first step whose heater never reaches its target; -1 = all do.
        cutting_w: highest mean power of cutting in each step, shape (m,).
    """

    course: Course
    lines: np.ndarray
    start_c: tuple[float, float]
    stuck: int
    cutting_w: np.ndarray

    @property
    def power_w(self) -> np.ndarray:
        """Highest total power of each step, shape (m,)."""
        return self.course.peak_power_w + self.cutting_w


def violations(run: Run, profile: MachineProfile, material: Material | None) -> tuple[str, ...]:
    """At most MOST sentences, one for each limit, the first place where it is violated and the worst value."""
    found = [
        *_waits(run),
        *_nozzle(run, profile, material),
        *_bed(run, profile, material),
        *_falls_behind(run, "hot end", profile.hotend, 0),
        *_falls_behind(run, "bed", profile.bed, 1),
        *_flow(run, profile, material),
        *_supply(run, profile),
        *_spindle(run, profile),
    ]
    return tuple(found[:MOST])


def _where(run: Run, mask: np.ndarray) -> str:
    """The first place of a mask, and for how long it holds."""
    lasts_s = float(run.course.duration_s[mask].sum())
    return f"line {run.lines[int(np.argmax(mask))]}, for {duration_text(lasts_s)} in all"


def _waits(run: Run) -> Iterator[str]:
    if run.stuck >= 0:
        steps, at = run.course.steps, run.stuck
        bed = steps.wait[at] == WAIT_BED
        target = (steps.bed_target_c if bed else steps.hotend_target_c)[at]
        yield f"line {run.lines[at]}: the {'bed' if bed else 'hot end'} never reaches {target:.0f} degC."


def _nozzle(run: Run, profile: MachineProfile, material: Material | None) -> Iterator[str]:
    """Where filament is pushed, so stand-by temperatures pass. A wait ends within the heater's window."""
    if profile.hotend is None or material is None:
        return
    prints, hot, window = run.course.steps.melted_kg > 0.0, run.course.hotend_c, profile.hotend.window
    low, high = material.nozzle_min, material.nozzle_max
    wants = f"{material.id} wants {low:g} to {high:g} degC" if low is not None and high is not None else ""
    cold = profile.extruder.min_temperature if profile.extruder is not None else -np.inf
    for limit, outside, what in (
        (cold, prints & (hot < cold), f"below {cold:g} degC {profile.id} refuses to"),
        (low, prints & (hot < low - window) if low is not None else None, wants),
        (high, prints & (hot > high + window) if high is not None else None, wants),
    ):
        if outside is not None and outside.any():
            worst = hot[outside].max() if limit == high else hot[outside].min()
            yield f"{_where(run, outside)}: it extrudes with the hot end at {worst:.0f} degC; {what}."
            return


def _bed(run: Run, profile: MachineProfile, material: Material | None) -> Iterator[str]:
    if profile.bed is None or material is None or material.bed_max is None:
        return
    outside = (run.course.steps.melted_kg > 0.0) & (run.course.bed_c > material.bed_max + profile.bed.window)
    if outside.any():
        worst, wants = run.course.bed_c[outside].max(), f"{material.id} wants at most {material.bed_max:g} degC"
        yield f"{_where(run, outside)}: the bed is at {worst:.0f} degC; {wants}."


def _falls_behind(run: Run, name: str, heater: Heater | None, which: int) -> Iterator[str]:
    """A heater at full power that cools all the same, below its target; one that still heats up is on its way."""
    if heater is None:
        return
    steps, course = run.course.steps, run.course
    target = (steps.hotend_target_c, steps.bed_target_c)[which]
    end_c = (course.hotend_c, course.bed_c)[which]
    before_c = np.concatenate([[run.start_c[which]], end_c[:-1]])
    behind = (steps.wait == WAIT_NONE) & (target > 0.0) & (end_c < target - heater.window) & (end_c < before_c)
    if behind.any():
        worst = float((target - end_c)[behind].max())
        seen = f"the {name} falls {worst:.1f} degC behind its target"
        yield f"{_where(run, behind)}: {seen}; its {heater.power:.0f} W are not enough there."


def _flow(run: Run, profile: MachineProfile, material: Material | None) -> Iterator[str]:
    """Mean volume a second over each step against what the hot end melts."""
    if profile.extruder is None or material is None:
        return
    volume, lasts_s = run.course.steps.melted_kg / material.density, run.course.duration_s
    flow = np.divide(volume, lasts_s, out=np.zeros_like(volume), where=lasts_s > 0.0)
    over = flow > FLOW_TOLERANCE * profile.extruder.max_flow
    if over.any():
        melts = f"the hot end melts {profile.extruder.max_flow / MM3:g} mm^3/s"
        yield f"{_where(run, over)}: {flow.max() / MM3:.1f} mm^3/s have to be melted; {melts}."


def _supply(run: Run, profile: MachineProfile) -> Iterator[str]:
    limit = profile.power.supply
    if limit is None:
        return
    over = run.power_w > limit
    if over.any():
        yield f"{_where(run, over)}: {run.power_w.max():.0f} W are drawn; the supply gives {limit:.0f} W."


def _spindle(run: Run, profile: MachineProfile) -> Iterator[str]:
    spindle = profile.spindle
    if spindle is None or spindle.max_power is None:
        return
    needed_w = run.cutting_w + spindle.idle_power * np.minimum(run.course.steps.spindle, 1.0)
    over = (run.cutting_w > 0.0) & (needed_w > spindle.max_power)
    if over.any():
        worst = needed_w[over].max()
        yield f"{_where(run, over)}: the cut needs {worst:.0f} W; the spindle has {spindle.max_power:.0f} W."
