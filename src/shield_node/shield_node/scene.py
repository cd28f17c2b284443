"""What an engineer sees of the shield: work volume, keep-outs, zones, people with their distance, and why it stopped.

Machine things are in the machine's base frame, floor things in the cell's. Colours go by what is demanded: green runs,
yellow is slowed, orange holds, red is latched; blue is what only marks a place.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from industriverse_core.frames import CELL, base_frame
from industriverse_core.machine import MachineProfile
from industriverse_core.scene import (
    Lines,
    Marker,
    Removed,
    Scene,
    Shape,
    Solids,
    Text,
    box_edges,
    colour_of,
    loop,
    one_colour,
)
from industriverse_core.telemetry import Vector
from industriverse_core.threats import Decision, Level
from shield_node.separation import Demand, Point, Separation, Zone, ZoneKind
from shield_node.transitions import State

WORK_VOLUME, KEEP_OUT, ZONES, PEOPLE, DISTANCE, STATE = (
    "work_volume", "keep_out", "zones", "people", "separation", "shield",
)  # fmt: skip
PLACE, GREY, GREEN, YELLOW, ORANGE, RED = "#5b8def", "#8b95a7", "#37a862", "#e3b505", "#f08c3a", "#e0483e"
BY_DEMAND = {Demand.RUN: GREEN, Demand.REDUCED: YELLOW, Demand.HOLD: ORANGE, Demand.LATCH: RED}
BY_LEVEL = {Level.RUN: GREEN, Level.REDUCED: YELLOW, Level.HOLD: ORANGE, Level.STOP1: RED, Level.STOP0: RED}
BY_KIND = {ZoneKind.STOP: ORANGE, ZoneKind.EXCLUSION: RED}
MOST_ZONES = 32
EDGE_SHARE = 0.004  # of the machine's width: lines round volumes
TEXT_SHARE = 0.03  # of the machine's width
LINES_ABOVE = 7.5  # the text stands over the machine, above the twin's
CHARACTERS = 60  # of a line of text
MOST_CHARACTERS = 240
FLOOR_LINE_M = 0.02
FLOOR_TEXT_M = 0.08
PERSON_M: Vector = (0.45, 0.45, 1.75)  # as a standing figure is drawn
CHEST_M = 1.2  # height of the line between person and machine


@dataclass(frozen=True, slots=True)
class Watched:
    """What the shield knows of the people in the cell, cell frame.

    Attributes:
        people: positions [m] of everybody seen.
        machine: position [m] of the machine's nearest moving part.
        separation: what they demand.
    """

    people: tuple[Point, ...]
    machine: Point
    separation: Separation


def fixed_scene(profile: MachineProfile, zones: Sequence[Zone] = ()) -> Scene:
    """What does not change while the shield runs. Zones beyond MOST_ZONES are not drawn."""
    frame, width_m = base_frame(profile.id), _width_m(profile)
    axes = profile.kinematics.axes()
    low, high = (np.array([getattr(axis, end) for axis in axes]) for end in ("minimum", "maximum"))
    line_m = EDGE_SHARE * width_m
    edges = box_edges(tuple(low.tolist()), tuple(high.tolist()))
    markers: list[Marker] = [Lines(WORK_VOLUME, 0, frame, edges, one_colour(colour_of(PLACE, 0.6)), line_m)]
    for number, box in enumerate(profile.keep_out):
        corners = [np.clip(corner, low, high) for corner in box.bounds_m()]  # bounds may be infinite
        if not (corners[0] < corners[1]).all():
            continue  # outside the work volume, where no tool comes anyway
        edges = box_edges(tuple(corners[0].tolist()), tuple(corners[1].tolist()))
        middle, size = 0.5 * (corners[0] + corners[1]), tuple((corners[1] - corners[0]).tolist())
        markers += [
            Lines(KEEP_OUT, 3 * number, frame, edges, one_colour(colour_of(RED)), line_m),
            Solids(
                KEEP_OUT, 3 * number + 1, frame, Shape.BOX, middle[None], size, one_colour(colour_of(RED, 0.2))
            ),
            Text(
                KEEP_OUT, 3 * number + 2, frame, (*middle[:2].tolist(), float(corners[1][2])), box.name,
                0.7 * TEXT_SHARE * width_m, colour_of(RED),
            ),
        ]  # fmt: skip
    for number, zone in enumerate(zones[:MOST_ZONES]):
        markers += _zone(number, zone)
    return tuple(markers)


def _zone(number: int, zone: Zone) -> tuple[Marker, ...]:
    """A polygon on the floor and its name."""
    corners = np.column_stack([np.array(zone.corners), np.zeros(len(zone.corners))])
    x, y = corners[:, :2].mean(axis=0).tolist()
    colour = BY_KIND[zone.kind]
    name = f"{zone.name} ({zone.kind.name.lower()})"
    return (
        Lines(ZONES, 2 * number, CELL, loop(corners), one_colour(colour_of(colour)), FLOOR_LINE_M),
        Text(ZONES, 2 * number + 1, CELL, (x, y, FLOOR_TEXT_M), name, FLOOR_TEXT_M, colour_of(colour)),
    )


def people_scene(watched: Watched | None) -> Scene:
    """Everybody seen, and the line from the nearest of them to the machine; positions that are not finite stand at
    the machine, as the shield takes them."""
    people = watched.people if watched is not None else ()
    if watched is None or not people:
        return Removed(PEOPLE, 0), Removed(DISTANCE, 0), Removed(DISTANCE, 1)
    places = np.array([each if all(map(math.isfinite, each)) else watched.machine for each in people])
    colour = BY_DEMAND[watched.separation.demand]
    feet = np.column_stack([places, np.full(len(places), 0.5 * PERSON_M[2])])
    machine = np.array(watched.machine)
    distances = np.linalg.norm(places - machine, axis=1)
    nearest = int(distances.argmin())
    line = np.array([[*places[nearest], CHEST_M], [*machine, CHEST_M]])
    x, y, z = line.mean(axis=0).tolist()
    said = f"{distances[nearest]:.2f} m, {watched.separation.demand.name}"
    return (
        Solids(PEOPLE, 0, CELL, Shape.BALL, feet, PERSON_M, one_colour(colour_of(colour, 0.5))),
        Lines(DISTANCE, 0, CELL, line, one_colour(colour_of(colour)), FLOOR_LINE_M),
        Text(DISTANCE, 1, CELL, (x, y, z + FLOOR_TEXT_M), said, FLOOR_TEXT_M, colour_of(colour)),
    )


def state_marker(profile: MachineProfile, decision: Decision) -> Text:
    """State, level and reason over the machine."""
    state, level = State(decision.state), decision.level
    head = f"{state.name}, {level.name}" if state not in (State.IDLE, State.ARMED) else state.name
    if level is Level.REDUCED:
        head += f" to {decision.speed_scale:.0%}"
    reason = textwrap.wrap(textwrap.shorten(decision.threat.message, MOST_CHARACTERS), CHARACTERS)
    colour = {State.IDLE: GREY, State.ARMED: PLACE}.get(state, BY_LEVEL[level])
    x, y, z = profile.kinematics.axes()
    height_m = TEXT_SHARE * _width_m(profile)
    top_m = z.maximum + (LINES_ABOVE + len(reason)) * height_m
    place = 0.5 * (x.minimum + x.maximum), 0.5 * (y.minimum + y.maximum), top_m
    return Text(STATE, 0, base_frame(profile.id), place, "\n".join([head, *reason]), 1.2 * height_m, colour_of(colour))


def _width_m(profile: MachineProfile) -> float:
    return profile.kinematics.x.maximum - profile.kinematics.x.minimum
