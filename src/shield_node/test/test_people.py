"""People around a machine: from sightings to what the machine may do; the cell description's safety part."""

import math

import pytest
import yaml

from industriverse_core.errors import CoreError, ErrorCode
from industriverse_core.machine import load_machine
from industriverse_core.safety import Safety, base_pose, load_safety
from industriverse_core.threats import Cause, Level
from shield_node.people import MOST_POSITIONS, People, people_of
from shield_node.responses import CALM_S, RUN

SAFETY = {
    "place": ["2 m", "3 m"],
    "reach": "0.4 m",
    "sensors": [{"name": "floor_camera"}],
    "zones": [
        {"name": "door", "kind": "stop", "corners": [["9 m", "0 m"], ["10 m", "0 m"], ["10 m", "1 m"]]},
        {"name": "robot", "kind": "exclusion", "corners": [["7 m", "7 m"], ["8 m", "7 m"], ["8 m", "8 m"]]},
    ],
}
CAMERA = "floor_camera"


@pytest.fixture
def people():
    return People(Safety.model_validate({**SAFETY, "whole_space_seen": True}), full_speed_m_s=0.2)


def ask(people, *positions, now_s=0.0, uncertainty_m=0.05):
    people.observe(CAMERA, positions, uncertainty_m)
    return people.ask(now_s)


def test_nobody_asks_for_nothing(people):
    assert people.ask(0.0) == (RUN, None)
    assert ask(people) == (RUN, None)


def test_nearer_is_slower_then_a_hold_that_ends_by_itself(people):
    assert ask(people, (9.0, 3.0)) == (RUN, None)
    slow, why = ask(people, (4.1, 3.0))
    assert (slow.level, slow.code, why.cause) == (Level.REDUCED, ErrorCode.PERSON_NEAR, Cause.OPERATOR_DANGER)
    assert 0.0 < slow.speed_scale < 1.0
    assert slow.speed_scale * 20 == pytest.approx(round(slow.speed_scale * 20))
    hold, why = ask(people, (2.5, 3.0), (9.0, 3.0))
    assert (hold.level, hold.waits, why.probability) == (Level.HOLD, True, 1.0)
    assert "0.50 m" in hold.message
    assert why.evidence[0].value == pytest.approx(0.5)
    later, _ = ask(people, (9.0, 3.0), now_s=CALM_S / 2)
    assert later.level is Level.HOLD, "not before the calm"
    assert ask(people, (9.0, 3.0), now_s=2 * CALM_S) == (RUN, None)


def test_a_hold_ends_by_itself_only_where_the_whole_space_is_seen():
    people = People(Safety.model_validate(SAFETY), 0.2)
    assert not ask(people, (2.0, 3.0))[0].waits


def test_zones_hold_or_latch(people):
    assert ask(people, (9.9, 0.5))[0].level is Level.HOLD
    stop, why = ask(people, (7.9, 7.5))
    assert (stop.level, why.severity) == (Level.STOP1, 1.0)
    assert "robot" in stop.message


@pytest.mark.parametrize("uncertainty_m", [0.2, math.nan, math.inf])
def test_a_sighting_less_certain_than_the_cell_allows_counts_as_somebody_at_the_machine(people, uncertainty_m):
    assert ask(people, uncertainty_m=uncertainty_m)[0].level is Level.HOLD


def test_a_full_sighting_may_lack_somebody(people):
    far = [(50.0, 50.0)] * MOST_POSITIONS
    assert ask(people, *far[:-1]) == (RUN, None)
    assert ask(people, *far)[0].level is Level.HOLD


def test_an_unknown_sensor_is_none_of_the_cell(people):
    with pytest.raises(KeyError):
        people.observe("stranger", (), 0.0)


def test_everybody_whom_any_sensor_sees_counts():
    two = {**SAFETY, "sensors": [{"name": "a"}, {"name": "b"}]}
    people = People(Safety.model_validate(two), 0.2)
    people.observe("a", [(2.0, 3.0)], 0.0)
    people.observe("b", [], 0.0)
    assert people.ask(0.0)[0].level is Level.HOLD


def test_the_shield_reads_the_section_and_passes_over_the_rest(tmp_path):
    path = tmp_path / "cell.yaml"
    path.write_text(yaml.safe_dump({"id": "demo", "title": "x", "safety": SAFETY}))
    safety = load_safety(path)
    assert safety.place == (2.0, 3.0)
    assert people_of(safety, load_machine("prusa_mk3s")).limits_s == {CAMERA: 0.3}
    path.write_text("id: demo\n")
    assert people_of(load_safety(path), load_machine("prusa_mk3s")) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"separation": {"reaction": "300 ms"}}, "0.7 s"),
        ({"sensors": [{"name": "a"}, {"name": "a"}]}, "same name"),
        ({"sensors": []}, "sensors"),
        ({"zones": [{"name": "z", "kind": "stop", "corners": [["0 m", "0 m"]]}]}, "corners"),
        ({"reach": 0.4}, "unit"),
    ],
)
def test_a_wrong_section_is_a_sentence(tmp_path, change, words):
    path = tmp_path / "cell.yaml"
    path.write_text(yaml.safe_dump({"safety": {**SAFETY, **change}}))
    with pytest.raises(CoreError, match=words) as error:
        load_safety(path)
    assert error.value.code is ErrorCode.BAD_CELL


def test_the_machines_base_lies_so_that_its_middle_is_at_its_place():
    profile = load_machine("prusa_mk3s")
    pose = base_pose(Safety.model_validate(SAFETY), profile)
    x, y, _ = profile.kinematics.axes()
    middle = (0.5 * (x.minimum + x.maximum), 0.5 * (y.minimum + y.maximum), 0.0)
    assert pose.applied_to(middle) == pytest.approx((2.0, 3.0, 0.0))
    assert base_pose(None, profile).position_m == (0.0, 0.0, 0.0)
