"""The launch file starts what `./cell up` starts. Runs with ROS's launch where it is, else with stand-ins for it."""

import importlib.util
import sys
import types
from pathlib import Path

import pytest

from industriverse_bringup.description import load_cell, processes
from industriverse_bringup.rviz import rviz_file

LAUNCH_FILE = Path(__file__).parents[1] / "launch" / "cell.launch.py"


class _Recorded:
    """Stands for any class of launch: keeps what it was made with."""

    def __init__(self, *arguments, **options):
        self.arguments, self.options = arguments, options


class LaunchConfiguration(_Recorded):
    def perform(self, context):
        return context[self.arguments[0]]


@pytest.fixture
def launch_file(monkeypatch):
    """The launch file as a module, over stand-ins that record what it makes."""
    kinds = {
        "launch": ["LaunchDescription"],
        "launch.actions": [
            "DeclareLaunchArgument",
            "ExecuteProcess",
            "LogInfo",
            "OpaqueFunction",
            "RegisterEventHandler",
        ],
        "launch.substitutions": [],
        "launch.event_handlers": ["OnShutdown"],
        "launch_ros": [],
        "launch_ros.actions": ["Node"],
    }
    for name, classes in kinds.items():
        module = types.ModuleType(name)
        for kind in classes:
            setattr(module, kind, type(kind, (_Recorded,), {}))
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["launch.substitutions"].LaunchConfiguration = LaunchConfiguration
    spec = importlib.util.spec_from_file_location("cell_launch", LAUNCH_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def actions_of(launch_file, **arguments):
    """What the launch file starts for the demonstration cell."""
    entities = launch_file.generate_launch_description().arguments[0]
    declared = {item.arguments[0] for item in entities if type(item).__name__ == "DeclareLaunchArgument"}
    given = {"cell": "demo", "speed": "3", **arguments}
    assert declared == set(given)
    function = next(item for item in entities if type(item).__name__ == "OpaqueFunction").options["function"]
    return function(given)


@pytest.mark.parametrize("installed", [True, False])
def test_rviz_looks_at_the_cell_where_it_is_installed(launch_file, tmp_path, monkeypatch, installed):
    monkeypatch.setenv("INDUSTRIVERSE_HOME", str(tmp_path))
    monkeypatch.setattr("industriverse_bringup.rviz.is_installed", lambda: installed)
    last = actions_of(launch_file, rviz="true")[-1]
    if not installed:
        assert type(last).__name__ == "LogInfo"
        assert "ros-jazzy-rviz2" in last.options["msg"]
        return
    assert (last.options["package"], last.options["namespace"]) == ("rviz2", "demo")
    assert last.options["parameters"] == [{"use_sim_time": True}]
    assert "respawn" not in last.options
    assert Path(last.options["arguments"][1]).read_text() == rviz_file().read_text()


def test_it_starts_the_same_processes(launch_file, tmp_path, monkeypatch):
    monkeypatch.setenv("INDUSTRIVERSE_HOME", str(tmp_path))
    actions = actions_of(launch_file, rviz="false")
    nodes = {item.options["name"]: item.options for item in actions if type(item).__name__ == "Node"}
    others = [item.options["cmd"] for item in actions if type(item).__name__ == "ExecuteProcess"]
    expected = processes(load_cell("demo"), tmp_path / "demo", 3.0)
    assert set(nodes) == {item.name for item in expected if item.is_node}
    for item in expected:
        if item.is_node:
            options = nodes[item.name]
            assert (options["package"], options["executable"], options["namespace"]) == (
                item.package,
                item.executable,
                "demo",
            )
            assert options["parameters"] == [item.parameters]
            assert options["respawn"] is True
        else:
            assert [item.package, item.executable, *item.arguments] == others[0][2:]


def test_every_executable_is_installed():
    prefix = pytest.importorskip("ament_index_python.packages").get_package_prefix
    for item in processes(load_cell("demo"), Path("/data")):
        assert (Path(prefix(item.package)) / "lib" / item.package / item.executable).exists(), item.executable


def test_with_ros_launch_itself(tmp_path, monkeypatch):
    pytest.importorskip("launch_ros", reason="ROS's launch is not installed; the test above uses stand-ins")
    import launch

    monkeypatch.setenv("INDUSTRIVERSE_HOME", str(tmp_path))
    spec = importlib.util.spec_from_file_location("cell_launch", LAUNCH_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert isinstance(module.generate_launch_description(), launch.LaunchDescription)
