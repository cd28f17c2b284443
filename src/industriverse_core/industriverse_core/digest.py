"""Content addresses: SHA-256 over canonical forms. The same content gives the same digest on every machine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np

Digest = bytes
NO_DIGEST: Digest = bytes(32)


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys, no white space, floats in shortest round-trip form and no NaN.

    Dataclasses become objects, enums their names, bytes hexadecimal text, non-finite floats null.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def digest_of(value: Any) -> Digest:
    """SHA-256 (32 bytes) of the canonical JSON of a value."""
    return hashlib.sha256(canonical_json(value)).digest()


def digest_columns(tag: bytes, metadata: Any, columns: Mapping[str, np.ndarray]) -> Digest:
    """SHA-256 over a tag, metadata and numpy columns, as docs/bytecode.md specifies.

    Each part is preceded by its length (8 bytes, little endian), so no two different inputs give one byte
    string. Columns count in the order of their names, as little-endian bytes; -0.0 must have been removed.
    """
    digest = hashlib.sha256()
    parts: list[bytes] = [tag, canonical_json(metadata)]
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    for name in sorted(columns):
        column = np.ascontiguousarray(columns[name], dtype=columns[name].dtype.newbyteorder("<"))
        header = f"{name}:{column.dtype.str}".encode()
        digest.update(len(header).to_bytes(8, "little") + header)
        digest.update(column.nbytes.to_bytes(8, "little"))
        digest.update(column.data)
    return digest.digest()


def short(digest: Digest) -> str:
    """The first 12 hexadecimal digits, for people."""
    return digest.hex()[:12]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value + 0.0 if math.isfinite(value) else None
    return value
