"""Compile and cache the report's loops; called at build time."""

from __future__ import annotations

import numpy as np

from industriverse_cli.report.picture import draw
from industriverse_core.moves import classify, layers_of
from industriverse_core.program import Op, build_program
from industriverse_core.toolpath import reduce_path


def warm_up() -> None:
    """Reduce and draw a path of one line and one arc."""
    line = {"op": Op.STRAIGHT_FEED, "x_m": 0.01, "feed_m_s": 0.05, "extrude_m3": 1e-9}
    arc = {"op": Op.ARC_FEED, "x_m": 0.03, "feed_m_s": 0.05, "center_1_m": 0.02, "turns": 1, "extrude_m3": 1e-9}
    program = build_program([line, arc])
    moves = classify(program, mill=False)
    path = reduce_path(program, moves, layers_of(program, moves, downwards=False), np.ones(2), np.ones(2), 100)
    draw(path, 0.45e-3)
