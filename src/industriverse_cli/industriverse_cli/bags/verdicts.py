"""Decides a bag again: same bag in, same decisions out.

Every verdict is one line of canonical JSON; the digest of all lines is the bag's verdict digest. It depends on the bag
and on the logic, on nothing else: not on the process, its hash seed, the clock, or where the bag lies.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from industriverse_cli.bags.guard_again import GuardAgain
from industriverse_cli.bags.inputs import Decoder, Heartbeat, SafetySeen
from industriverse_cli.bags.model import CELL, MACHINES, PROGRAMS, Attachment
from industriverse_cli.bags.reader import Bag
from industriverse_cli.bags.shield_again import ShieldAgain
from industriverse_core.artefacts import GateReport, ProgramRef
from industriverse_core.digest import Digest, canonical_json, short
from industriverse_core.errors import CoreError
from industriverse_core.machine import MachineProfile, load_machine
from industriverse_core.safety import Safety, load_safety
from industriverse_core.telemetry import TelemetrySample
from industriverse_core.threats import Decision

FORMAT = 1  # of the lines; a change gives other digests
# what changes without a decision
PASSING = frozenset(("now_s", "sources", "accepted", "refused_permits", "tick", "probability", "permit"))


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """A program's way through the gates: what was recorded, and what the gates say again.

    Attributes:
        again: "" when the program is not in the bag or cannot be read; `why` says so.
    """

    program: Digest
    name: str
    machine_id: str
    recorded: str
    again: str
    why: str

    @property
    def agree(self) -> bool:
        """Nothing contradicts the record."""
        return not self.again or self.again == self.recorded


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the logic makes of a bag.

    Attributes:
        digest: SHA-256 over the lines.
        counts: verdicts by kind.
        transitions: verdicts that changed a state, without the others between them.
        unreadable: messages that could not be decoded.
    """

    digest: Digest
    counts: Mapping[str, int]
    transitions: tuple[dict[str, Any], ...]
    gates: tuple[GateVerdict, ...]
    shields: tuple[ShieldAgain, ...]
    guards: tuple[GuardAgain, ...]
    unreadable: int

    @property
    def agree(self) -> bool:
        """The logic decides as was decided live."""
        compared = [item.comparison for item in (*self.shields, *self.guards)]
        compared += [each for item in self.shields for each in (item.permits, item.decisions)]
        return all(each.agree for each in compared) and all(gate.agree for gate in self.gates)


def decide(bag: Bag, key: bytes | None = None, on_line: Callable[[bytes], object] | None = None) -> Verdicts:
    """Feed a bag to the gates, the shield and the guard of each machine.

    `key`: the cell's permit key, to judge MACs as well. `on_line` gets each line of the verdicts with its newline.
    Raises InputError (BAG_BROKEN), JobError where ROS's messages are not installed.
    """
    account = _Account(on_line)
    decoder = Decoder(bag)
    machines, gates, reports, deciding = _jobs(bag, decoder)
    account.add({"what": "bag", "machine": "", "format": FORMAT, "machines": machines, "key": key is not None})
    for gate in gates:
        about = {"program": gate.program, "verdict": gate.again, "why": gate.why}
        account.add({"what": "gate", "machine": gate.machine_id, **about})
    attached = {item.name: item for item in bag.attachments()}
    safety = _safety(attached)
    shields = {
        machine: ShieldAgain(machine, reports, _profile(machine, attached), safety)
        if machine in deciding
        else ShieldAgain(machine, reports)
        for machine in machines
    }
    guards = {machine: GuardAgain(machine, key) for machine in machines}
    for item in decoder.inputs():
        for machine in machines:
            for verdict in (*shields[machine].take(item), *guards[machine].take(item)):
                account.add(verdict)
    for machine, guard in guards.items():
        taken = {"accepted": guard.accepted, "refused_permits": guard.refused}
        account.add({"what": "end", "machine": machine, **taken})
    return Verdicts(
        account.sha.digest(),
        account.counts,
        tuple(account.transitions),
        tuple(gates),
        tuple(shields.values()),
        tuple(guards.values()),
        decoder.unreadable,
    )


