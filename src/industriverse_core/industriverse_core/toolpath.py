"""The tool path as it can be drawn: a bounded number of vertices, within a stated deviation, coloured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from industriverse_core.colours import NO_VALUE, TOP_VALUE
from industriverse_core.moves import TRAVEL, Layers, Moves
from industriverse_core.program import Op, Program
from industriverse_core.units import MM, MM3

FIRST_TOLERANCE_M = 10e-6
LAST_TOLERANCE_M = 1e-3  # beyond it, moves are joined whatever they are
TOLERANCE_GROWTH = 1.6
LAYER_TOLERANCE_M = 0.1e-3  # a layer that is drawn rather than left out keeps its details to this
WINDOW = 64  # vertices that one piece may replace
ARC_SAG_M = 20e-6
ARC_PIECES = 720
MAX_FLATTENED = 2_000_000  # vertices that arcs may add before they are drawn more coarsely
AROUND = 0.6  # of the part's width: what of the first layer is nearer belongs to its picture
PICTURE_LIMIT_M = 10.0  # what lies farther from the origin is not drawn
Sums = Callable[[np.ndarray], np.ndarray]  # a column over instructions summed over the pieces of the path


@dataclass(frozen=True, slots=True)
class Scale:
    """A coloured quantity: bytes 0..254 are `low`..`high` in `unit`; what lies outside has the nearest colour."""

    title: str
    unit: str
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class ToolPath:
    """A polyline of n vertices; each carries what belongs to the piece that ends there.

    Attributes:
        points_m: (n, 3).
        drawn: False where the pen is lifted on the way to the vertex.
        owner: last instruction of the piece.
        energy, speed: bytes on their scales; NO_VALUE = none.
        tolerance_m: no vertex of the program's work is farther from what is drawn, nor of its travel unless
            `straight_travel` (then each travel is one straight piece).
        joined: how many neighbouring moves were joined regardless; 1 = none.
        moves: how many moves the program has; `left_out` lie too far away to be drawn.
    """

    points_m: np.ndarray
    drawn: np.ndarray
    owner: np.ndarray
    layer: np.ndarray
    feature: np.ndarray
    line: np.ndarray
    energy: np.ndarray
    speed: np.ndarray
    energy_scale: Scale
    speed_scale: Scale
    tolerance_m: float
    straight_travel: bool
    joined: int
    moves: int
    left_out: int

    def part(self) -> np.ndarray:
        """Which vertices are of the part, shape (n,): what is worked above the first layer, and what of the first lies
        around that (a skirt does, a purge line at the bed's edge does not). All vertices where nothing is worked."""
        worked = self.drawn & (self.feature != TRAVEL)
        if not worked.any():
            return np.ones(len(self.points_m), bool)
        above = worked & (self.layer > 0)
        if not above.any():
            return _with_starts(worked)
        low, high = self.points_m[above].min(axis=0), self.points_m[above].max(axis=0)
        room = AROUND * float((high - low)[:2].max())
        inside = (self.points_m >= low - room) & (self.points_m <= high + room)
        return _with_starts(above | (worked & inside.all(axis=1)))

    def box_m(self, part: bool) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper corner of all vertices, or of the part alone."""
        points = self.points_m[self.part()] if part else self.points_m
        return (points.min(axis=0), points.max(axis=0)) if len(points) else (np.zeros(3), np.zeros(3))


def _with_starts(ends: np.ndarray) -> np.ndarray:
    """The vertices at which pieces end, and those at which they start."""
    both = ends.copy()
    both[:-1] |= ends[1:]
    return both


def reduce_path(
    program: Program,
    moves: Moves,
    layers: Layers,
    energy_j: np.ndarray | None,
    duration_s: np.ndarray | None,
    budget: int,
) -> ToolPath:
    """The path of a program with at most `budget` vertices.

    `energy_j` and `duration_s` of each instruction may be None where nothing is predicted: then nothing is
    coloured by them. Energy, volume and time of joined moves add up.
    """
    points, owner, pen, left_out = _vertices(program, moves)
    key = _keys(moves, layers)[owner]
    keep, tolerance, straight, joined = _reduce(points, pen, key, moves.feature[owner] == TRAVEL, budget)
    last = np.flatnonzero(keep)
    begins = np.concatenate([[0], last[:-1] + 1]) if len(last) else last
    share = 1.0 / np.bincount(owner[pen == 1], minlength=len(program))[owner] if len(owner) else np.zeros(0)

    def summed(column: np.ndarray) -> np.ndarray:
        weighted = column[owner] * share * pen
        return np.add.reduceat(weighted, begins) if len(begins) else np.zeros(0)

    ending = owner[last]
    length = np.zeros(len(points))
    length[1:] = np.linalg.norm(np.diff(points, axis=0), axis=1)
    path = np.add.reduceat(length * pen, begins) if len(begins) else np.zeros(0)
    energy, energy_scale = _coloured_energy(moves, ending, energy_j, summed, path)
    speed, speed_scale = _coloured_speed(moves, ending, duration_s, summed, path)
    drawn = pen[last] == 1
    return ToolPath(
        points_m=points[last],
        drawn=drawn,
        owner=ending,
        layer=np.clip(layers.of[ending], 0, None),
        feature=moves.feature[ending],
        line=program.columns["line"][ending],
        energy=np.where(drawn, energy, NO_VALUE).astype(np.uint8),
        speed=np.where(drawn, speed, NO_VALUE).astype(np.uint8),
        energy_scale=energy_scale,
        speed_scale=speed_scale,
        tolerance_m=tolerance,
        straight_travel=straight,
        joined=joined,
        moves=int(moves.tool.sum()),
        left_out=left_out,
    )


def reduce_by_layers(
    program: Program, moves: Moves, layers: Layers, energy_j: np.ndarray | None, budget: int
) -> tuple[ToolPath, int]:
    """The work alone, without travel, with at most `budget` vertices: whole layers are left out before those that
    remain become coarser than LAYER_TOLERANCE_M.

    Returns the path and n: every n-th layer is drawn, counted from the last, and the first.
    """
    from industriverse_core import toolpath_kernels as kernels

    work = replace(moves, tool=moves.work)
    points, owner, pen, _ = _vertices(program, work)
    keep, loose = np.zeros(len(points), np.uint8), np.zeros(len(points), bool)
    kernels.simplify(points, pen, _keys(moves, layers)[owner], loose, LAYER_TOLERANCE_M, WINDOW, keep)
    count = len(layers.z_m)
    sizes = np.bincount(layers.of[owner[keep == 1]], minlength=count)
    drawn, stride = np.ones(count, bool), 1
    while sizes[drawn].sum() > budget and stride < count:
        stride += 1
        drawn[:] = (count - 1 - np.arange(count)) % stride == 0
        drawn[0] = True
    work = replace(work, tool=work.tool & drawn[layers.of] if count else work.tool)
    return reduce_path(program, work, layers, energy_j, None, budget), stride


def _vertices(program: Program, moves: Moves) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Points (m, 3), owning instructions, pen flags, and how many moves lie too far away."""
    from industriverse_core import toolpath_kernels as kernels

    position = np.ascontiguousarray(program.positions_m())
    columns = program.columns
    with np.errstate(invalid="ignore"):
        near = (np.abs(position) <= PICTURE_LIMIT_M).all(axis=1)
    is_arc = (columns["op"] == Op.ARC_FEED) & np.isfinite(columns["center_1_m"]) & np.isfinite(columns["center_2_m"])
    index = np.flatnonzero(moves.tool & near & np.concatenate([[True], near[:-1]]))
    if not len(index):
        return np.zeros((0, 3)), np.zeros(0, np.int64), np.zeros(0, np.uint8), int(moves.tool.sum())
    plane = np.where((columns["target"] >= 0) & (columns["target"] <= 2), columns["target"], 0)
    arcs = (is_arc, columns["center_1_m"], columns["center_2_m"], columns["turns"], plane)
    pieces = np.ones(len(index), np.int64)
    for most in (ARC_PIECES, 16, 1):
        kernels.chord_counts(index, position, *arcs, ARC_SAG_M, most, pieces)
        if pieces.sum() <= len(index) + MAX_FLATTENED:
            break
    lifted = np.ones(len(index), bool)
    starts = program.starts_m()
    lifted[1:] = np.any(starts[index[1:]] != position[index[:-1]], axis=1)
    size = int(pieces.sum() + lifted.sum())
    points, owner, pen = np.zeros((size, 3)), np.zeros(size, np.int64), np.zeros(size, np.uint8)
    kernels.flatten(index, pieces, lifted, position, *arcs, points, owner, pen)
    return points, owner, pen, int(moves.tool.sum()) - len(index)


def _keys(moves: Moves, layers: Layers) -> np.ndarray:
    """Moves with the same key may be joined: one layer and one feature."""
    return np.asarray(layers.of * 256 + moves.feature)


def _reduce(
    points: np.ndarray, pen: np.ndarray, key: np.ndarray, travel: np.ndarray, budget: int
) -> tuple[np.ndarray, float, bool, int]:
    """Which vertices remain, the deviation, whether travel was straightened, and how many neighbours had to be joined
    regardless (1 = none)."""
    from industriverse_core import toolpath_kernels as kernels

    keep = np.zeros(len(points), np.uint8)
    tolerance, loose = FIRST_TOLERANCE_M, np.zeros(len(points), bool)
    while True:
        count = kernels.simplify(points, pen, key, loose, tolerance, WINDOW, keep)
        if count <= budget:
            return keep, tolerance, loose is travel, 1
        if loose is not travel:
            loose = travel
        elif tolerance < LAST_TOLERANCE_M:
            tolerance = min(LAST_TOLERANCE_M, tolerance * TOLERANCE_GROWTH)
        else:
            break
    joined = -(-count // (budget - 1))  # the last vertex stays too
    kept = np.flatnonzero(keep)
    keep[:] = 0
    keep[kept[joined - 1 :: joined]] = 1
    keep[kept[-1]] = 1
    return keep, tolerance, True, joined


def _coloured_energy(
    moves: Moves, ending: np.ndarray, energy_j: np.ndarray | None, summed: Sums, path_m: np.ndarray
) -> tuple[np.ndarray, Scale]:
    """Joules for each mm^3 deposited, or for each mm of path where nothing is deposited (mills)."""
    volume = summed(moves.volume_m3)
    deposits = bool(moves.volume_m3.any())
    scale = ("energy for each volume deposited", "J/mm³") if deposits else ("energy along the path", "J/mm")
    amount = volume / MM3 if deposits else path_m / MM
    known = moves.work[ending] & (amount > 0.0)
    if energy_j is None or not known.any():
        return np.full(len(ending), NO_VALUE), Scale(*scale, 0.0, 0.0)
    joules = summed(energy_j)
    value = np.divide(joules, amount, out=np.zeros(len(ending)), where=known)
    low, high = _span(value[known], amount[known])
    return _bytes(value, known, low, high), Scale(*scale, low, high)


def _coloured_speed(
    moves: Moves, ending: np.ndarray, duration_s: np.ndarray | None, summed: Sums, path_m: np.ndarray
) -> tuple[np.ndarray, Scale]:
    """Mean speed of each piece in mm/s."""
    title, unit = "mean speed", "mm/s"
    if duration_s is None or not len(ending):
        return np.full(len(ending), NO_VALUE), Scale(title, unit, 0.0, 0.0)
    taken = summed(duration_s)
    known = taken > 0.0
    value = np.divide(path_m / MM, taken, out=np.zeros(len(ending)), where=known)
    shown = known & moves.work[ending]
    chosen = shown if shown.any() else known
    low, high = _span(value[chosen], path_m[chosen]) if chosen.any() else (0.0, 0.0)
    return _bytes(value, known, low, high), Scale(title, unit, low, high)


def _span(value: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """The 2 % and 98 % quantiles by weight: a few odd pieces shall not use up the colours."""
    order = np.argsort(value)
    reached = np.cumsum(weight[order])
    low, high = (float(value[order][np.searchsorted(reached, share * reached[-1])]) for share in (0.02, 0.98))
    return low, high if high > low else low + max(abs(low) * 1e-3, 1e-9)


def _bytes(value: np.ndarray, known: np.ndarray, low: float, high: float) -> np.ndarray:
    span = high - low
    scaled = np.clip((value - low) / span, 0.0, 1.0) if span > 0.0 else np.zeros(len(value))
    return np.where(known, np.round(scaled * TOP_VALUE), NO_VALUE)
