"""show: what a program file contains."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from industriverse_cli.options import File, Json
from industriverse_cli.output import columns, console, facts, print_json

if TYPE_CHECKING:
    from industriverse_core.program import Program


def show(
    file: File,
    first: Annotated[int, typer.Option(min=0, max=10000, help="How many instructions to list.")] = 12,
    json: Json = False,
) -> None:
    """Show what a program is: where it comes from, how large it is, and its first instructions.

    Example: industriverse show part.gcode --first 30
    """
    from industriverse_core.gcode import load_program

    program = load_program(file)
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
        rows["filament"] = f"{summary['filament_m']:.3f} m"
    if summary["slicer_time_s"] > 0:
        rows["slicer's time"] = duration_text(summary["slicer_time_s"])
    if summary["notes"]:
        rows["notes"] = ", ".join(f"{count} {kind}" for kind, count in summary["notes"].items())
    out.print(facts(rows))
    if first and len(program):
        out.print(_listing(program, first))


def _listing(program: Program, first: int) -> Any:
    from industriverse_core.units import MM, MM3

    table = columns(">#", ">line", "operation", ">X [mm]", ">Y [mm]", ">Z [mm]", ">F [mm/s]", ">fed [mm3]", "value")
    motion = program.is_motion()
    for index in _range(program, first):
        row = _row(program, index)
        cells = [str(index), str(row["line"] or ""), row["op"].lower().replace("_", " ")]
        if motion[index]:
            cells += [f"{row[name] / MM:.3f}" for name in ("x_m", "y_m", "z_m")]
            cells.append(f"{row['feed_m_s'] / MM:.1f}" if row["feed_m_s"] == row["feed_m_s"] else "rapid")
            cells += [f"{row['extrude_m3'] / MM3:.3f}" if row["extrude_m3"] else "", ""]
        else:
            cells += [""] * 5 + [_argument(row)]
        table.add_row(*cells)
    return table


def _argument(row: dict[str, Any]) -> str:
    """Target and value of an instruction that is no motion, where it has them."""
    from industriverse_core.program import Heater, Limit

    names = {
        "SET_HEATER": lambda target: Heater(target).name.lower(),
        "WAIT_HEATER": lambda target: Heater(target).name.lower(),
        "SET_LIMIT": lambda target: Limit(target).name.lower(),
        "HOME": lambda target: "".join(name for bit, name in enumerate("xyz") if target >> bit & 1),
    }
    value = f"{row['value']:g}" if row["value"] else ""
    try:
        target = names[row["op"]](row["target"]) if row["op"] in names else ""
    except ValueError:
        target = str(row["target"])
    zero = "0" if row["op"] in ("SET_HEATER", "WAIT_HEATER", "SET_FAN", "SET_LIMIT") and not value else ""
    return " ".join(part for part in (target, value or zero) if part)


def _box_text(box: dict[str, list[float]] | None) -> str:
    if box is None:
        return "nothing moves"
    return ", ".join(f"{name.upper()} {low * 1e3:.2f} to {high * 1e3:.2f}" for name, (low, high) in box.items()) + " mm"


def _size_text(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
