"""One machine in the address space of the OPC UA server, and how a view of it becomes values.

Building blocks of OPC 40001-1: MachineIdentification, MachineryItemState, MachineryOperationMode, Monitoring.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from asyncua import Server, ua
from asyncua.common.instantiate_util import instantiate

from industriverse_core.machine import MachineProfile
from industriverse_core.telemetry import MachineState
from machine_node.doors.model import MachineView
from machine_node.doors.opcua_types import State, Vocabulary
from machine_node.doors.quantities import Quantity, Unit, quantities

# UNECE Recommendation 20: common code, symbol, description
UNITS = {
    Unit.METRE: ("MTR", "m", "metre"),
    Unit.CELSIUS: ("CEL", "°C", "degree Celsius"),
    Unit.WATT: ("WTT", "W", "watt"),
    Unit.JOULE: ("JOU", "J", "joule"),
    Unit.SECOND: ("SEC", "s", "second [unit of time]"),
    Unit.RATIO: ("C62", "1", "one"),
}
UNIT_NAMESPACE = "http://www.opcfoundation.org/UA/units/un/cefact"
UNKNOWN = "unknown"
CONSUMPTION = ("power", "energy")
ITEM_STATE = {
    MachineState.DISCONNECTED: "NotAvailable",
    MachineState.IDLE: "NotExecuting",
    MachineState.EXECUTING: "Executing",
    MachineState.HOLDING: "NotExecuting",
    MachineState.LATCHED: "OutOfService",
    MachineState.FAULT: "OutOfService",
}
PROCESSING = (MachineState.IDLE, MachineState.EXECUTING, MachineState.HOLDING)
Ids = ua.ObjectIds


@dataclass(frozen=True, slots=True)
class Shown:
    """A variable and what it says of a view."""

    node: ua.NodeId
    of: Callable[[MachineView], ua.DataValue]


async def add_machine(
    server: Server, words: Vocabulary, index: int, cell: str, profile: MachineProfile
) -> tuple[Shown, ...]:
    """Put a machine into the folder of machines, its nodes into namespace `index`; the variables that change."""
    machine = await words.machines.add_object(ua.NodeId(profile.id, index), ua.QualifiedName(profile.id, index))
    title = ua.Variant(ua.LocalizedText(profile.title), ua.VariantType.LocalizedText)
    await machine.write_attribute(ua.AttributeIds.DisplayName, ua.DataValue(title))
    place = _Place(words, index, profile.id)
    blocks = await machine.add_folder(
        place.node("MachineryBuildingBlocks"), ua.QualifiedName("MachineryBuildingBlocks", words.machinery)
    )
    identification = await place.add_in(machine, words.identification, "Identification", words.di)
    monitoring = await place.add_in(machine, words.monitoring, "Monitoring", words.machinery)
    for block in (identification, monitoring):
        await blocks.add_reference(block.nodeid, Ids.HasAddIn)
    state = await place.add_in(blocks, words.item_state, "MachineryItemState", words.machinery)
    mode = await place.add_in(blocks, words.operation_mode, "MachineryOperationMode", words.machinery)
    await _identify(identification, place, cell, profile)
    return (
        *await _state_machine(state, words.item_states, lambda view: ITEM_STATE[view.state]),
        *await _state_machine(mode, words.operation_modes, _mode),
        *await _monitor(server, monitoring, place, profile),
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a machine's nodes go: their vocabulary, their namespace, and what their ids begin with."""

    words: Vocabulary
    index: int
    machine: str

    def node(self, name: str) -> ua.NodeId:
        """A node id that stays the same from start to start."""
        return ua.NodeId(f"{self.machine}.{name}", self.index)

    async def add_in(self, parent: Any, kind: ua.NodeId, name: str, names: int) -> Any:
        """An instance of a building block, below `parent` by HasAddIn."""
        made = await parent.add_object(self.node(name), ua.QualifiedName(name, names), kind, instantiate_optional=False)
        for reference in await parent.get_references(Ids.HierarchicalReferences, ua.BrowseDirection.Forward):
            if reference.NodeId == made.nodeid:  # asyncua's choice depends on the parent's type
                await parent.delete_reference(made.nodeid, reference.ReferenceTypeId)
        await parent.add_reference(made.nodeid, Ids.HasAddIn)
        return made


async def _identify(identification: Any, place: _Place, cell: str, profile: MachineProfile) -> None:
    """The nameplate. What a profile does not say is 'unknown': the specification wants a value."""
    text, string = ua.VariantType.LocalizedText, ua.VariantType.String
    di, machinery = place.words.di, place.words.machinery
    plate = (
        (di, "Manufacturer", ua.LocalizedText(profile.manufacturer or UNKNOWN), text),
        (di, "Model", ua.LocalizedText(profile.title), text),
        (di, "SerialNumber", profile.serial_number or UNKNOWN, string),
        (di, "ProductInstanceUri", f"urn:industriverse:{cell}:{profile.id}", string),
        (di, "DeviceClass", profile.kind, string),
        (di, "ComponentName", ua.LocalizedText(profile.id), text),
        (machinery, "Location", cell, string),
    )
    there = {(await child.read_browse_name()).to_string(): child for child in await identification.get_properties()}
    for names, name, value, kind in plate:
        browse_name = ua.QualifiedName(name, names)
        if browse_name.to_string() in there:  # the type has made it
            await there[browse_name.to_string()].write_value(ua.Variant(value, kind))
        else:
            await identification.add_property(place.node(f"Identification.{name}"), browse_name, value, kind)


