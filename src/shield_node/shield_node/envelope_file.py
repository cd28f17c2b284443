"""Envelopes on disk: one `.npz` with units, ranges and provenance; no pickled objects in it."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np

from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.files import read_bytes, replace_file
from shield_node.envelope import Channel, Envelope
from shield_node.envelope_kernels import Mixture

FORMAT = "industriverse envelope 1"
MAX_BYTES = 64 << 20
# what numpy and zipfile raise for a file that is cut or changed
_BROKEN = (ValueError, TypeError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)
_MIXTURE = ("offsets", "centres", "whiten", "spreads")


def save_envelope(envelope: Envelope, path: Path) -> None:
    """Write it to `path` (the suffix is kept as given)."""
    channels = envelope.channels
    columns = {
        "format": np.array(FORMAT),
        "names": np.array([channel.name for channel in channels]),
        "units": np.array([channel.unit for channel in channels]),
        "hard_low": np.array([channel.low for channel in channels]),
        "hard_high": np.array([channel.high for channel in channels]),
        "centre": envelope.centre,
        "scale": envelope.scale,
        "low": envelope.low,
        "high": envelope.high,
        "threshold": np.array(envelope.threshold),
        "provenance": np.array(envelope.provenance),
    }
    for prefix, mixture in (("good", envelope.good), ("bad", envelope.bad)):
        if mixture is not None:
            columns |= {f"{prefix}_{name}": getattr(mixture, name) for name in _MIXTURE}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **columns)
    replace_file(path, buffer.getvalue())


def load_envelope(path: Path) -> Envelope:
    """Read it. Raises InputError (FILE_..., UNREADABLE_MESSAGE)."""
    data = read_bytes(path, MAX_BYTES)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            envelope = _envelope({name: file[name] for name in file.files})
    except _BROKEN as error:
        raise InputError(
            ErrorCode.UNREADABLE_MESSAGE, f"{path} is not a whole envelope file ({error}).", "Learn the envelope again."
        ) from error
    return envelope


def _envelope(columns: dict[str, np.ndarray]) -> Envelope:
    if str(columns["format"]) != FORMAT:
        raise ValueError(f"format '{columns['format']}', expected '{FORMAT}'")
    size = len(columns["names"])
    channels = tuple(
        Channel(str(columns["names"][at]), str(columns["units"][at]), float(low), float(high))
        for at, (low, high) in enumerate(zip(columns["hard_low"], columns["hard_high"], strict=True))
    )
    ranges = [_shaped(columns[name], (size,)) for name in ("centre", "scale", "low", "high")]
    bad = _mixture("bad", columns, size) if "bad_offsets" in columns else None
    good = _mixture("good", columns, size)
    return Envelope(
        channels, *ranges, good, bad, float(_shaped(columns["threshold"], ()).item()), str(columns["provenance"])
    )


def _mixture(prefix: str, columns: dict[str, np.ndarray], size: int) -> Mixture:
    count = len(columns[f"{prefix}_offsets"])
    shapes = ((count,), (count, size), (count, size, size), (count, size))
    return Mixture(*(_shaped(columns[f"{prefix}_{name}"], shape) for name, shape in zip(_MIXTURE, shapes, strict=True)))


def _shaped(column: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The column as float64, if it is of finite numbers and has this shape."""
    if column.shape != shape or column.dtype.kind != "f" or not np.isfinite(column).all():
        raise ValueError(f"a column of shape {column.shape} where finite numbers of shape {shape} belong")
    return np.ascontiguousarray(column, np.float64)
