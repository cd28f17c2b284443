"""The control socket of a virtual machine: one JSON object a line in, one JSON object a line out.

    {"fault": "heater_stuck_on", "on": true, "after_s": 0, "for_s": 0, "value": 0.5, "target": "bed"} -> {"ok": true}
    {"faults": true} -> {"ok": true, "faults": [...]}
    {"state": true}  -> {"ok": true, "state": {...}}

A request that is refused is answered with {"ok": false, "error": "..."}. The socket has mode 0600.
"""

from __future__ import annotations

import json
import math
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from industriverse_core.errors import CoreError, ErrorCode, MachineError
from machine_node.virtual.faults import FaultKind, FaultRequest

MAX_REQUEST_BYTES = 4096
MAX_CLIENTS = 16
MAX_ANSWER_BYTES = 1 << 20
_TYPES: dict[str, type | tuple[type, ...]] = {
    "fault": str, "on": bool, "after_s": (int, float), "for_s": (int, float), "value": (int, float), "target": str,
}  # fmt: skip


class Requests:
    """What requests mean.

    Args:
        kinds: the machine's faults.
        request: carries out a fault's request; may raise CoreError.
        state: gives the machine's true state.
    """

    def __init__(
        self, kinds: list[FaultKind], request: Callable[[FaultRequest], None], state: Callable[[], dict[str, Any]]
    ) -> None:
        self._kinds, self._request, self._state = kinds, request, state

    def answer(self, line: bytes) -> bytes:
        """The answer to one line, with its newline. Never raises."""
        try:
            answer = {"ok": True} | self._answer(_parse(line))
        except CoreError as error:
            answer = {"ok": False, "error": str(error)}
        return json.dumps(answer, allow_nan=False).encode() + b"\n"

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if set(request) == {"faults"}:
            return {"faults": [_described(kind) for kind in self._kinds]}
        if set(request) == {"state"}:
            return {"state": _plain(self._state())}
        for name, value in request.items():
            wanted = _TYPES.get(name)
            if wanted is None:
                raise _refusal(f"nothing is known of '{name[:40]}'")
            if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
                raise _refusal(f"'{name}' has the wrong type")
            if wanted == (int, float) and not -1e12 < value < 1e12:
                raise _refusal(f"'{name}' is no usable number")
        if "fault" not in request:
            raise _refusal("there is no 'fault'")
        self._request(FaultRequest(**request))
        return {}


def _parse(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise _refusal("it is no JSON") from None
    if not isinstance(request, dict):
        raise _refusal("it is no JSON object")
    return request


def _described(kind: FaultKind) -> dict[str, Any]:
    described: dict[str, Any] = {"name": kind.name, "description": kind.description, "momentary": kind.momentary}
    if kind.lowest < kind.highest:
        described |= {"value": kind.value, "lowest": kind.lowest, "highest": kind.highest}
    return described | ({"targets": list(kind.targets)} if kind.targets else {})


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _refusal(seen: str) -> MachineError:
    return MachineError(ErrorCode.BAD_PARAMETER, f"the request is refused: {seen}.", 'Ask {"faults": true} for help.')


class _Client:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.received = bytearray()
        self.pending = bytearray()


class ControlSocket:
    """The border to the socket; `service` is called often and never waits.

    Args:
        path: of the unix socket to make.
        requests: answers.
    Raises MachineError (PORT_UNAVAILABLE) when the socket cannot be made.
    """

    def __init__(self, path: Path, requests: Requests) -> None:
        self._path, self._requests = path, requests
        self._clients: list[_Client] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._make_way()
            self._listener = self._listen()
        except OSError as error:
            raise MachineError(
                ErrorCode.PORT_UNAVAILABLE,
                f"{path}: the control socket cannot be made ({error.strerror or error}).",
                "Name another, shorter path.",
            ) from error
        self._inode = path.stat().st_ino

    def _make_way(self) -> None:
        """Remove a dead machine's socket; anything else stays."""
        if not os.path.lexists(self._path):
            return
        if not stat.S_ISSOCK(self._path.lstat().st_mode):
            raise FileExistsError(17, "there is something else with this name")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(0.5)
            try:
                probe.connect(str(self._path))
            except ConnectionRefusedError:
                self._path.unlink()
                return
        raise FileExistsError(17, "another machine listens there")

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            listener.bind(str(self._path))
        except OSError:
            listener.close()
            raise
        finally:
            os.umask(before)
        listener.listen(MAX_CLIENTS)
        listener.setblocking(False)
        return listener

    def service(self) -> None:
        """Accept, read, answer; whatever is there now."""
        with suppress(BlockingIOError):
            while len(self._clients) < MAX_CLIENTS:
                connection, _ = self._listener.accept()
                connection.setblocking(False)
                self._clients.append(_Client(connection))
        for client in list(self._clients):
            try:
                alive = self._serve(client)
            except OSError:
                alive = False
            if not alive:
                client.connection.close()
                self._clients.remove(client)

    def _serve(self, client: _Client) -> bool:
        with suppress(BlockingIOError):
            data = client.connection.recv(MAX_REQUEST_BYTES)
            if not data:
                return False
            client.received += data
        while (end := client.received.find(b"\n")) >= 0:
            line = bytes(client.received[:end])
            del client.received[: end + 1]
            client.pending += self._requests.answer(line)
        if len(client.received) > MAX_REQUEST_BYTES or len(client.pending) > MAX_ANSWER_BYTES:
            return False
        if client.pending:
            with suppress(BlockingIOError):
                sent = client.connection.send(client.pending)
                del client.pending[:sent]
        return True

    def close(self) -> None:
        """Close and remove the socket, if it is still ours."""
        for client in self._clients:
            client.connection.close()
        self._listener.close()
        with suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()


def ask(path: Path, request: dict[str, Any], timeout_s: float = 5.0) -> dict[str, Any]:
    """Send one request to a virtual machine and return its answer.

    Raises MachineError (PORT_UNAVAILABLE, NO_REPLY): nobody listens there; no answer.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(path))
        except OSError as error:
            raise MachineError(
                ErrorCode.PORT_UNAVAILABLE,
                f"{path}: no virtual machine listens there ({error.strerror or error}).",
                "Start one with --control PATH.",
            ) from error
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")
            received = bytearray()
            while not received.endswith(b"\n") and len(received) <= MAX_ANSWER_BYTES:
                data = connection.recv(65536)
                if not data:
                    break
                received += data
            answer = json.loads(received)
        except (OSError, ValueError) as error:
            raise MachineError(
                ErrorCode.NO_REPLY, f"{path}: the virtual machine has not answered.", "Look at its log."
            ) from error
    return dict(answer)
