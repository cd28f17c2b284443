"""machines, materials: the documents that ship."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from industriverse_cli.options import Json
from industriverse_cli.output import columns, console, print_json


def machines(json: Json = False) -> None:
    """List the machine profiles that ship.

    Example: industriverse machines
    """
    from industriverse_core.machine import load_machine, machine_names

    profiles = [load_machine(name) for name in machine_names()]
    if json:
        axes = ("x", "y", "z")
        print_json({
            "machines": [
                {
                    "id": profile.id, "title": profile.title, "kind": profile.kind, "protocol": profile.protocol.family,
                    "planner": profile.kinematics.planner,
                    "envelope_m": {
                        name: [axis.minimum, axis.maximum]
                        for name, axis in zip(axes, profile.kinematics.axes(), strict=True)
                    },
                }
                for profile in profiles
            ]
        })  # fmt: skip
        return
    rows = [
        (
            profile.id, profile.kind, profile.protocol.family, profile.kinematics.planner.replace("_", " "),
            _envelope(profile), profile.title,
        )
        for profile in profiles
    ]  # fmt: skip
    _print_table(("machine", "kind", "protocol", "planner", "travel [mm]", "title"), rows)


def materials(json: Json = False) -> None:
    """List the materials that ship.

    Example: industriverse materials --json
    """
    from industriverse_core.material import load_material, material_names
    from twin_node.tariff import load_tariff

    currency = load_tariff("default").currency
    found = [load_material(name) for name in material_names()]
    if json:
        names = ("id", "kind", "density", "nozzle_min", "nozzle_max", "bed_max", "price_per_kg", "carbon_kg_per_kg")
        units = {
            "density": "density_kg_m3", "nozzle_min": "nozzle_min_c", "nozzle_max": "nozzle_max_c",
            "bed_max": "bed_max_c",
        }  # fmt: skip
        listed = [{units.get(name, name): getattr(each, name) for name in names} for each in found]
        print_json({"materials": listed, "currency": currency})
        return
    rows = [
        (
            each.id,
            each.kind,
            f"{each.density / 1e3:.2f}",
            f"{each.nozzle_min:g} to {each.nozzle_max:g}" if each.nozzle_min and each.nozzle_max else "-",
            f"{each.bed_max:g}" if each.bed_max else "-",
            f"{each.price_per_kg:g}",
        )
        for each in found
    ]
    price = f">price [{currency}/kg]"
    _print_table(("material", "kind", ">density [g/cm3]", "nozzle [degC]", ">bed max [degC]", price), rows)


def _envelope(profile: Any) -> str:
    sizes = [f"{(axis.maximum - axis.minimum) * 1e3:g}" for axis in profile.kinematics.axes()]
    return " x ".join(sizes)


def _print_table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    table = columns(*heads)
    for row in rows:
        table.add_row(*row)
    console().print(table)
