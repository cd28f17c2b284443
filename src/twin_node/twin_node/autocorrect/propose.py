"""The registry of rewrites, and the judge: geometry first, then the gates, then what is saved."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from industriverse_core.artefacts import GateReport, Verdict
from industriverse_core.errors import PredictionError
from industriverse_core.machine import MachineProfile
from industriverse_core.material import Material
from industriverse_core.program import Program
from twin_node.autocorrect import heat, moves, travel
from twin_node.autocorrect.geometry import Deviation, deviation
from twin_node.timeline import build_timeline

DISTANCE_M = 1e-6  # a rewritten part is at most this far from the original
VOLUME_M3 = 1e-12  # and its material at most this much, at every corner (0.001 mm^3)
WORTH = 1e-4  # a rewrite that mends nothing saves at least this share of the energy or the time

Function = Callable[[Program, MachineProfile, Material | None], Program]
Gate = Callable[[Program], GateReport]


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One rewrite: what it does in a sentence, and what else of the print it may change ("" = nothing)."""

    name: str
    sentence: str
    side_effect: str
    function: Function


@dataclass(frozen=True, slots=True)
class Step:
    """What one rewrite would do, on top of those accepted before it. Negative = it costs.

    Attributes:
        reason: why it is not taken; "" = it is.
        deviation: how far the part is from the original.
        saved_j, saved_s: by the oracle; NaN where it cannot predict the program.
        mended: errors and warnings of the gates that are gone.
        instructions: how many fewer instructions (negative = more).
    """

    rewrite: Rewrite
    reason: str
    deviation: Deviation
    saved_j: float
    saved_s: float
    mended: int
    instructions: int


@dataclass(frozen=True, slots=True)
class Autocorrection:
    """All rewrites tried, the program with the accepted ones, and what the gates say about it."""

    original: Program
    program: Program
    steps: tuple[Step, ...]
    report: GateReport
    saved_j: float
    saved_s: float

    @property
    def accepted(self) -> tuple[Step, ...]:
        """The rewrites that are in `program`."""
        return tuple(step for step in self.steps if not step.reason)


REWRITES: tuple[Rewrite, ...] = (
    Rewrite("wait_for_heat", "wait for nozzle and bed before the first filament", "", heat.wait_for_heat),
    Rewrite("planner_limits", "lower planner limits that are above the machine's", "", moves.respect_planner_limits),
    Rewrite(
        "flow_limit", "lower feeds that ask for more flow than the hot end melts", "slower", moves.respect_flow_limit
    ),
    Rewrite("merge_moves", "leave out corners on straight lines and what changes nothing", "", moves.merge_moves),
    Rewrite(
        "shorten_travel", "print the islands of a layer in an order with shorter travels",
        "the order of features in a layer", travel.shorten_travel,
    ),
    Rewrite("heat_in_parallel", "heat the nozzle while the bed heats", "the nozzle may ooze", heat.heat_in_parallel),
    Rewrite("switch_off_early", "switch heaters off right after the last filament", "", heat.switch_off_early),
    Rewrite(
        "cool_bed", "lower the bed to the material's holding temperature after the first millimetre",
        "less adhesion", heat.cool_bed_after_first_layers,
    ),
    Rewrite(
        "feed_up", "raise feeds by up to 30 %, to 90 % of the flow limit",
        "surface quality", moves.feed_up_to_flow_limit,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _State:
    program: Program
    report: GateReport
    energy_j: float
    time_s: float


def propose(
    program: Program,
    profile: MachineProfile,
    material: Material | None,
    gate: Gate,
    names: Sequence[str] = (),
) -> Autocorrection:
    """Try rewrites one after the other, each on top of those accepted before.

    A rewrite is accepted when the part stays the same within DISTANCE_M and VOLUME_M3 of the original, the gates
    find nothing new, and it saves energy or time, or mends a finding.

    Args:
        gate: runs the gates on a program for this machine and material.
        names: rewrites to try; none = all. Raises ValueError for a name that is not in REWRITES.
    """
    unknown = set(names) - {rewrite.name for rewrite in REWRITES}
    if unknown:
        raise ValueError(f"no rewrite is called {min(unknown)!r}")
    first = state = _look(program, profile, material, gate)
    steps = []
    for rewrite in REWRITES:
        if names and rewrite.name not in names:
            continue
        candidate = rewrite.function(state.program, profile, material)
        if candidate.digest == state.program.digest:
            continue
        step, after = _judge(rewrite, program, state, candidate, profile, material, gate)
        steps.append(step)
        if not step.reason:
            state = after
    saved_j, saved_s = first.energy_j - state.energy_j, first.time_s - state.time_s
    return Autocorrection(program, state.program, tuple(steps), state.report, saved_j, saved_s)


def _look(program: Program, profile: MachineProfile, material: Material | None, gate: Gate) -> _State:
    report = gate(program)
    try:
        timeline = build_timeline(program, profile, material)
    except PredictionError:
        return _State(program, report, math.nan, math.nan)
    return _State(program, report, timeline.electric_j, timeline.total_s)


def _judge(
    rewrite: Rewrite, original: Program, before: _State, candidate: Program, profile: MachineProfile,
    material: Material | None, gate: Gate,
) -> tuple[Step, _State]:  # fmt: skip
    difference = deviation(original, candidate)
    after = _look(candidate, profile, material, gate)
    old, new = before.report, after.report
    mended = old.error_count + old.warning_count - new.error_count - new.warning_count
    step = Step(
        rewrite, "", difference, before.energy_j - after.energy_j, before.time_s - after.time_s, mended,
        len(before.program) - len(candidate),
    )  # fmt: skip
    reason = _objection(step, before, after)
    return Step(rewrite, reason, *(getattr(step, name) for name in Step.__slots__[2:])), after


def _objection(step: Step, before: _State, after: _State) -> str:
    """Why a rewrite is not taken; "" = nothing speaks against it."""
    if not step.deviation.within(DISTANCE_M, VOLUME_M3):
        return "the part would not be the same"
    old = {(finding.rule, finding.severity) for finding in before.report.findings}
    fresh = [finding.rule for finding in after.report.findings if (finding.rule, finding.severity) not in old]
    if after.report.verdict > before.report.verdict or after.report.error_count > before.report.error_count:
        return f"the gates would refuse it ({fresh[0] if fresh else 'more errors than before'})"
    if fresh and after.report.verdict is not Verdict.ACCEPT:
        return f"the gates would find something new ({fresh[0]})"
    if step.mended > 0:
        return ""
    if not math.isfinite(step.saved_j):
        return "what it saves cannot be predicted"
    if step.saved_j >= WORTH * before.energy_j or step.saved_s >= WORTH * before.time_s:
        return ""
    return "it saves nothing worth while"
