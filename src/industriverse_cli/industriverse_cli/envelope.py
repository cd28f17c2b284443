"""envelope: learn which machine states are known to be good, and ask whether a program stays among them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from industriverse_cli.options import File, Json, Machine, MaterialName, Stock, load_case
from industriverse_cli.output import EXIT_REFUSED, columns, complain, console, facts, print_json
from industriverse_core.errors import ErrorCode, InputError

if TYPE_CHECKING:
    import numpy as np

    from industriverse_cli.options import Case
    from shield_node.envelope import Channel, Envelope, Judgement

app = typer.Typer(help="Which machine states are known to be good (energy map).", no_args_is_help=True)
SHOWN = 10  # windows that are printed
CHANCE = 0.999  # that a program of good states has no more unlikely ones than are let pass
ACCEPT, REFUSE = "accept", "refuse"
Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...", help="Good runs: cells or telemetry_buffer.h5 files; or programs, as they are predicted."
    ),
]
Map = Annotated[Path, typer.Option("--map", "-m", metavar="MAP.npz", help="The map.", show_default=False)]


@app.command("learn")
def learn(
    sources: Sources,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="MAP.npz", help="Where the map goes.")],
    machine: Machine = "prusa_mk3s",
    material: MaterialName = "",
    bad: Annotated[
        list[str] | None, typer.Option("--bad", metavar="SOURCE", help="Runs known to be bad.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Learn a machine's map from good runs. Half of the states set the limit: of new good ones at most 1 % are refused.

    Example: industriverse envelope learn demo -o demo.npz
    """
    from industriverse_core.machine import load_machine
    from shield_node.envelope import learn_envelope
    from shield_node.envelope_file import save_envelope
    from shield_node.machine_states import channels_of

    channels = channels_of(load_machine(machine))
    good = _gathered(sources, machine, material, channels)
    known_bad = _gathered(bad, machine, material, channels) if bad else None
    provenance = f"{machine}: {len(good)} windows of " + ", ".join(Path(source).name for source in sources)
    envelope = learn_envelope(good, channels, known_bad, provenance=provenance[:1000])
    save_envelope(envelope, output)
    told = {"map": str(output), "states": len(good), "bad": 0 if known_bad is None else len(known_bad)}
    if json:
        print_json({**told, "threshold": envelope.threshold})
    else:
        console().print(facts({"learned": f"{told['states']} windows of 10 s", "known bad": str(told["bad"])}))
        _print_ranges(envelope)
        console().print(f"wrote {output}")


@app.command("check")
def check(
    file: File,
    envelope_file: Map,
    machine: Machine = "prusa_mk3s",
    material: MaterialName = "",
    stock: Stock = "",
    json: Json = False,
) -> None:
    """Ask whether the states that a program is predicted to go through are known to be good. Exit status 3: no.

    One state outside the range that was seen, beyond a hard limit, or like a known-bad one refuses; so do more
    unlikely ones than chance gives. Ask with a map learned from predictions: a real heater's ramp is not an ideal one.

    Example: industriverse envelope check part.gcode --map demo.npz
    """
    import numpy as np

    from shield_node.envelope_file import load_envelope
    from shield_node.machine_states import WINDOW_S, need_map_of

    envelope = load_envelope(envelope_file)
    case = load_case(file, machine, material, stock=stock)
    need_map_of(envelope, case.profile)
    begin_s, states, lines = _predicted(case, envelope.channels)
    if not len(states):
        raise InputError(
            ErrorCode.CANNOT_PREDICT,
            f"{file} ends before one window of {WINDOW_S:g} s is full; nothing can be asked about it.",
            "Check longer programs.",
        )
    refused = np.flatnonzero(~envelope.accepts(states))
    judgements = [(begin_s[at], int(lines[at]), envelope.judge(states[at])) for at in refused]
    verdict = _verdict([judgement for _, _, judgement in judgements], len(states))
    if json:
        found = [_facts(begin, line, judgement) for begin, line, judgement in judgements[:SHOWN]]
        told = {"verdict": verdict, "map": envelope.provenance, "windows": len(states), "unlike": len(refused)}
        print_json({**told, "first": found})
    else:
        _print(envelope, verdict, len(states), judgements)
    if verdict == REFUSE:
        raise typer.Exit(EXIT_REFUSED)


def _verdict(judgements: list[Judgement], windows: int) -> str:
    """Of good states, too, one in a hundred has too high an energy: only more of them than chance gives refuse."""
    from scipy.stats import binom

    from shield_node.envelope import REFUSED_SHARE, Reason

    unlikely = sum(judgement.reason is Reason.ENERGY for judgement in judgements)
    by_chance = int(binom.ppf(CHANCE, windows, REFUSED_SHARE))
    return REFUSE if unlikely < len(judgements) or unlikely > by_chance else ACCEPT


