"""The registry of gate rules, and the check that runs them.

A rule is one function in a rules_*.py module: it looks at a Context and returns Hits, groups of instructions
that break it. The registry numbers, places, orders and caps the findings; a rule only says what is wrong.

    @rule("dwell.endless", "A dwell lasts at most ten minutes.")
    def endless(context: Context) -> Iterator[Hits]:
        ...
        yield Hits(Severity.ERROR, where, lambda i: Seen("a dwell of ...", "Shorten it.", value, limit, "s"))
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from industriverse_core.artefacts import Finding, GateReport, Severity, Verdict
from industriverse_core.machine import Box, MachineProfile
from industriverse_core.material import Material
from industriverse_core.program import Program
from shield_node.gates.context import Context

MAX_FINDINGS = 200  # as GateReport.msg says
MAX_PER_RULE = 20  # so that one rule does not hide the others
RULE_MODULES = (
    "rules_envelope", "rules_keepout", "rules_motion", "rules_junction", "rules_thermal", "rules_extrusion",
    "rules_part", "rules_commands", "rules_spindle", "rules_cutting",
)  # fmt: skip
WHOLE_PROGRAM = (-1,)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a rule saw at one place. `text` is a sentence without the place's line; value and limit are in `unit`."""

    text: str
    remedy: str
    value: float = float("nan")
    limit: float = float("nan")
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Hits:
    """Instructions that break a rule. All are counted; only those that will be listed are described.

    Attributes:
        severity: ERROR refuses the program.
        where: instruction indices in ascending order; -1 = the whole program.
        describe: gives what was seen at one of them.
        lines: source lines of `where`, for what has no instruction of its own; None = the instructions' lines.
    """

    severity: Severity
    where: np.ndarray | Sequence[int]
    describe: Callable[[int], Seen]
    lines: Sequence[int] | None = None


RuleFunction = Callable[[Context], Iterable[Hits]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One registered rule."""

    id: str
    sentence: str
    function: RuleFunction


RULES: dict[str, Rule] = {}


def rule(identifier: str, sentence: str) -> Callable[[RuleFunction], RuleFunction]:
    """Register a rule under an id like 'envelope.axis' with one sentence that says what it demands."""

    def register(function: RuleFunction) -> RuleFunction:
        if identifier in RULES:
            raise ValueError(f"two rules are called {identifier}")
        RULES[identifier] = Rule(identifier, sentence, function)
        return function

    return register


def rules() -> tuple[Rule, ...]:
    """Every rule, in the order of the modules that hold them."""
    order = {f"shield_node.gates.{module}": position for position, module in enumerate(RULE_MODULES)}
    for module in order:
        importlib.import_module(module)
    return tuple(sorted(RULES.values(), key=lambda each: order.get(each.function.__module__, len(order))))


def check(
    program: Program, profile: MachineProfile, material: Material | None = None, stock: Box | None = None
) -> GateReport:
    """Run every rule on a program.

    Never raises on the content of the columns: whatever cannot be judged is refused. `duration_s` stays 0;
    who calls knows the clock.

    Args:
        program: what shall run.
        profile: on which machine.
        material: what it is made of; None = not known, its temperature window is not checked.
        stock: what a mill cuts from; None = the profile's. Without either, what lies below Z = 0 is assumed.

    Returns:
        The verdict; at most 200 findings, worst first, then by line, at most 20 of one rule, with full counts.
    """
    context = Context(program, profile, material, stock)
    listed: list[Finding] = []
    counts = dict.fromkeys(Severity, 0)
    with np.errstate(all="ignore"):  # NaN and infinity are data here, and end as findings
        module = ""
        for each in rules():
            if each.function.__module__ != module:
                module = each.function.__module__
                context.forget()
            room = MAX_PER_RULE
            for hits in sorted(each.function(context), key=lambda group: -group.severity):
                counts[hits.severity] += len(hits.where)
                shown = range(min(room, len(hits.where)))
                room -= len(shown)
                listed += [_finding(each.id, hits, position, program) for position in shown]
    listed.sort(key=lambda finding: (-finding.severity, finding.line, finding.instruction, finding.rule))
    return GateReport(
        program_digest=program.digest,
        machine_id=profile.id,
        verdict=_verdict(counts),
        findings=tuple(listed[:MAX_FINDINGS]),
        error_count=counts[Severity.ERROR],
        warning_count=counts[Severity.WARNING],
    )


def _finding(rule_id: str, hits: Hits, position: int, program: Program) -> Finding:
    instruction = int(hits.where[position])
    if hits.lines is not None:
        line = int(hits.lines[position])
    else:
        line = max(0, int(program.line[instruction])) if instruction >= 0 else 0
    seen = hits.describe(position if hits.lines is not None else instruction)
    place = f"Line {line}: " if line else (f"Instruction {instruction}: " if instruction >= 0 else "")
    return Finding(
        rule=rule_id,
        severity=hits.severity,
        message=f"{place}{seen.text}" if place else f"{seen.text[:1].upper()}{seen.text[1:]}",
        remedy=seen.remedy,
        line=line,
        instruction=instruction,
        value=float(seen.value),
        limit=float(seen.limit),
        unit=seen.unit,
    )


def _verdict(counts: dict[Severity, int]) -> Verdict:
    if counts[Severity.ERROR]:
        return Verdict.REFUSE
    return Verdict.WARN if counts[Severity.WARNING] else Verdict.ACCEPT
