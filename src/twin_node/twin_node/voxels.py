"""Energy voxels: where in the part each joule of a job was spent, as a sparse grid.

The grid is anchored at the program's origin: voxel (i, j, k) reaches from (i, j, k) to (i+1, j+1, k+1) edges, so parts
and runs can be laid over each other. A point on a face between two voxels belongs to the upper one in x and y. In z it
belongs to the lower one on a printer (the material lies under the nozzle) and to the upper one on a mill.

What a move takes (joules, seconds, material) goes to the voxels that the tool passes, in proportion to the length of
its path in each; what only filament moves take goes to the voxel in which the tool stands. Instructions that move
nothing (heating, waiting, homing, levelling, dwells) happen nowhere in the part but are spent for it: their joules are
shared out over the voxels in proportion to deposited (or removed) volume; without any, to the time of feed moves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from industriverse_core.artefacts import Subsystem
from industriverse_core.digest import Digest
from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.machine import MachineProfile
from industriverse_core.material import Material
from industriverse_core.program import Op, Program
from industriverse_core.telemetry import Vector
from twin_node.steps import melted_m3
from twin_node.timeline import Timeline

DEFAULT_EDGE_M = 1e-3
MIN_EDGE_M, MAX_EDGE_M = 1e-5, 1.0
MAX_VOXELS = 10_000_000  # 0.7 GB while they are computed
MAX_ENTERED = 200_000_000  # voxels that all moves enter, a voxel counted each time: a few seconds
MAX_POSITION_M = 1e3
NM = 1e9  # nanometres in a metre; positions and edges are whole ones
_ENERGY, _TIME, _VOLUME, _FEED_TIME, _FIRST_SUBSYSTEM = range(5)


@dataclass(frozen=True, slots=True, eq=False)
class EnergyVoxels:
    """Joules of one job by voxel; n voxels sorted by layer (z), then y, then x.

    Attributes:
        program_digest, program_name, machine_id, material: which job.
        edge_m: size of a voxel along x, y, z.
        index: int32 (n, 3); the voxel reaches from index * edge_m to (index + 1) * edge_m in program coordinates.
        energy_j: electric energy, shape (n,); adds up to `total_j`.
        motion_energy_j: the part of it that was spent while the tool was in the voxel; the rest is shared out.
        time_s: how long the tool was in the voxel.
        volume_m3: material that was deposited in it, or removed while the tool's tip was in it.
        energy_by_subsystem_j: energy_j by consumer, shape (n,) each; empty unless asked for.
        total_j: electric energy of the job.
        total_s: its duration, heating and homing included.
    """

    program_digest: Digest
    program_name: str
    machine_id: str
    material: str
    edge_m: Vector
    index: np.ndarray
    energy_j: np.ndarray
    motion_energy_j: np.ndarray
    time_s: np.ndarray
    volume_m3: np.ndarray
    total_j: float
    total_s: float
    energy_by_subsystem_j: Mapping[Subsystem, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.energy_j)

    @property
    def motion_j(self) -> float:
        """Joules of all moves; the rest of `total_j` is shared out."""
        return math.fsum(self.motion_energy_j)

    @property
    def box_m(self) -> tuple[Vector, Vector]:
        """Lower and upper corner of the box round all voxels [m]. Raises ValueError when there are none."""
        low = self.index.min(axis=0) * np.array(self.edge_m)
        high = (self.index.max(axis=0) + 1) * np.array(self.edge_m)
        return tuple(low.tolist()), tuple(high.tolist())


def voxel_edges_m(program: Program, width_m: float | None = None, height_m: float | None = None) -> Vector:
    """Edges of the voxels for a program: 1 mm wide; as high as its layers where it says so, else as they are wide."""
    width = DEFAULT_EDGE_M if width_m is None else width_m
    layer = program.metadata.layer_height_m
    if height_m is None:
        height_m = layer if MIN_EDGE_M <= layer <= MAX_EDGE_M else width
    return width, width, height_m


def energy_voxels(
    timeline: Timeline,
    profile: MachineProfile,
    material: Material | None,
    edge_m: Vector,
    by_subsystem: bool = False,
) -> EnergyVoxels:
    """Spread a job's joules over voxels with these edges along x, y, z (made whole nanometres).

    Raises PredictionError (TOO_MANY_VOXELS) for edges beyond 10 um to 1 m, a position more than 1 km from the origin, a
    box of more than 2 097 152 voxels along one axis, more than 10 million voxels, or 200 million entered ones.
    """
    program = timeline.program
    edges = _edges_nm(edge_m)
    subsystems = sorted(timeline.energy_j)
    amounts = _amounts(timeline, subsystems if by_subsystem else [])
    keys, sums, lowest = _deposit(program, amounts, edges, below=profile.kind == "printer")
    still = ~program.is_motion()
    weights = _weights(sums)
    energy = sums[:, _ENERGY] + weights * math.fsum(amounts[still, _ENERGY])
    parts = {
        subsystem: sums[:, column] + weights * math.fsum(amounts[still, column])
        for column, subsystem in enumerate(subsystems if by_subsystem else [], start=_FIRST_SUBSYSTEM)
    }
    return EnergyVoxels(
        program_digest=program.digest,
        program_name=program.metadata.name,
        machine_id=profile.id,
        material=material.id if material else "",
        edge_m=tuple((edges / NM).tolist()),
        index=_unpacked(keys, lowest),
        energy_j=energy,
        motion_energy_j=np.ascontiguousarray(sums[:, _ENERGY]),
        time_s=np.ascontiguousarray(sums[:, _TIME]),
        volume_m3=np.ascontiguousarray(sums[:, _VOLUME]),
        total_j=timeline.electric_j,
        total_s=timeline.total_s,
        energy_by_subsystem_j=parts,
    )


def _edges_nm(edge_m: Vector) -> np.ndarray:
    """The edges as whole nanometres, shape (3,)."""
    for name, edge in zip("xyz", edge_m, strict=True):
        if not MIN_EDGE_M <= edge <= MAX_EDGE_M:  # NaN too
            raise PredictionError(
                ErrorCode.TOO_MANY_VOXELS,
                f"voxels of {edge * 1e3:g} mm along {name}; "
                f"{MIN_EDGE_M * 1e3:g} to {MAX_EDGE_M * 1e3:g} mm are allowed.",
                "Choose another voxel size.",
            )
    return np.round(np.array(edge_m) * NM).astype(np.int64)


def _amounts(timeline: Timeline, subsystems: list[Subsystem]) -> np.ndarray:
    """What each instruction takes, shape (n, 4 + subsystems): joules, seconds, m^3, seconds of feed moves, joules."""
    program = timeline.program
    feeds = program.is_motion() & (program.columns["op"] != Op.STRAIGHT_TRAVERSE)
    energy = sum(timeline.energy_j.values(), np.zeros(len(program)))
    by_subsystem = [timeline.energy_j[subsystem] for subsystem in subsystems]
    duration = timeline.duration_s
    volume = melted_m3(program)
    if timeline.removed_m3 is not None:
        volume += timeline.removed_m3
    return np.column_stack([energy, duration, volume, np.where(feeds, duration, 0.0), *by_subsystem])


def _deposit(
    program: Program, amounts: np.ndarray, edges: np.ndarray, below: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keys of the voxels that moves pass, what they get, and the index of the lowest voxel of the box."""
    from twin_node import voxel_kernels as kernels

    moves = np.flatnonzero(program.is_motion() & np.any(amounts != 0.0, axis=1))
    ends = _nanometres(program, program.positions_m())
    starts = np.vstack([np.zeros((1, 3), np.int64), ends[:-1]])
    arcs = program.columns["op"] == Op.ARC_FEED
    centres = np.column_stack([program.columns["center_1_m"], program.columns["center_2_m"]]) * arcs[:, None]
    path = (
        moves, starts, ends, arcs, _nanometres(program, centres), program.columns["turns"], program.columns["target"],
        edges,
    )  # fmt: skip
    low = np.full(3, np.iinfo(np.int64).max if len(moves) else 0)
    high = np.full(3, np.iinfo(np.int64).min if len(moves) else 0)
    entered = kernels.survey(*path, low, high)
    lowest = np.array([kernels.cell(low[axis], edges[axis], below and axis == 2) for axis in range(3)])
    highest = np.array([kernels.cell(high[axis], edges[axis], below and axis == 2) for axis in range(3)])
    longest = int((highest - lowest).max()) + 1
    if longest > 1 << kernels.KEY_BITS:
        raise _too_many(f"the path is {longest} voxels long along one axis", 1 << kernels.KEY_BITS, edges)
    if entered > MAX_ENTERED:
        raise _too_many(f"the path enters about {entered:.2g} voxels", MAX_ENTERED, edges)
    status, keys, sums = kernels.deposit(*path, lowest, below, amounts, MAX_VOXELS)
    if status != kernels.OK:
        raise _too_many(f"the path touches more than {MAX_VOXELS} voxels", MAX_VOXELS, edges)
    if len(program) and not len(keys):  # nothing moves: all is spent where the tool stands
        return np.zeros(1, np.int64), np.zeros((1, amounts.shape[1])), lowest
    return keys, sums, lowest


