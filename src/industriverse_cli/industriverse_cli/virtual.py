"""virtual printer | mill | fault: machines to develop against, on serial ports of this computer."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from industriverse_cli.options import Json
from industriverse_cli.output import columns, console, facts, print_json

if TYPE_CHECKING:
    from machine_node.virtual.process import VirtualMachine

app = typer.Typer(
    no_args_is_help=True,
    help="Virtual machines on pseudo-terminals: real protocols, independent physics, faults on demand.",
)

Link = Annotated[Path, typer.Option(metavar="PATH", help="The serial port to make (a link).", show_default=False)]
Speed = Annotated[float, typer.Option(min=1.0, max=100.0, help="Physics seconds in a second.")]
Seed = Annotated[int, typer.Option(help="Draws the machine's true parameters, its noise and its bad luck.")]
MeterLink = Annotated[
    Path | None, typer.Option(metavar="PATH", help="Serial port of a power meter.", show_default=False)
]
AccelerometerLink = Annotated[
    Path | None, typer.Option(metavar="PATH", help="Serial port of an accelerometer.", show_default=False)
]
Control = Annotated[
    Path | None, typer.Option(metavar="PATH", help="Unix socket that takes faults.", show_default=False)
]
Journal = Annotated[
    Path | None, typer.Option(metavar="PATH", help="JSON lines of what it saw and did.", show_default=False)
]
Profile = Annotated[str, typer.Option(metavar="NAME", help="Machine profile: a name, or the path of a YAML file.")]


@app.command("printer")
def printer(
    link: Link,
    speed: Speed = 1.0,
    seed: Seed = 0,
    machine: Profile = "prusa_mk3s",
    meter_link: MeterLink = None,
    accelerometer_link: AccelerometerLink = None,
    control: Control = None,
    journal: Journal = None,
) -> None:
    """A Marlin printer; any host program can open its port. Ends with ctrl-C.

    Example: industriverse virtual printer --link /tmp/printer --speed 10 --seed 7
    """
    _run("printer", machine, link, speed, seed, meter_link, accelerometer_link, control, journal)


@app.command("mill")
def mill(
    link: Link,
    speed: Speed = 1.0,
    seed: Seed = 0,
    machine: Profile = "grbl_mill",
    meter_link: MeterLink = None,
    accelerometer_link: AccelerometerLink = None,
    control: Control = None,
    journal: Journal = None,
) -> None:
    """A GRBL 1.1 mill with a blank on its table; any sender can open its port. Ends with ctrl-C.

    Example: industriverse virtual mill --link /tmp/mill --control /tmp/mill.sock
    """
    _run("mill", machine, link, speed, seed, meter_link, accelerometer_link, control, journal)


def _run(
    kind: str,
    machine: str,
    link: Path,
    speed: float,
    seed: int,
    meter_link: Path | None,
    accelerometer_link: Path | None,
    control: Path | None,
    journal: Path | None,
) -> None:
    from industriverse_cli.options import writing
    from industriverse_core.errors import ErrorCode, InputError
    from industriverse_core.machine import load_machine
    from machine_node.virtual.process import MachineOptions, VirtualMachine

    profile = load_machine(machine)
    if profile.kind != kind:
        other = f"industriverse virtual {profile.kind} --machine {machine}"
        raise InputError(ErrorCode.USAGE, f"machine '{profile.id}' is a {profile.kind}, not a {kind}.", f"Try: {other}")
    options = MachineOptions(
        machine, link, speed, seed, meter_link, accelerometer_link, control, journal
    )  # fmt: skip
    with writing(journal or link):
        made = VirtualMachine(options)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, made.stop)
    try:
        _introduce(made, options)
        made.run()
    finally:
        made.close()


def _introduce(machine: VirtualMachine, options: Any) -> None:
    """What it is and where it is found."""
    profile = machine.profile
    family = {"marlin": "Marlin 2.1", "grbl": "GRBL 1.1h"}[profile.protocol.family]
    rows = {
        "machine": f"{profile.id}: {profile.title}",
        "speaks": f"{family}, any baud rate",
        "port": str(options.link),
        "physics": f"{options.speed:g} times as fast as the clock, seed {options.seed}",
        "meter": str(options.meter_link or ""),
        "accelerometer": str(options.accelerometer_link or ""),
        "faults": str(options.control or ""),
        "journal": str(options.journal or ""),
    }
    out = console()
    out.print(facts({name: text for name, text in rows.items() if text}))
    if options.control is not None:
        out.print(f"Try: industriverse virtual fault --control {options.control}", soft_wrap=True)
    out.file.flush()


@app.command("fault")
def fault(
    control: Annotated[Path, typer.Option(metavar="PATH", help="The machine's control socket.", show_default=False)],
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="The fault; none = list them.", show_default=False)
    ] = "",
    value: Annotated[
        float | None, typer.Option(help="How much; its meaning is the fault's.", show_default=False)
    ] = None,
    target: Annotated[str, typer.Option(help="Of what: hotend, bed, x, y, z.", show_default=False)] = "",
    after: Annotated[float, typer.Option(min=0.0, help="Begin after so many physics seconds.")] = 0.0,
    duration: Annotated[
        float, typer.Option("--for", min=0.0, help="End after so many physics seconds; 0 = until --off.")
    ] = 0.0,
    off: Annotated[bool, typer.Option("--off", help="End the fault.")] = False,
    state: Annotated[bool, typer.Option("--state", help="Print the machine's true state instead.")] = False,
    json: Json = False,
) -> None:
    """Let a virtual machine fail, or list what can fail.

    Example: industriverse virtual fault --control /tmp/printer.sock heater_stuck_on --target bed --after 60
    """
    from industriverse_core.errors import ErrorCode, InputError
    from machine_node.virtual.control import ask

    request: dict[str, Any] = {"faults": True}
    if state:
        request = {"state": True}
    elif name:
        request = {"fault": name, "on": not off, "after_s": after, "for_s": duration}
        request |= {} if value is None else {"value": value}
        request |= {"target": target} if target else {}
    answer = ask(control, request)
    if not answer.get("ok"):
        raise InputError(ErrorCode.USAGE, f"{answer.get('error', 'refused')}", "")
    if json:
        print_json(answer)
    elif state:
        console().print(facts({key: str(item) for key, item in answer["state"].items()}))
    elif name:
        console().print(f"{name} {'ends' if off else 'begins'} {f'in {after:g} s' if after else 'now'}.")
    else:
        table = columns("fault", "value", "of", "what happens")
        for kind in answer["faults"]:
            span = f"{kind['value']:g} ({kind['lowest']:g} to {kind['highest']:g})" if "value" in kind else ""
            table.add_row(kind["name"], span, ", ".join(kind.get("targets", ())), kind["description"])
        console().print(table)
