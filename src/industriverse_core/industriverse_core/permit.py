"""Motion permits: what they say, how they are signed, and how they are verified.

The shield signs, the machine verifies. What makes a permit worth nothing to anyone else:
- the HMAC-SHA256 with the cell's key covers every field (forged: refused);
- the sequence grows within an incarnation (replayed: refused);
- the challenge is a random number that the machine renews and publishes (kept and sent later: refused);
- the digest names the only program that may move (foreign: refused).
"""

from __future__ import annotations

import hmac
import os
import secrets
import struct
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path

from industriverse_core.digest import Digest
from industriverse_core.errors import ErrorCode, InputError, PermitError
from industriverse_core.files import read_bytes, replace_file

PERMIT_PERIOD_S = 0.05  # the shield issues at 20 Hz
PERMIT_VALID_S = 0.15  # on the receiver's steady clock
GRACE_S = 1.0  # a shorter gap is a hold that resumes; a longer one latches
KEY_BYTES = 32
NO_MAC = bytes(32)


class PermitLevel(IntEnum):
    """Values as in MotionPermit.msg."""

    RUN = 1
    REDUCED = 2


class StopLevel(IntEnum):
    """IEC 60204-1 stop categories 2, 1, 0. Values as in StopRequest.msg; higher is harder."""

    HOLD = 1
    STOP1 = 2
    STOP0 = 3


@dataclass(frozen=True, slots=True)
class Permit:
    """One motion permit; fields as in MotionPermit.msg."""

    machine_id: str
    incarnation: int
    sequence: int
    challenge: int
    program_digest: Digest
    cleared_latch: int = 0
    level: PermitLevel = PermitLevel.RUN
    speed_scale: float = 1.0
    valid_for_ms: int = round(PERMIT_VALID_S * 1e3)
    mac: bytes = NO_MAC

    def signed_bytes(self) -> bytes:
        """The bytes that the MAC covers: fixed-width little-endian fields, the name preceded by its length."""
        name = self.machine_id.encode()
        numbers = struct.pack(
            "<QQQQBfI",
            self.incarnation,
            self.sequence,
            self.challenge,
            self.cleared_latch,
            self.level,
            self.speed_scale,
            self.valid_for_ms,
        )
        return b"IVPERMIT1" + len(name).to_bytes(2, "little") + name + numbers + self.program_digest


def sign(permit: Permit, key: bytes) -> Permit:
    """The permit with its MAC."""
    return replace(permit, mac=hmac.digest(key, permit.signed_bytes(), "sha256"))


def is_authentic(permit: Permit, key: bytes) -> bool:
    """True when the MAC was made with this key over these fields."""
    return hmac.compare_digest(permit.mac, hmac.digest(key, permit.signed_bytes(), "sha256"))


def check_fields(permit: Permit) -> None:
    """Raise PermitError when a field is out of range (a NaN scale, a validity beyond the protocol's).

    A permit for no program (NO_DIGEST) is valid: it moves nothing and only carries a cleared latch.
    """
    if not 0.0 < permit.speed_scale <= 1.0:  # also false for NaN
        raise PermitError(ErrorCode.PERMIT_FORGED, f"Permit with speed scale {permit.speed_scale}; 0 < scale <= 1.")
    if not 0 < permit.valid_for_ms <= PERMIT_VALID_S * 1e3:
        raise PermitError(ErrorCode.PERMIT_FORGED, f"Permit valid for {permit.valid_for_ms} ms; at most 150 ms.")


def load_or_create_key(path: Path) -> bytes:
    """The cell's key (32 bytes). Made at first start with mode 0600; a key that others can read is refused.

    Two processes that start together get the same key: it appears whole, under its name, exactly once.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        own = path.with_name(f".{path.name}.{os.getpid()}")
        replace_file(own, secrets.token_bytes(KEY_BYTES), mode=0o600)
        try:
            os.link(own, path)
        except FileExistsError:
            pass  # another process was first: its key counts
        finally:
            own.unlink()
    return _load_key(path)


def _load_key(path: Path) -> bytes:
    status = path.stat()
    mode = status.st_mode & 0o777
    if mode & 0o077 or status.st_uid != os.geteuid():
        raise InputError(
            ErrorCode.FILE_UNREADABLE,
            f"{path}: the cell's key is readable by others (owner {status.st_uid}, mode {mode:04o}; 0600 is allowed).",
            f"Make a new one: rm '{path}' and start the cell again.",
        )
    key = read_bytes(path, 1024)
    if len(key) != KEY_BYTES:
        raise InputError(
            ErrorCode.FILE_UNREADABLE,
            f"{path}: the cell's key has {len(key)} bytes, {KEY_BYTES} are needed.",
            f"Make a new one: rm '{path}' and start the cell again.",
        )
    return key
