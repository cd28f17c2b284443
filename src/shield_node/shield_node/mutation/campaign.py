"""How many dangerous edits the gates catch: python -m shield_node.mutation.campaign FOLDER --each 20 --seed 7

Edits are seeded at random places of sound programs. One counts when it does harm: either by its construction (a
command that no controller knows, a broken checksum), or because the models of harm.py, which know neither the reader
nor the gates, see harm done. It is caught when the gates (or the reader) refuse the program. Heaters and spindles left
on are caught by a warning too: that is the verdict that they get.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from industriverse_core.artefacts import Verdict
from industriverse_core.errors import CoreError
from industriverse_core.gcode import read_gcode
from industriverse_core.machine import Box, MachineProfile, load_machine
from industriverse_core.material import load_material
from shield_node.gates import check
from shield_node.mutation.edits import MILL_KINDS, PRINTER_KINDS, STOCK, Kind, mill_profile, mill_program
from shield_node.mutation.harm import MillModel, PrinterModel

WITHIN = 5  # tries until an edit is dangerous


@dataclass(frozen=True)
class Case:
    """A sound program and where it runs."""

    name: str
    text: str
    profile: MachineProfile
    material: str
    dialect: str
    stock: Box | None = None

    def verdict(self, text: str) -> Verdict:
        """What the reader and the gates say of a text."""
        try:
            program = read_gcode(text.encode("utf-8", "surrogateescape"), self.name, self.dialect)
        except CoreError:
            return Verdict.REFUSE
        return check(program, self.profile, load_material(self.material), self.stock).verdict

    def harm(self, text: str) -> str:
        """What the independent model says."""
        model = PrinterModel(self.profile) if self.stock is None else MillModel(self.profile, self.stock)
        return model.run(text)


def seed(case: Case, kind: Kind, rng: random.Random) -> tuple[str, str] | None:
    """A dangerous edit of a program: the edited text and the harm; None = this kind finds no place in it."""
    lines = case.text.splitlines()
    for _ in range(WITHIN):
        edited = kind.edit(lines, rng)
        if edited is None:
            return None
        text = "\n".join(edited) + "\n"
        harm = "by construction" if kind.by_construction else case.harm(text)
        if harm:
            return text, harm
    return None


def is_caught(case: Case, kind: Kind, text: str) -> bool:
    """Whether the gates catch the edited program."""
    verdict = case.verdict(text)
    return verdict is Verdict.REFUSE or (kind.warned and verdict is Verdict.WARN)


def printed_cases(folder: Path, profile: str) -> list[Case]:
    """The sliced files in a folder that were made for a machine and name their material."""
    machine, cases = load_machine(profile), []
    for path in sorted(folder.glob("*.gcode")):
        program = read_gcode(path.read_bytes(), path.name, "marlin")
        model = re.sub(r"[^a-z0-9]", "", program.metadata.machine.lower())
        if model and model in re.sub(r"[^a-z0-9]", "", f"{machine.id} {machine.title}".lower()):
            text = path.read_text(encoding="utf-8", errors="surrogateescape")
            cases.append(Case(path.name, text, machine, program.metadata.material, "marlin"))
    return cases


def milled_cases(count: int, rng: random.Random) -> list[Case]:
    """Generated programs for the mill."""
    return [Case(f"mill {i}", mill_program(rng), mill_profile(), "Al6061", "rs274", STOCK) for i in range(count)]


def campaign(cases: list[Case], kinds: dict[str, Kind], each: int, rng: random.Random) -> list[tuple[str, int, int]]:
    """(kind, seeded, caught) after `each` edits of every kind; prints what was missed."""
    table = []
    for name, kind in kinds.items():
        count: Counter[bool] = Counter()
        fit = list(cases)  # those where the kind finds a place
        while fit and count.total() < each:
            case = rng.choice(fit)
            found = seed(case, kind, rng)
            if found is None:
                fit.remove(case)
                continue
            caught = is_caught(case, kind, found[0])
            count[caught] += 1
            if not caught:
                print(f"missed: {name} in {case.name}: {found[1]}", file=sys.stderr)
        table.append((name, count.total(), count[True]))
        print(f"{name:28} {count.total():4} seeded {count[True]:4} caught", flush=True)
    return table


def main() -> None:
    """The whole campaign on a folder of sliced files, and on generated mill programs."""
    parser = argparse.ArgumentParser(description="Seed dangerous edits and count those that the gates catch.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--machine", default="prusa_mk3s")
    parser.add_argument("--each", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--largest", type=float, default=5.0, help="MB; larger files are left out")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    cases = [case for case in printed_cases(options.folder, options.machine) if len(case.text) < options.largest * 1e6]
    mills = milled_cases(max(4, options.each), rng)
    for case in (*cases, *mills):
        verdict, harm = case.verdict(case.text), case.harm(case.text)
        print(f"{case.name:40} {verdict.name:8} {harm or 'no harm'}")
    print(f"\non {options.machine}")
    table = campaign(cases, PRINTER_KINDS, options.each, rng)
    print("\non the mill")
    table += campaign(mills, MILL_KINDS, options.each, rng)
    seeded, caught = sum(row[1] for row in table), sum(row[2] for row in table)
    print(f"\n{caught} of {seeded} dangerous edits caught ({100.0 * caught / max(seeded, 1):.1f} %)")


if __name__ == "__main__":
    main()
