"""What pricing wants to know of a run beyond its totals, taken from a simulated one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from industriverse_core.artefacts import Subsystem
from industriverse_core.machine import Heater, MachineProfile
from industriverse_core.material import Material
from twin_node.exergy import HeatStream, StoredHeat
from twin_node.run_series import RunSeries
from twin_node.timeline import Course, Timeline
from twin_node.tool_wear import ToolUse, tool_uses


@dataclass(frozen=True, slots=True)
class RunDetails:
    """The course of one run. Every part of it may be missing; what is priced without it says so.

    Attributes:
        series: power and feed over time; None: both constant.
        heat: heat that the heaters give off, at their temperatures.
        stored: the heaters, at the beginning and the end.
        nozzle_c: at which the material leaves; None: the middle of its window.
        tools: what cuts; None: not known.
        removed_kg: material cut away; None: not known.
    """

    series: RunSeries | None = None
    heat: tuple[HeatStream, ...] = ()
    stored: tuple[StoredHeat, ...] = ()
    nozzle_c: float | None = None
    tools: tuple[ToolUse, ...] | None = None
    removed_kg: float | None = None


def details_of(
    timeline: Timeline, profile: MachineProfile, material: Material | None, removed_m3: np.ndarray | None = None
) -> RunDetails:
    """The details of a run from a machine at room temperature.

    `removed_m3`: volume that each instruction cuts away, shape (n,), where it is known.
    """
    course = timeline.course
    energy_j = sum(course.energy_j.values(), np.zeros(len(course.steps)))
    fed_kg = course.steps.melted_kg
    hotend = _heater(course, profile.hotend, "the hot end", Subsystem.HOTEND, profile.ambient)
    bed = _heater(course, profile.bed, "the bed", Subsystem.BED, profile.ambient)
    known = [found for found in (hotend, bed) if found is not None]
    fed = float(fed_kg.sum())
    return RunDetails(
        series=RunSeries.from_columns(course.duration_s, np.maximum(energy_j, 0.0), fed_kg),
        heat=tuple(stream for stream, _ in known),
        stored=tuple(body for _, body in known),
        nozzle_c=float(course.hotend_c @ fed_kg) / fed if fed > 0.0 else None,
        tools=tool_uses(timeline.program, timeline.plan.duration_s, profile, removed_m3),
        removed_kg=float(removed_m3.sum()) * material.density if material and removed_m3 is not None else None,
    )


def _heater(
    course: Course, heater: Heater | None, name: str, subsystem: Subsystem, ambient_c: float
) -> tuple[HeatStream, StoredHeat] | None:
    """What a heater gives off: its electricity, less what it keeps and what the material takes along."""
    if heater is None or subsystem not in course.energy_j or not len(course.steps):
        return None
    end_c = course.hotend_c if subsystem is Subsystem.HOTEND else course.bed_c
    start_c = np.concatenate([[ambient_c], end_c[:-1]])
    taken_j = course.work_j if subsystem is Subsystem.HOTEND else 0.0
    given_j = course.energy_j[subsystem] - taken_j - heater.heat_capacity * (end_c - start_c)
    stored = StoredHeat(heater.heat_capacity, ambient_c, float(end_c[-1]))
    return HeatStream.over(name, given_j, 0.5 * (start_c + end_c)), stored


def blank_kg(profile: MachineProfile, density: float) -> float | None:
    """Mass of the blank that the profile states; None where it states none or leaves a bound open."""
    if profile.stock is None:
        return None
    low, high = profile.stock.bounds_m()
    volume = math.prod(top - bottom for bottom, top in zip(low, high, strict=True))
    return volume * density if math.isfinite(volume) else None
