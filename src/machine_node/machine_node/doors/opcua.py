"""The OPC UA server: a thread with an event loop of its own, and nothing that a client may change.

On loopback anybody may look. On any other address a client needs the password of a file, and everything is signed
and encrypted with a certificate that the cell makes for itself.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asyncua import Server, ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.crypto.permission_rules import PermissionRuleset, User, UserRole
from asyncua.server.internal_server import InternalServer
from asyncua.server.server import TransportLimits
from cryptography.x509.oid import ExtendedKeyUsageOID

from industriverse_core.errors import ErrorCode, InputError, ProfileError
from industriverse_core.files import read_bytes
from machine_node.doors.address import Address, cannot_listen, check_free
from machine_node.doors.model import CellModel, CellView
from machine_node.doors.opcua_space import Shown, add_machine
from machine_node.doors.opcua_types import vocabulary

NAME = "OPC UA"
MAX_CONNECTIONS = 16
MAX_SUBSCRIPTIONS = 64
MAX_MESSAGE = 1 << 20  # bytes of one message
MIN_PASSWORD = 8  # characters
START_S = 300.0
CLOSE_S = 5.0
READING = (
    "Read", "Browse", "TranslateBrowsePathsToNodeIds", "HistoryRead", "RegisterNodes", "UnregisterNodes",
    "CreateSubscription", "ModifySubscription", "DeleteSubscriptions", "TransferSubscriptions", "SetPublishingMode",
    "CreateMonitoredItems", "ModifyMonitoredItems", "DeleteMonitoredItems", "SetMonitoringMode", "Publish", "Republish",
    "CreateSession", "ActivateSession", "CloseSession", "CloseSecureChannel", "GetEndpoints", "FindServers",
)  # fmt: skip


class _ReadingOnly(PermissionRuleset):
    """Whoever the user is: no Write, no Call, no AddNodes, no HistoryUpdate, nothing that is not in READING."""

    def __init__(self) -> None:
        names = (f"{service}Request_Encoding_DefaultBinary" for service in READING)
        self._allowed = frozenset(ua.NodeId(getattr(ua.ObjectIds, name)) for name in names)

    def check_validity(self, user: Any, action_type: Any, body: Any) -> bool:
        """As PermissionRuleset."""
        return action_type in self._allowed


@dataclass(frozen=True, slots=True)
class _Guests:
    """Who may look. asyncua's own user manager would make an administrator of anybody who says 'admin'."""

    password: str  # "" = anybody

    def get_user(
        self, iserver: Any, username: str | None = None, password: Any = None, certificate: Any = None
    ) -> User | None:
        """As UserManager."""
        if self.password:
            said = password.decode("utf-8", "replace") if isinstance(password, bytes) else str(password or "")
            if not hmac.compare_digest(said.encode(), self.password.encode()):
                return None
        return User(role=UserRole.User, name="guest")


class _Internal(InternalServer):
    """Without the list of other servers, to which asyncua lets anybody add."""

    def register_server(self, server: Any, conf: Any = None) -> None:
        """Refused."""
        raise ServiceError(ua.StatusCodes.BadServiceUnsupported)


@dataclass(frozen=True, slots=True)
class Access:
    """What the server needs where it is not on loopback: a password, and a folder for its key and certificate."""

    password: str
    folder: Path


def access_of(password_file: str, cell_dir: str) -> Access:
    """What guards a server that others can reach. Raises InputError or ProfileError (BAD_PARAMETER)."""
    if not password_file or not cell_dir:
        raise ProfileError(
            ErrorCode.BAD_PARAMETER,
            "the OPC UA door: on an address that other machines can reach, clients need a password.",
            "Write one into a file of mode 0600 and name it: --opcua-password-file FILE (opcua_password_file).",
        )
    path = Path(password_file)
    words = read_bytes(path, 4096).decode("utf-8", "replace").strip()
    if path.stat().st_mode & 0o077:
        raise InputError(ErrorCode.FILE_UNREADABLE, f"{path}: others can read the password.", f"chmod 600 '{path}'")
    if len(words) < MIN_PASSWORD:
        raise ProfileError(
            ErrorCode.BAD_PARAMETER,
            f"{path}: the password has {len(words)} characters, {MIN_PASSWORD} are needed.",
            "Choose a longer one.",
        )
    return Access(words, Path(cell_dir) / "opcua")


