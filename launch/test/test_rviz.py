"""The rviz configuration: readable, complete, and with the names that the nodes use."""

import pytest
import yaml

from industriverse_bringup.description import cell_names, load_cell
from industriverse_bringup.rviz import config_for, rviz_file, write_config
from industriverse_core.frames import CELL
from industriverse_core.machine import load_machine
from industriverse_ros import names
from shield_node import scene as shield
from twin_node import scene as twin

TRANSIENT = {"Durability Policy": "Transient Local", "Reliability Policy": "Reliable", "History Policy": "Keep Last"}


def manager(text):
    return yaml.safe_load(text)["Visualization Manager"]


def display(text, kind):
    (found,) = [each for each in manager(text)["Displays"] if each["Class"] == f"rviz_default_plugins/{kind}"]
    assert found["Enabled"] is True
    return found


@pytest.fixture
def shipped():
    return rviz_file().read_text()


def test_it_stands_on_the_cells_floor_and_shows_grid_frames_body_and_markers(shipped):
    assert manager(shipped)["Global Options"]["Fixed Frame"] == CELL
    kinds = [each["Class"].partition("/")[2] for each in manager(shipped)["Displays"]]
    assert kinds == ["Grid", "TF", "RobotModel", "MarkerArray"]


@pytest.mark.parametrize("cell", cell_names())
def test_the_topics_are_those_of_the_nodes(shipped, tmp_path, cell):
    description = load_cell(cell)
    machine = load_machine(description.machine.profile).id
    text = write_config(description.id, machine, tmp_path).read_text()
    body, markers = display(text, "RobotModel")["Description Topic"], display(text, "MarkerArray")["Topic"]
    assert body["Value"] == f"/{description.id}/{names.robot_description(machine)}"
    assert markers["Value"] == f"/{description.id}/{names.markers(machine)}"
    for topic in (body, markers):  # as qos.STATE offers
        assert {name: topic[name] for name in TRANSIENT} == TRANSIENT


def test_every_namespace_of_twin_and_shield_can_be_switched(shipped):
    shown = {
        twin.DONE, twin.TO_DO, twin.ENERGY, twin.TOOL, twin.ENDING, twin.LEGEND,
        shield.WORK_VOLUME, shield.KEEP_OUT, shield.ZONES, shield.PEOPLE, shield.DISTANCE, shield.STATE,
    }  # fmt: skip
    namespaces = display(shipped, "MarkerArray")["Namespaces"]
    assert set(namespaces) == shown
    assert [name for name, on in namespaces.items() if not on] == [twin.ENERGY]  # it would hide the path


def test_nothing_of_the_demonstration_is_left_in_another_cells_topics(shipped):
    text = config_for(shipped, "hall_2", "voron")
    values = [topic["Value"] for each in manager(text)["Displays"] for name, topic in each.items() if "Topic" in name]
    assert values == ["/hall_2/voron/robot_description", "/hall_2/voron/markers"]
