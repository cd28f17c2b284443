"""The description, and the one function that both launchers use."""

from pathlib import Path

import pytest
import yaml

from industriverse_bringup.description import CellDescription, cell_names, load_cell, processes
from industriverse_bringup.supervisor import command_line
from industriverse_core.errors import CoreError, ErrorCode, ProfileError

REAL = """
id: lathe
title: A cell with a real printer
machine: {profile: prusa_mk3s, port: /dev/ttyACM0}
"""


def test_the_demonstration_ships():
    assert "demo" in cell_names()


def test_the_demonstration_has_every_room_and_one_clock():
    items = {item.name: item for item in processes(load_cell("demo"), Path("/data"), speed=3.0)}
    assert list(items) == ["virtual_machine", "shield", "twin", "intent", "conductor", "machine", "hub"]
    assert "--ros-clock" in items["virtual_machine"].arguments
    assert items["machine"].parameters["time_scale"] == 3.0
    assert items["machine"].parameters["port"] in items["virtual_machine"].arguments
    sensor = items["virtual_machine"].arguments[items["virtual_machine"].arguments.index("--accelerometer-link") + 1]
    assert items["hub"].parameters["accelerometers"] == f"prusa_mk3s={sensor}"
    nodes = [item for item in items.values() if item.is_node]
    assert all(item.parameters["use_sim_time"] is True for item in nodes)
    assert all(item.parameters["cell_dir"] == "/data" for item in nodes)
    assert [item.name for item in items.values() if not item.essential] == ["hub"]


def test_a_mills_blank_reaches_gates_twin_and_virtual_machine():
    path = Path(__file__).parents[1] / "config" / "cells" / "mill.yaml"
    cell = load_cell(str(path))
    items = {item.name: item for item in processes(cell, Path("/data"))}
    assert cell.machine.stock == "0,0,-2,60,40,0"
    assert f"--stock={cell.machine.stock}" in items["virtual_machine"].arguments
    assert items["shield"].parameters["stock"] == items["twin"].parameters["stock"] == cell.machine.stock
    wrong = cell.model_copy(update={"machine": cell.machine.model_copy(update={"stock": "0,0,0,1,1"})})
    with pytest.raises(CoreError, match=r"machine\.stock: '0,0,0,1,1' is no box"):
        processes(wrong, Path("/data"))


def test_a_real_machine_runs_in_real_time_without_a_virtual_one(tmp_path):
    path = tmp_path / "real.yaml"
    path.write_text(REAL)
    items = {item.name: item for item in processes(load_cell(str(path)), tmp_path, speed=10.0)}
    assert "virtual_machine" not in items
    assert items["machine"].parameters["time_scale"] == 1.0
    assert items["machine"].parameters["use_sim_time"] is False
    assert items["hub"].parameters["accelerometers"] == ""


def test_a_sensor_of_the_cell_reaches_the_hub(tmp_path):
    path = tmp_path / "real.yaml"
    path.write_text(REAL.replace("/dev/ttyACM0", "/dev/ttyACM0, accelerometer_port: /dev/ttyUSB3"))
    items = {item.name: item for item in processes(load_cell(str(path)), tmp_path)}
    assert items["hub"].parameters["accelerometers"] == "prusa_mk3s=/dev/ttyUSB3"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("port:", "prt:"), "machine.prt: unknown key"),
        (("port: /dev/ttyACM0", "port: ''"), "needs either 'virtual' or 'port'"),
        (("id: lathe", "id: Lathe 1"), "id:"),
        (("machine:", "mashine:"), "unknown key"),
        (("id:", "id:\n  - ["), "not valid YAML"),
    ],
)
def test_a_wrong_description_is_one_sentence_with_the_place(tmp_path, change, words):
    path = tmp_path / "cell.yaml"
    path.write_text(REAL.replace(*change))
    with pytest.raises(CoreError, match=words) as error:
        load_cell(str(path))
    assert error.value.code is ErrorCode.BAD_CELL
    assert str(path) in error.value.message


def test_an_unknown_profile_is_said_before_anything_starts(tmp_path):
    path = tmp_path / "cell.yaml"
    path.write_text(REAL.replace("prusa_mk3s", "prusa_mk9"))
    with pytest.raises(CoreError, match="unknown machine 'prusa_mk9'"):
        processes(load_cell(str(path)), tmp_path)


def test_parameters_reach_ros_with_their_types():
    items = {item.name: item for item in processes(load_cell("demo"), Path("/data/007"))}
    command = command_line(items["machine"], "demo")
    assert "__ns:=/demo" in command
    assert 'cell_dir:="/data/007"' in command
    assert "use_sim_time:=true" in command


def test_side_doors_are_opened_where_the_description_has_them_and_nowhere_else(tmp_path):
    path = tmp_path / "real.yaml"
    path.write_text(REAL + "doors: {mtconnect_port: 5000, opcua_port: 4840}\n")
    items = {item.name: item for item in processes(load_cell(str(path)), tmp_path)}
    doors = items["doors"]
    assert (doors.parameters["mtconnect_port"], doors.parameters["foxglove_port"]) == (5000, 0)
    assert doors.parameters["host"] == "127.0.0.1"
    assert not doors.essential
    assert "doors" not in {item.name for item in processes(load_cell("demo"), tmp_path)}


@pytest.mark.parametrize("doors", ["{}", "{mtconnect_port: 70000}", "{telnet_port: 23}"])
def test_side_doors_that_make_no_sense_are_refused(tmp_path, doors):
    path = tmp_path / "real.yaml"
    path.write_text(REAL + f"doors: {doors}\n")
    with pytest.raises(CoreError) as refused:
        load_cell(str(path))
    assert refused.value.code is ErrorCode.BAD_CELL


def test_the_shield_reads_people_from_the_description_itself(tmp_path):
    path = tmp_path / "watched.yaml"
    demo = yaml.safe_load((Path(__file__).parents[1] / "config" / "cells" / "demo.yaml").read_text())
    demo["safety"] = {"place": ["0 m", "0 m"], "reach": "0.4 m", "sensors": [{"name": "floor_camera"}]}
    demo["machine"]["virtual"]["control"] = "/tmp/faults.sock"
    path.write_text(yaml.safe_dump(demo))
    cell = load_cell(str(path))
    items = {item.name: item for item in processes(cell, tmp_path)}
    assert items["shield"].parameters["cell_file"] == str(path)
    assert items["virtual_machine"].arguments[-2:] == ("--control", "/tmp/faults.sock")
    plain = {item.name: item for item in processes(load_cell("demo"), tmp_path)}
    assert plain["shield"].parameters["cell_file"] == ""
    assert "--control" not in plain["virtual_machine"].arguments
    with pytest.raises(ProfileError, match="not read from a file"):
        processes(CellDescription.model_validate(demo), tmp_path)