def _nanometres(program: Program, points_m: np.ndarray) -> np.ndarray:
    """Points as whole nanometres; refuses what is too far away."""
    far = ~(np.abs(points_m) <= MAX_POSITION_M).all(axis=1)
    if far.any():
        index = int(np.argmax(far))
        worst = float(points_m[index][np.argmax(np.abs(points_m[index]))])
        raise PredictionError(
            ErrorCode.TOO_MANY_VOXELS,
            f"line {int(program.columns['line'][index])}: goes to {worst:g} m; voxels reach {MAX_POSITION_M:g} m from "
            "the origin.",
            "Mend the coordinates.",
        )
    return np.round(points_m * NM).astype(np.int64)


def _too_many(seen: str, allowed: int, edges: np.ndarray) -> PredictionError:
    size = " x ".join(f"{edge / 1e6:g}" for edge in edges)
    return PredictionError(
        ErrorCode.TOO_MANY_VOXELS,
        f"with voxels of {size} mm {seen}; {allowed} is the limit.",
        "Choose larger voxels.",
    )


def _weights(sums: np.ndarray) -> np.ndarray:
    """Each voxel's share of what is shared out; they add up to one."""
    for column in (_VOLUME, _FEED_TIME, _TIME):
        total = math.fsum(sums[:, column])
        if total > 0.0:
            return sums[:, column] / total
    return np.full(len(sums), 1.0 / max(1, len(sums)))


def _unpacked(keys: np.ndarray, lowest: np.ndarray) -> np.ndarray:
    from twin_node.voxel_kernels import KEY_BITS

    mask = (1 << KEY_BITS) - 1
    relative = np.column_stack([keys & mask, keys >> KEY_BITS & mask, keys >> 2 * KEY_BITS])
    return (relative + lowest).astype(np.int32)
