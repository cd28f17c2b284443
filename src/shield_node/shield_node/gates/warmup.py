"""Compiles the gates' loops, so that no first check waits for them."""

from __future__ import annotations

from industriverse_core.machine import Box, load_machine
from industriverse_core.program import Op, build_program
from shield_node.gates.registry import check


def warm_up() -> None:
    """Judge a small program for a printer and a mill, each with a volume to keep clear."""
    box = Box(name="warm-up", x_minimum="5 mm", x_maximum="6 mm")
    line = {"op": Op.STRAIGHT_FEED, "x_m": 0.01, "z_m": -1e-3, "feed_m_s": 0.05, "extrude_m3": 1e-9}
    arc = {"op": Op.ARC_FEED, "x_m": 0.03, "feed_m_s": 0.05, "center_1_m": 0.02, "turns": 1}
    program = build_program([{"op": Op.HOME, "target": 7}, line, arc])
    for name in ("prusa_mk3s", "grbl_mill"):
        check(program, load_machine(name).model_copy(update={"keep_out": (box,)}))
