"""check, predict: what the gates and the oracle say about one program file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from industriverse_cli.options import Case, File, Json, Machine, MaterialName, Stock, load_case
from industriverse_cli.output import EXIT_REFUSED, columns, complain, console, print_json

if TYPE_CHECKING:
    from industriverse_core.artefacts import Estimate, GateReport, Prediction
    from industriverse_core.errors import GateError

SEVERITY_STYLE = {"error": "bold red", "warning": "yellow", "info": "cyan"}
VERDICT_STYLE = {"accept": "bold green", "warn": "bold yellow", "refuse": "bold red"}
VERDICT_WORD = {"accept": "accepted", "warn": "accepted with warnings", "refuse": "refused"}


def check(
    file: File, machine: Machine = "prusa_mk3s", material: MaterialName = "", stock: Stock = "", json: Json = False
) -> None:
    """Run the gates on a program. Exit status 0 when it is accepted, 3 when it is refused.

    Example: industriverse check part.gcode --machine prusa_mk3s --material PETG
    """
    case = load_case(file, machine, material, stock=stock)
    report = run_gate(case)
    if json:
        print_json(_report_json(case, report))
    else:
        _print_report(case, report)
    if _verdict(report) == "refuse":
        raise typer.Exit(EXIT_REFUSED)


def predict(
    file: File, machine: Machine = "prusa_mk3s", material: MaterialName = "", stock: Stock = "", json: Json = False
) -> None:
    """Predict time, energy, material and peak power of one run, each with its 90 % interval.

    A program that the gates refuse is predicted too, with the refusal on standard error and exit status 3.

    Example: industriverse predict part.gcode --json
    """
    case = load_case(file, machine, material, stock=stock)
    prediction, refusal = _predict(case)
    if json:
        print_json({**_prediction_json(prediction), **judged(refusal)})
    else:
        _print_prediction(case, prediction)
    end(refusal)


def run_gate(case: Case) -> GateReport:
    """The gates' report on a case."""
    from shield_node.gates import check as run_gates

    return run_gates(case.program, case.profile, case.material)


def _predict(case: Case) -> tuple[Prediction, GateError | None]:
    """The oracle's answer, and the gates' refusal if there is one; raises that where nothing can be predicted."""
    from industriverse_core.errors import PredictionError
    from twin_node.oracle import predict as run_oracle

    refusal = refusal_of(run_gate(case))
    try:
        return run_oracle(case.program, case.profile, case.material), refusal
    except PredictionError:
        if refusal is not None:
            raise refusal from None
        raise


def refusal_of(report: GateReport) -> GateError | None:
    """The first error of a refusing report as an exception, or None."""
    from industriverse_core.errors import ErrorCode, GateError

    if _verdict(report) != "refuse":
        return None
    first, more = report.findings[0], report.error_count - 1
    also = f" ({more} more {'errors' if more > 1 else 'error'}.)" if more else ""
    return GateError(ErrorCode.GATE_REFUSED, f"{first.rule}: {first.message}{also}", first.remedy)


def judged(refusal: GateError | None) -> dict[str, Any]:
    """What a JSON answer says about the gates."""
    return {"refusal": str(refusal) if refusal is not None else None}


def end(refusal: GateError | None) -> None:
    """Say why the gates refuse, if they do, and end the command with that status."""
    if refusal is not None:
        complain(refusal)
        raise typer.Exit(EXIT_REFUSED)


def _verdict(report: GateReport) -> str:
    return report.verdict.name.lower()


# --- JSON ---


def _report_json(case: Case, report: GateReport) -> dict[str, Any]:
    return {
        "verdict": _verdict(report),
        "findings": [
            {
                "rule": finding.rule,
                "severity": finding.severity.name.lower(),
                "line": finding.line,
                "instruction": finding.instruction,
                "value": finding.value,
                "limit": finding.limit,
                "unit": finding.unit,
                "message": finding.message,
                "remedy": finding.remedy,
            }
            for finding in report.findings
        ],
        "program_digest": report.program_digest,
        "machine": case.profile.id,
        "material": case.material.id,
        "errors": report.error_count,
        "warnings": report.warning_count,
    }


