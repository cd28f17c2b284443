"""The types and browse names of OPC UA for Machinery (OPC 40001-1), official where their nodesets are at hand.

Without the nodesets of OPC Foundation, types with the same browse names are made in a namespace of this project. A
client that looks for the official namespace does not find it then, and should not: the types are only alike.
asyncua is imported here and in `opcua` alone; `opcua` says what to do where it is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncua import Server, ua

from industriverse_core.errors import CoreError, ErrorCode, InputError, ProfileError
from industriverse_core.files import read_bytes

OWN_TYPES = "urn:industriverse:machinery"
DI = "http://opcfoundation.org/UA/DI/"
MACHINERY = "http://opcfoundation.org/UA/Machinery/"
NODESETS = ("Opc.Ua.Di.NodeSet2.xml", "Opc.Ua.IA.NodeSet2.xml", "Opc.Ua.Machinery.NodeSet2.xml")
MAX_NODESET = 16 << 20  # bytes

# Node ids of Opc.Ua.Machinery.NodeSet2.xml, version 1.04
MACHINES_FOLDER = 1001
IDENTIFICATION_TYPE = 1012
ITEM_STATE_TYPE = 1002
OPERATION_MODE_TYPE = 1008
MONITORING_TYPE = 1014
ITEM_STATES = {"NotAvailable": (5005, 0), "OutOfService": (5004, 1), "NotExecuting": (5007, 2), "Executing": (5006, 3)}
OPERATION_MODES = {"None": (5024, 0), "Maintenance": (5025, 1), "Setup": (5027, 2), "Processing": (5026, 3)}

Ids = ua.ObjectIds


@dataclass(frozen=True, slots=True)
class State:
    """One state of a finite state machine: its object's id and its number."""

    node: ua.NodeId
    number: int


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What machines are made of.

    Attributes:
        official: whether these are OPC Foundation's own nodes.
        di, machinery: namespace indices of the browse names that the specification gives to each.
        machines: the folder of all machines.
        identification, item_state, operation_mode, monitoring: types.
        item_states, operation_modes: states by name.
    """

    official: bool
    di: int
    machinery: int
    machines: Any
    identification: ua.NodeId
    item_state: ua.NodeId
    operation_mode: ua.NodeId
    monitoring: ua.NodeId
    item_states: Mapping[str, State]
    operation_modes: Mapping[str, State]


async def vocabulary(server: Server, nodesets: str) -> Vocabulary:
    """The official vocabulary from a folder of nodesets; where the folder's name is empty, this project's own.

    Raises InputError for a nodeset that is missing or cannot be read, ProfileError for one that is not what it says.
    """
    return await _own(server) if not nodesets else await _official(server, Path(nodesets))


async def _official(server: Server, folder: Path) -> Vocabulary:
    for name in NODESETS:
        try:
            data = read_bytes(folder / name, MAX_NODESET)
        except CoreError as error:
            raise InputError(
                error.code,
                error.message,
                "The folder needs OPC Foundation's nodesets DI, IA and Machinery; the npm package node-opcua-nodesets "
                "has them.",
            ) from error
        try:
            # not strict: asyncua leaves out nine lock objects of DI's abstract types, which no machine here has
            await server.import_xml(xmlstring=data, strict_mode=False)
        except Exception as error:
            raise _no_nodeset(folder / name, type(error).__name__) from error
    uris = await server.get_namespace_array()
    if DI not in uris or MACHINERY not in uris:
        raise _no_nodeset(folder, "no namespace of DI or Machinery")
    index = uris.index(MACHINERY)
    ids = {name: ua.NodeId(name, index) for name in (MACHINES_FOLDER, IDENTIFICATION_TYPE, ITEM_STATE_TYPE)}
    ids |= {name: ua.NodeId(name, index) for name in (OPERATION_MODE_TYPE, MONITORING_TYPE)}
    for known in ids.values():
        try:
            await server.get_node(known).read_browse_name()
        except ua.UaError as error:
            raise _no_nodeset(folder / NODESETS[2], f"no node i={known.Identifier}") from error
    return Vocabulary(
        official=True,
        di=uris.index(DI),
        machinery=index,
        machines=server.get_node(ids[MACHINES_FOLDER]),
        identification=ids[IDENTIFICATION_TYPE],
        item_state=ids[ITEM_STATE_TYPE],
        operation_mode=ids[OPERATION_MODE_TYPE],
        monitoring=ids[MONITORING_TYPE],
        item_states={name: State(ua.NodeId(node, index), number) for name, (node, number) in ITEM_STATES.items()},
        operation_modes={
            name: State(ua.NodeId(node, index), number) for name, (node, number) in OPERATION_MODES.items()
        },
    )


def _no_nodeset(path: Path, why: str) -> ProfileError:
    return ProfileError(
        ErrorCode.BAD_PARAMETER,
        f"{path}: is no nodeset of OPC UA for Machinery ({why}).",
        "Use version 1.04 or later, or leave opcua_nodesets out.",
    )


async def _own(server: Server) -> Vocabulary:
    """The same browse names in a namespace of this project."""
    index = await server.register_namespace(OWN_TYPES)
    objects = server.get_node(ua.NodeId(Ids.BaseObjectType))
    folders = server.get_node(ua.NodeId(Ids.FolderType))
    machines_types = server.get_node(ua.NodeId(Ids.FiniteStateMachineType))
    identification = await objects.add_object_type(index, "MachineIdentificationType")
    monitoring = await folders.add_object_type(index, "MonitoringType")
    for name in ("Status", "Process", "Consumption"):
        part = await monitoring.add_folder(index, name)
        await part.set_modelling_rule(True)
    item_state = await machines_types.add_object_type(index, "MachineryItemState_StateMachineType")
    operation_mode = await machines_types.add_object_type(index, "MachineryOperationModeStateMachineType")
    return Vocabulary(
        official=False,
        di=index,
        machinery=index,
        machines=await server.nodes.objects.add_folder(index, "Machines"),
        identification=identification.nodeid,
        item_state=item_state.nodeid,
        operation_mode=operation_mode.nodeid,
        monitoring=monitoring.nodeid,
        item_states=await _states(item_state, index, ITEM_STATES),
        operation_modes=await _states(operation_mode, index, OPERATION_MODES),
    )


async def _states(kind: Any, index: int, known: Mapping[str, tuple[int, int]]) -> dict[str, State]:
    found: dict[str, State] = {}
    for name, (_, number) in known.items():
        state = await kind.add_object(index, name, objecttype=Ids.StateType)
        child = await state.get_child("0:StateNumber")
        await child.write_value(ua.Variant(number, ua.VariantType.UInt32))
        found[name] = State(state.nodeid, number)
    return found
