"""model: a machine profile as MJCF and URDF."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from industriverse_cli.options import Json, writing
from industriverse_cli.output import console, facts, print_json

MachineName = Annotated[
    str,
    typer.Argument(metavar="MACHINE", help="Machine profile: a name, or the path of a YAML file.", show_default=False),
]
Mjcf = Annotated[
    Path | None, typer.Option("--mjcf", metavar="OUT.xml", help="MuJoCo's file to write.", show_default=False)
]
Urdf = Annotated[
    Path | None, typer.Option("--urdf", metavar="OUT.urdf", help="URDF file to write.", show_default=False)
]


def model(machine: MachineName, mjcf: Mjcf = None, urdf: Urdf = None, json: Json = False) -> None:
    """Write the model of a machine: bodies, frames, joints, masses, motors, and what the tool must not touch.

    MuJoCo has loaded what is written. Files that are there are replaced.

    Example: industriverse model prusa_mk3s --mjcf prusa.xml --urdf prusa.urdf
    """
    from industriverse_core.errors import ErrorCode, InputError
    from industriverse_core.machine import load_machine
    from twin_node.body import model as models
    from twin_node.body.body import INTEGRATOR, STEP_S, load_model

    outputs = ((mjcf, "--mjcf", (".xml", ".mjcf")), (urdf, "--urdf", (".urdf",)))
    if mjcf is None and urdf is None:
        raise InputError(ErrorCode.USAGE, "nothing to write.", "Name a file with --mjcf, --urdf, or both.")
    for path, option, endings in outputs:
        if path is not None and path.suffix.lower() not in endings:
            raise InputError(
                ErrorCode.USAGE, f"{option} {path}: what shall it be?", f"Name a file that ends in {endings[0]}."
            )
    profile = load_machine(machine)
    texts = (models.mjcf(profile, STEP_S, INTEGRATOR), models.urdf(profile))
    for (path, _, _), text in zip(outputs, texts, strict=True):
        if path is not None:
            load_model(profile, text)
            with writing(path):
                path.write_text(text, encoding="utf-8")
    named = {"mjcf": mjcf, "urdf": urdf}
    rows = {kind: str(path) for kind, path in named.items() if path is not None}
    joints = [f"{profile.id}_{axis}" for axis in "xyz"]
    structure = profile.kinematics.structure
    if json:
        print_json({"machine": profile.id, "structure": structure, "joints": joints, "files": rows})
    else:
        rows |= {"structure": structure.replace("_", " "), "joints": ", ".join(joints)}
        console().print(facts(rows))
