"""serve: opens side doors to a running cell for software that does not speak ROS."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated

import typer

from industriverse_cli.ros import ros_module

NODE = "machine_node.doors.node"


def serve(
    cell: Annotated[str, typer.Argument(metavar="[CELL]", help="Which cell.", show_default=True)] = "demo",
    opcua: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="OPC UA; usual: 4840.")] = 0,
    mtconnect: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="MTConnect; usual: 5000.")] = 0,
    foxglove: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="Foxglove; usual: 8765.")] = 0,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    machine: Annotated[
        str, typer.Option(metavar="NAME", help="Machine profile. Default: the cell's machine.", show_default=False)
    ] = "",
    opcua_nodesets: Annotated[
        str, typer.Option(metavar="FOLDER", help="OPC Foundation's nodesets, for the official types.")
    ] = "",
    opcua_password_file: Annotated[
        str, typer.Option(metavar="FILE", help="Password that OPC UA clients need; required off loopback.")
    ] = "",
) -> None:
    """Show a running cell to other software: OPC UA, MTConnect, Foxglove. Reads only; nothing moves through it.

    Without a port, all three doors are opened at their usual ports. Prints where each can be reached, and serves
    until Ctrl-C. OPC UA and Foxglove need their libraries; MTConnect needs none.

    Example: industriverse serve --mtconnect 5000

    Example: industriverse serve demo --opcua 4840 --foxglove 8765
    """
    from industriverse_core.store import CellPaths, RunningCell, cell_directory

    running = RunningCell.find(cell)
    ros_module("rclpy")
    if not (opcua or mtconnect or foxglove):
        from machine_node.doors.opening import FOXGLOVE_PORT, MTCONNECT_PORT, OPCUA_PORT

        opcua, mtconnect, foxglove = OPCUA_PORT, MTCONNECT_PORT, FOXGLOVE_PORT
    parameters = {
        "machine": machine or running.machine,
        "cell_dir": str(CellPaths(cell_directory(cell)).directory),
        "host": host,
        "opcua_port": opcua,
        "mtconnect_port": mtconnect,
        "foxglove_port": foxglove,
        "opcua_nodesets": opcua_nodesets,
        "opcua_password_file": opcua_password_file,
    }
    command = [sys.executable, "-m", NODE, "--ros-args", "-r", f"__ns:=/{running.namespace}"]
    command += ["-r", f"__node:=serve_{os.getpid()}"]
    for name, value in parameters.items():
        command += ["-p", f"{name}:={json.dumps(value)}"]  # quoted as YAML, so that a path never becomes a number
    environment = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", **os.environ}
    # this process becomes the node: Ctrl-C and the exit status are the node's
    os.execve(sys.executable, command, environment | {"ROS_DOMAIN_ID": str(running.domain_id)})
