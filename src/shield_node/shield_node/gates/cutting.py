"""What a mill's moves cut: the removal simulation of the core, as far as the stock is known.

Where no stock is named, everything below Z = 0 within reach of the moves is taken for material. What follows
from that assumption is shown and refuses nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from industriverse_core.errors import PredictionError
from industriverse_core.machine import Box
from industriverse_core.stock import simulate_removal, tool_diameters_m

if TYPE_CHECKING:
    from shield_node.gates.context import Context

CELLS_PER_TOOL = 16  # across the smallest tool; the depth of a cut does not depend on it
LEAST_DEPTH_M = 2e-5  # a shallower touch is rounding
LEAST_SHARE = 0.02  # of the tool's area, to that depth: less is the border between two cells
FARTHEST_M = 1e3  # a program that goes farther is refused by the envelope and not followed here


@dataclass(frozen=True)
class Cutting:
    """What each of n instructions cuts.

    Attributes:
        stock: the blank that was followed; None = nothing was.
        assumed: nobody named the stock.
        removed_m3, depth_m: volume and axial depth, shape (n,); 0 where nothing was followed.
        cuts: moves that remove more than rounding, shape (n,).
        problem: why a stock could not be followed; "" = it was, or the program never reaches material.
    """

    stock: Box | None
    assumed: bool
    removed_m3: np.ndarray
    depth_m: np.ndarray
    cuts: np.ndarray
    problem: str = ""

    @property
    def is_known(self) -> bool:
        """Somebody named the stock, and the program was followed through it."""
        return self.stock is not None and not self.assumed


def follow(context: Context) -> Cutting:
    """Follow a mill's program through the named stock, else through an assumed one."""
    named = context.stock or context.profile.stock
    stock = named or _assumed_stock(context)
    nothing = np.zeros(len(context.program))
    if stock is None:
        return Cutting(None, True, nothing, nothing, nothing > 0.0)
    program = context.program
    where = np.abs(np.where(context.is_motion[:, None], np.maximum(abs(context.lowest_m), abs(context.highest_m)), 0.0))
    if not (where <= FARTHEST_M).all():
        return Cutting(None, named is None, nothing, nothing, nothing > 0.0, "The program leaves every machine's axes.")
    diameter = tool_diameters_m(program, context.profile)
    known = diameter[np.isfinite(diameter)]
    cell = float(known.min()) / CELLS_PER_TOOL if len(known) else None
    problem = ""
    for resolution in (cell, None):  # None = as fine as the simulation's own bounds allow
        try:
            removal = simulate_removal(program, context.profile, stock, resolution)
        except PredictionError as error:
            problem = error.message
            continue
        depth, volume = removal.axial_depth_m, removal.removed_m3
        area = np.pi / 4.0 * np.nan_to_num(removal.tool_m) ** 2
        cuts = (depth > LEAST_DEPTH_M) & (volume > LEAST_SHARE * area * depth)
        return Cutting(stock, named is None, volume, depth, cuts)
    return Cutting(None, named is None, nothing, nothing, nothing > 0.0, problem)


def _assumed_stock(context: Context) -> Box | None:
    """All that lies below Z = 0 where the program goes; None where it stays above it."""
    low = np.minimum(context.lowest_m, context.starts_m)
    high = np.maximum(context.highest_m, context.starts_m)
    below = context.is_motion & (low[:, 2] < 0.0) & np.isfinite(low).all(axis=1) & np.isfinite(high).all(axis=1)
    if not below.any():
        return None
    reach = max([6e-3, *(tool.diameter for tool in context.profile.tools)])
    corner, other = low[below].min(axis=0), high[below].max(axis=0)
    if not (math.isfinite(float(np.abs(corner).max())) and float(np.abs(corner).max()) <= FARTHEST_M):
        return None
    return Box.model_construct(
        name="assumed",
        x_minimum=float(corner[0] - reach), x_maximum=float(other[0] + reach),
        y_minimum=float(corner[1] - reach), y_maximum=float(other[1] + reach),
        z_minimum=float(corner[2]), z_maximum=0.0,
    )  # fmt: skip
