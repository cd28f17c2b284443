#!/usr/bin/env python3
"""Makes the reference classes of the Thermal Footprint Score (src/twin_node/twin_node/data/references).

    tools/footprint_reference.py FOLDER...     folders of sliced G-code, each file in its own material

Printers: TF / TF_min of every file on every printer profile that ships, as the oracle predicts it. Mills: the same
ratio over a grid of assumptions, because programs do not say what they are cut from. Run it again when the oracle,
a profile or a material changes.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from industriverse_core.errors import CoreError
from industriverse_core.gcode import load_program
from industriverse_core.machine import MachineProfile, load_machine, machine_names
from industriverse_core.material import load_material, resolve_material
from twin_node.exergy import MaterialFlow, exergy_ledger, melt_of
from twin_node.footprint import REFERENCE_FOLDER, ReferenceClass, ThermalFootprint, thermal_footprint
from twin_node.oracle import prediction_of
from twin_node.price import price_part
from twin_node.run_details import details_of
from twin_node.tariff import load_tariff
from twin_node.timeline import build_timeline

REMOVED_SHARES = np.linspace(0.1, 0.9, 9)  # of the blank
SPECIFIC_ENERGIES = np.geomspace(1e9, 20e9, 9)  # electricity for each volume removed [J/m^3]
PLACEHOLDER = ReferenceClass(
    id="none", title="", machine_kind="printer", ratio_05=1, ratio_50=1, ratio_95=2, count=10, sources={}
)


def ratio(made: ThermalFootprint) -> float:
    """TF / TF_min."""
    return made.total_j / made.minimum_j


def print_ratio(path: Path, profile: MachineProfile) -> float:
    """TF / TF_min of one file on one printer. Raises CoreError for what cannot be read, predicted or priced."""
    program = load_program(path)
    material = resolve_material(program.metadata.material, profile.kind)
    timeline = build_timeline(program, profile, material)
    prediction, details = prediction_of(timeline, profile, material), details_of(timeline, profile, material)
    return ratio(price_part(prediction, profile, material, load_tariff("default"), details).footprint)


def mill_ratios(profile: MachineProfile) -> Iterator[float]:
    """TF / TF_min of 1 kg blanks of Al6061 over the grid."""
    aluminium, costs = load_material("Al6061"), profile.costs
    for removed_kg, energy_j_m3 in itertools.product(REMOVED_SHARES, SPECIFIC_ENERGIES):
        flow = MaterialFlow(1.0, 1.0 - removed_kg, removed_kg * aluminium.recovered_share)
        electric_j = energy_j_m3 * removed_kg / aluminium.density
        ledger = exergy_ledger(electric_j, flow, aluminium, melt_of(aluminium), profile.ambient)
        yield ratio(
            thermal_footprint(
                ledger, flow, aluminium, load_tariff("default").grid_exergy, PLACEHOLDER,
                costs.failure_probability, costs.scrap_probability,
            )
        )  # fmt: skip


def document(identifier: str, title: str, kind: str, ratios: list[float], made: str, assumed: str) -> str:
    """The YAML text of a class; it is read back before it is written."""
    low, middle, high = np.quantile(ratios, [0.05, 0.5, 0.95])
    text = (
        f"# Made by tools/footprint_reference.py; run it again instead of editing.\n"
        f"id: {identifier}\ntitle: {title}\nmachine_kind: {kind}\n"
        f"ratio_05: {low:.3f}\nratio_50: {middle:.3f}\nratio_95: {high:.3f}\ncount: {len(ratios)}\n"
        f'sources:\n  ratios: "{made}"\n  assumptions: "{assumed}"\n'
    )
    return text


def main(folders: list[str]) -> int:
    """Write both documents."""
    if not folders:
        print(__doc__, file=sys.stderr)
        return 2
    files = sorted(path for folder in folders for path in Path(folder).glob("*.gcode"))
    profiles = [load_machine(name) for name in machine_names()]
    printers = [profile for profile in profiles if profile.kind == "printer"]
    ratios = []
    for path, profile in itertools.product(files, printers):
        try:
            found = print_ratio(path, profile)
        except CoreError as error:
            print(f"left out: {path.name} on {profile.id}: {error}")
            continue
        ratios.append(found)
        print(f"{found:8.3f}  {path.name} on {profile.id}", flush=True)
    names = ", ".join(profile.id for profile in printers)
    (REFERENCE_FOLDER / "desktop_printer.yaml").write_text(
        document(
            "desktop_printer", "parts of sliced test models on open desktop printers", "printer", ratios,
            f"C this project's own prediction of {len(files)} sliced files, each in its own material, on {names}",
            "each file is sliced for one printer and counts on every profile; no measured run is in it",
        )
    )  # fmt: skip
    mill = next(profile for profile in profiles if profile.kind == "mill")
    (REFERENCE_FOLDER / "desktop_mill.yaml").write_text(
        document(
            "desktop_mill", "aluminium parts on desktop mills", "mill", list(mill_ratios(mill)),
            "C grid of 10 to 90 % of the blank removed and 1 to 20 J/mm3 of electricity for the volume removed",
            "K both ranges are assumptions, 20 J/mm3 for a mill that hardly cuts; no measured run is in it",
        )
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
