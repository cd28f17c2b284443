"""autocorrect: rewrites of a program that save energy or mend findings; shown always, written only when asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from industriverse_cli.options import Case, File, Json, Machine, MaterialName, load_case, writing
from industriverse_cli.output import columns, console, print_json
from industriverse_cli.programs import end, judged, refusal_of

if TYPE_CHECKING:
    from twin_node.autocorrect import Autocorrection, Step


def autocorrect(
    file: File,
    machine: Machine = "prusa_mk3s",
    material: MaterialName = "",
    only: Annotated[
        str, typer.Option(metavar="NAMES", help="Rewrites to try, with commas between them. Default: all.")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the corrected program (.gcode or .arrow)."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that exists.")] = False,
    json: Json = False,
) -> None:
    """Show what rewrites of a program would save or mend. Without -o nothing is written.

    Each rewrite is proven to make the same part, passes the gates again, and is shown with the joules and seconds that
    it saves. With -o the program with all accepted rewrites is written, if the gates accept it; exit status 3 where
    they refuse even that.

    Example: industriverse autocorrect part.gcode --only switch_off_early,cool_bed -o better.gcode
    """
    names = _names(only)
    if output is not None:
        _writable(output, force)
    case = load_case(file, machine, material)
    result = _propose(case, names)
    refused = refusal_of(result.report)
    if output is not None and refused is None:
        _write(result, output)
    if json:
        print_json(_json(case, result, None if refused else output) | judged(refused))
    else:
        _print(case, result)
        console().print(_last_line(result, None if refused else output), style="dim", soft_wrap=True)
    end(refused)


def _names(only: str) -> list[str]:
    from industriverse_core.errors import ErrorCode, InputError
    from twin_node.autocorrect import REWRITES

    names = [name.strip() for name in only.split(",") if name.strip()]
    known = [rewrite.name for rewrite in REWRITES]
    for name in names:
        if name not in known:
            raise InputError(ErrorCode.USAGE, f"no rewrite is called '{name[:40]}'.", f"Known: {', '.join(known)}.")
    return names


def _writable(output: Path, force: bool) -> None:
    from industriverse_core.errors import ErrorCode, InputError

    if output.is_dir():
        raise InputError(ErrorCode.FILE_IS_DIRECTORY, f"{output}: is a directory.", "Name a file in it.")
    if output.suffix.lower() not in (".gcode", ".ngc", ".nc", ".arrow"):
        raise InputError(
            ErrorCode.USAGE, f"{output}: what kind of file is meant?", "Name it .gcode, .ngc, .nc or .arrow."
        )
    if output.exists() and not force:
        raise InputError(ErrorCode.USAGE, f"{output} exists already.", "Give another name, or --force.")


def _propose(case: Case, names: list[str]) -> Autocorrection:
    from shield_node.gates import check as run_gates
    from twin_node.autocorrect import propose

    return propose(
        case.program,
        case.profile,
        case.material,
        lambda program: run_gates(program, case.profile, case.material),
        names,
    )


def _write(result: Autocorrection, output: Path) -> None:
    from industriverse_core.files import replace_file
    from industriverse_core.gcode import write_gcode
    from industriverse_core.program import write_program

    with writing(output):
        if output.suffix.lower() == ".arrow":
            write_program(result.program, output)
        else:
            replace_file(output, write_gcode(result.program))


def _json(case: Case, result: Autocorrection, output: Path | None) -> dict[str, Any]:
    return {
        "program_digest": case.program.digest,
        "corrected_digest": result.program.digest,
        "machine": case.profile.id,
        "material": case.material.id,
        "verdict": result.report.verdict.name.lower(),
        "saved_j": result.saved_j,
        "saved_s": result.saved_s,
        "output": None if output is None else str(output),
        "rewrites": [_step_json(step) for step in result.steps],
    }


def _step_json(step: Step) -> dict[str, Any]:
    return {
        "name": step.rewrite.name,
        "does": step.rewrite.sentence,
        "side_effect": step.rewrite.side_effect,
        "accepted": not step.reason,
        "reason": step.reason,
        "saved_j": step.saved_j,
        "saved_s": step.saved_s,
        "findings_mended": step.mended,
        "instructions_fewer": step.instructions,
        "deviation_m": step.deviation.distance_m,
        "deviation_m3": step.deviation.volume_m3,
    }


def _print(case: Case, result: Autocorrection) -> None:
    from rich.text import Text

    from industriverse_core.artefacts import Verdict
    from industriverse_core.units import duration_text, energy_text

    out = console()
    name = case.program.metadata.name or "program"
    if not result.accepted:
        refused = result.report.verdict is Verdict.REFUSE
        nothing = ("no rewrite helps", "bold red") if refused else ("nothing to correct", "bold green")
        out.print(Text.assemble(nothing, f"  {name} on {case.profile.id}"))
    else:
        saved = f"saves {_signed(result.saved_j, energy_text)} and {_signed(result.saved_s, duration_text)}"
        out.print(Text.assemble((saved, "bold green"), f"  {name} on {case.profile.id} with {case.material.id}"))
    table = columns("", "rewrite", ">energy saved", ">time saved", ">mended", "same part within")
    for step in result.steps:
        what = Text.assemble(step.rewrite.sentence, (f"  [{step.rewrite.name}]", "dim cyan"))
        if step.rewrite.side_effect:
            what.append(f"\nchanges: {step.rewrite.side_effect}", style="yellow")
        if step.reason:
            what.append(f"\nnot taken: {step.reason}", style="dim")
        table.add_row(
            Text("no" if step.reason else "yes", style="dim" if step.reason else "bold green"),
            what,
            _signed(step.saved_j, energy_text),
            _signed(step.saved_s, duration_text),
            str(step.mended) if step.mended else "",
            _within(step),
        )
    if result.steps:
        out.print(table)


def _last_line(result: Autocorrection, written: Path | None) -> str:
    from industriverse_core.artefacts import Verdict

    if written is not None:
        return f"written: {written}"
    hint = " -o FILE writes the program with all that is marked yes." if result.accepted else ""
    return f"Nothing is written.{hint if result.report.verdict is not Verdict.REFUSE else ''}"


def _within(step: Step) -> str:
    distance_um, volume_mm3 = step.deviation.distance_m * 1e6, step.deviation.volume_m3 * 1e9
    if step.deviation.distance_m == 0.0 and step.deviation.volume_m3 == 0.0:
        return "exactly"
    return f"{distance_um:.2g} um, {volume_mm3:.1g} mm3"


def _signed(value: float, text: Any) -> str:
    if value != value:  # not predicted
        return "unknown"
    if abs(value) < 0.5:  # joules or seconds that nobody sees
        return "0"
    return f"-{text(-value)}" if value < 0 else text(value)
