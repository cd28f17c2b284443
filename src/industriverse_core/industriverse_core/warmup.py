"""Compile and cache the numeric loops once, at build time, so that no first user waits for them."""

from industriverse_core.machine import load_machine, machine_names
from industriverse_core.motion import plan_motion, position_at
from industriverse_core.program import Op, build_program


def warm_up() -> None:
    """Plan one tiny program on each kind of machine."""
    program = build_program(
        [
            {"op": Op.STRAIGHT_TRAVERSE, "x_m": 0.01, "feed_m_s": 0.05},
            {"op": Op.ARC_FEED, "x_m": 0.03, "feed_m_s": 0.05, "center_1_m": 0.02, "turns": 1},
        ]
    )
    for name in machine_names():
        plan = plan_motion(program, load_machine(name))
        position_at(plan, program, plan.total_s)


if __name__ == "__main__":
    warm_up()
