"""What an engineer sees of a job: its path done and to do, where its joules go, where the tool should be, when it ends.

All in the machine's base frame [m]. The path is cut into CHUNKS markers of about the same size: while the job goes on,
the one that was finished changes, and nothing else.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from industriverse_core.artefacts import Estimate
from industriverse_core.colours import NO_VALUE, TOP_VALUE, ramp_rgb
from industriverse_core.errors import PredictionError
from industriverse_core.frames import base_frame
from industriverse_core.machine import MachineProfile
from industriverse_core.moves import classify, layers_of
from industriverse_core.scene import Colour, Lines, Marker, Removed, Scene, Shape, Solids, Text, one_colour
from industriverse_core.telemetry import Vector
from industriverse_core.toolpath import Scale, ToolPath, reduce_by_layers
from industriverse_core.units import MM, duration_text
from twin_node.twin import Expectation, Moment
from twin_node.voxels import DEFAULT_EDGE_M, EnergyVoxels, energy_voxels

PATH_POINTS = 50_000  # of the lines to do and done, at most
CHUNKS = 100
DONE, TO_DO, ENERGY, TOOL, ENDING, LEGEND = "done", "to_do", "energy", "expected_tool", "ending", "legend"
TO_DO_ALPHA, ENERGY_ALPHA = 0.25, 0.5
TO_DO_WIDTH = 0.35  # of the width of what is done
VOXELS = 2_000  # the hottest
VOXELS_ALONG = 40  # of the part's longest side, at most
VOXEL_SHARE = 0.9  # of a voxel's edge that is drawn, so that neighbours can be told apart
MILL_LINE_M = 0.4 * MM
TEXT_SHARE = 0.03  # of the machine's width
LEGEND_STEPS = 12
WHITE: Colour = (1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class JobPicture:
    """What does not change while a job runs.

    Attributes:
        expectation: which run it is.
        last: last instruction of each of k <= CHUNKS chunks, shape (k,), ascending.
        to_do, done: the chunks as they are drawn before and after they were executed.
        energy: the hottest voxels, if the program can be put into voxels.
        legend: what the colours of the path mean.
        layers_drawn: every n-th layer is drawn.
    """

    expectation: Expectation
    last: np.ndarray
    to_do: tuple[Lines, ...]
    done: tuple[Lines, ...]
    energy: Marker
    legend: tuple[Marker, ...]
    layers_drawn: int


def picture_of(expectation: Expectation, profile: MachineProfile) -> JobPicture:
    """Reduce a simulated run to what is drawn. Takes a second for a program of a million instructions."""
    timeline, frame = expectation.timeline, base_frame(profile.id)
    program, mill = timeline.program, profile.kind == "mill"
    moves = classify(program, mill)
    layers = layers_of(program, moves, downwards=mill)
    energy_j = sum(timeline.energy_j.values(), np.zeros(len(program)))
    path, stride = reduce_by_layers(program, moves, layers, energy_j, PATH_POINTS // 2)
    width_m = profile.extruder.nozzle_diameter if profile.extruder is not None else MILL_LINE_M
    last, to_do, done = _chunks(path, frame, width_m)
    return JobPicture(
        expectation=expectation,
        last=last,
        to_do=to_do,
        done=done,
        energy=_energy(expectation, profile, path),
        legend=_legend(path.energy_scale, stride, profile),
        layers_drawn=stride,
    )


def _chunks(path: ToolPath, frame: str, width_m: float) -> tuple[np.ndarray, tuple[Lines, ...], tuple[Lines, ...]]:
    """The pieces of a path in at most CHUNKS bundles: their last instructions, and how each is drawn."""
    ends = np.flatnonzero(path.drawn)
    count = min(CHUNKS, len(ends))
    bounds = np.linspace(0, len(ends), count + 1).astype(np.int64)
    colour = np.ones((len(path.points_m), 4), np.float32)
    colour[:, :3] = ramp_rgb(path.energy) / 255.0
    to_do, done = [], []
    for number in range(count):
        chosen = ends[bounds[number] : bounds[number + 1]]
        points = np.stack([path.points_m[chosen - 1], path.points_m[chosen]], axis=1).reshape(-1, 3)
        colours = np.repeat(colour[chosen], 2, axis=0)
        faint = colours * np.array([1.0, 1.0, 1.0, TO_DO_ALPHA], np.float32)
        done.append(Lines(DONE, number, frame, points, colours, width_m))
        to_do.append(Lines(TO_DO, number, frame, points, faint, TO_DO_WIDTH * width_m))
    return path.owner[ends[bounds[1:] - 1]], tuple(to_do), tuple(done)


def _energy(expectation: Expectation, profile: MachineProfile, path: ToolPath) -> Marker:
    """The VOXELS hottest voxels, hottest first; coarse enough that the whole part is a few of them."""
    low, high = path.box_m(part=True)
    layer_m = expectation.timeline.program.metadata.layer_height_m
    width = max(DEFAULT_EDGE_M, float((high - low).max()) / VOXELS_ALONG)
    height = max(layer_m or DEFAULT_EDGE_M, float(high[2] - low[2]) / VOXELS_ALONG)
    try:
        found = energy_voxels(expectation.timeline, profile, expectation.material, (width, width, height))
    except PredictionError:  # a program that reaches too far for voxels has its path all the same
        return Removed(ENERGY, 0)
    return _hottest(found, base_frame(profile.id)) if len(found) else Removed(ENERGY, 0)


def _hottest(found: EnergyVoxels, frame: str) -> Solids:
    worked = found.volume_m3 > 0.0  # where the tool only passes is no part
    energy = np.where(worked | ~worked.any(), found.energy_j, -1.0)
    order = np.argsort(-energy, kind="stable")[: min(VOXELS, int((energy >= 0.0).sum()))]
    share = found.energy_j[order] / max(float(found.energy_j[order[0]]), 1e-30)
    colours = np.full((len(order), 4), ENERGY_ALPHA, np.float32)
    colours[:, :3] = ramp_rgb(np.round(share * TOP_VALUE)) / 255.0
    edge_x, edge_y, edge_z = (VOXEL_SHARE * edge for edge in found.edge_m)
    centres = (found.index[order] + 0.5) * np.array(found.edge_m)
    return Solids(ENERGY, 0, frame, Shape.BOX, centres, (edge_x, edge_y, edge_z), colours)


def _legend(scale: Scale, stride: int, profile: MachineProfile) -> tuple[Marker, ...]:
    """A bar of the colours from low to high at the machine's right, and what they mean."""
    frame, text_m = base_frame(profile.id), text_height_m(profile)
    x, y, z = (axis.maximum for axis in profile.kinematics.axes())
    low, high = profile.kinematics.z.minimum, z
    step = 0.6 * (high - low) / LEGEND_STEPS
    place = np.array([x + 2.0 * text_m, y, low])
    centres = place + np.outer(np.arange(LEGEND_STEPS) + 0.5, [0.0, 0.0, step])
    colours = np.ones((LEGEND_STEPS, 4), np.float32)
    known = scale.high > scale.low
    values = np.linspace(0.0, TOP_VALUE, LEGEND_STEPS) if known else np.full(LEGEND_STEPS, NO_VALUE)
    colours[:, :3] = ramp_rgb(values) / 255.0
    unit = scale.unit.replace("³", "3")  # rviz draws ASCII
    said = f"{scale.low:.3g} to {scale.high:.3g} {unit}" if known else "no energy along the path"
    drawn = "" if stride == 1 else f"\nevery {stride}th layer is drawn"
    place = (float(place[0]), float(place[1]), float(centres[-1, 2] + 2.0 * text_m))
    return (
        Solids(LEGEND, 0, frame, Shape.BOX, centres, (text_m, text_m, step), colours),
        Text(LEGEND, 1, frame, place, said + drawn, text_m, WHITE),
    )


