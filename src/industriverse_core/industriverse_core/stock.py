"""What a 3-axis mill removes from its stock, move by move: a height map of the stock, lowered under the tool.

Flat end mills, straight moves, arcs and helices in every plane. A cell counts as cut when its centre lies under the
tool, so that an area is off by less than half a cell along its border: |error| <= perimeter * resolution / 2 for
each cut of one depth. What the shank or the holder would hit is not looked at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from industriverse_core.errors import ErrorCode, PredictionError
from industriverse_core.machine import Box, MachineProfile
from industriverse_core.program import Op, Plane, Program
from industriverse_core.telemetry import Vector

DEFAULT_TOOL_M = 6e-3  # diameter where the profile has no table of tools: a common end mill of small machines
CELLS_PER_TOOL = 64  # across the smallest tool's diameter, where the bounds below allow it
MIN_CELLS_PER_TOOL = 4  # below it the map says little: refused
MAX_CELLS = 4_000_000
MAX_SWEPT_CELLS = 4e8  # visits of cells by all moves together


@dataclass(frozen=True, slots=True, eq=False)
class Removal:
    """Material that each of n instructions removes; rapids count too.

    Attributes:
        removed_m3: volume, shape (n,).
        axial_depth_m: deepest cut of the move below the surface that stands there, shape (n,); of a plunge, its depth.
        radial_m: mean width of the cut across the path, at most the tool's diameter, shape (n,); of a plunge, the
            diameter.
        tool_m: diameter of the tool in force, shape (n,); NaN for a number that the profile's table lacks.
        height_m: the surface at the end, shape (rows, columns) along y and x; covers what the tools can reach.
        origin_m: lower left corner of the map.
        cell_m: sides of its cells along x and y.
        stock_m3, remaining_m3: volume of the stock before and after; their difference is the sum of `removed_m3`.
    """

    removed_m3: np.ndarray
    axial_depth_m: np.ndarray
    radial_m: np.ndarray
    tool_m: np.ndarray
    height_m: np.ndarray
    origin_m: tuple[float, float]
    cell_m: tuple[float, float]
    stock_m3: float
    remaining_m3: float


@dataclass(frozen=True, slots=True)
class _Window:
    """The part of the stock that the tools can reach, in XY, and the area that they sweep in it or beside it."""

    left: float
    bottom: float
    width: float
    depth: float
    swept_m2: float
    tool_m: float  # the smallest that cuts


def simulate_removal(
    program: Program, profile: MachineProfile, stock: Box, resolution_m: float | None = None
) -> Removal:
    """Run all moves through the stock.

    Args:
        stock: the blank in program coordinates, bounded on all sides.
        resolution_m: longest side of a cell; default: 1/64 of the smallest tool, coarser where the cells or the work
            would be too many.

    Before the first tool change the tool is the first of the profile's table (6 mm where it has none).
    Raises PredictionError (CANNOT_PREDICT) for a stock without bounds, a position that is not finite, a tool that
    cuts and is not in the table, and a stock or program too large for a map that still resolves the tool.
    """
    from industriverse_core import stock_kernels as kernels

    (x0, y0, floor), (x1, y1, top) = _bounds(stock)
    _check_finite(program)
    tool = tool_diameters_m(program, profile)
    window = _window(program, tool, ((x0, y0), (x1, y1)), top)
    cell = _resolution(window, resolution_m, stock.name)
    # the cells divide the window exactly, so that no cell stands over the stock's edge
    columns, rows = max(1, math.ceil(window.width / cell)), max(1, math.ceil(window.depth / cell))
    cell_x, cell_y = window.width / columns, window.depth / rows
    heights = np.full((rows, columns), top)
    result = np.zeros((3, len(program)))
    if window.width > 0.0 and window.depth > 0.0:
        centre = np.column_stack([program.columns["center_1_m"], program.columns["center_2_m"]])
        kernels.remove(
            program.columns["op"], program.positions_m(), centre, program.columns["turns"], program.columns["target"],
            0.5 * np.nan_to_num(tool), heights, np.array([window.left, window.bottom, cell_x, cell_y, top, floor]),
            result,
        )  # fmt: skip
    volume = (x1 - x0) * (y1 - y0) * (top - floor)
    return Removal(
        removed_m3=result[kernels.REMOVED],
        axial_depth_m=result[kernels.DEPTH],
        radial_m=result[kernels.RADIAL],
        tool_m=tool,
        height_m=heights,
        origin_m=(window.left, window.bottom),
        cell_m=(cell_x, cell_y),
        stock_m3=volume,
        remaining_m3=volume - float((top - heights).sum()) * cell_x * cell_y,
    )


def tool_diameters_m(program: Program, profile: MachineProfile) -> np.ndarray:
    """Diameter [m] of the tool in force at each instruction, shape (n,); NaN for a number not in the table."""
    table = {tool.number: tool.diameter for tool in profile.tools}
    first = profile.tools[0].diameter if profile.tools else DEFAULT_TOOL_M
    changes = np.flatnonzero(program.columns["op"] == Op.CHANGE_TOOL)
    tool = np.full(len(program), first)
    if not table:
        return tool
    for begin, end in zip(changes, [*changes[1:], len(program)], strict=False):
        tool[begin:end] = table.get(int(program.columns["target"][begin]), math.nan)
    return tool


def _bounds(stock: Box) -> tuple[Vector, Vector]:
    low, high = stock.bounds_m()
    if not all(map(math.isfinite, (*low, *high))):
        raise PredictionError(
            ErrorCode.CANNOT_PREDICT,
            f"stock '{stock.name}' has no bound on some side, so what is removed cannot be computed.",
            "Give all six bounds of the stock.",
        )
    return low, high


def _check_finite(program: Program) -> None:
    names = ("x_m", "y_m", "z_m", "center_1_m", "center_2_m")
    finite = np.logical_and.reduce([np.isfinite(program.columns[name]) for name in names])
    bad = np.flatnonzero(program.is_motion() & ~finite)
    if len(bad):
        raise _refusal(program, int(bad[0]), "its position is not a finite number", "Mend the coordinates.")


def _extents(program: Program) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lowest and highest corner of each instruction's path, shape (n, 3), and the length of it, (n,) [m].

    Arcs count with their whole circle: the extents only bound the work.
    """
    end, start = program.positions_m(), program.starts_m()
    low, high = np.minimum(start, end), np.maximum(start, end)
    length = np.linalg.norm(end - start, axis=1)
    arcs = np.flatnonzero(program.columns["op"] == Op.ARC_FEED)
    planes = program.columns["target"][arcs]
    for plane, axes in ((Plane.XY, (0, 1)), (Plane.ZX, (2, 0)), (Plane.YZ, (1, 2))):
        rows = arcs[planes == plane]
        centre = np.column_stack([program.columns["center_1_m"][rows], program.columns["center_2_m"][rows]])
        reach = np.maximum(
            np.hypot(*(start[rows][:, axes] - centre).T), np.hypot(*(end[rows][:, axes] - centre).T)
        )  # fmt: skip
        for number, axis in enumerate(axes):
            low[rows, axis], high[rows, axis] = centre[:, number] - reach, centre[:, number] + reach
        turns = np.abs(program.columns["turns"][rows].astype(float))
        length[rows] += 2.0 * math.pi * reach * np.maximum(turns, 1.0)
    return low, high, length


