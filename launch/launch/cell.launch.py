"""Start a cell: ros2 launch industriverse_bringup cell.launch.py cell:=demo [speed:=1] [rviz:=true]."""

import os

from launch.actions import DeclareLaunchArgument, ExecuteProcess, LogInfo, OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnShutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from industriverse_bringup import rviz
from industriverse_bringup.description import load_cell, processes
from industriverse_core.machine import load_machine
from industriverse_core.store import CellPaths, RunningCell, cell_directory, sole_owner
from launch import LaunchDescription


def _actions(context):
    cell = load_cell(LaunchConfiguration("cell").perform(context))
    speed = LaunchConfiguration("speed").perform(context)
    cell_dir = cell_directory(cell.id)
    held = sole_owner(CellPaths(cell_dir))
    held.__enter__()  # until the launch process ends
    started = [_action(item, cell.id) for item in processes(cell, cell_dir, float(speed) if speed else None)]
    looking = LaunchConfiguration("rviz").perform(context).lower() == "true"
    return [_note(cell, held), *started, *([_rviz(cell, cell_dir)] if looking else [])]


def _rviz(cell, cell_dir):
    """rviz2 with the cell's configuration; its end ends nothing else."""
    if not rviz.is_installed():
        return LogInfo(msg="rviz2 is not installed: sudo apt-get install ros-jazzy-rviz2")
    config = rviz.write_config(cell.id, load_machine(cell.machine.profile).id, cell_dir)
    return Node(
        package="rviz2",
        executable="rviz2",
        name="rviz",
        namespace=cell.id,
        arguments=["-d", str(config)],
        parameters=[{"use_sim_time": cell.machine.virtual is not None}],
    )


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


def _note(cell, held):
    """Leave the note by which the command line finds the cell; the action takes it away at the end."""
    domain_id = int(os.environ.get("ROS_DOMAIN_ID") or 0)
    running = RunningCell(cell.id, cell.id, domain_id, os.getpid(), load_machine(cell.machine.profile).id)
    running.write()

    def end(event, context):
        running.remove()
        held.__exit__(None, None, None)

    return RegisterEventHandler(OnShutdown(on_shutdown=end))


def generate_launch_description():
    """Called by ros2 launch."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("cell", default_value="demo", description="name or YAML path of the cell"),
            DeclareLaunchArgument("speed", default_value="", description="speed of a virtual machine"),
            DeclareLaunchArgument("rviz", default_value="false", description="true = look at the cell with rviz2"),
            OpaqueFunction(function=_actions),
        ]
    )