def text_height_m(profile: MachineProfile) -> float:
    """Texts in proportion to the machine."""
    return TEXT_SHARE * (profile.kinematics.x.maximum - profile.kinematics.x.minimum)


class JobView:
    """The scene of the job that runs, or of the last one until the next begins."""

    def __init__(self, profile: MachineProfile) -> None:
        self._profile = profile
        self._picture: JobPicture | None = None
        self._instruction = -1

    def begin(self, picture: JobPicture) -> None:
        """Show another job."""
        self._picture, self._instruction = picture, -1

    def scene(self, moment: Moment | None, now_s: float) -> Scene:
        """Every marker of the twin.

        Args:
            moment: where the job should be; None when none runs.
            now_s: ROS time.
        """
        picture = self._picture
        if picture is None or not len(picture.expectation.timeline.program):
            return _empty()
        if moment is not None:
            self._instruction = moment.instruction
        finished = int(np.searchsorted(picture.last, self._instruction))  # chunks that end before this instruction
        count = len(picture.last)
        path = [
            marker
            for number in range(CHUNKS)
            for marker in (
                picture.done[number] if number < finished else Removed(DONE, number),
                picture.to_do[number] if finished <= number < count else Removed(TO_DO, number),
            )
        ]
        return (*path, picture.energy, *picture.legend, *self._now(picture, moment, now_s))

    def _now(self, picture: JobPicture, moment: Moment | None, now_s: float) -> tuple[Marker, ...]:
        """The expected tool and the end of the job."""
        if moment is None:
            return Removed(TOOL, 0), Removed(ENDING, 0)
        frame, height_m = base_frame(self._profile.id), text_height_m(self._profile)
        ball = Solids(
            TOOL, 0, frame, Shape.BALL, np.array([moment.position_m]), (0.5 * height_m,) * 3, one_colour(WHITE)
        )
        left = left_s(picture.expectation, moment)
        name = picture.expectation.timeline.program.metadata.name or "program"
        text = Text(ENDING, 0, frame, above(self._profile, 2.5), f"{name}\n{ending_text(left, now_s)}", height_m, WHITE)
        return ball, text


