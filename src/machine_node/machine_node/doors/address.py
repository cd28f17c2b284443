"""Where a door listens: checks of host and port, and what the system says against them. One sentence each."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass

from industriverse_core.errors import CoreError, ErrorCode, InputError, MachineError, ProfileError

LOOPBACK = "127.0.0.1"
MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    """A numeric IP address of this machine, and a port; port 0 = any that is free."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """True where only this machine can connect."""
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def is_everywhere(self) -> bool:
        """True where all interfaces of this machine are meant."""
        return ipaddress.ip_address(self.host).is_unspecified

    @property
    def reachable_host(self) -> str:
        """The host part of an address that a program on this machine can open."""
        host = self.host
        if self.is_everywhere:
            host = "::1" if ":" in host else LOOPBACK
        return f"[{host}]" if ":" in host else host

    def bound_to(self, port: int) -> Address:
        """The same host with the port that the system gave."""
        return Address(self.host, port)


def address_of(door: str, host: str, port: int) -> Address:
    """The address of a door. Raises ProfileError (BAD_PARAMETER) for a host that is no address, or a wrong port."""
    if not 0 <= port <= MAX_PORT:
        raise _wrong(f"the {door} door: port {port} does not exist.", f"Choose one from 1 to {MAX_PORT}.")
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        numeric = str(found[0][4][0])
        ipaddress.ip_address(numeric)
    except (OSError, UnicodeError, ValueError) as error:
        raise _wrong(
            f"the {door} door: the host '{host}' is not known.", f"Name an address of this machine, e.g. {LOOPBACK}."
        ) from error
    return Address(numeric, port)


def cannot_listen(door: str, address: Address, error: OSError) -> CoreError:
    """What the system says against listening there, as a refusal (PORT_UNAVAILABLE or BAD_PARAMETER)."""
    if error.errno == errno.EADDRNOTAVAIL:
        return _wrong(
            f"the {door} door: {address.host} is no address of this machine.",
            f"Name one that it has, e.g. {LOOPBACK} for programs on this machine.",
        )
    what = {
        errno.EADDRINUSE: ("is in use by another program", "Choose another port, or end that program."),
        errno.EACCES: ("may not be opened by this user", "Choose a port from 1024 on."),
    }
    seen, remedy = what.get(error.errno or 0, (f"cannot be opened ({error.strerror or error})", "Choose another."))
    return MachineError(ErrorCode.PORT_UNAVAILABLE, f"the {door} door: port {address.port} {seen}.", remedy)


def library_missing(door: str, package: str, error: ImportError) -> CoreError:
    """An optional library that is not installed (TOOL_MISSING)."""
    return InputError(
        ErrorCode.TOOL_MISSING,
        f"the {door} door needs the Python package {package} ({error}).",
        f"Install it: ./cell exec -- pip install '{package}'",
    )


def check_free(door: str, address: Address) -> None:
    """Raise what `cannot_listen` says where nobody can listen now; for libraries that do not say why they fail."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
            probe.listen(1)
        except OSError as error:
            raise cannot_listen(door, address, error) from error


def _wrong(message: str, remedy: str) -> ProfileError:
    return ProfileError(ErrorCode.BAD_PARAMETER, message, remedy)
