"""What h5clear does, for a file whose writer was killed: the superblock says again that nobody writes.

HDF5 refuses to open such a file, because the flags of consistency are set. File format: "HDF5 File Format
Specification Version 3.0", II.A (superblock version 3) and the checksum of Bob Jenkins, lookup3.c, 2006.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

SIGNATURE = b"\x89HDF\r\n\x1a\n"
VERSION = 3
OFFSET_BYTES = 8
FLAGS_AT = 11
END_AT = 28  # address of the end of the file
CHECKSUM_AT = 44
SUPERBLOCK_BYTES = 48
_MASK = 0xFFFFFFFF


def clear_flags(path: Path) -> bool:
    """Take back the flags of a dead writer, and count everything in the file as in use. True when there were any.

    The end of the file is set as `h5clear --increment` does, so that nothing written later lies upon something that the
    dead writer had written last. Raises ValueError when it is no HDF5 file with a superblock of version 3, OSError.
    """
    with path.open("r+b") as file:
        block = _block(file)
        if not block[FLAGS_AT]:
            return False
        cleared, end = _cleared(block, os.fstat(file.fileno()).st_size)
        os.ftruncate(file.fileno(), end)
        file.seek(0)
        file.write(cleared)
        file.flush()
        os.fsync(file.fileno())
    return True


def has_flags(path: Path) -> bool:
    """Whether a writer has the file open, or died with it. Raises as `clear_flags` does."""
    with path.open("rb") as file:
        return bool(_block(file)[FLAGS_AT])


class ClearedView(io.FileIO):
    """A file for reading, as it would be after `clear_flags`; the file itself stays as it is."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        size = os.fstat(self.fileno()).st_size
        self._block, self._end = _cleared(_block(self), size)

    def readinto(self, buffer: Any) -> int:
        """As of any file."""
        at, view = self.tell(), memoryview(buffer)
        count = super().readinto(view) or 0
        count = max(count, min(len(view), self._end - at))  # what was to be written and never was reads as zeros
        if at < SUPERBLOCK_BYTES:
            part = self._block[at : at + len(view)]
            view[: len(part)] = part
        self.seek(at + count)
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file, with the end where the superblock says."""
        if whence == os.SEEK_END:
            return super().seek(self._end + offset)
        return super().seek(offset, whence)


def _block(file: Any) -> bytes:
    block = file.read(SUPERBLOCK_BYTES)
    if len(block) < SUPERBLOCK_BYTES or block[:8] != SIGNATURE or block[8] != VERSION or block[9] != OFFSET_BYTES:
        raise ValueError("not an HDF5 file with a superblock of version 3")
    if checksum(block[:CHECKSUM_AT]) != int.from_bytes(block[CHECKSUM_AT:], "little"):
        raise ValueError("the superblock's checksum is wrong")
    return bytes(block)


def _cleared(block: bytes, size: int) -> tuple[bytes, int]:
    """The block without flags, and the end of the file that it then says."""
    made = bytearray(block)
    made[FLAGS_AT] = 0
    end = max(int.from_bytes(made[END_AT : END_AT + 8], "little"), size)
    made[END_AT : END_AT + 8] = end.to_bytes(8, "little")
    made[CHECKSUM_AT:] = checksum(bytes(made[:CHECKSUM_AT])).to_bytes(4, "little")
    return bytes(made), end


def checksum(data: bytes) -> int:
    """lookup3's hashlittle of some bytes, initial value 0."""
    a = b = c = (0xDEADBEEF + len(data)) & _MASK
    while len(data) > 12:
        a, b, c = ((word + more) & _MASK for word, more in zip((a, b, c), _words(data), strict=True))
        a, b, c = _mix(a, b, c)
        data = data[12:]
    if not data:
        return c
    a, b, c = ((word + more) & _MASK for word, more in zip((a, b, c), _words(data), strict=True))
    return _final(a, b, c)


def _words(data: bytes) -> tuple[int, int, int]:
    padded = data[:12].ljust(12, b"\0")
    return tuple(int.from_bytes(padded[at : at + 4], "little") for at in (0, 4, 8))  # type: ignore[return-value]


def _turn(word: int, bits: int) -> int:
    return ((word << bits) | (word >> (32 - bits))) & _MASK


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits in (4, 6, 8, 16, 19, 4):
        a = ((a - c) & _MASK) ^ _turn(c, bits)
        c = (c + b) & _MASK
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _turn(b, bits)) & _MASK
        a, b, c = b, c, a
    # seven steps turn the names by one: what was c last is b now
    return b