def _empty() -> Scene:
    path = [Removed(kind, number) for number in range(CHUNKS) for kind in (DONE, TO_DO)]
    rest = ((ENERGY, 0), (LEGEND, 0), (LEGEND, 1), (TOOL, 0), (ENDING, 0))
    return (*path, *(Removed(kind, number) for kind, number in rest))


def above(profile: MachineProfile, lines: float) -> Vector:
    """A place for a text over the middle of the machine, as many lines above it."""
    x, y, z = profile.kinematics.axes()
    return (
        0.5 * (x.minimum + x.maximum), 0.5 * (y.minimum + y.maximum), z.maximum + lines * text_height_m(profile)
    )  # fmt: skip


def left_s(expectation: Expectation, moment: Moment) -> Estimate:
    """What is left of a job [s]: the rest of its simulated run, in proportion to the calibrated prediction."""
    timeline, index = expectation.timeline, moment.instruction
    if timeline.plan.duration_s[index] > 0.0:
        rest_s = max(0.0, float(timeline.plan.end_s[index]) - moment.clock_s)
    else:
        rest_s = max(0.0, float(timeline.duration_s[index]) - moment.in_hand_s)
    left = max(0.0, timeline.total_s - float(timeline.end_s[index])) + rest_s
    whole, total_s = expectation.prediction.time_s, timeline.total_s
    mean, low, high = (value / total_s if total_s > 0.0 else 1.0 for value in (whole.mean, whole.low, whole.high))
    return Estimate(left * mean, left * low, left * high)


def ending_text(left: Estimate, now_s: float) -> str:
    """When a job ends, as people read it."""
    at = time.strftime("%H:%M:%S", time.gmtime(now_s + left.mean))
    span = f"{duration_text(left.low)} to {duration_text(left.high)}"
    return f"ends at {at} UTC\nin {duration_text(left.mean)} ({span})"
