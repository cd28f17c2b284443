"""What is shown of a job: bounded, inside the program's box, coloured by joules, and cheap to change."""

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest

from industriverse_core.colours import ramp_rgb
from industriverse_core.frames import base_frame, body_transforms, slides_of, tool_frame
from industriverse_core.machine import load_machine, machine_names
from industriverse_core.material import load_material
from industriverse_core.program import COLUMNS, Metadata, Op, Program, build_program, normalise
from industriverse_core.scene import Lines, Removed, Solids, Text, changes, key_of
from twin_node.body.model import urdf
from twin_node.oracle import prediction_of
from twin_node.scene import CHUNKS, PATH_POINTS, VOXELS, JobView, ending_text, left_s, picture_of
from twin_node.timeline import build_timeline
from twin_node.twin import Expectation, Moment


def expected(program, profile, material):
    timeline = build_timeline(program, profile, material)
    return Expectation(timeline, material, prediction_of(timeline, profile, material))


@pytest.fixture(scope="module")
def expectation(program, printer, pla):
    return expected(program, printer, pla)


@pytest.fixture(scope="module")
def picture(expectation, printer):
    return picture_of(expectation, printer)


def moment(expectation, instruction):
    return Moment(instruction, float(expectation.timeline.plan.end_s[instruction]), 0.0, (0.05, 0.05, 0.001))


def by_kind(scene, namespace):
    return [marker for marker in scene if marker.namespace == namespace and not isinstance(marker, Removed)]


