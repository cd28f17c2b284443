"""The border to the pseudo-terminal: a serial port for others, found under a symbolic link."""

from __future__ import annotations

import os
import select
import tty
from contextlib import suppress
from pathlib import Path

from industriverse_core.errors import ErrorCode, MachineError

MAX_PENDING_BYTES = 65536
UNPLUGGED = -1


class Port:
    """One pseudo-terminal. Opening it by a host counts as what resets a real board (DTR).

    Args:
        link: path of the symbolic link to make; an older link there is replaced.
    Raises MachineError (PORT_UNAVAILABLE) when the link cannot be made.
    """

    def __init__(self, link: Path) -> None:
        self._link = link
        self._pending = bytearray()
        self.connected = False
        self.device = ""
        self._master = UNPLUGGED
        self.plug()

    def plug(self) -> None:
        """Make the pseudo-terminal and its link. Raises MachineError (PORT_UNAVAILABLE)."""
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self.device = os.ttyname(slave)
        os.close(slave)
        os.set_blocking(self._master, False)
        self._poll = select.poll()
        self._poll.register(self._master, select.POLLIN)
        try:
            self._make_link()
        except OSError as error:
            os.close(self._master)
            self._master = UNPLUGGED
            raise MachineError(
                ErrorCode.PORT_UNAVAILABLE, f"{self._link}: cannot be made ({error.strerror}).", "Name another path."
            ) from error

    def unplug(self) -> None:
        """The cable is pulled: a host's reads fail, the link is gone. `plug` brings it back."""
        self.close()
        self._master = UNPLUGGED
        self.connected = False
        self._pending.clear()

    def _make_link(self) -> None:
        if self._link.exists() and not self._link.is_symlink():
            raise FileExistsError(17, "there is something else with this name")
        self._link.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._link.with_name(f".{self._link.name}.{os.getpid()}")
        os.symlink(self.device, temporary)
        os.replace(temporary, self._link)

    def fileno(self) -> int:
        """For poll."""
        return self._master

    def check_connection(self) -> bool:
        """True when a host has just opened the port."""
        if self._master == UNPLUGGED:
            return False
        events = self._poll.poll(0)
        hung_up = bool(events and events[0][1] & select.POLLHUP)
        opened = not hung_up and not self.connected
        self.connected = not hung_up
        if hung_up:
            self._pending.clear()
        return opened

    def read(self) -> bytes:
        """What has arrived; b"" = nothing."""
        try:
            return os.read(self._master, 4096)
        except BlockingIOError:
            return b""
        except OSError:  # EIO: the host has closed the port
            self.connected = False
            self._pending.clear()
            return b""

    def write(self, data: bytes | bytearray) -> None:
        """Send; what a host does not read in time is lost, as on a real line."""
        if not self.connected:
            return
        self._pending += data
        if self._pending:
            with suppress(OSError):
                written = os.write(self._master, self._pending)
                del self._pending[:written]
            del self._pending[:-MAX_PENDING_BYTES]

    def close(self) -> None:
        """Close and remove the link, if it is still ours."""
        if self._master == UNPLUGGED:
            return
        with suppress(OSError):
            if os.readlink(self._link) == self.device:
                self._link.unlink()
        with suppress(OSError):
            os.close(self._master)
