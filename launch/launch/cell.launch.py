"""Start a cell: ros2 launch industriverse_bringup cell.launch.py cell:=demo [speed:=1]."""

from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from industriverse_bringup.description import load_cell, processes
from industriverse_core.store import cell_directory
from launch import LaunchDescription


def _actions(context):
    cell = load_cell(LaunchConfiguration("cell").perform(context))
    speed = LaunchConfiguration("speed").perform(context)
    cell_dir = cell_directory(cell.id)
    (cell_dir / "run").mkdir(parents=True, exist_ok=True)
    return [
        Node(
            package=item.package,
            executable=item.executable,
            name=item.name,
            namespace=cell.id,
            parameters=[item.parameters],
            respawn=True,
            respawn_delay=1.0,
        )
        if item.is_node
        else ExecuteProcess(cmd=["ros2", "run", item.package, item.executable, *item.arguments])
        for item in processes(cell, cell_dir, float(speed) if speed else None)
    ]


def generate_launch_description():
    """Called by ros2 launch."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("cell", default_value="demo", description="name or YAML path of the cell"),
            DeclareLaunchArgument("speed", default_value="", description="speed of a virtual machine"),
            OpaqueFunction(function=_actions),
        ]
    )
