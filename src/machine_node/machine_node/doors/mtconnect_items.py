"""A machine in MTConnect's words: components, data items, and what each item says of a view.

Names, units and controlled values: MTConnect Standard 2.0, Part 2 (Device Information Model) and Part 3 (Observation
Information Model). Numbers become MTConnect's units: millimetre, degree Celsius, watt, watt second (= joule).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

from industriverse_core.digest import NO_DIGEST
from industriverse_core.machine import MachineProfile
from industriverse_core.states import JobStage
from industriverse_core.telemetry import MachineState
from industriverse_core.units import MM
from machine_node.doors.model import MachineView
from machine_node.doors.quantities import Quantity, quantities

UNAVAILABLE = "UNAVAILABLE"
EXECUTION = {
    MachineState.IDLE: "READY",
    MachineState.EXECUTING: "ACTIVE",
    MachineState.HOLDING: "FEED_HOLD",
    MachineState.LATCHED: "STOPPED",
    MachineState.FAULT: "INTERRUPTED",
}


class Category(StrEnum):
    """What kind of observation an item gives."""

    SAMPLE = "SAMPLE"
    EVENT = "EVENT"
    CONDITION = "CONDITION"


@dataclass(frozen=True, slots=True)
class Value:
    """What is observed: the text; of conditions also the level ("Normal", "Warning", "Fault", "Unavailable")."""

    text: str
    level: str = ""
    native_code: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One DataItem. `of` is what it says of a view; `units` are MTConnect's."""

    id: str
    category: Category
    type: str
    of: Callable[[MachineView], Value]
    sub_type: str = ""
    units: str = ""

    @property
    def element(self) -> str:
        """Name of its observations in a stream: TOOL_NUMBER becomes ToolNumber."""
        return "".join(word.capitalize() for word in self.type.split("_"))


@dataclass(frozen=True, slots=True)
class Component:
    """One component of the device, with its items and the components in it."""

    kind: str
    id: str
    name: str
    items: tuple[Item, ...] = ()
    parts: tuple[Component, ...] = field(default=())

    def walk(self) -> Iterator[Component]:
        """This component and all in it, outside first."""
        yield self
        for part in self.parts:
            yield from part.walk()


def device_of(profile: MachineProfile) -> Component:
    """The machine as a device: axes, controller with its path, heaters, electric supply."""
    machine = profile.id
    shown = {quantity.key: quantity for quantity in quantities(profile)}
    axes = Component("Axes", f"{machine}_axes", "Axes", parts=tuple(_axis(machine, name, shown) for name in "xyz"))
    heaters = tuple(_heater(machine, name, shown) for name in ("hotend", "bed") if f"{name}_target" in shown)
    electric = Component(
        "Electric",
        f"{machine}_electric",
        "electric",
        (
            _sample(machine, "power", "WATTAGE", "WATT", shown["power"], 1.0, 1),
            _sample(machine, "energy", "ELECTRICAL_ENERGY", "WATT_SECOND", shown["energy"], 1.0, 0),
        ),
    )
    systems = Component("Systems", f"{machine}_systems", "Systems", parts=(*heaters, electric))
    items = (
        Item(f"{machine}_avail", Category.EVENT, "AVAILABILITY", _availability),
        Item(f"{machine}_asset_chg", Category.EVENT, "ASSET_CHANGED", _nothing),
        Item(f"{machine}_asset_rem", Category.EVENT, "ASSET_REMOVED", _nothing),
    )
    return Component("Device", machine, machine, items, (axes, _controller(machine), systems))


def _axis(machine: str, name: str, shown: dict[str, Quantity]) -> Component:
    key = f"{machine}_{name}"
    items = (
        _sample(key, "actual", "POSITION", "MILLIMETER", shown[f"{name}_reported"], 1.0 / MM, 3, "ACTUAL"),
        _sample(key, "commanded", "POSITION", "MILLIMETER", shown[f"{name}_commanded"], 1.0 / MM, 3, "COMMANDED"),
    )
    return Component("Linear", key, name.upper(), items)


