"""MTConnect's documents: Devices, Streams and Error, by the XML schemas of version 2.0. No I/O."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from machine_node.doors.mtconnect_buffer import Observation
from machine_node.doors.mtconnect_items import UNAVAILABLE, Category, Component, Item

VERSION = "2.0"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
GROUPS = {Category.SAMPLE: "Samples", Category.EVENT: "Events", Category.CONDITION: "Condition"}
ASSET_EVENTS = ("ASSET_CHANGED", "ASSET_REMOVED")


@dataclass(frozen=True, slots=True)
class Device:
    """One device of the agent: its components, its unique name, what it is, and the number of its first item."""

    root: Component
    uuid: str
    description: str
    first_item: int


def utc_text(utc_s: float) -> str:
    """A moment (seconds since 1970) as MTConnect writes it: 2026-01-31T12:00:00.000000Z."""
    return datetime.fromtimestamp(utc_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def devices_document(header: Mapping[str, str], devices: Iterable[Device]) -> bytes:
    """The answer to `probe`."""
    root = _root("Devices", header)
    parent = ET.SubElement(root, "Devices")
    for device in devices:
        _add_component(parent, device.root, {"uuid": device.uuid}, device.description)
    return _bytes(root)


def _add_component(parent: ET.Element, component: Component, extra: Mapping[str, str], description: str = "") -> None:
    element = ET.SubElement(parent, component.kind, {"id": component.id, "name": component.name, **extra})
    if description:
        ET.SubElement(element, "Description").text = _text(description)
    if component.items:
        items = ET.SubElement(element, "DataItems")
        for item in component.items:
            ET.SubElement(items, "DataItem", _attributes(item))
    if component.parts:
        parts = ET.SubElement(element, "Components")
        for part in component.parts:
            _add_component(parts, part, {})


def _attributes(item: Item) -> dict[str, str]:
    found = {"category": item.category.value, "id": item.id, "type": item.type}
    if item.sub_type:
        found["subType"] = item.sub_type
    if item.units:
        found["units"] = found["nativeUnits"] = item.units
    return found


def streams_document(header: Mapping[str, str], devices: Iterable[Device], found: Sequence[Observation]) -> bytes:
    """The answer to `current` and `sample`: observations by device, component and category."""
    root = _root("Streams", header)
    streams = ET.SubElement(root, "Streams")
    by_item: dict[int, list[Observation]] = {}
    for observation in found:
        by_item.setdefault(observation.item, []).append(observation)
    for device in devices:
        stream = ET.SubElement(streams, "DeviceStream", {"name": device.root.name, "uuid": device.uuid})
        number = device.first_item
        for component in device.root.walk():
            items = list(enumerate(component.items, start=number))
            number += len(items)
            _add_stream(stream, component, [(item, seen) for i, item in items for seen in by_item.get(i, ())])
    return _bytes(root)


def _add_stream(parent: ET.Element, component: Component, found: list[tuple[Item, Observation]]) -> None:
    if not found:
        return
    attributes = {"component": component.kind, "name": component.name, "componentId": component.id}
    element = ET.SubElement(parent, "ComponentStream", attributes)
    for category, name in GROUPS.items():
        chosen = [pair for pair in found if pair[0].category is category]
        if chosen:
            group = ET.SubElement(element, name)
            for item, observation in chosen:
                _add_observation(group, item, observation)


def _add_observation(group: ET.Element, item: Item, observation: Observation) -> None:
    value = observation.value
    attributes = {
        "dataItemId": item.id,
        "timestamp": utc_text(observation.utc_s),
        "sequence": str(observation.sequence),
    }
    if item.sub_type:
        attributes["subType"] = item.sub_type
    if item.category is Category.CONDITION:
        attributes["type"] = item.type
    if item.type in ASSET_EVENTS:
        attributes["assetType"] = ""
    if value.native_code:
        attributes["nativeCode"] = value.native_code
    name = value.level or item.element
    ET.SubElement(group, name, attributes).text = _text(value.text) if value.text != UNAVAILABLE else UNAVAILABLE


def error_document(header: Mapping[str, str], code: str, text: str) -> bytes:
    """What went wrong with a request; the codes are those of the schema's ErrorCodeType."""
    root = _root("Error", header)
    errors = ET.SubElement(root, "Errors")
    ET.SubElement(errors, "Error", {"errorCode": code}).text = _text(text)
    return _bytes(root)


def _root(kind: str, header: Mapping[str, str]) -> ET.Element:
    space = f"urn:mtconnect.org:MTConnect{kind}:{VERSION}"
    place = f"{space} http://schemas.mtconnect.org/schemas/MTConnect{kind}_{VERSION}.xsd"
    root = ET.Element(f"MTConnect{kind}", {"xmlns": space, "xmlns:xsi": XSI, "xsi:schemaLocation": place})
    ET.SubElement(root, "Header", dict(header))
    return root


def _text(text: str) -> str:
    """What XML 1.0 cannot hold becomes '?': control characters, lone surrogates and two non-characters."""
    return "".join(
        letter if letter in "\t\n\r" or (letter >= " " and not "\ud800" <= letter <= "\udfff") else "?"
        for letter in text
    ).translate({0xFFFE: "?", 0xFFFF: "?"})


def _bytes(root: ET.Element) -> bytes:
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)
