"""An MTConnect agent without sockets: requests in, documents out. Times are arguments.

The requests are those of MTConnect Standard 2.0, Part 1: `probe`, `current` (with `at`) and `sample` (with `from`,
`count` and `to`), of all devices or of one. Streaming (`interval`), `path` and assets are answered UNSUPPORTED.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

from machine_node.doors.model import CellModel, CellView
from machine_node.doors.mtconnect_buffer import Buffer, Observation
from machine_node.doors.mtconnect_items import Value, device_of
from machine_node.doors.mtconnect_xml import (
    VERSION,
    Device,
    devices_document,
    error_document,
    streams_document,
    utc_text,
)

BUFFER_SIZE = 65_536  # observations
MAX_COUNT = 5_000  # observations in one answer
DEFAULT_COUNT = 100
MAX_TARGET = 1_024  # characters of path and query
MAX_FIELDS = 8  # of a query
MAX_DIGITS = 19
SENDER = "industriverse"
STATUS = {
    "NO_DEVICE": 404,
    "INVALID_URI": 404,
    "OUT_OF_RANGE": 404,
    "UNSUPPORTED": 501,
    "TOO_MANY": 413,
    "INTERNAL_ERROR": 503,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """HTTP status and XML document."""

    status: int
    body: bytes


class _RefusedError(Exception):
    """A request that is answered with an MTConnectError; `code` is one of the schema's."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Agent:
    """The cell as an MTConnect agent. `update` and `answer` may be called from different threads.

    Args:
        model: names the cell and its machines.
        utc_s: seconds since 1970, now; also the instance id.
        size: observations that are kept.
    """

    def __init__(self, model: CellModel, utc_s: float, size: int = BUFFER_SIZE) -> None:
        self._lock = threading.Lock()
        self._started = utc_text(utc_s)
        self._instance = max(1, int(utc_s))
        self._devices: dict[str, Device] = {}
        first = 0
        for profile in model.profiles:
            root = device_of(profile)
            self._devices[profile.id] = Device(root, f"{model.cell}.{profile.id}", profile.title, first)
            first += sum(len(component.items) for component in root.walk())
        self._buffer = Buffer(self._values(model.view(math.inf)), size, utc_s)

    def update(self, view: CellView, utc_s: float) -> None:
        """Keep what has changed in the cell."""
        values = self._values(view)
        with self._lock:
            for item, value in enumerate(values):
                self._buffer.add(item, utc_s, value)

    def _values(self, view: CellView) -> list[Value]:
        machines = {machine.machine_id: machine for machine in view.machines}
        return [
            item.of(machines[machine])
            for machine, device in self._devices.items()
            for component in device.root.walk()
            for item in component.items
        ]

    def answer(self, target: str, utc_s: float) -> Answer:
        """The document for a request's path and query."""
        try:
            return Answer(200, self._document(target, utc_s))
        except _RefusedError as refused:
            return self.refusal(refused.code, str(refused), utc_s)

    def refusal(self, code: str, text: str, utc_s: float, status: int | None = None) -> Answer:
        """An MTConnectError with this code."""
        body = error_document(self._header(utc_s), code, text)
        return Answer(STATUS.get(code, 400) if status is None else status, body)

    def _document(self, target: str, utc_s: float) -> bytes:
        devices, request, query = self._parsed(target)
        work: dict[str, Callable[[list[Device], Mapping[str, str], float], bytes]] = {
            "probe": self._probe,
            "current": self._current,
            "sample": self._sample,
        }
        if request in ("asset", "assets"):
            _refuse("UNSUPPORTED", "this agent keeps no assets.")
        if request not in work:
            _refuse("INVALID_URI", f"'{request}' is no request; probe, current and sample are.")
        return work[request](devices, query, utc_s)

    def _parsed(self, target: str) -> tuple[list[Device], str, dict[str, str]]:
        """Devices, request and query of a target such as /mill/sample?from=7."""
        if len(target) > MAX_TARGET:
            _refuse("INVALID_URI", f"the address is longer than {MAX_TARGET} characters.")
        try:
            parts = urlsplit(target)
            fields = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
            words = [unquote(word, errors="strict") for word in parts.path.split("/") if word]
        except ValueError:
            _refuse("INVALID_URI", "the address cannot be read.")
        query = dict(fields)
        if len(query) < len(fields):
            _refuse("INVALID_REQUEST", "a parameter is given twice.")
        if len(words) > 2:
            _refuse("INVALID_URI", "the path has more than a device and a request.")
        if not words or (len(words) == 1 and words[0] in ("probe", "current", "sample", "asset", "assets")):
            return list(self._devices.values()), words[0] if words else "probe", query
        by_name = {**self._devices, **{device.uuid: device for device in self._devices.values()}}
        if words[0] not in by_name:
            _refuse("NO_DEVICE", f"there is no device '{words[0]}'. Known: {', '.join(self._devices)}.")
        return [by_name[words[0]]], words[1] if len(words) == 2 else "probe", query

    def _probe(self, devices: list[Device], query: Mapping[str, str], utc_s: float) -> bytes:
        _only(query)
        header = self._header(utc_s) | {
            "deviceModelChangeTime": self._started,
            "assetBufferSize": "1",  # the schema wants at least one; none is kept
            "assetCount": "0",
        }
        return devices_document(header, devices)

    def _current(self, devices: list[Device], query: Mapping[str, str], utc_s: float) -> bytes:
        _only(query, "at")
        items = _items_of(devices)
        with self._lock:
            try:
                at = _whole(query, "at", 0)
                seen = self._buffer.current_at(at) if "at" in query else self._buffer.current()
            except IndexError as error:
                _refuse("OUT_OF_RANGE", f"'at' {error}.")
            header = self._stream_header(utc_s, self._buffer.next_sequence)
        return streams_document(header, devices, [each for each in seen if each.item in items])

    def _sample(self, devices: list[Device], query: Mapping[str, str], utc_s: float) -> bytes:
        _only(query, "from", "count", "to")
        count = _whole(query, "count", DEFAULT_COUNT)
        if count == 0:
            _refuse("INVALID_REQUEST", "'count' must not be 0.")
        if abs(count) > MAX_COUNT:
            _refuse("TOO_MANY", f"'count' is {count}; at most {MAX_COUNT} are possible.")
        with self._lock:
            try:
                seen, go_on = self._observations(query, _items_of(devices), count)
            except IndexError as error:
                _refuse("OUT_OF_RANGE", f"{error}.")
            header = self._stream_header(utc_s, go_on)
        return streams_document(header, devices, seen)

    def _observations(
        self, query: Mapping[str, str], items: frozenset[int], count: int
    ) -> tuple[list[Observation], int]:
        """The observations that `sample` asks for, and the sequence number to go on from."""
        buffer = self._buffer
        if count < 0:
            start = _whole(query, "from", buffer.last_sequence)
            found = buffer.until(start, items, -count)
            return found, found[0].sequence - 1 if found else buffer.first_sequence
        start = _whole(query, "from", buffer.first_sequence)
        found, go_on = buffer.since(start, items, count)
        if "to" in query:
            last = _whole(query, "to", 0)
            if last < start or last > buffer.last_sequence:
                raise IndexError(f"'to' {last} is not in {start} to {buffer.last_sequence}")
            found = [each for each in found if each.sequence <= last]
            go_on = min(go_on, last + 1)
        return found, go_on

    def _header(self, utc_s: float) -> dict[str, str]:
        return {
            "instanceId": str(self._instance),
            "version": VERSION,
            "creationTime": utc_text(utc_s),
            "sender": SENDER,
            "bufferSize": str(self._buffer.size),
        }

    def _stream_header(self, utc_s: float, next_sequence: int) -> dict[str, str]:
        return self._header(utc_s) | {
            "deviceModelChangeTime": self._started,
            "nextSequence": str(max(1, next_sequence)),
            "firstSequence": str(self._buffer.first_sequence),
            "lastSequence": str(self._buffer.last_sequence),
        }


def _items_of(devices: list[Device]) -> frozenset[int]:
    """The numbers of all items of these devices."""
    counts = ((device.first_item, sum(len(part.items) for part in device.root.walk())) for device in devices)
    return frozenset(item for first, count in counts for item in range(first, first + count))


def _only(query: Mapping[str, str], *known: str) -> None:
    """Refuse what this request does not take."""
    for name in query:
        if name in ("interval", "heartbeat", "path"):
            _refuse("UNSUPPORTED", f"'{name}' is not supported; ask again with 'from' = nextSequence.")
        if name not in known:
            _refuse("INVALID_REQUEST", f"'{name[:40]}' is no parameter of this request.")


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    """A whole number of the query."""
    if name not in query:
        return default
    text = query[name]
    if len(text) > MAX_DIGITS or not text.removeprefix("-").isdecimal() or not text.isascii():
        _refuse("INVALID_REQUEST", f"'{name}' is no whole number.")
    return int(text)


def _refuse(code: str, text: str) -> NoReturn:
    raise _RefusedError(code, text)
