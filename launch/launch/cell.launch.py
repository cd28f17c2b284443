"""Start a cell: ros2 launch industriverse_bringup cell.launch.py cell:=demo [speed:=1]."""

import os

from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnShutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from industriverse_bringup.description import load_cell, processes
from industriverse_core.machine import load_machine
from industriverse_core.store import CellPaths, RunningCell, cell_directory
from launch import LaunchDescription


def _actions(context):
    cell = load_cell(LaunchConfiguration("cell").perform(context))
    speed = LaunchConfiguration("speed").perform(context)
    cell_dir = cell_directory(cell.id)
    RunningCell.refuse_second(cell.id)
    CellPaths(cell_dir).run.mkdir(parents=True, exist_ok=True)
    started = [_action(item, cell.id) for item in processes(cell, cell_dir, float(speed) if speed else None)]
    return [_note(cell), *started]


def _action(item, namespace):
    if not item.is_node:
        return ExecuteProcess(cmd=["ros2", "run", item.package, item.executable, *item.arguments])
    return Node(
        package=item.package,
        executable=item.executable,
        name=item.name,
        namespace=namespace,
        parameters=[item.parameters],
        respawn=True,
        respawn_delay=1.0,
    )


def _note(cell):
    """Leave the note by which the command line finds the cell; the action takes it away at the end."""
    domain_id = int(os.environ.get("ROS_DOMAIN_ID") or 0)
    running = RunningCell(cell.id, cell.id, domain_id, os.getpid(), load_machine(cell.machine.profile).id)
    running.write()
    return RegisterEventHandler(OnShutdown(on_shutdown=lambda event, context: running.remove()))


def generate_launch_description():
    """Called by ros2 launch."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("cell", default_value="demo", description="name or YAML path of the cell"),
            DeclareLaunchArgument("speed", default_value="", description="speed of a virtual machine"),
            OpaqueFunction(function=_actions),
        ]
    )