def _window(program: Program, tool: np.ndarray, corners: tuple[tuple[float, float], ...], top: float) -> _Window:
    (x0, y0), (x1, y1) = corners
    low, high, length = _extents(program)
    cuts = program.is_motion() & (low[:, 2] < top)
    unknown = np.flatnonzero(cuts & np.isnan(tool))
    if len(unknown):
        seen, remedy = "it cuts with a tool that the machine's table lacks", "Add the tool to the machine profile."
        raise _refusal(program, int(unknown[0]), seen, remedy)
    radius = 0.5 * tool[cuts]
    if not len(radius):
        return _Window(x0, y0, 0.0, 0.0, 0.0, DEFAULT_TOOL_M)
    left, right = max(x0, (low[cuts, 0] - radius).min()), min(x1, (high[cuts, 0] + radius).max())
    bottom, back = max(y0, (low[cuts, 1] - radius).min()), min(y1, (high[cuts, 1] + radius).max())
    swept = float(np.sum(2.0 * radius * (length[cuts] + 2.0 * radius)))
    return _Window(left, bottom, max(0.0, right - left), max(0.0, back - bottom), swept, 2.0 * float(radius.min()))


def _resolution(window: _Window, wanted_m: float | None, name: str) -> float:
    """Side of a cell [m] that keeps cells and visits within their bounds and still resolves the tool."""
    area = window.width * window.depth
    least = max(math.sqrt(area / MAX_CELLS), math.sqrt(window.swept_m2 / MAX_SWEPT_CELLS))
    cell = max(least, window.tool_m / CELLS_PER_TOOL) if wanted_m is None else wanted_m
    if not least <= cell <= window.tool_m / MIN_CELLS_PER_TOOL:
        raise PredictionError(
            ErrorCode.CANNOT_PREDICT,
            f"stock '{name}': cells of {cell * 1e3:.3g} mm cannot show a tool of {window.tool_m * 1e3:.3g} mm within "
            f"{MAX_CELLS} cells and {MAX_SWEPT_CELLS:.0e} visits.",
            f"Cells of {least * 1e3:.3g} mm or more, and a quarter of the tool or less, are allowed; "
            "cut a smaller stock, or split the program.",
        )
    return cell


def _refusal(program: Program, index: int, seen: str, remedy: str) -> PredictionError:
    line = int(program.columns["line"][index])
    return PredictionError(
        ErrorCode.CANNOT_PREDICT, f"instruction {index} (line {line}) cannot be followed in the stock: {seen}.", remedy
    )