def _heater(machine: str, name: str, shown: dict[str, Quantity]) -> Component:
    key = f"{machine}_{name}"
    items = (
        _sample(key, "actual", "TEMPERATURE", "CELSIUS", shown[f"{name}_temperature"], 1.0, 2, "ACTUAL"),
        _sample(key, "target", "TEMPERATURE", "CELSIUS", shown[f"{name}_target"], 1.0, 2, "COMMANDED"),
    )
    return Component("Heating", key, name, items)


def _controller(machine: str) -> Component:
    path = Component(
        "Path",
        f"{machine}_path",
        "path",
        (
            Item(f"{machine}_execution", Category.EVENT, "EXECUTION", _execution),
            Item(f"{machine}_mode", Category.EVENT, "CONTROLLER_MODE", _mode),
            Item(f"{machine}_program", Category.EVENT, "PROGRAM", _program),
            Item(f"{machine}_blocks", Category.EVENT, "BLOCK_COUNT", _blocks),
            Item(f"{machine}_process", Category.EVENT, "PROCESS_OCCURRENCE_ID", _job),
        ),
    )
    items = (
        Item(f"{machine}_system", Category.CONDITION, "SYSTEM", _system),
        Item(f"{machine}_stop", Category.EVENT, "MESSAGE", _last_stop),
    )
    return Component("Controller", f"{machine}_controller", "controller", items, (path,))


def _sample(
    parent: str, name: str, kind: str, units: str, quantity: Quantity, factor: float, digits: int, sub_type: str = ""
) -> Item:
    value = partial(_number, quantity, factor, digits)
    return Item(f"{parent}_{name}", Category.SAMPLE, kind, value, sub_type, units)


def _number(quantity: Quantity, factor: float, digits: int, view: MachineView) -> Value:
    value = quantity.of(view) * factor
    # + 0.0 makes -0.0 to 0.0, which would be another text
    return Value(f"{round(value, digits) + 0.0:.{digits}f}" if math.isfinite(value) else UNAVAILABLE)


def _availability(view: MachineView) -> Value:
    return Value(UNAVAILABLE if view.state is MachineState.DISCONNECTED else "AVAILABLE")


def _nothing(view: MachineView) -> Value:
    """This agent keeps no assets."""
    return Value(UNAVAILABLE)


def _execution(view: MachineView) -> Value:
    return Value(EXECUTION.get(view.state, UNAVAILABLE))


def _mode(view: MachineView) -> Value:
    """Machines of a cell are driven by programs only."""
    return Value(UNAVAILABLE if view.state is MachineState.DISCONNECTED else "AUTOMATIC")


def _program(view: MachineView) -> Value:
    """The job's name of the program, else the program's digest; empty while none is loaded."""
    sample = view.sample
    if sample is None or view.state is MachineState.DISCONNECTED:
        return Value(UNAVAILABLE)
    if sample.program_digest == NO_DIGEST:
        return Value("")
    known = view.job is not None and view.job.job_id == sample.job_id and view.job.program_name
    return Value(str(known) if known else sample.program_digest.hex())


def _blocks(view: MachineView) -> Value:
    """Instructions that are done, of the running program."""
    if view.trace is None or view.state is MachineState.DISCONNECTED:
        return Value(UNAVAILABLE)
    return Value(str(view.trace.executed))


def _job(view: MachineView) -> Value:
    job = view.job
    if job is None or job.state in (JobStage.COMPLETED, JobStage.ABORTED, JobStage.REFUSED):
        return Value(UNAVAILABLE)
    return Value(job.job_id)


def _system(view: MachineView) -> Value:
    state = view.state
    if state is MachineState.DISCONNECTED:
        return Value("", "Unavailable")
    if view.alarm is not None:
        return Value(view.alarm.cause, "Fault", str(view.alarm.code))
    if state is MachineState.HOLDING:
        return Value("motion is held until permits return", "Warning")
    return Value("", "Normal")


def _last_stop(view: MachineView) -> Value:
    """Why the machine was stopped the last time; kept after the stop was cleared."""
    stop = view.last_stop
    return Value(UNAVAILABLE) if stop is None else Value(stop.cause, "", str(stop.code))
