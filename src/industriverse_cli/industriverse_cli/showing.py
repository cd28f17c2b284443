"""show: what a program file contains."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from industriverse_cli.options import File, Json, ReaderMachine, load_case, read_for
from industriverse_cli.output import columns, console, facts, print_json

if TYPE_CHECKING:
    from industriverse_core.program import Program


def show(
    file: File,
    first: Annotated[int, typer.Option(min=0, max=10000, help="How many instructions to list.")] = 12,
    machine: ReaderMachine = "",
    scene: Annotated[
        Path | None,
        typer.Option(metavar="OUT.svg", help="Write the picture that rviz shows of it, too.", show_default=False),
    ] = None,
    done: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the moves that the picture has done.")] = 0.5,
    json: Json = False,
) -> None:
    """Show what a program is: where it comes from, how large it is, and its first instructions.

    The picture needs a machine: --machine, else prusa_mk3s.

    Example: industriverse show part.gcode --first 30 --scene part.svg
    """
    if scene is not None:
        from industriverse_cli.scene import write_scene
        from industriverse_core.machine import DEFAULT_MACHINE

        write_scene(load_case(file, machine or DEFAULT_MACHINE, ""), done, time.time(), scene, file)
    program = read_for(file, machine)
    size = file.stat().st_size
    if json:
        print_json(
            _summary(program, size) | {"instructions": [_row(program, index) for index in _range(program, first)]}
        )
    else:
        _print(program, size, first)


def _range(program: Program, first: int) -> range:
    return range(min(first, len(program)))


def _summary(program: Program, size: int) -> dict[str, Any]:
    import numpy as np

    from industriverse_core.program import Op
    from industriverse_core.units import filament_area_m2

    meta = program.metadata
    fed = program.extrude_m3[program.is_motion()].sum() / filament_area_m2(meta.filament_diameter_m)
    numbers, counts = np.unique(program.op, return_counts=True)
    known = {int(op): op.name.lower() for op in Op}
    return {
        "name": meta.name,
        "program_digest": program.digest,
        "dialect": meta.dialect,
        "generator": meta.generator,
        "machine": meta.machine,
        "material": meta.material,
        "file_bytes": size,
        "source_lines": meta.source_line_count,
        "instruction_count": len(program),
        "operations": {known.get(int(op), f"operation_{op}"): int(n) for op, n in zip(numbers, counts, strict=True)},
        "box_m": _box(program),
        "work_system": meta.work_system,
        "layer_height_m": meta.layer_height_m,
        "nozzle_diameter_m": meta.nozzle_diameter_m,
        "filament_m": max(0.0, float(fed)),
        "slicer_time_s": meta.slicer_time_s,
        "notes": dict(Counter(note.kind for note in program.notes)),
    }


def _box(program: Program) -> dict[str, list[float]] | None:
    """Smallest box round the end points of all moves; None when nothing moves to a finite point."""
    import numpy as np

    points = program.positions_m()[program.is_motion()]
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return None
    return {name: [points[:, axis].min(), points[:, axis].max()] for axis, name in enumerate("xyz")}


def _row(program: Program, index: int) -> dict[str, Any]:
    from industriverse_core.program import Op

    number = int(program.op[index])
    name = Op(number).name if number in list(Op) else f"OPERATION_{number}"
    columns = [column for column in program.columns if column not in ("op", "line")]
    return {
        "instruction": index,
        "line": int(program.line[index]),
        "op": name,
        **{column: program.columns[column][index] for column in columns},
    }


def _print(program: Program, size: int, first: int) -> None:
    from industriverse_core.units import duration_text

    out = console()
    summary = _summary(program, size)
    rows = {
        "name": summary["name"] or "-",
        "made by": summary["generator"] or "unknown",
        "for": ", ".join(text for text in (summary["machine"], summary["material"]) if text) or "not stated",
        "file": f"{_size_text(size)}, {summary['source_lines']} lines, {summary['instruction_count']} instructions",
        "operations": ", ".join(
            f"{count} {name.replace('_', ' ')}"
            for name, count in sorted(summary["operations"].items(), key=lambda item: -item[1])
        )
        or "none",
        "box": _box_text(summary["box_m"]),
        "digest": program.digest.hex(),
    }
    if summary["filament_m"] > 0:
        rows["filament"] = f"{summary['filament_m']:.3f} m, without what is pulled back at the end"
    if summary["slicer_time_s"] > 0:
        rows["slicer's time"] = duration_text(summary["slicer_time_s"])
    if summary["notes"]:
        rows["notes"] = ", ".join(f"{count} {kind}" for kind, count in summary["notes"].items())
    out.print(facts(rows))
    if first and len(program):
        out.print(_listing(program, first))


def _listing(program: Program, first: int) -> Any:
    from rich.text import Text

    table = columns(">#", ">line", "instruction", "X, Y, Z [mm], F [mm/s], filament [mm3]")
    motion = program.is_motion()
    for index in _range(program, first):
        row = _row(program, index)
        name = row["op"].lower().replace("_", " ")
        detail = _move_text(row) if motion[index] else _argument(row)
        table.add_row(str(index), str(row["line"] or ""), Text(name), Text(detail))
    return table


def _move_text(row: dict[str, Any]) -> str:
    from industriverse_core.units import MM, MM3

    point = " ".join(f"{axis.upper()}{row[f'{axis}_m'] / MM:8.3f}" for axis in "xyz")
    speed = f"F{row['feed_m_s'] / MM:6.1f}" if row["feed_m_s"] == row["feed_m_s"] else "rapid  "
    return f"{point} {speed}" + (f" E{row['extrude_m3'] / MM3:7.3f}" if row["extrude_m3"] else "")


def _argument(row: dict[str, Any]) -> str:
    """Target and value of an instruction that is no motion, as people read them."""
    from math import degrees

    from industriverse_core.program import Heater, Limit, Op
    from industriverse_core.units import MM, RPM

    value, target = row["value"], row["target"]
    operation = getattr(Op, row["op"], None)
    if operation in (Op.SET_HEATER, Op.WAIT_HEATER):
        return f"{_name(Heater, target)} {value:g} degC"
    if operation is Op.SET_LIMIT:
        name = _name(Limit, target)
        if target == Limit.MINIMUM_CRUISE_RATIO:
            return f"{name} {value:g}"
        unit = "mm" if name == "junction deviation" else "mm/s^2" if "acceleration" in name else "mm/s"
        return f"{name} {value / MM:g} {unit}"
    if operation in (Op.START_SPINDLE_CLOCKWISE, Op.START_SPINDLE_COUNTERCLOCKWISE):
        return f"{value / RPM:.0f} rpm"
    if operation is Op.ORIENT_SPINDLE:
        return f"{degrees(value):g} degrees"
    if operation in (Op.DWELL, Op.SET_PRESSURE_ADVANCE):
        return f"{value:g} s"
    if operation is Op.SET_FAN:
        return f"{value:.0%}"
    if operation is Op.HOME:
        return " ".join(name for bit, name in enumerate("XYZ") if target >> bit & 1)
    return f"tool {target}" if operation is Op.CHANGE_TOOL else ""


def _name(kind: Any, number: int) -> str:
    return kind(number).name.lower().replace("_", " ") if number in list(kind) else str(number)


def _box_text(box: dict[str, list[float]] | None) -> str:
    if box is None:
        return "nothing moves"
    return ", ".join(f"{name.upper()} {low * 1e3:.2f} to {high * 1e3:.2f}" for name, (low, high) in box.items()) + " mm"


def _size_text(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