class _Account:
    """Takes the verdicts down: their digest, their number, and those that changed something."""

    def __init__(self, on_line: Callable[[bytes], object] | None) -> None:
        self.sha = hashlib.sha256()
        self.counts: Counter[str] = Counter()
        self.transitions: list[dict[str, Any]] = []
        self._on_line = on_line
        self._shown: dict[tuple[str, str], dict[str, Any]] = {}

    def add(self, verdict: dict[str, Any]) -> None:
        """One verdict, in the order in which it was made."""
        line = canonical_json(verdict) + b"\n"
        self.sha.update(line)
        if self._on_line is not None:
            self._on_line(line)
        what = verdict["what"]
        self.counts[what] += 1
        shown = {name: value for name, value in verdict.items() if name not in PASSING}
        if what != "permit" and self._shown.get((verdict["machine"], what)) != shown:
            self._shown[verdict["machine"], what] = shown
            self.transitions.append(verdict)


@dataclass(slots=True)
class _Checked:
    """A program that a job brought."""

    ref: ProgramRef
    report: GateReport
    material: str


def _jobs(bag: Bag, decoder: Decoder) -> tuple[list[str], list[GateVerdict], list[GateReport], set[str]]:
    """The machines of a bag, its programs through the gates, the reports that the shield remembers, and the machines
    whose shield has published its decisions."""
    machines: set[str] = set()
    deciding: set[str] = set()
    checked: dict[tuple[Digest, str], _Checked] = {}
    for item in decoder.inputs():
        value = item.value
        if isinstance(value, (SafetySeen, TelemetrySample)):
            machines.add(value.machine_id)
        elif isinstance(value, Decision):
            deciding.add(value.machine_id)
        elif isinstance(value, Heartbeat) and value.program is not None and value.report is not None:
            place = (value.program.digest, value.report.machine_id)
            checked[place] = _Checked(value.program, value.report, value.material)
    attached = {item.name: item for item in bag.attachments()}
    gates = []
    reports = []
    for (_, machine_id), each in sorted(checked.items(), key=lambda pair: pair[0]):
        gate, report = _through_the_gates(each, attached)
        gates.append(gate)
        reports.append(replace(report, machine_id=machine_id))
    return sorted(machines), gates, reports, deciding


def _through_the_gates(checked: _Checked, attached: Mapping[str, Attachment]) -> tuple[GateVerdict, GateReport]:
    """Check a program again with what the bag has; where that is not enough, the recorded report stands."""
    ref, recorded = checked.ref, checked.report
    again, why, report = "", "", recorded
    program = attached.get(f"{PROGRAMS}{ref.digest.hex()}.arrow")
    if program is None:
        why = f"program {short(ref.digest)} is not in the bag"
    else:
        try:
            report = _check(program, checked, attached)
            again = report.verdict.name
        except CoreError as error:
            why = error.code.name
    return GateVerdict(ref.digest, ref.name, recorded.machine_id, recorded.verdict.name, again, why), report


def _check(attachment: Attachment, checked: _Checked, attached: Mapping[str, Attachment]) -> GateReport:
    from industriverse_core.material import resolve_material
    from industriverse_core.program import read_program
    from shield_node import gates

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.arrow"
        path.write_bytes(attachment.data)
        program = read_program(path, checked.ref.digest)
    profile = _profile(checked.report.machine_id, attached)
    return gates.check(program, profile, resolve_material(checked.material, profile.kind))


def _profile(machine_id: str, attached: Mapping[str, Attachment]) -> MachineProfile:
    """The attached profile, else the one that ships. Raises ProfileError."""
    profile_file = attached.get(f"{MACHINES}{machine_id}.yaml")
    if profile_file is None:
        return load_machine(machine_id)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "machine.yaml"
        path.write_bytes(profile_file.data)
        return load_machine(str(path))


def _safety(attached: Mapping[str, Attachment]) -> Safety | None:
    """The safety part of the attached cell description. Raises ProfileError."""
    description = attached.get(CELL)
    if description is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / CELL
        path.write_bytes(description.data)
        return load_safety(path)


__all__ = ["GateVerdict", "Verdicts", "decide"]
