"""The MTConnect agent behind HTTP: `http.server` with bounds on everything that a client can choose.

GET and HEAD only; no bodies; one request a connection; REQUEST_S seconds and MAX_REQUEST bytes for a request; at most
MAX_CONNECTIONS at once. On loopback, a request that names another host is refused: a web page that a browser on this
machine shows could otherwise read the cell through a name that resolves to 127.0.0.1.
"""

from __future__ import annotations

import io
import ipaddress
import socket
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from machine_node.doors.address import Address, cannot_listen
from machine_node.doors.model import CellView
from machine_node.doors.mtconnect import Agent, Answer

NAME = "MTConnect"
MAX_CONNECTIONS = 16
MAX_REQUEST = 8_192  # bytes of the request line and all header lines
REQUEST_S = 5.0  # a whole request has to arrive within
ANSWER_S = 20.0  # a whole answer has to be taken within
CLOSE_S = 3.0


class _BoundedReader(io.RawIOBase):
    """Reads a socket until a moment and up to a number of bytes; then it is at its end."""

    def __init__(self, connection: socket.socket, deadline_s: float, most: int) -> None:
        super().__init__()
        self._connection = connection
        self._deadline_s = deadline_s
        self._left = most

    @property
    def is_full(self) -> bool:
        """True when the client has sent all that it may."""
        return self._left == 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As RawIOBase. Raises TimeoutError after the deadline."""
        wanted = min(len(buffer), self._left)
        if wanted == 0:
            return 0
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0.0:
            raise TimeoutError
        self._connection.settimeout(left_s)
        count = self._connection.recv_into(memoryview(buffer)[:wanted])
        self._left -= count
        return count


class _Handler(BaseHTTPRequestHandler):
    """One request of one connection."""

    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "industriverse"
    sys_version = ""

    def setup(self) -> None:
        """See BaseRequestHandler."""
        super().setup()
        self.rfile.close()
        self._reader = _BoundedReader(self.connection, time.monotonic() + REQUEST_S, MAX_REQUEST)
        self.rfile = io.BufferedReader(self._reader, MAX_REQUEST)  # type: ignore[assignment]

    def handle(self) -> None:
        """One request, whatever the client wants: nobody keeps a connection."""
        try:
            self.close_connection = True
            self.handle_one_request()
        except OSError:  # the client has gone, or does not take its answer
            self.close_connection = True

    def do_GET(self) -> None:
        """Answer with a document."""
        agent = self.server.agent
        if self._reader.is_full:
            answer = agent.refusal(
                "INVALID_REQUEST", f"the request is longer than {MAX_REQUEST} bytes.", time.time(), 431
            )
        elif "Transfer-Encoding" in self.headers or self.headers.get("Content-Length", "0").strip() != "0":
            answer = agent.refusal("INVALID_REQUEST", "a request has no body here.", time.time())
        elif not self.server.is_for_us(self.headers.get_all("Host", [])):
            answer = agent.refusal("UNAUTHORIZED", "the request is for another host.", time.time(), 403)
        else:
            answer = agent.answer(self.path, time.time())
        self._send(answer)

    do_HEAD = do_GET  # noqa: N815 - as above

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server has against a request, as an MTConnectError."""
        kind = "UNSUPPORTED" if code == HTTPStatus.NOT_IMPLEMENTED else "INVALID_REQUEST"
        text = message or HTTPStatus(code).phrase
        self._send(self.server.agent.refusal(kind, text[:200], time.time(), int(code)))

    def _send(self, answer: Answer) -> None:
        self.connection.settimeout(ANSWER_S)
        if self.request_version != "HTTP/0.9":  # which has no head
            self.send_response(answer.status)
            self.send_header("Content-Type", "text/xml; charset=utf-8")
            self.send_header("Content-Length", str(len(answer.body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Connection", "close")
            self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: a client could fill the disk."""


class _Server(ThreadingHTTPServer):
    """A thread for each connection, and not more than MAX_CONNECTIONS of them."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = MAX_CONNECTIONS
    allow_reuse_address = True

    def __init__(self, address: Address, agent: Agent) -> None:
        self.agent = agent
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._loopback = address.is_loopback
        super().__init__((address.host, address.port), _Handler)

    def server_bind(self) -> None:
        """As HTTPServer, without its look-up of this machine's name, which can take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def is_for_us(self, hosts: list[str]) -> bool:
        """On loopback only requests for loopback are answered; no Host header at all is an old client."""
        if not self._loopback or not hosts:
            return True
        host = hosts[0].strip().lower()
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        if name == "localhost":
            return len(hosts) == 1
        try:
            return len(hosts) == 1 and ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False

    def process_request(self, request: Any, client_address: Any) -> None:
        """As ThreadingMixIn; a connection too many is closed at once."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """As ThreadingMixIn."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()


class MtconnectDoor:
    """The agent, listening. Raises MachineError or ProfileError where it cannot.

    Attributes:
        url: where a program on this machine finds it.
        period_s: how often a view is worth taking.
    """

    name = NAME
    period_s = 0.1
    failure = None

    def __init__(self, agent: Agent, address: Address) -> None:
        self._agent = agent
        try:
            self._server = _Server(address, agent)
        except OSError as error:
            raise cannot_listen(NAME, address, error) from error
        self.address = address.bound_to(int(self._server.server_address[1]))
        self.url = f"http://{self.address.reachable_host}:{self.address.port}/current"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name=NAME, daemon=True)
        self._thread.start()

    def update(self, view: CellView, utc_s: float) -> None:
        """Show this view from now on."""
        self._agent.update(view, utc_s)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(CLOSE_S)
