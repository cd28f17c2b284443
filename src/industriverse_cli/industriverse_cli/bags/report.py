"""What verdicts and the state of a bag look like, for people and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from industriverse_cli.output import columns, console, facts, print_json

if TYPE_CHECKING:
    from industriverse_cli.bags.comparison import Comparison
    from industriverse_cli.bags.recovery import FileState
    from industriverse_cli.bags.verdicts import Verdicts

TRANSITIONS_SHOWN = 40


def size_text(size: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


def tell_states(folder: Path, states: tuple[FileState, ...], problems: list[str], as_json: bool) -> None:
    """Each file of a bag: what is there and what is lost."""
    names = ("name", "whole", "messages", "size_bytes", "torn_bytes", "damaged_chunks", "lost_messages")
    if as_json:
        files = [{name: getattr(state, name) for name in names} for state in states]
        print_json({"folder": str(folder), "files": files, "problems": problems})
        return
    out = console()
    table = columns("file", "state", ">messages", ">bytes", ">torn bytes", ">damaged chunks")
    for state in states:
        word = "sound" if state.sound else ("damaged" if state.whole else "torn")
        numbers = (state.messages, state.size_bytes, state.torn_bytes, state.damaged_chunks)
        table.add_row(state.name, word, *map(str, numbers))
    out.print(table)
    for problem in problems:
        out.print(problem, style="yellow")


def _compared(found: Verdicts) -> list[tuple[str, str, Comparison]]:
    rows = []
    for shield in found.shields:
        rows.append((shield.machine_id, "shield's state", shield.comparison))
        rows.append((shield.machine_id, "shield's cause", shield.causes))
        rows.append((shield.machine_id, "permits", shield.permits))
        if shield.decisions.moments:
            rows.append((shield.machine_id, "decisions", shield.decisions))
    rows += [(guard.machine_id, "permit guard", guard.comparison) for guard in found.guards]
    return rows


def verdicts_json(folder: Path, found: Verdicts) -> dict[str, Any]:
    """All of it as one object."""
    compared = []
    for machine, what, each in _compared(found):
        first = each.first
        difference = None
        if first is not None:
            difference = {
                "now_s": first.now_s, "live": first.live, "again": first.again, "evidence": first.evidence
            }  # fmt: skip
        row = {"machine": machine, "what": what, "moments": each.moments, "brief": each.brief, "first": difference}
        compared.append(row)
    gates = [
        {"program": gate.program, "name": gate.name, "recorded": gate.recorded, "again": gate.again, "why": gate.why}
        for gate in found.gates
    ]
    guards = [
        {
            "machine": guard.machine_id,
            "accepted": guard.accepted,
            "refused": guard.refused,
            "macs_judged": bool(guard.key),
        }
        for guard in found.guards
    ]
    return {
        "folder": str(folder), "digest": found.digest, "agree": found.agree, "counts": found.counts,
        "compared": compared,
        "probabilities": {
            shield.machine_id: {"exact": shield.exact, "widest": shield.widest} for shield in found.shields
        },
        "gates": gates, "guards": guards, "unreadable": found.unreadable, "transitions": list(found.transitions),
    }  # fmt: skip


def print_verdicts(folder: Path, found: Verdicts) -> None:
    """Transitions, agreement, digest."""
    out = console()
    table = columns(">t [s]", "machine", "who", "verdict")
    for verdict in found.transitions[:TRANSITIONS_SHOWN]:
        table.add_row(_time(verdict), verdict["machine"], verdict["what"], _text(verdict))
    out.print(table)
    if len(found.transitions) > TRANSITIONS_SHOWN:
        out.print(f"... {len(found.transitions) - TRANSITIONS_SHOWN} more; all with --json or --output", style="dim")
    rows = {}
    for machine, what, each in _compared(found):
        verdict = f"agrees at {each.moments} moments"
        if each.brief:
            verdict += f" but {each.brief} that differed for less than 0.2 s"
        if each.first is not None:
            first = each.first
            verdict = f"differs from {first.now_s:.3f} s on: live {first.live}, again {first.again}. {first.evidence}"
        rows[f"{machine} {what}"] = verdict
    for guard in found.guards:
        refused = ", ".join(f"{count} {reason}" for reason, count in guard.refused.items()) or "none"
        macs = "" if guard.key else "; MACs not judged (no --key)"
        rows[f"{guard.machine_id} permits taken"] = f"{guard.accepted}, refused: {refused}{macs}"
    for gate in found.gates:
        agrees = "again" if gate.agree else f"now {gate.again}"
        rows[f"gates: {gate.name}"] = f"{gate.recorded}, {agrees if gate.again else f'not checked again: {gate.why}'}"
    for shield in found.shields:
        if shield.decisions.moments:
            exact = f"{shield.exact} of {shield.decisions.moments}"
            same = f"{exact} are the recorded ones to the last bit; largest difference {shield.widest:.2g}"
            rows[f"{shield.machine_id} probabilities"] = same
        if shield.unknown_sources:
            rows[f"{shield.machine_id} not replayed"] = ", ".join(sorted(shield.unknown_sources))
    if found.unreadable:
        rows["unreadable"] = f"{found.unreadable} messages"
    rows["verdicts"] = f"{sum(found.counts.values())}, SHA-256 {found.digest.hex()}"
    out.print(facts(rows))


def _time(verdict: dict[str, Any]) -> str:
    return f"{verdict['now_s']:.3f}" if "now_s" in verdict else ""


def _text(verdict: dict[str, Any]) -> str:
    """One verdict in words."""
    names = ("state", "level", "code", "cause", "program", "refused", "verdict", "why")
    parts = [str(verdict[name]) for name in names if verdict.get(name) and verdict[name] != "OK"]
    if isinstance(verdict.get("program"), bytes):
        parts = [verdict["program"].hex()[:12], str(verdict["verdict"]), str(verdict["why"])]
    return " ".join(part for part in parts if part and part != "{}")
