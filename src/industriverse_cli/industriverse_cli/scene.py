"""show --scene: the picture of a program on its machine that twin and shield send to rviz."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from industriverse_cli.options import Case, named_for, writing

if TYPE_CHECKING:
    from industriverse_core.scene import Scene


def write_scene(case: Case, done: float, now_s: float, output: Path, source: Path) -> None:
    """Write the picture as SVG: the job at a share (0..1) of its moves, as if that were now [s since
    1970]. Raises InputError, PredictionError."""
    from industriverse_cli.scene_svg import svg_of
    from industriverse_core.files import replace_file
    from industriverse_core.frames import CELL, Pose, base_frame

    named_for(output, (".svg",), source)
    picture = svg_of(scene_of(case, done, now_s), {CELL: Pose(), base_frame(case.profile.id): Pose()})
    with writing(output):
        replace_file(output, picture.encode())


def scene_of(case: Case, done: float, now_s: float) -> Scene:
    """What twin and shield show of a job at a share (0..1) of its moves. Raises PredictionError."""
    from industriverse_core.motion import position_at
    from shield_node.scene import fixed_scene
    from twin_node.oracle import prediction_of
    from twin_node.scene import JobView, picture_of
    from twin_node.timeline import build_timeline
    from twin_node.twin import Expectation, Moment

    timeline = build_timeline(case.program, case.profile, case.material)
    expectation = Expectation(timeline, case.material, prediction_of(timeline, case.profile, case.material))
    view = JobView(case.profile)
    view.begin(picture_of(expectation, case.profile))
    moment = None
    if len(case.program):
        clock_s = done * timeline.plan.total_s
        state = position_at(timeline.plan, case.program, clock_s)
        moment = Moment(state.instruction, clock_s, 0.0, state.position_m)
    return (*fixed_scene(case.profile), *view.scene(moment, now_s))
