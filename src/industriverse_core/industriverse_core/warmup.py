"""Compile the numeric loops once, at build time, so that no user waits for them: ahead of time and in numba's cache."""

from __future__ import annotations

from importlib.metadata import entry_points

from industriverse_core.ahead import BuildError, build
from industriverse_core.compiled import record

GROUP = "industriverse.warmup"


def warm_gcode() -> None:
    """The reader of G-code; the last line's note has a byte beyond ASCII."""
    from industriverse_core.gcode import read_gcode

    text = "G28\nM204 S800\nG1 X1 Y1 E1 F600\nG2 X2 Y0 I1 J0\nG3 X1 Y1 R1\nM204 S800\n; 20 µm\n"
    read_gcode(text.encode(), "warm-up", "marlin")
    read_gcode(b"G0 X1 M3 S1000\n", "warm-up", "rs274")  # a move that is carried out from Python


def warm_motion() -> None:
    """The motion planner, for each kind of machine."""
    from industriverse_core.machine import load_machine, machine_names
    from industriverse_core.motion import plan_motion, position_at
    from industriverse_core.program import Op, build_program

    line = {"op": Op.STRAIGHT_TRAVERSE, "x_m": 0.01, "feed_m_s": 0.05}
    arc = {"op": Op.ARC_FEED, "x_m": 0.03, "feed_m_s": 0.05, "center_1_m": 0.02, "turns": 1}
    program = build_program([line, arc])
    for name in machine_names():
        plan = plan_motion(program, load_machine(name))
        position_at(plan, program, plan.total_s)


def warm_stock() -> None:
    """Material removal."""
    from industriverse_core.machine import Box, load_machine
    from industriverse_core.program import Op, build_program
    from industriverse_core.stock import simulate_removal

    sides = dict.fromkeys(("x_minimum", "y_minimum", "z_minimum"), "-10 mm")
    sides |= dict.fromkeys(("x_maximum", "y_maximum", "z_maximum"), "10 mm")
    arc = {"op": Op.ARC_FEED, "x_m": 0.003, "feed_m_s": 0.01, "center_1_m": 0.002, "turns": 1}
    program = build_program([{"op": Op.STRAIGHT_FEED, "x_m": 0.001, "feed_m_s": 0.01}, arc])
    simulate_removal(program, load_machine("grbl_mill"), Box.model_validate({"name": "warm-up", **sides}))


def warm_toolpath() -> None:
    """The tool path that is drawn, of one line and one arc."""
    import numpy as np

    from industriverse_core.moves import classify, layers_of
    from industriverse_core.program import Op, build_program
    from industriverse_core.toolpath import reduce_by_layers

    line = {"op": Op.STRAIGHT_FEED, "x_m": 0.01, "feed_m_s": 0.05, "extrude_m3": 1e-9}
    arc = {"op": Op.ARC_FEED, "x_m": 0.03, "feed_m_s": 0.05, "center_1_m": 0.02, "turns": 1, "extrude_m3": 1e-9}
    program = build_program([line, arc])
    moves = classify(program, mill=False)
    reduce_by_layers(program, moves, layers_of(program, moves, downwards=False), np.ones(2), 100)


def warm_all() -> None:
    """Run every warm-up, and those of the packages that name one in the entry point group above."""
    warm_gcode()
    warm_motion()
    warm_stock()
    warm_toolpath()
    for entry in entry_points(group=GROUP):
        entry.load()()


def main() -> None:
    """Run every warm-up and build the module of the loops that they call from Python."""
    loops = record()
    warm_all()
    from numba import typeof

    try:
        build({name: (loop.dispatcher, tuple(map(typeof, called))) for name, (loop, called) in loops.items()})
    except BuildError as error:
        print(f"loops are not compiled ahead of time ({error}); numba compiles them when they are called")


if __name__ == "__main__":
    main()