async def _state_machine(
    machine: Any, states: Mapping[str, State], name_of: Callable[[MachineView], str]
) -> tuple[Shown, ...]:
    """CurrentState with Id and Number."""
    current = await machine.get_child("0:CurrentState")
    state_id = await current.get_child("0:Id")
    number = await current.add_property(0, "Number", 0, ua.VariantType.UInt32)
    return (
        _shown(current, ua.VariantType.LocalizedText, lambda view: ua.LocalizedText(name_of(view))),
        _shown(state_id, ua.VariantType.NodeId, lambda view: states[name_of(view)].node),
        _shown(number, ua.VariantType.UInt32, lambda view: states[name_of(view)].number),
    )


def _mode(view: MachineView) -> str:
    return "Processing" if view.state in PROCESSING else "None"


async def _monitor(server: Server, monitoring: Any, place: _Place, profile: MachineProfile) -> list[Shown]:
    """Process values and consumption with units and ranges; status as texts and numbers."""
    parts = {name: await _part(monitoring, place, name) for name in ("Status", "Process", "Consumption")}
    found = [
        await _analog(server, parts["Consumption" if quantity.key in CONSUMPTION else "Process"], place, quantity)
        for quantity in quantities(profile)
    ]
    nothing = MachineView(profile)
    for name, kind, value in STATUS:
        browse_name = ua.QualifiedName(name, place.index)
        variable = await parts["Status"].add_variable(place.node(f"Status.{name}"), browse_name, value(nothing), kind)
        found.append(_shown(variable, kind, value))
    return found


async def _part(monitoring: Any, place: _Place, name: str) -> Any:
    """A folder of Monitoring; the type may have made it."""
    browse_name = ua.QualifiedName(name, place.words.machinery)
    try:
        return await monitoring.get_child(browse_name)
    except ua.uaerrors.BadNoMatch:
        return await monitoring.add_folder(place.node(name), browse_name)


async def _analog(server: Server, parent: Any, place: _Place, quantity: Quantity) -> Shown:
    """A number as AnalogUnitRangeType; as AnalogUnitType where no range is known."""
    ranged = math.isfinite(quantity.low)
    kind = server.get_node(ua.NodeId(Ids.AnalogUnitRangeType if ranged else Ids.AnalogUnitType))
    node = place.node(f"Monitoring.{quantity.key}")
    browse_name = ua.QualifiedName(quantity.key, place.index)
    title = ua.LocalizedText(quantity.title)
    variable = (await instantiate(parent, kind, node, browse_name, title, instantiate_optional=False))[0]
    double = ua.Variant(ua.NodeId(Ids.Double), ua.VariantType.NodeId)
    await variable.write_attribute(ua.AttributeIds.DataType, ua.DataValue(double))
    units = await variable.get_child("0:EngineeringUnits")
    await units.write_value(ua.Variant(_unit(quantity.unit), ua.VariantType.ExtensionObject))
    if ranged:
        bounds = await variable.get_child("0:EURange")
        await bounds.write_value(ua.Variant(ua.Range(quantity.low, quantity.high), ua.VariantType.ExtensionObject))
    return Shown(variable.nodeid, lambda view: _number(quantity.of(view), view.online))


def _unit(unit: Unit) -> ua.EUInformation:
    """A unit by its UNECE code; the number is the code's letters, by OPC 10000-8, 5.6.3."""
    code, symbol, name = UNITS[unit]
    number = int.from_bytes(code.encode("ascii"), "big")
    return ua.EUInformation(UNIT_NAMESPACE, number, ua.LocalizedText(symbol), ua.LocalizedText(name))


def _number(value: float, online: bool) -> ua.DataValue:
    """A number with its quality: what is not known is no value."""
    if math.isfinite(value):
        return ua.DataValue(ua.Variant(value, ua.VariantType.Double))
    code = ua.StatusCodes.BadNoData if online else ua.StatusCodes.BadNoCommunication
    return ua.DataValue(ua.Variant(math.nan, ua.VariantType.Double), ua.StatusCode(code))


def _shown(node: Any, kind: ua.VariantType, value: Callable[[MachineView], Any]) -> Shown:
    return Shown(node.nodeid, lambda view: ua.DataValue(ua.Variant(value(view), kind)))


def _of_stop(name: str, nothing: Any) -> Callable[[MachineView], Any]:
    return lambda view: nothing if view.last_stop is None else getattr(view.last_stop, name)


def _of_trace(name: str) -> Callable[[MachineView], int]:
    return lambda view: 0 if view.trace is None else int(getattr(view.trace, name))


STATUS: tuple[tuple[str, ua.VariantType, Callable[[MachineView], Any]], ...] = (
    ("State", ua.VariantType.String, lambda view: view.state.name),
    ("SafetyState", ua.VariantType.String, lambda view: "UNKNOWN" if view.safety is None else view.safety.state.name),
    ("AlarmCode", ua.VariantType.UInt16, lambda view: 0 if view.alarm is None else view.alarm.code),
    ("AlarmText", ua.VariantType.String, lambda view: "" if view.alarm is None else view.alarm.cause),
    ("LastStopCode", ua.VariantType.UInt16, _of_stop("code", 0)),
    ("LastStopCause", ua.VariantType.String, _of_stop("cause", "")),
    ("Job", ua.VariantType.String, lambda view: "" if view.job is None else view.job.job_id),
    ("JobState", ua.VariantType.String, lambda view: "" if view.job is None else view.job.state.name),
    ("Program", ua.VariantType.String, lambda view: "" if view.job is None else view.job.program_name),
    ("InstructionsExecuted", ua.VariantType.UInt32, _of_trace("executed")),
    ("InstructionsTotal", ua.VariantType.UInt32, _of_trace("total")),
)