def large(count=300_000):
    """Layers of random walks: nothing can be made simpler without loss."""
    random = np.random.default_rng(5)
    columns = {name: np.zeros(count, dtype) for name, dtype in COLUMNS.items()}
    columns["op"][:] = Op.STRAIGHT_FEED
    columns["x_m"][:] = np.cumsum(random.choice([-1e-3, 1e-3], count)) % 0.2
    columns["y_m"][:] = np.cumsum(random.choice([-1e-3, 1e-3], count)) % 0.2
    columns["z_m"][:] = (1 + np.arange(count) // 1000) * 2e-4
    columns["feed_m_s"][:] = 0.05
    columns["extrude_m3"][:] = 5e-11
    return Program(normalise(columns), Metadata(layer_height_m=2e-4))


def test_the_path_lies_where_the_program_works(picture, program):
    points = np.vstack([lines.points_m for lines in picture.done])
    worked = program.positions_m()[program.extrude_m3 > 0.0]
    assert (points.min(axis=0) >= worked.min(axis=0) - 1e-9).all()
    assert (points.max(axis=0) <= worked.max(axis=0) + 1e-9).all()
    for done, to_do in zip(picture.done, picture.to_do, strict=True):
        assert done.points_m is to_do.points_m
        assert len(done.points_m) == len(done.colours) == len(to_do.colours)
        assert (done.colours[:, 3] > to_do.colours[:, 3]).all()


def test_a_large_program_stays_within_the_bounds(printer, pla):
    picture = picture_of(expected(large(), printer, pla), printer)
    assert sum(len(lines.points_m) for lines in picture.done) <= PATH_POINTS
    assert len(picture.done) == CHUNKS
    assert picture.layers_drawn > 1
    assert f"every {picture.layers_drawn}th layer" in picture.legend[1].text
    assert isinstance(picture.energy, Solids)
    assert len(picture.energy.centres_m) <= VOXELS


def test_more_joules_a_volume_are_lighter(printer, pla):
    """Three lines alike but for their speed: the slower, the more joules each mm^3 takes."""
    rows = [{"op": Op.STRAIGHT_FEED, "z_m": 2e-4, "feed_m_s": 0.1}]
    for line, feed_m_s in enumerate((0.1, 0.02, 0.005)):
        rows.append({"op": Op.STRAIGHT_TRAVERSE, "x_m": 0.0, "y_m": 0.01 * line, "feed_m_s": 0.1})
        rows.append({"op": Op.STRAIGHT_FEED, "x_m": 0.1, "feed_m_s": feed_m_s, "extrude_m3": 1e-8})
    picture = picture_of(expected(build_program(rows), printer, pla), printer)
    lines = sorted((part for part in picture.done), key=lambda part: part.points_m[0, 1])
    lightness = [float(part.colours[0, :3] @ [0.2126, 0.7152, 0.0722]) for part in lines]
    assert len(lightness) == 3
    assert lightness[0] < lightness[1] < lightness[2]


def test_voxels_come_hottest_first(picture, expectation):
    scale = {tuple(np.round(rgb).tolist()): value for value, rgb in enumerate(ramp_rgb(np.arange(255)))}
    shown = [scale[tuple(np.round(rgb * 255.0).tolist())] for rgb in picture.energy.colours[:, :3].astype(float)]
    assert shown == sorted(shown, reverse=True)
    assert shown[0] == 254
    low, high = picture.energy.centres_m.min(axis=0), picture.energy.centres_m.max(axis=0)
    assert ((low > -0.01) & (high < 0.21)).all()


def test_progress_changes_the_chunks_that_were_finished_and_nothing_else(picture, expectation, printer):
    view = JobView(printer)
    view.begin(picture)
    first, second = int(picture.last[9]) + 1, int(picture.last[11]) + 1
    before = view.scene(moment(expectation, first), 0.0)
    shown = {key_of(marker): marker for marker in before}
    assert len(shown) == len(before)
    assert len(by_kind(before, "done")) == 10
    assert len(by_kind(before, "to_do")) == len(picture.last) - 10
    changed = changes(shown, view.scene(moment(expectation, second), 1.0))
    lines = [marker for marker in changed if isinstance(marker, Lines)]
    assert [(marker.namespace, marker.number) for marker in lines] == [("done", 10), ("done", 11)]
    assert {key_of(marker) for marker in changed if isinstance(marker, Removed)} == {("to_do", 10), ("to_do", 11)}
    assert {marker.namespace for marker in changed} == {"done", "to_do", "expected_tool", "ending"}


def test_before_the_first_move_nothing_is_done_and_after_the_last_all(picture, expectation, printer):
    view = JobView(printer)
    view.begin(picture)
    assert by_kind(view.scene(moment(expectation, 0), 0.0), "done") == []
    last = len(expectation.timeline.program) - 1
    scene = view.scene(moment(expectation, last), 0.0)
    assert by_kind(scene, "to_do") == []
    after = view.scene(None, 1.0)  # the job is over, its picture stays
    assert by_kind(after, "done") == by_kind(scene, "done")
    assert by_kind(after, "ending") == by_kind(after, "expected_tool") == []


def test_a_new_job_takes_every_marker_of_the_old_one_away(picture, expectation, printer, pla):
    view = JobView(printer)
    keys = {key_of(marker) for marker in view.scene(None, 0.0)}
    view.begin(picture)
    assert {key_of(marker) for marker in view.scene(moment(expectation, 3), 0.0)} == keys
    still = build_program([{"op": Op.DWELL, "value": 1.0}])
    view.begin(picture_of(expected(still, printer, pla), printer))
    scene = view.scene(Moment(0, 0.0, 0.0, (0.0, 0.0, 0.0)), 0.0)
    assert {key_of(marker) for marker in scene} == keys
    assert by_kind(scene, "done") == by_kind(scene, "to_do") == []


def test_the_tool_is_where_the_plan_has_it(picture, expectation, printer):
    view = JobView(printer)
    view.begin(picture)
    (ball,) = by_kind(view.scene(Moment(9, 0.1, 0.0, (0.01, 0.02, 0.03)), 0.0), "expected_tool")
    assert ball.frame == base_frame(printer.id)
    assert ball.centres_m.tolist() == [[0.01, 0.02, 0.03]]


def test_what_is_left_goes_from_the_whole_prediction_to_nothing(expectation):
    timeline, whole = expectation.timeline, expectation.prediction.time_s
    start = left_s(expectation, Moment(0, 0.0, 0.0, (0.0, 0.0, 0.0)))
    assert start.mean == pytest.approx(whole.mean)
    assert (start.low, start.high) == (pytest.approx(whole.low), pytest.approx(whole.high))
    last = len(timeline.program) - 1
    end = left_s(expectation, Moment(last, timeline.plan.total_s, 1e9, (0.0, 0.0, 0.0)))
    assert end.mean == pytest.approx(0.0, abs=1e-6)
    waiting = next(n for n in range(last) if timeline.duration_s[n] > 10.0 and not timeline.plan.duration_s[n])
    early, late = (left_s(expectation, Moment(waiting, 0.0, waited, (0.0, 0.0, 0.0))).mean for waited in (0.0, 5.0))
    assert early - late == pytest.approx(5.0 * whole.mean / timeline.total_s)


def test_the_end_is_told_as_people_read_it(expectation):
    left = dataclasses.replace(expectation.prediction.time_s, mean=125.0, low=100.0, high=150.0)
    assert ending_text(left, 0.0) == "ends at 00:02:05 UTC\nin 2 min 05 s (1 min 40 s to 2 min 30 s)"


def test_a_path_that_reaches_too_far_for_voxels_is_drawn_all_the_same(printer, pla):
    far = {"op": Op.STRAIGHT_FEED, "x_m": 2000.0, "feed_m_s": 0.1, "extrude_m3": 1e-9}
    near = {"op": Op.STRAIGHT_FEED, "x_m": 0.1, "feed_m_s": 0.1, "extrude_m3": 1e-9}
    picture = picture_of(expected(build_program([near, far]), printer, pla), printer)
    assert picture.energy == Removed("energy", 0)
    assert sum(len(lines.points_m) for lines in picture.done) == 2


def test_a_mill_is_coloured_by_joules_along_its_path():
    mill, metal = load_machine("grbl_mill"), load_material("Al6061")
    rows = [{"op": Op.STRAIGHT_FEED, "x_m": 0.01 * n, "z_m": -1e-4 * (n % 3), "feed_m_s": 0.01} for n in range(9)]
    picture = picture_of(expected(build_program(rows), mill, metal), mill)
    assert "J/mm" in picture.legend[1].text
    assert "J/mm3" not in picture.legend[1].text
    assert all(math.isfinite(value) for lines in picture.done for value in lines.points_m.ravel())
    assert isinstance(picture.legend[1], Text)


@pytest.mark.parametrize("name", machine_names())
def test_the_links_of_every_body_lead_to_the_tool(name):
    profile = load_machine(name)
    links = body_transforms(profile.id, slides_of(urdf(profile)), (0.01, 0.02, 0.03))
    assert (links[0].parent, links[-1].child) == (base_frame(profile.id), tool_frame(profile.id))
    assert all(before.child == after.parent for before, after in pairwise(links))
    assert np.sum([each.pose.position_m for each in links], axis=0) == pytest.approx([0.01, 0.02, 0.03])
