"""Corners: how fast the program wants to take them, and what the machine's planner and axes allow."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from industriverse_core.artefacts import Severity
from industriverse_core.machine import Kinematics
from industriverse_core.program import Limit, Op
from industriverse_core.units import MM
from shield_node.gates.context import Context
from shield_node.gates.registry import Hits, Seen, rule

TOLERANCE = 1.01
SLOWED = 2.0  # a corner that is taken at less than half its feed leaves its mark on a milled part


@rule("motion.junction", "No corner is taken harder than the machine's axes stand.")
def junction(context: Context) -> Iterator[Hits]:
    """Planners slow a corner down to what their limits say, so a corner can be too hard only where a program raises
    those limits. Classic jerk: the change of each axis's speed at once, against the profile's jerk. Junction
    deviation (GRBL, Marlin) and square-corner velocity (Klipper, whose deviation is v²(√2-1)/a): the corner's speed
    sqrt(a d s / (1 - s)), s the sine of half the angle. The worst corner is a warning.

    On a mill, feed corners that the planner takes at less than half their feed are one note: the tool rubs there.
    """
    kinematics = context.profile.kinematics
    if kinematics.planner == "classic_jerk":
        yield from _jerk(context, kinematics)
        return
    deviation = _deviation(kinematics)
    raised = _in_force(context, Limit.JUNCTION_DEVIATION, deviation)
    if context.profile.kind != "mill" and not (raised > deviation * TOLERANCE).any():
        return
    asked, factor = _corner_speed(context), _sharpness(context) * kinematics.print_acceleration
    allowed = np.sqrt(factor * deviation)
    taken = np.minimum(asked, np.sqrt(factor * raised))
    yield from _worst(
        Severity.WARNING, taken, allowed, TOLERANCE, "the program's limits let the machine take",
        "Take the line that raises the limit out (M205 J).",
    )  # fmt: skip
    if context.profile.kind == "mill":
        feeds = context.is_feed & context.before(context.is_feed, 0)
        yield from _worst(
            Severity.INFO, np.where(feeds, asked, 0.0), allowed, SLOWED, "the program asks for",
            "Nothing has to be done; rounder corners or a lower feed cut more evenly.",
        )  # fmt: skip


def _worst(
    severity: Severity, speed: np.ndarray, allowed: np.ndarray, times: float, who: str, remedy: str
) -> Iterator[Hits]:
    """One finding at the corner whose speed is highest over what is allowed, where it is above that by `times`."""
    ratio = np.where(np.isfinite(speed) & (speed > 0.0), speed / allowed, 0.0)
    ratio[~np.isfinite(ratio)] = 0.0
    count = int((ratio > times).sum())
    if count:
        yield Hits(
            severity,
            [int(np.argmax(ratio))],
            lambda i: Seen(
                f"{who} {speed[i] / MM:.1f} mm/s in this corner, the machine allows {allowed[i] / MM:.1f} mm/s; "
                f"so in {count} {'corners' if count > 1 else 'corner'}.",
                remedy,
                speed[i] / MM,
                allowed[i] / MM,
                "mm/s",
            ),
        )


def _jerk(context: Context, kinematics: Kinematics) -> Iterator[Hits]:
    """Classic jerk: the axis whose speed changes most at once over its own limit."""
    own = np.array([axis.jerk for axis in kinematics.axes()])
    limits = [_in_force(context, Limit(Limit.JERK_X + axis), own[axis]) for axis in range(3)]
    if not any((limit > jerk * TOLERANCE).any() and jerk > 0.0 for limit, jerk in zip(limits, own, strict=True)):
        return
    begin, end = _directions(context)
    speed = _corner_speed(context)
    changes = [speed * np.abs(begin[axis] - context.before(end[axis], 0.0)) for axis in range(3)]
    share = np.ones(len(speed))  # of the corner's speed that the program's limits leave
    for change, limit in zip(changes, limits, strict=True):
        share = np.where(change > limit, np.minimum(share, limit / change), share)
    for axis, name in enumerate("XYZ"):
        if own[axis] > 0.0:
            yield from _worst(
                Severity.WARNING, share * changes[axis], np.full(len(speed), own[axis]), TOLERANCE,
                f"the program's limits let {name} change its speed at once by",
                "Take the line that raises the limit out (M205).",
            )  # fmt: skip


def _deviation(kinematics: Kinematics) -> float:
    if kinematics.planner == "junction_deviation":
        return kinematics.junction_deviation
    return kinematics.square_corner_velocity**2 * (math.sqrt(2.0) - 1.0) / kinematics.print_acceleration


def _in_force(context: Context, limit: Limit, own: float) -> np.ndarray:
    """(n,) the value of a planner limit at each instruction: the machine's own until the program sets another."""
    program = context.program
    sets = context.is_op(Op.SET_LIMIT) & (program.target == limit)
    if not sets.any():
        return np.full(len(program), own)
    last = context.last(sets)
    return np.where(last >= 0, program.value[last], own)


def _corner_speed(context: Context) -> np.ndarray:
    """(n,) speed asked for at the start of each motion that follows another: the lower of both; 0 elsewhere."""
    moving = context.is_travelling
    speed = np.where(moving, np.minimum(context.asked_speed_m_s, context.allowed_speed_m_s), 0.0)
    return np.minimum(speed, context.before(speed, 0.0))


def _sharpness(context: Context) -> np.ndarray:
    """(n,) s / (1 - s), s the sine of half the angle between the paths at each motion's start; infinite = straight."""
    begin, end = _directions(context)
    turn = sum(first * context.before(last, 0.0) for first, last in zip(begin, end, strict=True))
    half = np.sqrt(np.clip(0.5 * (1.0 + turn), 0.0, 1.0))
    return half / (1.0 - half)


def _directions(context: Context) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Unit vectors of the path at the start and at the end of each motion, an array an axis; arcs by their tangents."""
    length, arcs = context.length_m, context.arcs
    begin = [np.where(context.is_travelling, travel / length, 0.0) for travel in context.travel_m]
    end = [direction.copy() for direction in begin]
    radius = np.maximum(arcs.start_radius_m, arcs.end_radius_m)
    along = radius * arcs.sweep / length[arcs.where]  # share of the plane in the path, signed by the sense
    for directions, angle in ((begin, arcs.start_angle), (end, arcs.start_angle + arcs.sweep)):
        for axis in range(3):
            first, second = arcs.first == axis, arcs.second == axis
            directions[axis][arcs.where[first]] = (-along * np.sin(angle))[first]
            directions[axis][arcs.where[second]] = (along * np.cos(angle))[second]
    return begin, end
