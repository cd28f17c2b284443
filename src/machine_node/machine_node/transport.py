"""The named border to the serial port: open, read, write, close; every failure is one MachineError."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios
import time
from contextlib import suppress

import serial

from industriverse_core.errors import ErrorCode, MachineError

READ_BYTES = 4096
MAX_PENDING_BYTES = 65536
DRAIN_LIMIT_S = 0.05


class SerialTransport:
    """An exclusively opened serial port, never blocking.

    Args:
        port: device path.
        baud: [bit/s].
    Raises MachineError (PORT_UNAVAILABLE).
    """

    def __init__(self, port: str, baud: int) -> None:
        self._port = port
        self._pending = bytearray()
        try:
            self._serial = serial.Serial(port, baud, timeout=0, write_timeout=0, exclusive=True)
            self._descriptor = self._serial.fileno()
            _tell_silence_from_end(self._descriptor)
        except (OSError, ValueError, termios.error) as error:  # SerialException is an OSError
            raise _unavailable(port, error) from error

    def fileno(self) -> int:
        """For select."""
        return self._descriptor

    def set_baud(self, baud: int) -> None:
        """Another rate [bit/s] for the open port, which resets no board. Raises MachineError (PORT_UNAVAILABLE)."""
        try:
            self._serial.baudrate = baud
            _tell_silence_from_end(self._descriptor)
        except (OSError, ValueError, termios.error) as error:
            raise _unavailable(self._port, error) from error

    @property
    def wants_write(self) -> bool:
        """True while bytes wait for the port to become writable."""
        return bool(self._pending)

    def read(self) -> bytes:
        """What has arrived; b"" = nothing. Raises MachineError (PORT_UNAVAILABLE) when the port is gone."""
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise _unavailable(self._port, error) from error
        if not data:
            raise _unavailable(self._port, OSError(errno.EIO, "the device was disconnected"))
        return data

    def write(self, data: bytes) -> None:
        """Write at once, or keep what the port does not take for `flush`. Raises MachineError (PORT_UNAVAILABLE)."""
        if len(self._pending) + len(data) > MAX_PENDING_BYTES:
            raise _unavailable(self._port, OSError(errno.ENOBUFS, "the device takes no bytes"))
        self._pending += data
        self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if not self._pending:
            return
        try:
            written = os.write(self._descriptor, self._pending)
        except BlockingIOError:
            return
        except OSError as error:
            raise _unavailable(self._port, error) from error
        del self._pending[:written]

    def drop_pending(self) -> None:
        """Forget what was written and has not left: neither this process nor the kernel sends it any more."""
        self._pending.clear()
        with suppress(termios.error):
            termios.tcflush(self._descriptor, termios.TCOFLUSH)

    def drain(self) -> None:
        """Give what was written a moment (DRAIN_LIMIT_S) to leave: closing may drop it."""
        limit_s = time.monotonic() + DRAIN_LIMIT_S
        with suppress(OSError):
            while time.monotonic() < limit_s:
                left = fcntl.ioctl(self._descriptor, termios.TIOCOUTQ, struct.pack("i", 0))
                if struct.unpack("i", left)[0] == 0:
                    return
                time.sleep(0.001)

    def close(self) -> None:
        """Release the port."""
        with suppress(OSError):
            self._serial.close()


class Waker:
    """Ends a select from another thread."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def fileno(self) -> int:
        """For select."""
        return self._read

    def wake(self) -> None:
        """Let the select return."""
        with suppress(OSError):
            os.write(self._write, b"w")

    def clear(self) -> None:
        """Take the wakes that came."""
        with suppress(BlockingIOError):
            os.read(self._read, 4096)

    def close(self) -> None:
        """Release both ends; a wake after this does nothing."""
        ends, (self._read, self._write) = (self._read, self._write), (-1, -1)
        for end in ends:
            with suppress(OSError):
                os.close(end)


def _tell_silence_from_end(descriptor: int) -> None:
    """pyserial's VMIN=0 makes read return nothing both in silence and at the end; with 1 silence is EAGAIN."""
    settings = termios.tcgetattr(descriptor)
    settings[6][termios.VMIN] = 1
    termios.tcsetattr(descriptor, termios.TCSANOW, settings)


def _unavailable(port: str, error: Exception) -> MachineError:
    number = getattr(error, "errno", None)
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO) or not os.path.exists(port):
        seen, remedy = "no such device", "Switch the machine on, plug it in and check the port's name."
    elif number in (errno.EACCES, errno.EPERM):
        seen, remedy = "permission denied", "Add yourself to the group dialout: sudo usermod -aG dialout $USER."
    elif number in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in str(error):
        seen, remedy = "another program uses it", "End the other program."
    elif "Could not configure port" in str(error) or number in (errno.ENOTTY, errno.EISDIR, errno.EINVAL):
        seen, remedy = "not a serial port", "Name a serial device, such as /dev/ttyACM0."
    else:
        seen, remedy = (str(error).splitlines() or [type(error).__name__])[0][:120], "Check the machine and its cable."
    return MachineError(ErrorCode.PORT_UNAVAILABLE, f"serial port {port}: {seen}.", remedy)
