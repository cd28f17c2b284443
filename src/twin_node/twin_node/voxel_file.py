"""Energy voxels on disk: one HDF5 file, specified in docs/voxels.md."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from industriverse_core.artefacts import Subsystem
from industriverse_core.errors import ErrorCode, InputError
from industriverse_core.files import read_bytes, replace_file
from twin_node.voxels import MAX_VOXELS, EnergyVoxels

FORMAT = "industriverse-energy-voxels"
VERSION = "1.0"
MAX_FILE_BYTES = 1 << 30
CHUNK_ROWS = 1 << 16
SUM_TOLERANCE = 1e-9  # relative: what a file's joules may differ from its total
COLUMNS = {
    "energy_j": ("J", "electric energy spent for the voxel; adds up to the attribute total_j"),
    "motion_energy_j": ("J", "the part of energy_j that was spent while the tool was in the voxel"),
    "time_s": ("s", "how long the tool was in the voxel"),
    "volume_m3": ("m3", "material deposited in the voxel, or removed while the tool's tip was in it"),
}
RULE = (
    "Moves: by path length in each voxel. What moves nothing (heating, waiting, homing, levelling, dwells): shared "
    "out by deposited or removed volume; without any, by the time of feed moves."
)


def write_voxels(voxels: EnergyVoxels, path: Path) -> None:
    """Write one HDF5 file, whole or not at all. Raises InputError (FILE_UNREADABLE) where it cannot be written."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs.update(_attributes(voxels))
        _dataset(file, "index", voxels.index, "1", "voxel (i, j, k) begins at (i, j, k) * voxel_size_m")
        for name, (unit, text) in COLUMNS.items():
            _dataset(file, name, getattr(voxels, name), unit, text)
        for subsystem, energy in voxels.energy_by_subsystem_j.items():
            _dataset(file, f"energy_by_subsystem_j/{subsystem.name.lower()}", energy, "J", "its part of energy_j")
    try:
        replace_file(path, buffer.getbuffer())
    except OSError as error:
        raise InputError(
            ErrorCode.FILE_UNREADABLE, f"{path}: cannot be written ({error.strerror}).", "Name another file."
        ) from error


def _attributes(voxels: EnergyVoxels) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "generator": f"industriverse {version('twin_node')}",
        "program_digest": voxels.program_digest.hex(),
        "program_name": voxels.program_name.encode("utf-8", "replace").replace(b"\0", b"").decode(),
        "machine": voxels.machine_id,
        "material": voxels.material,
        "origin_m": np.zeros(3),
        "voxel_size_m": np.array(voxels.edge_m),
        "total_j": voxels.total_j,
        "motion_j": voxels.motion_j,
        "total_s": voxels.total_s,
        "rule": RULE,
    }


def _dataset(file: Any, name: str, data: np.ndarray, unit: str, description: str) -> None:
    packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if len(data) else {}
    chunk = (min(len(data), CHUNK_ROWS), *data.shape[1:]) if len(data) else None
    made = file.create_dataset(name, data=data, chunks=chunk, **packed)
    made.attrs.update({"units": unit, "description": description})


def load_voxels(path: Path) -> EnergyVoxels:
    """Read energy voxels. Raises InputError: FILE_* or VOXELS_BROKEN."""
    import h5py

    data = read_bytes(path, MAX_FILE_BYTES)
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            return _checked(file)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, OverflowError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise InputError(
            ErrorCode.VOXELS_BROKEN,
            f"{path}: not a readable file of energy voxels {VERSION} ({reason}).",
            "Make it again from its program: industriverse voxels FILE -o OUT.h5",
        ) from error


def _checked(file: Any) -> EnergyVoxels:
    """The content, when it is what docs/voxels.md says; else ValueError and its relatives."""
    attributes = dict(file.attrs)
    if (attributes["format"], attributes["version"]) != (FORMAT, VERSION):
        raise ValueError(f"format {attributes['format']!r} version {attributes['version']!r}")
    count = file["energy_j"].shape[0]
    columns = {name: _column(file[name], count) for name in COLUMNS}
    total = float(attributes["total_j"])
    if not abs(math.fsum(columns["energy_j"]) - total) <= SUM_TOLERANCE * abs(total):
        raise ValueError("the voxels do not add up to total_j")
    edge = np.array(attributes["voxel_size_m"], dtype=float)
    if edge.shape != (3,) or not np.all((edge > 0.0) & np.isfinite(edge)):
        raise ValueError("voxel_size_m is not three lengths")
    return EnergyVoxels(
        program_digest=bytes.fromhex(attributes["program_digest"]),
        program_name=str(attributes["program_name"]),
        machine_id=str(attributes["machine"]),
        material=str(attributes["material"]),
        edge_m=tuple(edge.tolist()),
        index=_index(file["index"], count),
        total_j=total,
        total_s=float(attributes["total_s"]),
        energy_by_subsystem_j=_by_subsystem(file.get("energy_by_subsystem_j", {}), count),
        **columns,
    )


def _by_subsystem(group: Mapping[str, Any], count: int) -> dict[Subsystem, np.ndarray]:
    return {Subsystem[name.upper()]: _column(group[name], count) for name in group}


def _column(dataset: Any, count: int) -> np.ndarray:
    if dataset.shape != (count,) or count > MAX_VOXELS or dataset.dtype != np.float64:
        raise ValueError(f"{dataset.name}: {dataset.dtype}{dataset.shape}")
    values = np.asarray(dataset[()])
    if not np.all(np.isfinite(values) & (values >= 0.0)):
        raise ValueError(f"{dataset.name} has values that are negative or not numbers")
    return values


def _index(dataset: Any, count: int) -> np.ndarray:
    if dataset.shape != (count, 3) or dataset.dtype != np.int32:
        raise ValueError(f"{dataset.name}: {dataset.dtype}{dataset.shape}")
    index = np.asarray(dataset[()])
    step = np.diff(index[:, ::-1].astype(np.int64), axis=0)
    first = np.take_along_axis(step, np.argmax(step != 0, axis=1)[:, None], axis=1)
    if not np.all(first > 0):
        raise ValueError("the voxels are not sorted, or one occurs twice")
    return index
