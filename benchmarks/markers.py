"""What the twin's picture costs for a print of 27 MB of G-code (see gates.py): drawn once, shown, changed.

CPU time of one process, loops warm. "as message objects" is what the same markers take when they are made of message
objects and serialised by rclpy, which holds the interpreter's lock all the while.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from rclpy.serialization import deserialize_message, serialize_message
from visualization_msgs.msg import MarkerArray

from benchmarks.gates import large_program
from industriverse_core.machine import load_machine
from industriverse_core.material import load_material
from industriverse_core.scene import changes, key_of
from industriverse_ros.convert_markers import scene_to_cdr
from twin_node.oracle import prediction_of
from twin_node.scene import JobView, picture_of
from twin_node.timeline import build_timeline
from twin_node.twin import Expectation, Moment

ROUNDS = 5
Result = TypeVar("Result")


def run() -> Iterator[dict]:
    program, profile, material = large_program(), load_machine("prusa_mk3s"), load_material("ABS")
    timeline = build_timeline(program, profile, material)
    timeline.prepare_to_follow()
    expectation = Expectation(timeline, material, prediction_of(timeline, profile, material))
    yield {"metric": "instructions", "value": len(program), "unit": "1"}
    first_s, picture = _timed(lambda: picture_of(expectation, profile), rounds=1)
    again_s, _ = _timed(lambda: picture_of(expectation, profile))
    yield {"metric": "picture, first time (joules of each instruction too)", "value": _ms(first_s), "unit": "ms"}
    yield {"metric": "picture, again", "value": _ms(again_s), "unit": "ms"}
    yield {"metric": "points of the path", "value": sum(len(each.points_m) for each in picture.done), "unit": "1"}
    yield {"metric": "every n-th layer is drawn", "value": picture.layers_drawn, "unit": "1"}
    view = JobView(profile)
    view.begin(picture)
    half, later = (Moment(int(picture.last[at]) + 1, 0.0, 0.0, (0.0, 0.0, 0.0)) for at in (50, 51))
    scene_s, scene = _timed(lambda: view.scene(half, 0.0))
    whole_s, message = _timed(lambda: scene_to_cdr(scene))
    yield {"metric": "scene", "value": _ms(scene_s), "unit": "ms"}
    yield {"metric": "whole scene as bytes", "value": _ms(whole_s), "unit": "ms", "bytes": len(message)}
    shown = {key_of(marker): marker for marker in scene}
    changed = changes(shown, view.scene(later, 1.0))
    change_s, message = _timed(lambda: scene_to_cdr(changed))
    yield {"metric": "one chunk done, as bytes", "value": _ms(change_s), "unit": "ms", "bytes": len(message)}
    objects = deserialize_message(scene_to_cdr(scene), MarkerArray)
    object_s, _ = _timed(lambda: serialize_message(objects))
    yield {"metric": "whole scene, serialised from message objects", "value": _ms(object_s), "unit": "ms"}


def _timed(work: Callable[[], Result], rounds: int = ROUNDS) -> tuple[float, Result]:
    """The fastest of some rounds [s of CPU time], and what the last one gave."""
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        result = work()
        best = min(best, time.process_time() - started)
    return best, result


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 2)