def _prediction_json(prediction: Prediction) -> dict[str, Any]:
    grams = _scaled(prediction.material_kg, 1e3)
    estimates = {
        "time_s": prediction.time_s,
        "motion_time_s": prediction.motion_time_s,
        "energy_j": prediction.energy_j,
        "filament_m": prediction.filament_m,
        "filament_g": grams,
        "peak_power_w": prediction.peak_power_w,
    }
    answer: dict[str, Any] = {name: estimate.mean for name, estimate in estimates.items()}
    answer |= {f"{name}_90": [estimate.low, estimate.high] for name, estimate in estimates.items()}
    subsystems = {part.name.lower(): energy for part, energy in sorted(prediction.energy_by_subsystem_j.items())}
    answer["energy_by_subsystem_j"] = {name: energy.mean for name, energy in subsystems.items()}
    answer["energy_by_subsystem_j_90"] = {name: [energy.low, energy.high] for name, energy in subsystems.items()}
    answer |= {
        "program_digest": prediction.program_digest,
        "machine": prediction.machine_id,
        "material": prediction.material,
    }
    return answer


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    from industriverse_core.artefacts import Estimate

    return Estimate(estimate.mean * factor, estimate.low * factor, estimate.high * factor)


# --- for people ---


def headline(case: Case, word: str, style: str) -> Any:
    """The first line of an answer: its essence, then what it is about."""
    from rich.text import Text

    name = case.program.metadata.name or "program"
    return Text.assemble((word, style), f"  {name} on {case.profile.id} with {case.material.id}")


def _print_report(case: Case, report: GateReport) -> None:
    from rich.text import Text

    out = console()
    verdict = _verdict(report)
    out.print(headline(case, VERDICT_WORD[verdict], VERDICT_STYLE[verdict]))
    if not report.findings:
        out.print(Text(f"{len(case.program)} instructions, no findings", style="dim"))
        return
    table = columns("", ">line", "finding")
    for finding in report.findings:
        severity = finding.severity.name.lower()
        sentence = finding.message.removeprefix(f"Line {finding.line}: ")
        text = Text.assemble(f"{sentence[:1].upper()}{sentence[1:]}", (f"\n{finding.remedy}  ", "dim"))
        text.append(f"[{finding.rule}]", style="dim cyan")
        table.add_row(Text(severity, style=SEVERITY_STYLE[severity]), str(finding.line or "all"), text)
    out.print(table)
    listed = f", {len(report.findings)} findings listed" if _hidden(report) else ""
    out.print(Text(f"errors {report.error_count}, warnings {report.warning_count}{listed}", style="dim"))


def _hidden(report: GateReport) -> bool:
    from industriverse_core.artefacts import Severity

    shown = sum(finding.severity > Severity.INFO for finding in report.findings)
    return report.error_count + report.warning_count > shown


def _print_prediction(case: Case, prediction: Prediction) -> None:
    from industriverse_core.units import duration_text, energy_text
    from twin_node.oracle import mill_homing_s

    out = console()
    out.print(headline(case, "predicted", "bold green"))
    mill = case.profile.kind == "mill"
    first = ("before it, where it has to home", mill_homing_s(case.profile), duration_text)
    rows = [
        ("time" if mill else "time, with heating and homing", prediction.time_s, duration_text),
        *([first] if mill else []),
        ("moves and dwells alone", prediction.motion_time_s, duration_text),
        ("electric energy", prediction.energy_j, energy_text),
        *(
            (f"  {part.name.lower()}", energy, energy_text)
            for part, energy in sorted(prediction.energy_by_subsystem_j.items())
            if energy.high > 0.0
        ),
        ("peak power", prediction.peak_power_w, lambda watts: f"{watts:.0f} W"),
    ]
    if prediction.filament_m.mean > 0:
        rows.append(("filament", prediction.filament_m, lambda metres: f"{metres:.3f} m"))
        rows.append(("material", prediction.material_kg, lambda mass: f"{mass * 1e3:.2f} g"))
    out.print(_estimates(rows))
    slicer = case.program.metadata
    if slicer.slicer_time_s or slicer.slicer_filament_m:
        said = [duration_text(slicer.slicer_time_s)] if slicer.slicer_time_s else []
        said += [f"{slicer.slicer_filament_m:.3f} m of filament"] if slicer.slicer_filament_m else []
        out.print(
            f"The slicer's own figures: {', '.join(said)}; without heating, homing and flow factors.", style="dim"
        )


def _estimates(rows: list[tuple[str, Estimate, Any]]) -> Any:
    """A table of names, expected values and 90 % intervals."""
    table = columns("", ">expected", "90 % interval")
    for name, estimate, text in rows:
        exact = estimate.low == estimate.high
        table.add_row(name, text(estimate.mean), "" if exact else f"{text(estimate.low)} to {text(estimate.high)}")
    return table