class OpcuaDoor:
    """The server, listening. Raises CoreError where it cannot.

    Args:
        model: names the cell and its machines.
        address: where to listen.
        nodesets: folder with OPC Foundation's nodesets; "" = this project's own types.
        access: password and certificate; None is for loopback only.
    """

    name = NAME
    period_s = 0.2

    def __init__(self, model: CellModel, address: Address, nodesets: str = "", access: Access | None = None) -> None:
        if access is None and not address.is_loopback:
            raise ProfileError(ErrorCode.BAD_PARAMETER, "the OPC UA door: only loopback is open to anybody.")
        logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # a client could fill the disk with warnings
        check_free(NAME, address)
        self.address = address
        self.official_types = False
        self._model, self._nodesets, self._access = model, nodesets, access
        self._view: tuple[CellView, float] | None = None
        self._started = threading.Event()
        self.failure: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        self._wake = asyncio.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)
        self._thread.start()
        if not self._started.wait(START_S):
            raise cannot_listen(NAME, address, OSError(f"not ready after {START_S:.0f} s"))
        if self.failure is not None:
            self._thread.join(CLOSE_S)
            if isinstance(self.failure, OSError):
                raise cannot_listen(NAME, address, self.failure) from self.failure
            raise self.failure
        self.url = f"opc.tcp://{self.address.reachable_host}:{self.address.port}/industriverse/"

    def update(self, view: CellView, utc_s: float) -> None:
        """Show this view; one that was not shown yet is left out."""
        self._view = (view, utc_s)
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._wake.set)

    def close(self) -> None:
        """Stop listening."""
        self._closing = True
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wake.set)
        self._thread.join(CLOSE_S)

    # --- in the thread ---

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # noqa: BLE001 - whoever waits for the start is told
            self.failure = error
        finally:
            self._started.set()
            self._loop.run_until_complete(_end_tasks())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())  # closing alone does not wait for it
            self._loop.close()

    async def _serve(self) -> None:
        server = await self._make_server()
        index = await server.register_namespace(f"urn:industriverse:cell:{self._model.cell}")
        words = await vocabulary(server, self._nodesets)
        self.official_types = words.official
        machines = {
            profile.id: await add_machine(server, words, index, self._model.cell, profile)
            for profile in self._model.profiles
        }
        await server.start()
        try:
            self.address = self.address.bound_to(int(server.bserver.port))
            self._started.set()
            await self._show(server, machines)
        finally:
            await server.stop()

    async def _make_server(self) -> Server:
        server = Server(iserver=_Internal(user_manager=_Guests(self._access.password if self._access else "")))
        inner = server.iserver
        inner.max_connections, inner.max_subscriptions = MAX_CONNECTIONS, MAX_SUBSCRIPTIONS
        inner.max_monitored_item_queue_size = inner.max_unacked_messages_per_subscription = 100
        inner.max_pending_activation_seconds = 10.0
        server.limits = TransportLimits(65_535, 65_535, MAX_MESSAGE // 65_535 + 1, MAX_MESSAGE)
        await server.init()
        server.allow_remote_admin(False)
        await server.set_application_uri(f"urn:industriverse:{self._model.cell}:opcua")
        server.set_server_name(f"industriverse {self._model.cell}")
        server.set_endpoint(f"opc.tcp://{self.address.reachable_host}:{self.address.port}/industriverse/")
        server.socket_address = (self.address.host, self.address.port)
        if self._access is None:
            server.set_identity_tokens([ua.AnonymousIdentityToken])
            server.set_security_policy([ua.SecurityPolicyType.NoSecurity], _ReadingOnly())
        else:
            await _secure(server, self._access, self.address)
        return server

    async def _show(self, server: Server, machines: dict[str, tuple[Shown, ...]]) -> None:
        """Write what has changed, whenever there is a new view."""
        written: dict[ua.NodeId, tuple[str, int]] = {}
        while not self._closing:
            self._wake.clear()
            if (latest := self._view) is not None:
                view, utc_s = latest
                moment = datetime.fromtimestamp(utc_s, UTC)
                for machine in view.machines:
                    for shown in machines[machine.machine_id]:
                        await _write(server, shown, shown.of(machine), written, moment)
            _drop_greedy(server)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), timeout=1.0)


async def _end_tasks() -> None:
    """End what is left of sessions that a client has not closed."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def _write(
    server: Server, shown: Shown, value: ua.DataValue, written: dict[ua.NodeId, tuple[str, int]], moment: datetime
) -> None:
    content = repr(value.Value.Value), value.StatusCode.value if value.StatusCode else 0
    if written.get(shown.node) != content:
        written[shown.node] = content
        stamped = ua.DataValue(value.Value, value.StatusCode, SourceTimestamp=moment)
        await server.write_attribute_value(shown.node, stamped)


def _drop_greedy(server: Server) -> None:
    """Close connections that announce a long message and send it without an end: asyncua would keep all of it."""
    for client in list(server.bserver.clients):
        if len(client._buffer) > MAX_MESSAGE and client.transport is not None:  # noqa: SLF001 - no public way
            client.transport.abort()


async def _secure(server: Server, access: Access, address: Address) -> None:
    """Password, and a certificate that the cell has made for itself (one year, made anew when it ends)."""
    try:
        access.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key, certificate = access.folder / "key.pem", access.folder / "certificate.der"
        await setup_self_signed_certificate(
            key, certificate, server.get_application_uri(), address.host, [ExtendedKeyUsageOID.SERVER_AUTH],
            {"commonName": "industriverse", "organizationName": "industriverse"},
        )  # fmt: skip
        key.chmod(0o600)  # until now the folder's mode has kept it
        await server.load_certificate(certificate)
        await server.load_private_key(key)
    except (OSError, ValueError) as error:
        raise InputError(
            ErrorCode.FILE_UNREADABLE,
            f"{access.folder}: the OPC UA server's certificate cannot be made or read ({error}).",
            "Delete the folder and start again.",
        ) from error
    server.set_identity_tokens([ua.UserNameIdentityToken])
    server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt], _ReadingOnly())
