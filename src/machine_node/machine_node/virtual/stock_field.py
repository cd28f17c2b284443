"""The blank of a virtual mill as a height map in machine coordinates, lowered by what the tool sweeps."""

from __future__ import annotations

import math

import numpy as np

from machine_node.virtual.axes import Point

FINEST_M = 1e-4
MOST_CELLS = 1_000_000


class StockField:
    """Heights of a box-shaped blank on a table.

    Args:
        low_m, high_m: its corners.
    """

    def __init__(self, low_m: Point, high_m: Point) -> None:
        self._low, self._top = low_m, high_m[2]
        width, depth = high_m[0] - low_m[0], high_m[1] - low_m[1]
        cell = max(FINEST_M, math.sqrt(width * depth / MOST_CELLS))
        columns, rows = max(1, math.ceil(width / cell)), max(1, math.ceil(depth / cell))
        self._cell = (width / columns, depth / rows)
        self._x = low_m[0] + (np.arange(columns) + 0.5) * self._cell[0]
        self._y = low_m[1] + (np.arange(rows) + 0.5) * self._cell[1]
        self.height_m = np.full((rows, columns), high_m[2])
        self.volume_m3 = width * depth * (high_m[2] - low_m[2])

    def surface_m(self, x_m: float, y_m: float) -> float:
        """What stands there: the stock, or the table beside it."""
        column = math.floor((x_m - self._low[0]) / self._cell[0])
        row = math.floor((y_m - self._low[1]) / self._cell[1])
        rows, columns = self.height_m.shape
        if 0 <= row < rows and 0 <= column < columns:
            return float(self.height_m[row, column])
        return self._low[2]

    def cut(self, start_m: Point, end_m: Point, radius_m: float) -> float:
        """Sweep a flat end mill along a straight line. Returns the volume that it removes [m^3].

        A cell counts as swept when its centre lies within the radius of the line; the tool's height there is that
        of the nearest point of the line.
        """
        if min(start_m[2], end_m[2]) >= self._top:
            return 0.0
        window = self._window(start_m, end_m, radius_m)
        if window is None:
            return 0.0
        rows, columns = window
        x, y = self._x[columns][None, :] - start_m[0], self._y[rows][:, None] - start_m[1]
        dx, dy, dz = end_m[0] - start_m[0], end_m[1] - start_m[1], end_m[2] - start_m[2]
        square = dx * dx + dy * dy
        share = np.clip((x * dx + y * dy) / square, 0.0, 1.0) if square > 0.0 else np.ones((1, 1))
        tip = np.maximum(start_m[2] + share * dz if square > 0.0 else min(start_m[2], end_m[2]), self._low[2])
        swept = (x - share * dx) ** 2 + (y - share * dy) ** 2 <= radius_m * radius_m
        part = self.height_m[rows, columns]
        lowered = np.where(swept, np.minimum(part, tip), part)
        volume = float((part - lowered).sum()) * self._cell[0] * self._cell[1]
        self.height_m[rows, columns] = lowered
        return volume

    def _window(self, start_m: Point, end_m: Point, radius_m: float) -> tuple[slice, slice] | None:
        ranges = []
        for axis, centres in ((1, self._y), (0, self._x)):
            low, high = sorted((start_m[axis], end_m[axis]))
            first = int(np.searchsorted(centres, low - radius_m))
            last = int(np.searchsorted(centres, high + radius_m, side="right"))
            if last <= first:
                return None
            ranges.append(slice(first, last))
        return ranges[0], ranges[1]
