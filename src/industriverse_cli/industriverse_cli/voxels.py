"""voxels: where in the part each joule is spent, as an HDF5 file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from industriverse_cli.options import File, Json, Machine, MaterialName, load_case, named_for
from industriverse_cli.output import console, facts, print_json

if TYPE_CHECKING:
    from twin_node.voxels import EnergyVoxels

VoxelWidth = Annotated[
    float | None,
    typer.Option("--voxel", metavar="MM", help="Voxels' width in x and y. Default: 1 mm.", show_default=False),
]
VoxelHeight = Annotated[
    float | None,
    typer.Option(
        metavar="MM",
        help="Voxels' height. Default: the layer height where the file states it, else the width.",
        show_default=False,
    ),
]
Subsystems = Annotated[bool, typer.Option("--subsystems", help="Keep the joules of each consumer, too.")]


def voxels(
    file: File,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.h5", help="HDF5 file to write.")],
    machine: Machine = "prusa_mk3s",
    material: MaterialName = "",
    voxel: VoxelWidth = None,
    voxel_height: VoxelHeight = None,
    subsystems: Subsystems = False,
    json: Json = False,
) -> None:
    """Spread the predicted joules of one run over the volume in which they are spent. docs/voxels.md has the rules.

    The gates are not asked.

    Example: industriverse voxels part.gcode -o part.h5 --voxel 0.5
    """
    from twin_node.timeline import build_timeline
    from twin_node.voxel_file import write_voxels
    from twin_node.voxels import energy_voxels, voxel_edges_m

    named_for(output, (".h5", ".hdf5"), file)
    case = load_case(file, machine, material)
    timeline = build_timeline(case.program, case.profile, case.material)
    edges_m = voxel_edges_m(case.program, metres(voxel), metres(voxel_height))
    found = energy_voxels(timeline, case.profile, case.material, edges_m, subsystems)
    write_voxels(found, output)
    if json:
        print_json(_json(found, output))
    else:
        _print(found, output)


def metres(millimetres: float | None) -> float | None:
    """A length from the command line in metres; None stays None."""
    return None if millimetres is None else millimetres * 1e-3


def _json(found: EnergyVoxels, output: Path) -> dict[str, object]:
    return {
        "file": str(output),
        "file_bytes": output.stat().st_size,
        "voxels": len(found),
        "voxel_size_m": found.edge_m,
        "box_m": found.box_m if len(found) else None,
        "total_j": found.total_j,
        "motion_j": found.motion_j,
        "energy_by_subsystem_j": {
            part.name.lower(): float(energy.sum()) for part, energy in found.energy_by_subsystem_j.items()
        },
        "program_digest": found.program_digest,
        "machine": found.machine_id,
        "material": found.material,
    }


def _print(found: EnergyVoxels, output: Path) -> None:
    from industriverse_core.units import energy_text

    size = " x ".join(f"{edge * 1e3:g}" for edge in found.edge_m)
    rows = {
        "file": f"{output}, {output.stat().st_size / 1e3:.0f} kB",
        "voxels": f"{len(found):,} of {size} mm".replace(",", " "),
        "energy": f"{energy_text(found.total_j)}, {energy_text(found.motion_j)} of it while the tool was in the voxel",
    }
    if len(found):
        low, high = found.box_m
        sides = (f"{name} {a * 1e3:g} to {b * 1e3:g}" for name, a, b in zip("XYZ", low, high, strict=True))
        rows["box"] = f"{', '.join(sides)} mm"
        hottest = int(found.energy_j.argmax())
        middle = ((found.index[hottest] + 0.5) * found.edge_m * 1e3).tolist()
        place = ", ".join(f"{name} {value:.2f}" for name, value in zip("XYZ", middle, strict=True))
        rows["most"] = f"{energy_text(float(found.energy_j[hottest]))} at {place} mm"
    rows |= {part.name.lower(): energy_text(float(each.sum())) for part, each in found.energy_by_subsystem_j.items()}
    console().print(facts(rows))