def _gathered(sources: list[str], machine: str, material: str, channels: tuple[Channel, ...]) -> np.ndarray:
    import numpy as np

    parts = [np.empty((0, len(channels)))]
    for source in sources:
        path = Path(source)
        if path.is_file() and path.suffix.lower() not in (".h5", ".hdf5"):
            parts.append(_predicted(load_case(path, machine, material), channels)[1])
        else:
            parts.append(_recorded(path, channels))
    return np.vstack(parts)


def _recorded(source: Path, channels: tuple[Channel, ...]) -> np.ndarray:
    import numpy as np

    from industriverse_core.store import home_directory
    from machine_node.hub.reading import RecordSet
    from shield_node.machine_states import recorded_states

    with RecordSet.find(source, home_directory(), on_skipped=complain) as records:
        found = [stream.name for stream in records.streams if stream.name.endswith("telemetry")]
        parts = [recorded_states(records.rows(name), channels) for name in found]
    return np.vstack([np.empty((0, len(channels))), *parts])


def _predicted(case: Case, channels: tuple[Channel, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """When each window begins, its state, and the source line that is executed then."""
    import numpy as np

    from shield_node.machine_states import windowed
    from twin_node.timeline import build_timeline

    timeline = build_timeline(case.program, case.profile, case.material)
    course, start_c = timeline.course, timeline.start_c
    # a wait is one step of minutes: its ramp is drawn through pieces of a second
    pieces = np.maximum(1, np.ceil(course.duration_s)).astype(int)
    step = np.repeat(np.arange(len(pieces)), pieces)
    share = (np.arange(len(step)) - np.repeat(np.cumsum(pieces) - pieces, pieces) + 0.5) / pieces[step]
    end_s = np.cumsum((course.duration_s / pieces)[step])
    watts = sum(course.energy_j.values()) / np.maximum(course.duration_s, 1e-12)
    numbers = {"power": np.broadcast_to(watts, len(pieces))[step], "fan": course.steps.fan[step]}
    heaters = (
        ("hotend", course.hotend_c, course.steps.hotend_target_c, start_c[0]),
        ("bed", course.bed_c, course.steps.bed_target_c, start_c[1]),
    )
    for name, end_c, target_c, begin_c in heaters:
        before_c = np.concatenate([[begin_c], end_c[:-1]])[: len(end_c)]
        here_c = before_c[step] + share * (end_c - before_c)[step]
        numbers[name] = here_c
        numbers[f"{name}_below_target"] = np.where(target_c[step] > 0.0, target_c[step] - here_c, 0.0)
    states = windowed(end_s, np.column_stack([numbers[channel.name] for channel in channels]))
    at = step[np.minimum(np.searchsorted(end_s, states.begin_s, side="right"), max(0, len(end_s) - 1))]
    return states.begin_s, states.values, case.program.line[timeline.merged.first[at]]


def _facts(begin_s: float, line: int, judgement: Judgement) -> dict[str, Any]:
    return {
        "time_s": float(begin_s),
        "line": line,
        "reason": judgement.reason.name,
        "channel": judgement.channel,
        "message": judgement.message,
    }


def _print_ranges(envelope: Envelope) -> None:
    table = columns("channel", "unit", ">lowest", ">highest")
    for at, channel in enumerate(envelope.channels):
        table.add_row(channel.name, channel.unit, f"{envelope.low[at]:.4g}", f"{envelope.high[at]:.4g}")
    console().print(table)


def _print(envelope: Envelope, verdict: str, windows: int, judgements: list[tuple[float, int, Judgement]]) -> None:
    out = console()
    out.print(f"map: {envelope.provenance}")
    unlike = f"{len(judgements)} of {windows} windows of 10 s are unlike those known to be good"
    if verdict == ACCEPT:
        out.print(f"accept: {unlike}" + ("; so many come by chance." if judgements else "."))
    else:
        out.print(f"refuse: {unlike}.")
    if judgements:
        table = columns(">after", ">line", "reason", "what")
        for begin_s, line, judgement in judgements[:SHOWN]:
            reason = judgement.reason.name.lower().replace("_", " ")
            table.add_row(f"{begin_s:.0f} s", str(line), reason, judgement.message)
        out.print(table)
    if len(judgements) > SHOWN:
        out.print(f"... and {len(judgements) - SHOWN} more")
